"""A paradigm is a file: run, replayed and plotted by its path, checked in sentences; and the file that `new` writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from activebmr import Paradigm, Result, load_recording, replay, simulate
from activebmr.cli import command as cli
from activebmr.cli.new import write_paradigm
from activebmr.simulation import registry

GOOD = '''
"""A file of one's own."""
import helper_beside
from activebmr import simulate
from paradigms import three_ball

NAME, DESCRIPTION, SCHEMES, DEFAULT_SCHEME, TRIALS = "mine", "a file", {"a": "one", "b": "two"}, "a", 3
OPTIONS = {"pace": ["slow", "fast"]}
MEASURES = {"clean": ("trials without a loss", "share", lambda r: r.losses == 0)}

def paradigm(scheme=DEFAULT_SCHEME, true_rule=None, *, pace="slow"):
    from dataclasses import replace
    built = three_ball.paradigm({"a": "paper-none", "b": "knowing"}[scheme], true_rule)
    return replace(built, name=NAME, scheme=scheme, measures={}, settings={"pace": pace, "help": helper_beside.WORD})
'''


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run the command in a folder with `mine.py` in it: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "helper_beside.py").write_text("WORD = 'beside'")

    def run(*words):
        status = cli.main([str(w) for w in words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


# --- files -----------------------------------------------------------------------------------------------------------------
def test_a_file_that_lies_beside_the_package_itself(tmp_path):
    """Where the source was fetched to, and where everyone tries first: the installed command looks for packages elsewhere."""
    assert write_paradigm("my-maze", tmp_path)
    for name in ("activebmr", "paradigms"):
        try:
            (tmp_path / name).symlink_to(Path(registry.__file__).parents[2] / name, target_is_directory=True)
        except OSError as refused:  # Windows, without the right to
            pytest.skip(f"no links here: {refused}")
    code = "import sys; sys.path.pop(0); from activebmr.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", "./my_maze.py", "--scheme", "all", "--agents", "4", "--trials", "2", "--jobs", "2", "--no-figures", "-q"]
    for _ in range(2):  # also where finished agents are read
        done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_file_runs_by_its_path(call, tmp_path):
    status, out, err = call("run", "./mine.py", "--scheme", "all", "--agents", 4, "--set", "pace=fast")
    assert (status, err) == (0, "")
    assert "mine: 4 agents, 3 trials" in out and "clean: trials without a loss" in out
    result = Result.load(tmp_path / "results" / "mine" / "result.npz")
    assert result.schemes == ["a", "b"] and result.own_measures == ["clean"]
    settings = result.settings["schemes"]["a"]
    assert (settings["pace"], settings["help"]) == ("fast", "beside")
    assert Path(settings["file"]) == tmp_path / "mine.py"
    np.testing.assert_array_equal(result.clean, result.losses == 0)
    drawn = {p.name for p in (tmp_path / "results" / "mine").glob("*.png")}
    assert {"trials_clean.png", "hypotheses.png"} <= drawn and all(name in out for name in drawn)


def test_the_numbers_are_the_same_in_other_processes(call, tmp_path):
    for jobs in (1, 2):
        assert call("run", "mine.py", "--agents", 3, "--trials", 2, "--jobs", jobs, "--no-figures", "--out", f"o{jobs}")[0] == 0
    one, two = (Result.load(tmp_path / f"o{j}" / "result.npz") for j in (1, 2))
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(two.arrays[name], array, err_msg=name)


def test_a_result_of_a_file_is_plotted_again(call, tmp_path):
    assert call("run", "./mine.py", "--agents", 2, "--no-figures", "-q")[0] == 0
    file = tmp_path / "mine.py"
    file.write_text(
        GOOD + "\ndef figures(result, folder):\n    p = folder / 'own.png'\n    p.write_text('x')\n    return [p]\n"
    )
    drawn = call("plot", "results/mine/result.npz", "--paradigm", "mine.py")
    assert drawn == (0, "figures: results/mine: own.png\n", "")
    status, out, _ = call("plot", "results/mine/result.npz")
    assert status == 0 and "trials_clean.png" in out and "--paradigm mine.py" in out
    status, _, err = call("plot", "results/mine/result.npz", "--agent", 0)
    assert status == 2 and "--paradigm mine.py" in err
    status, out, _ = call("plot", "results/mine/result.npz", "--agent", 0, "--paradigm", "mine.py")
    assert status == 0 and "-agent0-trial1.png" in out


def test_a_recording_is_replayed_by_a_file(call, tmp_path):
    lived = simulate(registry.build_paradigm(registry.load_paradigm("./mine.py"), "a"), 1, 2, trace=True).trace
    recording = {name: np.moveaxis(lived[name][0, 0], 1, 2) for name in ("states", "controls", "outcomes")}
    np.savez(tmp_path / "r.npz", **recording)
    assert call("replay", "./mine.py", "r.npz", "--scheme", "b", "--out", "x.npz", "-q")[0] == 0
    told = replay(registry.load_paradigm("./mine.py").paradigm("b"), **load_recording(tmp_path / "r.npz"))
    with np.load(tmp_path / "x.npz") as file:
        np.testing.assert_array_equal(file["log_likelihood_q_pi"], told["log_likelihood_q_pi"])


def test_a_file_is_no_installed_paradigm(call, tmp_path):
    """The name of an installed one may be used; a result of the file never falls back on the installed one."""
    (tmp_path / "maze.py").write_text(GOOD.replace('"mine"', '"maze"'))
    assert call("run", "./maze.py", "--agents", 1, "--no-figures", "-q", "--out", "o")[0] == 0
    result = Result.load(tmp_path / "o" / "result.npz")
    assert registry.module_of(result) is None
    assert registry.told_file(result) == str(tmp_path / "maze.py")


FLAWS = {
    "nothing in it": ("", "lacks NAME"),
    "small letters": ("Name = 'x'", "lacks NAME (it has Name)"),
    "no name": (GOOD.replace('"mine"', "3"), "has a NAME that is no name: 3"),
    "a path for a name": (GOOD.replace('"mine"', '"a/b"'), "has the NAME 'a/b', which no folder can have"),
    "no schemes": (GOOD + "SCHEMES = {}", "has no SCHEMES"),
    "no function": (GOOD + "paradigm = 3", "has a paradigm that is no function"),
    "no argument": (GOOD + "def paradigm(): pass", "cannot be called as paradigm(scheme, true_rule): too many positional"),
    "numbers": (
        GOOD + "OPTIONS = {'pace': [0.5]}",
        "has OPTIONS whose values are not all text, which is what --set gives: 'pace'",
    ),
    "no option": (GOOD + "OPTIONS = {'mood': ['good']}", "has a paradigm that does not take its OPTIONS ['mood']"),
    "no measures": (GOOD + "MEASURES = {'a b': 3}", "has MEASURES that are none: measures must have names like variables"),
    "no figures": (GOOD + "figures = 'x.png'", "has a figures that is no function"),
    "no scene data": (GOOD + "scene_data = {}", "has a scene_data that is no function"),
    "no scene": (GOOD + "SCENE = 3", "has a SCENE that is neither text nor a path: 3"),
    "a mistake": ("x = 1\ny = 1 / 0\n", "cannot be loaded: line 2: ZeroDivisionError"),
    "bad grammar": ("def (:", "cannot be loaded: line 1: SyntaxError"),
    "leaves": ("import sys\nsys.exit(3)", "cannot be loaded: line 2: SystemExit: 3"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_is_wrong_with_a_file_is_said_in_a_line(call, tmp_path, flaw):
    source, message = FLAWS[flaw]
    (tmp_path / "odd.py").write_text(source)
    before = set(sys.modules)
    status, out, err = call("run", "./odd.py")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("error: paradigm file odd.py ") and message in err
    assert not {name for name in set(sys.modules) - before if "odd" in name}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("./miner.py", "paradigm file miner.py does not exist; did you mean mine.py?"),
        ("no/where.py", "paradigm file no/where.py does not exist"),
        ("./", "must be a Python file; it is a folder"),
        ("./mine.txt", "paradigm file mine.txt must end in .py"),
        ("mine", "mine.py is a file: say ./mine.py"),
    ],
)
def test_files_that_are_not_there(call, path, message):
    status, out, err = call("run", path)
    assert (status, out) == (2, "") and message in err and err.count("\n") == 1


def test_what_returns_no_paradigm_is_refused(call, tmp_path):
    (tmp_path / "odd.py").write_text(GOOD + "def paradigm(scheme, true_rule, pace=''): return 3")
    assert "paradigm of mine must return an activebmr.Paradigm; got 3" in call("run", "./odd.py")[2]


def test_measures_of_ones_own_stay(call):
    """A paradigm that says its measures itself keeps them; else it gets those of its file."""
    module = registry.load_paradigm("./mine.py")
    assert list(registry.build_paradigm(module, "a").measures) == ["clean"]
    assert list(registry.build_paradigm(registry.load_paradigm("three-ball"), "paper").measures)[0] == "discovery"


@pytest.mark.parametrize("scene", ["function scene(root, world) {}", "own.js", None])
def test_a_scene_is_text_or_a_file_beside(call, tmp_path, scene):
    (tmp_path / "own.js").write_text("function scene(root, world) { return {}; }")
    (tmp_path / "mine.py").write_text(GOOD + f"SCENE = {scene!r}")
    found = registry.scene_of(registry.load_paradigm("./mine.py"))
    assert found == {"own.js": "function scene(root, world) { return {}; }"}.get(scene, scene)
    (tmp_path / "own.js").unlink()
    if scene == "own.js":
        with pytest.raises(ValueError, match=r"SCENE of mine must be JavaScript or a file that holds it; .*own\.js"):
            registry.scene_of(registry.load_paradigm("./mine.py"))


# --- new -------------------------------------------------------------------------------------------------------------------
def test_what_new_writes_runs_at_once(call, tmp_path):
    status, out, err = call("new", "my-maze")
    assert (status, err) == (0, "") and "activebmr run ./my_maze.py" in out
    status, out, err = call("run", "./my_maze.py", "--scheme", "all", "--agents", 24)
    assert (status, err) == (0, "")
    result = Result.load(tmp_path / "results" / "my-maze" / "result.npz")
    assert result.own_measures == ["rewarded", "trials_to_truth"] and result.schemes == ["curious", "greedy"]
    # those who want to know find out what the cue means, and sooner than those who want rewards alone
    assert result.adopted_truth[0].mean() > 0.9 and result.adopted_wrong.sum() <= 2
    assert result.trials_to_truth[0].mean() < 0.75 * result.trials_to_truth[1].mean()
    assert result.rewarded[0].mean() > result.rewarded[1].mean()
    for name in ("trials_rewarded.png", "agents_trials_to_truth.png"):
        assert (tmp_path / "results" / "my-maze" / name).stat().st_size > 10_000


def test_what_new_writes_is_in_the_style_of_the_house(tmp_path):
    text = write_paradigm("my-maze", tmp_path).read_text()
    assert max(map(len, text.splitlines())) <= 128 and "__NAME__" not in text and "__FILE__" not in text
    assert text.count("#") > 25  # every part says what it is for
    module = registry.load_paradigm(str(tmp_path / "my_maze.py"))
    assert isinstance(module.paradigm(), Paradigm) and module.NAME == "my-maze"


def test_what_new_writes_runs_as_a_script(tmp_path):
    path = write_paradigm("m", tmp_path)
    done = subprocess.run([sys.executable, "-W", "error", path.name], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Result of m: 2 schemes, 16 agents, 24 trials")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../x", "NAME must be letters, digits, - and _, and begin with a letter, such as my-maze; got '../x'"),
        ("3rd", "begin with a letter"),
        ("class", "begin with a letter"),
        ("", "begin with a letter"),
        ("maze", "must not be that of an installed paradigm; got 'maze' (say my-maze, for instance)"),
        ("mine", "mine.py is there already, and nothing is replaced"),
        ("mine.py", "mine.py is there already"),
    ],
)
def test_new_refuses(call, tmp_path, name, message):
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    status, out, err = call("new", name)
    assert (status, out) == (2, "") and message in err
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
