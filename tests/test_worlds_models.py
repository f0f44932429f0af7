"""Hypotheses that are models of their own, with other states (`HypothesisSpace.from_models`), against enumeration."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import enumeration as brute
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Paradigm, Planner, Reasoning, Selection, simulate

NEVER = Selection(threshold=np.inf)
EXACT = {"rtol": 0, "atol": 1e-10}


# --- models that see, want and do the same -----------------------------------------------------------------------------------
def family(seed, n=3, *, max_states=3, zeros=0.25, stays=False):
    """Random models with the same outcomes, preferences, controls and policies, and states, dependencies, and places of the
    controlled factors of their own; or models of states that nothing moves.
    """
    rng = np.random.default_rng(seed)
    outcomes = [int(rng.integers(2, 4)) for _ in range(rng.integers(1, 4))]
    controls = [2] * (0 if stays else int(rng.integers(0, 3)))
    c = [rng.normal(size=o) if rng.random() < 0.7 else rng.normal(size=(3, o)) for o in outcomes]
    return [_member(rng, outcomes, controls, c, max_states, zeros, stays) for _ in range(n)]


def _member(rng, outcomes, controls, c, max_states, zeros, stays):
    n_factors = max(1, len(controls) + int(rng.integers(0, 3 - len(controls))))
    acting = np.sort(rng.permutation(n_factors)[: len(controls)])
    moved = np.ones(n_factors, dtype=int)
    moved[acting] = controls
    sizes = [int(rng.integers(2, max_states + 1)) if rng.random() < 0.85 else 1 for _ in range(n_factors)]
    b, b_deps = [], []
    for f in range(n_factors):
        others = [int(g) for g in rng.permutation(n_factors) if g != f]
        deps = [f, *others[:1]] if rng.random() < 0.5 else [f]
        shape = (sizes[f], *(sizes[g] for g in deps), int(moved[f]))
        b_deps.append(deps)
        b.append(_table(rng, shape, zeros))
        if stays:
            b[-1], b_deps[-1] = np.eye(sizes[f])[:, :, None], [f]
    a_deps = [[int(g) for g in rng.permutation(n_factors)[: rng.integers(1, n_factors + 1)]] for _ in outcomes]
    a = [brute.columns(rng, (o, *(sizes[g] for g in deps)), zeros / 2) for o, deps in zip(outcomes, a_deps, strict=True)]
    d = [_table(rng, (s,), zeros) for s in sizes]
    return POMDP(A=a, B=b, C=c, D=d, A_dependencies=a_deps, B_dependencies=b_deps)


def _table(rng, shape, zeros):
    """Columns, some of them certain if zeros are allowed."""
    return brute.certain(rng, shape) if zeros and rng.random() < 0.3 else brute.columns(rng, shape, zeros)


def space_of(models, prior=None):
    return HypothesisSpace.from_models({f"m{i}": m for i, m in enumerate(models)}, prior)


def controls_of(model, acting):
    """What is done with the controlled factors, as controls of all."""
    out = [0] * model.num_factors
    for f, u in zip(model.controlled_factors, acting, strict=True):
        out[f] = int(u)
    return out


def lived(models, rng, steps, **options):
    """A trial of the first model: outcomes, and what was done with the controlled factors in between."""
    acting = [[int(rng.integers(models[0].num_controls[f])) for f in models[0].controlled_factors] for _ in range(steps)]
    seen, _ = brute.lived(models[0], rng, steps, controls=[controls_of(models[0], u) for u in acting], **options)
    return seen, acting


def observed(row):
    return [None if o is None else np.array([o]) if np.ndim(o) == 0 else np.asarray(o)[None] for o in row]


def weights_of(models, seen, acting):
    """Weights of all paths of every model."""
    return [brute.paths(m, seen, [controls_of(m, u) for u in acting[: len(seen) - 1]])[-1] for m in models]


def live(agent, state, seen, acting):
    infos = []
    for row, u in zip(seen, acting, strict=True):
        state, info = agent.step(state, observed(row), action=controls_of(agent.model, u))
        infos.append(info)
    return state, infos


# --- what is believed --------------------------------------------------------------------------------------------------------
@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_the_posterior_over_models_is_that_of_all_paths(seed):
    """After every observation, over two trials, with outcomes missing or soft; free energy is minus the log evidence of all
    models; beliefs about states, at once and in hindsight, are about the agent's own model, whichever that is.
    """
    models = family(seed)
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(3)) + 0.02
    own = int(rng.integers(3))
    agent = Agent(models[own], space_of(models, prior), Planner(gains=(), alpha=None), selection=NEVER, remember=True)
    state, odds = agent.init(), np.log(prior / prior.sum())
    for _ in range(2):
        seen, acting = lived(models, rng, 3, soft=0.15)
        past = 0.0
        for t in range(3):
            weights = weights_of(models, seen[: t + 1], acting)
            with np.errstate(divide="ignore"):
                now = odds + np.log([w.sum() for w in weights])
            state, (info,) = live(agent, state, seen[t : t + 1], acting[t : t + 1])
            assert_allclose(info.model_posterior, brute.softmax(now), **EXACT)
            if weights[own].sum() > 0:
                q = brute.at_time(weights[own], t)
                for f, given_own in enumerate(info.qs):
                    assert_allclose(given_own, brute.marginal(models[own], q, f), **EXACT)
            total = np.logaddexp.reduce(now)
            assert_allclose(info.free_energy, past - total, rtol=0, atol=1e-9)
            past = total
        if weights[own].sum() > 0:
            for t, given_all in enumerate(agent.hindsight(state)):
                for f, q in enumerate(given_all):
                    assert_allclose(q[0], brute.marginal(models[own], brute.at_time(weights[own], t), f), **EXACT)
        odds = now - np.logaddexp.reduce(now)
        state, report = agent.end_trial(state)
        assert_allclose(report.model_posterior[0], brute.softmax(odds), **EXACT)
        assert report.best_model[0] == odds.argmax()


def expectations(model, weights, t, policy):
    """Prediction for the next time: beliefs about states, and joint weights of every joint outcome and state."""
    q = brute.transitions(model, controls_of(model, policy)) @ brute.at_time(weights, t)
    outcomes = itertools.product(*(range(n) for n in model.num_outcomes))
    return q, np.array([q * brute.likelihood(model, list(o)) for o in outcomes])


def entropy(p):
    return -sum(x * math.log(x) for x in np.ravel(p) if x > 0)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans())
def test_gains_are_those_of_all_joint_outcomes(seed, together):
    """I(M; O), I(S; O | M) and utility, of all modalities together or one by one; every model has its own factors, of which
    other ones are controlled.
    """
    models = family(seed)
    rng = np.random.default_rng(seed)
    own = models[int(rng.integers(3))]
    planner = Planner(gains=("state", "model"), alpha=None, modalities="together" if together else "separate")
    agent = Agent(own, space_of(models), planner, selection=NEVER)
    seen, acting = lived(models, rng, 2)
    state, infos = live(agent, agent.init(), seen, acting)
    weights = weights_of(models, seen, acting)
    posterior = infos[-1].model_posterior
    sizes = own.num_outcomes
    for k, controls in enumerate(own.policies[:, 0, list(own.controlled_factors)]):
        told = state_gain = utility = 0.0
        parts = [expectations(m, w, 1, controls) for m, w in zip(models, weights, strict=True) if w.sum() > 0]
        p = posterior[[w.sum() > 0 for w in weights]]
        joint = [both.sum(axis=1).reshape(sizes) for _, both in parts]
        bundles = [None] if together else range(len(sizes))
        for m in bundles:
            keep = lambda x, m=m: x if m is None else x.sum(axis=tuple(i for i in range(len(sizes)) if i != m))  # noqa: E731
            chances = [keep(j) for j in joint]
            mixed = sum(x * c for x, c in zip(p, chances, strict=True))
            told += entropy(mixed) - sum(x * entropy(c) for x, c in zip(p, chances, strict=True))
            for x, (q, both), chance in zip(p, parts, chances, strict=True):
                cells = both.reshape(*sizes, len(q))
                cells = cells if m is None else cells.sum(axis=tuple(i for i in range(len(sizes)) if i != m))
                state_gain += x * (entropy(chance) + entropy(q) - entropy(cells))
        for m in range(len(sizes)):
            wish = brute.wanted(own, m, 2)
            for x, j in zip(p, joint, strict=True):
                utility += x * float(wish @ j.sum(axis=tuple(i for i in range(len(sizes)) if i != m)))
        assert_allclose(infos[-1].model_info_gain[k], told, rtol=0, atol=1e-9)
        assert_allclose(infos[-1].state_info_gain[k], state_gain, rtol=0, atol=1e-9)
        assert_allclose(infos[-1].utility[k], utility, rtol=0, atol=1e-9)


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from(["best", "posterior"]))
def test_a_search_branches_over_the_outcomes_of_all_models(seed, backup):
    """Two steps: what the first policy is worth, and what can then be done, averaged over joint outcomes of the mixture."""
    models = family(seed, 2, max_states=2)
    rng = np.random.default_rng(seed)
    own = models[0]
    planner = Planner(depth=1, gains=("model",), alpha=None, backup=backup)
    agent = Agent(own, space_of(models), planner, selection=NEVER)
    seen, acting = lived(models, rng, 1)
    _, (info,) = live(agent, agent.init(), seen, acting)
    with np.errstate(divide="ignore"):
        logs = np.log([w.sum() for w in weights_of(models, seen, acting)])
    beliefs = [brute.at_time(w, 0) if w.sum() > 0 else None for w in weights_of(models, seen, acting)]
    tables = [[brute.likelihood(m, list(o)) for o in itertools.product(*(range(n) for n in m.num_outcomes))] for m in models]
    policies = own.policies[:, 0, list(own.controlled_factors)]

    def worth(p, beliefs, t, depth):
        out = []
        for controls in policies:
            q = [
                None if b is None else brute.transitions(m, controls_of(m, controls)) @ b
                for m, b in zip(models, beliefs, strict=True)
            ]
            rows = [np.zeros((len(tables[0]), 1)) if b is None else np.array(t_) * b for b, t_ in zip(q, tables, strict=True)]
            chance = np.array([r.sum(axis=1) for r in rows])
            mixed = p @ chance
            value = entropy(mixed) - sum(x * entropy(c) for x, c in zip(p, chance, strict=True) if x > 0)
            joint = mixed.reshape(own.num_outcomes)
            for m in range(own.num_modalities):
                others = tuple(i for i in range(own.num_modalities) if i != m)
                value += float(brute.wanted(own, m, t + 1) @ joint.sum(axis=others))
            if depth:
                for o in np.flatnonzero(mixed > 0):
                    then = p * chance[:, o] / mixed[o]
                    after = [r[o] / c[o] if x > 0 else None for r, c, x in zip(rows, chance, then, strict=True)]
                    ahead = worth(then, after, t + 1, depth - 1)
                    value += mixed[o] * brute.Plans.back(ahead, 1.0, backup, 0.0)
            out.append(value)
        return np.array(out)

    assert_allclose(info.neg_efe, worth(brute.softmax(logs), beliefs, 0, 1), rtol=0, atol=1e-9)


# --- the order of the data ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_trials_does_not_matter_to_what_is_sharp(seed):
    models = family(seed)
    rng = np.random.default_rng(seed)
    trials = [lived(models, rng, 3) for _ in range(8)]
    agent = Agent(models[1], space_of(models), Planner(gains=(), alpha=None), selection=NEVER)

    def believed(order):
        state = agent.init()
        for i in order:
            state, _ = live(agent, state, *trials[i])
            state, report = agent.end_trial(state)
        return report.model_posterior[0]

    for order in (np.arange(8)[::-1], rng.permutation(8)):
        assert_allclose(believed(order), believed(range(8)), rtol=0, atol=1e-12)


# --- models that learn -------------------------------------------------------------------------------------------------------
def log_evidence(counts, prior):
    """Log evidence of a sequence of outcomes that makes these counts, under Dirichlet columns (outcomes on the first axis)."""
    some = lambda x: gammaln(np.where(prior > 0, x, 1.0)).sum(axis=0)  # noqa: E731
    both = prior + counts
    return float((some(both) - some(prior) - gammaln(both.sum(axis=0)) + gammaln(prior.sum(axis=0))).sum())


def seen_states(rng):
    """Three accounts of where a thing is and how it looks, of which all states are seen: looks depend on nothing; on the place;
    on the place and on whether it has moved.
    """
    gamma = lambda *shape: rng.gamma(2.0, size=shape) + 0.2  # noqa: E731
    one = POMDP(A=[None, None], B=[np.ones((1, 1, 2))], pA=[gamma(2, 1), gamma(3, 1)])
    two = POMDP(A=[np.eye(2), None], B=[None], pA=[None, gamma(3, 2)], pB=[gamma(2, 2, 2)], pD=[gamma(2)])
    still = np.eye(1)[:, :, None]
    both = POMDP(
        A=[np.eye(2), None],
        B=[still, None],
        pA=[None, gamma(3, 2, 1)],
        pB=[None, gamma(2, 2, 1, 2)],
        pD=[None, gamma(2)],
        A_dependencies=[[1], [1, 0]],
        B_dependencies=[[0], [1, 0]],
    )
    return one, two, both


@pytest.mark.parametrize("seed", range(3))
def test_where_states_are_seen_models_that_learn_are_compared_exactly(seed):
    """Each by its own evidence of A, B and D, at every moment: Dirichlet-multinomial, from what was seen."""
    rng = np.random.default_rng(seed)
    one, two, both = models = seen_states(rng)
    own = models[seed % 3]
    agent = Agent(own, space_of(models), Planner(gains=("model", "state", "param"), alpha=None), selection=NEVER)
    looks, places = np.zeros((3, 2)), np.zeros(2)
    moves, first = np.zeros((2, 2, 2)), np.zeros(2)
    state = agent.init()
    for _ in range(3):
        before = None
        for _ in range(4):
            place, look, u = int(rng.integers(2)), int(rng.integers(3)), int(rng.integers(2))
            state, info = agent.step(state, [place, look], action=controls_of(own, [u]))
            looks[look, place] += 1
            places[place] += 1
            if before is None:
                first[place] += 1
            else:
                moves[place, before[0], before[1]] += 1
            before = place, u
            scores = [
                log_evidence(places[:, None], one.pA[0]) + log_evidence(looks.sum(axis=1)[:, None], one.pA[1]),
                log_evidence(looks, two.pA[1]) + log_evidence(moves, two.pB[0]) + log_evidence(first, two.pD[0]),
                log_evidence(looks[:, :, None], both.pA[1])
                + log_evidence(moves[:, :, None], both.pB[1])
                + log_evidence(first, both.pD[1]),
            ]
            assert_allclose(info.model_posterior, brute.softmax(scores), **EXACT)
        state, report = agent.end_trial(state)
        assert_allclose(report.model_posterior[0], brute.softmax(scores), **EXACT)
    expected = {0: places[:, None]} if own is one else {1: looks.reshape(own.pA[1].shape)}
    for m, counts in expected.items():
        assert_allclose(agent.posterior_counts(state, m)[0], own.pA[m] + counts, **EXACT)
    assert_array_equal(agent.prior_counts(state, 1)[0], own.pA[1])


@settings(max_examples=12)
@given(st.integers(0, 10**6))
def test_within_a_trial_models_whose_states_stay_learn_exactly(seed):
    """Hidden states that nothing moves: evidence of all that is seen is a mixture over them of Dirichlet-multinomials."""
    rng = np.random.default_rng(seed)
    models = [m.with_(A=[None] * m.num_modalities, pA=_counts(rng, m)) for m in family(seed, stays=True)]
    agent = Agent(models[0], space_of(models), Planner(gains=(), alpha=None), selection=NEVER)
    seen, acting = lived(models, rng, 4, missing=0.1)
    _, infos = live(agent, agent.init(), seen, acting)
    scores = []
    for model in models:
        each = []
        for s, p in zip(brute.joint_states(model), brute.start(model), strict=True):
            total = np.log(p) if p > 0 else -np.inf
            for m, prior in enumerate(model.pA):
                column = prior[(slice(None), *(s[f] for f in model.A_dependencies[m]))]
                counts = np.bincount([row[m] for row in seen if row[m] is not None], minlength=len(prior)).astype(float)
                total += log_evidence(counts, column) if (column[counts > 0] > 0).all() else -np.inf
            each.append(total)
        scores.append(np.logaddexp.reduce(each))
    assert_allclose(infos[-1].model_posterior, brute.softmax(scores), **EXACT)


def _counts(rng, model):
    return [a * rng.gamma(2.0, size=a.shape[1:]) * 2 + 0.3 * (a > 0) for a in model.A]


@settings(max_examples=12)
@given(st.integers(0, 10**6))
def test_counts_of_the_own_model_are_those_of_all_its_paths(seed):
    """What an agent reports to have learned is about its own model, given that it is true, and not an average over models."""
    rng = np.random.default_rng(seed)
    models = [m.with_(A=[None] * m.num_modalities, pA=_counts(rng, m)) for m in family(seed, zeros=0.0)]
    own = models[int(rng.integers(3))]
    agent = Agent(own, space_of(models), Planner(gains=(), alpha=None), selection=NEVER, learning=Learning(smooth=True))
    seen, acting = lived([own], rng, 3)
    state, _ = live(agent, agent.init(), seen, acting)
    state, _ = agent.end_trial(state)
    (weights,) = weights_of([own], seen, acting)
    beliefs = [brute.at_time(weights, t) for t in range(3)]
    for m, prior in enumerate(own.pA):
        gained = agent.posterior_counts(state, m)[0] - prior
        assert_allclose(gained, brute.expected_counts(own, beliefs, seen, m), **EXACT)
        assert_array_equal(agent.prior_counts(state, m)[0], prior)


# --- impossible outcomes -----------------------------------------------------------------------------------------------------
def coins(*chances, n_controls=1):
    """Models of one coin each, which is thrown anew at every moment."""
    return [POMDP(A=[[[1 - p], [p]]], B=[np.ones((1, 1, n_controls))]) for p in chances]


def test_what_a_model_holds_impossible_refutes_it_for_ever():
    models = coins(0.5, 0.0, 0.2)
    agent = Agent(models[0], space_of(models), Planner(gains=("model",), alpha=None), selection=NEVER)
    state = agent.init()
    for outcome, expected in ((0, [5, 10, 8]), (1, [25, 0, 16]), (0, [125, 0, 128])):
        state, info = agent.step(state, outcome, action=[0])
        assert_allclose(info.model_posterior, np.array(expected) / sum(expected), atol=1e-14)
        assert not info.impossible
        state, report = agent.end_trial(state)
        assert_allclose(report.model_posterior[0], np.array(expected) / sum(expected), atol=1e-14)


def test_what_all_models_hold_impossible_is_marked_and_counts_as_e_to_the_minus_32():
    models = coins(1.0, 1.0)
    models[1] = POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], D=[[0.0, 1.0]])
    agent = Agent(models[0], space_of(models), Planner(gains=(), alpha=None), selection=NEVER)
    with pytest.warns(UserWarning, match="impossible"):
        state, info = agent.step(agent.init(), 0, action=[0])
    assert info.impossible
    assert_allclose(info.free_energy, 32.0)
    assert_allclose(info.model_posterior, [0.5, 0.5])
    state, info = agent.step(state, 1, action=[0])
    assert not info.impossible and np.isfinite(info.model_posterior).all()


# --- adoption ----------------------------------------------------------------------------------------------------------------
def test_who_has_adopted_a_model_acts_as_if_it_were_true():
    """Two accounts of two levers, told apart by pulling the first; what is adopted need not be the agent's own model."""

    def levers(first, second):
        table = np.array([[1.0, 1 - first, 1 - second], [0.0, first, second]])
        place = np.zeros((3, 3, 2))
        place[1, :, 0] = place[2, :, 1] = 1.0
        return POMDP(A=[table], B=[place], C=[[0.0, 1.0]], D=[[1.0, 0.0, 0.0]])

    models = [levers(0.9, 0.5), levers(0.1, 0.5)]
    for own in (0, 1):
        planner = Planner(gains=("model",), alpha=None)
        agent = Agent(models[own], space_of(models), planner, selection=Selection(threshold=3.0, at_once=True))
        state, info = agent.step(agent.init(), 0)
        assert info.action == 0  # as good as the other on average, and tells more
        state, _ = agent.step(state, 0, action=[0])
        assert state.adopted[0] == -1
        state, info = agent.step(state, 0)
        assert state.adopted[0] == 1
        assert info.action == 1
        assert_array_equal(info.model_info_gain, 0.0)
        wish = np.log(np.e / (1 + np.e))
        assert_allclose(info.utility, [0.1 * wish + 0.9 * (wish - 1), 0.5 * wish + 0.5 * (wish - 1)], atol=1e-12)


def test_who_has_adopted_the_own_model_goes_on_with_what_it_has_learned():
    rng = np.random.default_rng(0)
    one, two, both = seen_states(rng)
    agent = Agent(two, space_of((one, two)), Planner(gains=(), alpha=None), selection=Selection(threshold=1.0))
    state, looks = agent.init(), np.zeros((3, 2))
    for _ in range(12):
        for _ in range(3):
            place = int(rng.integers(2))
            state, _ = agent.step(state, [place, place], action=[0])
            looks[place, place] += 1
        state, report = agent.end_trial(state)
    assert state.adopted[0] == 1 and report.model_posterior[0, 1] > 0.99
    assert_allclose(agent.posterior_counts(state, 1)[0], two.pA[1] + looks, atol=1e-10)


def test_every_agent_may_have_a_prior_of_its_own():
    models = coins(0.5, 0.25)
    prior = np.array([[0.5, 0.5], [0.1, 0.9]])
    agent = Agent(models[0], space_of(models), Planner(gains=(), alpha=None), selection=NEVER, own={"prior": prior})
    state, info = agent.step(agent.init(2), [[0], [0]], action=np.zeros((2, 1), dtype=int))
    expected = prior * [0.5, 0.75]
    assert_allclose(info.model_posterior, expected / expected.sum(axis=1, keepdims=True), atol=1e-14)


# --- batches, copies, worlds -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", [3, 5])
def test_numbers_of_an_agent_do_not_depend_on_the_others(seed):
    """To the last bit, with learning, a search and gains."""
    rng = np.random.default_rng(seed)
    models = [m.with_(A=[None] * m.num_modalities, pA=_counts(rng, m)) for m in family(seed, 3, max_states=2)]
    planner = Planner(depth=1, gains=("model", "state", "param"), alpha=None)
    agent = Agent(models[1], space_of(models), planner, selection=Selection(threshold=0.5), trial_length=3)
    trials = [[lived(models, np.random.default_rng((seed, i, k)), 3) for k in range(5)] for i in range(2)]

    def run(who):
        state, out = agent.init(len(who)), []
        for each in trials:
            for t in range(3):
                row = [
                    np.array([-1 if each[k][0][t][m] is None else each[k][0][t][m] for k in who])
                    for m in range(models[0].num_modalities)
                ]
                done = np.array([controls_of(agent.model, each[k][1][t]) for k in who])
                state, info = agent.step(state, row, action=done)
                out.append(np.concatenate([info.neg_efe, info.model_posterior, info.free_energy[:, None]], axis=1))
            state, report = agent.end_trial(state)
            out.append(report.model_posterior)
        return np.concatenate(out, axis=1)

    whole = run(np.arange(5))
    for k in range(5):
        assert_array_equal(run(np.array([k]))[0], whole[k])
    assert_array_equal(run(np.array([3, 1])), whole[[3, 1]])


def test_copies_go_on_alike():
    models = family(1)
    space = space_of(models)
    agent = Agent(models[2], space, Planner(gains=("model",), alpha=None), selection=NEVER)
    seen, acting = lived(models, np.random.default_rng(0), 2)
    state, _ = live(agent, agent.init(), seen[:1], acting[:1])
    copies = [(agent, copy.deepcopy(state)), pickle.loads(pickle.dumps((agent, state)))]
    _, (expected,) = live(agent, state, seen[1:], acting[1:])
    for other, held in copies:
        _, (info,) = live(other, held, seen[1:], acting[1:])
        assert_array_equal(info.model_posterior, expected.model_posterior)
        assert_array_equal(info.model_info_gain, expected.model_info_gain)


def test_worlds_are_models_of_their_own():
    """Outcomes are distributed as the true model of each agent has it; states that it lacks are -1; any number of processes."""
    models = family(6)
    space = space_of(models)
    agent = Agent(models[0], space, Planner(gains=(), alpha=512.0), selection=NEVER)
    world = Paradigm("test", "any", agent, models[0], 2, space, "random")
    result = simulate(world, n_agents=90, n_trials=40, seed=1, trace=True)
    truth, states = result.true_model, result.trace["states"][0]
    assert set(truth) == {0, 1, 2}
    for i, model in enumerate(models):
        mine = truth == i
        assert (states[mine][..., : model.num_factors] >= 0).all() and (states[mine][..., model.num_factors :] == -1).all()
        n = int(mine.sum()) * 40
        for m in range(model.num_modalities):
            first = result.trace["outcomes"][0, mine, :, 0, m].ravel()
            share = np.bincount(first, minlength=model.num_outcomes[m]) / n
            alone = lambda o, m=m, model=model: [o if j == m else None for j in range(model.num_modalities)]  # noqa: E731
            like = [brute.likelihood(model, alone(o)) for o in range(model.num_outcomes[m])]
            chance = np.array(like) @ brute.start(model)
            assert (np.abs(share - chance) < 4.5 * np.sqrt(chance * (1 - chance) / n) + 1e-12).all()
    assert (result.impossible == 0).all()
    few = simulate(world, n_agents=7, n_trials=3, seed=1, jobs=2)
    assert_array_equal(few.model_posterior, result.model_posterior[:, :7, :3])
    known = simulate(Paradigm("test", "any", agent, models[0], 2, space, "m1"), n_agents=5, n_trials=2, seed=1)
    assert int(known.true_model) == 1


# --- what is refused ---------------------------------------------------------------------------------------------------------
PLACE = POMDP(A=[np.eye(2)], B=[np.full((2, 2, 2), 0.5)], C=[[0.0, 1.0]])


def place(**changes):
    """`PLACE` with something else, labels included."""
    held = {"A": PLACE.A, "B": PLACE.B, "C": PLACE.C} | changes
    return POMDP(**held)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (place(A=[np.full((3, 2), 1 / 3)], C=None), "must agree in their numbers of outcomes; 'a' has .2,., 'b' .3,."),
        (place(A=[np.eye(2), np.eye(2)], C=None), "must agree in their numbers of outcomes"),
        (
            place(labels={"modality": ["what"]}),
            r"must agree in their names of modalities; 'a' has \['modality_0'\], 'b' \['what'\]",
        ),
        (place(B=[np.full((2, 2, 3), 0.5)]), r"must agree in their numbers of controls; 'a' has \[2\], 'b' \[3\]"),
        (place(B=[np.full((2, 2, 1), 0.5)]), r"numbers of controls; 'a' has \[2\], 'b' \[\]"),
        (place(policies=[[0]]), "must agree in their policies; those of 'a' and 'b' differ"),
        (place(policy_length=2), "must agree in their policies"),
        (place(C=[[0.0, 2.0]]), r"must agree in their preferences; C\[0\] of 'a' and 'b' differ"),
        (place(C=[[[0.0, 1.0], [0.0, 1.0]]]), "must agree in their preferences"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        HypothesisSpace.from_models({"a": PLACE, "b": other})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: HypothesisSpace.from_models({"a": PLACE}), ValueError, "at least 2 models; got 1"),
        (lambda: HypothesisSpace.from_models({"a": PLACE, "b": "two"}), TypeError, r"models\['b'\] must be a POMDP; got str"),
        (lambda: space_of([PLACE, PLACE], [1.0, 0.0]), ValueError, "prior must hold 2 positive numbers"),
        (lambda: space_of([PLACE, PLACE]).with_concentration(2.0), ValueError, "or are models"),
        (lambda: space_of([PLACE, PLACE]).index("m7"), ValueError, "hypothesis must be one of the 2 names, such as 'm0'"),
        (lambda: HypothesisSpace.from_models({"a": PLACE, "b": PLACE}, descriptions=["one"]), ValueError, "hold 2 sentences"),
        (lambda: Agent(PLACE.with_(), space_of([PLACE, PLACE])), ValueError, "must be one of the models"),
        (lambda: Agent(PLACE, space_of([PLACE, PLACE]), inference="exact"), ValueError, "inference of Agent must be 'models'"),
        (lambda: Agent(PLACE, space_of([PLACE, PLACE]), inference="mean-field"), ValueError, "inference of Agent must be"),
        (lambda: Agent(PLACE, space_of([PLACE, PLACE]), Planner(search="states")), ValueError, "search of Planner must be"),
        (
            lambda: Agent(PLACE, space_of([PLACE, PLACE]), Planner(model_gain="plug-in")),
            ValueError,
            "model_gain of Planner must be 'exact'",
        ),
        (
            lambda: Agent(PLACE, space_of([PLACE, PLACE]), reasoning=Reasoning(max_size=3)),
            ValueError,
            "at most max_size=3 numbers an agent",
        ),
        (
            lambda: Agent(PLACE, space_of([PLACE, PLACE]), own={"A[0]": np.eye(2)[None]}),
            ValueError,
            "own A, B and D of Agent need inference='exact'; got 'models'",
        ),
        (lambda: _told(), ValueError, "states can be told|reason jointly"),
        (
            lambda: Paradigm("x", "y", Agent(PLACE, space_of([PLACE, PLACE])), PLACE, 2, space_of([PLACE, PLACE]), "third"),
            ValueError,
            "truth must be 'random' or lie in 0..1; got 'third'",
        ),
    ],
)
def test_bad_input_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def _told():
    agent = Agent(PLACE, space_of([PLACE, PLACE]))
    agent.tell(agent.init(), np.array([[0]]))


def test_models_know_what_they_are():
    space = HypothesisSpace.from_models({"a": PLACE, "b": PLACE}, prior=[1.0, 3.0], descriptions=["first", "second"])
    assert len(space) == 2 and space.index("b") == 1 and space.models == (PLACE, PLACE)
    assert_allclose(space.prior, [0.25, 0.75])
    assert "2 models of their own" in repr(space)
    assert space.descriptions == ("first", "second")
    assert not space.plain
    first, which = space.distinct()
    assert_array_equal(first, [0, 1])
    assert_array_equal(which, [0, 1])
