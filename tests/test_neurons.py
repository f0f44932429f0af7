"""Simulated neuronal responses: rates are the beliefs on their way, confidence and its rate of change are the policies'."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from worlds import lamp_rules, two_rooms

from activebmr import POMDP, Agent, Learning, Planner
from activebmr.inference.paths import ITERATIONS
from activebmr.simulation.neurons import MS_PER_ITERATION, neuronal_responses
from paradigms import insight, three_ball

# A flow of 16 iterations with a time constant of 4 leaves (3/4)^16, 1%, of the way in log probability; probabilities that fall
# from p to 0 keep p^0.01 x 1e-16^0.99 of it, nothing that shows
FLOW_LEFT = 0.02


def rooms(inference="factorised", hypotheses=None, **options) -> Agent:
    gains = ("state", "param") if hypotheses is None else ("state", "param", "model")
    return Agent(two_rooms(), hypotheses, Planner(gains=gains, **options), inference=inference, trial_length=4)


AGENTS = {
    "message passing": lambda: rooms("paths"),
    "message passing in the paradigm": lambda: insight.paradigm("naive", planner="2017").agent,
    "exact": lambda: rooms(depth=1),
    "mean-field": lambda: rooms("mean-field"),
    "with hypotheses": lambda: rooms("sequential", lamp_rules()),
    "asleep at night": lambda: insight.paradigm("sleep", planner="sophisticated").agent,
    "that reason": lambda: three_ball.paradigm("reasoning").agent,
    "of the paper": lambda: three_ball.paradigm("paper").agent,
}


def trial(agent):
    """A trial that such agents may live: outcomes ``(T, modalities)`` and controls ``(T - 1, factors)``."""
    if agent.model.num_factors == 2:
        return [[0, 0], [1, 1], [0, 1], [0, 0]], [[1, 0], [0, 0], [0, 0]]
    if agent.model.num_factors == 4:
        what = [[3, 3, 0], [0, 1, 0], [2, 0, 0], [3, 3, 1], [3, 3, 1], [3, 3, 1]]
        return what, [[0, 0, 1, 3], [0, 0, 0, 3], [0, 0, 3, 2], [0, 0, 3, 2], [0, 0, 3, 2]]
    seen = [[3, 3, 0], [0, 1, 0], [2, 0, 0], [3, 3, 1], [3, 3, 2], [3, 3, 1]]
    return seen, [[0, 0, 0, 1, 3], [0, 0, 0, 0, 3], [0, 0, 0, 3, 2], [0, 0, 0, 3, 1], [0, 0, 0, 3, 2]]


def lived(agent, outcomes, controls):
    """Reports of the same trial, step by step."""
    state, reports, held = agent.init(), [], []
    last = np.zeros(agent.model.num_factors, dtype=int)
    for t, seen in enumerate(outcomes):
        state, info = agent.step(state, np.array(seen), action=controls[t] if t < len(controls) else last)
        reports.append(info)
        paths = getattr(state.belief, "paths", None)
        held.append(None if paths is None else [b[0] for b in paths.beliefs])
    return reports, held


@pytest.fixture(params=AGENTS)
def case(request):
    agent = AGENTS[request.param]()
    outcomes, controls = trial(agent)
    return agent, outcomes, controls, neuronal_responses(agent, agent.init(), outcomes, controls)


# --- rates ---------------------------------------------------------------------------------------------------------------
def test_rates_and_policies_are_probabilities(case):
    agent, outcomes, _, responses = case
    times = len(outcomes)
    assert responses.policies.shape == (times, ITERATIONS, len(agent.model.policies))
    assert_allclose(responses.policies.sum(axis=-1), 1.0)
    assert (responses.policies >= 0).all()
    assert len(responses.rates) == agent.model.num_factors
    for rates, n_states in zip(responses.rates, agent.model.num_states, strict=True):
        assert rates.shape == (times, ITERATIONS, times, n_states)
        shown = rates[~np.isnan(rates).any(axis=-1)]
        assert_allclose(shown.sum(axis=-1), 1.0)
        assert (shown >= 0).all() and (shown <= 1 + 1e-12).all()


def test_moments_are_silent_exactly_until_they_are_represented(case):
    """Message passing represents all moments up to the next one, other agents those up to now."""
    agent, outcomes, _, responses = case
    times = len(outcomes)
    ahead = 1 if agent.path_inference is not None else 0
    after, moment = np.indices((times, times))
    for rates in responses.rates:
        silent = np.isnan(rates)
        expected = np.broadcast_to((moment > after + ahead)[:, None, :, None], silent.shape)
        assert_array_equal(silent, expected)


def test_in_the_end_rates_and_policies_are_what_the_agent_believes(case):
    """The last iteration after each outcome is the agent's own report of that step."""
    agent, outcomes, controls, responses = case
    exact = agent.path_inference is not None
    reports, held = lived(agent, outcomes, controls)
    for t, info in enumerate(reports):
        assert_allclose(responses.policies[t, -1], info.q_pi, atol=1e-12 if exact else FLOW_LEFT)
        for f, q in enumerate(info.qs):
            assert_allclose(responses.rates[f][t, -1, t], q, atol=1e-12 if exact else FLOW_LEFT)
            if held[t] is not None:  # beliefs about all moments, the next one included
                shown = held[t][f][: len(outcomes)]
                assert_allclose(responses.rates[f][t, -1, : len(shown)], shown, atol=1e-12)


def test_rates_begin_elsewhere_and_approach_what_is_believed(case):
    """Each iteration of the flow is nearer to its end; in some units something happens."""
    agent, _, _, responses = case
    moved = [np.nanmax(np.abs(rates - rates[:, -1:])) for rates in responses.rates]
    assert max(moved) > 1e-4
    if agent.path_inference is not None:
        return
    for rates in responses.rates:
        for t in range(len(rates)):
            now = rates[t, :, t]
            gap = (now[-1] * (np.log(now[-1] + 1e-300) - np.log(now + 1e-300))).sum(axis=-1)
            assert (np.diff(gap) <= 1e-9).all()


def test_past_moments_of_agents_that_filter_stay_as_they_were():
    agent = rooms()
    responses = neuronal_responses(agent, agent.init(), *trial(agent))
    for rates in responses.rates:
        for moment in range(3):
            for t in range(moment + 1, 4):
                assert_array_equal(rates[t, :, moment], np.repeat(rates[t, :1, moment], ITERATIONS, axis=0))
                assert_allclose(rates[t, 0, moment], rates[moment, -1, moment], atol=FLOW_LEFT)


def test_with_message_passing_the_past_is_seen_in_the_light_of_the_present():
    """The colour that is shown later is known of the first moment, too, which began in ignorance."""
    agent = insight.paradigm("knowing", planner="2017").agent
    responses = neuronal_responses(agent, agent.init(), *trial(agent))
    colour = responses.rates[1]
    assert_allclose(colour[0, :, 0], 1 / 3, atol=1e-9)
    assert colour[5, -1, 0].argmax() == 2 and colour[5, -1, 0, 2] > 0.9


# --- confidence and its rate of change -----------------------------------------------------------------------------------
def test_precision_is_the_negative_entropy_of_the_policies(case):
    agent, outcomes, controls, responses = case
    flat = responses.policies.reshape(-1, responses.policies.shape[-1])
    expected = [sum(p * np.log(p) for p in q if p > 0) for q in flat]
    assert_allclose(responses.precision, expected, atol=1e-12)
    assert (responses.precision <= 1e-12).all()
    assert (responses.precision >= -np.log(len(agent.model.policies)) - 1e-12).all()
    if agent.path_inference is not None:
        reports, _ = lived(agent, outcomes, controls)
        assert_allclose(responses.precision[ITERATIONS - 1 :: ITERATIONS], [r.confidence for r in reports], atol=1e-9)


def test_dopamine_is_the_change_of_precision(case):
    """In the very iteration in which it happens: nothing shows before the outcome that causes it."""
    _, outcomes, _, responses = case
    p, d = responses.precision, responses.dopamine
    assert p.shape == d.shape == (len(outcomes) * ITERATIONS,)
    assert d[0] == 0
    assert_allclose(p[0] + np.cumsum(d), p, atol=1e-12)


def test_dopamine_rises_when_it_becomes_clear_what_to_do():
    """An agent that knows the motif has seen the cue and the colour, and then must answer: most of the rise comes there."""
    agent = insight.paradigm("knowing", planner="2017").agent
    responses = neuronal_responses(agent, agent.init(), *trial(agent))
    by_outcome = responses.dopamine.reshape(6, ITERATIONS).sum(axis=1)
    assert by_outcome.argmax() == 3 and by_outcome[3] > 0.5
    answers = responses.policies[3, -1, 3:]
    assert answers.argmax() == 2 and answers[2] > 0.9  # blue, which was shown


def test_time_goes_on_by_16_milliseconds_an_iteration(case):
    _, outcomes, _, responses = case
    assert_allclose(np.diff(responses.seconds), MS_PER_ITERATION / 1000)
    assert responses.seconds[-1] == pytest.approx(len(outcomes) * 0.256)


def test_units_are_named():
    agent = rooms()
    responses = neuronal_responses(agent, agent.init(), *trial(agent))
    assert responses.labels["factor"] == ["room", "lamp"] and responses.labels["states"]["lamp"] == ["on", "off"]


# --- what goes in --------------------------------------------------------------------------------------------------------
def test_the_state_stays_as_it_was(case):
    agent, outcomes, controls, responses = case
    state = agent.init()
    before = [q.copy() for q in state.qs]
    again = neuronal_responses(agent, state, outcomes, controls)
    assert (state.t, state.trial, state.controls) == (0, 0, None)
    for q, old in zip(state.qs, before, strict=True):
        assert_array_equal(q, old)
    for a, b in zip(again.rates, responses.rates, strict=True):
        assert_array_equal(a, b)
    for m in agent.model.learned_modalities:
        assert_array_equal(agent.posterior_counts(state, m)[0], agent.model.pA[m])


def test_a_last_row_of_controls_is_not_used():
    agent = rooms("paths")
    outcomes, controls = trial(agent)
    short = neuronal_responses(agent, agent.init(), outcomes, controls)
    long = neuronal_responses(agent, agent.init(), outcomes, [*controls, [1, 0]])
    for a, b in zip(short.rates, long.rates, strict=True):
        assert_array_equal(a, b)
    assert_array_equal(short.policies, long.policies)


def test_a_recording_may_end_before_the_trial_does(case):
    """The first moments are the same, and nothing is said of moments that were never recorded."""
    agent, outcomes, controls, whole = case
    part = neuronal_responses(agent, agent.init(), outcomes[:2], controls[:2])
    for short, long in zip(part.rates, whole.rates, strict=True):
        assert_array_equal(short, long[:2, :, :2])
    assert_array_equal(part.policies, whole.policies[:2])


def test_what_was_learned_before_counts():
    """The same trial after another one: other rates, those of an agent with its counts."""
    agent = Agent(two_rooms(), planner=Planner(gains=("state",)), learning=Learning(smooth=True), trial_length=4)
    outcomes, controls = trial(agent)
    state = agent.init()
    for t, seen in enumerate(outcomes):
        state, _ = agent.step(state, np.array(seen), action=controls[t] if t < 3 else [0, 0])
    state, _ = agent.end_trial(state)
    later, first = (neuronal_responses(agent, s, outcomes, controls) for s in (state, agent.init()))
    assert np.nanmax(np.abs(later.rates[1] - first.rates[1])) > 0.01
    counts = agent.posterior_counts(state, 1)[0]
    born = Agent(two_rooms(pA=[None, counts]), planner=agent.planner, learning=agent.learning, trial_length=4)
    same = neuronal_responses(born, born.init(), outcomes, controls)
    assert_allclose(later.rates[1], same.rates[1], atol=1e-12)


def test_a_trial_of_one_outcome():
    agent = Agent(POMDP(A=[np.eye(2)], B=[np.eye(2)[:, :, None]]), trial_length=1)
    responses = neuronal_responses(agent, agent.init(), [[1]], [[0]])
    assert_allclose(responses.rates[0][0, -1, 0], [0.0, 1.0], atol=FLOW_LEFT)
    assert_allclose(responses.precision, 0.0)
    assert_allclose(responses.dopamine, 0.0)


@pytest.mark.parametrize("n", [2, 5])
def test_only_one_agent_at_a_time(n):
    agent = rooms()
    with pytest.raises(ValueError, match=f"state must be of one agent between trials; got {n} agents at time 0"):
        neuronal_responses(agent, agent.init(n), *trial(agent))


def test_only_between_trials():
    agent = rooms()
    state, _ = agent.step(agent.init(), np.array([0, 0]), action=[0, 0])
    with pytest.raises(ValueError, match="state must be of one agent between trials; got 1 agents at time 1"):
        neuronal_responses(agent, state, *trial(agent))


SEEN, DONE = [[0, 0], [1, 1], [0, 1], [0, 0]], [[1, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    "outcomes, controls, error, message",
    [
        (SEEN, DONE[:2], ValueError, "controls must have 3 or 4 rows for 4 outcomes; got 2"),
        (SEEN, [*DONE, [0, 0], [0, 0]], ValueError, "controls must have 3 or 4 rows for 4 outcomes; got 5"),
        (
            [[0, 0], [1, 3], [0, 1], [0, 0]],
            DONE,
            ValueError,
            r"observation\[1\] must lie in 0\.\.2, or be -1 for what was not seen; got 3",
        ),
        ([[0, 0], [-2, 1], [0, 1], [0, 0]], DONE, ValueError, r"observation\[0\] must lie in 0\.\.1, or be -1 .*; got -2"),
        ([[0], [1], [0], [0]], DONE, ValueError, "observation must have shape"),
        (SEEN, [[2, 0], [0, 0], [0, 0]], ValueError, r"action of factor 0 must lie in 0\.\.1; got"),
        (SEEN, [[1, 0, 0], [0, 0, 0], [0, 0, 0]], ValueError, r"action must have shape \(1, 2\)"),
        (SEEN, [[0.5, 0.0], [0, 0], [0, 0]], TypeError, "action must hold integers"),
        ([[0.5, 0.5], [1, 1], [0, 1], [0, 0]], DONE, ValueError, "observation"),
    ],
)
def test_bad_recordings_are_named(outcomes, controls, error, message):
    agent = rooms("paths")
    with pytest.raises(error, match=message):
        neuronal_responses(agent, agent.init(), outcomes, controls)
