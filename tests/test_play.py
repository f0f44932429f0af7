"""The game: people in the place of agents, what is kept of it, and what is told afterwards."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from playing import HTML, bare_setting, play_on, played, setting_of

import activebmr as ab
from activebmr.cli import main
from activebmr.play.debrief import WINDOW, debrief
from activebmr.play.game import Game, OutOfTurn
from activebmr.play.journal import Journal, trial_entry
from activebmr.play.room import NAME_LENGTH, Full, Room, Stranger, clean_name
from activebmr.play.setting import Setting
from paradigms import causal, how_many, three_ball


# --- a game ----------------------------------------------------------------------------------------------------------------
def test_a_person_who_does_what_an_agent_did_sees_what_it_saw():
    """Participant k plays in agent k's world: the same states, the same chance, the same true rule."""
    one = three_ball.paradigm("paper", "random")
    result = ab.simulate(one, 3, 4, seed=11, trace=True)
    setting = Setting(one, one, n_trials=4, seed=11)
    for k in range(3):
        game = Game(setting, k)
        for i in range(4):
            game.begin()
            for t in range(5):
                game.move(i, t, result.trace["controls"][0, k, i, t])
        assert game.phase == "over"
        for name in ("outcomes", "states", "controls"):
            played = np.stack([np.array(getattr(trial, name)) for trial in game.trials])
            assert_array_equal(played, result.trace[name][0, k][:, : played.shape[1]])
        assert setting.truth_of(k) == result.true_model[k]
        assert game.sums()[2] == result.score[0, k]


def test_phases_follow_one_another():
    game = Game(setting_of(ask=2, n_trials=3))
    with pytest.raises(OutOfTurn, match="not the time to make a move: the game is at 'ready'"):
        game.move(0, 0, game.setting.moves[0])
    game.begin()
    with pytest.raises(OutOfTurn, match="begin a trial"):
        game.begin()
    move = [0, 0, 0, 1, 3]
    assert not game.move(0, 0, move)
    with pytest.raises(OutOfTurn, match=r"move due is that of trial 1, time 2; got one of trial 1, time 1"):
        game.move(0, 0, move)  # sent twice
    for t in range(1, 5):
        assert game.move(0, t, move) == (t == 4)
    assert game.phase == "ready"  # asked after every second trial
    game.begin()
    for t in range(5):
        game.move(1, t, move)
    assert game.phase == "ask"
    for wrong in (-2, 81):
        with pytest.raises(ValueError, match=r"hypothesis must lie in 0\.\.80, or be -1"):
            game.believe(wrong)
    game.believe(64)
    game.begin()
    game.leave()
    assert game.phase == "over" and len(game.finished) == 2 and game.beliefs == {1: 64}
    with pytest.raises(OutOfTurn, match="the game is at 'over'"):
        game.begin()


def test_the_last_trial_is_always_asked_about():
    game = Game(setting_of(ask=2, n_trials=1))
    game.begin()
    for t in range(5):
        game.move(0, t, [0, 0, 0, 0, 3])
    assert game.phase == "ask"
    game.believe(-1)
    assert game.phase == "over"


@pytest.mark.parametrize("controls", [[0, 0, 0, 4, 0], [0, 0, 0, -1, 0], [1, 0, 0, 0, 0], [0, 0, 0], []])
def test_only_moves_that_begin_a_policy_can_be_made(controls):
    game = Game(setting_of())
    game.begin()
    with pytest.raises(ValueError, match="one of the moves that can be made"):
        game.move(0, 0, controls)
    assert game.trials[0].controls == [] and len(game.trials[0].outcomes) == 1


def test_how_long_a_move_took():
    """By this machine's clock, and by the browser's, unless that says what cannot be."""
    clock = iter([10.0, 12.5, 12.5, 14.0, 14.0, 15.0, 15.0])
    game = Game(setting_of(), clock=lambda: next(clock), now=lambda: 1.7e9)
    game.begin()
    for t, said in enumerate((2.25, 99.0, float("nan"))):
        game.move(0, t, [0, 0, 0, 0, 3], said)
    trial = game.trials[0]
    assert trial.seconds == [2.5, 1.5, 1.0] and trial.reaction_seconds == [2.25, None, None] and trial.moved_at == [1.7e9] * 3


class Brief:
    """A world whose trials end when they like, as those of Gymnasium do; after that nothing is seen."""

    n_uniforms, comparable = 1, False

    def __init__(self):
        self.closed, self.time = False, 0

    def reset(self, uniforms, given=None):
        self.time, self.over = 0, np.array([False])
        return np.array([[-1, -1]]), np.array([[0, 0]])

    def step(self, controls, uniforms):
        self.time += 1
        self.over = np.array([self.time == 2])
        return np.array([[-1, -1]]), np.array([[1, 1]])

    def close(self):
        self.closed = True


def test_worlds_may_end_a_trial_early(tmp_path, monkeypatch):
    setting, world = bare_setting(), Brief()
    monkeypatch.setattr(ab.Paradigm, "world", lambda self, seed, agents: world)
    journal = Journal(tmp_path, setting)
    number = journal.join("")
    game = play_on(Game(setting), keep=lambda i, trial: journal.add([trial_entry(number, i, trial)]))
    assert [len(t.outcomes) for t in game.trials] == [3, 3] and world.closed
    held = ab.load_recording(journal.recording)
    assert_array_equal(held["outcomes"][0, :, 0], [[0, 1, 1, -1]] * 2)


def test_settings_that_cannot_be_played_are_refused():
    one, other = three_ball.paradigm("paper"), causal.paradigm()
    with pytest.raises(ValueError, match="observer of Setting must be of the same paradigm"):
        Setting(one, other)
    with pytest.raises(ValueError, match="same truth"):
        Setting(one, three_ball.paradigm("paper", 3))
    with pytest.raises(TypeError, match="observer of Setting must be a Paradigm; got None"):
        Setting(one, None)
    for name, value in (("n_trials", 0), ("n_trials", 1001), ("seed", -1), ("ask", -1)):
        with pytest.raises(ValueError, match=f"{name} of Setting must"):
            Setting(one, one, **{name: value})
    with pytest.raises(TypeError, match="n_trials of Setting must be a whole number; got 2.5"):
        Setting(one, one, n_trials=2.5)
    with pytest.raises(ValueError, match="ask of Setting must be 0 for rooms, which has no hypotheses"):
        bare_setting(ask=1)
    still = ab.POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]])
    idle = ab.Paradigm("idle", "s", ab.Agent(still), still, 3)
    with pytest.raises(ValueError, match=r"nothing can be done \(trials of 3 observations, 0 controlled factors\)"):
        Setting(idle, idle)


# --- what is kept ----------------------------------------------------------------------------------------------------------
def test_recordings_are_replayed_by_the_command(tmp_path, capsys):
    setting = setting_of(n_trials=3)
    journal = played(tmp_path, setting, "Ada", "Bo")
    held = ab.load_recording(journal.recording)
    assert held["outcomes"].shape == (2, 3, 3, 6) and held["controls"].shape == (2, 3, 5, 6)
    assert_array_equal(held["controls"][..., -1], -1)
    told = ab.replay(setting.observer, **held)
    one = Game(setting, 1)
    play_on(one, 2)
    alone = ab.replay(setting.observer, **one.recorded())
    assert_array_equal(told["model_posterior"][1], alone["model_posterior"])
    out = tmp_path / "told.npz"
    assert main(["replay", "three-ball", str(journal.recording), "--out", str(out), "--scheme", "paper"]) == 0
    assert "2 participants, 3 trials of 6 observations" in capsys.readouterr().out
    with np.load(journal.recording) as file:
        assert file["name"].tolist() == ["Ada", "Bo"] and file["participant"].tolist() == [1, 2]
        assert file["true_model"].tolist() == [64, 64] and file["agent"].tolist() == [0, 1]
        assert np.isfinite(file["moved_at"][..., :-1]).all() and np.isnan(file["seconds"][..., -1]).all()


def test_the_table_has_a_row_for_each_observation(tmp_path):
    setting = setting_of(ask=3, n_trials=3)
    room = Room(setting, Journal(tmp_path, setting))
    key, _ = room.join('=HYPERLINK("http://x")')
    for i in range(3):
        room.begin(key)
        for t in range(5):
            room.move(key, i, t, [0, 0, 0, 1, 3 if t < 4 else 0])
    room.believe(key, 2, 64)
    with room.journal.csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18 and rows[0]["name"] == '\'=HYPERLINK("http://x")'
    assert [r["trial"] for r in rows[::6]] == ["1", "2", "3"] and [r["time"] for r in rows[:6]] == list("123456")
    assert (
        rows[0]["observed: where"] == "start" and rows[0]["done: gaze"] == "centre" and rows[0]["done: choice"] == "undecided"
    )
    assert rows[5]["done: gaze"] == "" and rows[5]["observed: feedback"] in ("right", "wrong")
    assert rows[17]["believed after the trial"] == three_ball.rules().descriptions[64] == rows[0]["true hypothesis"]
    assert {r["believed after the trial"] for r in rows[:17]} == {""}


def test_half_a_line_is_lost_and_nothing_else(tmp_path):
    setting = setting_of()
    journal = played(tmp_path, setting, "Ada", trials=2)
    before = ab.load_recording(journal.recording)
    whole = journal.path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in (1, len(last) // 2, len(last) - 1):
        journal.path.write_bytes(whole + last[:cut])
        again = Journal(tmp_path, setting)
        held = ab.load_recording(again.recording)
        assert all((held[n] == before[n]).all() for n in held)
        number = again.join("Bo")
        assert number == 2
        game = play_on(Game(setting, 1))
        again.add([trial_entry(number, 0, game.trials[0])])
        assert ab.load_recording(again.recording)["outcomes"].shape[0] == 2
        assert Journal(tmp_path, setting).lines == again.lines


def test_lines_that_say_too_little_are_left_out(tmp_path):
    setting = setting_of()
    journal = played(tmp_path, setting, "Ada")
    with journal.path.open("a") as file:
        file.write('{"kind": "trial", "participant": 1}\n{"kind": []}\n[1]\n5\n{"kind": "else"}\n\n')
    again = Journal(tmp_path, setting)
    assert again.lines == journal.lines and len(again.damaged) == 5


def test_other_paradigms_keep_out(tmp_path):
    played(tmp_path, setting_of(), "Ada")
    other = causal.paradigm()
    with pytest.raises(ValueError, match="paradigm is 'three-ball' there and 'causal' now: choose another folder"):
        Journal(tmp_path, Setting(other, other))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "sessions.jsonl").write_text("something else\n")
    with pytest.raises(ValueError, match="must be a journal of played sessions"):
        Journal(tmp_path / "x", setting_of())


def write_much(folder: str, name: str, n: int) -> None:
    setting = setting_of(n_trials=1)
    journal = Journal(folder, setting)
    for _ in range(n):
        number = journal.join(name)
        game = play_on(Game(setting, setting.agent_of(number)), number)
        journal.add([trial_entry(number, 0, game.trials[0])])


def test_two_programs_write_into_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_much, args=(str(tmp_path), name, 6)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [w.exitcode for w in writers] == [0, 0]
    lines = [json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "games" for line in lines) == 1
    assert sorted(line["participant"] for line in lines if line["kind"] == "join") == list(range(1, 13))
    assert sorted(line["participant"] for line in lines if line["kind"] == "trial") == list(range(1, 13))
    with np.load(tmp_path / "recordings.npz") as file:
        assert file["participant"].tolist() == list(range(1, 13)) and sorted(file["name"]) == ["a"] * 6 + ["b"] * 6


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_kill_loses_at_most_the_trial_that_is_being_played(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from playing import *
        setting = setting_of(n_trials=1000)
        journal = Journal(sys.argv[1], setting)
        number = journal.join("Ada")
        def keep(i, trial):
            journal.add([trial_entry(number, i, trial)])
            print(i, flush=True)
        play_on(Game(setting), 0, keep)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 12:
            break
    process.send_signal(signal.SIGKILL)
    said = [int(x) for x in process.stdout.read().split()]
    process.wait(20)
    process.stdout.close()
    done = max([12, *said])
    journal = Journal(tmp_path, setting_of(n_trials=1000))
    held = ab.load_recording(journal.recording)["outcomes"]
    assert held.shape[1] >= done + 1 and (held[0, : done + 1] >= 0).all()
    assert not list(tmp_path.glob("*.part"))


def test_a_full_disk_does_not_end_the_game(tmp_path, monkeypatch):
    setting, said = setting_of(n_trials=2), []
    room = Room(setting, Journal(tmp_path, setting), say=said.append)
    key, _ = room.join("Ada")
    add, broken = room.journal.add, [True]

    def full(entries):
        if broken[0]:
            raise OSError(28, "No space left on device")
        add(entries)

    monkeypatch.setattr(room.journal, "add", full)
    for i in range(2):
        room.begin(key)
        for t in range(5):
            state = room.move(key, i, t, [0, 0, 0, 1, 3])
        assert state["unsaved"] == broken[0]
        broken[0] = False
    assert ab.load_recording(room.journal.recording)["outcomes"].shape[:2] == (1, 2)
    assert "participant 1 (Ada): trial 1 could not be saved: [Errno 28] No space left on device" in said


# --- afterwards ------------------------------------------------------------------------------------------------------------
def test_the_observer_is_a_replay_and_the_agent_a_simulation():
    setting = Setting(three_ball.paradigm("paper"), three_ball.paradigm("reasoning"), n_trials=6, seed=3)
    game = play_on(Game(setting, 2))
    told = debrief(game)
    seen = ab.replay(setting.observer, **game.recorded())
    result = ab.simulate(setting.paradigm, 3, 6, seed=3, trace=True)
    observer, agent = told["observer"], told["agent"]
    assert told["truth"] == 64 and observer["scheme"] == "reasoning" and agent["scheme"] == "paper"
    assert observer["ideal"] and not agent["ideal"]
    assert_allclose(observer["odds"], seen["log_odds"], rtol=1e-3)
    assert_allclose(agent["odds"], result.log_odds[0, 2], rtol=1e-3)
    for i in range(6):
        for t in range(6):
            one, other = observer["trials"][i][t], agent["trials"][i][t]
            assert_allclose(one["posterior"], seen["model_posterior"][i, t], rtol=1e-3)
            assert_allclose(other["posterior"], result.trace["model_posterior"][0, 2, i, t], rtol=1e-3)
            assert (
                other["outcomes"] == result.trace["outcomes"][0, 2, i, t].tolist()
                and one["outcomes"] == game.trials[i].outcomes[t]
            )
            assert one["states"] == game.trials[i].states[t]
            if t < 5:
                assert one["controls"] == game.trials[i].controls[t]
                assert_allclose(one["chance"], np.exp(seen["log_likelihood_q_pi"][i, t]), rtol=1e-3)
            else:
                assert one["controls"] is one["chance"] is None and one["chosen"] == -1
    assert sum(agent["score"]) == result.score[0, 2] and sum(told["you"]["score"]) == game.sums()[2]
    json.dumps(told, allow_nan=False)


def test_who_is_sure_and_when():
    """An agent that reasons is sure after some trials; whoever does what it did shows the observer as much."""
    one = three_ball.paradigm("reasoning")
    setting = Setting(one, one, n_trials=12, seed=0, ask=1)
    result = ab.simulate(one, 1, 12, seed=0, trace=True)
    game = Game(setting)
    for i in range(12):
        game.begin()
        for t in range(5):
            game.move(i, t, result.trace["controls"][0, 0, i, t])
        game.believe(64 if i in (3, 6, 7, 8, 9, 10, 11) else -1 if i == 4 else 5)
    told = debrief(game)
    sure = 1 + int(np.flatnonzero(result.log_odds[0, 0] > 16)[0])
    for side in (told["observer"], told["agent"]):
        assert (side["sure"], side["hypothesis"], side["right"], side["window"]) == (sure, 64, True, 16.0)
    assert told["you"]["sure"] == 7 and told["you"]["beliefs"]["4"] == 64 and told["you"]["beliefs"]["5"] == -1


def test_those_who_compare_asleep_have_odds_too():
    """Of the posterior that sleep found, not the evidence against knowing no rule, which says nothing of the other rules."""
    one = three_ball.paradigm("introspection")
    setting = Setting(one, one, n_trials=4)
    agent = debrief(play_on(Game(setting)))["agent"]
    trace = ab.simulate(one, 1, 4, trace=True).trace
    classes = three_ball.rules().distinct()[1]
    for i in range(3):
        p = np.bincount(classes, trace["model_posterior"][0, 0, i + 1, 0])
        assert_allclose(agent["odds"][i], np.log(p.max() / (p.sum() - p.max())), rtol=2e-3)
    assert (agent["window"], agent["own_window"]) == (WINDOW, False)


def test_an_infinite_window_is_replaced():
    setting = Setting(causal.paradigm(), causal.paradigm(), n_trials=2)
    agent = debrief(play_on(Game(setting)))["agent"]
    assert agent["window"] == WINDOW and not agent["own_window"]


def test_worlds_of_models_have_states_of_their_own(tmp_path):
    setting = Setting(how_many.paradigm(), how_many.paradigm(), n_trials=1)
    journal = played(tmp_path, setting, "Ada")
    assert "states" not in ab.load_recording(journal.recording)
    told = debrief(play_on(Game(setting)))
    assert told["observer"]["trials"][0][0]["states"] is None


def test_nothing_to_find_and_nothing_played():
    setting = bare_setting()
    told = debrief(play_on(Game(setting)))
    assert told["truth"] is None and told["hypotheses"] == [] and told["observer"]["odds"] is None
    assert told["observer"]["sure"] is told["observer"]["right"] is None
    game = Game(setting)
    with pytest.raises(ValueError, match="game of debrief must be over; it is at 'ready'"):
        debrief(game)
    game.leave()
    told = debrief(game)
    assert told["observer"] is None and len(told["agent"]["trials"]) == 2


# --- the room --------------------------------------------------------------------------------------------------------------
def test_nobody_plays_anothers_game(tmp_path):
    setting = setting_of()
    room = Room(setting, Journal(tmp_path, setting), most=2)
    (a, one), (b, two) = room.join("Ada"), room.join("Bo")
    assert (one, two) == (1, 2) and a != b and len(a) >= 20
    room.begin(a)
    assert room.state(a)["phase"] == "move" and room.state(b)["phase"] == "ready"
    for key in ("", "1", a[:-1]):
        with pytest.raises(Stranger, match="join first"):
            room.begin(key)
    with pytest.raises(Full, match="2 participants already"):
        room.join("Cy")
    with pytest.raises(OutOfTurn, match="told when the game is over"):
        room.debrief(a)
    assert len(room) == 2
    room.leave(b)
    with room._thinking:  # somebody else's game is being thought about
        assert room.debrief(b) is None
    assert room.debrief(b)["observer"] is None and room.debrief(b) is room.debrief(b)


def test_what_a_participant_is_told_holds_no_state_of_the_world(tmp_path):
    setting = setting_of()
    room = Room(setting, Journal(tmp_path, setting))
    key, _ = room.join()
    room.begin(key)
    state = room.move(key, 0, 0, [0, 0, 0, 1, 3])
    assert set(state["moments"][0]) == {"outcomes", "controls"} and "states" not in json.dumps(state)
    assert state["moments"][0]["controls"] == [0, 0, 0, 1, 3] and state["moments"][1]["controls"] is None


@pytest.mark.parametrize(
    ("name", "kept"),
    [("  Ada \n Lovelace ", "Ada Lovelace"), ("a" * 99, "a" * NAME_LENGTH), ("a\u202eb\x00c", "a b c"), ("", ""), (HTML, HTML)],
)
def test_names_are_one_short_line(name, kept):
    assert clean_name(name) == kept


def test_everybody_in_the_same_world(tmp_path):
    assert [setting_of(same_world=flag).agent_of(3) for flag in (True, False)] == [0, 2]
