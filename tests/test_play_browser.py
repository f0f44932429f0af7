"""The game in a real browser: headless Chromium, driven by Playwright, plays five trials against the command's server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import activebmr as ab
from activebmr.cli import main
from paradigms import three_ball

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing(what: str) -> None:
    """Skip with the reason; where the tests of a submission run, that is a failure."""
    if os.environ.get("ACTIVEBMR_BROWSER") == "required":
        pytest.fail(f"{what}, and ACTIVEBMR_BROWSER says that they must run")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed (pip install activebmr[test])")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing("there is no Chromium (on Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def program(code: str, *words: str) -> Iterator[str]:
    """Run a program that serves a game; the address that it prints. It is ended with Ctrl-C and must then say nothing bad."""
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", start + textwrap.dedent(code), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
        env=os.environ | {"COLUMNS": "200"},
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert "http://" in line, line + process.stderr.read()
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and err == ""


COMMAND = "from activebmr.cli import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def page_at(browser: Any, url: str, **settings: Any) -> Iterator[Any]:
    """A page; afterwards there must have been no message in its console, and no request but to the game's own address."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 720}} | settings))
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.set_default_timeout(20_000)
    page.goto(url)
    yield page
    assert said == []
    assert {(urlsplit(a).scheme, urlsplit(a).netloc) for a in asked if not a.startswith("data:")} == {
        ("http", urlsplit(url).netloc)
    }
    assert all(urlsplit(a).path.startswith(urlsplit(url).path) for a in asked if not a.startswith("data:"))
    context.close()


def join(page: Any, name: str) -> None:
    page.fill("#name", name)
    page.click("button[type=submit]")
    page.wait_for_selector(".next")


def wait_for_time(page: Any, trial: int, time: int) -> None:
    page.wait_for_selector(f".top .where:text-is('trial {trial + 1} of 5') + .where:text-is('time {time + 1} of 6')")


def do(page: Any, gaze: str, choice: str) -> None:
    for factor, option in (("gaze", gaze), ("choice", choice)):
        page.click(f"fieldset:has(legend:text-is('{factor}')) button:text-is('{option}')")
    page.click("button.go")


def test_five_trials_and_what_others_made_of_them(browser, tmp_path):
    words = ["play", "three-ball", "--trials", "5", "--ask", "2", "--against", "paper", "--port", "0", "--out", str(tmp_path)]
    looks, answers = ["left", "centre", "right", "start", "start"], ["undecided"] * 3 + ["red", "blue"]
    with program(COMMAND, *words, "--no-browser") as url, page_at(browser, url) as page:
        page.wait_for_selector("#name")
        assert "5 trials of 5 moves" in page.inner_text(".welcome") and "“paper”" in page.inner_text(".welcome")
        join(page, "Ada <b>")
        for trial in range(5):
            page.click(".next")
            for time in range(5):
                wait_for_time(page, trial, time)
                if trial == 1 and time == 2:
                    page.reload()  # the game goes on where it was
                    wait_for_time(page, trial, time)
                    assert page.inner_text(".past tbody tr:nth-child(2) td:last-child") == "centre · undecided"
                if time == 1 and trial > 0:  # pressing the ball in the scene, which keeps the answer as it is
                    page.click(".picture svg g:has(text:text-is('centre'))")
                else:
                    do(page, looks[time], answers[time])
            page.wait_for_selector(".answer, .next, .thinking, .headline")
            if trial in (1, 3, 4):
                page.wait_for_selector(".answer")
                assert page.is_disabled(".answer")
                page.fill("input[type=search]", "green: centre, blue: right")
                assert page.locator(".choices label:visible").count() == 10  # nine rules, and "I do not know"
                page.click(f".choices label:has-text('{three_ball.rules().descriptions[64]}')")
                page.click(".answer")
        page.wait_for_selector(".headline", timeout=60_000)
        text = page.inner_text(".headline")
        assert three_ball.rules().descriptions[64] in text and "2 trials" in text and "“paper”" in text
        heard = page.inner_text(".side-by-side.observer .words")
        assert (
            heard.startswith("You observed what: null · where: start · feedback: null.")
            and "Then you chose “left, undecided”" in heard
        )
        assert page.inner_text(".scrub .where") == "trial 1, time 1"
        page.keyboard.press("ArrowRight")
        assert page.inner_text(".scrub .where") == "trial 1, time 2"
        page.click(".chart .press >> nth=4")
        assert page.inner_text(".scrub .where") == "trial 5, time 1"
        for size in ({"width": 390, "height": 844}, {"width": 1920, "height": 1080}):
            page.set_viewport_size(size)
            page.wait_for_timeout(200)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    held = ab.load_recording(tmp_path / "recordings.npz")
    assert held["outcomes"].shape == (1, 5, 3, 6)
    assert held["controls"][0, :, 3, :5].tolist() == [[0, 1, 2, 3, 3]] * 5
    assert held["controls"][0, :, 4, :5].tolist() == [[3, 3, 3, 0, 2]] * 5
    with np.load(tmp_path / "recordings.npz") as file:
        assert file["name"].tolist() == ["Ada <b>"] and file["belief"].tolist() == [[-1, 64, -1, 64, 64]]
        assert (file["reaction_seconds"][..., :5] <= file["seconds"][..., :5] + 0.05).all()
    out = tmp_path / "told.npz"
    assert main(["replay", "three-ball", str(tmp_path / "recordings.npz"), "--out", str(out), "--quiet"]) == 0
    with np.load(out) as file:
        assert np.isfinite(file["log_likelihood_q_pi"][..., :5]).all() and not file["impossible"].any()


STRANGE = """
    import sys
    from playing import *
    from activebmr.play.places import listen
    from activebmr.play.room import Room
    from activebmr.play.server import make_app, serve
    nasty = HTML + "</script><script>window.hurt = 1</script>"
    model = two_rooms()
    named = lambda kind, names, sizes: {n: [f"{nasty} {kind}{k}" for k in range(s)] for n, s in zip(names, sizes)}
    labels = {"factor": [f"{nasty} f{f}" for f in range(2)], "modality": [f"{nasty} m{m}" for m in range(2)]}
    labels["states"] = named("s", labels["factor"], model.num_states)
    labels["controls"] = named("u", labels["factor"], model.num_controls)
    labels["outcomes"] = named("o", labels["modality"], model.num_outcomes)
    model = model.with_(labels=labels)
    light = np.asarray(model.pA[1])
    tables = [{"pA[1]": light * flip} for flip in (4.0, 0.25)]
    rules = ab.HypothesisSpace(dict(zip(["a", "b"], tables)), descriptions=[f"{nasty} a", f"{nasty} b"])
    agent = ab.Agent(model, rules, ab.Planner(depth=1), inference="factorised")
    one = ab.Paradigm(nasty, nasty, agent, model, 3, rules, 1)
    setting = Setting(one, one, n_trials=1, ask=1, description=nasty, sentences={nasty: nasty})
    place = listen(None, 0)
    room = Room(setting, Journal(sys.argv[1], setting))
    room.teacher = "teacher"
    print(place.url("token"))
    scene = None if sys.argv[2] == "none" else sys.argv[2]
    try:
        serve(make_app(room, "token", place.port, names=place.names, scene=scene), place.socket)
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.parametrize(
    "scene", ["none", "function scene(root, world) { root.textContent = world.labels.factor[0]; return {show() {}}; }"]
)
def test_labels_that_hold_html_are_shown_as_they_are(browser, tmp_path, scene):
    with program(STRANGE, str(tmp_path), scene) as url, page_at(browser, url) as page:
        page.wait_for_selector("#name")
        assert "<img src=x" in page.inner_text(".about")
        join(page, "<img src=x onerror=alert(1)>")
        page.click(".next")
        page.wait_for_selector(".past tbody tr")
        while not page.query_selector(".answer"):
            before = len(page.query_selector_all(".past tbody tr"))
            page.keyboard.press("2")  # the second move
            page.wait_for_selector(f".past tbody tr:nth-child({before + 1})")
        page.click(".choices label >> nth=1")
        page.click(".answer")
        page.wait_for_selector(".headline", timeout=60_000)
        page.wait_for_selector(".side-by-side.agent .words p")
        assert page.query_selector("img") is None and page.evaluate("window.hurt") is None
        assert page.evaluate("document.scripts.length") == 3
        assert "<img src=x" in page.inner_text(".side-by-side.observer .words")
        page.goto(f"{url}class#teacher")
        page.wait_for_selector(".class tbody tr")
        assert "1 <img src=x onerror=alert(1)>" in page.inner_text(".class") and page.query_selector("img") is None
        assert "1 of at most 40 participants, 1 have finished" in page.inner_text(".top") and "/token/" in page.inner_text(
            ".address"
        )


def test_a_stranger_gets_nothing(browser, tmp_path):
    words = ["play", "bandit", "--trials", "2", "--port", "0", "--out", str(tmp_path), "--no-browser"]
    with program(COMMAND, *words) as url:
        place = urlsplit(url)
        context = browser.new_context()
        page = context.new_page()
        answer = page.goto(f"{place.scheme}://{place.netloc}/")
        assert answer.status == 403 and "lacks its token" in page.inner_text("body")
        page.goto("data:text/html,<p>another site</p>")  # its origin is null
        got = page.evaluate(
            "url => fetch(url, {method: 'POST', mode: 'no-cors', body: '{}'}).then(r => r.type, () => 'failed')",
            f"{url}api/join",
        )
        assert got in ("opaque", "failed")
        page.set_content(f"<iframe src='{url}'></iframe>")
        page.wait_for_timeout(500)
        assert all(frame.query_selector("#name") is None for frame in page.frames)
        context.close()
    assert '"join"' not in (tmp_path / "sessions.jsonl").read_text()
