"""Mean-field inference without pymdp: what must hold whatever the numbers (those are in test_pymdp_parity.py)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from worlds import random_controls, random_outcomes, random_world

from activebmr import POMDP, Agent, Planner
from activebmr.inference.beliefs import Belief
from activebmr.inference.factorised import infer_factorised
from activebmr.inference.mean_field import MEAN_FIELD_FLOOR, ROUNDS, infer_mean_field

# outcomes are drawn at random, whatever a model holds possible
pytestmark = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")


def dense_world(seed: int, **sizes: int) -> POMDP:
    """A random model in which no outcome is impossible."""
    model = random_world(seed, **sizes)
    counts = [None if p is None else p + 0.1 for p in model.pA]
    known = [0.9 * a + 0.1 / len(a) if p is None else None for a, p in zip(model.A, counts, strict=True)]
    return model.with_(A=known, pA=counts)


PLANNER = Planner(depth=0, gains=("state", "param"), habit="always", alpha=None)


@given(seed=st.integers(0, 10_000), n_agents=st.integers(2, 7), soft=st.booleans())
def test_a_row_does_not_depend_on_its_batch(seed: int, n_agents: int, soft: bool) -> None:
    """Bit for bit: alone, in other company, in another order."""
    model, rng = random_world(seed), np.random.default_rng(seed)
    agent = Agent(model, planner=PLANNER, inference="mean-field")
    state, _ = agent.step(agent.init(n_agents), random_outcomes(rng, model, n_agents), rng)
    outcomes = random_outcomes(rng, model, n_agents, soft)
    whole, bound, _ = infer_mean_field(model, state.tables, np.arange(n_agents), state.qs, outcomes)
    one = int(rng.integers(n_agents))
    for rows in ([one], rng.permutation(n_agents), [one] * 9):
        rows = np.array(rows)
        part, some, _ = infer_mean_field(model, state.tables, rows, state.qs.take(rows), [o[rows] for o in outcomes])
        assert_array_equal(some, bound[rows])
        for q, wanted in zip(part, whole, strict=True):
            assert_array_equal(q, wanted[rows])


@given(seed=st.integers(0, 10_000))
def test_one_factor_is_exact(seed: int) -> None:
    model, rng = dense_world(seed, max_factors=1), np.random.default_rng(seed)
    state = Agent(model, planner=PLANNER).init(3)
    prior = [rng.dirichlet(np.ones(n), size=3) for n in model.num_states]
    outcomes = random_outcomes(rng, model, 3)
    q, bound, _ = infer_mean_field(model, state.tables, np.arange(3), prior, outcomes)
    exact, evidence, _ = infer_factorised(model, state.tables, np.arange(3), prior, outcomes)
    assert_allclose(q[0], exact[0], rtol=1e-12, atol=1e-14)
    assert_allclose(bound, evidence, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 10_000), soft=st.booleans())
def test_minus_free_energy_is_below_the_log_evidence(seed: int, soft: bool) -> None:
    model, rng = dense_world(seed), np.random.default_rng(seed)
    state = Agent(model, planner=PLANNER).init(4)
    prior = [rng.dirichlet(np.ones(n), size=4) for n in model.num_states]
    outcomes = random_outcomes(rng, model, 4, soft)
    q, bound, _ = infer_mean_field(model, state.tables, np.arange(4), prior, outcomes)
    _, evidence, _ = infer_factorised(model, state.tables, np.arange(4), prior, outcomes)
    assert (bound <= evidence + 1e-12).all()
    for p in q:
        assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)


def by_hand(model: POMDP, prior: list[np.ndarray], outcomes: list[int | np.ndarray]) -> tuple[list[np.ndarray], float]:
    """The fixed-point iteration for one agent, joint state by joint state."""
    log = lambda x: np.log(max(x, MEAN_FIELD_FLOOR))  # noqa: E731
    sizes, deps = model.num_states, model.A_dependencies
    states = list(product(*map(range, sizes)))

    def seen(state: tuple[int, ...]) -> float:
        total = 0.0
        for m, outcome in enumerate(outcomes):
            column = model.A[m][(slice(None), *(state[f] for f in deps[m]))]
            total += (
                log(column[outcome]) if np.ndim(outcome) == 0 else sum(w * log(a) for w, a in zip(outcome, column, strict=True))
            )
        return total

    q = [np.full(n, 1.0 / n) for n in sizes]
    for _ in range(ROUNDS):
        fresh = [np.array([log(p) for p in prior[f]]) for f in range(len(sizes))]
        for state in states:
            for f in range(len(sizes)):
                others = np.prod([q[g][state[g]] for g in range(len(sizes)) if g != f])
                fresh[f][state[f]] += others * seen(state)
        q = [np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in fresh]
    bound = sum(np.prod([q[f][s] for f, s in enumerate(state)]) * seen(state) for state in states)
    bound += sum(x * (log(p) - log(x)) for f in range(len(sizes)) for x, p in zip(q[f], prior[f], strict=True))
    return q, float(bound)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("soft", [False, True])
def test_the_iteration_by_hand(seed: int, soft: bool) -> None:
    """Where nothing is impossible: the iteration magnifies rounding of numbers near the floor."""
    model, rng = dense_world(seed, max_factors=3), np.random.default_rng(seed)
    state = Agent(model, planner=PLANNER).init(1)
    prior = [rng.dirichlet(np.ones(n)) for n in model.num_states]
    outcomes = random_outcomes(rng, model, 1, soft)
    q, bound, _ = infer_mean_field(model, state.tables, np.zeros(1, dtype=int), [p[None] for p in prior], outcomes)
    wanted, wanted_bound = by_hand(model, prior, [o[0] for o in outcomes])
    for f in range(model.num_factors):
        assert_allclose(q[f][0], wanted[f], rtol=0, atol=1e-12)
    assert bound[0] == pytest.approx(wanted_bound, abs=1e-11)


def test_certain_outcomes_given_as_probabilities_are_the_same() -> None:
    model, rng = random_world(4), np.random.default_rng(4)
    agent = Agent(model, planner=PLANNER, inference="mean-field")
    state, _ = agent.step(agent.init(5), random_outcomes(rng, model, 5), rng)
    outcomes = random_outcomes(rng, model, 5)
    prior = Belief.of([rng.dirichlet(np.ones(n), size=5) for n in model.num_states])
    hard, bound, _ = infer_mean_field(model, state.tables, np.arange(5), prior, outcomes)
    certain = [np.eye(n)[o] for n, o in zip(model.num_outcomes, outcomes, strict=True)]
    soft, other, _ = infer_mean_field(model, state.tables, np.arange(5), prior, certain)
    assert_allclose(other, bound, rtol=0, atol=1e-12)
    for x, y in zip(hard, soft, strict=True):
        assert_allclose(x, y, rtol=0, atol=1e-12)


def test_impossible_outcomes_leave_finite_beliefs() -> None:
    """What no state explains says nothing (all floors tie); a prior of zero is a floor, too."""
    eye = np.eye(2)
    still = [eye[:, :, None]] * 2
    model = POMDP(A=[[[0.0, 0.0], [1.0, 1.0]]], B=still, D=[[0.3, 0.7], [1.0, 0.0]], A_dependencies=[[0]])
    agent = Agent(model, planner=PLANNER, inference="mean-field")
    _, info = agent.step(agent.init(), np.array([0]))
    assert_allclose(info.qs[0], [0.3, 0.7], rtol=1e-12)
    assert_allclose(info.qs[1], [1.0, 0.0], rtol=0, atol=1e-15)
    assert info.free_energy == pytest.approx(-np.log(MEAN_FIELD_FLOOR)) and info.impossible
    contradiction = POMDP(A=[eye], B=still[:1], D=[[1.0, 0.0]])
    agent = Agent(contradiction, planner=PLANNER, inference="mean-field")
    _, info = agent.step(agent.init(), np.array([1]))
    assert_allclose(info.qs[0], [0.5, 0.5], rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agents_with_mean_field_beliefs_do_not_depend_on_their_batch(seed: int) -> None:
    model, rng = random_world(seed), np.random.default_rng(seed)
    agent = Agent(model, planner=PLANNER, inference="mean-field")
    together, alone = agent.init(4), agent.init(1)
    for _ in range(4):
        outcomes, controls = random_outcomes(rng, model, 4), random_controls(rng, model, 4)
        together, info = agent.step(together, outcomes, action=controls)
        alone, single = agent.step(alone, [o[2:3] for o in outcomes], action=controls[2:3])
        assert_array_equal(info.neg_efe[2], single.neg_efe[0])
        assert_array_equal(info.free_energy[2], single.free_energy[0])


def test_deeper_search_works_on_mean_field_beliefs() -> None:
    model = dense_world(3)
    agent = Agent(model, planner=Planner(depth=2, alpha=None), inference="mean-field")
    _, info = agent.step(agent.init(3), random_outcomes(np.random.default_rng(0), model, 3))
    assert np.isfinite(info.neg_efe).all()
