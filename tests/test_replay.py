"""`replay`: agents in somebody else's life, as with recorded participants."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from worlds import lamp_rules, two_rooms

from activebmr import Agent, Learning, Paradigm, Planner, Selection, load_recording, replay, simulate
from paradigms import three_ball

STEPWISE = ("neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi", "model_posterior")


def rooms(truth=1, **options) -> Paradigm:
    held = {"selection": Selection(threshold=3.0, curious=True, concentration=64.0), "learning": Learning(retention=0.999)}
    agent = Agent(two_rooms(), lamp_rules(), Planner(depth=1), **(held | options))
    return Paradigm("rooms", "s", agent, two_rooms(), 4, lamp_rules(), truth)


def swapped(trace: dict) -> list[np.ndarray]:
    """States, controls and outcomes of agent 0 of a trace as a recording (trial, factor or modality, time)."""
    return [np.swapaxes(trace[name][0, 0], 1, 2) for name in ("states", "controls", "outcomes")]


@pytest.mark.parametrize("scheme", ["reasoning", "paper", "paper-states", "knowing"])
def test_a_simulated_life_replayed_is_the_same_life(scheme):
    """Including the times after an insight: bit by bit what the agent thought, decided, learned and adopted."""
    paradigm = three_ball.paradigm(scheme)
    result = simulate(paradigm, 1, 24, seed=6, trace=True)
    out = replay(paradigm, *swapped(result.trace))
    for name, array in out.items():
        if name == "adopted_model":
            assert array[-1] == result.adopted_model[0, 0]
        elif name in ("policy", "controls"):  # what follows the last outcome was not recorded
            assert_array_equal(array[:, :-1], result.trace[name][0, 0][:, :-1], err_msg=name)
        else:
            assert_array_equal(array, result.trace[name][0, 0], err_msg=name)
    if scheme in ("reasoning", "paper"):
        assert result.adopted_model[0, 0] == three_ball.PAPER_RULE


def test_axes_of_the_report():
    result = simulate(rooms(), 1, 3, seed=0, trace=True)
    out = replay(rooms(), *swapped(result.trace))
    shapes = {name: array.shape for name, array in out.items()}
    assert all(shapes[name] == (3, 4, 2) for name in STEPWISE)
    assert shapes["qs_room"] == shapes["qs_lamp"] == shapes["controls"] == shapes["outcomes"] == shapes["states"] == (3, 4, 2)
    assert shapes["free_energy"] == shapes["confidence"] == shapes["policy"] == (3, 4)
    assert shapes["pA_light"] == (3, 3, 2, 2)
    assert shapes["log_odds"] == shapes["kl_to_truth"] == shapes["adopted_model"] == (3,)


def test_counts_are_those_after_forgetting_and_before_adoption():
    paradigm = rooms(learning=Learning(retention=0.999), selection=Selection(threshold=-100.0, concentration=64.0))
    result = simulate(paradigm, 1, 2, seed=0, trace=True)
    states, controls, outcomes = swapped(result.trace)
    out = replay(paradigm, states, controls, outcomes)
    assert out["adopted_model"][0] >= 0
    agent, state = paradigm.agent, paradigm.agent.init()
    for t in range(4):
        state, _ = agent.step(state, outcomes[0, :, t], action=controls[0, :, t])
    assert_array_equal(out["pA_light"][0], 0.999 * agent.posterior_counts(state, "light")[0])


def test_a_choice_that_the_scheme_does_not_have_is_reported_as_such():
    agent = Agent(two_rooms(policies=[[0, 0]]))
    paradigm = Paradigm("rooms", "s", agent, two_rooms(), 3)
    zeros = np.zeros((1, 2, 3), dtype=int)
    controls = zeros.copy()
    controls[0, 0, 0] = 1
    out = replay(paradigm, zeros, controls, zeros)
    assert_array_equal(out["policy"][0, :2], [-1, 0])
    assert_array_equal(out["adopted_model"], [-1])
    assert "model_posterior" not in out


def test_trials_may_be_shorter_than_the_paradigms():
    zeros = np.zeros((2, 2, 2), dtype=int)
    assert replay(rooms(), zeros, zeros, zeros)["q_pi"].shape == (2, 2, 2)


# --- bad input -----------------------------------------------------------------------------------------------------------
GOOD = np.zeros((2, 2, 4), dtype=int)


def edited(at, value):
    array = GOOD.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    "changes, error, message",
    [
        (
            {"outcomes": GOOD[0]},
            ValueError,
            r"outcomes of the recording must have axes \(trial, modality, time\); got shape \(2, 4\)",
        ),
        ({"outcomes": GOOD[:0]}, ValueError, r"outcomes of the recording must have axes .*; got shape \(0, 2, 4\)"),
        (
            {"outcomes": GOOD[:, :1]},
            ValueError,
            r"outcomes of the recording must have shape \(2, 2, 4\) \(trials, modalities, times\)",
        ),
        (
            {"states": GOOD[:1]},
            ValueError,
            r"states of the recording must have shape \(2, 2, 4\) \(trials, factors, times\); got \(1,",
        ),
        ({"controls": GOOD[..., :3]}, ValueError, r"controls of the recording must have shape \(2, 2, 4\)"),
        (
            {name: np.zeros((2, 2, 5), dtype=int) for name in ("states", "controls", "outcomes")},
            ValueError,
            "outcomes of the recording must have at most 4 times per trial; got 5",
        ),
        (
            {"states": edited((1, 0, 2), 2)},
            ValueError,
            r"states\[1, 0, 2\] of the recording must lie in 0\.\.1; got 2 \(0-based\)",
        ),
        (
            {"outcomes": edited((0, 1, 3), 3)},
            ValueError,
            r"outcomes\[0, 1, 3\] of the recording must lie in 0\.\.2; got 3 \(0-based\)",
        ),
        ({"controls": edited((0, 0, 2), -1)}, ValueError, r"controls\[0, 0, 2\] of the recording must lie in 0\.\.1; got -1"),
        ({"states": GOOD + 0.5}, TypeError, "states of the recording must hold integers; got float64"),
        ({"controls": GOOD.astype(str)}, TypeError, "controls of the recording must hold integers; got <U21"),
    ],
)
def test_bad_recordings_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        replay(rooms(), **({"states": GOOD, "controls": GOOD, "outcomes": GOOD} | changes))


def test_controls_after_the_last_time_do_not_matter():
    first = replay(rooms(), GOOD, GOOD, GOOD)
    other = replay(rooms(), GOOD, edited((slice(None), slice(None), -1), -1), GOOD)
    for name in STEPWISE:
        assert_array_equal(first[name], other[name])


def test_one_truth_is_needed_to_compare_with():
    with pytest.raises(ValueError, match="truth must be one hypothesis in a replay; got 'random'"):
        replay(rooms(truth="random"), GOOD, GOOD, GOOD)


def test_recordings_on_disk(tmp_path):
    path = tmp_path / "life.npz"
    np.savez(path, states=GOOD.astype(float), controls=GOOD, outcomes=GOOD, remark="whole numbers may be stored as floats")
    held = load_recording(path)
    assert set(held) == {"states", "controls", "outcomes"}
    assert all(array.dtype == np.intp for array in held.values())
    replay(rooms(), **held)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "life.npz"
    with pytest.raises(FileNotFoundError, match=r"recording .*life\.npz does not exist"):
        load_recording(path)
    np.savez(path, states=GOOD, outcomes=GOOD)
    with pytest.raises(ValueError, match=r"recording .* must hold the arrays .*; it lacks \['controls'\]"):
        load_recording(path)
    np.savez(path, states=GOOD, outcomes=GOOD, controls=GOOD + 0.25)
    with pytest.raises(TypeError, match="controls of the recording must hold integers; got float64"):
        load_recording(path)
    np.savez(path, states=GOOD, outcomes=GOOD, controls=np.array([[{}]], dtype=object))
    with pytest.raises(
        ValueError, match=r"recording .* is not a readable \.npz file: truncated, damaged or with pickled objects"
    ):
        load_recording(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is not a readable"):
        load_recording(path)
