"""Learned transitions, initial states and habits of agents that keep one distribution per factor, against sums written out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import POMDP, Agent, Learning, Planner
from activebmr.dirichlet import information_gain, mean

WAYS = ["factorised", "sequential", "mean-field"]
SEPARATE = Planner(gains=("state", "param"), modalities="separate", alpha=None, novelty_cutoff=np.inf)


def random_model(seed: int, factors: int = 2, zeros: float = 0.2, **changes: Any) -> POMDP:
    """Everything is learned: A, B (factors drive each other), D and E; transitions and initial states with structural zeros."""
    rng = np.random.default_rng(seed)
    sizes, n_controls = [3, 2, 2][:factors], [2, 2, 1][:factors]
    b_deps = [[f] if factors == 1 else [(f + 1) % factors, f] for f in range(factors)]

    def counts(shape: tuple[int, ...], zeros: float = 0.0) -> np.ndarray:
        dropped = rng.random(shape) < zeros
        np.put_along_axis(dropped, rng.integers(shape[0], size=(1, *shape[1:])), False, axis=0)
        return np.where(dropped, 0.0, rng.gamma(1.0, 2.0, shape) + 0.05)

    held: dict[str, Any] = {
        "A": [None, None],
        "pA": [counts((3, *sizes)), counts((2, sizes[-1]))],
        "B": [None] * factors,
        "pB": [counts((sizes[f], *(sizes[g] for g in b_deps[f]), n_controls[f]), zeros) for f in range(factors)],
        "pD": [counts((n,), zeros) for n in sizes],
        "C": [rng.normal(size=3), rng.normal(size=2)],
        "A_dependencies": [list(range(factors)), [factors - 1]],
        "B_dependencies": b_deps,
    }
    return POMDP(**(held | changes))


def life(model: POMDP, seed: int, trials: int = 2, steps: int = 3, n_agents: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes (trial, step, agent, modality) and controls (trial, step, agent, factor), whatever the model says."""
    rng = np.random.default_rng(seed)
    shape = trials, steps, n_agents
    seen = np.stack([rng.integers(n, size=shape) for n in model.num_outcomes], axis=-1)
    return seen, np.stack([rng.integers(n, size=shape) for n in model.num_controls], axis=-1)


def outer(parts: list[np.ndarray]) -> np.ndarray:
    joint = np.ones(())
    for p in parts:
        joint = np.multiply.outer(joint, p)
    return joint


def by_hand(model: POMDP, seen: np.ndarray, done: np.ndarray, at_end: bool, rate: float = 1.0) -> dict[str, list[np.ndarray]]:
    """Counts of one agent: beliefs from the joint posterior of an observation given a product of marginals, then marginals."""
    counts = {k: [x.copy() for x in getattr(model, f"p{k}")] for k in "ABD"}
    add = lambda k, i, x: np.add(counts[k][i], x, out=counts[k][i], where=counts[k][i] > 0)  # noqa: E731
    for outcomes, controls in zip(seen, done, strict=True):
        before, q, later = [], [mean(d) for d in counts["D"]], []
        for t, o in enumerate(outcomes):
            if t:
                before, q = q, []
                for f, deps in enumerate(model.B_dependencies):
                    moved = mean(counts["B"][f])[..., controls[t - 1, f]]
                    q.append(np.tensordot(moved, outer([before[d] for d in deps]), axes=len(deps)))
            joint = outer(q)
            for m, deps in enumerate(model.A_dependencies):
                said = mean(counts["A"][m])[o[m]]
                index = [1] * len(q)
                for axis, d in enumerate(deps):
                    index[d] = said.shape[axis]
                joint = joint * said.transpose(np.argsort(deps)).reshape(index)
            joint = joint / joint.sum()
            q = [joint.sum(axis=tuple(g for g in range(len(q)) if g != f)) for f in range(len(q))]
            new = [("A", m, outer([np.eye(n)[o[m]], *(q[d] for d in model.A_dependencies[m])])) for m, n in enumerate([3, 2])]
            if t:
                for f, deps in enumerate(model.B_dependencies):
                    u = np.eye(model.num_controls[f])[controls[t - 1, f]]
                    new.append(("B", f, outer([q[f], *(before[d] for d in deps), u])))
            else:
                new += [("D", f, x) for f, x in enumerate(q)]
            later += new
            if not at_end:
                later = [add(k, i, rate * x) for k, i, x in later] and []
        for k, i, x in later:
            add(k, i, rate * x)
    return counts


def lived(agent: Agent, seen: np.ndarray, done: np.ndarray) -> Any:
    state = agent.init(seen.shape[2])
    for outcomes, controls in zip(seen, done, strict=True):
        for o, u in zip(outcomes, controls, strict=True):
            state, _ = agent.step(state, o, action=u)
        state, _ = agent.end_trial(state)
    return state


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_counts_are_products_of_marginals(seed: int, at_end: bool) -> None:
    """Of A, B and D, in models of several factors; and with one factor whichever way of believing."""
    for factors, ways in ((2 + seed % 2, ["factorised"]), (1, WAYS)):
        model = random_model(seed, factors)
        seen, done = life(model, seed)
        wanted = [by_hand(model, seen[:, :, k], done[:, :, k], at_end, rate=0.7) for k in range(2)]
        for way in ways:
            agent = Agent(model, planner=SEPARATE, inference=way, learning=Learning(rate=0.7, at_end=at_end))
            state = lived(agent, seen, done)
            close = {"rtol": 0, "atol": 1e-5 if way == "sequential" else 1e-11}  # which drops what is improbable
            for table in (t for t in model.learned if t.kind != "E"):
                mine = agent.posterior_counts(state, f"p{table}")
                for k in range(2):
                    assert_allclose(mine[k], wanted[k][table.kind][table.index], **close)
                assert ((mine > 0) == (model.counts_of(table) > 0)).all()


@pytest.mark.parametrize("way", WAYS)
def test_counts_of_initial_states_by_enumeration(way: str) -> None:
    """One trial of a factor that stays as it is: at the first time p(s | o_1), in hindsight p(s | o_1:T)."""
    rng = np.random.default_rng(3)
    a, d = rng.gamma(1.0, size=(3, 3)), np.array([0.5, 2.0, 1.0])
    model = POMDP(A=[a / a.sum(axis=0)], B=[np.eye(3)[:, :, None]], pD=[d])
    seen = np.array([0, 2, 2, 1])
    for smooth, known in ((False, seen[:1]), (True, seen)):
        agent = Agent(model, planner=SEPARATE, inference=way, learning=Learning(smooth=smooth))
        state = agent.init()
        for o in seen:
            state, _ = agent.step(state, [o])
        state, _ = agent.end_trial(state)
        p = d / d.sum() * np.prod([model.A[0][o] for o in known], axis=0)
        counts = d + p / p.sum()
        assert_allclose(agent.posterior_counts(state, "pD[0]")[0], counts, rtol=0, atol=1e-12)
        # and the next trial begins with them
        _, info = agent.step(state, [0])
        p = counts / counts.sum() * model.A[0][0]
        assert_allclose(info.qs[0], p / p.sum(), rtol=0, atol=1e-12)
        assert_allclose(-info.free_energy, np.log(p.sum()), rtol=0, atol=1e-12)


def test_known_initial_states_stay_known() -> None:
    model = random_model(0, pD=[np.array([0.0, 3.0, 0.0]), None])
    agent = Agent(model, planner=SEPARATE, inference="factorised")
    state = lived(agent, *life(model, 0, n_agents=3))
    assert_allclose(agent.posterior_counts(state, "pD[0]"), [[0.0, 5.0, 0.0]] * 3, rtol=0, atol=1e-12)


# --- planning ------------------------------------------------------------------------------------------------------------
def novelty_by_hand(model: POMDP, q: list[np.ndarray], policy: np.ndarray) -> float:
    """sum over steps and factors of q(s') W[s', parents, u] q(parents), with marginals predicted along the policy."""
    total = 0.0
    for controls in policy:
        after = []
        for f, deps in enumerate(model.B_dependencies):
            parents, counts = outer([q[d] for d in deps]), model.pB[f][..., controls[f]]
            after.append(np.tensordot(mean(counts), parents, axes=len(deps)))
            w = np.where(counts > 0, information_gain(counts), 0.0)
            total += float(after[f] @ np.tensordot(w, parents, axes=len(deps)))
        q = after
    return total


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("factors", [1, 3])
def test_novelty_of_transitions(way: str, length: int, factors: int) -> None:
    model = random_model(5, factors, policy_length=length)
    model = model.with_(A=[mean(x) for x in model.pA], pA=None)
    agent = Agent(model, planner=SEPARATE, inference=way)
    _, info = agent.step(agent.init(), [1, 0])
    for p, policy in enumerate(model.policies):
        assert info.param_info_gain[p] == pytest.approx(novelty_by_hand(model, list(info.qs), policy), abs=1e-12)
    assert info.param_info_gain.min() > 0.01


def test_no_novelty_is_left_beyond_the_cut_off() -> None:
    model = random_model(5, 1, zeros=0.0)
    model = model.with_(A=[mean(x) for x in model.pA], pA=None, pB=[np.full((3, 3, 2), 300.0)])
    for cutoff, some in ((256.0, False), (np.inf, True)):
        planner = Planner(gains=("param",), modalities="separate", alpha=None, novelty_cutoff=cutoff)
        agent = Agent(model, planner=planner, inference="mean-field")
        assert (agent.step(agent.init(), [1, 0])[1].param_info_gain > 0).all() == some


SEARCHES = {
    "one step": {},
    "two steps": {"policy_length": 2},
    "states": {"depth": 1, "search": "states"},
    "states, deeper": {"depth": 2, "search": "states", "max_states": 2},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("search", SEARCHES)
def test_agents_that_expect_what_is_known_value_it_alike(search: str, way: str) -> None:
    """Counts that do not change, whatever their number, predict what known transitions do."""
    changes = dict(SEARCHES[search])
    model = random_model(7, 2, zeros=0.0, policy_length=changes.pop("policy_length", 1))
    known = model.with_(B=[mean(x) for x in model.pB], pB=None)
    planner = Planner(gains=("state",), modalities="separate", alpha=None, **changes)
    seen, done = life(model, 1, trials=1)
    infos = []
    for m in (model, known):
        learning = Learning(rate={"pA": 0.5, "pD": 1.0} | ({"pB": 0.0} if m is model else {}))
        agent = Agent(m, planner=planner, inference=way, learning=learning, trial_length=5)
        state = agent.init(2)
        infos.append([])
        for o, u in zip(seen[0], done[0], strict=True):
            state, info = agent.step(state, o, action=u)
            infos[-1].append(info)
    for mine, theirs in zip(*infos, strict=True):
        assert_allclose(mine.neg_efe, theirs.neg_efe, rtol=0, atol=1e-12)
        assert_allclose(mine.free_energy, theirs.free_energy, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("search", SEARCHES)
def test_an_agents_numbers_do_not_depend_on_the_others(search: str, way: str) -> None:
    changes = dict(SEARCHES[search])
    model = random_model(9, 3, policy_length=changes.pop("policy_length", 1), zeros=0.0)
    planner = Planner(gains=("state", "param"), modalities="separate", alpha=None, **changes)
    agent = Agent(model, planner=planner, inference=way)
    n = 3
    seen, done = life(model, 2, trials=2, n_agents=n)
    together, alone = agent.init(n), [agent.init(1) for _ in range(n)]
    for trial, t in itertools.product(range(2), range(3)):
        together, info = agent.step(together, seen[trial, t], action=done[trial, t])
        for k in range(n):
            alone[k], own = agent.step(alone[k], seen[trial, t, k : k + 1], action=done[trial, t, k : k + 1])
            assert_array_equal(own.neg_efe[0], info.neg_efe[k])
            assert_array_equal(own.qs[0][0], info.qs[0][k])
        if t == 2:
            together, alone = agent.end_trial(together)[0], [agent.end_trial(s)[0] for s in alone]
    for k, table in itertools.product(range(n), model.learned):
        assert_array_equal(agent.posterior_counts(alone[k], f"p{table}")[0], agent.posterior_counts(together, f"p{table}")[k])


def test_habits_count_in_these_ways_too() -> None:
    model = random_model(4, 1, pE=[np.array([1.0, 3.0])])
    agent = Agent(model, planner=Planner(gains=("state",), modalities="separate", habit="always"), inference="mean-field")
    state, counts = agent.init(), np.array([1.0, 3.0])
    for u in [0, 0, 1]:  # what is done counts when the next observation has followed it
        state, info = agent.step(state, [0, 1], action=[u])
        odds = info.neg_efe + np.log(counts / counts.sum())
        assert_allclose(info.q_pi, np.exp(odds) / np.exp(odds).sum(), rtol=0, atol=1e-12)
        counts = agent.posterior_counts(state, "pE[0]")[0]
    assert_allclose(counts, [3.0, 3.0])


# --- what is refused -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_right_is_refused(way: str) -> None:
    model = random_model(1, 2)
    smooth = Learning(smooth=True)
    with pytest.raises(ValueError, match=r"smooth of Learning must be False for agents that learn pB\[0\].*at_end=True"):
        Agent(model, planner=SEPARATE, inference=way, learning=smooth)
    moving = model.with_(B=[mean(x) for x in model.pB], pB=None)
    with pytest.raises(ValueError, match=r"smooth of Learning must be False for agents that learn pD\[0\]"):
        Agent(moving, planner=SEPARATE, inference=way, learning=smooth)
    Agent(moving.with_(D=[[0.0, 1.0, 0.0], None], pD=None), planner=SEPARATE, inference=way, learning=smooth)
    with pytest.raises(ValueError, match=f"search of Planner must be 'states' for this model: agents learn.*got '{way}'"):
        Agent(model, planner=Planner(depth=1, modalities="separate"), inference=way)
    with pytest.warns(UserWarning, match="inform separately here.*agents that learn transitions predict each factor by itself"):
        Agent(model, planner=Planner(gains=("state",)), inference=way)


def test_at_end_must_be_a_flag() -> None:
    with pytest.raises(TypeError, match="at_end of Learning"):
        Learning(at_end=1)  # type: ignore[arg-type]
    assert Learning(at_end=True) != Learning()
