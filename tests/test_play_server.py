"""The game in the browser: what the server answers, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from playing import HTML, setting_of
from worlds import two_rooms

import activebmr as ab
from activebmr.cli import play as play_cli
from activebmr.play.guard import HEADERS, LARGEST
from activebmr.play.journal import Journal
from activebmr.play.places import code, listen
from activebmr.play.room import Room
from activebmr.play.setting import Setting


# --- the server ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def served(tmp_path):
    client = pytest.importorskip("starlette.testclient")
    from activebmr.play.server import make_app

    setting = setting_of(ask=2, description="find the rule")
    room = Room(setting, Journal(tmp_path, setting), most=2)
    app = make_app(room, "tok-en", 8765)
    return SimpleNamespace(
        room=room, app=app, client=client.TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False)
    )


def post(served, call, key="", **asked):
    headers = {"x-key": key} if key else {}
    return served.client.post(f"/tok-en/api/{call}", json=asked, headers=headers)


def test_a_game_through_the_server(served):
    world = post(served, "world").json()
    assert world["times"] == 6 and len(world["moves"]) == 16 and world["ask"] == 2 and len(world["hypotheses"]) == 81
    assert "truth" not in json.dumps(world) and world["labels"]["control"][3] == ["left", "centre", "right", "start"]
    joined = post(served, "join", name="Ada").json()
    key = joined["key"]
    assert joined["state"]["phase"] == "ready"
    for i in range(3):
        assert post(served, "begin", key).json()["phase"] == "move"
        for t in range(5):
            state = post(served, "move", key, trial=i, time=t, controls=[0, 0, 0, t % 4, 3], seconds=0.001).json()
            assert len(state["moments"]) == t + 2
        if i == 0:
            assert state["phase"] == "ready"
            late = post(served, "move", key, trial=0, time=4, controls=[0, 0, 0, 0, 3])
            assert late.status_code == 409 and "not the time" in late.json()["error"]
        else:
            assert state["phase"] == "ask"
            state = post(served, "believe", key, trial=i, hypothesis=64).json()
    assert state["phase"] == "over" and state["played"] == 3
    told = post(served, "debrief", key).json()
    assert told["you"]["sure"] == 2 and len(told["observer"]["trials"]) == 3
    held = ab.load_recording(served.room.journal.recording)
    assert held["outcomes"].shape == (1, 3, 3, 6)
    with np.load(served.room.journal.recording) as file:
        assert file["belief"].tolist() == [[-1, 64, 64]] and np.isfinite(file["reaction_seconds"][..., :-1]).all()


@pytest.mark.parametrize(
    "path", ["/", "/tok-en2/", "/tok/", "/api/world", "/x/tok-en/", "//tok-en/", "/TOK-EN/", "/%00/", "/tok-e/n"]
)
def test_without_the_token_nothing_is_answered(served, path):
    for answer in (served.client.get(path), served.client.post(path, json={})):
        assert answer.status_code == 403 and set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    "host",
    ["evil.example:8765", "127.0.0.1", "127.0.0.1:80", "evil.example", "127.0.0.1.evil.example:8765", "192.168.1.5:8765", ""],
)
def test_other_hosts_are_refused(served, host):
    """Rebinding: a name of another site that points here."""
    answer = served.client.get("/tok-en/", headers={"host": host})
    assert answer.status_code == 403 and "another host" in answer.json()["error"]


def test_own_hosts_are_answered(served):
    for host in ("127.0.0.1:8765", "localhost:8765", "LOCALHOST:8765"):
        assert served.client.get("/tok-en/", headers={"host": host}).status_code == 200
    served.app.any_address = True  # of a server that listens everywhere: numbers, but no names
    assert served.client.get("/tok-en/", headers={"host": "192.168.1.5:8765"}).status_code == 200
    assert served.client.get("/tok-en/", headers={"host": "[::1]:8765"}).status_code == 200
    assert served.client.get("/tok-en/", headers={"host": "evil.example:8765"}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1:8766", "http://localhost:8765"]
)
def test_other_origins_are_refused(served, origin):
    answer = served.client.post("/tok-en/api/world", json={}, headers={"origin": origin})
    assert answer.status_code == 403 and "another site" in answer.json()["error"]


def test_other_sites_may_only_link_to_the_page(served):
    own = {"origin": "http://127.0.0.1:8765", "sec-fetch-site": "same-origin"}
    assert served.client.post("/tok-en/api/world", json={}, headers=own).status_code == 200
    for site in ("cross-site", "same-site"):
        link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert served.client.get("/tok-en/", headers=link).status_code == 200
        for other in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}):
            assert served.client.get("/tok-en/play.js", headers=link | other).status_code == 403
        assert served.client.post("/tok-en/api/world", json={}, headers=link).status_code == 403


def test_large_and_strange_requests_are_refused(served):
    url = "/tok-en/api/join"
    assert served.client.post(url, json={"name": "a" * (LARGEST + 1)}).status_code == 413

    def parts():
        for _ in range(9):
            yield b" " * 512

    assert served.client.post(url, content=parts(), headers={"content-type": "application/json"}).status_code == 413
    assert served.client.post(url, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert served.client.post(url, data={"name": "a"}).status_code == 415
    for content in (b"{", b"[]", b"\xff", b"[" * 2000, b"1"):
        answer = served.client.post(url, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 400, content
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        assert served.client.request(method, "/tok-en/").status_code == 405
    assert len(served.room) == 0


def test_wrong_contents_are_told(served):
    key = post(served, "join", name="Ada").json()["key"]
    post(served, "begin", key)
    for wrong in (
        {},
        {"trial": 0, "time": 0},
        {"trial": "0", "time": 0, "controls": [0] * 5},
        {"trial": 0, "time": True, "controls": [0] * 5},
        {"trial": 0, "time": 0, "controls": [0.5] * 5},
        {"trial": 0, "time": 0, "controls": [9] * 5},
        {"trial": 0, "time": 0, "controls": [10**30] * 5},
        {"trial": 10**30, "time": 0, "controls": [0] * 5},
    ):
        answer = post(served, "move", key, **wrong)
        assert answer.status_code == 400 and "must be" in answer.json()["error"]
    assert post(served, "join", name=5).status_code == 400
    assert post(served, "state", "nobody").status_code == 401
    assert post(served, "join", name="Bo").status_code == 200
    assert post(served, "join", name="Cy").status_code == 429
    assert post(served, "nothing").status_code == 404


def test_no_file_but_its_own_is_served(served):
    for name in ("", "class", "play.css", "play.js", "screens.js", "scene.js", "class.js"):
        assert served.client.get(f"/tok-en/{name}").status_code == 200
    for path in (
        "../setting.py",
        "..%2fsetting.py",
        "%2e%2e/setting.py",
        "assets/play.js",
        "index.html/../../server.py",
        "/etc/passwd",
        "sessions.jsonl",
        "recordings.npz",
        ".lock",
    ):
        assert served.client.get(f"/tok-en/{path}").status_code in (403, 404), path
    answer = served.client.get("/tok-en")
    assert answer.status_code == 307 and answer.headers["location"] == "/tok-en/"


def test_every_answer_tells_browsers_what_they_may_do(served):
    answers = [served.client.get(path) for path in ("/tok-en/", "/tok-en/play.js", "/tok-en/no", "/tok-en", "/")]
    answers.append(post(served, "world"))
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    page = served.client.get("/tok-en/").text
    assert "<script>" not in page and "style=" not in page and "onclick" not in page


def test_whoever_guesses_has_to_wait(served):
    now = [0.0]
    served.app._clock = lambda: now[0]
    for i in range(30):
        assert served.client.get(f"/guess{i}/").status_code == 403
    assert served.client.get("/guess/").status_code == 429
    assert served.client.get("/tok-en/").status_code == 429  # else a right guess would show
    now[0] = 61.0
    assert served.client.get("/tok-en/").status_code == 200


def test_labels_that_hold_html_stay_text(tmp_path):
    """They reach the browser as JSON, never as a part of the page."""
    client = pytest.importorskip("starlette.testclient")
    from activebmr.play.server import make_app

    model = two_rooms()
    labels = {"factor": [f"{HTML}{f}" for f in range(model.num_factors)]}
    model = model.with_(labels=labels)
    one = ab.Paradigm(HTML, "s", ab.Agent(model, planner=ab.Planner(depth=1)), model, 4)
    setting = Setting(one, one, n_trials=1, description=HTML)
    room = Room(setting, Journal(tmp_path, setting))
    app = make_app(room, "t", 8765, scene_data={"x": HTML})
    browser = client.TestClient(app, base_url="http://127.0.0.1:8765")
    for name in ("", "class", "play.css", "play.js", "screens.js", "scene.js", "class.js"):
        assert HTML not in browser.get(f"/t/{name}").text
    answer = browser.post("/t/api/world", json={})
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["labels"]["factor"] == labels["factor"]
    scripts = [
        p.read_text(encoding="utf-8") for p in Path(play_cli.__file__).parents[1].joinpath("play", "assets").glob("*.js")
    ]
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert not any(way in script for script in scripts)


def test_only_the_teacher_sees_how_everybody_is_doing(served):
    for name in ("Ada", HTML):
        key = post(served, "join", name=name).json()["key"]
    for wrong in ("", key, served.room.teacher[:-1], "\xe9"):
        answer = served.client.post("/tok-en/api/class", json={}, headers={"x-key": wrong.encode("latin-1")})
        assert answer.status_code == 401
    post(served, "leave", key)
    told = post(served, "class", served.room.teacher).json()
    assert [p["name"] for p in told["people"]] == ["Ada", HTML] and told["most"] == 2
    assert [(p["phase"], p["thought"]) for p in told["people"]] == [("ready", False), ("over", False)]
    post(served, "debrief", key)
    last = post(served, "class", served.room.teacher).json()["people"][1]
    assert last["thought"] and last["said"] is last["enough"] is last["agent"] is None and last["played"] == 0
    assert served.room.teacher not in served.client.get("/tok-en/class").text


def test_data_of_a_scene_must_be_plain(served):
    from activebmr.play.server import make_app

    for wrong in ({1, 2}, [float("nan")], object()):
        with pytest.raises(TypeError, match="scene_data of three-ball must return what JSON can hold"):
            make_app(served.room, "t", 1, scene_data=wrong)


# --- where it is -----------------------------------------------------------------------------------------------------------
def test_only_this_machine_reaches_it_unless_asked():
    place = listen(None, 0)
    try:
        assert place.socket.getsockname()[0] == "127.0.0.1" and not place.shared and not place.everywhere
        assert place.url("t") == f"http://127.0.0.1:{place.port}/t/"
        with pytest.raises(ValueError, match=f"nothing can listen at 127.0.0.1, port {place.port}"):
            listen(None, place.port)
    finally:
        place.socket.close()
    with pytest.raises(ValueError, match="host must be an address or a name of this machine; got 'no.such.host.invalid'"):
        listen("no.such.host.invalid")
    with pytest.raises(ValueError, match=r"nothing can listen at 192\.0\.2\.1"):
        listen("192.0.2.1")
    everywhere = listen("0.0.0.0", 0)
    everywhere.socket.close()
    assert everywhere.shared and everywhere.everywhere and everywhere.addresses[-1] == "127.0.0.1"


def test_codes_are_short_for_those_who_type_them_only():
    assert len(code(False)) >= 24 and len({code(False) for _ in range(50)}) == 50
    short = code(True)
    assert len(short) == 9 and short[4] == "-" and short == short.lower() and not set(short) & set("il1o0")
