"""Work for several processes: tasks that may beget tasks, workers that end with their parent, and that may be killed."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["WorkersKilledError", "all_cores", "each", "one_line"]

T = TypeVar("T")

KILLS = 3
"""Workers that may be killed one after the other, with nothing finished in between, before the rest is given up."""


class WorkersKilledError(RuntimeError):
    """Of work that cannot be finished because the system kills whoever is at it."""


def one_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """A warning without the place in the code that it comes from, as `warnings.formatwarning` is to return it."""
    return f"warning: {' '.join(str(message).split())}\n"


def all_cores() -> int:
    """Processors that this process may use."""
    from loky import cpu_count

    return int(cpu_count())


def each(
    function: Callable[..., T], tasks: deque[tuple[Any, ...]], jobs: int, *, threads: int | None = None
) -> Iterator[tuple[tuple[Any, ...], T]]:
    """Call a function with the arguments of each task, in several processes.

    If a worker is killed, a warning says so and what it was at is done again by a new one. Workers ignore Ctrl-C: whoever
    takes the results decides what becomes of them. They end with this process however it ends, within a second, and as
    soon as the iterator is closed.

    Args:
        function: sent to workers by value if it cannot be imported there.
        tasks: arguments of each call. What is added while results are taken is done too.
        jobs: processes, >= 1; with 1 all is done in this one.
        threads: of numerical libraries in each worker; None shares this machine's processors out.

    Yields:
        the arguments of a call and what it returned, in the order in which calls end.

    Raises:
        WorkersKilledError: if `KILLS` workers were killed one after the other, with nothing finished in between.

    Example:
        >>> sorted(n for _, n in each(abs, deque([(-1,), (2,)]), jobs=1))
        [1, 2]
    """
    if jobs == 1:
        while tasks:
            arguments = tasks.popleft()
            yield arguments, function(*arguments)
        return
    from loky.process_executor import BrokenProcessPool  # takes long to import, and few need it

    killed = 0
    while tasks:
        at_work: dict[Any, tuple[Any, ...]] = {}
        try:
            for arguments, outcome in _with_a_pool(function, tasks, at_work, jobs, threads):
                killed = 0
                yield arguments, outcome
        except BrokenProcessPool as error:
            killed += 1
            tasks.extendleft(reversed(at_work.values()))
            how = _how_it_ended(error)
            if killed == KILLS:
                raise WorkersKilledError(
                    f"{KILLS} worker processes were killed one after the other ({how}); if this machine has too little memory, "
                    "fewer jobs need less"
                ) from None
            warnings.warn(f"a worker process was killed ({how}); what it was at is done again", stacklevel=3)


def _with_a_pool(
    function: Callable[..., T],
    tasks: deque[tuple[Any, ...]],
    at_work: dict[Any, tuple[Any, ...]],
    jobs: int,
    threads: int | None,
) -> Iterator[tuple[tuple[Any, ...], T]]:
    """Do tasks until there are none, or a worker is killed; ``at_work`` then holds those that were not finished."""
    from loky import FIRST_COMPLETED, ProcessPoolExecutor, wait

    threads = max(1, all_cores() // jobs) if threads is None else threads
    names = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")
    limits = {f"{name}_NUM_THREADS": os.environ.get(f"{name}_NUM_THREADS", str(threads)) for name in names}
    _start_trackers()
    with _without_interrupts():
        pool = ProcessPoolExecutor(min(jobs, max(1, len(tasks))), initializer=_begin, initargs=(os.getpid(),), env=limits)
    dead = 0  # seconds for which a worker has been dead, and nobody has noticed
    try:
        while tasks or at_work:
            with _without_interrupts():  # workers begin with the first tasks
                while tasks and len(at_work) < jobs:
                    at_work[pool.submit(function, *tasks[0])] = tasks[0]
                    tasks.popleft()
            ended = wait(at_work, timeout=1.0, return_when=FIRST_COMPLETED).done
            dead = 0 if ended or not _has_a_dead_worker(pool) else dead + 1
            if dead == _PATIENCE:
                _unstick(pool)
            # what ended well is handed out before a killed worker is noticed
            for future in sorted(ended, key=lambda f: f.exception() is not None):
                outcome = future.result()
                yield at_work.pop(future), outcome
    finally:
        pool.shutdown(wait=True, kill_workers=bool(at_work))


_PATIENCE = 3


def _has_a_dead_worker(pool: Any) -> bool:
    return any(process.exitcode is not None for process in list((pool._processes or {}).values()))


def _unstick(pool: Any) -> None:
    """Let loky notice that a worker was killed while it handed over a result: it waits for the rest, which all others could
    still write.
    """
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool._result_queue._writer.close()  # the last one who could


def _start_trackers() -> None:
    """Start what looks after locks of processes: where it is started later, it lets interrupts through (until Python 3.12)."""
    if os.name == "posix":
        from multiprocessing import resource_tracker

        from loky.backend import resource_tracker as of_loky

        resource_tracker.ensure_running()
        of_loky.ensure_running()


def _how_it_ended(error: BaseException) -> str:
    """SIGKILL and the like, from what loky says of the exit codes."""
    found = re.search(r"\{([^}]+)\}", str(error))
    return found[1] if found else "its exit status is unknown"


def _begin(parent: int) -> None:
    """What a worker does first."""
    for name in ("SIGINT", "SIGHUP"):  # of a terminal, which sends them to all; the parent decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if os.name == "posix":
        threading.Thread(target=_end_with, args=(parent,), name="ends-with-parent", daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, however it went: nobody waits for what it does."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started in here do not get Ctrl-C, which a terminal sends to them too, from their first moment on.
    This one gets it afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows; there, workers get it until they ignore it
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # processes inherit what is blocked
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
