"""Observations and actions in every form that users, recordings and environments hand them over; what was not seen."""

from __future__ import annotations

import numpy as np
import pytest
from enumeration import columns
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import POMDP, Agent, Learning, Planner
from activebmr.model.observations import outcomes_of

QUIET = Planner(gains=(), alpha=None)


def eyes(sizes=(3, 2), **more):
    """One factor per modality, each seen for sure."""
    return POMDP(
        **(
            {
                "A": [np.eye(n) for n in sizes],
                "A_dependencies": [[f] for f in range(len(sizes))],
                "B": [np.eye(n)[:, :, None] for n in sizes],
            }
            | more
        )
    )


def taken(model, observation, n_agents=1):
    return [o.tolist() for o in outcomes_of(model, observation, n_agents)]


# --- whole numbers -----------------------------------------------------------------------------------------------------------
ONE = {
    "list": [2, 1],
    "tuple": (2, 1),
    "array": np.array([2, 1]),
    "unsigned": np.array([2, 1], dtype=np.uint8),
    "integral floats": np.array([2.0, 1.0], dtype=np.float32),
    "row": np.array([[2, 1]]),
    "list of a list": [[2, 1]],
    "scalars": [np.int64(2), np.float64(1.0)],
    "arrays of one": [np.array([2]), np.array([1.0])],
    "arrays (1, 1) (batch, time)": [np.array([[2]]), np.array([[1]])],
    "arrays without axis": [np.array(2), np.array(1)],
    "lists of one": [[2], [1]],
    "masked, nothing hidden": np.ma.array([2, 1], mask=[False, False]),
    "object array": np.array([2, 1], dtype=object),
}


@pytest.mark.parametrize("form", ONE)
def test_what_one_agent_saw(form):
    assert taken(eyes(), ONE[form]) == [[2], [1]]


SEVERAL = {
    "array": np.array([[2, 1], [0, 1], [1, 0]]),
    "floats": np.array([[2.0, 1.0], [0.0, 1.0], [1.0, 0.0]]),
    "list of rows": [[2, 1], [0, 1], [1, 0]],
    "tuple of rows": ((2, 1), (0, 1), (1, 0)),
    "array per modality": [np.array([2, 0, 1]), np.array([1, 1, 0])],
    "column per modality": [np.array([[2], [0], [1]]), np.array([[1.0], [1.0], [0.0]])],
    "list per modality": [[2, 0, 1], [1, 1, 0]],
    "masked": np.ma.array([[2, 1], [0, 1], [1, 0]]),
    "objects": np.array([[2, 1], [0, 1], [1, 0]], dtype=object),
}


@pytest.mark.parametrize("form", SEVERAL)
def test_what_three_agents_saw(form):
    assert taken(eyes(), SEVERAL[form], 3) == [[2, 0, 1], [1, 1, 0]]


def test_a_square_list_holds_rows_of_agents():
    assert taken(eyes((2, 2)), [[0, 1], [0, 1]], 2) == [[0, 0], [1, 1]]


@pytest.mark.parametrize(
    "form", [1, np.int8(1), 1.0, np.array(1), np.array([1]), [1], [[1]], [np.array([[1]])], [np.array([1.0])]]
)
def test_the_only_modality_of_one_agent(form):
    assert taken(eyes((3,)), form) == [[1]]


def test_the_only_modality_of_a_batch():
    for form in (np.array([1, 0, 2]), np.array([[1], [0], [2]]), [[1], [0], [2]], [np.array([1, 0, 2])], [[1, 0, 2]]):
        assert taken(eyes((3,)), form, 3) == [[1, 0, 2]]


def test_a_modality_with_one_outcome():
    """0 and 0. are its outcome, 1. its probability; nan, None and -1 are not seen."""
    model = POMDP(A=[np.ones((1, 2)), np.eye(2)], B=[np.eye(2)[:, :, None]])
    for form in (np.array([[0.0, 1.0], [0.0, 0.0], [0.0, np.nan]]), [np.zeros(3), np.array([1.0, 0.0, -1.0])]):
        assert taken(model, form, 3) == [[0, 0, 0], [1, 0, -1]]
    assert taken(model, np.array([[np.nan, 1.0], [0.0, 0.0]]), 2) == [[-1, 0], [1, 0]]
    for form in ([0.0, 1], [np.array([0.0]), 1], [np.array([[0.0]]), 1], [[0], 1]):
        assert taken(model, form) == [[0], [1]]
    for form in ([np.array([1.0]), 1], [np.array([[1.0]]), 1]):
        assert taken(model, form) in ([[0], [1]], [[[1.0]], [1]])
    for form in ([None, 1], [np.nan, 1], [np.array([np.nan]), 1], [-1, 1]):
        assert taken(model, form) in ([[-1], [1]], [[[0.0]], [1]])


# --- probabilities -----------------------------------------------------------------------------------------------------------
def test_probabilities_of_outcomes():
    model, p = eyes(), [0.2, 0.3, 0.5]
    for form in ([p, 1], [np.array(p), 1], [np.array([p]), [1]]):
        assert taken(model, form) == [[p], [1]]
    assert taken(model, [np.array([p, p]), [1, 0]], 2) == [[p, p], [1, 0]]
    assert taken(model, [[p, None], [1, 0]], 2) == [[p, [0, 0, 0]], [1, 0]]
    assert taken(model, [np.array([p, [np.nan] * 3]), [1, 0]], 2) == [[p, [0, 0, 0]], [1, 0]]
    for bad in ([0.2, 0.3, 0.6], [-0.2, 0.7, 0.5], [0.2, np.nan, 0.8], [0.5, 0.5], [np.inf, 0, 0]):
        with pytest.raises(
            ValueError, match=r"observation\[0\] as probabilities must have shape \(1, 3\) and rows that sum to 1"
        ):
            taken(model, [bad, 1])


# --- what was not seen -------------------------------------------------------------------------------------------------------
MISSED = {
    "None": [None, 1],
    "-1": [-1, 1],
    "nan": [np.nan, 1],
    "array of -1": np.array([-1, 1]),
    "array of nan": np.array([np.nan, 1]),
    "masked array": np.ma.array([2, 1], mask=[True, False]),
    "masked constant": [np.ma.masked, 1],
    "masked entry": [np.ma.array([2], mask=[True]), 1],
    "object array": np.array([None, 1], dtype=object),
    "row": [[None, 1]],
    "masked row": np.ma.array([[2, 1]], mask=[[True, False]]),
    "nan in an array of one": [np.array([np.nan]), np.array([1])],
    "None in a list of one": [[None], [1]],
}


@pytest.mark.parametrize("form", MISSED)
def test_what_was_not_seen(form):
    assert taken(eyes(), MISSED[form]) == [[-1], [1]]


def test_what_some_of_a_batch_did_not_see():
    rows = [[2, 1], [None, 1], [1, None]]
    hidden = np.array([[0, 0], [1, 0], [0, 1]], dtype=bool)
    for form in (
        rows,
        np.array(rows, dtype=object),
        np.array(rows, dtype=float),
        np.ma.array([[2, 1], [0, 1], [1, 0]], mask=hidden),
        [[2, None, 1], np.array([1, 1, np.nan])],
        [np.ma.array([2, 0, 1], mask=hidden[:, 0]), [1, 1, -1]],
    ):
        assert taken(eyes(), form, 3) == [[2, -1, 1], [1, 1, -1]]
    assert taken(eyes(), [None, [1, 1, 0]], 3) == [[-1] * 3, [1, 1, 0]]


@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential", "mean-field", "paths"])
@pytest.mark.parametrize("form", [[None], [-1], [np.nan], np.ma.array([0], mask=[True])], ids=["None", "-1", "nan", "masked"])
@pytest.mark.parametrize("smooth", [False, True])
def test_what_was_not_seen_moves_nothing(inference, form, smooth):
    """No belief beyond what transitions say, no free energy, no count; for whatever way of believing."""
    model = POMDP(
        A=[None], B=[np.array([[0.9, 0.4], [0.1, 0.6]])[:, :, None]], D=[[0.5, 0.5]], pA=[np.array([[9.0, 1], [1, 9]])]
    )
    planner = Planner(gains=(), alpha=None, modalities="separate")
    agent = Agent(model, planner=planner, inference=inference, learning=Learning(smooth=smooth), trial_length=4)
    state, _ = agent.step(agent.init(), [0])
    counts, before = agent.posterior_counts(state, 0), state.qs[0][0]
    state, info = agent.step(state, form)
    if inference != "paths":  # which believes in paths, whose ends hang together
        assert_allclose(info.qs[0], model.B[0][:, :, 0] @ before, atol=1e-12)
        assert_allclose(info.free_energy, 0, atol=1e-12)
        assert_array_equal(agent.posterior_counts(state, 0), counts)
    with_ = agent.end_trial(state)[0]
    without = agent.end_trial(agent.step(agent.init(), [0])[0])[0]
    assert_allclose(agent.posterior_counts(with_, 0).sum(), agent.posterior_counts(without, 0).sum(), atol=1e-12)


# --- what is refused ---------------------------------------------------------------------------------------------------------
REFUSED = [
    (None, TypeError, "observation must hold outcomes; got None"),
    ([0], ValueError, r"observation must have one entry per modality \(2\); got 1"),
    ([0, 1, 1], ValueError, r"observation must have one entry per modality \(2\); got 3"),
    ([3, 0], ValueError, r"observation\[0\] must lie in 0\.\.2, or be -1 for what was not seen; got 3"),
    ([0, -2], ValueError, r"observation\[1\] must lie in 0\.\.1, .*; got -2"),
    ([0.5, 0], ValueError, r"observation\[0\] must hold whole numbers, or nan for what was not seen; got 0\.5"),
    ([np.inf, 0], ValueError, r"observation\[0\] must .*; got inf"),
    ([1e300, 0], ValueError, r"observation\[0\] must lie in 0\.\.2, .*; got"),
    (["red", 0], TypeError, r"observation\[0\] must hold integers, or probabilities of outcomes; got"),
    ([1j, 0], TypeError, r"observation\[0\] must hold integers"),
    ([True, 0], TypeError, r"observation\[0\] must hold integers"),
    ([[0, 1], 0], ValueError, r"observation\[0\] must hold one outcome per agent \(1\); got shape \(2,\)"),
    (np.zeros((2, 2), dtype=int), ValueError, r"observation must have shape \(1, 2\) \(agents, modalities\); got \(2, 2\)"),
    (np.zeros((1, 2, 1), dtype=int), ValueError, r"observation must have shape \(1, 2\)"),
    (3.0 + 0j, TypeError, "observation must be an array, or a list"),
    ({"a": 1, "b": 0}, TypeError, "observation must be an array, or a list"),
    ("01", TypeError, "observation must be an array, or a list"),
    ([[[0], [1, 2]], 0], (TypeError, ValueError), r"observation\[0\] must hold"),
]


@pytest.mark.parametrize(("form", "error", "words"), REFUSED)
def test_what_cannot_be_an_observation(form, error, words):
    with pytest.raises(error, match=words):
        outcomes_of(eyes(), form, 1)


# --- actions -----------------------------------------------------------------------------------------------------------------
def test_actions_in_every_form():
    rng = np.random.default_rng(0)
    model = POMDP(A=[columns(rng, (2, 2))], A_dependencies=[[0]], B=[columns(rng, (2, 2, n)) for n in (2, 1, 3)])
    agent = Agent(model, planner=QUIET)
    for form in ([1, 0, 2], [1, 2], (1, 2), np.array([[1, 2]]), np.array([1, 0, 2], dtype=np.uint8), [[1, 0, 2]]):
        assert agent.step(agent.init(), [0], action=form)[0].controls.tolist() == [[1, 0, 2]]
    for form in ([[1, 2], [0, 1]], [[1, 0, 2], [0, 0, 1]]):
        assert agent.step(agent.init(2), [[0], [1]], action=form)[0].controls.tolist() == [[1, 0, 2], [0, 0, 1]]
    with pytest.raises(ValueError, match=r"action of factor 2 must lie in 0\.\.2; got \[3\]"):
        agent.step(agent.init(), [0], action=[1, 3])
    with pytest.raises(
        ValueError, match=r"action must have shape \(1, 3\) \(agents, factors\), or \(1, 2\) \(the controlled ones\)"
    ):
        agent.step(agent.init(), [0], action=[1])
    with pytest.raises(TypeError, match=r"action must hold integers"):
        agent.step(agent.init(), [0], action=[1.0, 2.0])


@pytest.mark.parametrize("n_agents", [None, 1, 3])
def test_what_was_done_can_be_handed_back(n_agents):
    """`info.action` goes to the environment; given back it means `info.controls`, with one, two or three controlled factors."""
    for controls in ((1, 2), (2, 2), (1, 1), (2, 1, 2)):
        model = eyes(sizes=(2,) * len(controls), B=[np.repeat(np.eye(2)[:, None, :n], 2, axis=1) for n in controls])
        agent, n = Agent(model), n_agents or 1
        seen = np.zeros((n, len(controls)), dtype=int)
        state, info = agent.step(agent.init(n_agents), seen if n_agents else seen[0], np.random.default_rng(0))
        back, _ = agent.step(agent.init(n_agents), seen if n_agents else seen[0], action=info.action)
        assert_array_equal(back.controls, state.controls)
        assert_array_equal(back.controls, np.reshape(info.controls, (n, -1)))
