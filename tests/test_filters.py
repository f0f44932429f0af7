"""Beliefs that keep one distribution per factor: what was not seen, what is impossible, many modalities and factors; and
planning from them in batches of any size.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, random_controls, random_outcomes, random_space, random_world, two_rooms

from activebmr import POMDP, Agent, Planner
from activebmr.inference.by_factors import INFERENCE
from activebmr.planning import marginal

WAYS = list(INFERENCE)
STILL = np.eye(2)[:, :, None]
SPM = {"search": "states", "modalities": "separate"}
IMPOSSIBLE = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")


def still(model: POMDP, inference: str, **options) -> Agent:
    return Agent(model, inference=inference, planner=Planner(alpha=None, modalities="separate"), **options)


# --- not seen ------------------------------------------------------------------------------------------------------------
@IMPOSSIBLE
@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(WAYS), st.booleans())
def test_what_was_not_seen_changes_nothing_whoever_else_saw_it(seed, inference, soft):
    """Half the agents miss some modalities: bit by bit their beliefs are those of agents for whom these do not exist."""
    model, rng = random_world(seed, max_factors=3), np.random.default_rng(seed)
    agent = Agent(model, inference=inference, planner=Planner(alpha=None, **SPM))
    state, outcomes = agent.init(6), random_outcomes(rng, model, 6, soft)
    controls = random_controls(rng, model, 6)
    for _ in range(2):
        missed = rng.random((model.num_modalities, 6)) < 0.5
        given = [
            np.where(m, -1, o) if o.ndim == 1 else np.where(m[:, None], 0.0, o) for m, o in zip(missed, outcomes, strict=True)
        ]
        after, info = agent.step(state, given, action=controls)
        for k in np.flatnonzero(missed.all(axis=0)):
            assert info.free_energy[k] == 0.0 and not info.impossible[k]
            for f, q in enumerate(agent.foreseen(state) if state.controls is not None else state.qs):
                assert_array_equal(info.qs[f][k], q[k])
        for m in model.learned_modalities:
            assert_array_equal(after.counts(m)[missed[m]], state.counts(m)[missed[m]])
        state = after


@pytest.mark.parametrize("inference", WAYS)
def test_one_of_two_modalities_is_enough(inference):
    likelihood = np.array([[0.8, 0.3], [0.2, 0.7]])
    both = still(POMDP(A=[likelihood, likelihood[::-1]], B=[STILL]), inference)
    one = still(POMDP(A=[likelihood], B=[STILL]), inference)
    _, first = both.step(both.init(), [0, None])
    _, second = one.step(one.init(), 0)
    assert_allclose(first.qs[0], second.qs[0], rtol=1e-12)
    assert_allclose(first.free_energy, second.free_energy, rtol=1e-12)


# --- many ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", WAYS)
@pytest.mark.parametrize("right, n, for_first", [(0.52, 1200, 610), (0.99, 400, 200)])
def test_many_pixels_do_not_underflow(inference, right, n, for_first):
    pixel = np.array([[right, 1 - right], [1 - right, right]])
    agent = still(POMDP(A=[pixel] * n, B=[STILL]), inference)
    # one way and the other in turn: filtering one by one drops a state for ever when it has become improbable
    _, info = agent.step(agent.init(), [0, 1] * (n - for_first) + [0] * (2 * for_first - n))
    log = np.log([right, 1 - right])
    logs = np.array([for_first * log[0] + (n - for_first) * log[1], for_first * log[1] + (n - for_first) * log[0]])
    total = np.logaddexp(*(logs - np.log(2)))
    assert_allclose(info.qs[0], np.exp(logs - np.log(2) - total), atol=1e-9)
    assert_allclose(info.free_energy, -total, rtol=1e-9)
    assert not info.impossible


@IMPOSSIBLE
@pytest.mark.parametrize("inference", WAYS)
def test_an_agent_whose_evidence_underflows_is_held_as_if_alone(inference):
    """Three outcomes of 1e-120, one that cannot be and plain ones, in one batch: each as by itself, evidence in logs."""
    rare = np.array([[1e-120, 3e-120, 0.5], [0.0, 1.0, 0.5], [1.0, 0.0, 0.0]])
    agent = still(POMDP(A=[rare] * 3, B=[np.eye(3)[:, :, None]], D=[[0.5, 0.5, 0.0]]), inference)
    seen = np.array([[2, 2, 0], [0, 0, 0], [2, 1, 2], [1, 1, 1]])  # per agent
    _, info = agent.step(agent.init(4), list(seen.T))
    for k, alone in enumerate(seen):
        _, one = agent.step(agent.init(1), list(alone[:, None]))
        assert_array_equal(info.qs[0][k], one.qs[0][0])
        assert info.free_energy[k] == one.free_energy[0] and info.impossible[k] == one.impossible[0]
    if inference == "factorised":
        assert_allclose(info.qs[0][1], [1 / 28, 27 / 28, 0.0], rtol=1e-12)
        assert_allclose(-info.free_energy[1], -360 * np.log(10) + np.log(14), rtol=1e-12)
        assert_array_equal(info.impossible, [False, False, True, False])


def test_factors_that_nothing_couples_need_no_joint_distribution():
    """Ten factors of ten states would have 10^10 joint states."""
    likelihood = 0.7 * np.eye(10) + 0.03
    model = POMDP(A=[likelihood] * 10, B=[np.eye(10)[:, :, None]] * 10, A_dependencies=[[f] for f in range(10)])
    agent = still(model, "factorised")
    _, info = agent.step(agent.init(), np.arange(10))
    for f, q in enumerate(info.qs):
        assert_allclose(q, likelihood[f], rtol=1e-12)
    assert_allclose(info.free_energy, 10 * np.log(10), rtol=1e-12)


# --- impossible ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", ["exact", *WAYS])
def test_what_contradicts_what_was_seen_is_impossible(inference):
    """A card that stays as it is, seen twice; filters keep a little of what their floor let through."""
    agent = still(POMDP(A=[np.eye(3)], B=[np.eye(3)[:, :, None]]), inference)
    state, info = agent.step(agent.init(2), np.array([[0], [1]]))
    assert_array_equal(info.impossible, [False, False])
    with pytest.warns(UserWarning, match="impossible: modality_0=0 at time 1"):
        state, info = agent.step(state, np.array([[0], [0]]))
    assert_array_equal(info.impossible, [False, True])
    assert np.isfinite(info.free_energy).all()


@pytest.mark.parametrize("inference", WAYS)
def test_what_is_merely_improbable_is_possible(inference):
    """States that SPM's filter drops as negligible are not excluded by the model."""
    nearly = np.array([[1 - 1e-9, 0.0], [1e-9, 1.0]])
    agent = still(POMDP(A=[nearly, np.eye(2)], B=[STILL], D=[[1 - 1e-9, 1e-9]]), inference)
    state, info = agent.step(agent.init(), [1, 1])
    assert not info.impossible
    _, info = agent.step(state, [1, 1])
    assert not info.impossible


@pytest.mark.parametrize("inference", WAYS)
def test_several_impossible_outcomes_leave_finite_beliefs(inference):
    shut = np.array([[1.0, 1.0], [0.0, 0.0]])
    agent = still(POMDP(A=[shut] * 30, B=[STILL]), inference)
    with pytest.warns(UserWarning, match="holds impossible"):
        _, info = agent.step(agent.init(), [1] * 30)
    assert info.impossible and np.isfinite(info.free_energy)
    assert_allclose(info.qs[0], [0.5, 0.5], atol=1e-12)


# --- planning ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("depth, length", [(0, 1), (2, 1), (0, 3)])
def test_a_batch_is_planned_for_in_parts(monkeypatch, depth, length):
    """However few numbers are held at a time, values are the same."""
    model = random_world(3, max_factors=3, policy_length=length, max_controls=2)
    rng = np.random.default_rng(0)
    outcomes = random_outcomes(rng, model, 9)

    def values():
        agent = Agent(model, random_space(3, model), Planner(depth=depth, alpha=None, **SPM), inference="factorised")
        return agent.step(agent.init(9), outcomes)[1]

    whole = values()
    monkeypatch.setattr(marginal, "_AT_ONCE", 40)
    part = values()
    for name in ("utility", "state_info_gain", "param_info_gain", "model_info_gain", "neg_efe", "q_pi"):
        assert_array_equal(getattr(part, name), getattr(whole, name), err_msg=name)


def test_the_likeliest_of_many_joint_states_are_found_factor_by_factor(monkeypatch):
    rng = np.random.default_rng(1)
    model = random_world(5, max_factors=4)
    states = [rng.dirichlet(np.ones(n)) for n in model.num_states]
    model = model.with_(D=states)

    def values():
        agent = Agent(model, planner=Planner(depth=1, alpha=None, **SPM), inference="factorised")
        return agent.step(agent.init(), [np.full(n, 1 / n) for n in model.num_outcomes])[1].neg_efe

    whole = values()
    monkeypatch.setattr(marginal, "_MANY_STATES", 1)
    assert_allclose(values(), whole, rtol=1e-12)


def test_precision_of_each_agent_and_infinite_precision():
    gamma = np.array([0.5, 4.0, np.inf])
    agent = Agent(two_rooms(), planner=Planner(gamma=gamma, alpha=None, **SPM), inference="sequential")
    _, info = agent.step(agent.init(3), np.zeros((3, 2), dtype=int))
    for k in range(3):
        worth = (
            np.exp(gamma[k] * (info.neg_efe[k] - info.neg_efe[k].max())) if k < 2 else info.neg_efe[k] >= info.neg_efe[k].max()
        )
        assert_allclose(info.q_pi[k], worth / worth.sum(), rtol=1e-12)


def test_preferences_of_each_agent():
    want = np.array([[1.0, 0.0, -2.0], [-3.0, 2.0, 0.0]])
    agent = Agent(two_rooms(), planner=Planner(alpha=None, **SPM), inference="sequential", own={"C[light]": want})
    _, both = agent.step(agent.init(2), np.zeros((2, 2), dtype=int))
    for k in range(2):
        alone = Agent(two_rooms(C=[None, want[k]]), planner=Planner(alpha=None, **SPM), inference="sequential")
        _, info = alone.step(alone.init(), [0, 0])
        assert_array_equal(info.utility, both.utility[k])


def test_discount_and_best_continuation():
    """A step later is worth the discount of what it is worth; the best of what may follow at least the average."""

    def later(**settings):
        planner = Planner(depth=1, alpha=None, gains=("state",), policy_cutoff=0.0, **SPM, **settings)
        agent = Agent(two_rooms(), planner=planner, inference="factorised")
        _, info = agent.step(agent.init(), [0, 0])
        return info.neg_efe - info.utility - info.state_info_gain

    assert_allclose(later(discount=0.5), 0.5 * later(), rtol=1e-12)
    assert (later(backup="best") >= later()).all()


def test_a_search_that_is_too_wide_is_refused():
    agent = Agent(
        two_rooms(), planner=Planner(depth=3, alpha=None, max_nodes=2, policy_cutoff=0.0, **SPM), inference="sequential"
    )
    with pytest.raises(ValueError, match="depth of Planner must be small enough .* max_nodes=2 beliefs an agent"):
        agent.step(agent.init(), [0, 0])


def test_a_trial_that_ends_leaves_nothing_to_plan_for():
    model = two_rooms(policy_length=3)
    agent = Agent(model, lamp_rules(), Planner(alpha=None, **SPM), inference="sequential", trial_length=3)
    state, infos = agent.init(), []
    for _ in range(3):
        state, info = agent.step(state, [0, 0], action=[0, 0])
        infos.append(info)
    assert_array_equal(infos[-1].neg_efe, 0.0)
    assert_allclose(infos[-1].q_pi, 1 / len(model.policies))
    first = [p[0, 0] for p in model.policies]  # at the last step but one, only what comes first counts
    for u in (0, 1):
        assert np.ptp(infos[1].neg_efe[np.array(first) == u]) == 0.0


# --- a warning -----------------------------------------------------------------------------------------------------------
def test_gains_of_modalities_that_cannot_inform_together_are_announced():
    two_signs = POMDP(A=[np.eye(2), np.eye(2)], B=[STILL])
    with pytest.warns(
        UserWarning, match=r"modalities \['modality_0', 'modality_1'\] inform separately here, .* a search over states"
    ):
        Agent(two_signs, planner=Planner(search="states"))
    one_sign = POMDP(A=[np.eye(2), np.eye(2)], B=[STILL] * 2, A_dependencies=[[0], [1]])
    Agent(one_sign, planner=Planner(search="states"))  # together is the same
    Agent(two_signs, planner=Planner(search="states", gains=("param",)))
    n = 12  # a chain of factors that move each other: 4^12 joint states
    chain = [np.full((4, 4, 4, 1), 0.25)] * n
    signs = POMDP(
        A=[np.eye(4)] * n, B=chain, A_dependencies=[[f] for f in range(n)], B_dependencies=[[f, (f - 1) % n] for f in range(n)]
    )
    with pytest.warns(UserWarning, match="joint beliefs about .* would hold 1.68e\\+07 numbers"):
        agent = Agent(signs, planner=Planner(alpha=None), inference="sequential")
    _, info = agent.step(agent.init(), [0] * n)
    assert np.isfinite(info.neg_efe).all()


def test_factors_that_outcomes_couple_by_the_million_are_refused_when_the_agent_is_built():
    pairs = [[f, f + 1] for f in range(7)]
    a = [np.full((2, 10, 10), 0.5) for _ in pairs]
    model = POMDP(A=a, B=[np.eye(10)[:, :, None]] * 8, D=[np.full(10, 0.1)] * 8, A_dependencies=pairs)
    with pytest.raises(ValueError, match="must not be 'factorised'.*'sequential' or 'mean-field'"):
        Agent(model, inference="factorised")
    agent = Agent(model, inference="sequential", planner=Planner(modalities="separate", alpha=None))
    agent.step(agent.init(2), np.zeros((2, 7), int))
