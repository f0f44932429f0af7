"""The page of a result: what it holds, that nothing in it can be more than text, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import html as markup
import json
import re
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import activebmr as ab
from activebmr import page
from activebmr.page import assets, contents
from activebmr.page.document import as_json
from activebmr.page.packing import layout, pack
from activebmr.simulation.registry import load_paradigm

ROOT = Path(ab.__file__).parents[1]
NASTY = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def result():
    module = load_paradigm("three-ball")
    schemes = [module.paradigm(s, None) for s in ("reasoning", "paper")]
    return ab.simulate(schemes, n_agents=3, n_trials=5, seed=4, trace=True)


def without_trace(result):
    return ab.Result(result.arrays)


def contents_in(text):
    """The contents of a page, read out of its HTML."""
    return json.loads(re.search(r'<script type="application/json" id="contents">(.*?)</script>', text, re.S).group(1))


def unpacked(scheme, agent):
    """The arrays of an agent, read by a program of its own."""
    raw, at, out = zlib.decompress(base64.b64decode(scheme["packed"][agent])), 0, {}
    kinds = {"share": "<u2", "half": "<f2", "whole": "<i2"}
    for name, kind, shape in scheme["layout"]:
        n = int(np.prod(shape))
        values = np.frombuffer(raw, kinds[kind], n, at).reshape(shape)
        out[name] = values / 65535 if kind == "share" else values.astype(float)
        at += 2 * n
    assert at == len(raw)
    return out


def coin(names=("heads", "tails"), **more):
    """A small paradigm of one's own, with any names: a coin that lies at one of two places."""
    a, b = names
    model = ab.POMDP(
        A=[np.array([[0.8, 0.2], [0.2, 0.8]])],
        B=[np.repeat(np.eye(2)[:, None, :], 2, axis=1)],
        C=[[1.0, 0.0]],
        labels={
            "factor": [f"factor {a}"],
            "modality": [f"modality {a}"],
            "states": {f"factor {a}": [a, b]},
            "outcomes": {f"modality {a}": [a, b]},
            "controls": {f"factor {a}": [f"to {a}", f"to {b}"]},
        },
    )
    return ab.Paradigm(f"coin {a}", f"scheme {a}", ab.Agent(model, **more), model, 3)


# --- what it holds ----------------------------------------------------------------------------------------------------------
def test_the_page_holds_what_agents_went_through(result):
    held, trace = contents_in(page.html(result, agents=[2, 0])), result.trace
    assert held["agents"] == [2, 0]
    assert [s["name"] for s in held["schemes"]] == ["reasoning", "paper"]
    for s, scheme in enumerate(held["schemes"]):
        for k, agent in enumerate([2, 0]):
            arrays = unpacked(scheme, k)
            assert_allclose(arrays["qs1"], trace["qs_centre"][s, agent], atol=1e-5)
            assert_allclose(arrays["posterior"], trace["model_posterior"][s, agent], atol=1e-5)
            assert_allclose(arrays["q"], trace["q_pi"][s, agent], atol=1e-5)
            for name in ("state", "param", "model"):
                assert_allclose(arrays[name], trace[f"{name}_info_gain"][s, agent], rtol=1e-3, atol=1e-6)
            for name in ("states", "outcomes", "controls", "policy"):
                assert_array_equal(arrays[name], trace[name][s, agent])
            # what a policy is worth beside the best one is the sum of its parts
            worth = sum(arrays[name] for name in ("state", "param", "model", "utility", "rest"))
            true = trace["neg_efe"][s, agent]
            close = np.abs(true).max(axis=-1) < 50
            beside = [(v - v.max(axis=-1, keepdims=True))[close] for v in (worth, true)]
            assert_allclose(*beside, rtol=2e-3, atol=2e-3)
            assert_array_equal(arrays["wins"], result.wins[s, agent])
            assert_array_equal(arrays["lengths"], 6)


def test_odds_and_who_is_right(result):
    scheme = contents_in(page.html(result))["schemes"][0]
    arrays, posterior = unpacked(scheme, 1), result.trace["model_posterior"][0, 1]
    classes = result.model_class
    sums = np.stack([posterior[..., classes == c].sum(axis=-1) for c in range(classes.max() + 1)], axis=-1)
    best = sums.max(axis=-1)
    others = np.sort(sums, axis=-1)[..., :-1].sum(axis=-1)
    with np.errstate(divide="ignore"):
        assert_allclose(arrays["odds"], np.log(best) - np.log(others), rtol=2e-3, atol=2e-3)
    surely = best - np.sort(sums, axis=-1)[..., -2] > 1e-9
    assert_array_equal(arrays["right"][surely], (sums.argmax(axis=-1) == classes[int(result.true_model)])[surely])


def test_insight_is_where_the_result_says(result):
    for s, scheme in enumerate(contents_in(page.html(result))["schemes"]):
        assert scheme["window"] == [16.0] * 3
        for k, told in enumerate(scheme["adopted"]):
            assert told["model"] == result.adopted_model[s, k]
            assert told["trial"] == result.adoption_trial[s, k]
            assert told["right"] == bool(result.adopted_truth[s, k])
            assert told["time"] == (5 if told["model"] >= 0 else -1)  # after the last moment of a trial


def test_who_adopts_at_once_does_so_within_a_trial():
    module = load_paradigm("maze")
    run = ab.simulate(module.paradigm("look-ahead", None, moves=20), n_agents=2, n_trials=1, seed=3, trace=True)
    scheme = contents_in(page.html(run, paradigm=module.paradigm("look-ahead", None, moves=20)))["schemes"][0]
    assert scheme["when"] == "in"
    for k, told in enumerate(scheme["adopted"]):
        odds = unpacked(scheme, k)["odds"][0]
        assert told["time"] > 0
        assert odds[told["time"]] > 16
        assert (odds[: told["time"]] <= 16).all()


def test_those_who_sleep_have_another_window():
    module = load_paradigm("insight")
    run = ab.simulate(module.paradigm("sleep", None), n_agents=1, n_trials=3, seed=0, trace=True)
    scheme = contents_in(page.html(run))["schemes"][0]
    assert scheme["window"] == [None]
    compared = unpacked(scheme, 0)["compared"]
    assert not compared[0].any()  # before the first sleep nothing is compared
    assert compared[1:].all()


def test_without_a_trace_agents_live_again(result):
    assert page.html(without_trace(result)) == page.html(result)


def test_schemes_with_other_policies():
    """They do not fit into one trace: each scheme has policies of its own in the page."""
    module = load_paradigm("causal")
    run = ab.simulate([module.paradigm(s, None) for s in ("gain", "watching")], n_agents=2, n_trials=3, seed=0, trace=True)
    gain, watching = contents_in(page.html(run))["schemes"]
    assert (len(gain["policies"]), len(watching["policies"])) == (27, 1)
    assert np.isfinite(unpacked(watching, 1)["model"]).all()
    assert_allclose(unpacked(watching, 1)["q"], 1.0)


def test_states_of_another_model_are_not_shown_as_the_agents_own():
    """Worlds of one to four causes have states of their own: the wiring of three causes is none of the agent's wirings."""
    module = load_paradigm("how-many")
    run = ab.simulate(module.paradigm("gain", 0, looks=3), n_agents=1, n_trials=1, seed=0, trace=True)
    held = contents_in(page.html(run, paradigm=module.paradigm("gain", 0, looks=3)))
    states = unpacked(held["schemes"][0], 0)["states"]
    known = [name for f, name in enumerate(held["labels"]["factor"]) if (states[..., f] >= 0).any()]
    assert "wiring" not in known
    assert "look" in known


def test_options_are_found_again():
    module = load_paradigm("bandit")
    run = ab.simulate(module.paradigm("efe", None, preference="4.0"), n_agents=2, n_trials=4, seed=0)
    assert contents_in(page.html(run))["trials"] == 4  # (its free energies are compared)


def test_sixty_four_agents_are_small():
    module = load_paradigm("three-ball")
    run = ab.simulate(module.paradigm("paper", None), n_agents=64, n_trials=32, seed=0)
    assert len(page.html(run).encode()) < 3e6


def test_trials_that_are_shorter_than_others():
    shown = contents._arrays(
        {
            "free_energy": np.array([[1.0, 2.0, np.nan], [1.0, np.nan, np.nan]]),
            "qs_factor heads": np.full((2, 3, 2), 0.5),
            "states": None,
            "policy": np.full((2, 3), -1),
            "outcomes": np.full((2, 3, 1), -1),
            "controls": np.full((2, 3, 1), -1),
            **{n: np.full((2, 3, 2), np.nan) for n in ("neg_efe", "utility", "q_pi", *(f"{g}_info_gain" for g in GAINS))},
        },
        coin().model,
        np.zeros(2, dtype=int),
        np.zeros(2, dtype=int),
    )
    assert_array_equal(shown["lengths"][1], [2, 1])
    assert_array_equal(shown["states"][1], -1)
    pack(shown)


GAINS = ("state", "param", "model")


# --- packing ----------------------------------------------------------------------------------------------------------------
def test_numbers_come_back():
    arrays = {
        "p": ("share", np.array([[0.0, 0.25], [1.0, np.nan]])),
        "v": ("half", np.array([-1e9, -509.25, 0.0, 3e-5, np.nan, np.inf])),
        "k": ("whole", np.array([-1, 0, 32767])),
    }
    back = unpacked({"packed": [pack(arrays)], "layout": layout(arrays)}, 0)
    assert_allclose(back["p"], [[0.0, 0.25], [1.0, 0.0]], atol=1e-5)
    assert_allclose(back["v"], [-np.inf, -509.25, 0.0, 3e-5, np.nan, np.inf], rtol=1e-3)
    assert_array_equal(back["k"], [-1, 0, 32767])


def test_whole_numbers_out_of_range():
    with pytest.raises(ValueError, match=r"wins must lie in -32768\.\.32767; got 0 to 40000"):
        pack({"wins": ("whole", np.array([0, 40000]))})
    with pytest.raises(ValueError, match="kind of x must be"):
        pack({"x": ("float", np.zeros(1))})


# --- nothing in it is more than text ------------------------------------------------------------------------------------------
def test_the_policy_allows_its_own_script_and_nothing_else(result):
    text = page.html(result)
    policy = markup.unescape(re.search(r'Content-Security-Policy" content="(.*?)">', text).group(1))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    digest = lambda s: f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"  # noqa: E731
    assert rules["script-src"] == digest(re.findall(r"<script>(.*?)</script>", text, re.S)[0])
    assert rules["style-src"] == digest(re.findall(r"<style>(.*?)</style>", text, re.S)[0])
    assert len(re.findall(r"<script", text)) == 2


def test_the_page_needs_no_other_file(result):
    text = page.html(result).replace("http://www.w3.org/2000/svg", "")  # the name of a language, which nobody fetches
    assert not re.search(r"https?://|<link|@import|url\(|<img|<iframe", text)


def test_labels_that_hold_markup():
    paradigm = coin((NASTY, "<!--"))
    run = ab.simulate(paradigm, n_agents=1, n_trials=2, seed=0, trace=True)
    text = page.html(run, paradigm=paradigm)
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert "<!--" not in text
    held = contents_in(text)
    assert held["paradigm"] == f"coin {NASTY}"
    assert held["labels"]["state"] == [[NASTY, "<!--"]]


def test_json_cannot_end_its_element():
    text = as_json({"a": "</script><!--\u2028", "b": [1.5, None]})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"a": "</script><!--\u2028", "b": [1.5, None]}


def test_scripts_that_hold_the_end_of_their_element():
    source = assets.embedded('const a = "</script>", b = "<!-- x", c = "<SCRIPT>", d = 1 </x/.test("x");')
    assert not re.search(r"</script|<!--|<script", source, re.I)
    assert "1 </x/" in source


SCENES = sorted((ROOT / "paradigms").rglob("*.js"))
SCRIPTS = [*sorted((Path(assets.__file__).parent / "assets").glob("*.js")), *SCENES]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_scripts_make_no_markup_of_data_and_send_nothing(path):
    text = path.read_text(encoding="utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "fetch(",
                 "XMLHttpRequest", "WebSocket", "sendBeacon", "import(", "localStorage"):  # fmt: skip
        assert word not in text, word


# --- scenes -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bandit", "causal", "how-many", "insight", "maze", "t-maze", "three-ball"])
def test_paradigms_have_scenes(name):
    module = load_paradigm(name)
    scene = contents.scene_of(module)
    assert scene.count("root, world") == 1
    make = getattr(module, "scene_data", None)
    if make is not None:
        as_json(make(module.paradigm(module.DEFAULT_SCHEME, None)))


def own_module(**more):
    return SimpleNamespace(NAME="coin", DESCRIPTION="", SCHEMES={"scheme heads": ""}, DEFAULT_SCHEME="scheme heads", **more)


def test_a_scene_that_is_none():
    with pytest.raises(ValueError, match="SCENE of coin must hold a JavaScript function; got 'svg\\\\n'"):
        contents.scene_of(own_module(SCENE="svg\n"))
    with pytest.raises(ValueError, match="SCENE of coin must"):
        contents.scene_of(own_module(SCENE="nowhere.js"))
    assert contents.scene_of(own_module()) is None
    assert contents.scene_of(own_module(SCENE="(root, world) => ({ show() {} });\n")) == "(root, world) => ({ show() {} })"


@pytest.mark.parametrize(
    ("data", "says"),
    [(lambda p: {"a": np.zeros(2)}, "must return what JSON can hold"), (lambda p: p.nothing, "failed: AttributeError")],
)
def test_scene_data_that_json_cannot_hold(data, says):
    module = own_module(paradigm=lambda scheme, rule: coin(), scene_data=data)
    run = ab.simulate(coin(), n_agents=1, n_trials=1, seed=0, trace=True)
    with pytest.raises((TypeError, ValueError), match=f"scene_data of coin {says}"):
        page.html(run, paradigm=module)


# --- what is refused --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"agents": [0, 3]}, "agents must be among those of the result, 0 to 2; got 3"),
        ({"agents": [0, 0]}, "agents must name each agent once"),
        ({"agents": []}, "at least one"),
        ({"agents": [0.5]}, "agents must be whole numbers; got 0.5"),
        ({"schemes": ["knowing"]}, "scheme must be one of"),
        ({"schemes": ["paper", 1]}, "schemes must name each scheme once"),
        ({"schemes": []}, "at least one"),
        ({"paradigm": "no-such"}, "there is no paradigm 'no-such'"),
        ({"paradigm": 3}, "paradigm must be a Paradigm, a list of them, a module or a name; got 3"),
        ({"paradigm": "bandit"}, "schemes must be ones that bandit has"),
    ],
)
def test_wrong_arguments(result, arguments, says):
    with pytest.raises((TypeError, ValueError), match=re.escape(says)):
        page.html(result, **arguments)


def test_not_a_result():
    with pytest.raises(TypeError, match="result must be a Result"):
        page.html({})


def test_a_paradigm_of_ones_own_must_be_handed_over():
    run = ab.simulate(coin(), n_agents=1, n_trials=1, seed=0)
    with pytest.raises(ValueError, match="hand it over as paradigm="):
        page.html(run)
    assert contents_in(page.html(run, paradigm=coin()))["paradigm"] == "coin heads"
    with pytest.raises(ValueError, match="paradigm must hold the schemes that are shown; it lacks"):
        page.html(run, paradigm=coin(("a", "b")))


def test_results_of_other_machines_are_shown():
    """There, sums are rounded otherwise."""
    run = ab.simulate(coin(), n_agents=2, n_trials=3, seed=0)
    there = ab.Result(run.arrays | {"free_energy": run.arrays["free_energy"] * (1 + 1e-12)})
    assert contents_in(page.html(there, paradigm=coin()))["schemes"] == contents_in(page.html(run, paradigm=coin()))["schemes"]


def test_another_life_is_refused():
    """The same name, but agents that do something else: that is no page of this result."""
    run = ab.simulate(coin(), n_agents=2, n_trials=3, seed=0)
    same = coin()
    world = same.model.with_(A=[np.array([[0.6, 0.4], [0.4, 0.6]])])
    other = ab.Paradigm(same.name, same.scheme, ab.Agent(world), world, 3)
    with pytest.raises(
        ValueError, match="result must be what its paradigm gives, or have a trace; agent 0 under .* lives another life now"
    ):
        page.html(run, paradigm=other)


def test_a_trace_of_another_world(result):
    """Balls of four colours are not those of the trace."""
    other = load_paradigm("three-ball")
    with pytest.raises(ValueError, match="it has 4 states of 'left', of which the trace has 3"):
        page.html(result, paradigm=[other.paradigm(s, 0, n_colours=4) for s in ("reasoning", "paper")])


def test_files(result, tmp_path):
    path = page.write(result, tmp_path / "new" / "p.html", agents=[1])
    assert path.read_text(encoding="utf-8") == page.html(result, agents=[1])
    assert [p.name for p in path.parent.iterdir()] == ["p.html"]
    with pytest.raises(ValueError, match="path must be a regular file"):
        page.write(result, tmp_path)


# --- notebooks --------------------------------------------------------------------------------------------------------------
def test_a_frame(result):
    shown = page.widget(result, agents=[0], frame=True, height=500)
    text = shown._repr_html_()
    assert text.startswith('<iframe sandbox="allow-scripts"')
    assert "height: 500px" in text
    assert markup.unescape(re.search('srcdoc="(.*?)"', text, re.S).group(1)) == page.html(result, agents=[0])
    assert len(repr(shown)) < 100


@pytest.mark.filterwarnings("ignore")  # of ipython and traitlets
def test_a_widget(result):
    pytest.importorskip("anywidget")
    shown = page.widget(result, agents=[0])
    assert json.loads(shown.contents)["agents"] == [0]
    assert "export default" in str(shown._esm)


@pytest.mark.parametrize(("height", "error"), [(100, ValueError), ("tall", TypeError), (True, TypeError)])
def test_wrong_heights(result, height, error):
    with pytest.raises(error, match="height must be"):
        page.widget(result, height=height)


# --- the command ------------------------------------------------------------------------------------------------------------
def test_the_command(result, tmp_path, capsys):
    from activebmr.cli import main

    result.save(tmp_path / "result.npz")
    assert main(["page", str(tmp_path), "--agents", "0-1,2", "--scheme", "paper"]) == 0
    held = contents_in((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert held["agents"] == [0, 1, 2]
    assert [s["name"] for s in held["schemes"]] == ["paper"]
    assert (tmp_path / "page.html").resolve().as_uri() in capsys.readouterr().out


def test_the_command_says_who_is_left_out(tmp_path, capsys):
    from activebmr.cli import main

    run = ab.simulate(load_paradigm("bandit").paradigm("apart", None), n_agents=70, n_trials=2, seed=0)
    run.save(tmp_path / "result.npz")
    assert main(["page", str(tmp_path)]) == 0
    assert "the first 64 of 70 agents" in " ".join(capsys.readouterr().out.split())
    assert main(["page", str(tmp_path), "--agents", "64-69"]) == 0
    assert "first 64" not in capsys.readouterr().out
    assert contents_in((tmp_path / "page.html").read_text(encoding="utf-8"))["agents"] == [*range(64, 70)]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--agents", "x"], "--agents must be numbers such as 0-3,17; got 'x'"),
        (["--agents", "3-1"], "--agents must be numbers"),
        (["--agents", "7"], "agents must be among those of the result, 0 to 2; got 7"),
        (["--scheme", "none"], "scheme must be one of"),
        (["--out", "."], "is in the way"),
        (["--paradigm", "none"], "there is no paradigm 'none'"),
    ],
)
def test_the_command_says_what_is_wrong(result, tmp_path, capsys, monkeypatch, words, says):
    from activebmr.cli import main

    monkeypatch.chdir(tmp_path)
    without_trace(result).save("result.npz")
    assert main(["page", "result.npz", *words]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.splitlines()) == 1


def test_run_with_a_page(tmp_path):
    from activebmr.cli import main

    words = ["run", "bandit", "--agents", "2", "--trials", "3", "--no-figures", "-q", "--page", "--out", str(tmp_path / "r")]
    assert main(words) == 0
    assert contents_in((tmp_path / "r" / "page.html").read_text(encoding="utf-8"))["paradigm"] == "bandit"


def test_a_paradigm_that_is_a_file(tmp_path, monkeypatch):
    """Its scene is drawn where it is named; a result alone does not make it run."""
    from activebmr.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["new", "my-maze", "-q"]) == 0
    path = Path("my_maze.py")
    path.write_text(path.read_text() + '\nSCENE = """(root, world) => ({ show() { root.textContent = "mine"; } })"""\n')
    assert main(["run", "./my_maze.py", "--agents", "2", "--trials", "2", "--no-figures", "-q", "--out", "r"]) == 0
    assert main(["page", "r", "-q"]) == 2
    assert main(["page", "r", "-q", "--paradigm", "my_maze.py"]) == 0
    assert 'root.textContent = "mine"' in (tmp_path / "r" / "page.html").read_text()
