"""Message passing along paths: SPM's run of 2017 number for number, exact answers where it has them, bits, and refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_batch import check
from worlds import columns, lamp_rules, random_world, two_rooms

from activebmr import POMDP, Agent, Learning, ModelProcess, Planner, Reasoning, Selection, replay
from activebmr.inference.paths import Paths
from activebmr.planning.paths.inference import PathInference
from paradigms import insight

TRIALS = range(32)
SPM_ACTIONS = [3, 4, 5, 0, 1, 2]
"""Our index of each of SPM's policies, which report red, green or blue first, then look left, centre, right."""

GAINS = ("state", "param")

# A belief starts at most this far (in log odds) from where a single gradient leads, as a share of the whole way: 16 iterations
# with a time constant of 4, the first four of which may stand still
WAY_LEFT = 0.75**12


def recorded(spm):
    """States, controls (the last column unused) and outcomes of SPM's 32 trials, counted from 0."""
    z = spm("rule2017")
    states, controls, outcomes = (z[name].astype(int) - 1 for name in "suo")
    return states, np.concatenate([controls, controls[..., -1:]], axis=2), outcomes


# --- SPM -----------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def replayed(spm):
    return replay(insight.paradigm("naive", planner="2017"), *recorded(spm))


def test_free_energy_of_every_trial_is_spms(spm, replayed):
    assert_allclose(replayed["free_energy"].sum(axis=1), spm("rule2017")["F"], rtol=1e-8)


def test_confidence_in_every_trial_is_spms(spm, replayed):
    assert_allclose(replayed["confidence"].sum(axis=1), spm("rule2017")["Fu"], rtol=1e-8)


def test_counts_after_every_trial_are_spms(spm, replayed):
    counts = spm("rule2017")["a1"]
    assert_allclose(replayed["pA_what"], counts, rtol=1e-8, atol=1e-8)
    assert_array_equal(replayed["pA_what"] == 0, counts == 0)
    assert np.abs(np.diff(counts, axis=0)).max(axis=(1, 2, 3, 4, 5)).min() > 0.5  # every trial taught something


def test_step_by_step_is_the_same_as_replay(spm, replayed):
    """The way that users go: `Agent.step` with recorded actions."""
    _, controls, outcomes = recorded(spm)
    agent = insight.paradigm("naive", planner="2017").agent
    state = agent.init()
    for i in range(4):
        energy = 0.0
        for t in range(6):
            state, info = agent.step(state, outcomes[i, :, t], action=controls[i, :, t] if t < 5 else [0, 0, 0, 3])
            energy += info.free_energy
        state, done = agent.end_trial(state)
        assert energy == pytest.approx(spm("rule2017")["F"][i], rel=1e-8)
        assert_array_equal(agent.posterior_counts(state, "what")[0], replayed["pA_what"][i])


def spm_draw(q_pi, uniform):
    """SPM draws an action: the first index below the cumulative probabilities q_pi^512, in its own order of policies."""
    sharp = 512.0 * np.log(np.maximum(q_pi[SPM_ACTIONS], np.finfo(float).tiny))
    chance = np.exp(sharp - sharp.max())
    return SPM_ACTIONS[int(np.argmax(uniform < np.cumsum(chance / chance.sum())))]


def test_same_random_numbers_same_life_as_in_spm(spm):
    """World and agent draw from SPM's own stream, and do and see what SPM's agent did, through all 32 trials."""
    z, stream = spm("rule2017"), np.random.RandomState(5489)
    states, controls, outcomes = recorded(spm)
    paradigm = insight.paradigm("naive", planner="2017")
    agent, world = paradigm.agent, ModelProcess(paradigm.model, paradigm.hypotheses, np.array([0]))
    state, chosen = agent.init(1), []
    for i in TRIALS:
        seen = []
        for t in range(6):
            draws = stream.random_sample(7)[None]
            here, outcome = world.reset(draws) if t == 0 else world.step(state.controls, draws)
            assert_array_equal(here[0], states[i, :, t], err_msg=f"states of trial {i}, time {t}")
            assert_array_equal(outcome[0], outcomes[i, :, t], err_msg=f"outcomes of trial {i}, time {t}")
            last = t == 5
            info = agent.life.advance(state, list(outcome.T), np.zeros(1), np.zeros((1, 4), dtype=int) if last else None)
            if not last:
                policy = spm_draw(info.q_pi[0], stream.random_sample())
                state.controls = paradigm.model.policies[[policy], 0]
                assert_array_equal(state.controls[0], controls[i, :, t], err_msg=f"action of trial {i}, time {t}")
                chosen.append(policy)
            seen.append(outcome[0, 2])
        assert (1 in seen and 2 not in seen) == z["hit"][i]
        agent.life.conclude(state)
    assert set(chosen) == set(range(6))  # it was no trivial agreement


def every_trial(agent, state):
    """Free energy and confidence of every trial that agents in one state may live: all rules, colours and chance outcomes.

    They choose by themselves; what they may see where nothing is shown is one colour at the left and one at the right.
    """
    cases = np.array(list(itertools.product(range(3), repeat=4)))
    rule, colour, at_left, at_right = cases.T
    lives = agent.init(len(cases))
    counts = np.repeat(state.tables[0].counts, len(cases), axis=0)
    lives.tables[0].replace(np.arange(len(cases)), counts, np.arange(counts.shape[1]))
    gaze = report = np.full(len(cases), 3)
    energy, confidence = np.zeros(len(cases)), np.zeros(len(cases))
    for t in range(6):
        shown = np.where(gaze == rule, colour, np.where(gaze == 0, at_left, at_right))
        what = np.select([gaze == 3, gaze == 1], [3, rule], shown)
        correct = np.where(rule == 1, 1, colour)
        feedback = np.select([report == 3, report == correct], [0, 1], 2)
        action = np.zeros((len(cases), 4), dtype=int) if t == 5 else None
        info = agent.life.advance(lives, [what, gaze, feedback], np.full(len(cases), 0.5), action)
        gaze, report = info.controls[:, 2], info.controls[:, 3]
        energy, confidence = energy + info.free_energy, confidence + info.confidence
    return energy, confidence


def lived_by_spm(lives, energy, confidence):
    return (np.abs(lives[0] - energy) < 1e-9) & (np.abs(lives[1] - confidence) < 1e-9)


def test_an_instructed_agent_begins_as_spms_does(spm):
    """SPM's chance outcomes in that run are not known: its first trial must be one of those that can be."""
    z, agent = spm("rule2017"), insight.paradigm("naive", planner="2017").agent
    told = agent.instruct(agent.init(1), {"what": z["sleep_a0"]})
    assert lived_by_spm(every_trial(agent, told), z["instructed_F"][0], z["instructed_Fu"][0]).any()
    assert not lived_by_spm(every_trial(agent, agent.init(1)), z["instructed_F"][0], z["instructed_Fu"][0]).any()


def test_after_its_sleep_an_agent_goes_on_as_spms_does(spm):
    """Six recorded trials, sleep, and the next one: SPM's first trial after sleep is among those that can be."""
    z, agent = spm("rule2017"), insight.paradigm("sleep-own", planner="2017").agent
    _, controls, outcomes = recorded(spm)
    state = agent.init(1)
    for i in range(6):
        naive = state
        for t in range(6):
            done = controls[i, :, t] if t < 5 else [0, 0, 0, 3]
            state, _ = agent.step(state, outcomes[i, :, t][None], action=done)
        state, _ = agent.end_trial(state)
    assert state.adopted[0] == 0
    assert lived_by_spm(every_trial(agent, state), z["sws_F"][5], z["sws_Fu"][5]).any()
    assert not lived_by_spm(every_trial(agent, naive), z["sws_F"][5], z["sws_Fu"][5]).any()


# --- exact answers -------------------------------------------------------------------------------------------------------
def uncoupled(seed, **options):
    """The first random world from a seed on whose factors all move by themselves."""
    while True:
        model = random_world(seed, **options)
        if all(deps == (f,) for f, deps in enumerate(model.B_dependencies)):
            return model
        seed += 1000


def chain(rng, n_states, likelihood=None, **more):
    """One factor that moves by chance under two controls; every transition is possible."""
    b = np.stack([columns(rng, (n_states, n_states), 0.0) for _ in range(2)], axis=-1)
    return POMDP(
        A=[np.eye(n_states) if likelihood is None else likelihood], B=[b], D=[rng.dirichlet(np.ones(n_states))], **more
    )


def smoothed(model, seen, controls):
    """Exact beliefs about every moment given the whole trial (forward-backward), from likelihoods ``(times, S)``."""
    b, times = model.B[0], len(seen)
    forward, backward = [model.D[0] * seen[0]], [np.ones(model.num_states[0])]
    for t in range(1, times):
        forward.append(seen[t] * (b[:, :, controls[t - 1]] @ forward[-1]))
        backward.append(b[:, :, controls[times - 1 - t]].T @ (seen[times - t] * backward[-1]))
    product = np.array(forward) * np.array(backward[::-1])
    return product / product.sum(axis=1, keepdims=True)


def believed(agent, observations, controls):
    """Beliefs of one agent about every moment of a trial, after its last outcome ``(times, S)``."""
    state = agent.init(1)
    for seen, done in zip(observations, controls, strict=True):
        state, _ = agent.step(state, [seen[None]], action=[done])
    return state.belief.paths.beliefs[0][0]


@pytest.mark.parametrize("seed", range(5))
def test_a_state_that_is_always_seen_is_believed_at_every_moment(seed):
    """Nothing is uncertain then, whatever the transitions: beliefs are exact to 1e-6."""
    rng = np.random.default_rng(seed)
    model, times = chain(rng, 3), 5
    agent = Agent(model, inference="message-passing", trial_length=times)
    seen, done = rng.integers(3, size=times), rng.integers(2, size=times)
    exact = smoothed(model, np.eye(3)[seen], done)
    assert_allclose(exact, np.eye(3)[seen], atol=1e-12)
    assert_allclose(believed(agent, np.eye(3)[seen], done), exact, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_one_observation_is_answered_by_bayes_rule(seed):
    """A single gradient: what is left of the way to the exact posterior, in log odds, is what 12 to 16 iterations leave."""
    rng = np.random.default_rng(seed)
    likelihood = columns(rng, (4, 3), 0.0)
    model = chain(rng, 3, likelihood)
    agent = Agent(model, inference="message-passing", trial_length=1)
    seen = np.eye(4)[rng.integers(4)]
    exact = np.log(smoothed(model, (seen @ likelihood)[None], [])[0])
    found = np.log(believed(agent, [seen], [[0]])[0])
    start = np.log(model.D[0]) / 4  # where SPM's beliefs about the first moment begin
    span = lambda x: np.ptp(x)  # noqa: E731 (a constant in logarithms is none in probabilities)
    assert span(found - exact) <= WAY_LEFT * span(start - exact) + 1e-9
    assert span(found - exact) < span(np.log(model.D[0]) - exact)


@pytest.mark.parametrize("seed", range(5))
def test_without_evidence_the_next_moment_is_what_each_action_brings(seed):
    rng = np.random.default_rng(seed)
    model = chain(rng, 3, np.ones((1, 3)))
    agent = Agent(model, inference="message-passing", trial_length=2)
    state, _ = agent.step(agent.init(1), [np.array([0])], action=[0])
    x = agent.path_inference.ascend(state.belief.paths).x[0][0]  # (policies, times, states)
    for u in range(2):
        now, ahead = x[u]
        assert_allclose(np.log(now) - np.log(model.D[0]), np.full(3, np.log(now[0] / model.D[0][0])), atol=2 * WAY_LEFT)
        assert_allclose(ahead, model.B[0][:, :, u] @ now, atol=2 * WAY_LEFT)


@pytest.mark.parametrize("times", [2, 3, 4])
def test_what_is_seen_at_the_end_is_known_of_the_beginning(times):
    """A state that stays, seen only once, at the last moment: beliefs about all moments are the exact smoothed ones, to 0.3%.

    News travels one moment into the past with every iteration.
    """
    still = np.eye(3)[:, :, None]
    model = POMDP(A=[np.eye(3)], B=[still], D=[[0.5, 0.3, 0.2]])
    agent = Agent(model, inference="message-passing", trial_length=times)
    nothing = np.full(3, 1 / 3)
    seen = np.array([nothing] * (times - 1) + [np.eye(3)[2]])
    exact = smoothed(model, seen, [0] * times)
    assert_allclose(exact[:, 2], 1.0)
    found = believed(agent, seen, [[0]] * times)
    assert_allclose(found, exact, atol=3e-3)


def test_what_is_learned_from_a_state_that_is_seen_is_exact(rng):
    """Two modalities: one shows the state, of the other the likelihood is learned. Counts are what was seen where."""
    model = chain(rng, 3)
    model = model.with_(
        A=[np.eye(3), None], pA=[None, np.ones((2, 3))], A_dependencies=[[0], [0]], C=None, labels={}, policies=model.policies
    )
    agent = Agent(model, inference="message-passing", learning=Learning(rate=1.5), trial_length=4)
    state, expected = agent.init(), np.ones((2, 3))
    for _ in range(3):
        for _ in range(4):
            place, light, move = rng.integers(3), rng.integers(2), rng.integers(2)
            state, _ = agent.step(state, np.array([place, light]), action=[move])
            expected[light, place] += 1.5
        state, _ = agent.end_trial(state)
    assert_allclose(agent.posterior_counts(state, 1)[0], expected, atol=1e-5)


def entropy(p):
    return -sum(x * np.log(x) for x in np.ravel(p) if x > 0)


@pytest.mark.parametrize("seed", range(3))
def test_policies_are_worth_what_is_preferred_and_told_now_and_next(seed):
    """A state that is always seen: worth is the log preference of what is seen now and expected next, plus the surprise that
    seeing the next state resolves, its entropy; at the end there is no next.
    """
    rng = np.random.default_rng(seed)
    wants = rng.normal(size=(3, 3))
    model = chain(rng, 3, C=[wants])
    log_wants = wants - np.log(np.exp(wants).sum(axis=1, keepdims=True))
    agent = Agent(model, planner=Planner(gains=("state",)), inference="message-passing", trial_length=3)
    state, seen = agent.init(), rng.integers(3, size=3)
    for t in range(3):
        state, info = agent.step(state, np.array([seen[t]]), action=[1])
        ahead = model.B[0][:, seen[t]].T if t < 2 else np.zeros((2, 3))  # (action, next state)
        utility = log_wants[t, seen[t]] + (ahead @ log_wants[t + 1] if t < 2 else 0.0)
        assert_allclose(info.utility, utility * np.ones(2), atol=2e-2)
        assert_allclose(info.state_info_gain, [entropy(q) for q in ahead], atol=2e-2)
        assert_allclose(info.neg_efe, info.utility + info.state_info_gain, atol=1e-12)


def test_the_novelty_of_a_state_that_is_seen_is_that_of_its_counts(rng):
    """The form of 2017: (1/count - 1/column sum) / 2 of every possible outcome, averaged over states, times how likely that
    outcome is on the whole; now and next, before it is learned.
    """
    light = np.array([[1.0, 4.0, 0.0], [3.0, 2.0, 5.0]])
    model = chain(rng, 3)
    model = model.with_(A=[model.A[0], None], pA=[None, light], A_dependencies=[[0], [0]], C=None, labels={})
    agent = Agent(model, planner=Planner(gains=("param",)), inference="message-passing", trial_length=2)
    novelty = np.array([[(1 / 1 - 1 / 4) / 2, (1 / 4 - 1 / 6) / 2, 0.0], [(1 / 3 - 1 / 4) / 2, (1 / 2 - 1 / 6) / 2, 0.0]])
    share = light / light.sum(axis=0)
    here = (share * novelty).sum(axis=0)
    ahead = model.B[0][:, 1]  # (next state, action)
    state, info = agent.step(agent.init(), np.array([1, 0]), action=[0])
    assert_allclose(info.param_info_gain, here[1] + ((share @ ahead) * (novelty @ ahead)).sum(axis=0), atol=5e-3)
    _, info = agent.step(state, np.array([0, 1]), action=[0])
    assert_allclose(info.param_info_gain, here[0], atol=5e-3)


def test_counts_that_a_trial_adds_sum_to_its_outcomes(rng):
    """Whatever is believed: each moment adds one count of what was seen (no structural zeros)."""
    model = uncoupled(3, max_factors=3, zeros=0.0)
    agent = Agent(model, inference="message-passing", trial_length=3)
    state = agent.init(5)
    seen = np.stack([np.stack([rng.integers(n, size=5) for n in model.num_outcomes], axis=1) for _ in range(3)])
    for t in range(3):
        state, _ = agent.step(state, seen[t], rng)
    state, _ = agent.end_trial(state)
    for m in model.learned_modalities:
        gained = agent.posterior_counts(state, m) - model.pA[m]
        per_outcome = gained.reshape(5, model.num_outcomes[m], -1).sum(axis=2)
        assert_allclose(per_outcome, np.eye(model.num_outcomes[m])[seen[:, :, m]].sum(axis=0), atol=1e-10)


# --- one sweep -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n_factors", [1, 2, 3, 4])
@pytest.mark.parametrize("shared", [True, False])
def test_a_sweep_hands_each_factor_the_likelihood_expected_under_the_others_as_they_are_then(rng, n_factors, shared):
    sizes = [2, 3, 4, 2][:n_factors]
    likelihood = rng.random((3, 1, int(np.prod(sizes))))
    stills = [np.eye(s)[:, :, None] for s in sizes]
    inference = PathInference(POMDP(A=[np.ones((1, *sizes))], B=stills), 2, GAINS, 1.0, lambda t: [np.zeros(1)])
    n_policies = 1 if shared else 2
    q = [rng.dirichlet(np.ones(s), size=(3, n_policies)) for s in sizes]
    order = []

    def update(f, message):
        order.append(f)
        expected = np.broadcast_to(likelihood.reshape(3, 1, *sizes), (3, n_policies, *sizes))
        for g in range(n_factors - 1, -1, -1):  # from the last axis on, so that the others keep their places
            if g != f:
                shape = [3, n_policies, *[1] * n_factors]
                shape[2 + g] = sizes[g]
                expected = (expected * q[g].reshape(shape)).sum(axis=2 + g, keepdims=True)
        assert_allclose(np.broadcast_to(message, (3, n_policies, sizes[f])), expected.reshape(3, n_policies, sizes[f]))
        q[f] = rng.dirichlet(np.ones(sizes[f]), size=(3, n_policies))  # the next factors must see the new one

    inference._sweep(likelihood, 0, n_factors, q, update)
    assert order == list(range(n_factors))


# --- bits ----------------------------------------------------------------------------------------------------------------
def passing(model, **options):
    return Agent(model, planner=Planner(gains=GAINS), inference="message-passing", trial_length=3, **options)


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_agent_k_is_the_same_in_any_batch(seed, soft):
    check(passing(uncoupled(seed, max_factors=3)), seed=seed, soft=soft, trials=2, members=(0, 63))


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
def test_agent_k_is_the_same_in_any_batch_of_the_paradigm():
    agent = insight.paradigm("naive", planner="2017").agent
    check(agent, trials=2, steps=6, members=(0, 63))


def test_parting_changes_nothing_for_policies_that_stay_together():
    """The shared past of all policies is the past that each would have had alone."""
    agent = insight.paradigm("naive", planner="2017").agent
    state = agent.init(1)
    for seen, done in (([3, 3, 0], [0, 0, 1, 3]), ([2, 1, 0], [0, 0, 2, 3])):
        state, _ = agent.step(state, np.array([seen]), action=done)
    inference, paths = agent.path_inference, state.belief.paths
    together = inference.ascend(paths)
    n = len(agent.model.policies)
    for p in range(n):
        alone = POMDP(
            **{k: getattr(agent.model, k) for k in ("A", "B", "C", "D", "pA", "labels")}, policies=agent.model.policies[[p]]
        )
        single = PathInference(alone, 6, GAINS, 1.0, inference.preferences).ascend(paths)
        for f in range(4):
            assert_allclose(together.x[f][:, p], single.x[f][:, 0], rtol=1e-12, atol=1e-15)
        assert_allclose(together.evidence[:, p], single.evidence[:, 0], rtol=1e-12)


# --- refusals ------------------------------------------------------------------------------------------------------------
def huge():
    sizes = [10, 10, 10, 11]
    return POMDP(
        A=[np.full((2, 10), 0.5), np.full((50, 11), 0.02)],
        B=[np.eye(n)[:, :, None] for n in sizes],
        A_dependencies=[[0], [3]],
    )


@pytest.mark.parametrize(
    "model, options, message",
    [
        (two_rooms, {"trial_length": None}, "trial_length of Agent must be given for message passing"),
        (two_rooms, {"planner": Planner(depth=1)}, "depth of Planner must be 0 for message passing.*; got 1"),
        (two_rooms, {"hypotheses": lamp_rules()}, "message passing must go without .* the gain about models"),
        (two_rooms, {"selection": Selection(curious=True)}, "curious of Selection must be False for message passing"),
        (huge, {}, "joint states x joint outcomes must be at most 1000000 for message passing; got 1100000"),
    ],
)
def test_what_message_passing_cannot_do_is_named(model, options, message):
    held = {"inference": "message-passing", "trial_length": 3}
    with pytest.raises(ValueError, match=message):
        Agent(model(), **(held | options))


def test_message_passing_goes_without_joint_reasoning():
    with pytest.raises(ValueError, match="message passing must go without reasoning"):
        Agent(
            two_rooms(),
            lamp_rules(),
            Planner(gains=("state",)),
            inference="message-passing",
            reasoning=Reasoning(),
            trial_length=3,
        )


@pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")
def test_hypotheses_without_their_gain_are_scored_and_adopted_as_usual(rng):
    """Selection among hypotheses needs counts only, and message passing has them."""
    agent = Agent(
        two_rooms(),
        lamp_rules(),
        Planner(gains=GAINS),
        inference="message-passing",
        selection=Selection(threshold=1.0, concentration=32.0),
        trial_length=3,
    )
    state = agent.init()
    for _ in range(12):
        for _ in range(3):
            state, _ = agent.step(state, np.array([1, 0]), action=[1, 0])  # bright in the right room, time after time
        state, done = agent.end_trial(state)
    assert state.adopted.shape == (1,)
    assert_allclose(done.model_posterior.sum(axis=1), 1.0)


def test_a_step_leaves_the_old_state_alone():
    """From one state one can go two ways, and back again."""
    agent = insight.paradigm("naive", planner="2017").agent
    first, _ = agent.step(agent.init(), np.array([3, 3, 0]), action=[0, 0, 1, 3])
    look, here = agent.step(first, np.array([0, 1, 0]), action=[0, 0, 0, 3])
    agent.step(first, np.array([2, 1, 0]), action=[0, 0, 2, 3])
    agent.end_trial(look)
    again, there = agent.step(first, np.array([0, 1, 0]), action=[0, 0, 0, 3])
    assert_array_equal(here.q_pi, there.q_pi)
    assert len(first.belief.paths.outcomes) == 1 and len(look.belief.paths.outcomes) == len(again.belief.paths.outcomes) == 2


def test_an_empty_path_is_copied_apart():
    paths = Paths()
    other = paths.copy()
    other.outcomes.append([np.zeros(1)])
    assert paths.outcomes == []
