"""Work for several processes: tasks that may beget tasks, workers that end with their parent, and that may be killed."""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["WorkersKilledError", "all_cores", "each", "one_line"]

T = TypeVar("T")

KILLS = 3
"""Workers that may be killed one after the other, with nothing finished in between, or over one task, before the rest is
given up.
"""


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
        WorkersKilledError: if `KILLS` workers were killed one after the other, with nothing finished in between, or while
            they were at the same task.

    Example:
        >>> sorted(n for _, n in each(abs, deque([(-1,), (2,)]), jobs=1))
        [1, 2]
    """
    if jobs == 1:
        while tasks:
            arguments = tasks.popleft()
            yield arguments, function(*arguments)
        return
    workers = _Workers(function, max(1, all_cores() // jobs) if threads is None else threads)
    in_a_row, over = 0, Counter[int]()  # kills; of each task by its identity, which it keeps until it is done
    try:
        while tasks or workers.at_work:
            while tasks and len(workers.at_work) < jobs:
                workers.begin(tasks[0])
                tasks.popleft()
            killed = []
            for worker in workers.heard_from():
                task, said = worker.task, worker.says()
                if isinstance(said, _Killed):
                    killed.append((worker, task, said.how))
                elif said is not None:
                    in_a_row = 0
                    over.pop(id(task), None)
                    yield task, said.value()
            for worker, task, how in killed:  # after what ended well was handed out
                workers.leave(worker)
                tasks.appendleft(task)
                in_a_row += 1
                over[id(task)] += 1
                if KILLS in (in_a_row, over[id(task)]):
                    when = "one after the other" if in_a_row == KILLS else "while they were at the same work"
                    raise WorkersKilledError(
                        f"{KILLS} worker processes were killed {when} ({how}); if this machine has too little memory, "
                        "fewer jobs need less"
                    )
                _tell(f"a worker process was killed ({how}); what it was at is done again")
    finally:
        workers.end()


def _tell(text: str) -> None:
    """Warn each time: of warnings with the same words Python shows the first alone."""
    warnings.warn_explicit(text, UserWarning, __name__, 0, registry={})


@dataclass(frozen=True)
class _Killed:
    how: str  # SIGKILL(-9) and the like


@dataclass(frozen=True)
class _Outcome:
    """What came of a task: what its function returned, or an error and where it was raised."""

    returned: Any = None
    error: BaseException | None = None
    where: str = ""

    def value(self) -> Any:
        if self.error is not None:
            raise self.error from _InAWorkerError(self.where)
        return self.returned


class _InAWorkerError(Exception):
    def __str__(self) -> str:
        return f"in a worker process:\n{self.args[0]}"


class _Workers:
    """Processes, each with a pipe of its own: if one is killed, even halfway through its result, no other has part in it."""

    def __init__(self, function: Callable[..., Any], threads: int) -> None:
        import cloudpickle  # takes a while to import, and few need it

        self.function = cloudpickle.dumps(function)
        names = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR", "NUMBA")
        self.limits = {f"{name}_NUM_THREADS": os.environ.get(f"{name}_NUM_THREADS", str(threads)) for name in names}
        self.all: list[_Worker] = []
        self.owner = os.getpid()
        _start_trackers()
        atexit.register(self.end)  # if nobody closes the iterator

    @property
    def at_work(self) -> list[_Worker]:
        return [worker for worker in self.all if worker.task is not None]

    def begin(self, task: tuple[Any, ...]) -> None:
        """Have a task done by a worker that is free, or by a new one."""
        import cloudpickle

        held = cloudpickle.dumps(task)
        for worker in [w for w in self.all if w.task is None]:
            try:
                worker.do(task, held)
                return
            except OSError:  # it was killed while it had nothing to do, which costs nothing
                self.leave(worker)
        self.all.append(_Worker(self.function, task, held, self.limits))
        self.all[-1].start()  # known before it is there: Ctrl-C may come at any time

    def heard_from(self) -> list[_Worker]:
        """Wait a second at most for those at work: who has something to say, or was killed."""
        from multiprocessing.connection import wait

        at_work = {worker.pipe: worker for worker in self.at_work}
        heard = [at_work[pipe] for pipe in wait(list(at_work), timeout=1.0)]  # a killed worker has left its end of the pipe
        return heard or [worker for worker in at_work.values() if worker.process.exitcode is not None]

    def leave(self, worker: _Worker) -> None:
        self.all.remove(worker)
        worker.stop()
        worker.join(0.0)

    def end(self) -> None:
        if os.getpid() != self.owner:  # a copy in a process that somebody forked
            return
        with _without_interrupts():  # whoever is impatient must not leave some of them at work
            for worker in self.all:
                worker.stop()
        last = time.monotonic() + 5
        while self.all:
            self.all[-1].join(max(0.0, last - time.monotonic()))
            self.all.pop()
        atexit.unregister(self.end)


class _Worker:
    """A process, what it is at, and the pipe that leads to it."""

    def __init__(self, function: bytes, task: tuple[Any, ...], held: bytes, limits: dict[str, str]) -> None:
        from loky.backend import get_context

        context = get_context("loky")  # unlike those of Python, its processes do not run the script of their parent again
        self.first = (function, held)
        self.task: tuple[Any, ...] | None = task
        self.pipe, self.theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(self.theirs, os.getpid()), env=limits)

    def start(self) -> None:
        with self.theirs, _without_interrupts():
            self.process.start()

    def do(self, task: tuple[Any, ...], held: bytes) -> None:
        """Begin with a task, which is also given pickled.

        Raises:
            OSError: if the worker was killed.
        """
        self.task = task  # first: if this is interrupted, it may be at it
        self.pipe.send_bytes(held)

    def says(self) -> _Outcome | _Killed | None:
        """What came of its task, if it has come that far."""
        assert self.task is not None
        try:
            if not self.pipe.poll():  # it was killed, and what it had begun holds its end of the pipe
                raise EOFError
            said = self.pipe.recv_bytes()
            if said == _BEGUN:  # only now, so that many can begin at the same time
                for held in self.first:
                    self.pipe.send_bytes(held)
                self.first = ()
                return None
        except (EOFError, OSError):
            return _Killed(self.how_it_ended())
        self.task = None
        return cast(_Outcome, pickle.loads(said))

    def how_it_ended(self) -> str:
        self.process.join(5)
        code = self.process.exitcode
        if code is None or code >= 0:
            return "its exit status is unknown" if code is None else f"exit status {code}"
        return f"{signal.Signals(-code).name}({code})" if -code in set(signal.Signals) else f"signal {-code}"

    def stop(self) -> None:
        """Let the process end if it has nothing to do, else kill it."""
        if self.task is None:
            with suppress(OSError):  # it has gone
                self.pipe.send_bytes(_ENOUGH)
            self.pipe.close()
        else:
            self.kill()

    def join(self, seconds: float) -> None:
        """Wait until the process has gone, so long at most for one that may end by itself."""
        self.pipe.close()
        if self.process.pid is None:  # it was not begun
            return
        if self.task is None:
            self.process.join(seconds)
        self.kill()
        self.process.join()

    def kill(self) -> None:
        if self.process.pid is not None and self.process.exitcode is None:
            if os.name == "posix":  # loky's processes have no `kill`
                with suppress(ProcessLookupError):
                    os.kill(self.process.pid, signal.SIGKILL)
            else:
                self.process.terminate()


_BEGUN = b"begun"  # what a worker says first
_ENOUGH = b"enough"  # what it is told last


def _work(pipe: Connection, parent: int) -> None:
    """The life of a worker: it takes a function, and does task after task until its parent wants no more."""
    _begin(parent)
    if os.name == "posix":  # what tasks begin must not hold the pipe open when this process has gone
        os.register_at_fork(after_in_child=pipe.close)
        os.set_inheritable(pipe.fileno(), False)
    try:
        pipe.send_bytes(_BEGUN)
        function = pipe.recv_bytes()
        loaded: list[Callable[..., Any]] = []
        while (task := pipe.recv_bytes()) != _ENOUGH:
            pipe.send_bytes(_outcome(loaded, function, task))
    except (EOFError, OSError):
        return


def _outcome(loaded: list[Callable[..., Any]], function: bytes, task: bytes) -> bytes:
    """An `_Outcome`, pickled; the function is loaded with the first task, whose outcome tells if that fails."""
    import cloudpickle

    try:
        if not loaded:
            loaded.append(pickle.loads(function))
        return cast(bytes, cloudpickle.dumps(_Outcome(loaded[0](*pickle.loads(task)))))
    except BaseException as error:
        where = traceback.format_exc()
        try:
            held = cloudpickle.dumps(_Outcome(error=error, where=where))
            pickle.loads(held)  # some errors can be written and not read
            return cast(bytes, held)
        except Exception:
            said = "".join(traceback.format_exception_only(error)).strip()
            return cast(bytes, cloudpickle.dumps(_Outcome(error=RuntimeError(said), where=where)))


def _start_trackers() -> None:
    """Start what looks after locks of processes: where it is started later, it lets interrupts through (until Python 3.12)."""
    if os.name == "posix":
        from multiprocessing import resource_tracker

        from loky.backend import resource_tracker as of_loky

        resource_tracker.ensure_running()
        of_loky.ensure_running()


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
