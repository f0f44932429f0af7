"""What runs keep: nothing of other data or versions is read, nothing damaged, one process at a time, and no disk ends a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from activebmr import folders  # noqa: E402
from activebmr.cli import command as cli  # noqa: E402
from activebmr.folders import alone_in  # noqa: E402
from activebmr.pruning.experiments import runs  # noqa: E402
from activebmr.pruning.experiments.keeping import keep_json, keep_run, kept_json, kept_run  # noqa: E402
from activebmr.pruning.experiments.runs import run_all  # noqa: E402

ROWS = [{"method": "a", "seed": 0, "value": 0.1, "nothing": float("nan"), "parts": [1, None]}]
ARRAYS = {"curve": np.arange(5.0), "names": np.array(["first", "second"])}


@dataclass(frozen=True)
class Plan:
    methods: tuple[str, ...] = ("a",)
    data_dir: str | None = None


@dataclass(frozen=True)
class Numbers:
    x: torch.Tensor
    name: str = "numbers"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Counted:
    """A run that is the sum of its data, and how often it has been made."""

    def __init__(self, x):
        self.x, self.made = torch.tensor(x), 0

    def run(self, folder, **plan):
        def one(plan, what, folder, tell, data):
            self.made += 1
            return [{"method": "a", "seed": what, "sum": float(data.x.sum())}], {"x": data.x.numpy()}

        rows, _ = run_all(
            one, Plan(**plan), "methods", "method", [("seed-0", 0)], folder, load=lambda plan, what: Numbers(self.x)
        )
        return rows[0]["sum"], self.made


# --- what is read ------------------------------------------------------------------------------------------------------------
def test_data_that_have_changed_are_noticed(tmp_path):
    mine = Counted([1.0, 2.0, 3.0])
    assert mine.run(tmp_path) == (6.0, 1) == mine.run(tmp_path)
    mine.x = torch.tensor([3.0, 1.0, 2.0])  # the same sum, but other data
    assert mine.run(tmp_path) == (6.0, 2)
    mine.x = 100 * mine.x
    assert mine.run(tmp_path) == (600.0, 3)
    assert mine.run(tmp_path, data_dir="moved") == (600.0, 3)  # where they lie does not matter


def test_other_versions_are_not_read(tmp_path, monkeypatch):
    mine = Counted([1.0])
    mine.run(tmp_path)
    for change in (
        lambda: monkeypatch.setattr(torch, "__version__", "1.0"),
        lambda: monkeypatch.setattr(runs, "FORMAT", 99),
        lambda: monkeypatch.setattr(runs, "version", lambda name: "0.0"),
    ):
        made = mine.made
        change()
        assert mine.run(tmp_path)[1] == made + 1 and mine.run(tmp_path)[1] == made + 1


DAMAGE = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "text": lambda content: b"hello",
    "one byte": lambda content: content[:20] + bytes([content[20] ^ 1]) + content[21:],
    "list": lambda content: b"[1, 2]",
}


@pytest.mark.parametrize("name", ["rows.json", "kept.npz"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_named_and_made_again(tmp_path, name, damage):
    mine = Counted([1.0, 2.0])
    mine.run(tmp_path)
    (path,) = tmp_path.rglob(name)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.warns(UserWarning, match=rf"{name} is damaged \(.*\): what it held is made again"):
        assert mine.run(tmp_path) == (3.0, 2)
    assert mine.run(tmp_path) == (3.0, 2)


def test_a_changed_number_is_damage(tmp_path):
    keep_run(tmp_path, ROWS, ARRAYS)
    rows, arrays = kept_run(tmp_path)
    assert json.dumps(rows) == json.dumps(ROWS) and arrays["names"].tolist() == ["first", "second"]
    path = tmp_path / "rows.json"
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.warns(UserWarning, match="rows.json is damaged"):
        assert kept_run(tmp_path) is None
    (tmp_path / "rows.json").unlink()
    assert kept_run(tmp_path) is None  # no warning: nothing has been finished


def test_damaged_histories_are_named_and_begun_again(tmp_path):
    path = tmp_path / "trace.json"
    assert kept_json(path) == {}
    keep_json(path, {"0": [1, 2]})
    assert kept_json(path) == {"0": [1, 2]}
    for content in (b'{"0": [1', b"", b"\xff\xfe", b"[]"):
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="trace.json is damaged"):
            assert kept_json(path) == {}


# --- what cannot be written --------------------------------------------------------------------------------------------------
def test_a_full_disk_costs_what_is_kept_and_not_the_run(tmp_path, monkeypatch):
    def full(part, content):
        open(part, "wb").close()
        raise OSError(28, "No space left on device")

    mine = Counted([1.0, 2.0])
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.warns(UserWarning, match=r"kept.npz could not be written \(No space left on device\): the run goes on without"):
        assert mine.run(tmp_path) == (3.0, 1)
    assert not list(tmp_path.rglob("*.part"))
    with pytest.warns(UserWarning, match="trace.json could not be written"):
        keep_json(tmp_path / "trace.json", {})
    monkeypatch.undo()
    assert mine.run(tmp_path) == (3.0, 2) == mine.run(tmp_path)


def test_a_folder_that_cannot_be_made_costs_what_is_kept_and_not_the_run(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.warns(UserWarning, match="nothing is kept there"),
        pytest.warns(UserWarning, match="kept.npz could not be written"),
    ):
        assert Counted([1.0]).run(tmp_path / "file" / "out") == (1.0, 1)


# --- one at a time -----------------------------------------------------------------------------------------------------------
HOLD = """
import sys, time
from pathlib import Path
from activebmr.folders import alone_in
with alone_in(Path(sys.argv[1])):
    (Path(sys.argv[1]) / ".rows.json.1-aa.part").write_text("x")
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_in_one_folder_and_one_that_was_killed(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        mine = Counted([1.0])
        with pytest.raises(BlockingIOError, match=rf"another run \(process {other.pid}\) is at work in .*: wait until it ends"):
            mine.run(tmp_path)
        assert mine.made == 0
        assert mine.run(tmp_path / "other") == (1.0, 1)
    finally:
        other.kill()
        other.communicate()
    assert mine.run(tmp_path) == (1.0, 2)  # what was killed holds nothing
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_is_free_again_after_an_error(tmp_path):
    with pytest.raises(KeyError), alone_in(tmp_path):
        raise KeyError
    with alone_in(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(BlockingIOError), alone_in(tmp_path):
            pass


def test_where_nothing_can_be_locked_a_warning_says_so(tmp_path, monkeypatch):
    def cannot(file):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folders, "_lock", cannot)
    with pytest.warns(UserWarning, match=r"cannot be locked \(Operation not supported\)"):
        assert Counted([1.0]).run(tmp_path) == (1.0, 1)


# --- the command -------------------------------------------------------------------------------------------------------------
def test_prune_alone_prints_its_help(capsys):
    assert cli.main(["prune"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and all(name in said.out for name in ("Usage", "bmrs", "bnn", "sparse"))


def command(*words):
    return [sys.executable, "-m", "activebmr", "prune", *map(str, words)]


OTHER_SIGNALS = [("SIGHUP", 1), ("SIGKILL", 2)]


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("sign, jobs", [("SIGTERM", 2), *(pytest.param(*p, marks=pytest.mark.slow) for p in OTHER_SIGNALS)])
def test_signals_end_the_command_and_its_workers(tmp_path, sign, jobs):
    """Workers hold the command's output open: that it closes says that all have ended."""
    pytest.importorskip("sklearn")
    words = f"--seeds 2 --jobs {jobs} --epochs 5000 --criterion none --no-figures -q".split()
    number, env = getattr(signal, sign), {**os.environ, "OMP_NUM_THREADS": "1"}
    # whatever started the tests may ignore the signal; a function between fork and exec would not do beside threads
    was = None if sign == "SIGKILL" else signal.signal(number, signal.SIG_DFL)
    try:
        line = command("bmrs", *words, "--out", tmp_path)
        run = subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
    finally:
        if was is not None:
            signal.signal(number, was)
    try:
        start = time.monotonic()
        while len(list(tmp_path.rglob("dense.pt"))) < jobs and run.poll() is None and time.monotonic() - start < 60:
            time.sleep(0.1)
        run.send_signal(number)
        said = run.communicate(timeout=15)[1]
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    if sign != "SIGKILL":
        assert run.returncode == 128 + number and "the same command goes on from there" in said and "Traceback" not in said
        assert not list(tmp_path.rglob("*.part"))
    else:
        assert run.returncode == -number


def test_a_report_that_cannot_be_written_is_named_and_its_table_shown(tmp_path, monkeypatch, capsys):
    from activebmr.cli import prune_shared

    def full(path, content, indent=None):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "write_json", full)
    with pytest.raises(Exception, match=r"report.json could not be written: No space left on device"):
        prune_shared.run_and_report(
            lambda folder, tell: ([{"value": 1}], []),
            {},
            tmp_path,
            table=lambda rows, kept: print(rows),
            figures="none",
            no_figures=True,
            quiet=False,
        )
    assert "{'value': 1}" in capsys.readouterr().out


def test_warnings_of_the_command_are_one_line_each(monkeypatch):
    said, before = [], warnings.formatwarning

    def names():
        said.append(warnings.formatwarning("disk\n  is full", UserWarning, "file.py", 3))
        return []

    monkeypatch.setattr(cli, "paradigm_names", names)
    assert cli.main(["list"]) == 2
    assert said == ["warning: disk is full\n"] and warnings.formatwarning is before
