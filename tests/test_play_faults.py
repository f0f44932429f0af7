"""What goes wrong while people play: full disks, damaged files, strange visitors; and what worlds of Gymnasium bring."""

from __future__ import annotations

import json
import os
import shlex
import socket
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from playing import bare_setting, play_on, played, setting_of
from worlds import two_rooms

import activebmr as ab
from activebmr.cli import main
from activebmr.play import journal as journals
from activebmr.play.debrief import debrief
from activebmr.play.game import Game
from activebmr.play.guard import Guard
from activebmr.play.journal import Journal, trial_entry
from activebmr.play.room import Room
from activebmr.play.server import _seconds
from activebmr.play.setting import MAX_SEED, Setting
from activebmr.play.terminal import _asked_belief, _chosen, play_in_terminal
from paradigms import three_ball


def answers(*lines):
    left = iter(lines)

    def ask(prompt):
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def fail(*args, **more):
    raise OSError(28, "No space left on device")


# --- what is written -------------------------------------------------------------------------------------------------------
def test_the_largest_seed_is_recorded_and_a_larger_one_refused(tmp_path, capsys):
    journal = played(tmp_path, setting_of(seed=MAX_SEED, n_trials=1), "Ada")
    with np.load(journal.recording) as file:  # without pickles
        assert file["seed"].tolist() == [2**63 - 1] and not any(file[name].dtype == object for name in file.files)
    with pytest.raises(ValueError, match="seed of Setting must lie in"):
        setting_of(seed=MAX_SEED + 1)
    assert main(["play", "bandit", "--terminal", "--seed", str(2**63), "--out", str(tmp_path / "x")]) == 2
    assert "--seed must be 0 to 9223372036854775807" in capsys.readouterr().err


def test_tables_that_cannot_be_written_lose_and_double_nothing(tmp_path, monkeypatch):
    setting, said = setting_of(n_trials=2), []
    room = Room(setting, Journal(tmp_path, setting), say=said.append)
    key, _ = room.join("Ada")
    for i, write in enumerate(("write_csv", "write_recording")):
        with monkeypatch.context() as broken:
            broken.setattr(journals, write, fail)
            room.begin(key)
            for t in range(5):
                state = room.move(key, i, t, [0, 0, 0, 1, 3])
        assert not state["unsaved"]
    assert sum("could not be written" in sentence for sentence in said) == 1  # told once
    assert room.journal.finish() is None and ab.load_recording(room.journal.recording)["outcomes"].shape[1] == 2
    assert [line["trial"] for line in Journal(tmp_path, setting).lines if line["kind"] == "trial"] == [0, 1]


def test_what_was_half_written_is_taken_back(tmp_path, monkeypatch):
    setting = setting_of(n_trials=1)
    journal = Journal(tmp_path, setting)
    number = journal.join("Ada")
    entry = trial_entry(number, 0, play_on(Game(setting)).trials[0])
    before = journal.path.read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            journal.add([entry])
    assert journal.path.read_bytes() == before
    journal.add([entry])
    assert sum(line["kind"] == "trial" for line in journal.lines) == 1 and journal.damaged == {}


def test_a_full_disk_ends_no_game_in_the_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    real, calls = os.fsync, []

    def full_from_the_first_trial_on(number):
        calls.append(number)
        return fail() if len(calls) > 2 else real(number)

    monkeypatch.setattr(os, "fsync", full_from_the_first_trial_on)
    monkeypatch.setattr("builtins.input", answers(*"111111"))
    assert main(["play", "causal", "--terminal", "--trials", "2"]) == 1
    out, err = capsys.readouterr()
    assert "warning: trial 1 could not be saved" in out and "warning: trial 2 could not be saved" in out
    assert "your game, and what others made of it" in out and "error: 2 trials or answers could not be saved" in err
    calls[:] = []
    setting, said, unsaved = setting_of(n_trials=1), [], []
    monkeypatch.setattr(os, "fsync", real)
    monkeypatch.setattr(journals, "write_csv", lambda *a: fail() if len(said) else None)
    game = play_in_terminal(setting, Journal(tmp_path / "x", setting), "", answers(*"44" * 5), said.append, unsaved)
    assert game.phase == "over" and unsaved == [] and any("what was played is safe in" in s for s in said)


def test_what_comes_next_keeps_the_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    module = pytest.importorskip("paradigms.three_ball")
    monkeypatch.setattr(module, "OPTIONS", {"length": ("short", "long")}, raising=False)
    real = module.paradigm
    monkeypatch.setattr(
        module, "paradigm", lambda scheme="paper", rule=None, length="short", **more: real(scheme, rule, **more)
    )
    monkeypatch.setattr("builtins.input", answers(*"44" * 5))
    words = ["play", "three-ball", "--terminal", "--trials", "1", "--true-rule", "7", "--set", "length=long", "--out", "a b"]
    assert main(words) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("next:"))
    assert " --set length=long " in line and "--true-rule" not in line
    own = [word if word != "all" else "paper" for word in shlex.split(line)[2:]]
    assert main([*own, "--quiet"]) == 0
    with np.load(tmp_path / "a b" / "recordings.npz") as file:
        assert file["true_model"].tolist() == [7]


# --- afterwards ------------------------------------------------------------------------------------------------------------
def test_odds_after_the_last_trial_are_those_that_sleep_found():
    """With which one trial more would begin, for the agent and for the observer."""
    one = three_ball.paradigm("introspection")
    short, long = (debrief(play_on(Game(Setting(one, one, n_trials=n)), 3)) for n in (3, 4))
    assert len(short["agent"]["trials"]) == len(short["observer"]["trials"]) == 3
    for side in ("agent", "observer"):
        assert_allclose(short[side]["odds"], long[side]["odds"][:3])
        assert short[side]["trials"] == long[side]["trials"][:3] and len(short[side]["odds"]) == 3


class Paying:
    """A world as those of Gymnasium: rewards come with what is seen, and are in no outcome."""

    n_uniforms, comparable = 1, False

    def __init__(self):
        self.over, self.rewards = np.array([False]), np.zeros(1)

    def reset(self, uniforms, given=None):
        self.over, self.rewards, self.time = np.array([False]), np.zeros(1), 0
        return np.array([[-1, -1]]), np.array([[0, 0]])

    def step(self, controls, uniforms):
        self.time += 1
        self.over, self.rewards = np.array([self.time == 2]), np.array([2.5 if self.time == 2 else -1.0])
        return np.array([[-1, -1]]), np.array([[1, 1]])


class Worlds:
    ends_early, rewarding, comparable = True, True, False

    def __call__(self, seed, agents, truths):
        return Paying()


def test_rewards_of_worlds_count(tmp_path):
    model = two_rooms()
    one = ab.Paradigm("pay", "s", ab.Agent(model, planner=ab.Planner(depth=1)), model, 4, worlds=Worlds())
    setting = Setting(one, one, n_trials=2)
    room = Room(setting, Journal(tmp_path, setting))
    key, _ = room.join("Ada")
    for i in range(2):
        room.begin(key)
        for t in range(2):
            state = room.move(key, i, t, setting.moves[0])
    assert (state["wins"], state["losses"], state["score"], state["each"]) == (2, 2, 3.0, [1.5, 1.5])
    told = room.debrief(key)
    result = ab.simulate(one, 1, 2)
    for side in ("you", "observer", "agent"):
        assert told[side]["score"] == [1.5, 1.5] and told[side]["wins"] == [1, 1]
    assert sum(told["agent"]["score"]) == result.score[0, 0]
    with np.load(room.journal.recording) as file:
        assert_array_equal(file["rewards"][0, 0], [0, -1, 2.5, np.nan])
    assert ",-1.0," in room.journal.csv.read_text() and not setting_of().rewarding and not bare_setting().scored


def test_a_reward_that_is_no_number_ends_the_game_and_harms_nobody_else(tmp_path, monkeypatch, capsys):
    """The world has moved on: the trial is given up, what was played before is kept, and others can still be seen."""
    step = Paying.step

    def broken(self, controls, uniforms):
        seen = step(self, controls, uniforms)
        if self.time == 2:
            self.rewards = np.array([np.nan])
        return seen

    model = two_rooms()
    one = ab.Paradigm("pay", "s", ab.Agent(model, planner=ab.Planner(depth=1)), model, 4, worlds=Worlds())
    setting = Setting(one, one, n_trials=2)
    room = Room(setting, Journal(tmp_path, setting))
    (key, _), (other, _) = room.join("Ada"), room.join("Bob")
    for player in (key, other):
        room.begin(player)
    room.move(key, 0, 0, setting.moves[0])
    monkeypatch.setattr(Paying, "step", broken)
    with pytest.raises(ValueError, match="rewards of the world of pay must be finite numbers; got nan"):
        room.move(key, 0, 1, setting.moves[0])
    assert room.state(key)["phase"] == "over" and room.state(other)["phase"] == "move"
    assert room.overview(room.teacher)


# --- one folder ------------------------------------------------------------------------------------------------------------
def test_sessions_of_other_settings_keep_out(tmp_path):
    setting = bare_setting()
    Journal(tmp_path, setting)

    def other(model=None, **more):
        model = two_rooms() if model is None else model
        one = ab.Paradigm("rooms", "s", ab.Agent(model, planner=ab.Planner(depth=1)), model, 4, **more)
        return Setting(one, one)

    labels = two_rooms().labels | {"outcomes": {"light": ["bright", "dark", "gone"]}}
    for changed, says in (
        (other(two_rooms().with_(labels=labels)), r"labels\[outcome\]\[1\]\[2\] is 'broken' there and 'gone' now"),
        (other(score={"light": (1, 0, 0)}), r"score is \{\} there and \{'1': \[1.0, 0.0, 0.0\]\} now"),
        (bare_setting(options={"x": "long"}), r"options is \{\} there and \{'x': 'long'\} now"),
    ):
        with pytest.raises(ValueError, match=f"{says}: choose another folder"):
            Journal(tmp_path, changed)
    assert Journal(tmp_path, bare_setting(seed=9, n_trials=5)).lines  # these may differ


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("outcomes", "x", "outcomes must be those of 1 to 6 times"),
        ("outcomes", [[99] * 3] * 6, "outcomes must hold whole numbers in -1.."),
        ("controls", [[0]] * 5, "controls must have 5 numbers at each time; got 1"),
        ("controls", [], "controls must be lists of numbers, one for each of 5 times"),
        ("moved_at", [1e300] * 5, "moved_at must hold numbers in 0..1e"),
        ("seconds", [None] * 5, "seconds must hold numbers in"),
        ("trial", 10**30, "trial must be a whole number in 0..999"),
        ("participant", 5, "participant 5 has not joined"),
        ("participant", [1], "participant must be a whole number"),
    ],
)
def test_damaged_lines_are_named_and_left_out(tmp_path, name, value, why):
    setting = setting_of(n_trials=1)
    journal = played(tmp_path, setting, "Ada")
    good = next(line for line in journal.lines if line["kind"] == "trial")
    with journal.path.open("a") as file:
        file.write(json.dumps(good | {"trial": 1, name: value}) + "\n" + "[" * 100_000 + "\n")
    again = Journal(tmp_path, setting)
    assert list(again.damaged) == [4, 5] and again.damaged[4].startswith(why), again.damaged
    bad = good | {"trial": 1, name: value}
    again.add([bad])
    assert again.problem == f"{again.path}, line 6, is left out: {again.damaged[6]}"
    assert again.lines == journal.lines and again.join("Bo") == (6 if value == 5 else 2)


def test_the_command_names_damaged_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("builtins.input", answers())
    words = ["play", "bandit", "--terminal", "--out", str(tmp_path)]
    assert main(words) == 0
    with (tmp_path / "sessions.jsonl").open("a") as file:
        file.write('{"kind": "trial"\n')
    assert main(words) == 0
    err = capsys.readouterr().err
    assert "sessions.jsonl, line 3, is left out: it is not JSON, or was cut off in writing" in err


# --- visitors --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("host", ["127.0.0.1:\xb2", "127.0.0.1:" + "8" * 5000, "127.0.0.1:\u0663".encode().decode("latin-1")])
def test_strange_hosts_are_refused_quietly(host):
    guard = Guard(None, "t", 8765)  # type: ignore[arg-type]
    scope = {"path": "/t/", "method": "GET", "headers": [(b"host", host.encode("latin-1"))]}
    assert guard._problem(scope)[0] == 403
    scope["headers"] = [(b"host", b"127.0.0.1:8765"), (b"content-length", b"\xb2")]
    assert guard._problem(scope)[0] == 413
    scope["headers"][1] = (b"content-length", b"1" * 5000)
    assert guard._problem(scope)[0] == 413


def test_seconds_beyond_all_floats_are_none():
    assert _seconds({"seconds": 10**3000}) is None and _seconds({"seconds": 2}) == 2.0


def test_half_requests_shut_nobody_out():
    uvicorn = pytest.importorskip("uvicorn")
    from activebmr.play.patience import impatient

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    place = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="off", limit_concurrency=20, http=impatient(1.0, 10))
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    half = []
    try:
        for _ in range(30):  # more than are let in at a time
            half.append(socket.create_connection(place.getsockname(), 10))
            half[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with socket.create_connection(place.getsockname(), 10) as line:
            for _ in range(2):  # also the second request over the same connection
                line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert line.recv(1000).startswith(b"HTTP/1.1 200")
            line.sendall(b"GET / HT")
            began = time.monotonic()
            with suppress(ConnectionResetError):
                assert line.recv(1000) == b""
            assert time.monotonic() - began < 5
        half[-1].settimeout(5)
        with suppress(ConnectionResetError):
            assert half[-1].recv(10) == b""
    finally:
        server.should_exit = True
        thread.join(10)
        for line in half:
            line.close()
        place.close()


# --- in a shell ------------------------------------------------------------------------------------------------------------
def test_numbers_are_those_of_the_menu():
    for typed, chosen in (("3", 2), ("1", 0), ("2", 1)):
        assert _chosen(answers(typed), lambda s: None, "do", ["1", "3", "2"]) == chosen
    said = []
    assert _chosen(answers("7", "9" * 5000, "1"), said.append, "do", ["7", "8"]) == 0 and len(said) == 2


def test_answers_out_of_range_are_told_the_range():
    said = []
    assert _asked_belief(setting_of(ask=1), answers("82", "0", "9" * 5000, "81"), said.append) == 80
    assert said == ["    a number from 1 to 81, please"] * 3
