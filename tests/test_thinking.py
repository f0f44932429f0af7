"""Agents that reason jointly, and what they take from a trial, against brute force over whole trajectories."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln
from test_joint import Brute, Problem, possible

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Planner, Reasoning, Selection
from activebmr import reduction as bmr
from activebmr.arrays import softmax
from activebmr.model.layout import layouts_of
from activebmr.simulation.simulate import simulate
from paradigms import three_ball

GO = np.repeat(np.eye(2)[:, None, :], 2, axis=1)


def thinking(prob: Problem, **changes) -> Agent:
    held = {
        "reasoning": Reasoning(counts="shared"),
        "learning": Learning(smooth=True),
        "planner": Planner(gains=("state", "model")),
    } | changes
    return Agent(prob.model, prob.space, **held)


def posterior_by_hand(space: HypothesisSpace, counts: np.ndarray, offset: float = 1 / 32) -> np.ndarray:
    """Posterior over hypotheses from evidence ``(O, states...)``: products of Dirichlet-multinomials."""
    scores = np.log(space.prior)
    for h in range(len(space)):
        r = space.dense(h, 0) + offset
        for at in np.ndindex(*counts.shape[1:]):
            a, n = r[(slice(None), *at)], counts[(slice(None), *at)]
            scores[h] += gammaln(a + n).sum() - gammaln(a).sum() - gammaln((a + n).sum()) + gammaln(a.sum())
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def evidence_of(agent: Agent, state) -> np.ndarray:
    return layouts_of(agent.model)[0].tensor(state.knowledge.models.evidence)


def classes_of(space: HypothesisSpace) -> list[int]:
    """For each hypothesis the first one that agrees with it everywhere."""
    return [next(g for g in range(h + 1) if np.array_equal(space.dense(g, 0), space.dense(h, 0))) for h in range(len(space))]


def live(agent: Agent, controls, outcomes, rows, trials: int = 2):
    """Some rows of a batch through trials that repeat the same outcomes under the same controls: all reports."""
    state, told = agent.init(len(rows)), []
    for _ in range(trials):
        for t in range(len(outcomes)):
            action = (controls + controls[:1])[t][rows]
            state, info = agent.step(state, [o[rows] for o in outcomes[t]], np.random.default_rng(0), action=action)
            told.append({k: getattr(info, k) for k in ("free_energy", "utility", "neg_efe", "q_pi", "model_posterior")})
            told[-1] |= {"state": info.state_info_gain, "model": info.model_info_gain, "param": info.param_info_gain}
            told[-1] |= {f"qs{f}": q for f, q in enumerate(info.qs)}
        state, info = agent.end_trial(state)
        told.append({"odds": info.log_odds, "best": info.best_model, "post": info.model_posterior, "adopted": state.adopted})
        told[-1] |= {"evidence": state.knowledge.models.evidence, "counts": state.counts(0)}
    return told


# --- batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("gains", [("state", "model"), ("state", "param", "model")])
def test_batch_invariance_to_the_last_bit(seed, gains):
    """An agent's numbers are the same alone, among others, and among others in another order; some adopt on the way."""
    moving = bool(seed % 2)
    prob, trial = possible(31 * seed, moving, 3, rows=5)
    reasoning = Reasoning(counts="shared", lookahead=seed % 3 // 2, outcome_cutoff=0.0)
    agent = thinking(prob, reasoning=reasoning, planner=Planner(gains=gains), selection=Selection(threshold=0.4))
    together = live(agent, trial["controls"], trial["outcomes"], np.arange(5))
    for rows in ([0], [3], [4, 1], [2, 2, 0]):
        some = live(agent, trial["controls"], trial["outcomes"], np.array(rows))
        for a, b in zip(together, some, strict=True):
            for name in a:
                assert_array_equal(a[name][rows], b[name], err_msg=f"{name} of rows {rows}")


def test_three_ball_agents_do_not_depend_on_their_batch_or_on_jobs():
    p = three_ball.paradigm("reasoning")
    one, two, fewer = simulate(p, 6, 12, 3), simulate(p, 6, 12, 3, jobs=2), simulate(p, 2, 12, 3)
    for name in ("free_energy", "kl_to_truth", "log_odds", "model_posterior", "score", "adopted_model", "confidence"):
        assert_array_equal(one[name], two[name])
        assert_array_equal(one[name][:, :2], fewer[name])


def arrays_in(state) -> list[np.ndarray]:
    t, models = state.belief, state.knowledge.models
    held = [
        models.evidence,
        models.log_posterior,
        t.thinkers,
        t.joint,
        t.expected.seen,
        *t.expected.chance,
        *t.expected.entropy,
    ]
    return [x.copy() for x in (*held, state.adopted, state.model_posterior, state.counts(0), *list(state.qs))]


@pytest.mark.parametrize("moving", [False, True])
def test_old_states_stay_as_they_were(moving):
    prob, trial = possible(2, moving, 3, rows=3)
    agent = thinking(prob, selection=Selection(threshold=0.3))
    state, kept = agent.init(3), []
    for _ in range(2):
        for t in range(3):
            kept.append((state, arrays_in(state), len(state.memory.moments)))
            state, _ = agent.step(
                state, [o for o in trial["outcomes"][t]], action=(trial["controls"] + trial["controls"][:1])[t]
            )
        kept.append((state, arrays_in(state), len(state.memory.moments)))
        state, _ = agent.end_trial(state)
    for old, before, seen in kept:
        assert len(old.memory.moments) == seen
        for a, b in zip(arrays_in(old), before, strict=True):
            assert_array_equal(a, b)


def test_telling_leaves_the_old_state_as_it_was():
    agent = Agent(*two_bells(), reasoning=Reasoning(counts="shared"))
    state = agent.init(2)
    before = arrays_in(state)
    agent.tell(state, np.array([[0, 0], [-1, -1]]))
    for a, b in zip(arrays_in(state), before, strict=True):
        assert_array_equal(a, b)


# --- hypotheses that agree --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_hypotheses_that_agree_share_and_count_as_one(seed):
    prob, trial = possible(17 * seed, False, 3, rows=2)
    tensors = [prob.space.dense(h, 0) for h in range(len(prob.space))] + [prob.space.dense(0, 0)] * 2  # at least three alike
    prior = np.append(prob.space.prior, [0.3, 0.1])
    prob.space = HypothesisSpace({f"h{i}": {"pA[0]": t} for i, t in enumerate(tensors)}, prior=prior)
    agent = thinking(prob, reasoning=Reasoning(counts="shared", evidence="counts"))
    state = agent.init(2)
    for t in range(3):
        state, info = agent.step(state, trial["outcomes"][t], action=(trial["controls"] + trial["controls"][:1])[t])
    state, done = agent.end_trial(state)
    cls = np.array(classes_of(prob.space))
    evidence = evidence_of(agent, state)
    for k in range(2):
        expected = posterior_by_hand(prob.space, evidence[k])
        mass = np.array([expected[cls == c].sum() for c in cls])
        share = mass * prior / np.array([prior[cls == c].sum() for c in cls])
        assert_allclose(done.model_posterior[k], share, rtol=1e-8, atol=1e-12)
        assert_allclose(state.model_posterior[k].sum(), 1.0)
        best = mass.max()
        assert_allclose(done.log_odds[k], math.log(best) - math.log(1 - best), rtol=1e-7)
        assert done.best_model[k] == cls[mass.argmax()]
    assert_allclose(info.model_posterior.sum(axis=1), 1.0)


def test_merged_duplicates_change_nothing_else():
    """A space with duplicates is the space without them, where each carries their prior."""
    prob, trial = possible(4, False, 3, rows=2)
    cls = np.array(classes_of(prob.space))
    first = sorted(set(cls))
    doubled = [*first, *first]
    tensors = {f"h{i}": {"pA[0]": prob.space.dense(h, 0)} for i, h in enumerate(doubled)}
    lone = {f"h{i}": {"pA[0]": prob.space.dense(h, 0)} for i, h in enumerate(first)}
    weight = np.arange(1.0, len(first) + 1)
    told = []
    for space in (HypothesisSpace(tensors, prior=np.tile(weight, 2)), HypothesisSpace(lone, prior=weight)):
        told.append(
            live(
                Agent(prob.model, space, reasoning=Reasoning(counts="shared")),
                trial["controls"],
                trial["outcomes"],
                np.arange(2),
            )
        )
    for a, b in zip(*told, strict=True):
        for name in set(a) - {"model_posterior", "post"}:
            assert_allclose(a[name], b[name], rtol=1e-10, atol=1e-12)
        for name in {"model_posterior", "post"} & set(a):
            n = len(first)
            assert_allclose(a[name][:, :n] + a[name][:, n:], b[name], rtol=1e-10)


# --- learning ---------------------------------------------------------------------------------------------------------------


def seen_world() -> tuple[POMDP, HypothesisSpace]:
    """A colour that is seen at once, a place to go to, and a bell whose dependence on both is to be found."""
    rng = np.random.default_rng(0)
    model = POMDP(
        A=[None, np.eye(3)],
        B=[np.eye(3)[:, :, None], GO],
        D=[None, [1.0, 0.0]],
        pA=[np.ones((2, 2, 3)), None],
        A_dependencies=[[1, 0], [0]],
    )
    sharp = [8 * np.eye(2)[rng.integers(2, size=(2, 3))].transpose(2, 0, 1) for _ in range(6)]
    return model, HypothesisSpace({f"h{i}": {"pA[0]": t} for i, t in enumerate(sharp)})


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(("rate", "retention"), [(1.0, 1.0), (0.5, 0.9)])
def test_evidence_is_what_was_counted_when_states_are_seen(smooth, rate, retention):
    model, space = seen_world()
    # Bayes' rule counts every outcome in full and forgets nothing: with other rates it is the counts that are to judge
    evidence = "joint" if (rate, retention) == (1.0, 1.0) else "counts"
    agent = Agent(
        model, space, reasoning=Reasoning(counts="shared", evidence=evidence), learning=Learning(rate, retention, smooth)
    )
    rng, state = np.random.default_rng(5), agent.init(3)
    expected = np.zeros((3, 2, 2, 3))
    for _ in range(4):
        colour, place = rng.integers(3, size=3), np.zeros(3, dtype=int)
        for _ in range(4):
            bell = rng.integers(2, size=3)
            go = rng.integers(2, size=3)
            state, _ = agent.step(state, np.stack([bell, colour], axis=1), action=np.stack([0 * go, go], axis=1))
            expected[np.arange(3), bell, place, colour] += rate
            place = go
        expected *= retention
        state, done = agent.end_trial(state)
        assert_allclose(evidence_of(agent, state), expected, atol=1e-10)
        for k in range(3):
            by_hand = posterior_by_hand(space, expected[k])
            assert_allclose(done.model_posterior[k], by_hand, rtol=1e-8, atol=1e-12)
            assert_allclose(
                softmax(state.knowledge.models.log_posterior)[k], by_hand[agent.life.believing.first], rtol=1e-8, atol=1e-12
            )


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("retention", [1.0, 0.9, [1.0, 0.5, 0.9]])
@pytest.mark.parametrize("told", ["seen", "softly"])
def test_counts_of_their_own_judge_hypotheses_by_what_was_counted(smooth, retention, told):
    """Where states are seen, every hypothesis counts the same, softly seen outcomes by their shares: products of
    Dirichlet-multinomials; after forgetting, of what is left.
    """
    model, space = seen_world()
    space = HypothesisSpace({n: {"pA[0]": space.dense(i, 0)} for i, n in enumerate(space.names)}, prior=np.arange(1.0, 7.0))
    reasoning, learning = Reasoning(counts="own", evidence="counts"), Learning(retention=retention, smooth=smooth)
    agent = Agent(model, space, reasoning=reasoning, learning=learning)
    rng, state = np.random.default_rng(5), agent.init(3)
    expected = np.zeros((3, 2, 2, 3))
    for _ in range(3):
        colour, place = rng.integers(3, size=3), np.zeros(3, dtype=int)
        for _ in range(3):
            share = rng.dirichlet([1.0, 1.0], size=3) if told == "softly" else np.eye(2)[rng.integers(2, size=3)]
            go = rng.integers(2, size=3)
            bell = share if told == "softly" else share.argmax(axis=1)
            state, _ = agent.step(state, [bell, colour], action=np.stack([0 * go, go], axis=1))
            expected[np.arange(3), :, place, colour] += share
            place = go
        expected *= np.reshape(retention, (-1, 1, 1, 1))
        state, done = agent.end_trial(state)
        for k in range(3):
            assert_allclose(done.model_posterior[k], posterior_by_hand(space, expected[k]), rtol=1e-8, atol=1e-12)


def hindsight(brute: Brute, prob: Problem, controls, outcomes, posterior, extras: bool) -> np.ndarray:
    """Expected counts of the first modality given the whole trial, over all trajectories of still states."""
    wheres = [brute.where] + [brute.go(c) for c in controls]
    total, counts = 0.0, np.zeros(prob.model.A[0].shape)
    start = brute.initial(posterior)
    paths = (
        itertools.product(brute.states, repeat=len(outcomes)) if not extras else ((s,) * len(outcomes) for s in brute.states)
    )
    for path in paths:
        for h in brute.hypotheses:
            p, noted = start[h, path[0]], {}
            for t, s in enumerate(path):
                if t and not extras:
                    p *= brute.move_chance(s, path[t - 1], controls[t - 1])
                p *= brute.together(outcomes[t], h, s, wheres[t], noted if extras else None)
                at = brute.column(0, s, wheres[t])
                noted[at, int(outcomes[t][0])] = noted.get((at, int(outcomes[t][0])), 0.0) + 1.0
            total += p
            for t, s in enumerate(path):
                counts[(int(outcomes[t][0]), *brute.column(0, s, wheres[t]))] += p
    return counts / total


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_smoothed_learning_with_joint_reasoning_is_hindsight(moving, seed):
    prob, trial = possible(13 * seed, moving, 3, rows=2)
    prob.evidence = np.zeros_like(prob.evidence)
    agent = thinking(prob)
    state = agent.init(2)
    for t in range(3):
        state, _ = agent.step(state, trial["outcomes"][t], action=(trial["controls"] + trial["controls"][:1])[t])
    state, _ = agent.end_trial(state)
    for k in range(2):
        outcomes = [[o[k] for o in step] for step in trial["outcomes"]]
        controls = [c[k] for c in trial["controls"]]
        expected = hindsight(Brute(prob, k), prob, controls, outcomes, prob.space.prior, extras=not moving)
        assert_allclose(evidence_of(agent, state)[k], expected, rtol=1e-6, atol=1e-8)
        assert_allclose(state.counts(0)[k], np.asarray(prob.model.pA[0]) + expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("seed", range(6))
def test_smoothed_learning_without_joint_reasoning_is_hindsight(seed):
    """One fixed hidden factor: beliefs under the expected likelihood at the end of the trial weigh every moment of it."""
    rng = np.random.default_rng(seed)
    model = POMDP(
        A=[None, rng.dirichlet(np.ones(2), 6).T.reshape(2, 3, 2)],
        B=[np.eye(3)[:, :, None], GO],
        D=[rng.dirichlet(np.ones(3)), [1.0, 0.0]],
        pA=[rng.gamma(2.0, size=(2, 3, 2)) + 0.1, None],
    )
    agent = Agent(model, learning=Learning(smooth=True))
    before = np.asarray(model.pA[0])
    a, places, seen, state = [before / before.sum(axis=0), model.A[1]], [0], [], agent.init(1)
    for _ in range(3):
        seen.append(rng.integers(2, size=2))
        places.append(int(rng.integers(2)))
        state, _ = agent.step(state, seen[-1][None], action=[[0, places[-1]]])
        assert_allclose(state.counts(0)[0], before)  # nothing is learned before the end
    weights = np.array(
        [
            model.D[0][s] * math.prod(a[m][o[m], s, x] for o, x in zip(seen, places[:3], strict=True) for m in (0, 1))
            for s in range(3)
        ]
    )
    expected = before.copy()
    for o, x in zip(seen, places, strict=False):
        expected[o[0], :, x] += weights / weights.sum()
    state, _ = agent.end_trial(state)
    assert_allclose(state.counts(0)[0], expected, rtol=1e-9)


def test_other_learned_modalities_are_refused():
    """Only what hypotheses speak about is learned: anything else must be known, rather than silently never learned."""
    model, space = two_bells()
    other = model.with_(A=[None, None], pA=[model.pA[0], np.ones((2, 2))])
    with pytest.raises(ValueError, match=r"pA\[1\] must be None"):
        Agent(other, space, reasoning=Reasoning(counts="shared"))


# --- adoption ---------------------------------------------------------------------------------------------------------------


def two_bells(sharp: float = 8.0) -> tuple[POMDP, HypothesisSpace]:
    """A bell that rings in the left room or in the right one; nothing is hidden but a coin that tells nothing."""
    model = POMDP(
        A=[None, np.eye(2)], B=[np.eye(2)[:, :, None], GO], D=[[0.5, 0.5], [1.0, 0.0]], A_dependencies=[[0, 1], [0]],
        pA=[np.ones((2, 2, 2)), None],
    )  # fmt: skip
    left, right = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    left[1, :, 0] = left[0, :, 1] = right[0, :, 0] = right[1, :, 1] = sharp
    return model, HypothesisSpace({"left": {"pA[0]": left}, "right": {"pA[0]": right}})


def ring(agent: Agent, state, bell: int):
    state, _ = agent.step(state, np.tile([bell, 0], (state.n_agents, 1)), action=np.tile([0, 0], (state.n_agents, 1)))
    return agent.end_trial(state)


@pytest.mark.parametrize("concentration", [1.0, 512.0])
def test_adoption_at_the_threshold(concentration):
    model, space = two_bells()
    counts = np.zeros((2, 2, 2))
    counts[1, 0, 0] = 1.0
    p = posterior_by_hand(space, counts)
    odds = math.log(p[0]) - math.log(p[1])
    for threshold, adopts in ((odds - 1e-6, True), (odds + 1e-6, False)):
        agent = Agent(model, space, reasoning=Reasoning(counts="shared"), selection=Selection(threshold, concentration))
        state, done = ring(agent, agent.init(2), 1)
        assert_allclose(done.log_odds, odds, rtol=1e-9)
        assert_array_equal(done.adopted_now, adopts)
        assert_array_equal(state.adopted, 0 if adopts else -1)
        assert len(state.belief.thinkers) == (0 if adopts else 2)
        if adopts:
            average = p[0] * space.dense(0, 0) + p[1] * space.dense(1, 0)
            assert_allclose(state.counts(0)[0], concentration * average / average.sum(axis=0), rtol=1e-9)
        else:
            assert_allclose(state.counts(0)[0], np.asarray(model.pA[0]) + counts, rtol=1e-12)


def test_an_adoption_is_revised_when_evidence_turns():
    model, space = two_bells()
    agent = Agent(model, space, reasoning=Reasoning(counts="shared"), selection=Selection(threshold=5.0))
    state = agent.init(2)
    state, _ = ring(agent, state, 1)
    assert_array_equal(state.adopted, 0)
    counts, history = np.zeros((2, 2, 2)), []
    counts[1, 0, 0] = 1
    for _ in range(12):
        state, done = ring(agent, state, 0)
        counts[0, 0, 0] += 1
        assert_allclose(done.model_posterior[0], posterior_by_hand(space, counts), rtol=1e-7, atol=1e-12)
        history.append(int(state.adopted[0]))
    assert history[0] == 0  # one against one settles nothing, and what was adopted stays
    assert history[-1] == 1 and history == sorted(history)
    likelihood = state.counts(0)[0] / state.counts(0)[0].sum(axis=0)
    assert likelihood[0, 0, 0] > 0.99


def test_agents_who_know_and_agents_who_think_in_one_batch():
    """Those who have adopted plan with their own likelihood, the others go on thinking; both see what they see."""
    model, space = two_bells()
    agent = Agent(model, space, reasoning=Reasoning(counts="shared"), selection=Selection(threshold=3.0))
    state, _ = agent.step(agent.init(3), np.array([[1, 0]] * 3), action=[[0, 0]] * 3)
    state, _ = agent.end_trial(state)
    blank = agent.init(3)
    state.knowledge.models.evidence[1] = 0.0
    state.adopted[1] = -1
    state.knowledge.models.log_posterior[1] = blank.knowledge.models.log_posterior[1]
    state.belief = agent.life.believing.begin(state.knowledge)
    assert_array_equal(state.belief.thinkers, [1])
    after, info = agent.step(state, np.array([[1, 0]] * 3), action=[[0, 0]] * 3)
    _, fresh = agent.step(blank, np.array([[1, 0]] * 3), action=[[0, 0]] * 3)
    assert_allclose(info.model_info_gain[1], fresh.model_info_gain[1], rtol=1e-12)
    assert_allclose(info.free_energy[1], fresh.free_energy[1], rtol=1e-12)
    assert info.free_energy[0] < info.free_energy[1]  # who knows is less surprised
    assert after.t == 1


def test_recorded_actions_that_begin_no_policy_move_the_states_all_the_same():
    """Replays hand over whatever was done."""
    push = np.zeros((3, 3, 3))
    for u in range(3):
        push[(np.arange(3) + u) % 3, np.arange(3), u] = 1.0
    model = POMDP(A=[None], B=[push], pA=[np.ones((3, 3))], D=[[1.0, 0.0, 0.0]], policies=[[0], [1]])
    space = HypothesisSpace({"as it is": {0: np.eye(3) + 0.1}, "turned": {0: np.roll(np.eye(3), 1, axis=0) + 0.1}})
    for reasoning in (None, Reasoning(counts="shared")):
        agent = Agent(model, space, reasoning=reasoning)
        state, _ = agent.step(agent.init(1), np.array([[0]]), action=np.array([[2]]))
        _, info = agent.step(state, np.array([[2]]), action=np.array([[0]]))
        assert_allclose(info.qs[0][0], [0.0, 0.0, 1.0], atol=1e-9)


def test_the_posterior_is_carried_on_exactly_when_states_stay_uncertain():
    """Counts alone credit an uncertain state to the rule that leads, which then leads by more; the joint posterior does not."""
    cue, stay, go = np.array([[0.7, 0.3], [0.3, 0.7]]), np.eye(2)[:, :, None], np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    model = POMDP(
        A=[cue, None], B=[stay, go], pA=[None, np.ones((2, 2))], A_dependencies=[[0], [0]], D=[None, [1.0, 0.0]]
    )  # fmt: skip
    a, b = 1000 * np.eye(2) + 1e-3, 1000 * (1 - np.eye(2)) + 1e-3
    space = HypothesisSpace({"same": {1: a}, "other": {1: b}})
    agents = {
        e: Agent(model, space, reasoning=Reasoning(counts="shared", evidence=e), learning=Learning(smooth=True))
        for e in ("joint", "counts")
    }
    states = {e: agent.init(1) for e, agent in agents.items()}
    exact = np.zeros(2)
    for seen in ([0, 0], [1, 1], [0, 0], [1, 1], [0, 1]):
        chance = [(0.5 * cue[seen[0]] * m[seen[1]] / m.sum(axis=0)).sum() for m in (a, b)]
        exact += np.log(chance)
        for e, agent in agents.items():
            states[e], _ = agent.step(states[e], np.array([seen]), action=np.array([[0, 0]]))
            states[e], _ = agent.end_trial(states[e])
    by_hand = np.exp(exact) / np.exp(exact).sum()
    assert_allclose(states["joint"].model_posterior[0], by_hand, rtol=0.01)
    assert states["counts"].model_posterior[0, 0] > by_hand[0] + 0.01


# --- what is told, and what is set up ---------------------------------------------------------------------------------------


def test_told_states_are_known():
    model = three_ball.naive_model()
    agent = three_ball.reasoning_agent()
    state = agent.tell(agent.init(3), np.array([[0, 1, 2, -1, -1], [-1] * 5, [2, 2, 2, 3, 3]]))
    for f in range(3):
        assert_allclose(state.qs[f][0], np.eye(3)[f], rtol=0, atol=1e-15)
        assert_allclose(state.qs[f][1], 1 / 3)
    told = state.belief.joint.sum(axis=2)
    assert_allclose(told[[0, 2]], np.eye(27)[[0 * 9 + 1 * 3 + 2, 26]], atol=1e-12)
    assert_allclose(told[1], 1 / 27)
    assert_allclose(state.belief.joint.sum(axis=1), state.belief.prior, rtol=1e-12)
    state, info = agent.step(state, np.array([[3, 3, 0]] * 3), np.random.default_rng(0))
    assert_allclose(info.state_info_gain[[0, 2]], 0.0, atol=1e-12)
    assert info.state_info_gain[1].max() > 0.5
    with pytest.raises(ValueError, match="before a trial"):
        agent.tell(state, np.zeros((3, 5), dtype=int))
    with pytest.raises(ValueError, match="reason jointly"):
        Agent(model).tell(Agent(model).init(1), np.zeros((1, 5), dtype=int))
    with pytest.raises(ValueError, match="reason jointly"):
        Agent(model).experiments(Agent(model).init(1))


def test_experiments_divide_the_hypotheses_best():
    space, agent = three_ball.rules(), three_ball.reasoning_agent()
    chosen = agent.experiments(agent.init(2))
    cls = np.array(classes_of_rules(space))
    weight = space.prior
    best, gains = -1.0, {}
    for balls in itertools.product(range(3), repeat=3):
        share: dict = {}
        for h in range(len(space)):
            correct = tuple(space.dense(h, 2)[(slice(None), *balls)].ravel())
            share[correct] = share.get(correct, 0.0) + weight[h]
        gains[balls] = -sum(p * math.log(p) for p in share.values())
        best = max(best, gains[balls])
    assert_array_equal(chosen[:, 3:], -1)
    for row in chosen:
        assert_allclose(gains[tuple(int(x) for x in row[:3])], best, rtol=1e-9)
    assert len(set(cls)) == 75


def classes_of_rules(space: HypothesisSpace) -> list[int]:
    seen: dict = {}
    return [seen.setdefault(space.dense(h, 2).tobytes(), h) for h in range(len(space))]


@pytest.mark.parametrize("counts", ["shared", "own"])
def test_nothing_left_to_learn_or_adopted_means_no_experiment(counts):
    model, space = two_bells()
    agent = Agent(model, space, reasoning=Reasoning(counts=counts), selection=Selection(threshold=3.0))
    state = agent.init(1)
    assert agent.experiments(state)[0, 0] >= 0
    state, _ = ring(agent, state, 1)
    assert_array_equal(agent.experiments(state), -1)


def test_hypotheses_that_all_agree():
    model, space = two_bells()
    one = space.dense(0, 0)
    same = Agent(model, HypothesisSpace({"a": {"pA[0]": one}, "b": {"pA[0]": one}}), reasoning=Reasoning(counts="shared"))
    state = same.init(2)
    assert_array_equal(same.experiments(state), -1)
    state, info = same.step(state, np.array([[1, 0]] * 2), np.random.default_rng(0))
    assert_allclose(info.model_info_gain, 0.0, atol=1e-12)
    assert_allclose(info.model_posterior, 0.5)


# --- fallback and errors ----------------------------------------------------------------------------------------------------


def test_too_large_a_joint_is_said_and_given_up():
    prob, trial = possible(3, False, 2)
    n = len(set(classes_of(prob.space)))
    size = n * int(np.prod([prob.model.num_states[f] for f in prob.still]))
    with pytest.warns(UserWarning, match=rf"{size} numbers per agent.*max_size={size - 1}"):
        agent = thinking(prob, reasoning=Reasoning(counts="shared", max_size=size - 1))
    assert not agent.reasons_jointly
    plain = thinking(prob, reasoning=None, inference="sequential")
    told = []
    for a in (agent, plain):
        state, info = a.step(a.init(2), trial["outcomes"][0], action=trial["controls"][0])
        state, done = a.end_trial(state)
        told.append((info.neg_efe, info.q_pi, done.model_posterior, state.counts(0)))
    for x, y in zip(*told, strict=True):
        assert_array_equal(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert thinking(prob, reasoning=Reasoning(counts="shared", max_size=size)).reasons_jointly


def test_parts_that_do_not_fit():
    model, space = two_bells()
    with pytest.raises(ValueError, match="needs hypotheses"):
        Agent(model, reasoning=Reasoning(counts="shared"))
    with pytest.raises(TypeError, match="reasoning of Agent must be a Reasoning"):
        Agent(model, space, reasoning=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="policies of one step; these have 2"):
        Agent(model.with_(policy_length=2), space, reasoning=Reasoning(counts="shared"))
    with pytest.raises(ValueError, match="certain initial state of factor 1"):
        Agent(model.with_(D=[None, [0.5, 0.5]]), space, reasoning=Reasoning(counts="shared"))
    both = model.with_(A=[None, None], pA=[model.pA[0], np.ones((2, 2))])
    two = {n: {"pA[0]": space.dense(i, 0), "pA[1]": np.ones((2, 2))} for i, n in enumerate(space.names)}
    with pytest.raises(ValueError, match=r"one modality; these speak about \[0, 1\]"):
        Agent(both, HypothesisSpace(two), reasoning=Reasoning(counts="shared"))


# --- selection without joint reasoning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_last_outcome(last, smooth):
    """With it the posterior of a trial holds all that the trial taught, else what was believed before its last lesson."""
    model, space = seen_world()
    agent = Agent(
        model, space, inference="sequential", selection=Selection(last_outcome=last), learning=Learning(smooth=smooth)
    )
    state, counts = agent.init(1), [np.asarray(model.pA[0])]
    for bell in (0, 1, 1):
        state, info = agent.step(state, np.array([[bell, 2]]), action=[[0, 1]])
        counts.append(state.counts(0)[0])
    state, done = agent.end_trial(state)
    learned = state.counts(0)[0]
    expected = bmr.model_posterior(learned if last else counts[-2], model.pA[0], space, offset=1 / 32)
    if not last and smooth:
        expected = space.prior
    assert_allclose(done.model_posterior[0], expected, rtol=1e-7, atol=1e-12)
    assert_allclose(done.log_odds[0], bmr.log_odds(expected), rtol=1e-7)
    assert info.model_posterior is not None


def test_states_without_mass_do_not_make_an_outcome_impossible():
    """A state that is out of the question would explain 20 outcomes 900 nats better than those that are not."""
    faint = 1e-20
    known = np.array([[faint, faint, 1.0], [1 - faint, 1 - faint, 0.0]])
    model = POMDP(
        A=[*[known] * 20, None],
        B=[np.eye(3)[:, :, None]],
        D=[[0.5, 0.5, 0.0]],
        pA=[*[None] * 20, np.ones((2, 3))],
    )
    tables = {name: {"pA[20]": np.array([[9.0, 1.0, 1.0], [1.0, 9.0, 1.0]])[::step]} for name, step in (("a", 1), ("b", -1))}
    agent = Agent(model, HypothesisSpace(tables), Planner(modalities="separate"), reasoning=Reasoning(counts="shared"))
    _, info = agent.step(agent.init(1), [[0] * 20 + [0]], action=[[0]])
    assert not info.impossible[0]
    assert_allclose(info.free_energy[0], -20 * math.log(faint) + math.log(2), rtol=1e-12)
