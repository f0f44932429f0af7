"""Sleep between trials: when it changes what, dreams, instruction, evidence, and that agents stay strangers to each other."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_batch import arrays_of, check
from worlds import lamp_rules, two_rooms

from activebmr import (
    Agent,
    Alternatives,
    HypothesisSpace,
    Introspection,
    Learning,
    Paradigm,
    Planner,
    Selection,
    replay,
    simulate,
)
from activebmr.reduction.search.informative import InformativeMappings
from activebmr.reduction.search.single_parameters import SingleParameters
from activebmr.simulation.checkpoints import Checkpoint
from paradigms import insight, three_ball

module = importlib.import_module("activebmr.simulation.simulate")

LIGHT = 1
RULES = lamp_rules(sharp=8.0)
"""Sharper than what agents in two rooms know from the start, so that both rules claim something."""
TIMES = 4
SCHEMES = ("factorised", "sequential", "paths")


SPM = {"search": "states", "modalities": "separate", "extra_step": True}
# what sleep claims, or what others do at random, may be wrong
IMPOSSIBLE = pytest.mark.filterwarnings("ignore:an observation that the model holds impossible")


def sleeper(
    introspection=None, *, inference="factorised", model=None, smooth=True, retention=1.0, space=None, **options
) -> Agent:
    """An agent in two rooms that knows no rules awake; options are those of its introspection."""
    if introspection is None:
        held = {"threshold": 0.5, "adopt": "claims"}
        held = {k: options.pop(k, v) for k, v in held.items()}
        introspection = Introspection(space or Alternatives(RULES, **held), **options)
    return Agent(
        two_rooms() if model is None else model,
        planner=Planner(gains=("state", "param"), **SPM),
        inference=inference,
        learning=Learning(smooth=smooth, retention=retention),
        introspection=introspection,
        trial_length=TIMES,
    )


def naive(prior=None, **options) -> Agent:
    """The same agent who never sleeps, with other counts if given."""
    model = two_rooms() if prior is None else two_rooms(pA=[None, prior])
    return replace_introspection(sleeper(model=model, **options))


def replace_introspection(agent) -> Agent:
    return Agent(
        agent.model,
        planner=agent.planner,
        inference=agent.inference,
        learning=agent.learning,
        trial_length=agent.trial_length,
    )


def recorded(n_agents, n_trials, seed=0, truth="both"):
    """Trials in a world with a true rule: per trial and time outcomes and controls of each agent ``(n_agents, 2)``."""
    rng = np.random.default_rng(seed)
    lit = RULES.dense(truth, LIGHT)
    out = []
    for _ in range(n_trials):
        lamp, room, trial = rng.integers(2, size=n_agents), np.zeros(n_agents, dtype=int), []
        for _ in range(TIMES):
            chance = lit[:, room, lamp] / lit[:, room, lamp].sum(axis=0)
            light = (rng.random(n_agents) > np.cumsum(chance, axis=0)).sum(axis=0)
            move = np.stack([rng.integers(2, size=n_agents), np.zeros(n_agents, dtype=int)], axis=1)
            trial.append((np.stack([room, light], axis=1), move))
            room = move[:, 0]
        out.append(trial)
    return out


def live(agent, state, trials, rng=None):
    """Agents live through recorded trials: the state after each, and the reports of the trials' ends."""
    states, reports = [], []
    for trial in trials:
        for seen, done in trial:
            state, _ = agent.step(state, seen, action=done)
        state, info = agent.end_trial(state, rng)
        states.append(state)
        reports.append(info)
    return states, reports


def counts(agent, state):
    return agent.posterior_counts(state, LIGHT)


def member(trials, k):
    return [[(seen[[k]], done[[k]]) for seen, done in trial] for trial in trials]


# --- when ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("adopt", ["claims", "reduced"])
@pytest.mark.parametrize("evidence", ["own", "unbiased"])
@pytest.mark.parametrize("dream", [None, "remembered"])
def test_sleep_before_the_first_trial_changes_nothing(adopt, evidence, dream):
    agent = sleeper(adopt=adopt, evidence=evidence, dream=dream)
    state = agent.init(3)
    rested, found = agent.sleep(state)
    assert_allclose(found[LIGHT].ratios, 0.0, atol=1e-12)
    assert not found[LIGHT].accepted.any()
    assert_array_equal(counts(agent, rested), counts(agent, state))
    assert_array_equal(agent.prior_counts(rested, LIGHT), counts(agent, state))
    assert_array_equal(rested.adopted, -1)


@pytest.mark.parametrize("scheme", ["sleep", "sleep-dream", "sleep-own"])
def test_sleep_before_the_first_trial_shows_no_motif(scheme):
    agent = insight.paradigm(scheme, planner="2017").agent
    rested, found = agent.sleep(agent.init())
    assert_allclose(found[0].ratios, 0.0, atol=1e-9)
    assert_array_equal(agent.posterior_counts(rested, 0)[0], insight.naive_counts())


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
@pytest.mark.parametrize("dream", [None, "remembered"])
def test_sleeping_by_hand_is_the_same_as_sleeping_in_time(evidence, dream):
    """An agent that never is due, put to sleep after each trial, lives the life of one that sleeps after every trial."""
    trials = recorded(6, 5, seed=1)
    by_itself = sleeper(evidence=evidence, dream=dream)
    by_hand = sleeper(evidence=evidence, dream=dream, after=[10**6])
    states, reports = live(by_itself, by_itself.init(6), trials)
    state = by_hand.init(6)
    for trial, expected, report in zip(trials, states, reports, strict=True):
        state = live(by_hand, state, [trial])[0][0]
        state, found = by_hand.sleep(state)
        for name in ("prior", "posterior", "ratios", "held", "accepted", "model", "log_evidence_ratio"):
            assert_array_equal(getattr(found[LIGHT], name), getattr(report.reductions[LIGHT], name), err_msg=name)
        assert_array_equal(counts(by_hand, state), counts(by_itself, expected))
        assert_array_equal(state.adopted, expected.adopted)
        assert_array_equal(state.model_posterior, expected.model_posterior)
    assert (state.adopted >= 0).any()


@pytest.mark.parametrize("after, due", [(1, {0, 1, 2, 3, 4, 5}), (2, {1, 3, 5}), (3, {2, 5}), ([0, 4], {0, 4}), ([99], set())])
def test_sleep_comes_after_every_n_trials_or_those_listed(after, due):
    agent = sleeper(after=after)
    _, reports = live(agent, agent.init(2), recorded(2, 6))
    assert {i for i, report in enumerate(reports) if report.reductions} == due
    for report in reports:
        assert set(report.reductions) <= {LIGHT}


def test_between_sleeps_agents_learn_as_if_they_never_slept():
    """Until an agent adopts something, sleep does nothing to its counts."""
    agent, other = sleeper(threshold=np.inf), naive()
    trials = recorded(4, 5)
    ours, theirs = (live(a, a.init(4), trials)[0][-1] for a in (agent, other))
    assert_array_equal(counts(agent, ours), counts(other, theirs))


def test_a_report_tells_what_sleep_found():
    agent = sleeper()
    states, reports = live(agent, agent.init(20), recorded(20, 4))
    for state, report in zip(states, reports, strict=True):
        found = report.reductions[LIGHT]
        assert_array_equal(report.model_posterior, found.probabilities)
        assert_array_equal(report.log_odds, found.log_evidence_ratio)
        assert_array_equal(report.best_model, found.model)
        assert_array_equal(report.adopted_now, found.held >= 0)
        assert_array_equal(state.adopted, found.held)
    assert (states[-1].adopted >= 0).sum() > 0
    assert agent.model_names == ("left", "both")


def test_the_state_before_sleep_stays_as_it_was():
    agent = sleeper(dream="remembered")
    state = live(agent, agent.init(8), recorded(8, 1))[0][-1]
    before = counts(agent, state).copy(), agent.prior_counts(state, LIGHT).copy(), state.adopted.copy(), len(state.sleep.trials)
    trials = recorded(8, 4, seed=3)
    after = live(agent, state, trials)[0][-1]
    agent.sleep(after)
    assert_array_equal(counts(agent, state), before[0])
    assert_array_equal(agent.prior_counts(state, LIGHT), before[1])
    assert_array_equal(state.adopted, before[2])
    assert_array_equal(state.sleep.held[LIGHT], before[2])
    assert len(state.sleep.trials) == before[3]
    assert (after.adopted != state.adopted).any()
    # and from it one can go on again, to the same end
    assert_array_equal(counts(agent, live(agent, state, trials)[0][-1]), counts(agent, after))


def test_an_instruction_leaves_the_old_state_alone():
    agent = naive()
    state = live(agent, agent.init(2), recorded(2, 1))[0][-1]
    before = counts(agent, state).copy()
    agent.instruct(state, {"light": RULES.dense("both", LIGHT)})
    assert_array_equal(counts(agent, state), before)


# --- dreams --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", SCHEMES)
@pytest.mark.parametrize("adopt", ["claims", "reduced"])
@pytest.mark.parametrize("retention", [1.0, 0.999])
def test_after_a_dream_counts_are_those_learned_under_the_reduced_prior(inference, adopt, retention):
    """Brute force: an agent that was born with the reduced prior lives through all trials so far."""
    if retention < 1.0:  # models that only add counts, so that fading leaves none of them below zero
        space = HypothesisSpace({n: {1: two_rooms().pA[1] + RULES.dense(n, 1)} for n in RULES.names})
    else:
        space = RULES
    n, trials = 12, recorded(12, 6, seed=2)
    found = Introspection(Alternatives(space, adopt=adopt, threshold=0.3), evidence="unbiased", dream="remembered")
    agent = sleeper(found, inference=inference, retention=retention)
    states, _ = live(agent, agent.init(n), trials)
    changes, before = 0, np.full(n, -1)
    for i, state in enumerate(states):
        for k in np.flatnonzero(state.adopted != before):
            born = naive(agent.prior_counts(state, LIGHT)[k], inference=inference, retention=retention)
            again = live(born, born.init(1), member(trials[: i + 1], k))[0][-1]
            assert_allclose(counts(agent, state)[k], counts(born, again)[0], rtol=1e-12, atol=1e-12)
            changes += 1
        before = state.adopted
    assert changes > 5


def test_dreams_of_the_last_trials_only():
    n, trials = 10, recorded(10, 6, seed=2)
    agent = sleeper(after=[5], dream="remembered", dreams=2, evidence="unbiased")
    state = live(agent, agent.init(n), trials)[0][-1]
    who = np.flatnonzero(state.adopted >= 0)
    assert len(who) > 3
    for k in who:
        born = naive(agent.prior_counts(state, LIGHT)[k])
        again = live(born, born.init(1), member(trials[4:], k))[0][-1]
        assert_allclose(counts(agent, state)[k], counts(born, again)[0], rtol=1e-12, atol=1e-12)


def test_in_the_paradigm_a_dream_relearns_all_trials(spm):
    """SPM's recorded trials, message passing: after the insight the counts are those of an instructed agent who saw it all."""
    z = spm("rule2017")
    outcomes, controls = z["o"].astype(int) - 1, z["u"].astype(int) - 1
    trials = [
        [(outcomes[i, :, t][None], controls[i, :, t][None] if t < 5 else np.zeros((1, 4), dtype=int)) for t in range(6)]
        for i in range(7)
    ]
    dreamer, told = (insight.paradigm(s, planner="2017").agent for s in ("sleep-dream", "instructed"))
    states, _ = live(dreamer, dreamer.init(1), trials)
    assert [int(s.adopted[0]) for s in states] == [-1] * 5 + [0, 0]
    for i in (5, 6):
        again = live(told, told.init(1), trials[: i + 1])[0][-1]
        assert_allclose(dreamer.posterior_counts(states[i], 0), told.posterior_counts(again, 0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("inference", ["factorised", "paths"])
def test_made_up_dreams_are_the_same_for_the_same_random_numbers(inference):
    trials = recorded(12, 3, seed=2)
    agent = sleeper(dream="generated", dreams=3, inference=inference)

    def end(seed):
        return live(agent, agent.init(12), trials, np.random.default_rng(seed))[0][-1]

    one, same, other = end(0), end(0), end(1)
    assert_array_equal(counts(agent, one), counts(agent, same))
    who = one.adopted >= 0
    assert who.any() and (counts(agent, one) != counts(agent, other))[who].any()


def test_what_is_made_up_is_no_evidence():
    """Unbiased evidence is the same whatever was dreamt."""
    trials = recorded(12, 4, seed=2)
    ends = []
    for seed in (0, 1):
        agent = sleeper(dream="generated", dreams=3, evidence="unbiased")
        ends.append(live(agent, agent.init(12), trials, np.random.default_rng(seed))[0][-1])
    assert_array_equal(ends[0].sleep.full[LIGHT], ends[1].sleep.full[LIGHT])
    assert_array_equal(ends[0].model_posterior, ends[1].model_posterior)
    assert (counts(agent, ends[0]) != counts(agent, ends[1])).any()


@pytest.mark.parametrize("dreams", [None, 1, 5])
def test_each_made_up_moment_adds_a_count(dreams):
    """In a world that is as the agent expects it to be nothing impossible is seen: 16 trials of 4 moments by default."""
    trials = recorded(20, 2, seed=2)
    awake, agent = sleeper(after=[1]), sleeper(after=[1], dream="generated", dreams=dreams)
    plain, dreamt = (live(a, a.init(20), trials, np.random.default_rng(0))[0][-1] for a in (awake, agent))
    gained = (counts(agent, dreamt) - counts(awake, plain)).reshape(20, -1).sum(axis=1)
    expected = np.where(dreamt.adopted >= 0, (dreams or 16) * TIMES, 0.0)
    assert 0 < (dreamt.adopted >= 0).sum() < 20
    assert_allclose(gained, expected, atol=1e-8)


def test_made_up_dreams_need_random_numbers_and_an_end_of_the_trial():
    trials = recorded(12, 3, seed=2)
    agent = sleeper(dream="generated")
    with pytest.raises(ValueError, match="rng must be given to make up dreams"):
        live(agent, agent.init(12), trials)
    endless = Agent(two_rooms(), learning=agent.learning, introspection=agent.introspection)
    with pytest.raises(ValueError, match="trial_length of Agent must be given to make up dreams"):
        live(endless, endless.init(12), trials, np.random.default_rng(0))


def test_without_dreams_no_trials_are_kept():
    agent = sleeper()
    state = live(agent, agent.init(1), recorded(1, 4))[0][-1]
    assert len(state.sleep.trials) == 1 and state.sleep.trials[0].moments == []


# --- instruction ---------------------------------------------------------------------------------------------------------
def test_what_a_sleeper_found_can_be_handed_to_a_naive_agent(spm):
    """The reduced prior of an agent that has slept after SPM's first six trials makes a naive agent an instructed one."""
    z = spm("rule2017")
    outcomes, controls = z["o"].astype(int) - 1, z["u"].astype(int) - 1
    trials = [
        [(outcomes[i, :, t][None], controls[i, :, t][None] if t < 5 else np.zeros((1, 4), dtype=int)) for t in range(6)]
        for i in range(6)
    ]
    slept = insight.paradigm("sleep", planner="2017").agent
    prior = slept.prior_counts(live(slept, slept.init(1), trials)[0][-1], "what")
    told = insight.paradigm("instructed", planner="2017").agent
    assert_array_equal(prior[0], told.model.pA[0])
    assert_array_equal(prior[0], z["sleep_a0"])
    plain = insight.paradigm("naive", planner="2017").agent
    taught = plain.instruct(plain.init(1), {"what": prior})
    assert_array_equal(plain.posterior_counts(taught, 0), told.posterior_counts(told.init(1), 0))
    # and they live the same life
    for trial in trials[:2]:
        mine, its = taught, told.init(1)
        for seen, done in trial:
            mine, a = plain.step(mine, seen, action=done)
            its, b = told.step(its, seen, action=done)
            for name in ("q_pi", "free_energy", "param_info_gain"):
                assert_array_equal(getattr(a, name), getattr(b, name))


def test_who_is_instructed_goes_on_with_what_was_seen():
    agent, rule = naive(), RULES.dense("both", LIGHT)
    state = live(agent, agent.init(5), recorded(5, 3))[0][-1]
    seen = counts(agent, state) - agent.model.pA[1]
    taught = agent.instruct(state, {"light": rule})
    assert_allclose(counts(agent, taught), np.where(rule > 0, rule + seen, 0.0), atol=1e-12)
    one_by_one = agent.instruct(state, {1: np.repeat(rule[None], 5, axis=0)})
    assert_array_equal(counts(agent, one_by_one), counts(agent, taught))
    back = agent.instruct(agent.instruct(agent.init(), {1: rule}), {1: agent.model.pA[1]})
    assert (counts(agent, back) >= agent.model.pA[1] - 1e-12).all()


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
def test_an_instructed_sleeper_sleeps_on_what_it_was_told(evidence):
    """What it was told is its parent model from then on: as if born with it, but for what it has seen."""
    trials = recorded(5, 3, seed=4)
    prior = two_rooms().pA[1].copy()
    prior[:2] += 1.0
    agent, born = sleeper(evidence=evidence), sleeper(evidence=evidence, model=two_rooms(pA=[None, prior]))
    told = agent.instruct(agent.init(5), {LIGHT: prior})
    assert_array_equal(agent.prior_counts(told, LIGHT), np.repeat(prior[None], 5, axis=0))
    ours, mine = live(agent, told, trials)
    theirs, its = live(born, born.init(5), trials)
    for a, b, x, y in zip(ours, theirs, mine, its, strict=True):
        assert_allclose(counts(agent, a), counts(born, b), rtol=1e-12)
        assert_allclose(x.reductions[LIGHT].ratios, y.reductions[LIGHT].ratios, rtol=1e-9, atol=1e-9)
        assert_array_equal(a.adopted, b.adopted)


def test_who_is_instructed_holds_nothing_any_more():
    """Occam's window is then the lead over what was taught, not over a model that was held before."""
    agent = sleeper(evidence="unbiased")
    state = live(agent, agent.init(20), recorded(20, 4, seed=2))[0][-1]
    held = state.adopted >= 0
    told = agent.instruct(state, {LIGHT: 3.0 * RULES.dense("both", LIGHT) + 0.1 * (two_rooms().pA[1] > 0)})
    prior, full = agent.prior_counts(told, LIGHT), counts(agent, told)
    rested, found = agent.sleep(told)
    expected = agent.spaces[LIGHT].reduce(full, prior)
    assert_array_equal(found[LIGHT].held, expected.held)
    assert_array_equal(rested.adopted, expected.held)
    assert (expected.held[held] == -1).any()


def test_agents_can_be_told_different_things():
    agent = naive()
    rules = np.stack([RULES.dense(n, LIGHT) for n in ("left", "both")])
    assert_array_equal(counts(agent, agent.instruct(agent.init(2), {"light": rules})), rules)


GOOD = RULES.dense("both", LIGHT)


@pytest.mark.parametrize(
    "taught, message",
    [
        ({0: np.eye(2)}, r"taught must speak about modalities with counts, \[1\]; got 0"),
        ({"sound": GOOD}, "modality must be one of .*; got 'sound'"),
        ({2: GOOD}, r"modality must lie in 0\.\.1; got 2"),
        ({1: GOOD[:2]}, r"taught\[1\] must have shape \(3, 2, 2\), for each agent or for all"),
        ({1: np.repeat(GOOD[None], 3, axis=0)}, r"taught\[1\] must have shape \(3, 2, 2\), for each agent or for all"),
        ({"light": -GOOD}, r"taught\['light'\] must hold finite counts >= 0; entry .* is -8"),
        (
            {"light": np.full(GOOD.shape, np.nan)},
            r"taught\['light'\] must hold finite counts >= 0; entry \(0, 0, 0, 0\) is nan",
        ),
        ({"light": np.full(GOOD.shape, np.inf)}, r"taught\['light'\] must hold finite counts >= 0"),
        ({"light": GOOD * (np.arange(2) > 0)}, r"taught\['light'\] must have some count in every column; column \(0, 0, 0\)"),
        ({"light": GOOD + 1}, r"taught\['light'\] must be zero where pA\[1\] is, a structural zero"),
    ],
)
def test_a_bad_instruction_is_named(taught, message):
    agent = naive()
    with pytest.raises(ValueError, match=message):
        agent.instruct(agent.init(2), taught)


def test_nothing_is_taught_and_nobody_sleeps_in_the_middle_of_a_trial():
    agent = sleeper()
    state, _ = agent.step(agent.init(), np.array([0, 0]), action=[0, 0])
    with pytest.raises(ValueError, match="agents can be instructed before a trial; this one is at time 1"):
        agent.instruct(state, {1: GOOD})
    with pytest.raises(ValueError, match="agents can sleep between trials; this one is at time 1"):
        agent.sleep(state)
    with pytest.raises(ValueError, match="sleep needs agents that introspect"):
        naive().sleep(naive().init())


# --- evidence ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", SCHEMES)
@pytest.mark.parametrize("adopt", ["claims", "reduced"])
@pytest.mark.parametrize("smooth", [True, False])
def test_unbiased_evidence_is_what_an_agent_that_never_sleeps_would_have(inference, adopt, smooth):
    """... living through the same trials, whatever the sleeper has come to believe in."""
    n, trials = 6, recorded(6, 6 if smooth else 20, seed=2)  # from what they believe at each moment agents learn slowly
    agent = sleeper(inference=inference, adopt=adopt, smooth=smooth, evidence="unbiased", threshold=0.0)
    other = naive(inference=inference, smooth=smooth)
    (ours, reports), (theirs, _) = live(agent, agent.init(n), trials), live(other, other.init(n), trials)
    for parent, report in zip(theirs, reports, strict=True):
        expected = Alternatives(RULES).ratios(counts(other, parent), other.model.pA[1])
        assert_allclose(report.reductions[LIGHT].ratios, expected, rtol=1e-9, atol=1e-9)
    assert (ours[-1].adopted >= 0).sum() >= n / 2
    assert np.abs(counts(agent, ours[-1]) - counts(other, theirs[-1])).max() > 0.5


def test_own_evidence_is_coloured_by_what_was_adopted():
    """As long as an agent holds nothing, its evidence is the unbiased one; once it does, it sees what it believes in."""
    n, trials = 30, recorded(30, 2, seed=2)
    ratios = {}
    for evidence in ("own", "unbiased"):
        agent = sleeper(adopt="claims", evidence=evidence)
        states, reports = live(agent, agent.init(n), trials)
        ratios[evidence] = [r.reductions[LIGHT].ratios for r in reports]
    held = states[0].adopted >= 0
    assert 3 < held.sum() < 27
    assert_allclose(ratios["own"][0], ratios["unbiased"][0], atol=1e-12)
    assert_allclose(ratios["own"][1][~held], ratios["unbiased"][1][~held], atol=1e-12)
    assert (np.abs(ratios["own"][1] - ratios["unbiased"][1])[held].max(axis=1) > 1e-6).mean() > 0.5


@IMPOSSIBLE
def test_a_wrong_insight_is_given_up_on_unbiased_evidence():
    """Agents that jump to conclusions, in a world where the right room tells nothing: in the end they hold the truth."""
    n = 24
    trials = recorded(n, 60, seed=6, truth="left")
    agent = sleeper(adopt="claims", evidence="unbiased", threshold=0.05)
    states, _ = live(agent, agent.init(n), trials)
    both = np.array([s.adopted == 1 for s in states])
    assert both.any(axis=0).sum() >= 3  # wrong at some time
    assert both[-1].sum() == 0
    assert (states[-1].adopted == 0).mean() > 0.9


# --- forgetting ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("evidence", ["own", "unbiased"])
def test_sleepers_that_forget_find_the_motif_all_the_same(evidence, spm):
    """SPM's trials with counts that fade (512/513 a trial): sleep works, and evidence fades with them."""
    z = spm("rule2017")
    outcomes, controls = z["o"].astype(int) - 1, z["u"].astype(int) - 1
    plain = insight.paradigm("sleep", planner="2017").agent
    agent = Agent(
        plain.model,
        planner=plain.planner,
        inference=plain.inference,
        learning=Learning(smooth=True, retention=512 / 513),
        introspection=replace(plain.introspection, evidence=evidence),
        trial_length=6,
    )
    state, leads = agent.init(1), []
    for i in range(12):
        for t in range(6):
            done = controls[i, :, t] if t < 5 else [0, 0, 0, 3]
            state, _ = agent.step(state, outcomes[i, :, t][None], action=done)
        state, report = agent.end_trial(state)
        leads.append(report.log_odds[0])
        assert np.isfinite(agent.posterior_counts(state, 0)).all() and (agent.posterior_counts(state, 0) >= 0).all()
    assert state.adopted[0] == 0 and leads[-1] > insight.WINDOW


def test_own_evidence_fades_like_counts():
    """What was seen fades as counts do; what was believed before does not, else it would be evidence against itself."""
    agent = sleeper(threshold=np.inf, retention=0.999)
    states = live(agent, agent.init(4), recorded(4, 5))[0]
    for i, state in enumerate(states, start=1):
        faded = 0.999**i * state.sleep.origin[LIGHT]  # what is left of the prior in the counts
        evidence = state.sleep.full[LIGHT] - state.sleep.origin[LIGHT]
        assert_allclose(evidence, state.tables[LIGHT].counts - faded, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
@pytest.mark.parametrize("retention", [512 / 513, 0.9])
def test_models_with_fewer_counts_than_the_parent_can_be_scored_after_forgetting(evidence, retention):
    agent = sleeper(retention=retention, evidence=evidence)
    for state in live(agent, agent.init(2), recorded(2, 20))[0]:
        assert np.isfinite(state.sleep.found[LIGHT].ratios).all()


# --- a batch -------------------------------------------------------------------------------------------------------------
@IMPOSSIBLE
@pytest.mark.parametrize("planner", insight.PLANNERS)
@pytest.mark.parametrize("scheme", insight.SCHEMES)
def test_agent_k_of_every_scheme_of_insight_is_the_same_in_any_batch(scheme, planner):
    """Others see and do something else at random, and adopt something else."""
    agent = insight.paradigm(scheme, planner=planner).agent
    if agent.introspection is not None:  # a window that opens at once, so that some adopt and some do not
        eager = Alternatives(insight.motifs(), threshold=0.3, adopt="claims", check_support=False)
        agent = Agent(
            agent.model,
            planner=agent.planner,
            inference=agent.inference,
            learning=agent.learning,
            introspection=replace(agent.introspection, spaces=eager),
            trial_length=6,
        )
    state = check(agent, n_agents=64, trials=2, steps=3, members=(0, 63))
    if agent.introspection is not None:
        assert (state.adopted >= 0).sum() > 0


@IMPOSSIBLE
def test_agent_k_of_the_three_ball_sleepers_is_the_same_in_any_batch():
    agent = three_ball.introspective_agent(threshold=0.2)
    state = check(agent, trials=2, steps=6, members=(0, 63))
    assert (state.adopted >= 0).sum() > 0


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
@pytest.mark.parametrize("inference", SCHEMES)
@pytest.mark.parametrize("dream", [None, "remembered", "generated"])
def test_agent_k_in_two_rooms_is_the_same_in_any_batch(evidence, inference, dream):
    """In a world where some find a rule early and others later, alone or among them."""
    agent = sleeper(evidence=evidence, inference=inference, dream=dream, dreams=3)
    trials, lives = recorded(40, 4, seed=2), {}
    for who in (range(40), [0], [39], [17, 0, 39, 4]):
        state, reports = agent.init(len(who)), []
        who = np.array(who)
        for trial in trials:
            for seen, done in trial:
                state, info = agent.step(state, seen[who], action=done[who])
                reports.append(info.q_pi)
            state = state.copy()
            streams = [np.random.default_rng([7, k, state.trial]) for k in who]
            agent.life.conclude(state, streams)  # each agent dreams with random numbers of its own
        lives[tuple(who)] = np.stack(reports, axis=1), counts(agent, state), state.adopted, state.model_posterior
    everyone = lives[tuple(range(40))]
    for who, life in lives.items():
        for mine, theirs in zip(life, everyone, strict=True):
            assert_array_equal(mine, theirs[list(who)])
    assert 5 < (everyone[2] >= 0).sum() < 40


def rooms(scheme="sleep", space=None, **options) -> Paradigm:
    agent = sleeper(space=space, **options)
    return Paradigm("rooms", scheme, agent, two_rooms(), TIMES, RULES, 1, {1: (1.0, 0.0, -1.0)})


@pytest.mark.parametrize("dream", [None, "remembered", "generated"])
def test_simulated_sleepers_depend_neither_on_number_nor_on_cores(dream):
    whole, few, cores = (
        simulate(rooms(dream=dream), n, 10, seed=3, jobs=jobs, trace=True) for n, jobs in ((70, 1), (9, 1), (70, 2))
    )
    for name, array in arrays_of(cores).items():
        assert_array_equal(array, arrays_of(whole)[name], err_msg=name)
    for name in ("free_energy", "model_posterior", "log_odds", "best_model", "adopted_model", "adoption_trial", "kl_to_truth"):
        assert_array_equal(few[name], whole[name][:, :9], err_msg=name)
    for name, array in few.trace.items():
        assert_array_equal(array, whole.trace[name][:, :9], err_msg=name)
    assert 0 < (whole.adopted_model >= 0).mean() <= 1
    assert_array_equal(whole.true_model_posterior, whole.model_posterior[..., 1])


@IMPOSSIBLE
@pytest.mark.parametrize(
    "schemes",
    [
        lambda: [insight.paradigm(s, planner="sophisticated") for s in insight.SCHEMES],
        lambda: [insight.paradigm("sleep-dream", planner="2017")],
        lambda: [three_ball.paradigm("introspection", "random")],
    ],
)
def test_sleepers_of_the_paradigms_depend_neither_on_number_nor_on_cores(schemes):
    whole, cores, few = (simulate(schemes(), n, 8, seed=2, jobs=jobs) for n, jobs in ((6, 1), (6, 2), (2, 1)))
    for name, array in arrays_of(whole).items():
        assert_array_equal(arrays_of(cores)[name], array, err_msg=name)
    for name in ("free_energy", "confidence", "log_odds", "best_model", "adopted_model", "kl_to_truth", "wins", "losses"):
        assert_array_equal(few[name], whole[name][:, :2], err_msg=name)


@pytest.mark.parametrize("dream", ["remembered", "generated"])
def test_an_interrupted_run_of_sleepers_goes_on_from_where_it_was(monkeypatch, tmp_path, dream):
    monkeypatch.setattr(module, "BATCH", 4)
    whole, run, done = simulate(rooms(dream=dream), 10, 4, seed=5), module.run_batch, []

    def interrupted(*args, **kwargs):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return run(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_batch", interrupted)
        part = simulate(rooms(dream=dream), 10, 4, seed=5, checkpoint=tmp_path)
    assert part.settings["interrupted"] and part.sizes["agent"] == 8
    resumed = simulate(rooms(dream=dream), 10, 4, seed=5, checkpoint=tmp_path)
    for name, array in arrays_of(whole).items():
        assert_array_equal(array, arrays_of(resumed)[name], err_msg=name)


def test_checkpoints_tell_sleepers_apart(tmp_path):
    """Other rules, evidence, dreams, windows, spaces: never the finished batches of another agent."""
    sharper = lamp_rules(sharp=9.0)
    variants = [
        rooms(),
        rooms(space=Alternatives(sharper, threshold=0.5, adopt="claims")),
        rooms(evidence="unbiased"),
        rooms(dream="remembered"),
        rooms(dream="generated"),
        rooms(dream="remembered", dreams=3),
        rooms(threshold=0.6),
        rooms(adopt="reduced"),
        rooms(after=2),
        rooms(after=[0, 1, 2]),
        rooms(space=Alternatives(RULES, threshold=0.5, adopt="claims", offset=1 / 16)),
        rooms(space=InformativeMappings()),
        rooms(space=InformativeMappings(threshold=1.0)),
        rooms(space=InformativeMappings(preferences=[0.0, 1.0, 2.0])),
        rooms(space=InformativeMappings(preferences=[0.0, 1.0, 2.5])),
        rooms(space=SingleParameters()),
    ]
    folders = [Checkpoint(tmp_path, [v], module._settings([v], 3, 2, 0)).folder for v in variants]
    assert len(set(folders)) == len(variants)
    again = rooms()
    assert Checkpoint(tmp_path, [again], module._settings([again], 99, 2, 0)).folder == folders[0]


def test_settings_of_a_result_say_how_agents_slept():
    held = simulate(rooms(dream="remembered", evidence="unbiased"), 1, 1).settings["schemes"]["sleep"]["introspection"]
    assert held["dream"] == "remembered" and held["evidence"] == "unbiased" and held["after"] == 1
    assert held["pA[1]"]["space"] == "Alternatives"
    assert held["pA[1]"]["threshold"] == 0.5 and held["pA[1]"]["adopt"] == "claims"


# --- users' own models and spaces ----------------------------------------------------------------------------------------
def test_sleepers_find_the_rule_of_their_own_world():
    """Two rooms: awake they know of no rules; asleep, most find the one that is true."""
    result = simulate(rooms(threshold=1.0, evidence="unbiased"), 40, 20, seed=0)
    assert result.adopted_truth.mean() > 0.7  # some never go to the room that would tell
    assert result.summary()[0]["has_hypotheses"]


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
@pytest.mark.parametrize("truth", ["left", "both"])
def test_sleepers_who_are_led_everywhere_find_whichever_rule_is_true(truth, evidence):
    agent = sleeper(threshold=3.0, adopt="reduced", evidence=evidence)
    state = live(agent, agent.init(20), recorded(20, 40, seed=5, truth=truth))[0][-1]
    assert (state.adopted == RULES.index(truth)).mean() >= 0.95


@pytest.mark.parametrize("evidence", ["own", "unbiased"])
def test_informative_mappings_as_a_space(evidence):
    """What sleep hands on is what the space makes of the agent's own counts; columns keep their mass of prior counts."""
    space, trials = InformativeMappings(threshold=0.1), recorded(10, 12, seed=1)
    agent = sleeper(space=space, evidence=evidence)
    states, reports = live(agent, agent.init(10), trials)
    accepted = np.array([r.reductions[LIGHT].accepted for r in reports])
    assert accepted.any()
    for state, report in zip(states, reports, strict=True):
        found = report.reductions[LIGHT]
        prior = agent.prior_counts(state, LIGHT)
        assert_array_equal(prior, found.prior)
        assert_allclose(prior.sum(axis=1), np.repeat(agent.model.pA[1].sum(axis=0)[None], 10, axis=0), rtol=1e-9)
        assert found.held is None and (found.model == -1).all()
        assert report.model_posterior is None and report.best_model is None
        assert_array_equal(state.adopted, -1)
        assert (counts(agent, state)[:, agent.model.pA[1] == 0] == 0).all()
    assert agent.model_names == ()
    # the first sleep is on counts that nothing has coloured
    other = naive()
    full = counts(other, live(other, other.init(10), trials[:1])[0][-1])
    expected = space.reduce(full, other.model.pA[1])
    assert_allclose(reports[0].reductions[LIGHT].prior, expected.prior, rtol=1e-12)


def test_a_run_with_informative_mappings_or_single_parameters_ends_well():
    for space in (InformativeMappings(threshold=0.1), SingleParameters()):
        result = simulate(rooms(space=space, evidence="unbiased"), 6, 10, seed=0)
        assert np.isfinite(result.free_energy).all()
        assert np.isnan(result.log_odds).all() and (result.adopted_model == -1).all()


def test_spaces_can_be_keyed_by_name_or_index():
    space = Alternatives(RULES, threshold=0.5, adopt="claims")
    trials = recorded(4, 3)
    ends = []
    for spaces in (space, {"light": space}, {1: space}):
        agent = sleeper(Introspection(spaces))
        ends.append(counts(agent, live(agent, agent.init(4), trials)[0][-1]))
    assert_array_equal(ends[0], ends[1])
    assert_array_equal(ends[0], ends[2])


def test_several_modalities_each_with_a_space_of_its_own(rng):
    """Two learned modalities: each is reduced by its own space, and one alone cannot be meant."""
    model = two_rooms(A=[None, None], pA=[np.ones((2, 2)), two_rooms().pA[1]])
    space = Alternatives(RULES)
    with pytest.raises(ValueError, match=r"spaces of Introspection must be keyed by modality: the model learns \[0, 1\]"):
        sleeper(Introspection(space), model=model)
    both = sleeper(Introspection({0: InformativeMappings(threshold=0.0), 1: space}), model=model)
    state = live(both, both.init(3), recorded(3, 4))[0][-1]
    assert set(state.sleep.found) == {0, 1}
    for m in (0, 1):
        found = state.sleep.found[m]
        assert_array_equal(both.prior_counts(state, m), found.prior)
    only = sleeper(Introspection({1: space}), model=model)
    after = live(only, only.init(3), recorded(3, 4))[0][-1]
    assert set(after.sleep.found) == {1}


def test_hypotheses_about_one_modality_and_sleep_about_another():
    """Each goes its own way: the report is about the hypotheses, and sleep finds what is to be found in the other."""
    model = two_rooms(A=[None, None], pA=[np.ones((2, 2)), two_rooms().pA[1]])
    clear = HypothesisSpace({"clear": {0: 1.0 + 6.0 * np.eye(2)}, "swapped": {0: 1.0 + 6.0 * np.eye(2)[::-1]}})
    held = {"planner": Planner(), "selection": Selection(threshold=2.0, concentration=32.0), "trial_length": TIMES}
    trials = recorded(4, 12, seed=1)
    agent = Agent(model, lamp_rules(), introspection=Introspection({0: Alternatives(clear)}, evidence="unbiased"), **held)
    states, reports = live(agent, agent.init(4), trials)
    assert agent.model_names == ("left", "both")
    assert_array_equal(states[-1].sleep.held[0], 0)  # where one is, is what one sees
    for report in reports:
        assert_allclose(report.model_posterior.sum(axis=1), 1.0)  # no share is left for a parent
        assert set(report.reductions) == {0}
    assert set(states[-1].adopted.tolist()) <= {-1, 0, 1}
    assert_array_equal(agent.prior_counts(states[-1], 1), np.repeat(model.pA[1][None], 4, axis=0))


def test_curious_sleepers_want_nothing_until_they_have_found_something():
    agent = sleeper()
    curious = Agent(
        agent.model,
        planner=Planner(gains=("state", "param")),
        selection=Selection(curious=True),
        learning=agent.learning,
        introspection=agent.introspection,
        trial_length=TIMES,
    )
    state = live(curious, curious.init(20), recorded(20, 2))[0][-1]
    found = state.adopted >= 0
    assert 0 < found.sum() < 20
    _, info = curious.step(state, recorded(20, 1, seed=9)[0][0][0], action=np.zeros((20, 2), dtype=int))
    flat = np.abs(info.utility - info.utility[:, :1]).max(axis=1) < 1e-12
    assert flat[~found].all() and not flat[found].all()


# --- refusals ------------------------------------------------------------------------------------------------------------
SPACE = Alternatives(RULES)
WIDE = Alternatives(HypothesisSpace({n: {1: np.ones((3, 2, 3)) + k} for k, n in enumerate("ab")}))


@pytest.mark.parametrize(
    "spaces, error, message",
    [
        ({0: SPACE}, ValueError, r"spaces of Introspection must speak about modalities with counts, \[1\]; got 0"),
        ({"sound": SPACE}, ValueError, "modality must be one of .*; got 'sound'"),
        ({7: SPACE}, ValueError, r"modality must lie in 0\.\.1; got 7"),
        ({1: RULES}, TypeError, r"spaces of Introspection must be ModelSpaces \(with reduce\); got HypothesisSpace"),
        ("rules", TypeError, r"spaces of Introspection must be ModelSpaces \(with reduce\); got str"),
        (WIDE, ValueError, r"models about modality 1 must have the shape of pA\[1\], \(3, 2, 2\); got \(3, 2, 3\)"),
    ],
)
def test_spaces_that_do_not_fit_are_named(spaces, error, message):
    with pytest.raises(error, match=message):
        sleeper(Introspection(spaces))


def test_a_model_without_counts_has_nothing_to_sleep_on():
    known = two_rooms(A=[np.eye(2), two_rooms().A[1]], pA=None)
    with pytest.raises(ValueError, match="spaces of Introspection must"):
        sleeper(Introspection(SPACE), model=known)


def test_hypotheses_and_introspection_share_no_modality():
    with pytest.raises(
        ValueError, match=r"introspection must speak about modalities that no hypothesis .*; both do about \[1\]"
    ):
        Agent(two_rooms(), RULES, introspection=Introspection(SPACE), trial_length=TIMES)


def test_introspection_of_the_wrong_kind_is_named():
    with pytest.raises(TypeError, match="introspection of Agent must be a Introspection; got Alternatives"):
        Agent(two_rooms(), introspection=SPACE)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"after": 0}, "after of Introspection must be a whole number >= 1.*; got 0"),
        ({"after": -1}, "after of Introspection must be a whole number >= 1.*; got -1"),
        ({"after": True}, "after of Introspection must be a whole number >= 1.*; got True"),
        ({"after": 1.5}, "after of Introspection must be a whole number >= 1.*; got 1.5"),
        ({"after": [-1, 2]}, "after of Introspection must be a whole number >= 1, or trials counted from 0"),
        ({"after": [0.5]}, "after of Introspection must be a whole number >= 1, or trials counted from 0"),
        ({"after": [[1]]}, "after of Introspection must be a whole number >= 1, or trials counted from 0"),
        ({"after": "always"}, "after of Introspection must be a whole number >= 1"),
        ({"dream": "lucid"}, r"dream of Introspection must be one of \[None, 'remembered', 'generated'\]; got 'lucid'"),
        ({"dreams": 0}, "dreams of Introspection must be a whole number >= 1, or None; got 0"),
        ({"dreams": True}, "dreams of Introspection must be a whole number >= 1, or None; got True"),
        ({"dreams": 2.0}, "dreams of Introspection must be a whole number >= 1, or None; got 2.0"),
        ({"evidence": "fair"}, r"evidence of Introspection must be one of \['own', 'unbiased'\]; got 'fair'"),
    ],
)
def test_bad_settings_of_introspection_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Introspection(SPACE, **options)


# --- found in review -----------------------------------------------------------------------------------------------------
def folders(tmp_path, *paradigms) -> set[str]:
    """Folders in which `simulate` would keep the finished parts of runs of these paradigms."""
    return {Checkpoint(tmp_path, [p], module._settings([p], 4, 3, 0)).folder.name for p in paradigms}


def test_checkpoints_tell_planners_candidates_and_trial_lengths_apart(tmp_path):
    shallow, deep = (insight.paradigm("sleep", planner="sophisticated", depth=d) for d in (1, 3))
    assert len(folders(tmp_path, shallow, deep)) == 2
    some = insight.paradigm("sleep", "random", planner="sophisticated")
    assert len(folders(tmp_path, some, replace(some, candidates=[0, 1, 2]))) == 2
    trials = [
        Paradigm("rooms", "s", Agent(two_rooms(), trial_length=given), two_rooms(), n)
        for given, n in ((2, 2), (5, 5), (None, 5))
    ]
    assert len(folders(tmp_path, *trials)) == 2


def test_checkpoints_do_not_depend_on_what_was_worked_out_on_the_way(tmp_path):
    before = folders(tmp_path, insight.paradigm("sleep"))
    insight.motifs().average(0)
    assert folders(tmp_path, insight.paradigm("sleep")) == before


def test_settings_tell_the_planner_of_the_agents_and_that_of_the_paradigm():
    from activebmr.simulation.paradigm import describe

    told = describe(insight.paradigm("sleep", planner="sophisticated", depth=3))
    assert told["planner"]["depth"] == 3 and told["paradigm_planner"] == "sophisticated"


def test_agents_with_hypotheses_cannot_be_instructed_about_them():
    agent = Agent(two_rooms(), RULES)
    with pytest.raises(ValueError, match="has hypotheses about"):
        agent.instruct(agent.init(1), {LIGHT: RULES.dense("both", LIGHT)})


def test_instruction_leaves_the_old_state_alone_and_forgets_what_was_adopted():
    agent = sleeper(threshold=0.0)
    state = live(agent, agent.init(2), recorded(2, 3))[0][-1]
    assert (state.adopted >= 0).all()
    origin = state.sleep.origin[LIGHT].copy()
    fresh = agent.instruct(state, {LIGHT: RULES.dense("both", LIGHT)})
    assert_array_equal(state.sleep.origin[LIGHT], origin)
    assert (fresh.adopted == -1).all() and fresh.model_posterior is None
    assert (state.adopted >= 0).all()


def test_traces_of_sleepers_hold_their_posterior_and_nan_before_the_first_sleep():
    agent = insight.paradigm("sleep", planner="sophisticated").agent
    late = Agent(
        agent.model,
        planner=agent.planner,
        inference=agent.inference,
        learning=agent.learning,
        introspection=replace(agent.introspection, after=2),
        trial_length=6,
    )
    result = simulate(insight.paradigm("sleep", agent=late), 2, 4, trace=True)
    posterior, odds = result.trace["model_posterior"][0], result.trace["log_odds"][0]
    assert np.isnan(posterior[:, 0]).all() and np.isfinite(posterior[:, 2:]).all()
    assert np.isnan(odds[:, 0]).all() and np.isfinite(odds[:, 1:]).all()


def test_replays_can_make_up_dreams():
    agent = insight.paradigm("sleep").agent
    dreamer = Agent(
        agent.model,
        planner=agent.planner,
        inference=agent.inference,
        learning=agent.learning,
        introspection=replace(agent.introspection, spaces=insight.model_space(), dream="generated", dreams=1),
        trial_length=6,
    )
    run = simulate(insight.paradigm("sleep"), 1, 8, trace=True).trace
    recording = {k: np.swapaxes(run[k][0, 0], 1, 2) for k in ("states", "controls", "outcomes")}
    one, two = (replay(insight.paradigm("sleep", agent=dreamer), **recording) for _ in range(2))
    assert_array_equal(one["pA_what"], two["pA_what"])
    assert (one["adopted_model"] >= 0).any()


def test_a_model_that_claims_nothing_possible_leaves_its_column_as_it_is():
    prior = np.array([[1.0, 1.0], [0.0, 1.0]])
    space = HypothesisSpace({"a": {0: [[0.0, 9.0], [5.0, 1.0]]}, "b": {0: [[1.0, 1.0], [5.0, 9.0]]}})
    fresh, _ = Alternatives(space, check_support=False).adopted(0, prior[None], prior[None])
    assert_array_equal(fresh[0], [[1.0, 9.0], [0.0, 1.0]])


def test_never_may_be_a_list_without_trials():
    assert not Introspection(Alternatives(RULES), after=()).due(0)
