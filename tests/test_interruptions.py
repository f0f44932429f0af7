"""What may happen to the command while it runs: signals, killed workers, readers that leave, other runs in its folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from activebmr import Result
from activebmr.cli import main
from activebmr.folders import alone_in
from activebmr.simulation import batches

needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends signals")

RUN = ["run", "three-ball", "--scheme", "paper-no-selection", "--agents", "512", "--trials", "6", "--no-figures"]
SMALL = ["run", "three-ball", "--agents", "2", "--trials", "2", "--no-figures", "-q"]


def start(*words: object, before: str = "", **how):
    """The command in a process of its own, with the signals that a terminal's shell would give it."""
    code = (
        "import signal, sys\nfor n in ('SIGINT', 'SIGTERM', 'SIGHUP'): signal.signal(getattr(signal, n), signal.SIG_DFL)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"{before}\nfrom activebmr.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True, start_new_session=True, **streams)


def wait_for(pattern: str, folder: Path, process: subprocess.Popen, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not list(folder.glob(pattern)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def same(a: Path, b: Path) -> None:
    one, other = np.load(a), np.load(b)
    assert one.files == other.files
    for name in one.files:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The result of a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*RUN, "-q", "--out", str(folder)]) == 0
    return folder / "result.npz"


# --- signals ---------------------------------------------------------------------------------------------------------------
@needs_signals
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_keep_what_is_finished_and_end_the_workers(tmp_path, whole, name):
    process = start(*RUN, "--jobs", 2, "--out", tmp_path)
    wait_for("unfinished/*/*.npz", tmp_path, process)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)  # which workers hold open
    assert process.returncode == 128 + getattr(signal, name), err
    assert err.count("\n") == 2 and "the same command goes on from there" in err and "interrupted: " in err
    assert main([*RUN, "-q", "--jobs", "1", "--out", str(tmp_path)]) == 0  # other batches than those with two jobs
    same(tmp_path / "result.npz", whole)
    assert not (tmp_path / "unfinished").exists()


@needs_signals
def test_a_killed_worker_costs_a_line(tmp_path, whole):
    process = start(*RUN, "-q", "--jobs", 2, "--out", tmp_path)
    worker = None
    while worker is None and process.poll() is None:
        worker = next((int(pid) for pid in children_of(process.pid) if b"loky.backend.popen" in line_of(pid)), None)
        time.sleep(0.005)
    os.kill(worker, signal.SIGSTOP)  # so that it is at work until the other has finished something
    wait_for("unfinished/*/*.npz", tmp_path, process)
    os.kill(worker, signal.SIGKILL)
    err = process.communicate(timeout=120)[1]
    assert (process.returncode, err) == (
        0,
        "warning: a worker process was killed (SIGKILL(-9)); what it was at is done again\n",
    )
    same(tmp_path / "result.npz", whole)


def children_of(pid: int) -> list[str]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("the system does not tell what processes have started")
    return found.read_text().split()


def line_of(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@needs_signals
@pytest.mark.parametrize("where", ["activebmr.cli.command", "numpy", "activebmr.simulation.registry"])
def test_ctrl_c_in_the_first_second_is_one_line(tmp_path, where):
    """While modules are being imported, of which ``where`` is one."""
    before = (
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {where!r}: signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())"
    )
    process = start(*RUN, "--out", tmp_path / "o", before=before)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


# --- readers that leave ----------------------------------------------------------------------------------------------------
@needs_signals
def test_run_into_head_ends_quietly_with_its_figures(tmp_path):
    words = ["run", "bandit", "--agents", "2", "--trials", "2", "--out", tmp_path / "o"]
    with start(*words) as process:
        process.stdout.close()  # as head does
        err = process.stderr.read()
    assert (process.returncode, err) == (0, "")
    assert (tmp_path / "o" / "result.npz").is_file() and list((tmp_path / "o").glob("*.png"))


@needs_signals
def test_errors_that_nobody_reads_are_no_error(tmp_path):
    """``2>&1 | head``: what is told of another run in the folder has no reader."""
    begun(tmp_path / "o")
    with start(*SMALL, "--out", tmp_path / "o") as process:
        process.stderr.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0 and (tmp_path / "o-2" / "result.npz").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_takes_no_more_costs_no_figures(tmp_path):
    with open("/dev/full", "w") as full:
        process = start("run", "bandit", "--agents", 2, "--trials", 2, "--out", tmp_path / "o", stdout=full)
        err = process.communicate(timeout=60)[1]
    assert (
        process.returncode == 1 and err.startswith("error: output could not be written: No space left") and err.count("\n") == 1
    )
    assert (tmp_path / "o" / "result.npz").is_file() and list((tmp_path / "o").glob("*.png"))


# --- other runs in the folder ----------------------------------------------------------------------------------------------
def begun(folder: Path, seed: int = 7) -> list[Path]:
    """Finished parts of an unfinished run with another seed."""
    from activebmr import simulate
    from paradigms import three_ball

    simulate(three_ball.paradigm(), 2, 2, seed=seed, checkpoint=folder / "unfinished")
    return sorted((folder / "unfinished").rglob("*.npz"))


def test_unfinished_runs_of_other_settings_are_left_alone(tmp_path, capsys):
    out = tmp_path / "out"
    kept = begun(out)
    (out / "result.npz").write_bytes(b"of the agents that had finished")
    assert main([*SMALL, "--out", str(out)]) == 0
    said = capsys.readouterr().err
    assert said == (
        f"{out} has another run that is not finished: this one goes to {tmp_path / 'out-2'} (--overwrite gives the other up)\n"
    )
    assert (tmp_path / "out-2" / "result.npz").is_file() and not (tmp_path / "out-2" / "unfinished").exists()
    assert sorted((out / "unfinished").rglob("*.npz")) == kept and (out / "result.npz").read_bytes().startswith(b"of the")
    begun(tmp_path / "out-2", 8)
    assert main([*SMALL, "--out", str(out)]) == 0 and (tmp_path / "out-3" / "result.npz").is_file()
    # those that are unfinished go on where they are, in whatever folder
    for seed, name in ((7, "out"), (8, "out-2")):
        assert main([*SMALL, "--seed", str(seed), "--out", str(out)]) == 0
        assert int(Result.load(tmp_path / name / "result.npz").seed) == seed and not (tmp_path / name / "unfinished").exists()


def test_overwrite_gives_up_what_is_unfinished(tmp_path, capsys):
    begun(tmp_path)
    assert main([*SMALL, "--overwrite", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "" and sorted(p.name for p in tmp_path.iterdir()) == ["result.npz"]


def test_a_folder_where_another_run_is_at_work_is_left_alone(tmp_path, capsys):
    code = "import sys; from pathlib import Path; from activebmr.folders import alone_in\n"
    code += "with alone_in(Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(tmp_path / "out" / "unfinished")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        assert main([*SMALL, "--out", str(tmp_path / "out")]) == 0
        assert "this one goes to" in capsys.readouterr().err and (tmp_path / "out-2" / "result.npz").is_file()
        assert main([*SMALL, "--overwrite", "--out", str(tmp_path / "out")]) == 2
        assert f"another run (process {other.pid}) is at work in" in capsys.readouterr().err
        other.stdin.close()
    assert main([*SMALL, "--out", str(tmp_path / "out")]) == 0 and capsys.readouterr().err == ""
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["result.npz"]


def test_many_who_want_one_folder_have_it_one_after_the_other(tmp_path):
    """The file that is locked is removed by who had it: nobody may hold a lock on one that is gone."""
    code = (
        "import sys, time; from pathlib import Path; from activebmr.folders import alone_in\n"
        "folder, held = Path(sys.argv[1]), 0\n"
        "while held < 40:\n"
        "    try:\n"
        "        with alone_in(folder):\n"
        "            (folder / 'taken').touch(exist_ok=False); held += 1; (folder / 'taken').unlink()\n"
        "    except BlockingIOError: time.sleep(0.0005)\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [other.wait(timeout=60) for other in others] == [0, 0, 0]


def test_worlds_whose_state_cannot_be_read_run_without_checkpoints(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine", "-q"]) == 0
    text = Path("mine.py").read_text()
    tail = "\n\ndef _worlds(seed, agents, truths):\n    LOG.locked()\n    return ModelProcess(_made().model)\n"
    assert "def paradigm(" in text
    Path("mine.py").write_text(text.replace("def paradigm(", "def _made(", 1) + WITH_A_LOG + tail)
    assert main(["run", "./mine.py", "--agents", "2", "--trials", "2", "--no-figures", "-q"]) == 0
    said = capsys.readouterr().err
    assert (
        said.startswith("warning: what is finished cannot be kept for going on after an interruption: ")
        and said.count("\n") == 1
    )
    assert "global LOG holds a _thread.lock, whose state cannot be read" in said


WITH_A_LOG = """

import threading
from dataclasses import replace
from activebmr import ModelProcess
LOG = threading.Lock()


def paradigm(*given, **more):
    return replace(_made(*given, **more), worlds=_worlds)
"""


# --- batches ---------------------------------------------------------------------------------------------------------------
class Clock:
    """Time that passes as it is told, and nothing else."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("fixed", "each_agent", "sizes"),
    [
        (0.01, 0.0, [30]),  # quick: as a whole
        (0.0, 0.1, [15, 15]),  # long, and parts cost nothing more; quarters would be too small
        (3.0, 0.0, [30]),  # long, but all of it is overhead: as a whole
        (0.6, 0.04, [15, 15]),  # halves take 1.33 times as long, quarters twice as long
    ],
)
def test_batches_that_take_long_are_done_in_parts_that_cost_little(monkeypatch, fixed, each_agent, sizes):
    clock = Clock()
    monkeypatch.setattr(batches.time, "perf_counter", clock)
    finished = []

    def live(agents, watch):
        for _ in range(60):
            clock.now += fixed + each_agent * len(agents)
            watch()
        finished.append(len(agents))

    parts = batches.divide(live, np.arange(30), 60)
    if parts is not None:
        assert np.concatenate(parts).tolist() == list(range(30)) and not finished
        finished = [len(part) for part in parts]
    assert sorted(finished, reverse=True) == sorted(sizes, reverse=True)


def test_parts_give_the_numbers_of_the_whole(monkeypatch, tmp_path):
    from activebmr import simulate
    from paradigms import three_ball

    paradigm, ticks = three_ball.paradigm(), []
    whole = simulate(paradigm, 20, 3, seed=3)
    monkeypatch.setattr(batches, "LONG", 0.0)
    monkeypatch.setattr(batches, "_AFTER", 0.0)
    monkeypatch.setattr(batches, "WORSE", np.inf)
    module = sys.modules["activebmr.simulation.simulate"]

    class Bar:
        def __enter__(self):
            return ticks.append

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(module, "_progress", lambda show, total: Bar())
    parts = simulate(paradigm, 20, 3, seed=3, checkpoint=tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == 2 and sum(ticks) == 60
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(array, parts.arrays[name], err_msg=name)
    both = simulate([paradigm, three_ball.paradigm("paper")], 20, 3, seed=3, jobs=2)
    np.testing.assert_array_equal(both.free_energy[0], whole.free_energy[0])


def test_a_folder_is_held_once(tmp_path):
    with alone_in(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert not (tmp_path / ".lock").exists()
