"""Results from anyone: no file that they name is run, no name leaves the folder, and what is wrong is said in a line."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import activebmr as ab
from activebmr import cli, files, page, plots
from activebmr.cli.page import numbers
from activebmr.cli.problems import Problem
from activebmr.plots.pick import window_of
from activebmr.simulation import registry
from activebmr.simulation.contract import odd_name
from activebmr.simulation.result import Result
from activebmr.simulation.tidy import columns_of

EVIL = "from pathlib import Path\nPath('ran').write_text('x')\nfrom paradigms.three_ball import *\n"


@pytest.fixture(scope="module")
def result():
    scheme = registry.load_paradigm("three-ball").paradigm("reasoning", None)
    return ab.simulate(scheme, n_agents=2, n_trials=2, seed=0, trace=True)


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = cli.main([str(w) for w in words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def changed(result, trace=False, arrays=None, **settings):
    """A result with other settings (or arrays), as a stranger may write it."""
    held = dict(result.arrays) | (arrays or {})
    held["settings"] = np.array(json.dumps(result.settings | settings))
    return held | ({f"trace/{n}": a for n, a in result.trace.items()} if trace else {})


# --- code ------------------------------------------------------------------------------------------------------------------
def test_no_file_is_run_because_a_result_names_it(call, result, tmp_path):
    (tmp_path / "evil.py").write_text(EVIL)
    schemes = {"reasoning": result.settings["schemes"]["reasoning"] | {"file": "evil.py"}}
    np.savez("r.npz", **changed(result, True, schemes=schemes))
    assert call("plot", "r.npz", "--out", "o")[0] == 0
    assert call("plot", "r.npz", "--agent", 0, "--out", "o")[0] == 0
    status, _, err = call("page", "r.npz", "--out", "p.html")
    assert status == 2 and "--paradigm evil.py" in err
    rows = {n: a[0, 0] for n, a in result.trace.items()}
    np.savez("replay.npz", log_likelihood=np.zeros(2), paradigm="./evil.py", scheme="reasoning", **rows)
    assert call("plot", "replay.npz", "--out", "o")[0] == 0
    assert not (tmp_path / "ran").exists()


def test_names_of_schemes_stay_in_the_folder(call, result, tmp_path):
    np.savez("r.npz", **changed(result, True, {"scheme": np.array(["../../evil [2J"])}))
    assert call("plot", "r.npz", "--agent", 0, "--out", "a/b/c")[0] == 0
    assert [p.name for p in (tmp_path / "a" / "b" / "c").iterdir()] == ["evil-2J-agent0-trial1.png"]


@pytest.mark.parametrize("name", ["..", ".", "a\x1bb", "", " ", "x" * 101])
def test_names_that_are_none(name):
    assert odd_name(name)


@pytest.mark.parametrize("name", ["numpy", "activebmr", "json"])
def test_a_new_paradigm_hides_no_module(call, name):
    status, _, err = call("new", name)
    assert status == 2 and "NAME must not be that of a Python module" in err


def test_control_characters_are_written_out():
    assert str(Problem("a\x1b[31m\u202e")) == "a\\x1b[31m\\u202e"


# --- files of one's own ----------------------------------------------------------------------------------------------------
OWN = """import helper_of_two
from paradigms.three_ball import *
NAME = "own"
def paradigm(scheme=DEFAULT_SCHEME, true_rule=None):
    import later_of_two
    return helper_of_two.WORD, later_of_two.WORD
"""


def test_helpers_are_a_files_own(tmp_path):
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        (tmp_path / word / "own.py").write_text(OWN)
        for helper in ("helper_of_two", "later_of_two"):
            (tmp_path / word / f"{helper}.py").write_text(f"WORD = {word!r}")
    modules = [registry.load_paradigm(str(tmp_path / word / "own.py")) for word in ("one", "two")]
    assert [m.paradigm() for m in modules] == [("one", "one"), ("two", "two")]


def test_a_file_that_raises_anything(tmp_path):
    (tmp_path / "x.py").write_text("class Odd(BaseException): pass\nraise Odd('hm')")
    with pytest.raises(ValueError, match="line 2: Odd: hm"):
        registry.load_paradigm(str(tmp_path / "x.py"))


def test_each_scheme_has_its_own_measure():
    module = registry.load_paradigm("three-ball")
    schemes = []
    for k, name in enumerate(("reasoning", "paper")):
        scheme = module.paradigm(name, None)
        own = {"mine": ("a number", "", lambda r, k=k: np.full(r.free_energy.shape, k))}
        schemes.append(replace(scheme, measures=own))
    both = ab.simulate(schemes, n_agents=1, n_trials=1, seed=0)
    assert both.mine[:, 0, 0].tolist() == [0, 1]


# --- files that are too large, or wrong --------------------------------------------------------------------------------------
def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "z.npz", "w", zipfile.ZIP_DEFLATED) as held, held.open("a.npy", "w") as part:
        for _ in range(70):
            part.write(bytes(2**20))
    with pytest.raises(ValueError, match="packed at most 1000 times smaller"):
        files.read_npz(tmp_path / "z.npz", "result file", ())
    monkeypatch.setattr(files, "LARGEST", 2**20)
    with pytest.raises(ValueError, match="at most 0.000976562 GiB of numbers"):
        files.read_npz(tmp_path / "z.npz", "result file", ())


WRONG = {
    "no measures": {"measures": {}},
    "no schemes": {"schemes": None},
    "a list of schemes": {"schemes": []},
    "text for schemes": {"schemes": "x"},
    "text for a scheme": {"schemes": {"reasoning": "x"}},
    "numbers for labels": {"labels": {"factor": [1]}},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_settings_are_named(call, result, what):
    np.savez("r.npz", **changed(result, **WRONG[what]))
    for words in (("plot", "r.npz"), ("plot", "r.npz", "--agent", 0), ("page", "r.npz")):
        status, _, err = call(*words)
        assert status == 2 and "of Result must" in err and err.count("\n") == 1


def test_deep_settings(call, result):
    np.savez("r.npz", **(dict(result.arrays) | {"settings": np.array("[" * 200_000)}))
    status, _, err = call("plot", "r.npz")
    assert status == 2 and "must be JSON" in err


def test_a_trace_of_others(result, tmp_path):
    held = changed(result, True)
    np.savez(tmp_path / "a.npz", **(held | {"trace/q_pi": held["trace/q_pi"][:, :1]}))
    with pytest.raises(ValueError, match=r"trace\['q_pi'\] must be an array \(1, 2\)"):
        Result.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **(held | {"trace/policy": held["trace/policy"] + 99}))
    with pytest.raises(ValueError, match=r"policy of Result must hold indices in 0\.\.15"):
        Result.load(tmp_path / "b.npz")


@pytest.mark.parametrize("command", ["plot", "page"])
def test_long_names_and_numbers(call, command):
    status, _, err = call(command, "x" * 300)
    assert status in (1, 2) and err.startswith("error: ")
    with pytest.raises(Problem, match="at most 18 digits"):
        numbers("9" * 5000)


# --- as it was ---------------------------------------------------------------------------------------------------------------
def test_windows_and_names_are_those_of_the_result(result):
    settings = result.settings
    about = settings["schemes"]["reasoning"]
    about = about | {"selection": about["selection"] | {"threshold": [3.0, 5.0]}}
    labels = json.loads(json.dumps(settings["labels"]))
    first = labels["factor"][0]
    labels["states"][first] = [f"${k}$ \\frac{{a then" for k in range(len(labels["states"][first]))]
    then = Result(changed(result, schemes={"reasoning": about}, labels=labels), result.trace)
    assert [window_of(then, 0, agent=a) for a in (0, 1)] == [3.0, 5.0]
    assert np.isinf(window_of(then, 0))
    contents, _ = page.contents.contents_of(then)
    assert contents["labels"]["state"][0] == labels["states"][first]
    assert contents["schemes"][0]["window"] == [3.0, 5.0]
    figure = plots.trial(then, 0, 1, 0)
    assert any("then" in t.get_text() for t in figure.findobj() if hasattr(t, "get_text"))
    figure.canvas.draw()  # a label is no formula


# --- tables ------------------------------------------------------------------------------------------------------------------
def test_own_measures_with_times(result):
    steps = ("scheme", "agent", "trial", "time")
    shape = result.trace["free_energy"].shape
    own = {
        "below": ("negative", "", lambda r: np.full(shape, -2), steps),
        "each": ("truths", "", lambda r: np.ones((*shape, 2), dtype=bool), (*steps, "side")),
    }
    more = result.with_measures(own)
    lived = int((~np.isnan(result.trace["free_energy"])).sum())
    assert columns_of(more, "below")["value"].tolist() == [-2.0] * lived
    assert len(columns_of(more, "each")["value"]) == 2 * lived


def test_names_that_netcdf_would_not_tell_apart(result):
    pytest.importorskip("xarray")
    trace = result.trace | {"qs_a/b": result.trace["qs_gaze"], "qs_a_b": result.trace["qs_left"]}
    data = Result(result.arrays, trace).to_xarray(trace=True)
    assert data["qs_a_b"].shape[-1] == 4 and data["qs_a_b_2"].shape[-1] == 3
    assert data["qs_a_b"].dims != data["qs_a_b_2"].dims


CELLS = {"=1": "'=1", "-1": "-1", "-x": "'-x", "@a": "'@a", -1: -1, "+2e3": "+2e3"}


def test_words_that_begin_like_formulas_get_an_apostrophe():
    assert {cell: files.plain_cell(cell) for cell in CELLS} == CELLS


def test_tables_print_control_characters_written_out(capsys):
    """Titles, cells and lines of what the command prints: a name must not clear a screen or move its cursor."""
    from activebmr.cli.report import console, print_table

    screen = console()
    print_table(screen, "title \x1b[2J", ["scheme", "m\x07"], [["a\x1b[1A", "1"]])
    screen.print("true rule: \x9b2J \u202eabc\nnext line")
    printed = capsys.readouterr().out
    assert not any(c in printed for c in "\x1b\x07\x9b\u202e")
    assert "title \\x1b[2J" in printed and "a\\x1b[1A" in printed and "\\u202eabc\nnext line" in printed
