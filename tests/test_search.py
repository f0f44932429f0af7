"""Looking ahead over outcomes against an exhaustive recursion: every policy, every joint outcome, exact beliefs after each."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from enumeration import Plans, columns, joint_states, lived, small_model, softmax
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_outlook import FROZEN, before_planning

from activebmr import POMDP, Agent, Planner
from activebmr.planning import search as search_module

SEEDS = st.integers(0, 10**6)
DATA = Path(__file__).parent / "data" / "sophisticated"


def tiny(seed, **options):
    return small_model(seed, **({"max_factors": 2, "max_outcomes": 2, "max_policies": 3, "learned": 0.3} | options))


# --- against the recursion ---------------------------------------------------------------------------------------------------
@settings(max_examples=60)
@given(SEEDS, st.integers(0, 2), st.sampled_from(["posterior", "best"]), st.sampled_from(["together", "separate"]))
def test_the_search_is_the_exhaustive_recursion(seed, depth, backup, modalities):
    """Depth, backup, discount, precision, habits, preferences of minus infinity, counts that give novelty."""
    rng = np.random.default_rng([seed, 1])
    model = tiny(seed, never=seed % 3 == 0)
    habit = ["first", "always"][seed % 2]
    if seed % 5 == 0:
        prior = columns(rng, (len(model.policies),), 0.3)
        model = model.with_(E=prior)
    gains = [("state", "param"), ("state",), ("param",), ()][seed % 4 if seed % 8 < 4 else 0]
    discount, gamma = [1.0, 0.7][seed % 2], [1.0, 2.5, np.inf, 0.3][seed % 4]
    planner = Planner(
        depth=depth, backup=backup, modalities=modalities, gains=gains, discount=discount, gamma=gamma, habit=habit
    )
    agent = Agent(model, planner=planner, learning=FROZEN)
    state, q = before_planning(agent, [lived(model, rng, 1 + seed % 2)])
    t, later = seed % 2, model.log_policy_prior if habit == "always" else 0.0
    plans = Plans(model, modalities == "together")
    if np.isinf(gamma):
        plans.back = _sharp
    expected = plans.search(q, t, depth, gains, gamma=gamma, backup=backup, discount=discount, later=later)
    assert_allclose(agent.plan(state).neg_efe[0], expected, rtol=1e-12, atol=1e-10)


def _sharp(ahead, gamma, backup, later):
    """An infinite precision leaves the prior among the best."""
    if backup == "best" or (ahead == -np.inf).all():
        return ahead.max()
    best = ahead >= ahead.max() - 1e-9
    prior = np.exp(later + np.zeros(len(ahead)))
    if (prior * best).sum() == 0:  # the prior rules them out: it alone counts
        best = np.ones(len(ahead), dtype=bool)
    p = prior * best / (prior * best).sum()
    return sum(x * v for x, v in zip(p, ahead, strict=True) if x > 0)


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_search_ends_with_the_trial(length, extra):
    """T - t - 1 observations will come (one more by SPM's count): no depth sees more of them."""
    for seed in range(8):
        model, rng = tiny(seed), np.random.default_rng(seed)
        agent = Agent(model, planner=Planner(depth=2, gains=("state",), extra_step=extra), learning=FROZEN, trial_length=length)
        for t in range(length):
            state, q = before_planning(agent, [lived(model, rng, t + 1)])
            left = length - t - 1 + extra
            expected = np.zeros(len(model.policies))
            if left > 0:
                expected = Plans(model).search(q, t, min(2, left - 1), ("state",))
            assert_allclose(agent.plan(state).neg_efe[0], expected, rtol=0, atol=1e-10)


def test_precision_and_preferences_of_each_agent():
    """Three agents that differ in gamma and in what they want, in one batch."""
    for seed in range(6):
        model, rng = tiny(seed), np.random.default_rng(seed)
        gamma, n = np.array([0.5, 1.0, 4.0]), model.num_outcomes[0]
        own = {"C[0]": rng.normal(size=(3, n))}
        agent = Agent(model, planner=Planner(depth=1, gains=("state",), gamma=gamma), learning=FROZEN, own=own)
        state, q = before_planning(agent, [lived(model, rng, 1)] * 3)
        for k, found in enumerate(agent.plan(state).neg_efe):
            plans = Plans(model, own={0: own["C[0]"][k]})
            assert_allclose(found, plans.search(q, 0, 1, ("state",), gamma=gamma[k]), rtol=0, atol=1e-10)


def ring(never):
    """Five places in a ring that are seen: stay, go right, go left; nobody wants to be at place 2."""
    moves = np.stack([np.eye(5), np.roll(np.eye(5), 1, 0), np.roll(np.eye(5), -1, 0)], axis=2)
    return POMDP(A=[np.eye(5)], B=[moves], C=[[0.0, 0.0, never, 0.0, 1.0]], D=[np.eye(5)[0]])


def test_equal_branches_are_one_and_policies_out_of_the_question_are_left():
    """From place 0 one gets to 3, then 4 and 4 places, whatever the ways there: 11 beliefs, where the tree has 39 branches."""
    model = ring(-np.inf)
    agent = Agent(model, planner=Planner(depth=3, gains=("state",), max_nodes=11))
    state, q = before_planning(agent, [([[0]], [])])
    assert_allclose(agent.plan(state).neg_efe[0], Plans(model).search(q, 0, 3, ("state",)), atol=1e-10)
    few = Agent(model, planner=Planner(depth=3, gains=("state",), max_nodes=10))
    with pytest.raises(ValueError, match=r"max_nodes=10 beliefs an agent; this one needs at least 11"):
        few.plan(state)


def test_a_deep_search_of_a_small_world_is_small():
    """25 steps ahead on the ring: 5 places a step, not 3^25 walks; the same for each agent of a batch. By dynamic
    programming.
    """
    model, wish = ring(0.5), np.array([0.0, 0.0, 0.5, 0.0, 1.0])
    wish = wish - np.log(np.exp(wish).sum())
    value = np.zeros(5)
    for _ in range(26):
        worth = np.array([[wish[p] + value[p] for p in (s, (s + 1) % 5, (s - 1) % 5)] for s in range(5)])
        value = worth.max(axis=1)
    agent = Agent(model, planner=Planner(depth=25, gains=("state",), backup="best", max_nodes=5 * 25))
    state, _ = agent.perceive(agent.init(3), np.zeros((3, 1), dtype=int))
    assert_allclose(agent.plan(state).neg_efe, np.repeat(worth[:1], 3, axis=0), atol=1e-10)


# --- numbers of an independent program ---------------------------------------------------------------------------------------
def recorded(number):
    with np.load(DATA / f"model_{number}.npz", allow_pickle=False) as file:
        z = {k: file[k] for k in file.files}
    count = lambda letter: sum(bool(re.fullmatch(rf"{letter}\d+", k)) for k in z)  # noqa: E731
    A = [z[f"A{m}"] for m in range(count("A"))]
    deps = [[int(f) for f in np.atleast_1d(z[f"A{m}_deps"])] for m in range(len(A))]
    B = [z[f"B{f}"] for f in range(count("B"))]
    C, D = [z[f"C{m}"] for m in range(len(A))], [z[f"D{f}"] for f in range(len(B))]
    return POMDP(A=A, B=B, C=C, D=D, A_dependencies=deps, policies=z["policies"]), z


KINDS = {
    "joint": {"gains": ("state",)},
    "modality": {"gains": ("state",), "modalities": "separate"},
    "utility": {"gains": ()},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(6))
def test_recorded_plans_of_one_to_three_steps(number, kind):
    """Nothing has been seen yet: the root decision's outcomes are all missing. Where pymdp's tree had nodes enough it says the
    same, in single precision.
    """
    model, z = recorded(number)
    shift = sum(np.log(np.exp(c - c.max()).sum()) + c.max() for c in model.C)
    for h in (1, 2, 3):
        agent = Agent(model, planner=Planner(depth=h - 1, **KINDS[kind]))
        state, _ = agent.perceive(agent.init(), [None] * model.num_modalities)
        evaluation = agent.plan(state)
        assert_allclose(evaluation.neg_efe[0] + h * shift, z[f"G_{kind}_{h}"], rtol=0, atol=1e-10)
        assert_allclose(evaluation.q_pi[0], z[f"q_pi_{kind}_{h}"], rtol=0, atol=1e-10)
        if f"pymdp_q_pi_{kind}_{h}" in z:
            assert_allclose(evaluation.q_pi[0], z[f"pymdp_q_pi_{kind}_{h}"], rtol=0, atol=1e-6)


# --- limits ------------------------------------------------------------------------------------------------------------------
def noisy(n_states=4, n_modalities=2, n_policies=4):
    rng = np.random.default_rng(0)
    return POMDP(
        A=[columns(rng, (3, n_states), 0.0) for _ in range(n_modalities)],
        B=[columns(rng, (n_states, n_states, n_policies), 0.0)],
    )


def test_a_search_over_too_many_beliefs_is_refused_by_name():
    for depth in (2, 30):
        agent = Agent(noisy(), planner=Planner(depth=depth, max_nodes=200, alpha=None))
        with pytest.raises(
            ValueError, match=r"depth of Planner must be small enough .* max_nodes=200 beliefs an agent; this one needs"
        ):
            agent.step(agent.init(), [0, 0])
    agent = Agent(noisy(), planner=Planner(depth=1, max_nodes=36, alpha=None))  # 4 policies, 9 outcomes
    agent.step(agent.init(), [0, 0])
    agent.step(agent.init(10), np.zeros((10, 2), dtype=int))  # each agent has as many
    agent = Agent(noisy(), planner=Planner(depth=1, max_nodes=35, alpha=None))
    with pytest.raises(ValueError, match="max_nodes=35"):
        agent.step(agent.init(), [0, 0])


def test_too_many_joint_outcomes_to_branch_over_are_refused_by_name():
    with pytest.raises(
        ValueError, match=r"search of Planner must not be 'outcomes' .*modality_0.*joint outcomes.*'states'.*depth 0"
    ):
        Agent(noisy(n_modalities=20), planner=Planner(depth=1, modalities="separate"))
    planner = Planner(depth=1, search="states", modalities="separate", alpha=None)
    agent = Agent(noisy(n_modalities=20), planner=planner)
    agent.step(agent.init(), [0] * 20)


def test_a_batch_searched_in_parts_is_like_single_agents(monkeypatch):
    for seed in (1, 3, 4, 7):
        model = tiny(seed)
        trials = [lived(model, np.random.default_rng([k, 2]), 2) for k in range(12)]
        agent = Agent(model, planner=Planner(depth=2), learning=FROZEN)
        many, _ = before_planning(agent, trials)
        whole = agent.plan(many).neg_efe
        singles = np.concatenate([agent.plan(before_planning(agent, [trial])[0]).neg_efe for trial in trials])
        assert_array_equal(whole, singles)
        monkeypatch.setattr(search_module, "_AT_ONCE", 50)
        assert_array_equal(agent.plan(many).neg_efe, whole)
        monkeypatch.undo()


def test_the_posterior_over_policies_follows_the_search():
    model = tiny(5)
    agent = Agent(model, planner=Planner(depth=1, gamma=2.0), learning=FROZEN)
    state, q = before_planning(agent, [lived(model, np.random.default_rng(0), 1)])
    worth = Plans(model).search(q, 0, 1, ("state", "param"), gamma=2.0)
    assert_allclose(agent.plan(state).q_pi[0], softmax(2.0 * worth + model.log_policy_prior), atol=1e-10)
    assert len(joint_states(model)) > 1
