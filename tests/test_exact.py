"""Exact beliefs against enumeration of all paths of joint states: evidence, filtered and smoothed beliefs, pairs, counts; what
is impossible, missing, or too large.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from enumeration import (
    at_time,
    certain,
    columns,
    expected_counts,
    joint_states,
    likelihood,
    lived,
    marginal,
    pair,
    paths,
    small_model,
    start,
    transitions,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import POMDP, Agent, Learning, Planner
from activebmr.inference.smoothing import smooth
from activebmr.model import components
from activebmr.model.motion import ByFactor, Dense, Sparse, Still

SEEDS = st.integers(0, 10**6)
STEPS = 4
QUIET = Planner(gains=(), alpha=None)
FROZEN = Learning(rate=0)


def observation(model, rows):
    """Outcomes of several agents as a batch takes them: per modality integers, or probabilities if one of them is soft."""
    out = []
    for m, n in enumerate(model.num_outcomes):
        each = [row[m] for row in rows]
        if any(isinstance(o, np.ndarray) for o in each):
            hard = lambda o: np.zeros(n) if o is None else np.eye(n)[o]  # noqa: B023, E731
            out.append(np.array([o if isinstance(o, np.ndarray) else hard(o) for o in each]))
        else:
            out.append(np.array([-1 if o is None else o for o in each]))
    return out


def live(agent, trials):
    """Let a batch live through trials, one per agent: (outcomes, controls) each; the reports and the last state."""
    state, infos = agent.init(len(trials)), []
    for t in range(len(trials[0][0])):
        done = [c[t] if t < len(c) else [0] * agent.model.num_factors for _, c in trials]
        seen = observation(agent.model, [o[t] for o, _ in trials])
        state, info = agent.step(state, seen, action=np.array(done))
        infos.append(info)
    return state, infos


def smoothed(agent, state, trials):
    controls = [np.array([c[t] for _, c in trials]) for t in range(len(trials[0][0]) - 1)]
    return smooth(agent.model, [m.belief for m in state.memory.moments], controls)


def check(model, trials, agent=None):
    """Everything that exact beliefs say about the first of some trials, against all its paths."""
    agent = Agent(model, planner=QUIET, learning=FROZEN, remember=True) if agent is None else agent
    state, infos = live(agent, trials)
    hindsight, whole = agent.hindsight(state), smoothed(agent, state, trials)
    for k in (0,):
        weights = paths(model, *trials[k])
        surprise = -np.log([w.sum() for w in weights])
        assert_allclose(sum(info.free_energy[k] for info in infos), surprise[-1], rtol=0, atol=1e-11)
        for t, info in enumerate(infos):
            before = surprise[t - 1] if t else 0.0
            assert_allclose(info.free_energy[k], surprise[t] - before, rtol=0, atol=1e-11)
            assert not info.impossible[k]
            now, later = at_time(weights[t], t), at_time(weights[-1], t)
            for f in range(model.num_factors):
                assert_allclose(info.qs[f][k], marginal(model, now, f), rtol=0, atol=1e-11)
                assert_allclose(whole.qs(t)[f][k], marginal(model, later, f), rtol=0, atol=1e-11)
                assert_array_equal(whole.qs(t)[f], hindsight[t][f])
                if t + 1 < len(infos):
                    assert_allclose(whole.pair(t, f)[k], pair(model, weights[-1], t, f), rtol=0, atol=1e-11)


# --- beliefs ---------------------------------------------------------------------------------------------------------------
@settings(max_examples=200)
@given(SEEDS)
def test_beliefs_of_a_trial_are_those_of_all_its_paths(seed):
    """Free energy, filtered and smoothed marginals, and pairs of every factor with its parents; with outcomes that were not
    seen, and in a third of the models with soft ones.
    """
    model, rng = small_model(seed), np.random.default_rng([seed, 1])
    check(model, [lived(model, rng, STEPS, soft=0.3 * (seed % 3 == 0))])


@settings(max_examples=40)
@given(SEEDS)
def test_numbers_of_an_agent_do_not_depend_on_the_batch(seed):
    """Bit for bit, whoever else is in it, and in which order: beliefs, hindsight, pairs, worth of policies, counts."""
    model = small_model(seed, steps=1 + seed % 2, learned=0.5)
    rng = np.random.default_rng([seed, 1])
    trials = [lived(model, rng, 3) for _ in range(5)]
    planner = Planner(depth=0 if model.policy_length > 1 else 1, gains=("state", "param"), alpha=None)
    agent = Agent(model, planner=planner, learning=Learning(smooth=seed % 4 < 2), remember=True)

    def everything(members):
        mine = [trials[k] for k in members]
        state, infos = live(agent, mine)
        whole = smoothed(agent, state, mine)
        numbers = [getattr(i, name) for i in infos for name in ("free_energy", "utility", "state_info_gain", "neg_efe", "q_pi")]
        numbers += [q for i in infos for q in i.qs] + [q for t in range(3) for q in whole.qs(t)]
        numbers += [whole.pair(t, f) for t in range(2) for f in range(model.num_factors)]
        state, _ = agent.end_trial(state)
        return numbers + [agent.posterior_counts(state, m) for m in model.learned_modalities]

    together = everything([0, 1, 2, 3, 4])
    for members in ([2], [4, 1], [3, 3, 2, 0, 0, 1, 4]):
        for all_of_them, some in zip(together, everything(members), strict=True):
            assert_array_equal(all_of_them[members], some)


@settings(max_examples=60)
@given(SEEDS)
def test_every_way_to_keep_transitions_says_the_same(seed):
    """Matrices, one matrix per factor, lists of what is possible: beliefs, pairs, and worth of policies."""
    base, rng = small_model(seed, steps=1 + seed % 2, coupled=0.4), np.random.default_rng([seed, 1])
    trial = lived(base, rng, 3)
    planner = Planner(depth=0 if base.policy_length > 1 else 1, gains=("state",), alpha=None)

    def everything(kind):
        def chosen(model, known, hidden):
            own = all(set(model.B_dependencies[f]) <= {f, *known} for f in hidden)
            still = isinstance(made := original(model, known, hidden), Still)
            return made if still or kind is None or (kind is ByFactor and not own) else kind(model, known, hidden)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(components, "motion_of", chosen)
            agent = Agent(base.with_(), planner=planner, learning=FROZEN, remember=True)
            state, infos = live(agent, [trial, trial])
            whole = smoothed(agent, state, [trial, trial])
            numbers = [getattr(i, name) for i in infos for name in ("free_energy", "neg_efe")]
            numbers += [q for i in infos for q in i.qs] + [q for t in range(3) for q in whole.qs(t)]
            return numbers + [whole.pair(t, f) for t in range(2) for f in range(base.num_factors)]

    original = components.motion_of
    usual = everything(None)
    for kind in (Dense, ByFactor, Sparse):
        for a, b in zip(usual, everything(kind), strict=True):
            assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_still_component_is_smoothed_too():
    """Nothing moves: every time is believed what is believed at the end, and pairs lie on the diagonal."""
    rng = np.random.default_rng(0)
    model = POMDP(A=[columns(rng, (3, 2, 3))], B=[np.eye(2)[:, :, None], np.eye(3)[:, :, None]])
    check(model, [lived(model, rng, STEPS)])


def test_a_factor_that_forgets_where_it_was():
    """Transitions that do not depend on the factor itself, but on another one, or on a known one."""
    rng = np.random.default_rng(1)
    for deps in ([[1], [1]], [[1], [0]]):
        model = POMDP(
            A=[columns(rng, (2, 3)), columns(rng, (3, 2))], A_dependencies=[[0], [1]],
            B=[columns(rng, (3, 2, 2)), columns(rng, (2, 2 if deps[1] == [1] else 3, 1))], B_dependencies=deps,
        )  # fmt: skip
        check(model, [lived(model, rng, STEPS)])
    place = certain(rng, (3, 3, 2))
    model = POMDP(
        A=[columns(rng, (2, 2))], A_dependencies=[[1]], B=[place, columns(rng, (2, 3, 1))], B_dependencies=[[0], [0]],
        D=[[0, 1, 0], None],
    )  # fmt: skip
    check(model, [lived(model, rng, STEPS)])


def test_six_factors_in_a_ring():
    """Each moves the next one; 64 joint states, two times."""
    rng = np.random.default_rng(2)
    model = POMDP(
        A=[columns(rng, (2, 2, 2)) for _ in range(3)], A_dependencies=[[0, 1], [2, 3], [4, 5]],
        B=[columns(rng, (2, 2, 2, 2 if f == 3 else 1)) for f in range(6)], B_dependencies=[[f, (f + 5) % 6] for f in range(6)],
        D=[columns(rng, (2,)) for _ in range(6)],
    )  # fmt: skip
    check(model, [lived(model, rng, 3)])


def test_what_thousands_of_pixels_say_is_kept_while_states_move():
    """700 sharp pixels say 0, then as many say 1, of a state that stays or turns: log odds of 3,000 nats for a while, and of 0
    in the end. The less likely state must not be lost on the way.
    """
    pixel = np.array([[0.99, 0.01], [0.01, 0.99]])
    stays = np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)
    agent = Agent(POMDP(A=[pixel] * 700, B=[stays]), planner=QUIET, remember=True)
    state, first = agent.step(agent.init(), [0] * 700, action=[1])
    state, second = agent.step(state, [0] * 700, action=[0])
    assert_allclose(first.free_energy, -700 * np.log(0.99) + np.log(2), atol=1e-8)
    assert_allclose(second.free_energy, -700 * np.log(0.01) - np.log(2), atol=1e-8)
    assert_allclose(second.qs[0], [0.5, 0.5], atol=1e-9)
    for t in range(2):
        assert_allclose(agent.hindsight(state)[t][0][0], [0.5, 0.5], atol=1e-9)


# --- what is too large -----------------------------------------------------------------------------------------------------
def test_too_many_coupled_factors_are_refused_by_name():
    names = [f"wheel {i}" for i in range(12)]
    model = POMDP(
        A=[np.full((2, 4, 4), 0.5)] * 12, A_dependencies=[[f, (f + 1) % 12] for f in range(12)],
        B=[columns(np.random.default_rng(0), (4, 4, 1))] * 12,
        labels={"factor": names},
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"inference of Agent must not be 'exact'.*wheel 0.*1\.68e\+07.*'sequential'.*'mean-field'"
    ):
        Agent(model)
    for name in ("sequential", "mean-field"):
        Agent(model, inference=name, planner=Planner(gains=(), modalities="separate"))


def test_many_factors_that_nothing_couples_are_small():
    """12 factors of 10 states: 12 filters."""
    a = 0.7 * np.eye(10) + 0.03
    b = columns(np.random.default_rng(0), (10, 10, 1))
    agent = Agent(POMDP(A=[a] * 12, B=[b] * 12, A_dependencies=[[f] for f in range(12)]), planner=QUIET)
    state, info = agent.step(agent.init(), [0] * 12)
    assert_allclose(info.free_energy, 12 * np.log(10), atol=1e-11)
    _, info = agent.step(state, [None] * 12)
    for q in info.qs:
        assert_allclose(q, b[:, :, 0] @ a[:, 0], atol=1e-13)


# --- what is impossible ----------------------------------------------------------------------------------------------------
FLOOR = np.exp(-32.0)


def world_with_impossible_outcomes():
    """A switch (seen for sure, by two modalities) and, apart from it, a lamp (seen dimly)."""
    dim = np.array([[0.8, 0.3], [0.2, 0.7]])
    b = [np.eye(2)[:, :, None], np.array([[0.9, 0.2], [0.1, 0.8]])[:, :, None]]
    return POMDP(
        A=[np.eye(2), np.eye(2), dim], A_dependencies=[[0], [0], [1]], B=b, D=[[0.7, 0.3], [0.4, 0.6]],
        labels={"modality": ["left eye", "right eye", "lamp"]},
    )  # fmt: skip


def test_modalities_that_contradict_each_other():
    """The left eye says 0, the right one 1: each state contradicts one of them (e^-32), so beliefs about the switch are those
    before; the lamp's are not touched. Only this agent is reported, and only once in a warning that says what it saw.
    """
    model = world_with_impossible_outcomes()
    agent = Agent(model, planner=QUIET)
    seen = np.array([[0, 0, 0], [0, 1, 1], [-1, 1, -1]])
    with pytest.warns(UserWarning, match=r"left eye=0, right eye=1, lamp=1 at time 0 \(agent 1\).*e\^-32"):
        state, info = agent.step(agent.init(3), seen)
    assert info.impossible.tolist() == [False, True, False]
    assert_allclose(info.qs[0], [[1, 0], [0.7, 0.3], [0, 1]], atol=1e-15)
    lamp = np.array([0.4, 0.6]) * [0.2, 0.7]
    assert_allclose(info.qs[1][1], lamp / lamp.sum(), atol=1e-15)
    assert_allclose(info.free_energy[1], 32 - np.log(lamp.sum()), atol=1e-12)
    alone, single = agent.step(agent.init(1), seen[2:])
    assert_array_equal(single.free_energy, info.free_energy[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, again = agent.step(state, seen)
    assert again.impossible.tolist() == [False, True, False]


def test_one_outcome_that_cannot_be_while_another_is_missing():
    """The switch is known to be 0 from before; then the left eye alone says 1: beliefs stay, free energy is 32."""
    agent = Agent(world_with_impossible_outcomes(), planner=QUIET)
    state, _ = agent.step(agent.init(), [0, 0, None])
    with pytest.warns(UserWarning, match="left eye=1 at time 1"):
        state, info = agent.step(state, [1, None, None])
    assert info.impossible and info.qs[0].tolist() == [1, 0]
    assert_allclose(info.free_energy, 32, atol=1e-12)
    _, info = agent.step(state, [0, 0, None])
    assert not info.impossible and info.free_energy == 0


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@settings(max_examples=60)
@given(SEEDS)
def test_what_is_impossible_is_reported_and_nothing_else(seed):
    """Outcomes drawn blindly: those that no path allows are reported; free energy and beliefs then are those of likelihoods of
    at least e^-32 in the components concerned, and all others' are untouched.
    """
    model, rng = small_model(seed, coupled=0.3), np.random.default_rng([seed, 1])
    seen = [[int(rng.integers(n)) if rng.random() < 0.8 else None for n in model.num_outcomes] for _ in range(2)]
    controls = [[int(rng.integers(n)) for n in model.num_controls]]
    state, infos = live(Agent(model, planner=QUIET, learning=FROZEN), [(seen, controls)])
    prior, floored = start(model), [np.maximum(a, FLOOR) for a in model.A]
    for t, info in enumerate(infos):
        prior = prior if t == 0 else transitions(model, controls[0]) @ prior
        exact, lenient = prior * likelihood(model, seen[t]), prior * likelihood(model, seen[t], floored)
        assert info.impossible[0] == (exact.sum() == 0)
        assert np.isfinite(info.free_energy[0])
        if exact.sum() > 0:
            assert_allclose(info.free_energy[0], -np.log(exact.sum()), rtol=0, atol=1e-11)
            prior = exact / exact.sum()
        else:
            if len(components.components_of(model)) > 1:  # other components count with what is possible in them
                return
            # what is possible in part is floored as well; where nothing is left of it, that is all there is
            assert_allclose(info.free_energy[0], -np.log(lenient.sum()), rtol=0, atol=1e-9)
            prior = lenient / lenient.sum()
        for f in range(model.num_factors):
            assert_allclose(info.qs[f][0], marginal(model, prior, f), rtol=0, atol=1e-9)


# --- learning --------------------------------------------------------------------------------------------------------------
@settings(max_examples=60)
@given(SEEDS)
def test_counts_of_a_trial_are_those_of_all_its_paths(seed):
    """Smooth: expected counts given the whole trial. At once: given the past, with the likelihood learned so far."""
    model, rng = small_model(seed, learned=1.0), np.random.default_rng([seed, 1])
    seen, controls = lived(model, rng, STEPS, soft=0.3 * (seed % 2))
    rate = 0.7

    agent = Agent(model, planner=QUIET, learning=Learning(rate=rate, smooth=True))
    state, _ = live(agent, [(seen, controls)])
    for m in model.learned_modalities:
        assert_array_equal(agent.posterior_counts(state, m)[0], model.pA[m])  # not before the end
    state, _ = agent.end_trial(state)
    weights = paths(model, seen, controls)[-1]
    beliefs = [at_time(weights, t) for t in range(STEPS)]
    for m in model.learned_modalities:
        expected = model.pA[m] + rate * expected_counts(model, beliefs, seen, m)
        assert_allclose(agent.posterior_counts(state, m)[0], expected, rtol=0, atol=1e-11)

    agent = Agent(model, planner=QUIET, learning=Learning(rate=rate))
    state = agent.init(1)
    counts, q = {m: np.array(model.pA[m]) for m in model.learned_modalities}, start(model)
    for t in range(STEPS):
        q = q if t == 0 else transitions(model, controls[t - 1]) @ q
        tables = [counts[m] / counts[m].sum(axis=0) if m in counts else a for m, a in enumerate(model.A)]
        q = q * likelihood(model, seen[t], tables)
        surprise, q = -np.log(q.sum()), q / q.sum()
        done = controls[t] if t < STEPS - 1 else [0] * model.num_factors
        state, info = agent.step(state, observation(model, [seen[t]]), action=np.array([done]))
        assert_allclose(info.free_energy[0], surprise, rtol=0, atol=1e-10)
        for m in counts:
            counts[m] = counts[m] + rate * expected_counts(model, [q], [seen[t]], m)
            assert_allclose(agent.posterior_counts(state, m)[0], counts[m], rtol=0, atol=1e-11)


@pytest.mark.parametrize("smooth_", [False, True])
def test_rates_and_retention_of_each_agent(smooth_):
    """A rate of 0 freezes counts but for forgetting; other agents' settings do not matter."""
    rng = np.random.default_rng(5)
    model = small_model(11, learned=1.0)
    trials = [lived(model, rng, 3)] * 3
    rates, kept = [0.0, 1.0, 0.25], [0.5, 1.0, 0.75]
    agent = Agent(model, planner=QUIET, learning=Learning(rate=rates, retention=kept, smooth=smooth_))
    state, _ = agent.end_trial(live(agent, trials)[0])
    for k in range(3):
        single = Agent(model, planner=QUIET, learning=Learning(rate=rates[k], retention=kept[k], smooth=smooth_))
        alone, _ = single.end_trial(live(single, trials[:1])[0])
        for m in model.learned_modalities:
            assert_array_equal(agent.posterior_counts(state, m)[k], single.posterior_counts(alone, m)[0])
            if k == 0:
                assert_array_equal(agent.posterior_counts(state, m)[0], 0.5 * model.pA[m])
    with pytest.raises(ValueError, match="rate of Learning has one number for each of 3 agents; the batch has 2"):
        agent.end_trial(live(agent, trials[:2])[0])


@pytest.mark.parametrize("smooth_", [False, True])
def test_what_was_not_seen_teaches_nothing(smooth_):
    model = small_model(11, learned=1.0)
    agent = Agent(model, planner=QUIET, learning=Learning(smooth=smooth_))
    nothing = [None] * model.num_modalities
    state, infos = live(agent, [([nothing] * 3, [[0] * model.num_factors] * 2)])
    state, _ = agent.end_trial(state)
    assert all(info.free_energy[0] == 0 for info in infos)
    for m in model.learned_modalities:
        assert_array_equal(agent.posterior_counts(state, m)[0], model.pA[m])


def test_what_is_all_but_certain_is_not_known():
    """A state that is there once in 1e17 times, and seen: a surprise of 39 nats, but no contradiction."""
    agent = Agent(POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]], D=[[1.0, 1e-17]]), planner=QUIET)
    _, info = agent.step(agent.init(), 1)
    assert not info.impossible and info.qs[0].tolist() == [0, 1]
    assert_allclose(info.free_energy, 17 * np.log(10), atol=1e-10)


def test_a_trial_of_one_observation():
    model, rng = small_model(4, learned=1.0), np.random.default_rng(0)
    check(model, [lived(model, rng, 1)])
    assert len(joint_states(model)) > 1
