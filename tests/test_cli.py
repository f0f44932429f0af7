"""The command line: what it writes, what it says, and how it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activebmr import Result, __version__, load_recording, replay, simulate
from activebmr.cli import command as cli
from activebmr.cli import report
from activebmr.simulation import registry
from paradigms import three_ball

Call = Callable[..., tuple[int, str, str]]

SMALL = ("--agents", "3", "--trials", "2", "--no-figures")
"""Options of a run that takes no time."""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command in an empty folder: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: object) -> tuple[int, str, str]:
        status = cli.main([str(w) for w in words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if any long work begins."""

    def work(*_: Any, **__: Any) -> None:
        pytest.fail("long work began before everything was checked")

    monkeypatch.setattr(sys.modules["activebmr.simulation.simulate"], "simulate", work)
    monkeypatch.setattr(sys.modules["activebmr.behaviour.replay"], "replay", work)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def refused(answer: tuple[int, str, str], *parts: str) -> None:
    status, out, err = answer
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err


# --- help ------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ((), ("list", "run", "replay", "plot", "--version", "activebmr run three-ball")),
        (("list",), ("schemes", "entry-point group", "activebmr.paradigms")),
        (
            ("run",),
            (
                *("--scheme NAME", "--true-rule N|random", "--agents N", "--trials N", "--seed N", "--jobs N", "--out DIR"),
                *("--no-figures", "--quiet", "64", "32", "results/PARADIGM", "Ctrl-C", "activebmr run three-ball --scheme"),
            ),
        ),
        (
            ("replay",),
            (
                *("recorded participants", "states    (trial, factor, time)", "controls  (trial, factor, time)", "--scheme"),
                *("outcomes  (trial, modality, time)", "counted from 0", "activebmr replay three-ball", "q_pi", "--out"),
            ),
        ),
        (("plot",), ("RESULT", "--out DIR", "activebmr plot results/three-ball/result.npz")),
    ],
)
def test_help_is_enough(call: Call, command: tuple[str, ...], parts: tuple[str, ...]) -> None:
    status, out, err = call(*command, "--help")
    assert (status, err) == (0, "")
    for part in parts:
        assert part in out
    assert call(*command, "-h")[1] == out


def test_no_command_is_answered_with_help(call: Call) -> None:
    assert call() == call("--help")


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"activebmr {__version__}\n", "")


def test_module_runs_as_command() -> None:
    done = subprocess.run([sys.executable, "-m", "activebmr", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"activebmr {__version__}\n", "")


def test_list_shows_rules_and_all_schemes(call: Call) -> None:
    status, out, err = call("list")
    assert (status, err) == (0, "")
    words = " ".join(out.split())
    assert "0 to 80; by default 64, the colour of the centre ball" in words
    for scheme in three_ball.SCHEMES:
        assert f"  {scheme} " in out
    assert "reasoning (default)" in out
    # every paradigm marks the one scheme that is its default
    assert out.count("(default)") == out.count("schemes (--scheme):") == len(registry.paradigm_names())
    status, out, err = call("list", "bandit", "three-ball")
    assert (status, err, out.count("schemes (--scheme):")) == (0, "", 2) and "option (--set preference=...)" in out
    status, out, err = call("list", "bandt")
    assert (status, out) == (2, "") and "did you mean 'bandit'?" in err


# --- run -------------------------------------------------------------------------------------------------------------------
def test_result_file_is_what_was_promised(call: Call, tmp_path: Path) -> None:
    options = ("--scheme", "paper", "--scheme", "knowing", "--seed", 5, "--true-rule", 7, "--out", "deep/er")
    status, out, err = call("run", "three-ball", *SMALL, *options)
    assert (status, err) == (0, "")
    target = tmp_path / "deep" / "er" / "result.npz"
    assert sorted(p.name for p in target.parent.iterdir()) == ["result.npz"]
    held = arrays_of(target)
    for name in (
        "wins",
        "losses",
        "confidence",
        "free_energy",
        "log_odds",
        "kl_to_truth",
        "best_model",
        "true_model_posterior",
    ):
        assert held[name].shape == (2, 3, 2), name
    assert held["model_posterior"].shape == (2, 3, 2, 81)
    for name in ("score", "discovery_trials", "adopted_model", "adoption_trial"):
        assert held[name].shape == (2, 3), name
    assert held["scheme"].tolist() == ["paper", "knowing"]
    assert held["model_names"].shape == (81,) and held["true_model"] == 7
    assert held["seed"] == 5 and str(held["version"]) == __version__
    settings = Result.load(target).settings
    expected = {"paradigm": "three-ball", "n_agents": 3, "n_trials": 2, "seed": 5, "truth": 7, "interrupted": False}
    assert expected.items() <= settings.items() and set(settings["schemes"]) == {"paper", "knowing"}
    np.testing.assert_array_equal(held["score"], (held["wins"] - held["losses"]).sum(axis=2))
    np.testing.assert_array_equal(held["discovery_trials"], (held["kl_to_truth"] > 1).sum(axis=2))
    np.testing.assert_allclose(held["model_posterior"][0].sum(axis=-1), 1.0)
    assert f"result: {Path('deep/er/result.npz')}" in out and "true rule: 7, the colour of" in out


def test_run_gives_the_numbers_of_the_library(call: Call, tmp_path: Path) -> None:
    assert call("run", "three-ball", *SMALL, "--seed", 3, "--out", tmp_path)[0] == 0
    result = simulate(three_ball.paradigm("reasoning"), 3, 2, 3)
    assert_same(arrays_of(tmp_path / "result.npz"), result.arrays)


def test_defaults(call: Call, tmp_path: Path) -> None:
    assert call("run", "three-ball", "--trials", "1", "--no-figures")[0] == 0
    result = Result.load(tmp_path / "results" / "three-ball" / "result.npz")
    assert result.schemes == ["reasoning"] and int(result.true_model) == 64 and int(result.seed) == 0
    assert result.sizes["agent"] == 64


def test_numbers_do_not_depend_on_jobs(call: Call, tmp_path: Path) -> None:
    options = ("--scheme", "paper-states", "--scheme", "paper-none", "--agents", 5, "--trials", 2, "--no-figures")
    for jobs in (1, 2, -1, 1000):
        assert call("run", "three-ball", *options, "--jobs", jobs, "--out", tmp_path / str(jobs))[0] == 0
        assert_same(arrays_of(tmp_path / "1" / "result.npz"), arrays_of(tmp_path / str(jobs) / "result.npz"))


def test_all_schemes_and_repeated_ones(call: Call, tmp_path: Path) -> None:
    assert call("run", "three-ball", "--agents", 1, "--trials", 1, "--no-figures", "--scheme", "all", "--out", "a")[0] == 0
    assert Result.load(tmp_path / "a" / "result.npz").schemes == list(three_ball.SCHEMES)
    assert call("run", "three-ball", *SMALL, "--scheme", "knowing", "--scheme", "knowing", "--out", "b")[0] == 0
    assert Result.load(tmp_path / "b" / "result.npz").schemes == ["knowing"]


def test_random_rules_differ_between_agents(call: Call, tmp_path: Path) -> None:
    status, out, _ = call("run", "three-ball", *SMALL, "--scheme", "paper-none", "--true-rule", "random", "--out", "o")
    assert status == 0 and "another one for every agent" in out
    assert len(set(Result.load(tmp_path / "o" / "result.npz").true_model.tolist())) > 1


def test_schemes_that_need_a_rule_are_left_out_of_all(call: Call, tmp_path: Path) -> None:
    words = ("run", "three-ball", *SMALL, "--scheme", "all", "--true-rule", "random", "--out", "o", "-q")
    status, out, err = call(*words)
    assert (status, out) == (0, "") and err.startswith("left out: knowing: true_rule must be a number") and err.count("\n") == 1
    schemes = Result.load(tmp_path / "o" / "result.npz").schemes
    assert schemes == [s for s in three_ball.SCHEMES if s != "knowing"]
    refused(call(*words, "--scheme", "knowing"), "all")  # named beside it, nothing is left out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_told_in_a_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "activebmr", "list"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith(b"error: output could not be written: No space left")
    assert done.stderr.count(b"\n") == 1


def test_quiet_says_nothing(call: Call, tmp_path: Path) -> None:
    assert call("run", "three-ball", *SMALL, "--quiet", "--out", "o") == (0, "", "")
    assert (tmp_path / "o" / "result.npz").is_file()


def made_up_result(discovery: list[list[int]], score: list[list[float]], adopted: list[list[int]]) -> Result:
    """A result with known statistics: 9 trials, three models of which the first two agree everywhere and the first is true."""
    shape = (*np.shape(score), 9)
    arrays: dict[str, Any] = {name: np.zeros(shape) for name in ("wins", "losses", "confidence", "free_energy", "log_odds")}
    arrays |= {name: np.zeros(shape) for name in ("kl_to_truth", "best_model", "true_model_posterior")}
    arrays |= {"model_posterior": np.zeros((*shape, 3)), "adoption_trial": np.zeros(shape[:2]), "version": "0", "seed": 4}
    arrays |= {"score": np.array(score), "discovery_trials": np.array(discovery), "adopted_model": np.array(adopted)}
    arrays |= {"scheme": np.array(["one", "other"][: len(score)]), "model_names": np.array(["a", "b", "c"])}
    return Result(arrays | {"model_class": np.array([0, 0, 1]), "true_model": 0, "settings": "{}"})


def test_table_holds_the_right_numbers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = made_up_result([[2, 4, 4, 8], [3, 5, 9, 9]], [[1, 2, 3, 6], [1, 1, 1, 1]], [[0, 1, 2, -1], [-1, -1, -1, 2]])
    report.report_run(result, three_ball.paradigm(), Path("x"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    # mean 4.5, deviations -2.5 -.5 -.5 3.5: variance 19/3, standard error sqrt(19/12); likewise for the others
    assert ["one", "50%", "1", "4.5", "+-", "1.3", "4", "3.0", "+-", "1.1"] in lines
    assert ["other", "0%", "1", "6.5", "+-", "1.5", "7", "1.0", "+-", "0.0"] in lines
    # differences of pairs 1 1 5 1 and 0 -1 -2 -5, not differences of means with their errors added
    assert ["other", "2.0", "+-", "1.0", "-2.0", "+-", "1.1"] in lines


def test_one_agent_has_no_standard_error(call: Call) -> None:
    status, out, _ = call("run", "three-ball", "--agents", 1, "--trials", 1, "--no-figures")
    assert status == 0 and "nan" not in out and "reasoning" in out


def test_legend_says_what_discovery_means(call: Call) -> None:
    out = " ".join(call("run", "three-ball", *SMALL)[1].split())
    assert "discovery: trials at whose end the learned likelihood was further than 1 nat from the truth" in out


@pytest.mark.parametrize("width", [30, 44, 80, 200])
def test_narrow_terminals(call: Call, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (("run", "three-ball", *SMALL, "--scheme", "knowing", "--scheme", "paper-none", "--out", "o"), ("list",)):
        status, out, _ = call(*words)
        assert status == 0 and max(map(len, out.splitlines())) <= width
        assert "paper-none" in out


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_piped_output_is_plain(tmp_path: Path, encoding: str) -> None:
    command = [sys.executable, "-m", "activebmr", "run", "three-ball", *SMALL, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=60, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding)
    assert "\x1b" not in shown and "\r" not in shown.replace(os.linesep, "\n") and "reasoning" in shown


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_progress_bar(tmp_path: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "activebmr", "run", "three-ball", *SMALL, "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    shown = b""
    with open(leader, "rb", buffering=0) as terminal:
        while True:
            try:
                part = terminal.read(1024)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            shown += part
    assert process.wait(timeout=60) == 0
    assert b"simulating" in shown and b"6/6" in shown


def test_only_drawing_imports_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys; from activebmr.cli import main\n"
        f"assert main(['list']) == 0 and main(['run', 'three-ball', *{SMALL!r}, '--out', {str(tmp_path)!r}]) == 0\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


# --- wrong input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("runn", "three-ball"), ("runn", "run")),
        (("run",), ("PARADIGM",)),
        (("run", "three-ball", "--speed", "3"), ("--speed",)),
        (
            ("run", "three-ball", "--seed", "1", "--agents", "2", "--seed=2"),
            ("--seed must be given once; it is there 2 times",),
        ),
        (
            ("run", "bandit", "--set", "preference=1.0", "--set", "preference=2.0"),
            ("--set preference must be given once; got",),
        ),
        (("run", "three-bal"), ("three-bal", "three-ball")),
        (("run", "three-ball", "--scheme", "papr"), ("papr", "did you mean 'paper'", "paper-no-selection")),
        (("run", "three-ball", "--true-rule", "81"), ("--true-rule must be 0 to 80; got 81",)),
        (("run", "three-ball", "--true-rule", "-1"), ("--true-rule must be 0 to 80; got -1",)),
        (("run", "three-ball", "--true-rule", "1.5"), ("--true-rule must be a whole number", "'1.5'", "random")),
        (("run", "three-ball", "--agents", "0"), ("--agents must be 1 or more; got 0",)),
        (("run", "three-ball", "--agents", "many"), ("--agents",)),
        (("run", "three-ball", "--trials", "-2"), ("--trials must be 1 or more; got -2",)),
        (("run", "three-ball", "--seed", "-1"), ("--seed must be 0 to", "got -1")),
        (("run", "three-ball", "--seed", str(2**64)), ("--seed must be 0 to", str(2**64))),
        (("run", "three-ball", "--jobs", "0"), ("--jobs must be 1 or more, or -1", "got 0")),
        (("run", "three-ball", "--jobs", "-2"), ("--jobs must be 1 or more, or -1", "got -2")),
        (("run", "three-ball", "--agents", "1000000000000"), ("memory", "use fewer")),
        (("run", "three-ball", "--out", "taken"), ("--out", "taken", "a file is in the way")),
        (("run", "three-ball", "--out", "taken/deeper"), ("--out", "a file is in the way")),
        (("run", "three-ball", "--out", "result-is-folder"), ("result.npz is in the way",)),
        (("run", "three-ball", "--out", "unfinished-is-file"), ("unfinished is in the way",)),
        (("replay", "three-ball", "none.npz"), ("--out",)),
        (("replay", "three-bal", "good.npz", "--out", "x.npz"), ("three-ball",)),
        (("replay", "three-ball", "none.npz", "--out", "x.npz"), ("recording none.npz does not exist",)),
        (("replay", "three-ball", "taken", "--out", "x.npz"), ("taken", "not a readable .npz")),
        (("replay", "three-ball", "lacking.npz", "--out", "x.npz"), ("it lacks", "'controls'")),
        (("replay", "three-ball", "table.csv", "--out", "x.npz"), ("table.csv", "not a readable .npz", "text, or a CSV table")),
        (("replay", "three-ball", "fractions.npz", "--out", "x.npz"), ("states", "must hold integers")),
        (("replay", "three-ball", "good.npz", "--out", "x.npz", "--true-rule", "random"), ("--true-rule", "'random'")),
        (("replay", "three-ball", "good.npz", "--out", "x.npz", "--scheme", "papr"), ("did you mean 'paper'",)),
        (("replay", "three-ball", "good.npz", "--out", "good.npz"), ("another file than the recording",)),
        (("replay", "three-ball", "good.npz", "--out", "taken/x.npz"), ("--out taken", "a file is in the way")),
        (("replay", "three-ball", "good.npz", "--out", "result-is-folder"), ("result-is-folder is in the way",)),
        (("replay", "three-ball", "good.npz", "--out", os.devnull), ("in the way",)),
        (("plot", "none.npz"), ("result file none.npz does not exist",)),
        (("plot", "taken"), ("taken", "not a readable .npz")),
        (("plot", "good.npz"), ("it lacks", "'wins'")),
        (("plot", "half.npz"), ("half.npz", "truncated")),
        (("plot", "pickle.npz"), ("pickle.npz", "pickled objects")),
        (("plot", "result.npz", "--out", "taken"), ("--out taken", "a file is in the way")),
    ],
    ids=lambda value: " ".join(value)[:70] if isinstance(value[0], str) else "",
)
def test_wrong_input_is_refused_in_a_line(
    call: Call, no_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(three_ball, "figures", lambda *_: pytest.fail("drawn"), raising=False)
    lay_out_files(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    refused(call(*words), *parts)
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("executed").exists()


class Malicious:
    """An object whose pickle would leave a file behind if it were ever loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("executed", "w")


def lay_out_files(folder: Path) -> None:
    """Good and bad files for the tests of wrong input."""
    (folder / "taken").write_text("a file")
    (folder / "table.csv").write_text("trial,time,gaze\n0,0,3\n")
    (folder / "result-is-folder" / "result.npz").mkdir(parents=True)
    (folder / "unfinished-is-file").mkdir()
    (folder / "unfinished-is-file" / "unfinished").write_text("a file")
    recording = {n: np.zeros((1, k, 6), dtype=int) for n, k in (("states", 5), ("controls", 5), ("outcomes", 3))}
    np.savez(folder / "good.npz", **recording)
    np.savez(folder / "lacking.npz", states=recording["states"])
    np.savez(folder / "fractions.npz", **recording | {"states": recording["states"] + 0.5})
    result = made_up_result([[1]], [[1]], [[0]])
    for name, settings in (("result", '{"paradigm": "three-ball"}'), ("stranger", '{"paradigm": "stranger"}')):
        np.savez(folder / f"{name}.npz", **result.arrays | {"settings": settings})
    np.savez(folder / "nameless.npz", **result.arrays)
    np.savez(folder / "pickle.npz", **result.arrays | {"wins": np.array([Malicious()])})
    whole = (folder / "result.npz").read_bytes()
    (folder / "half.npz").write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("command", ["run", "replay", "plot"])
def test_folders_without_permission_are_refused(
    call: Call, no_work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    lay_out_files(tmp_path)
    monkeypatch.setattr(three_ball, "figures", lambda *_: pytest.fail("drawn"), raising=False)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", denied)
    words = {"run": ("three-ball", "--out", "o"), "replay": ("three-ball", "good.npz", "--out", "o/x.npz")}
    refused(call(command, *words.get(command, ("result.npz", "--out", "o"))), "--out o", "Permission denied")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that refuses even root")
def test_folders_that_refuse_even_root(call: Call, no_work: None) -> None:
    refused(call("run", "three-ball", "--out", "/proc/activebmr"), "--out /proc/activebmr cannot be used")
    refused(call("run", "three-ball", "--out", "/proc/self"), "--out /proc/self cannot be used")


def test_a_recording_that_does_not_fit_is_refused(call: Call, tmp_path: Path) -> None:
    recording = {n: np.zeros((1, k, 6), dtype=int) for n, k in (("states", 5), ("controls", 5), ("outcomes", 3))}
    for change, part in (
        ({"outcomes": np.zeros((1, 2, 6), dtype=int)}, "outcomes of the recording must have shape"),
        ({"outcomes": np.zeros((1, 3), dtype=int)}, "axes (trial, modality, time)"),
        ({"states": np.full((1, 5, 6), 9)}, "must lie in 0..2, or be -1 where it was not known; got 9"),
        ({"controls": np.full((1, 5, 6), 1)}, "must lie in 0..0, or be -1 where it was missed; got 1"),
    ):
        np.savez(tmp_path / "r.npz", **recording | change)
        refused(call("replay", "three-ball", "r.npz", "--out", "x.npz"), part)
        assert not (tmp_path / "x.npz").exists()


def test_a_full_disk_is_told(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Result, "save", full)
    status, _, err = call("run", "three-ball", *SMALL)
    assert status == 1 and err.startswith("error: ") and "No space left" in err and err.count("\n") == 1


# --- figures ---------------------------------------------------------------------------------------------------------------
def draw_something(result: Result, folder: Path) -> list[Path]:
    (folder / "one.png").write_text(",".join(result.schemes))
    return [folder / "one.png"]


def test_run_and_plot_draw(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(three_ball, "figures", draw_something, raising=False)
    status, out, _ = call("run", "three-ball", *SMALL[:-1], "--out", "o")
    assert status == 0 and "figures: o: one.png" in out
    (tmp_path / "o" / "one.png").unlink()
    assert call("plot", "o/result.npz") == (0, "figures: o: one.png\n", "")
    assert call("plot", "o/result.npz", "--out", "p/q", "--quiet") == (0, "", "")
    assert (tmp_path / "o" / "one.png").read_text() == (tmp_path / "p" / "q" / "one.png").read_text() == "reasoning"


def test_what_draws_nothing_of_its_own_gets_figures_that_suit_any(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(three_ball, "figures", raising=False)
    status, out, _ = call("run", "three-ball", *SMALL[:-1], "--out", "o")
    assert status == 0 and "figures: o: trials_answered_right.png" in out
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "o").glob("*.png")}
    assert len(drawn) > 3
    for name in drawn:
        (tmp_path / "o" / name).unlink()
    assert call("plot", "o/result.npz")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "o").glob("*.png")} == drawn


@pytest.mark.parametrize("name", ["stranger", "nameless"])
def test_results_of_paradigms_that_are_not_here_are_drawn_too(call: Call, tmp_path: Path, name: str) -> None:
    lay_out_files(tmp_path)
    status, out, err = call("plot", f"{name}.npz", "--out", "o")
    assert (status, err) == (0, "") and "figures: o: " in out
    assert (tmp_path / "o" / "agents_score.png").stat().st_size > 5_000


def test_a_result_outlives_failing_figures(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of ink")

    monkeypatch.setattr(three_ball, "figures", fail, raising=False)
    status, out, err = call("run", "three-ball", *SMALL[:-1], "--out", "o")
    assert status == 1 and err == "error: the figures could not be drawn: RuntimeError: out of ink\n"
    assert Result.load(tmp_path / "o" / "result.npz").schemes == ["reasoning"] and "result: " in out


# --- replay ----------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def lived() -> Result:
    """Two agents that were watched through three trials."""
    return simulate(three_ball.paradigm("paper"), 2, 3, 1, trace=True)


def record(lived: Result, path: Path, agent: int) -> None:
    names = ("states", "controls", "outcomes")
    np.savez(path, **{n: lived.trace[n][0, agent].transpose(0, 2, 1) for n in names})


def test_replay_says_what_the_agent_thought(call: Call, tmp_path: Path, lived: Result) -> None:
    record(lived, tmp_path / "r.npz", 1)
    status, out, err = call("replay", "three-ball", "r.npz", "--scheme", "paper", "--out", "new/x.npz")
    assert (status, err) == (0, "") and "result: " in out
    held = arrays_of(tmp_path / "new" / "x.npz")
    shapes = {n: (3, 6, 20) for n in ("neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi")}
    shapes |= {f"qs_{ball}": (3, 6, 3) for ball in ("left", "centre", "right")} | {"qs_gaze": (3, 6, 4), "qs_choice": (3, 6, 4)}
    shapes |= {"model_posterior": (3, 6, 81), "pA_feedback": (3, 3, 3, 3, 3, 4, 4), "log_odds": (3,), "kl_to_truth": (3,)}
    policies = held["q_pi"].shape[-1]
    for name, shape in shapes.items():
        assert held[name].shape == tuple(policies if n == 20 else n for n in shape), name
    assert (str(held["scheme"]), str(held["version"]), str(held["paradigm"])) == ("paper", __version__, "three-ball")
    for name in shapes:  # the agent that is fed its own life thinks its own thoughts
        np.testing.assert_allclose(held[name], lived.trace[name][0, 1], rtol=1e-9, atol=1e-12, err_msg=name)
    for name in ("log_likelihood", "log_likelihood_q_pi", "action_probability", "impossible"):
        assert held[name].shape == (3, 6), name


def test_replay_writes_what_the_library_returns(call: Call, tmp_path: Path, lived: Result) -> None:
    record(lived, tmp_path / "r.npz", 1)
    assert call("replay", "three-ball", "r.npz", "--scheme", "knowing", "--out", "x.npz", "--quiet") == (0, "", "")
    told = replay(three_ball.paradigm("knowing"), **load_recording(tmp_path / "r.npz"))
    about = {"paradigm": "three-ball", "scheme": "knowing", "version": __version__, "true_model": 64}
    assert_same(arrays_of(tmp_path / "x.npz"), told | {name: np.asarray(value) for name, value in about.items()})


def test_replay_sums_up_how_well_the_scheme_explains(call: Call, tmp_path: Path, lived: Result) -> None:
    record(lived, tmp_path / "r.npz", 0)
    _, out, _ = call("replay", "three-ball", "r.npz", "--scheme", "paper-states", "--out", "x.npz")
    held = arrays_of(tmp_path / "x.npz")
    given = [held["q_pi"][i, t, held["policy"][i, t]] for i in range(3) for t in range(5)]  # the last action has no effect
    assert "three-ball, paper-states: 3 trials of 6 observations" in out
    chance = f"(chance {1 / held['q_pi'].shape[-1]:.3f})"
    one, other = (
        out.index("by the posterior over policies (q_pi):"),
        out.index("by the probabilities with which the agents act"),
    )
    assert f"mean {np.mean(given):.3f} {chance}" in out[one:other]
    assert f"log likelihood per choice: {np.mean(np.log(given)):.3f} nats" in out[one:other]
    assert f"mean {np.nanmean(held['action_probability']):.3f} {chance}" in out[other:]
    assert f"log likelihood per choice: {np.nanmean(held['log_likelihood']):.3f} nats" in out[other:]
    assert "adopted: no rule" in out and "impossible" not in out
    assert call("replay", "three-ball", "r.npz", "--out", "y.npz", "--quiet") == (0, "", "")
    assert str(arrays_of(tmp_path / "y.npz")["scheme"]) == "reasoning"


def test_replay_of_several_schemes_has_a_row_and_a_file_for_each(
    call: Call, tmp_path: Path, lived: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    record(lived, tmp_path / "r.npz", 0)
    words = ("--scheme", "paper", "--scheme", "knowing", "--out", "o/x.npz")
    status, out, err = call("replay", "three-ball", "r.npz", *words)
    assert (status, err) == (0, "")
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["x-knowing.npz", "x-paper.npz"]
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
    for scheme in ("paper", "knowing"):
        held = arrays_of(tmp_path / "o" / f"x-{scheme}.npz")
        assert str(held["scheme"]) == scheme
        q_pi = held["log_likelihood_q_pi"]
        means = [np.nanmean(q_pi), -np.log(16), np.nanmean(np.exp(q_pi))]
        acting = f"{np.nanmean(held['log_likelihood']):.5g}"
        assert rows[scheme] == [*(f"{x:.3f}" for x in means), acting, "0", "0"]
        assert f"result: {Path('o') / f'x-{scheme}.npz'}" in out
    record(lived, tmp_path / "x-paper.npz", 0)
    refused(call("replay", "three-ball", "x-paper.npz", *words[:4], "--out", "x.npz"), "another file than the recording")


def test_replay_of_several_participants(call: Call, tmp_path: Path, lived: Result) -> None:
    names = ("controls", "outcomes")
    recorded = {n: lived.trace[n][0].transpose(0, 1, 3, 2).copy() for n in names}
    recorded["controls"], recorded["outcomes"][1, 2] = recorded["controls"][..., :5], -1
    recorded["controls"][1, 2], recorded["controls"][0, 0, :, 3] = -1, -1
    np.savez(tmp_path / "r.npz", **recorded)
    status, out, err = call("replay", "three-ball", "r.npz", "--scheme", "paper", "--out", "x.npz")
    assert (status, err) == (0, "") and "three-ball, paper: 2 participants, 3 trials of 6 observations" in out
    assert "1 of 25 responses were missed and are left out" in out and "adopted a rule: 0 of 2 participants" in out
    held = arrays_of(tmp_path / "x.npz")
    assert held["log_likelihood"].shape == (2, 3, 6) and np.isfinite(held["log_likelihood"]).sum() == 24
    assert f"log likelihood per choice: {np.nanmean(held['log_likelihood_q_pi']):.3f} nats" in out


def test_replay_counts_what_is_impossible_under_the_scheme(call: Call, tmp_path: Path, lived: Result) -> None:
    recorded = {n: lived.trace[n][0, 0].transpose(0, 2, 1).copy() for n in ("controls", "outcomes")}
    recorded["outcomes"][:, 1] = (recorded["outcomes"][:, 1] + 1) % 4  # where one looks, as if counted from 1
    np.savez(tmp_path / "r.npz", **recorded)
    status, out, err = call("replay", "three-ball", "r.npz", "--scheme", "paper", "--out", "x.npz")
    count = arrays_of(tmp_path / "x.npz")["impossible"].sum()
    assert (status, err) == (0, "") and count > 10
    assert f"{count} of 18 observations are impossible under the scheme" in " ".join(out.split())


def test_replay_tells_the_adopted_rule_and_odd_actions(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    paradigm = three_ball.paradigm()
    arrays: dict[str, Any] = {name: np.full((2, 6), np.log(0.25)) for name in ("log_likelihood", "log_likelihood_q_pi")}
    arrays |= {"action_probability": np.full((2, 6), 0.25), "chance": np.full((2, 6), 0.0625)}
    for array in arrays.values():
        array[:, 5] = np.nan
    arrays |= {"free_energy": np.zeros((2, 6)), "impossible": np.zeros((2, 6), dtype=bool)}
    report.report_replay([paradigm], [arrays | {"adopted_model": np.array([-1, 64])}], [Path("x")])
    out = capsys.readouterr().out
    assert out.count("mean 0.250 (chance 0.062)") == out.count(f"{np.log(0.25):.3f} nats (chance {np.log(1 / 16):.3f})") == 2
    assert "adopted after trial 1 (counted from 0): rule 64, the colour of the centre ball" in out and "left out" not in out
    for name, value in (("log_likelihood", -np.inf), ("log_likelihood_q_pi", -np.inf), ("chance", 0.0)):
        arrays[name][1, :5] = value
    arrays["log_likelihood"][0, 0] = -np.inf
    report.report_replay([paradigm], [arrays | {"adopted_model": np.array([-1, -1])}], [Path("x")])
    out = capsys.readouterr().out
    assert "5 of 10 recorded actions begin no policy and are left out" in out and "adopted: no rule" in out
    assert "1 of 5 recorded actions are ones that such agents never do" in out and "-inf nats" in out


def test_replay_of_an_agent_without_hypotheses(call: Call, tmp_path: Path, lived: Result) -> None:
    record(lived, tmp_path / "r.npz", 0)
    status, out, err = call("replay", "three-ball", "r.npz", "--scheme", "knowing", "--out", "x.npz", "--true-rule", 64)
    assert (status, err) == (0, "") and "log likelihood" in out
    assert "model_posterior" not in arrays_of(tmp_path / "x.npz")


def test_a_trial_of_a_replay_is_plotted(call: Call, tmp_path: Path, lived: Result) -> None:
    record(lived, tmp_path / "r.npz", 0)
    assert call("replay", "three-ball", "r.npz", "--out", "x.npz", "--quiet") == (0, "", "")
    status, out, err = call("plot", "x.npz", "--trial", 2)
    assert (status, out, err) == (0, "figures: .: x-trial2.png\n", "") and (tmp_path / "x-trial2.png").stat().st_size > 10_000
    plots = pytest.importorskip("activebmr.plots")
    plots.policies(dict(np.load(tmp_path / "x.npz")), three_ball.world_model())


def test_a_run_tells_what_was_impossible(capsys: pytest.CaptureFixture[str]) -> None:
    result = made_up_result([[2, 4]], [[1, 2]], [[0, 1]])
    report.report_run(result, three_ball.paradigm(), Path("x"))
    assert "impossible" not in capsys.readouterr().out
    result.arrays["impossible"][0, 1, 3] = 3
    report.report_run(result, three_ball.paradigm(), Path("x"))
    assert "one: 3 observations were impossible under its agents' model" in capsys.readouterr().out


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_finished_agents_and_goes_on(call: Call, tmp_path: Path, jobs: int) -> None:
    words = ["run", "three-ball", "--scheme", "paper-no-selection", "--agents", "768", "--trials", "6", "--no-figures"]
    words += ["--jobs", str(jobs), "--out"]
    code = (  # a shell may have started the tests in the background, with SIGINT ignored
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from activebmr.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words, str(tmp_path / "cut")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cut/unfinished/*/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and "the same command goes on from there" in err
    partial = Result.load(tmp_path / "cut" / "result.npz")
    kept = partial.sizes["agent"]
    assert 0 < kept < 768 and partial.settings["interrupted"] and partial.settings["n_agents"] == kept
    assert f"interrupted: {kept} of 768 agents" in err and f"{kept} agents, 6 trials" in out

    assert call(*words, tmp_path / "cut", "--quiet")[0] == 0
    assert call(*words, tmp_path / "whole", "--quiet")[0] == 0
    assert_same(arrays_of(tmp_path / "cut" / "result.npz"), arrays_of(tmp_path / "whole" / "result.npz"))
    assert not (tmp_path / "cut" / "unfinished").exists()
    assert not Result.load(tmp_path / "cut" / "result.npz").settings["interrupted"]


def test_ctrl_c_before_anything_was_finished(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["activebmr.simulation.simulate"], "simulate", interrupt)
    status, out, err = call("run", "three-ball", *SMALL, "--out", "o")
    assert (status, out) == (130, "") and "before any agent had finished: nothing to keep" in err
    part = tmp_path / "o" / "unfinished" / "0123" / "0-0-63.npz"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"")
    status, _, err = call("run", "three-ball", *SMALL, "--scheme", "paper", "--scheme", "knowing", "--out", "o")
    assert status == 130 and "under all schemes" in err and "the same command goes on from there" in err


@pytest.mark.parametrize("words", [("list",), ("run", "three-ball", *SMALL), ("plot", "result.npz")])
def test_ctrl_c_anywhere_else_is_a_clean_exit(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    lay_out_files(tmp_path)
    monkeypatch.setattr(registry, "entry_points", lambda group: interrupt())
    status, _, err = call(*words)
    assert status == 130 and "Traceback" not in err
