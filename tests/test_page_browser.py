"""The page in a browser: it opens from the file system, plays, and asks nobody for anything.

Needs Playwright and Chromium (Debian's ``chromium``, or one that Playwright brought). Without them these tests are skipped, and
say why; with ACTIVEBMR_BROWSER=required, as on a build machine, they fail instead.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import activebmr as ab
from activebmr import page
from activebmr.simulation.registry import load_paradigm

REQUIRED = os.environ.get("ACTIVEBMR_BROWSER") == "required"
NASTY = '"><img src=x onerror=document.title="broken"></script><script>document.title="broken"</script>'
FAILING = "(root, world) => ({ show(moment) { if (moment.time === 1) throw new Error('no such place'); } })"


def _missing(why: str) -> Any:
    if REQUIRED:
        pytest.fail(f"{why}, and ACTIVEBMR_BROWSER says that it is required")
    pytest.skip(why)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _missing("playwright is not installed (pip install playwright)")
    found = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
    with sync_playwright() as running:
        try:
            started = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            _missing(f"there is no Chromium that starts (apt install chromium): {str(error).splitlines()[0]}")
        yield started
        with suppress(Error):
            started.close()


@contextmanager
def opened(browser: Any, path: Any, width: int = 1280, height: int = 720, **settings: Any) -> Iterator[Any]:
    """A page that is open; in the end there must have been no error, no word on the console and no request."""
    told: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": height}, **settings)
    tab = context.new_page()
    tab.on("console", lambda message: told.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: told.append(f"error: {error}"))
    tab.on("request", lambda request: told.append(request.url) if not request.url.startswith("file:") else None)
    tab.goto(path if isinstance(path, str) else path.as_uri())
    tab.wait_for_selector(".lane .policy")
    yield tab
    context.close()
    assert told == []


def until(tab: Any, condition: str) -> None:
    """Wait until something holds (Playwright's own way of waiting is an eval, which the page's policy forbids)."""
    for _ in range(100):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"never came true: {condition}")


def clock(tab: Any) -> tuple[int, int]:
    """Trial and moment that are shown, from 1."""
    trial, moment = tab.locator(".clock b").all_text_contents()
    return int(trial), int(moment)


@pytest.fixture(scope="module")
def run() -> ab.Result:
    module = load_paradigm("three-ball")
    schemes = [module.paradigm(s, None) for s in ("reasoning", "paper")]
    return ab.simulate(schemes, n_agents=3, n_trials=9, seed=0, trace=True)


@pytest.fixture(scope="module")
def file(run, tmp_path_factory) -> Any:
    return page.write(run, tmp_path_factory.mktemp("page") / "page.html")


# --- the player -------------------------------------------------------------------------------------------------------------
def test_it_steps_and_leaps(browser, file):
    with opened(browser, file) as tab:
        press = tab.keyboard.press
        assert clock(tab) == (1, 1)
        for key, then in (
            ("ArrowRight", (1, 2)), ("ArrowLeft", (1, 1)), ("ArrowLeft", (1, 1)), ("ArrowDown", (2, 1)), ("ArrowLeft", (1, 6)),
            ("ArrowRight", (2, 1)), ("ArrowRight", (2, 2)), ("ArrowUp", (2, 1)), ("ArrowUp", (1, 1)), ("End", (9, 6)),
            ("ArrowRight", (9, 6)), ("Home", (1, 1)), ("PageDown", (2, 1)),
        ):  # fmt: skip
            press(key)
            assert clock(tab) == then, key
        tab.get_by_label("next moment (right)").click()
        assert clock(tab) == (2, 2)
        tab.get_by_label("to the end (end)").click()
        assert clock(tab) == (9, 6)


def test_it_plays_and_pauses(browser, file):
    with opened(browser, file) as tab:
        tab.get_by_label("speed").select_option("2")
        tab.keyboard.press("Home")
        tab.locator("h1").click()  # the keys are the page's again
        tab.keyboard.press("Space")
        until(tab, "Number(document.querySelectorAll('.clock b')[1].textContent) >= 3")
        tab.keyboard.press("Space")
        there = clock(tab)
        tab.wait_for_timeout(700)
        assert clock(tab) == there
        tab.keyboard.press("End")
        tab.keyboard.press("Space")  # from the end it begins again
        until(tab, "document.querySelector('.clock b').textContent === '1'")


def test_the_time_line_is_pressed(browser, file):
    with opened(browser, file) as tab:
        line = tab.get_by_role("slider").bounding_box()
        left, right = line["x"] + 34, line["x"] + line["width"] - 10  # the axis, without its margins
        tab.mouse.click(left + (right - left) * 4.58 / 9, line["y"] + 40)
        assert clock(tab) == (5, 4)
        assert tab.get_by_role("slider").get_attribute("aria-valuetext") == "trial 5, moment 4"


def test_the_address_tells_the_moment(browser, file):
    with opened(browser, f"{file.as_uri()}#agent=2&scheme=paper&beside=reasoning&trial=4&moment=3") as tab:
        assert clock(tab) == (4, 3)
        assert tab.locator(".lane").count() == 2
        assert tab.locator(".lane .scheme b").all_text_contents() == ["paper", "reasoning"]
        tab.keyboard.press("ArrowRight")
        assert "trial=4&moment=4" in tab.url
    with opened(browser, f"{file.as_uri()}#agent=99&scheme=none&trial=-3&moment=x") as tab:
        assert clock(tab) == (1, 1)


# --- what is shown ----------------------------------------------------------------------------------------------------------
def test_numbers_are_those_of_the_run(browser, file, run):
    trace = run.trace
    with opened(browser, file) as tab:
        tab.get_by_label("agent").select_option("1")
        tab.get_by_label("scheme").select_option("1")
        until(tab, "document.querySelector('.saying b').textContent === 'paper'")
        for _ in range(2):
            tab.keyboard.press("ArrowDown")
        for _ in range(3):
            tab.keyboard.press("ArrowRight")
        at = (1, 1, 2, 3)
        believed = tab.locator(".factor").nth(1).locator(".number").all_text_contents()
        assert believed == [percent(p) for p in trace["qs_centre"][at]]
        ring = tab.locator(".factor").nth(1).locator(".true .name").all_text_contents()
        assert ring == [("red", "green", "blue")[int(trace["states"][at][1])]]
        posterior = tab.locator(".policy:not(.head) .number").all_text_contents()
        assert posterior == [percent(p) for p in trace["q_pi"][at]]
        chosen = tab.locator(".policy").nth(1 + int(trace["policy"][at])).get_attribute("class")
        assert "chosen" in chosen
        sums = np.bincount(run.model_class, weights=trace["model_posterior"][at])
        assert tab.locator(".hypotheses .number").first.text_content() == percent(sums.max())
        assert tab.locator(".hypotheses li.true .tag").first.text_content() == "true"
        widths = tab.locator(".policy:not(.head)").first.locator("i.part-param").evaluate("e => parseFloat(e.style.width)")
        assert (widths > 0) == (trace["param_info_gain"][at][0] > 1e-4)


def percent(p: float) -> str:
    if 0 < p < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= p < 1 - 1e-5 else f"{round(100 * p)}%"


def test_insight_is_marked_and_told(browser, file, run):
    trial = int(run.adoption_trial[0, 0])
    assert trial >= 0
    with opened(browser, file) as tab:
        assert tab.locator(".timeline text.flag").text_content() == f"insight after trial {trial + 1}"
        for _ in range(trial):
            tab.keyboard.press("ArrowDown")
        for _ in range(5):
            tab.keyboard.press("ArrowRight")
        assert "Insight! It adopts" in tab.locator(".story").text_content()
        assert tab.locator(".hypotheses .tag.adopted").count() == 1


def test_odds_far_beyond_the_window_stay_apart(browser, file):
    """They are not all drawn at its upper edge, and their highest is written beside it."""
    with opened(browser, file) as tab:
        points = "[...document.querySelectorAll('.timeline circle.right, .timeline circle.wrong')]"
        window = "document.querySelector('.timeline line.window').getAttribute('y1')"
        above = tab.evaluate(f"{points}.map((c) => c.getAttribute('cy')).filter((y) => +y < {window} - 1)")
        assert len(set(above)) > 3
        labels = [float(text) for text in tab.locator(".timeline svg text.label").all_text_contents()]
        assert "16" in tab.locator(".timeline svg text.label").all_text_contents() and max(labels) > 1.35 * 16
        assert "the scale there is logarithmic" in tab.inner_text(".timeline-words")


def test_two_schemes_side_by_side(browser, file):
    with opened(browser, file) as tab:
        tab.get_by_label("beside").select_option("1")
        until(tab, "document.querySelectorAll('.lane').length === 2")
        tab.keyboard.press("ArrowRight")
        boxes = [tab.locator(".lane").nth(k).bounding_box() for k in range(2)]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
        # the same world: the balls have the same colours at the start of every trial
        letters = [tab.locator(".lane").nth(k).locator(".picture g > circle + text").all_text_contents() for k in range(2)]
        assert letters[0] == letters[1]
        tab.get_by_label("beside").select_option("-1")
        until(tab, "document.querySelectorAll('.lane').length === 1")


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (390, 844), (320, 640)])
@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_sticks_out(browser, file, width, height, look):
    with opened(browser, file, width, height, color_scheme=look) as tab:
        for beside in ("-1", "1"):
            tab.get_by_label("beside").select_option(beside)
            tab.wait_for_timeout(100)
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
        ink, paper = tab.evaluate(
            "(() => { const s = getComputedStyle(document.getElementById('page')); return [s.color, s.backgroundColor]; })()"
        )
        assert contrast(ink, paper) > 7
        tab.get_by_label("dark or light").click()
        swapped = tab.evaluate("getComputedStyle(document.getElementById('page')).backgroundColor")
        assert swapped != paper


def contrast(one: str, other: str) -> float:
    """Contrast of two colours as the accessibility guidelines define it."""

    def light(text: str) -> float:
        c = np.array([float(v) for v in text[text.index("(") + 1 : -1].split(",")[:3]]) / 255
        return float(np.where(c <= 0.03928, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    a, b = sorted((light(one), light(other)))
    return (b + 0.05) / (a + 0.05)


# --- other paradigms --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bandit", "causal", "how-many", "insight", "maze", "t-maze"])
def test_every_paradigm_is_shown(browser, tmp_path, name):
    module = load_paradigm(name)
    schemes = [module.paradigm(module.DEFAULT_SCHEME, None)]
    run = ab.simulate(schemes, n_agents=1, n_trials=3 if name != "maze" else 1, seed=1, trace=True)
    with opened(browser, page.write(run, tmp_path / "p.html")) as tab:
        for _ in range(12):
            tab.keyboard.press("ArrowRight")
        tab.keyboard.press("End")
        assert tab.locator(".picture svg").count() == 1
        assert "scene failed" not in tab.locator(".lane").inner_text()
        assert tab.locator(".story p").count() >= 2


def coin(a: str = "heads", b: str = "tails") -> ab.Paradigm:
    """A paradigm with hypotheses whose every label can be anything."""
    model = ab.POMDP(
        A=[None],
        B=[np.repeat(np.eye(2)[:, None, :], 2, axis=1)],
        pA=[np.ones((2, 2))],
        labels={
            "factor": [a], "modality": [f"see {a}"], "states": {a: [a, b]}, "outcomes": {f"see {a}": [a, b]},
            "controls": {a: [f"to {a}", f"to {b}"]},
        },
    )  # fmt: skip
    tables = {f"left {a}": [[9.0, 1.0], [1.0, 9.0]], f"right {a}": [[1.0, 9.0], [9.0, 1.0]]}
    space = ab.HypothesisSpace({name: {0: np.array(t)} for name, t in tables.items()})
    return ab.Paradigm(f"coin {a}", f"scheme {a}", ab.Agent(model, space), model, 3, space, 0)


def test_labels_that_hold_markup_are_text(browser, tmp_path):
    paradigm = coin(NASTY, "<b>bold</b>")
    run = ab.simulate(paradigm, n_agents=1, n_trials=2, seed=0, trace=True)
    with opened(browser, page.write(run, tmp_path / "p.html", paradigm=paradigm)) as tab:
        tab.keyboard.press("ArrowRight")
        assert tab.locator("img, .lane script, .lane b b").count() == 0
        assert tab.title() == f"coin {NASTY}: agents thinking"
        text = tab.locator(".lane").text_content()
        assert NASTY in text
        assert "<b>bold</b>" in text


def module_with(scene: str) -> Any:
    return SimpleNamespace(
        NAME="coin heads",
        DESCRIPTION="a coin",
        SCHEMES={"scheme heads": "looks"},
        DEFAULT_SCHEME="scheme heads",
        paradigm=lambda scheme, rule: coin(),
        SCENE=scene,
    )


def test_a_scene_that_fails_is_replaced(browser, tmp_path):
    run = ab.simulate(coin(), n_agents=1, n_trials=2, seed=0, trace=True)
    with opened(browser, page.write(run, tmp_path / "p.html", paradigm=module_with(FAILING))) as tab:
        assert tab.locator(".picture svg").count() == 0
        tab.keyboard.press("ArrowRight")
        assert "scene failed (no such place)" in tab.locator(".picture").inner_text()
        assert tab.locator(".picture svg").count() == 1


def test_a_scene_cannot_use_the_network(browser, tmp_path):
    """The content security policy stops a scene that asks for a picture: the console says so, and no request leaves."""
    scene = "(root, world) => { const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; return { show() {} }; }"
    run = ab.simulate(coin(), n_agents=1, n_trials=1, seed=0, trace=True)
    with (
        pytest.raises(AssertionError) as caught,
        opened(browser, page.write(run, tmp_path / "p.html", paradigm=module_with(scene))),
    ):
        pass
    assert "violates the following Content Security Policy" in str(caught.value)


# --- notebooks --------------------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore")  # of ipython and traitlets
def test_the_widget_draws_itself(browser, run):
    """Its module, imported as a notebook does, draws into the element that it is given."""
    pytest.importorskip("anywidget")
    shown = page.widget(run, agents=[1])
    code = base64.b64encode(str(shown._esm).encode()).decode()
    context = browser.new_context()
    tab = context.new_page()
    tab.evaluate(
        """async ([code, contents]) => {
            const module = await import("data:text/javascript;base64," + code);
            const model = { get: (name) => (name === "contents" ? contents : null) };
            module.default.render({ model, el: document.body });
        }""",
        [code, shown.contents],
    )
    tab.wait_for_selector(".lane .policy")
    tab.locator(".abmr").focus()
    tab.keyboard.press("ArrowRight")
    assert clock(tab) == (1, 2)
    context.close()


def test_the_frame_works_in_its_cage(browser, run, tmp_path):
    shown = page.widget(run, agents=[0], frame=True)
    (tmp_path / "cell.html").write_text(f"<!doctype html><meta charset=utf-8>{shown._repr_html_()}", encoding="utf-8")
    context = browser.new_context()
    tab = context.new_page()
    told: list[str] = []
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.goto((tmp_path / "cell.html").as_uri())
    inside = tab.frame_locator("iframe")
    inside.locator(".lane .policy").first.wait_for()
    inside.get_by_label("next moment (right)").click()
    assert inside.locator(".clock b").all_text_contents() == ["1", "2"]
    context.close()
    assert told == []
