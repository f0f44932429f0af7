"""Hypotheses with evidence of their own: against shared evidence where both are exact, and against enumeration."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace

import enumeration as truth
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln
from test_joint import possible
from worlds import lamp_rules, two_rooms

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Planner, Reasoning, Selection
from activebmr.reduction import model_posterior

OFFSET = 1 / 32
GO = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
STAY = np.eye(2)[:, :, None]


def told(info) -> dict[str, np.ndarray]:
    names = ("free_energy", "utility", "state_info_gain", "model_info_gain", "param_info_gain", "neg_efe", "model_posterior")
    return {n: getattr(info, n) for n in names} | {f"qs{f}": q for f, q in enumerate(info.qs)}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("lookahead", [0, 1])
def test_in_a_first_trial_own_and_shared_evidence_agree(seed, moving, lookahead):
    """Nothing has been counted yet but what the trial itself shows, which is the same to all hypotheses given the states (where
    states move shared evidence never counts that, so that there hypotheses are sharp).
    """
    prob, trial = possible(41 * seed, moving, 3, rows=3, soft=bool(seed % 2))
    size = 1e10 if moving else 1.0
    prob.space = prob.space.with_concentration(size)
    agents = [
        Agent(prob.model, prob.space, Planner(gains=("state", "param", "model"), max_nodes=10**7), trial_length=6,
              selection=Selection(offset=OFFSET * size),
              reasoning=Reasoning(counts=c, lookahead=lookahead, outcome_cutoff=0.0))
        for c in ("own", "shared")
    ]  # fmt: skip
    states = [a.init(3) for a in agents]
    for t in range(3):
        reports = []
        for k, agent in enumerate(agents):
            action = (trial["controls"] + trial["controls"][:1])[t]
            states[k], info = agent.step(states[k], trial["outcomes"][t], action=action)
            reports.append(told(info))
        for name, value in reports[0].items():
            assert_allclose(value, reports[1][name], rtol=1e-7, atol=1e-9, err_msg=name)
    ended = [agent.end_trial(state)[1] for agent, state in zip(agents, states, strict=True)]
    assert_allclose(ended[0].log_odds, ended[1].log_odds, rtol=1e-7, atol=1e-9)


# --- sharp hypotheses: against enumeration --------------------------------------------------------------------------------


def claimed_world(seed: int, steps: int = 1, branches: float = math.inf):
    """A random model of several factors and modalities, sharp hypotheses about one or two of its learned modalities (the
    others, if any, are learned beside them), and every hypothesis' likelihoods.
    """
    for k in itertools.count(1000 * seed):
        model = truth.small_model(k, learned=0.6, steps=steps, max_policies=9)
        learned = [m for m, p in enumerate(model.pA) if p is not None]
        if not learned or truth_size(model) > 300 or math.prod(model.num_outcomes) * len(model.policies) > branches:
            continue
        rng = np.random.default_rng(k)
        about = [int(m) for m in rng.permutation(learned)[: rng.integers(1, 3)]]
        priors, tables = {}, []
        for h in range(3):
            mine = [a if m not in learned else model.pA[m] / model.pA[m].sum(axis=0) for m, a in enumerate(model.A)]
            for m in about:
                raw = np.where(model.pA[m] > 0, rng.gamma(1.0, size=model.pA[m].shape) + 0.05, 0.0)
                mine[m] = raw / raw.sum(axis=0)
            priors[f"h{h}"] = {m: SHARP * mine[m] for m in about}
            tables.append(mine)
        space = HypothesisSpace(priors, prior=rng.dirichlet(np.ones(3)))
        if len(space.distinct()[0]) == 3:
            return model, space, tables, about
    raise AssertionError("no such world")


def truth_size(model) -> float:
    return math.prod(model.num_outcomes) * math.prod(model.num_states)


SHARP = 1e14
SETTINGS = {"selection": Selection(threshold=np.inf, offset=1e-9), "learning": Learning(rate=0.0)}


def step_all(agent, seen, controls):
    """One agent through a trial: the state, and the report of every step."""
    state, told_ = agent.init(), []
    for t, row in enumerate(seen):
        action = controls[t] if t < len(controls) else agent.model.first_controls[0]
        state, info = agent.step(state, row, action=np.asarray(action))
        told_.append(info)
    return state, told_


@pytest.mark.parametrize("seed", range(40))
def test_the_posterior_over_sharp_hypotheses_is_bayes_rule(seed):
    """Over trials, with outcomes that are missing or soft; beliefs about states are the average over hypotheses."""
    model, space, tables, _ = claimed_world(seed)
    agent = Agent(model, space, remember=True, **SETTINGS)
    rng, weight, state = np.random.default_rng(seed), space.prior.copy(), agent.init()
    for _ in range(2):
        seen, controls = truth.lived(model.with_(A=tables[int(rng.integers(3))], pA=[None] * len(model.A)), rng, 3, soft=0.2)
        paths = [truth.paths(model, seen, controls, tables=t) for t in tables]
        if min(p[-1].sum() for p in paths) < 1e-9:
            return  # impossible under some hypothesis: no posterior to compare with
        for t in range(3):
            action = controls[t] if t < 2 else model.first_controls[0]
            state, info = agent.step(state, seen[t], action=np.asarray(action))
            chance = np.array([p[t].sum() for p in paths]) * weight
            before = np.array([p[t - 1].sum() for p in paths]) * weight if t else weight
            assert_allclose(info.model_posterior, chance / chance.sum(), rtol=1e-8, atol=1e-11)
            assert_allclose(info.free_energy, -math.log(chance.sum() / before.sum()), rtol=1e-8, atol=1e-9)
            q = sum(c * truth.at_time(p[t], t) for c, p in zip(chance / chance.sum(), paths, strict=True))
            for f, mine in enumerate(info.qs):
                assert_allclose(mine, truth.marginal(model, q, f), atol=1e-9)
        for t, qs in enumerate(agent.hindsight(state)):
            q = sum(c * truth.at_time(p[-1], t) for c, p in zip(chance / chance.sum(), paths, strict=True))
            for f, mine in enumerate(qs):
                assert_allclose(mine[0], truth.marginal(model, q, f), atol=1e-9)
        weight = chance / chance.sum()
        state, end = agent.end_trial(state)
        assert_allclose(end.model_posterior[0], weight, rtol=1e-8, atol=1e-11)


def informations(model, tables, joint, together: bool) -> tuple[float, float, float]:
    """Utility, I(S; O) and I(M; O | S) of joint probabilities ``(M, S)``, by enumeration of outcomes."""
    everything = range(len(model.A))
    sets = [list(everything)] if together else [[m] for m in everything]
    utility, state, gain = 0.0, 0.0, 0.0
    for modalities in sets:
        for outcome in itertools.product(*(range(model.num_outcomes[m]) for m in modalities)):
            row = [None] * len(model.A)
            for m, o in zip(modalities, outcome, strict=True):
                row[m] = o
            both = joint * np.array([truth.likelihood(model, row, tables=t) for t in tables])
            total = both.sum()
            if total <= 0:
                continue
            by_state, p_state = both.sum(axis=0), joint.sum(axis=0)
            for m, o in zip(modalities, outcome, strict=True):
                utility += total * truth.wanted(model, m, 1)[o]
            at = by_state > 0
            state += (by_state[at] * np.log(by_state[at] / (p_state[at] * total))).sum()
            at = both > 0
            held = np.broadcast_to(by_state / np.where(p_state > 0, p_state, 1), both.shape)
            gain += (both[at] * np.log(both[at] / (joint * held)[at])).sum()
    return utility, state, gain


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("modalities", ["together", "separate"])
def test_gains_of_policies_of_two_steps_are_mutual_informations(seed, modalities):
    model, space, tables, _ = claimed_world(seed, steps=2)
    model = model.with_(C=[c if np.ndim(c) == 1 else c[0] for c in model.C])
    model = model.with_(policies=None, policy_length=2)
    planner = Planner(gains=("state", "model"), modalities=modalities)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = Agent(model, space, planner, **SETTINGS)
    rng = np.random.default_rng(seed)
    seen, controls = truth.lived(model.with_(A=tables[0], pA=[None] * len(model.A)), rng, 1)
    paths = [truth.paths(model, seen, controls, tables=t) for t in tables]
    if min(p[-1].sum() for p in paths) < 1e-9:
        return
    _, (info,) = step_all(agent, seen, [])
    joint = np.array([p[0] for p in paths]) * space.prior[:, None]
    joint /= joint.sum()
    for i, policy in enumerate(model.policies):
        b, total = joint, np.zeros(3)
        for controls_ in policy:
            b = b @ truth.transitions(model, controls_).T
            total += informations(model, tables, b, modalities == "together")
        mine = info.utility[i], info.state_info_gain[i], info.model_info_gain[i]
        assert_allclose(mine, total, rtol=1e-7, atol=1e-8)


def best_worth(model, tables, joint, left: int, discount: float) -> np.ndarray:
    """Worth of every policy, and of the best after each joint outcome."""
    out = []
    for policy in model.policies:
        b = joint @ truth.transitions(model, policy[0]).T
        worth = sum(informations(model, tables, b, True))
        if left:
            for outcome in itertools.product(*(range(n) for n in model.num_outcomes)):
                after = b * np.array([truth.likelihood(model, outcome, tables=t) for t in tables])
                chance = after.sum()
                if chance > 1e-14:
                    worth += discount * chance * best_worth(model, tables, after / chance, left - 1, discount).max()
        out.append(worth)
    return np.array(out)


@pytest.mark.parametrize("seed", range(16))
def test_looking_ahead_is_expectimax_over_joint_outcomes(seed):
    model, space, tables, _ = claimed_world(seed, branches=30)
    model = model.with_(C=[c if np.ndim(c) == 1 else c[0] for c in model.C])
    planner = Planner(gains=("state", "model"))
    agent = Agent(model, space, planner, reasoning=Reasoning(lookahead=1, discount=0.9), **SETTINGS)
    _, (info,) = step_all(agent, [[None] * len(model.A)], [])
    joint = truth.start(model)[None] * space.prior[:, None]
    assert_allclose(info.neg_efe, best_worth(model, tables, joint, 1, 0.9), rtol=1e-7, atol=1e-8)


# --- learned hypotheses -----------------------------------------------------------------------------------------------------


def test_no_structure_is_found_where_none_is():
    """A context that is drawn anew in every trial and never shown, a cue that is blue or red in turn. All paths, with exact
    Dirichlet-multinomial evidences: .372 .372 .255 after 20 trials; one filter for each hypothesis comes near to that.
    """
    model = POMDP(A=[None], B=[STAY], D=[[0.5, 0.5]], pA=[np.ones((2, 2))])
    left = 8 * np.array([[0.99, 0.01], [0.01, 0.99]])
    space = HypothesisSpace({"left": {0: left}, "right": {0: left[::-1]}, "nothing": {0: np.full((2, 2), 4.0)}})
    agent = Agent(model, space, selection=Selection(threshold=3.0, offset=1e-9), trial_length=1)
    state = agent.init()
    for trial in range(20):
        state, _ = agent.step(state, trial % 2, 0)
        state, end = agent.end_trial(state)
    assert_allclose(end.model_posterior[0], [0.374, 0.374, 0.251], atol=6e-4)
    assert_allclose(end.model_posterior[0], [0.372, 0.372, 0.255], atol=5e-3)
    assert state.adopted[0] == -1


@pytest.mark.parametrize("moves", [False, True])
def test_evidence_is_exact_where_states_are_seen(moves):
    """Two modalities that hypotheses speak about, a place that is seen: products of Dirichlet-multinomials."""
    rng = np.random.default_rng(int(moves))
    wander = rng.dirichlet(np.ones(3), size=(3, 2)).transpose(2, 0, 1) if moves else np.repeat(np.eye(3)[:, :, None], 1, axis=2)
    model = POMDP(
        A=[np.eye(3), None, None], B=[wander], pA=[None, np.ones((2, 3)), np.ones((3, 3))], A_dependencies=[[0], [0], [0]]
    )
    priors = [{m: rng.gamma(1.0, size=(m + 1, 3)) + 0.1 for m in (1, 2)} for _ in range(4)]
    space = HypothesisSpace({f"h{i}": p for i, p in enumerate(priors)})
    agent = Agent(model, space, selection=Selection(threshold=np.inf, offset=1e-12))
    state, counts = agent.init(), {m: np.zeros((m + 1, 3)) for m in (1, 2)}
    for _ in range(3):
        place = int(rng.integers(3))
        for _ in range(4):
            seen = [place, int(rng.integers(2)), int(rng.integers(3))]
            state, _ = agent.step(state, seen, 0)
            for m in (1, 2):
                counts[m][seen[m], place] += 1
            place = int(rng.integers(3)) if moves else place
        state, end = agent.end_trial(state)
        score = np.array([sum(dirichlet_multinomial(p[m], counts[m]) for m in (1, 2)) for p in priors])
        assert_allclose(end.model_posterior[0], truth.softmax(score), rtol=1e-8, atol=1e-11)


def dirichlet_multinomial(prior: np.ndarray, counts: np.ndarray) -> float:
    rise = gammaln(prior + counts) - gammaln(prior)
    total = gammaln(prior.sum(axis=0) + counts.sum(axis=0)) - gammaln(prior.sum(axis=0))
    return float(rise.sum() - total.sum())


def test_what_no_hypothesis_speaks_about_is_learned_beside_them():
    model = POMDP(A=[np.eye(2), None, None], B=[GO], D=[[1.0, 0.0]], pA=[None, np.ones((2, 2)), np.ones((2, 2))])
    space = HypothesisSpace({"a": {1: 8 * np.eye(2) + 0.1}, "b": {1: 8 * np.eye(2)[::-1] + 0.1}})
    agent = Agent(model, space)
    state, _ = agent.step(agent.init(), [0, 0, 1], action=1)
    state, info = agent.step(state, [1, 1, 1], action=1)
    state, _ = agent.end_trial(state)
    assert_allclose(agent.posterior_counts(state, 2)[0], [[1, 1], [2, 2]])
    assert_allclose(agent.posterior_counts(state, 1)[0], 1 + np.eye(2))
    assert info.model_posterior[0] > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_counts_of_each_hypothesis_are_those_of_all_paths_that_it_foresees(seed):
    """A hidden state that moves by chance: what was seen is credited in hindsight, for each hypothesis over its own paths."""
    rng = np.random.default_rng(seed)
    model = POMDP(A=[None], B=[truth.columns(rng, (2, 2, 2))], D=[[0.6, 0.4]], pA=[np.ones((3, 2))])
    tables = [1e6 * truth.columns(rng, (3, 2), zeros=0.0) for _ in range(2)]
    space = HypothesisSpace({f"h{i}": {0: t} for i, t in enumerate(tables)}, prior=[0.3, 0.7])
    agent = Agent(model, space, Planner(gains=()), learning=Learning(smooth=True))
    seen, done = truth.lived(model, rng, 4, missing=0.0)
    state = agent.init()
    for outcomes, controls in zip(seen, [*done, [0]], strict=True):
        state, _ = agent.step(state, outcomes, action=controls)
    state, _ = agent.end_trial(state)
    kept = state.knowledge.models.counts[0]  # (n_agents, n_states, M, O)
    assert kept.shape == (1, 2, 2, 3)
    for h, table in enumerate(tables):
        weights = truth.paths(model, seen, done, [(table + OFFSET) / (table + OFFSET).sum(axis=0)])[-1]
        expected = truth.expected_counts(model, [truth.at_time(weights, t) for t in range(4)], seen, 0)
        assert_allclose(kept[0, :, h].T, expected, rtol=1e-4)


def test_every_table_that_is_learned_has_something_to_teach():
    """Expected novelty of what hypotheses speak about, by what they predict on average; and of the rest, by its counts."""
    rng = np.random.default_rng(4)
    counts = [rng.gamma(2.0, size=(2, 2)) + 0.2, rng.gamma(2.0, size=(3, 2, 2)) + 0.2]
    chance = np.array([0.3, 0.7])
    model = POMDP(
        A=[None, None], B=[STAY, GO], D=[chance, [1.0, 0.0]], pA=counts, A_dependencies=[[1], [0, 1]], C=[None, [0.0, 1.0, 0.5]]
    )
    space = HypothesisSpace({"a": {0: 3 * np.eye(2) + 0.2}, "b": {0: 5 * np.eye(2)[::-1] + 0.5}}, prior=[0.4, 0.6])
    agent = Agent(model, space, Planner(gains=("param",)))
    _, info = agent.step(agent.init(), [None, None], action=[0, 0])
    reduced = [space.dense(h, 0) + OFFSET for h in range(2)]
    predicted = sum(p * r / r.sum(axis=0) for p, r in zip(space.prior, reduced, strict=True))
    spoken, novel = truth.novelty(counts[0]), truth.novelty(counts[1])
    known = counts[1] / counts[1].sum(axis=0)
    for place in range(2):
        total = sum(predicted[o, place] * spoken[o, place] for o in range(2))
        total += sum(chance[s] * known[o, s, place] * novel[o, s, place] for s in range(2) for o in range(3))
        assert_allclose(info.param_info_gain[place], total, rtol=1e-10)


def test_missing_outcomes_teach_nothing_and_impossible_ones_are_reported():
    model, space, _, _ = claimed_world(3)
    agent = Agent(model, space)
    state, info = agent.step(agent.init(2), [None] * len(model.A), 0)
    assert_allclose(info.model_posterior, np.broadcast_to(space.prior, (2, 3)))
    assert_allclose(info.free_energy, 0.0, atol=1e-12)
    state, _ = agent.end_trial(state)
    for m in space.tables:
        assert_array_equal(agent.posterior_counts(state, m), np.broadcast_to(model.pA[m], (2, *model.pA[m].shape)))
    known = POMDP(A=[np.eye(2), None], B=[STAY], D=[[1.0, 0.0]], pA=[None, np.ones((2, 2))])
    agent = Agent(known, HypothesisSpace({"a": {1: np.eye(2) + 0.1}, "b": {1: np.ones((2, 2))}}))
    with pytest.warns(UserWarning, match="holds impossible"):
        _, info = agent.step(agent.init(2), np.array([[1, 0], [0, 0]]), 0)
    assert_array_equal(info.impossible, [True, False])
    assert np.isfinite(info.model_posterior).all() and np.isfinite(info.neg_efe).all()


# --- lives ------------------------------------------------------------------------------------------------------------------


def live(agent: Agent, seen, controls, rows):
    """Some rows of a batch through two trials: everything that is reported, and what is kept."""
    state, told_ = agent.init(len(rows)), []
    for _ in range(2):
        for t, outcomes in enumerate(seen):
            state, info = agent.step(state, [o[rows] for o in outcomes], action=controls[t][rows])
            told_.append(told(info))
        state, end = agent.end_trial(state)
        told_.append({"odds": end.log_odds, "posterior": end.model_posterior, "adopted": state.adopted})
        told_.append({f"counts {m}": x for m, x in state.knowledge.models.counts.items()})
    return told_


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("lookahead", [0, 1])
def test_batch_invariance_to_the_last_bit(seed, lookahead):
    """Alone, among others and in another order; some adopt on the way."""
    model, space, _, _ = claimed_world(seed)
    space = HypothesisSpace({n: {m: space.dense(n, m) * 8 / SHARP for m in space.tables} for n in space.names})
    planner = Planner(gains=("state", "param", "model"), max_nodes=10**6)
    agent = Agent(model, space, planner, selection=Selection(threshold=0.3), reasoning=Reasoning(lookahead=lookahead))
    rng = np.random.default_rng(seed)
    possible_ = [np.flatnonzero(np.asarray(a).reshape(len(a), -1).sum(axis=1) > 0) for a in model.A]
    seen = [[np.where(rng.random(5) < 0.2, -1, rng.choice(p, 5)) for p in possible_] for _ in range(3)]
    controls = [model.first_controls[rng.integers(len(model.policies), size=5)] for _ in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = live(agent, seen, controls, np.arange(5))
        for rows in ([0], [3], [4, 1], [2, 2, 0]):
            some = live(agent, seen, controls, np.array(rows))
            for a, b in zip(whole, some, strict=True):
                for name in a:
                    assert_array_equal(np.asarray(a[name])[rows], b[name], err_msg=name)


def two_bells(size: float = 8.0) -> tuple[POMDP, HypothesisSpace]:
    """A bell rings in the left room or in the right one, a light is on in one of them too."""
    model = POMDP(A=[np.eye(2), None, None], B=[GO], D=[[1.0, 0.0]], pA=[None, np.ones((2, 2)), np.ones((2, 2))])
    here = size * np.eye(2) + 0.01
    return model, HypothesisSpace({"left": {1: here[::-1], 2: here[::-1]}, "right": {1: here, 2: here}})


def test_adopting_acting_and_thinking_again():
    model, space = two_bells()
    agent = Agent(model, space, selection=Selection(threshold=5.0, concentration=100.0))
    state, history = agent.init(2), []
    for trial in range(14):
        seen = [0, 1, 1] if trial == 0 else [0, 0, 0]
        state, info = agent.step(state, np.array([seen] * 2), action=[[0]] * 2)
        state, end = agent.end_trial(state)
        history.append(int(state.adopted[0]))
        if trial == 0:
            average = end.model_posterior[0] @ np.array([space.dense(i, 1).reshape(-1) for i in range(2)])
            expected = 100 * average.reshape(2, 2) / average.reshape(2, 2).sum(axis=0)
            assert_allclose(agent.posterior_counts(state, 1)[0], expected, rtol=1e-9)
    assert history[0] == 0 and history[-1] == 1 and history == sorted(history)
    assert info.free_energy[0] < 0.1


def test_told_and_chosen_states_as_with_shared_evidence():
    from paradigms import three_ball

    shared = three_ball.reasoning_agent()
    own = Agent(
        shared.model, shared.hypotheses, shared.planner, selection=shared.selection, learning=shared.learning,
        trial_length=shared.trial_length,
    )  # fmt: skip
    states = np.array([[0, 1, 2, -1, -1], [-1] * 5, [2, 2, 2, 3, 3]])
    told_ = [a.step(a.tell(a.init(3), states), np.array([[3, 3, 0]] * 3), 0)[1] for a in (own, shared)]
    for name, value in told(told_[0]).items():
        assert_allclose(value, told(told_[1])[name], rtol=1e-8, atol=1e-10, err_msg=name)
    assert_array_equal(own.experiments(own.init(2)), shared.experiments(shared.init(2)))


# --- sizes ------------------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_shares_its_counts_or_is_given_up():
    model = POMDP(A=[None], B=[STAY], pA=[np.ones((2, 2))])
    space = HypothesisSpace({"a": {0: np.eye(2) + 0.1}, "b": {0: np.ones((2, 2))}})
    own, joint = 2 * 2 + 2 * 4, 2 * 2
    assert Agent(model, space, reasoning=Reasoning(max_size=own)).reasons_jointly
    with pytest.warns(UserWarning, match=rf"would hold {own} numbers .* share their counts"):
        assert Agent(model, space, reasoning=Reasoning(max_size=own - 1)).reasons_jointly
    with pytest.warns(UserWarning, match="factor marginals instead"):
        assert not Agent(model, space, reasoning=Reasoning(max_size=joint - 1)).reasons_jointly


def test_too_many_joint_outcomes():
    """Gains are then counted one by one, with a warning; a search over outcomes is refused."""
    sensor = np.array([[0.8, 0.2], [0.2, 0.8]])
    model = POMDP(A=[sensor] * 30 + [None], B=[STAY], pA=[None] * 30 + [np.ones((2, 2))])
    space = HypothesisSpace({"a": {30: 8 * sensor}, "b": {30: 8 * sensor[::-1]}})
    with pytest.warns(UserWarning, match="inform separately"):
        agent = Agent(model, space)
    _, info = agent.step(agent.init(), [0] * 31, 0)
    assert np.isfinite(info.neg_efe).all()
    with pytest.raises(ValueError, match="lookahead of Reasoning must be 0"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Agent(model, space, reasoning=Reasoning(lookahead=1))


@pytest.mark.parametrize("counts", ["own", "shared"])
def test_settings_of_each_agent(counts):
    """Rates, retentions and priors over hypotheses: each agent of a batch is as if it were alone with its own."""
    model, space = two_bells()
    space = HypothesisSpace({n: {1: space.dense(n, 1)} for n in space.names})
    model = model.with_(A=[model.A[0], None, np.full((2, 2), 0.5)], pA=[None, model.pA[1], None])
    rates, kept, priors = [0.5, 1.0, 0.0], [1.0, 0.9, 0.8], np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])

    def lived(rate, retention, prior):
        agent = Agent(
            model, space, learning=Learning(rate, retention), selection=Selection(threshold=np.inf),
            reasoning=Reasoning(counts=counts), own={"prior": prior},
        )  # fmt: skip
        state = agent.init(len(prior))
        for bell in (1, 1, 0):
            for _ in range(2):
                state, info = agent.step(state, np.array([[0, bell, 0]] * len(prior)), action=[[0]] * len(prior))
            state, end = agent.end_trial(state)
        return end.log_odds, info.free_energy, end.model_posterior

    together = lived(rates, kept, priors)
    for k in range(3):
        for whole, alone in zip(together, lived(rates[k], kept[k], priors[k : k + 1]), strict=True):
            assert_array_equal(whole[k], alone[0])


# --- what is told -----------------------------------------------------------------------------------------------------------
def turning(ball=(0.2, 0.3, 0.5), place=(0.6, 0.4)) -> tuple[POMDP, HypothesisSpace]:
    """A hidden ball, of which something is said where one looks, and a hidden place that one turns."""
    sensor, turn = np.array([[0.9, 0.3], [0.1, 0.7]]), np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)
    model = POMDP(
        A=[None, sensor], B=[np.eye(3)[:, :, None], turn, GO], D=[ball, place, [1.0, 0.0]], A_dependencies=[[0, 2], [1]],
        pA=[np.ones((2, 3, 2)), None], policies=[[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]],
    )  # fmt: skip
    says = np.array([[[9.0, 1.0], [1.0, 9.0], [5.0, 5.0]], [[1.0, 9.0], [9.0, 1.0], [5.0, 5.0]]])
    return model, HypothesisSpace({"so": {0: says}, "not so": {0: says[::-1]}})


@pytest.mark.parametrize("counts", ["own", "shared"])
@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize("states", [(1, -1, -1), (-1, 1, -1), (2, 0, 1), (-1, -1, 0)])
def test_agents_who_are_told_some_states_are_as_if_born_with_them(counts, adopted, states):
    """What is not known says nothing, about what is known neither; what actions set is known anyway."""
    know = lambda f, prior: tuple(np.eye(len(prior))[states[f]]) if states[f] >= 0 else prior  # noqa: E731
    reports = []
    for ball, place in (((0.2, 0.3, 0.5), (0.6, 0.4)), (know(0, (0.2, 0.3, 0.5)), know(1, (0.6, 0.4)))):
        agent = Agent(
            *turning(ball, place), reasoning=Reasoning(counts=counts), learning=Learning(rate=0.0),
            selection=Selection(threshold=-100.0 if adopted else 1e6),
        )  # fmt: skip
        state, _ = agent.end_trial(agent.step(agent.init(2), [[-1, -1]] * 2, action=[[0, 0, 0]] * 2)[0])
        assert ((state.adopted >= 0) == adopted).all()
        if not reports:
            state = agent.tell(state, np.array([states, states]))
        reports.append([])
        for seen in ([0, 1], [1, 1]):
            state, info = agent.step(state, [seen] * 2, action=[[0, 1, 1]] * 2)
            reports[-1].append(told(info))
    for one, two in zip(*reports, strict=True):
        for name, value in one.items():
            assert_allclose(value, two[name], rtol=1e-9, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("counts", ["own", "shared"])
def test_agents_who_set_some_states_know_them(counts):
    """Also where hypotheses do not speak about all that could be told."""
    agent = Agent(*turning(), reasoning=Reasoning(counts=counts))
    state = agent.init(2)
    asked = agent.experiments(state)
    assert (asked[:, 0] >= 0).all() and (asked[:, 2] == -1).all()
    assert_allclose(agent.tell(state, asked).qs[0], np.eye(3)[asked[:, 0]], atol=1e-12)


# --- what is asked for ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential", "mean-field"])
def test_settings_of_reasoning_beside_another_way_of_believing_are_refused(inference):
    """One of the two would be passed over in silence."""
    with pytest.raises(ValueError, match=rf"reasoning of Agent .*; got inference='{inference}' and reasoning=Reasoning\("):
        Agent(*two_bells(), inference=inference, reasoning=Reasoning())
    for asked in (None, "models"):
        assert Agent(*two_bells(), inference=asked, reasoning=Reasoning()).inference == "models"


def test_the_plug_in_gain_is_had_where_it_can_be_and_refused_elsewhere():
    """One update of the exact posterior over models with expected counts, scored as counts are."""
    model, space, shared = two_rooms(), lamp_rules(), Reasoning(counts="shared")
    asked = Planner(gains=("model",), model_gain="plug-in", search="states", modalities="separate", alpha=None)
    agent = Agent(model, space, asked, reasoning=shared, selection=Selection(threshold=np.inf), trial_length=3)
    state = agent.init()
    for seen, does in (([0, 0], [1, 0]), ([1, 1], [0, 0])):
        state, _ = agent.step(state, seen, action=does)
    state, _ = agent.end_trial(state)
    counts = agent.posterior_counts(state, "light")[0]
    state, info = agent.step(state, [0, 0], action=[1, 0])
    likelihood = counts / counts.sum(axis=0)
    for policy in range(2):
        q_states = np.zeros((2, 2))
        q_states[policy] = info.qs[1]
        gained = np.multiply.outer((likelihood * q_states).sum(axis=(1, 2)), q_states) * (counts > 0)
        first, then = (model_posterior(c, model.pA[1], space, offset=1 / 32) for c in (counts, counts + gained))
        after = info.model_posterior * then / first
        after /= after.sum()
        assert_allclose(info.model_info_gain[policy], (after * np.log(after / info.model_posterior)).sum(), atol=1e-12)
    assert info.model_info_gain.max() > 1e-3
    ahead, outcomes = replace(shared, lookahead=1), replace(asked, search="outcomes")
    for planner, reasoning in ((asked, None), (outcomes, shared), (asked, ahead)):
        with pytest.raises(ValueError, match="model_gain of Planner must be 'exact'"):
            Agent(model, space, planner, reasoning=reasoning)
