"""Workers: tasks that beget tasks, workers that are killed, and that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress

import numpy as np
import pytest

from activebmr import workers
from activebmr.workers import WorkersKilledError, each

needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends signals")


def die_once(n, marker):
    """Squares, but the first process that is asked for 3 is killed."""
    if n == 3 and not os.path.exists(marker):
        with open(marker, "w"):
            os.kill(os.getpid(), signal.SIGKILL)
    return n * n


def die(n):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(n):
    raise ValueError(f"no {n}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_may_beget_tasks(jobs):
    tasks = deque([(1,), (2,)])
    done = {}
    for (n,), outcome in each(abs, tasks, jobs):
        done[n] = outcome
        if n < 4:
            tasks.append((n + 2,))
    assert done == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}


@needs_signals
def test_a_killed_worker_is_told_in_a_line_and_its_task_done_again(tmp_path):
    marker = str(tmp_path / "killed")
    with pytest.warns(
        UserWarning, match=r"^a worker process was killed \(SIGKILL\(-9\)\); what it was at is done again$"
    ) as told:
        done = sorted(outcome for _, outcome in each(die_once, deque((n, marker) for n in range(6)), 2))
    assert done == [0, 1, 4, 9, 16, 25] and len(told) == 1 and os.path.exists(marker)


def die_while_sending(n, folder):
    """Large results, each of which is cut off the first time: somewhere, as it is handed over or around that."""
    marker = os.path.join(folder, str(n))
    if not os.path.exists(marker):
        with open(marker, "w"):
            pass

        def kill():
            time.sleep(0.008 * n)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
    return np.full(2**23, n)


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker process was killed")
def test_workers_that_are_killed_while_they_hand_over_results_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "KILLS", 100)
    found = {n: outcome for (n, _), outcome in each(die_while_sending, deque((n, str(tmp_path)) for n in range(1, 10)), 2)}
    assert sorted(found) == list(range(1, 10)) and all((found[n] == n).all() and len(found[n]) == 2**23 for n in found)


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker process was killed")
def test_work_that_is_always_killed_is_given_up():
    with pytest.raises(
        WorkersKilledError, match=r"3 worker processes were killed one after the other \(.*fewer jobs need less"
    ):
        list(each(die, deque([(1,), (2,)]), 2))


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker process was killed")
def test_a_task_over_which_workers_are_always_killed_is_given_up_though_others_end_well(tmp_path):
    done = []
    with pytest.raises(WorkersKilledError, match="fewer jobs need less"):
        for _, outcome in each(die_at_three, deque((n, str(tmp_path)) for n in range(1000)), 2):
            done.append(outcome)
    assert len(done) > 3 and len(list(tmp_path.iterdir())) == workers.KILLS


def die_at_three(n, folder):
    if n == 3:
        open(os.path.join(folder, str(os.getpid())), "w").close()
        die(n)
    time.sleep(0.01)
    return n


@needs_signals
def test_a_worker_that_is_killed_while_it_has_nothing_to_do_costs_nothing():
    tasks = deque([(1,), (2,)])
    pids = set()
    for (n,), pid in each(pid_after, tasks, 2):
        if n == 1:  # the other is at work for longer
            os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            tasks.append((3,))
        pids.add(pid)
    assert len(pids) == 3


def pid_after(n):
    time.sleep(3 * (n == 2))
    return os.getpid()


def die_with_a_child(marker):
    """What a task has begun goes on when its process was killed, and holds open what it held open."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        if os.fork() > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(20)
        os._exit(0)
    return 7


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker process was killed")
def test_children_of_killed_workers_keep_nobody_waiting(tmp_path):
    begun = time.monotonic()
    assert [outcome for _, outcome in each(die_with_a_child, deque([(str(tmp_path / "m"),)]), 2)] == [7]
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_are_those_of_the_function(jobs):
    with pytest.raises(ValueError, match="no 1") as caught:
        list(each(fail, deque([(1,)] * 2), jobs))
    assert jobs == 1 or "in fail\n" in str(caught.value.__cause__)


class TwoWordsError(Exception):
    """Can be written, but not read: Python calls it with its one message."""

    def __init__(self, one, two):
        super().__init__(one + two)


def fail_oddly(how):
    if how == "error":
        raise TwoWordsError("a", "b")
    if how == "exit":
        sys.exit("enough")
    return threading.Lock()


@pytest.mark.parametrize(
    "how, error, said",
    [("error", RuntimeError, "TwoWordsError: ab"), ("exit", SystemExit, "enough"), ("result", TypeError, "pickle.*lock")],
)
def test_what_cannot_be_sent_is_told(how, error, said):
    with pytest.raises(error, match=said):
        list(each(fail_oddly, deque([(how,)]), 2))


def test_a_function_that_workers_cannot_load_is_told():
    with pytest.raises(ValueError, match="not here"):
        list(each(Unloadable(), deque([(1,)]), 2))


class Unloadable:
    def __call__(self, n):
        return n

    def __reduce__(self):
        return refuse, ()


def refuse():
    raise ValueError("not here")


@needs_signals
def test_an_iterator_that_nobody_closes_holds_no_process_up(tmp_path):
    code = (
        "import sys, time; from collections import deque; from activebmr.workers import each\n"
        "held = each(time.sleep, deque([(0,), (100,), (100,)]), 2)\n"
        "next(held); sys.modules['held for ever'] = held"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@needs_signals
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_workers_end_with_their_parent(tmp_path, how):
    """Workers hold the output open: that it closes says that all have ended."""
    code = (
        "import signal, sys, time; from collections import deque; from activebmr.workers import each\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"def work(n):\n    open(f'{tmp_path}/{{n}}', 'w').close()\n    time.sleep(100)\n"
        "try: list(each(work, deque([(1,), (2,)]), 2))\n"
        "except KeyboardInterrupt: sys.exit(7)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(parent.pid, getattr(signal, how))
        parent.communicate(timeout=15)
        assert parent.returncode == (-signal.SIGKILL if how == "SIGKILL" else 7)
    finally:
        if parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)


# --- parents with habits -----------------------------------------------------------------------------------------------------
HABITS = {
    # what a script does, how it ends, within so many seconds
    "interrupted while it starts workers": (
        "from loky.backend.popen_loky_posix import Popen; begin = Popen._launch\n"
        "def launch(self, process): begin(self, process); os.kill(os.getpid(), signal.SIGINT)\n"
        "Popen._launch = launch; list(each(abs, deque([(-1,), (2,)]), 2))",
        -signal.SIGINT,
    ),
    "interrupted again while it ends workers": (
        "stop = workers._Worker.stop; stopped = []\n"
        "def impatient(self):\n    stop(self); stopped.append(1)\n"
        "    if len(stopped) == 1: os.kill(os.getpid(), signal.SIGINT)\n"
        "workers._Worker.stop = impatient; held = each(time.sleep, deque([(0,), (99,), (99,), (99,)]), 3); next(held)\n"
        "held.close()",
        -signal.SIGINT,
    ),
    "not told of children that end": (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "assert sorted(n for _, n in each(abs, deque([(-1,), (2,)]), 2)) == [1, 2]",
        0,
    ),
    "leaves something behind in a task": (
        "def work(n):\n    os.system('sleep 60 >/dev/null 2>&1 &') if n == 1 else time.sleep(n)\n    return os.getpid()\n"
        "tasks = deque([(1,), (2,)])\n"
        "for (n, *_), pid in each(work, tasks, 2):\n"
        "    if n == 1: os.kill(pid, signal.SIGKILL); time.sleep(0.3); tasks.append((0,))\n",
        0,
    ),
    "forks meanwhile": (
        "for (n,), _ in each(abs, deque([(1,), (2,), (3,)]), 2):\n"
        "    if n == 1 and os.fork() == 0: os._exit(0) if os.fork() else (os.closerange(0, 3), time.sleep(60), os._exit(0))\n",
        0,
    ),
    "has copies that end": (
        "warnings.simplefilter('error')\n"
        "for (n,), _ in each(time.sleep, deque([(0.1,), (2,)]), 2):\n"
        "    if n < 1:\n        child = os.fork()\n        if child == 0: sys.exit()\n        os.waitpid(child, 0)\n",
        0,
    ),
}  # fmt: skip


@needs_signals
@pytest.mark.filterwarnings("ignore:a worker process was killed")
@pytest.mark.parametrize("habit", HABITS)
def test_no_parent_waits_for_long_or_loses_its_workers(habit):
    code, status = HABITS[habit]
    begin = (
        "import os, signal, sys, time, warnings; from collections import deque\n"
        "from activebmr import workers; from activebmr.workers import each\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", begin + code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        assert process.wait(timeout=30) == status
    finally:
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(process.pid, signal.SIGKILL)


@needs_signals
def test_every_kill_is_told(tmp_path):
    """Also where Python shows a warning once."""
    code = (
        "import os, signal; from collections import deque; from activebmr.workers import each\n"
        "def work(n, marker):\n"
        "    if not os.path.exists(marker): open(marker, 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"list(each(work, deque((n, {str(tmp_path)!r} + f'/{{n}}') for n in range(3)), 2))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.count("a worker process was killed") == 3, done.stderr
