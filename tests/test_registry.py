"""Paradigms are found through entry points; a broken plug-in is named and harms nobody."""

from pathlib import Path

import pytest

from activebmr import Paradigm
from activebmr.cli import main
from activebmr.simulation import registry

GOOD = """
from paradigms import three_ball
NAME, DESCRIPTION, SCHEMES, DEFAULT_SCHEME = {name!r}, "somebody's own", {{"only": "the only one [sic]"}}, "only"
def paradigm(scheme, true_rule):
    return three_ball.paradigm("paper-none", true_rule)
"""

FLAWS = {
    "no_such_name": (None, "ModuleNotFoundError"),
    "fails": ("raise RuntimeError('no luck today')", "RuntimeError: no luck today"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "garbled": ("def (", "SyntaxError"),
    "empty": ("", "lacks NAME"),
    "renamed": (GOOD.format(name="other"), "NAME 'other', but is announced as 'renamed'"),
    "nameless": (GOOD.format(name="nameless") + "DESCRIPTION = None", "DESCRIPTION that is no string"),
    "listed": (GOOD.format(name="listed") + "SCHEMES = ['only']", "SCHEMES that do not map"),
    "astray": (GOOD.format(name="astray") + "DEFAULT_SCHEME = 'none'", "DEFAULT_SCHEME 'none', which is not among"),
    "choosy": (GOOD.format(name="choosy") + "OPTIONS = ['fast', 'slow']", "OPTIONS that do not map names to lists of values"),
    "wordy": (GOOD.format(name="wordy") + "OPTIONS = {'pace': 'fast'}", "OPTIONS that do not map names to lists of values"),
    "without": (GOOD.format(name="without") + "OPTIONS = {'pace': []}", "OPTIONS that do not map names to lists of values"),
    "numbered": (
        GOOD.format(name="numbered") + "OPTIONS = {'pace': [1, 2]}",
        "OPTIONS whose values are not all text",
    ),
    "endless": (GOOD.format(name="endless") + "TRIALS = 0", "TRIALS that are no whole number >= 1: 0"),
    "still": (GOOD.format(name="still") + "paradigm = 3", "paradigm that is no function"),
}


def install(folder: Path, **modules: str | None) -> None:
    """What pip leaves behind of a package with one paradigm per module: the modules and the package's entry points."""
    info = folder / "plugins-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
    lines = [f"{name} = plugin_{name}" for name in modules]
    (info / "entry_points.txt").write_text("\n".join(["[activebmr.paradigms]", *lines]))
    for name, source in modules.items():
        if source is not None:
            (folder / f"plugin_{name}.py").write_text(source)


def test_the_three_ball_paradigm_is_found_and_complete() -> None:
    assert "three-ball" in registry.paradigm_names()
    module = registry.load_paradigm("three-ball")
    named = {"reasoning", "paper", "paper-no-model", "paper-states", "paper-none", "paper-no-selection", "knowing"}
    assert named <= set(module.SCHEMES) and module.DEFAULT_SCHEME == "reasoning"
    for scheme in module.SCHEMES:
        built = module.paradigm(scheme, None)
        assert isinstance(built, Paradigm)
        assert (built.name, built.scheme, built.truth) == ("three-ball", scheme, 64)


def test_an_unknown_paradigm_is_answered_with_the_ones_there_are() -> None:
    with pytest.raises(ValueError, match=r"no paradigm 'three-bal', only .*three-ball.*did you mean 'three-ball'\?"):
        registry.load_paradigm("three-bal")
    with pytest.raises(ValueError, match="three-ball") as error:
        registry.load_paradigm("xyzzy")
    assert "did you mean" not in str(error.value)


def test_nothing_installed_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    assert registry.paradigm_names() == []
    with pytest.raises(ValueError, match="none is installed"):
        registry.load_paradigm("three-ball")
    assert main(["list"]) == 2
    assert "no paradigm is installed" in capsys.readouterr().err


def test_an_installed_plug_in_is_a_paradigm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, mine=GOOD.format(name="mine"))
    monkeypatch.syspath_prepend(tmp_path)
    assert {"mine", "three-ball"} <= set(registry.paradigm_names())
    assert registry.load_paradigm("mine").SCHEMES == {"only": "the only one [sic]"}
    assert main(["list"]) == 0
    assert "the only one [sic]" in capsys.readouterr().out


OPEN = """
from paradigms import three_ball
NAME, DESCRIPTION, SCHEMES, DEFAULT_SCHEME = "open", "with an option", {"only": "the only one"}, "only"
OPTIONS = {"pace": ("slow", "fast"), "mood": ["good"]}
def paradigm(scheme, true_rule, pace="slow", mood="good"):
    chosen.append((pace, mood))
    return three_ball.paradigm("paper-none", true_rule)
chosen = []
"""


def test_options_of_a_plug_in_are_listed_and_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, open=OPEN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    module = registry.load_paradigm("open")
    assert registry.options_of(module) == {"pace": ["slow", "fast"], "mood": ["good"]}
    assert main(["list"]) == 0
    assert "option (--set pace=...): slow, fast; the first by default" in capsys.readouterr().out
    words = ["run", "open", "--agents", "1", "--trials", "1", "--no-figures", "--quiet", "--out", str(tmp_path / "o")]
    module.chosen.clear()  # type: ignore[attr-defined]
    assert main(words) == 0
    assert set(module.chosen) == {("slow", "good")}  # type: ignore[attr-defined]
    module.chosen.clear()  # type: ignore[attr-defined]
    assert main([*words, "--set", "pace=fast"]) == 0
    assert set(module.chosen) == {("fast", "good")}  # type: ignore[attr-defined]
    assert main([*words, "--set", "pace=medium"]) == 2
    assert "--set pace must be one of slow, fast; got 'medium'" in capsys.readouterr().err


def test_paradigms_without_options_have_none() -> None:
    assert registry.options_of(registry.load_paradigm("three-ball")) == {}
    assert main(["run", "three-ball", "--set", "planner=2017"]) == 2


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_broken_plug_in_is_named_and_harms_nobody(
    flaw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, reason = FLAWS[flaw]
    install(tmp_path, **{flaw: source})
    monkeypatch.syspath_prepend(tmp_path)
    assert {flaw, "three-ball"} <= set(registry.paradigm_names())
    assert registry.load_paradigm("three-ball").NAME == "three-ball"
    with pytest.raises(ValueError, match=f"{flaw}.*plugin_{flaw}") as error:
        registry.load_paradigm(flaw)
    assert reason in str(error.value)
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert f"{flaw}: not usable" in shown and "three-ball: find the rule" in shown
    assert main(["run", flaw]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_two_packages_with_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, **{"three-ball": None})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"announced by several packages: .*plugin_three-ball"):
        registry.load_paradigm("three-ball")


def test_figures_are_drawn_by_the_paradigm_if_it_can(tmp_path: Path) -> None:
    class Drawing:
        @staticmethod
        def figures(result: object, folder: Path) -> list[str]:
            return [str(folder / f"{result}.png")]

    assert registry.draw_figures(Drawing, "a", tmp_path) == [tmp_path / "a.png"]  # type: ignore[arg-type]
    assert registry.draw_figures(object(), "a", tmp_path) is None  # type: ignore[arg-type]
