"""Exact beliefs and planning where transitions and initial states are learned or in question, against enumeration."""

from __future__ import annotations

import itertools
import math

import enumeration as brute
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln

from activebmr import POMDP, Agent, HypothesisSpace, Learning, Paradigm, Planner, Reasoning, Selection
from activebmr.dirichlet import kl_divergence

ATOL = {"rtol": 0, "atol": 1e-11}
GAINS = ("state", "param")


def counted(model: POMDP, seed: int) -> POMDP:
    """The same model with counts over transitions and initial states (some of them known), zeros where it has zeros."""
    rng = np.random.default_rng(seed)
    scale = lambda x: x * rng.gamma(2.0, size=x.shape[1:]) * 3 + 0.2 * (x > 0)  # noqa: E731
    keep = rng.random(2 * model.num_factors) < 0.7
    keep[rng.integers(len(keep))] = True
    return POMDP(
        A=[None if p is not None else a for a, p in zip(model.A, model.pA, strict=True)],
        B=[None if k else b for b, k in zip(model.B, keep, strict=False)],
        C=model.C,
        D=[None if k else d for d, k in zip(model.D, keep[model.num_factors :], strict=True)],
        pA=model.pA,
        pB=[scale(b) if k else None for b, k in zip(model.B, keep, strict=False)],
        pD=[scale(d) if k else None for d, k in zip(model.D, keep[model.num_factors :], strict=True)],
        A_dependencies=model.A_dependencies,
        B_dependencies=model.B_dependencies,
        policies=model.policies,
    )


def live(agent, state, seen, done):
    """A trial in which outcomes and controls are given: the states before its end, and the free energy."""
    total, out = 0.0, []
    for t, row in enumerate(seen):
        controls = done[t] if t < len(done) else [0] * agent.model.num_factors
        state, info = agent.step(state, [row] if len(row) > 1 else row, action=[controls])
        total += info.free_energy
        out.append((state, info))
    return out, total


def observed(model, row):
    """One agent's outcomes as `Agent.step` takes them."""
    return [None if o is None else np.array([o]) if np.ndim(o) == 0 else np.asarray(o)[None] for o in row]


# --- counts ------------------------------------------------------------------------------------------------------------------
@settings(max_examples=200)
@given(st.integers(0, 10**6))
def test_counts_of_a_trial_are_those_of_all_paths(seed):
    model = counted(brute.small_model(seed, never=False), seed)
    rng = np.random.default_rng(seed)
    agent = Agent(model, planner=Planner(gains=(), alpha=None), learning=Learning(smooth=True))
    seen, done = brute.lived(model, rng, int(rng.integers(1, 5)), soft=0.1)
    state, free = agent.init(), 0.0
    for t, row in enumerate(seen):
        controls = done[t] if t < len(done) else [0] * model.num_factors
        state, info = agent.step(state, observed(model, row), action=controls)
        free += info.free_energy
    after, _ = agent.end_trial(state)
    whole = brute.paths(model, seen, done)[-1]
    assert_allclose(free, -math.log(whole.sum()), **ATOL)
    beliefs = [brute.at_time(whole, t) for t in range(len(seen))]
    for table in model.learned:
        gained = agent.posterior_counts(after, f"p{table}")[0] - model.counts_of(table)
        if table.kind == "A":
            expected = brute.expected_counts(model, beliefs, seen, table.index)
        elif table.kind == "D":
            expected = brute.marginal(model, beliefs[0], table.index)
        else:
            expected = np.zeros(model.B[table.index].shape)
            for t, u in enumerate(done):
                expected[..., u[table.index]] += brute.pair(model, whole, t, table.index)
        assert_allclose(gained, expected, err_msg=str(table), **ATOL)
        assert (gained[model.counts_of(table) == 0] == 0).all()


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_learning_at_once_counts_pairs_as_they_are_then_believed_in(seed):
    """What was believed a step ago is revised in the light of the outcome, and the new table is used from then on."""
    model = counted(brute.small_model(seed, max_factors=2, never=False, learned=0.0), seed)
    rng = np.random.default_rng(seed)
    agent = Agent(model, planner=Planner(gains=(), alpha=None))
    seen, done = brute.lived(model, rng, 2)
    state, _ = agent.step(agent.init(), observed(model, seen[0]), action=done[0])
    q = brute.start(model) * brute.likelihood(model, seen[0])
    first = {t: brute.marginal(model, q / q.sum(), t.index) for t in model.learned if t.kind == "D"}
    for table, expected in first.items():
        assert_allclose(agent.posterior_counts(state, f"pD[{table.index}]")[0] - model.pD[table.index], expected, **ATOL)
    after, _ = agent.step(state, observed(model, seen[1]), action=done[0])
    whole = brute.paths(model, seen, done)[-1]
    for table in (t for t in model.learned if t.kind == "B"):
        gained = agent.posterior_counts(after, f"pB[{table.index}]")[0] - model.pB[table.index]
        assert_allclose(gained[..., done[0][table.index]], brute.pair(model, whole, 0, table.index), **ATOL)


# --- planning ----------------------------------------------------------------------------------------------------------------
class Plans(brute.Plans):
    """Values with the information that moves give about transitions; `brute.Plans` knows likelihoods alone."""

    def moves_teach(self, q, controls):
        total = 0.0
        for f, counts in enumerate(self.model.pB):
            if counts is None:
                continue
            gain = brute.novelty(counts.reshape(len(counts), -1)).reshape(counts.shape) * self.model.B[f]
            for p, s in zip(q, self.states, strict=True):
                at = (slice(None), *(s[g] for g in self.model.B_dependencies[f]), controls[f])
                total += p * gain[at].sum()
        return total

    def policies(self, q, t, steps):
        out = super().policies(q, t, steps)
        for k, policy in enumerate(self.model.policies):
            b = q
            for h in range(min(steps, len(policy))):
                out[k, 2] += self.moves_teach(b, policy[h])
                b = self.move(b, policy[h])
        return out


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 2))
def test_values_are_those_of_enumeration(seed, together, steps):
    model = counted(brute.small_model(seed, max_factors=2, steps=steps), seed)
    model = model.with_(pD=None)
    if not any(t.kind == "B" for t in model.learned):
        return
    rng = np.random.default_rng(seed)
    planner = Planner(gains=GAINS, modalities="together" if together else "separate", alpha=None, novelty_cutoff=np.inf)
    agent = Agent(model, planner=planner, learning=Learning(smooth=True))
    seen, done = brute.lived(model, rng, 2)
    state, _ = agent.step(agent.init(), observed(model, seen[0]), action=done[0])
    state, info = agent.step(state, observed(model, seen[1]), action=done[0])
    q = brute.at_time(brute.paths(model, seen, done)[-1], 1)
    plans = Plans(model, together)
    expected = plans.policies(q, 1, steps)
    assert_allclose(info.utility, expected[:, 0], rtol=1e-10, atol=1e-10)
    assert_allclose(info.state_info_gain, expected[:, 1], rtol=0, atol=1e-10)
    if together:
        assert_allclose(info.param_info_gain, expected[:, 2], rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_a_search_is_a_recursion_over_outcomes(seed):
    model = counted(brute.small_model(seed, max_factors=2, max_policies=4), seed)
    if not any(t.kind in ("B", "D") for t in model.learned):
        return
    rng = np.random.default_rng(seed)
    agent = Agent(model, planner=Planner(depth=1, gains=("state",), alpha=None), learning=Learning(smooth=True))
    seen, _ = brute.lived(model, rng, 1)
    _, info = agent.step(agent.init(), observed(model, seen[0]), action=[0] * model.num_factors)
    q = brute.at_time(brute.paths(model, seen, [])[-1], 0)
    assert_allclose(info.neg_efe, brute.Plans(model).search(q, 0, 1, ("state",)), rtol=1e-10, atol=1e-10)


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_outcomes_teach_about_initial_states(seed):
    """As much as counting them as they are then believed in teaches more than counting them as they are believed in now."""
    model = counted(brute.small_model(seed, max_factors=2, learned=0.0), seed)
    model = model.with_(pB=None)
    if not any(t.kind == "D" for t in model.learned):
        return
    rng = np.random.default_rng(seed)
    agent = Agent(model, planner=Planner(gains=("param",), alpha=None), learning=Learning(smooth=True))
    seen, done = brute.lived(model, rng, 2)
    state, _ = agent.step(agent.init(), observed(model, seen[0]), action=done[0])
    _, info = agent.step(state, observed(model, seen[1]), action=done[0])
    whole = brute.paths(model, seen, done)[-1]

    def taught(weights):
        total = 0.0
        for f, d in enumerate(model.pD):
            if d is not None:
                total += kl_divergence(d + brute.marginal(model, brute.at_time(weights, 0), f), d, floor=0.0)
        return total

    expected = []
    outcomes = list(itertools.product(*(range(n) for n in model.num_outcomes)))
    for policy in model.policies:
        then = whole[..., None] / whole.sum() * brute.transitions(model, policy[0]).T
        each = [then * brute.likelihood(model, list(o)) for o in outcomes]
        expected.append(sum(w.sum() * taught(w) for w in each if w.sum() > 0) - taught(whole))
    assert_allclose(info.param_info_gain, expected, rtol=0, atol=1e-9)
    assert (info.param_info_gain >= 0).all()


# --- hypotheses --------------------------------------------------------------------------------------------------------------
def alternatives(model: POMDP, seed: int, n: int = 3) -> tuple[dict, list[POMDP]]:
    """Hypotheses about some tables of every kind as values, and the models that they make."""
    rng = np.random.default_rng(seed)
    tables = [("A", m) for m in range(model.num_modalities)] + [(k, f) for k in "BD" for f in range(model.num_factors)]
    chosen = [tables[i] for i in rng.permutation(len(tables))[: rng.integers(1, 4)]]
    said, models = {}, []
    for i in range(n):
        values = {(k, j): brute.columns(rng, getattr(model, k)[j].shape) for k, j in chosen}
        said[f"h{i}"] = {f"{k}[{j}]": v for (k, j), v in values.items()}
        changed = {k: [values.get((k, j), x) for j, x in enumerate(getattr(model, k))] for k in "ABD"}
        models.append(model.with_(**changed))
    return said, models


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_the_posterior_over_sharp_hypotheses_is_that_of_all_paths(seed):
    model = brute.small_model(seed, learned=0.0, max_factors=2)
    said, models = alternatives(model, seed)
    rng = np.random.default_rng(seed)
    prior = rng.dirichlet(np.ones(3) * 3) + 0.01
    space = HypothesisSpace(said, prior)
    agent = Agent(model, space, Planner(gains=("state", "model"), alpha=None), selection=Selection(threshold=np.inf))
    state, odds = agent.init(), np.log(space.prior)
    for _ in range(2):
        seen, done = brute.lived(models[0], rng, 3)
        for t, row in enumerate(seen):
            weights = [brute.paths(m, seen[: t + 1], done[:t])[-1] for m in models]
            before = odds + np.log([w.sum() + 1e-300 for w in weights])
            controls = done[t] if t < len(done) else [0] * model.num_factors
            state, info = agent.step(state, observed(model, row), action=controls)
            assert_allclose(info.model_posterior, brute.softmax(before), rtol=0, atol=1e-10)
            check_gains(info, models, weights, brute.softmax(before), t)
        odds = before
        state, report = agent.end_trial(state)
        assert_allclose(report.model_posterior[0], brute.softmax(odds), rtol=0, atol=1e-10)


def check_gains(info, models, weights, posterior, t):
    """I(M; O), I(S; O | M) and utility, by sums over all joint outcomes."""
    outcomes = list(itertools.product(*(range(n) for n in models[0].num_outcomes)))
    entropy = lambda p: -sum(x * math.log(x) for x in np.ravel(p) if x > 0)  # noqa: E731
    for k, policy in enumerate(models[0].policies):
        chances, state = [], 0.0
        for model, w, p in zip(models, weights, posterior, strict=True):
            if w.sum() == 0:
                chances.append(np.zeros(len(outcomes)))
                continue
            q = brute.transitions(model, policy[0]) @ brute.at_time(w, t)
            both = np.array([q * brute.likelihood(model, list(o)) for o in outcomes])
            chances.append(both.sum(axis=1))
            state += p * (entropy(chances[-1]) + entropy(q) - entropy(both))
        mixed = posterior @ np.array(chances)
        told = entropy(mixed) - sum(p * entropy(c) for p, c in zip(posterior, chances, strict=True))
        assert_allclose(info.model_info_gain[k], told, rtol=0, atol=1e-9)
        assert_allclose(info.state_info_gain[k], state, rtol=0, atol=1e-9)


def log_evidence(counts, prior):
    """Log evidence of counts under Dirichlet columns, outcome by outcome (the first column by the first axis)."""
    some = lambda x: gammaln(np.where(prior > 0, x, 1.0)).sum(axis=0)  # noqa: E731
    both, alone = prior + counts, prior
    return float((some(both) - some(alone) - gammaln(both.sum(axis=0)) + gammaln(alone.sum(axis=0))).sum())


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_where_states_are_seen_hypotheses_that_learn_are_compared_exactly(seed):
    """Evidence of A, B and D together, also within a trial: Dirichlet-multinomial, from what was seen."""
    rng = np.random.default_rng(seed)
    n, u = int(rng.integers(2, 4)), int(rng.integers(1, 3))
    full = {"pA[1]": np.ones((2, n)), "pB[0]": np.ones((n, n, u)), "pD[0]": np.ones(n)}
    model = POMDP(A=[np.eye(n), None], B=[None], pA=[None, full["pA[1]"]], pB=[full["pB[0]"]], pD=[full["pD[0]"]])
    said = {f"h{i}": {k: rng.gamma(1.0, size=v.shape) * 2 + 0.1 for k, v in full.items()} for i in range(3)}
    agent = Agent(model, HypothesisSpace(said), Planner(gains=("model",), alpha=None), selection=Selection(threshold=np.inf))
    counts = {k: np.zeros(v.shape) for k, v in full.items()}
    state = agent.init()
    for _ in range(2):
        before = None
        for _ in range(4):
            here, other, control = int(rng.integers(n)), int(rng.integers(2)), int(rng.integers(u))
            state, info = agent.step(state, [here, other], action=[control])
            counts["pA[1]"][other, here] += 1
            if before is None:
                counts["pD[0]"][here] += 1
            else:
                counts["pB[0]"][here, before[0], before[1]] += 1
            before = here, control
            scores = [sum(log_evidence(counts[k], said[h][k]) for k in full) for h in said]
            assert_allclose(info.model_posterior, brute.softmax(scores), rtol=0, atol=1e-10)
        state, report = agent.end_trial(state)
        assert_allclose(report.model_posterior[0], brute.softmax(scores), rtol=0, atol=1e-10)
    for k in full:
        assert_allclose(agent.posterior_counts(state, k)[0], full[k] + counts[k], rtol=0, atol=1e-10)


def rooms(n_maps=5, n=4, seed=0):
    """A graph whose rooms are seen, and hypotheses about where its doors lead."""
    rng = np.random.default_rng(seed)
    model = POMDP(
        A=[np.eye(n)],
        B=[np.full((n, n, 2), 1.0 / n)],
        C=[np.eye(n)[n - 1]],
        D=[np.eye(n)[0]],
        labels={"factor": ["room"], "modality": ["seen"]},
    )
    maps = {f"map {i}": {"B[room]": np.eye(n)[:, rng.integers(n, size=(n, 2))]} for i in range(n_maps)}
    return model, HypothesisSpace(maps)


def test_a_hypothesis_is_adopted_within_a_trial_and_acted_on():
    model, space = rooms()
    truth = space.dense(2, "B[room]")
    agent = Agent(
        model,
        space,
        Planner(depth=3, gains=("model",), alpha=None),
        selection=Selection(at_once=True, curious=True, threshold=3.0),
        reasoning=Reasoning(lookahead=2),
    )
    state, place, way = agent.init(), 0, []
    for _ in range(14):
        state, info = agent.step(state, place, 0)
        way.append((place, int(state.adopted[0]), info.model_info_gain.max()))
        place = int(truth[:, place, info.action].argmax())
    known = [t for t, (_, adopted, _) in enumerate(way) if adopted >= 0]
    assert known and all(way[t][1] == 2 for t in known)
    assert all(way[t][2] == 0.0 for t in known)  # nothing is left to be told
    reach = np.linalg.matrix_power((truth.sum(axis=2) > 0).astype(int) + np.eye(4, dtype=int), 4)[3, 0] > 0
    assert not reach or any(way[t][0] == 3 for t in known)


def test_beliefs_given_a_hypothesis():
    """Those of an agent that knows it, of a hypothesis about tables and of a model with states of its own."""
    model = brute.small_model(3, learned=0.0, max_factors=2)
    said, models = alternatives(model, 3)
    space, rng = HypothesisSpace(said), np.random.default_rng(3)
    quiet = Planner(gains=(), alpha=None)
    agent = Agent(model, space, quiet, selection=Selection(threshold=np.inf))
    knowing = [Agent(m, planner=quiet) for m in models]
    state, alone = agent.init(), [a.init() for a in knowing]
    seen, done = brute.lived(models[1], rng, 3)
    for t, row in enumerate(seen):
        controls = done[t] if t < len(done) else [0] * model.num_factors
        state, _ = agent.step(state, observed(model, row), action=controls)
        for k, a in enumerate(knowing):
            alone[k], info = a.step(alone[k], observed(model, row), action=controls)
            for mine, other in zip(agent.beliefs_under(state, f"h{k}"), info.qs, strict=True):
                assert_allclose(mine[0], other, rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match="hypothesis must be one of the 3 names"):
        agent.beliefs_under(state, "h7")
    with pytest.raises(ValueError, match="beliefs_under needs agents with hypotheses"):
        knowing[0].beliefs_under(alone[0], 0)


def test_a_factor_that_no_control_moves_stays():
    """What a trial shows is then counted as it comes in, as of a factor with one control."""
    rng = np.random.default_rng(0)
    priors = {f"h{i}": {"pA[0]": rng.gamma(1.0, size=(2, 2)) * 3 + 0.2} for i in range(3)}
    seen = rng.integers(2, size=8)
    posteriors = []
    for n in (1, 2):
        still = np.repeat(np.eye(2)[:, :, None], n, axis=2)
        model = POMDP(A=[None], B=[still], pA=[np.ones((2, 2))])
        agent = Agent(
            model, HypothesisSpace(priors), Planner(gains=(), alpha=None), selection=Selection(threshold=np.inf, at_once=True)
        )
        state = agent.init()
        for o in seen:
            state, info = agent.step(state, int(o), action=[n - 1])
        posteriors.append(info.model_posterior)
    assert_allclose(posteriors[0], posteriors[1], rtol=0, atol=1e-12)


def test_a_hypothesis_that_is_refuted_is_given_up_at_once():
    """Also where nothing else passes Occam's window, and its counts are those of the hypothesis for as long as it is held."""
    model = POMDP(A=[np.eye(3)], B=[None], D=[np.eye(3)[0]], pB=[np.ones((3, 3, 1))])
    certain = {f"to {s}": {"pB[0]": 1e-9 + 5.0 * np.eye(3)[:, [s, s, s]][:, :, None]} for s in (1, 2)}
    certain["to 1"] = {"B[0]": np.eye(3)[:, [1, 1, 1]][:, :, None]}
    space = HypothesisSpace(certain | {"anywhere": {"pB[0]": np.ones((3, 3, 1))}}, prior=[0.98, 0.01, 0.01])
    agent = Agent(model, space, Planner(gains=(), alpha=None), selection=Selection(threshold=3.0))
    state = agent.init()
    for t in range(3):
        state, _ = agent.step(state, min(t, 1))
    state, _ = agent.end_trial(state)
    assert state.adopted[0] == 0
    for here, adopted in ((0, 0), (2, -1)):
        state, info = agent.step(state, here)
        assert state.adopted[0] == adopted
    assert_array_equal(info.model_posterior[0], 0.0)
    for here in (2, 2, 2, 2):
        state, _ = agent.step(state, here)
    state, report = agent.end_trial(state)
    if state.adopted[0] == 1:
        assert_allclose(agent.posterior_counts(state, "pB[0]")[0].sum(), 15.0 + 7, atol=1e-6)


def test_numbers_of_an_agent_do_not_depend_on_the_others(monkeypatch):
    model, space = rooms(7, 5, 1)
    agent = Agent(model, space, Planner(depth=1, gains=("state", "model", "param")), reasoning=Reasoning(lookahead=1))
    rng = np.random.default_rng(0)
    seen = rng.integers(5, size=(4, 6))
    done = rng.integers(2, size=(4, 6, 1))

    def run(who):
        state, out = agent.init(len(who)), []
        for row, controls in zip(seen, done, strict=True):
            state = state.copy()
            info = agent.life.advance(state, [row[who]], np.zeros(len(who)), controls[who])
            out.append(np.concatenate([info.neg_efe, info.model_posterior], axis=1))
        return np.stack(out, axis=1)

    whole = run(np.arange(6))
    for k in range(6):
        assert_array_equal(run(np.array([k]))[0], whole[k])
    # nor on how many are planned for at once
    monkeypatch.setattr("activebmr.planning.worlds.planning._AT_ONCE", 50)
    assert_array_equal(run(np.arange(6)), whole)


def test_beliefs_survive_hundreds_of_nats_against_a_state():
    """A state that a hundred outcomes speak against (700 nats) may be the only one left when it moves with certainty."""
    model = POMDP(
        A=[np.array([[0.999, 0.001], [0.001, 0.999]])],
        B=[None],
        pB=[np.stack([np.eye(2), np.array([[0.0, 1.0], [1.0, 0.0]])], axis=2) * 4],
        D=[np.array([0.5, 0.5])],
    )
    assert not any(t.kind == "A" for t in model.learned)
    agent = Agent(model, planner=Planner(gains=(), alpha=None), learning=Learning(smooth=True))
    state = agent.init()
    for _ in range(100):
        state, _ = agent.step(state, 0, action=[0])
    for _ in range(160):
        state, info = agent.step(state, 1, action=[0])
    assert_allclose(info.qs[0], [0.0, 1.0], atol=1e-12)
    after, _ = agent.end_trial(state)
    gained = agent.posterior_counts(after, "pB[0]")[0] - model.pB[0]
    assert_allclose(gained[:, :, 0], np.diag([0.0, 259.0]), atol=1e-9)


# --- what is refused ---------------------------------------------------------------------------------------------------------
WORLD = POMDP(
    A=[np.eye(2), None],
    B=[np.full((2, 2, 2), 0.5)],
    pA=[None, np.array([[1.0, 0.0], [1.0, 1.0]])],
    labels={"factor": ["place"], "modality": ["where", "what"]},
)
STAY, GO = (np.repeat(x[:, :, None], 2, axis=2) for x in (np.eye(2), np.eye(2)[::-1]))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (({"pB[place]": STAY + 1}, {"pB[place]": GO + 1}), "speak about factor 0, but pB.0. of the model is None"),
        (({"B[time]": STAY}, {"B[time]": GO}), r"factor must be one of \['place'\]; got 'time'"),
        (({"B[3]": STAY}, {"B[3]": GO}), "factor must lie in 0..0; got 3|the model has factors 0..0 only"),
        (({"B[0]": STAY * 2}, {"B[0]": GO}), r"hypotheses\['a'\]\['B\[0\]'\] must sum to 1 over states"),
        (({"B[0]": STAY[:, :, :1]}, {"B[0]": GO[:, :, :1]}), r"about factor 0 must have the shape of B\[0\]"),
        (
            ({"A[what]": np.eye(2)[::-1]}, {"A[what]": np.eye(2)}),
            r"'b' gives 1 to pA\[1\]\[0, 1\], a structural zero|structural",
        ),
        (({"B[0]": STAY}, {"D[0]": [0.5, 0.5]}), r"must speak about the tables \['B\[0\]'\] like 'a'; got \['D\[0\]'\]"),
        (({"E[0]": [0.5, 0.5]}, {"E[0]": [0.1, 0.9]}), "must name tables of A, B or D; got 'E.0.', a habit"),
        (
            ({"B[0]": STAY, "B[place]": STAY}, {"B[0]": GO, "B[place]": GO}),
            "must name different factors; 0 and 'place' are one",
        ),
    ],
)
def test_bad_hypotheses_are_named(said, message):
    with pytest.raises(ValueError, match=message):
        Agent(WORLD, HypothesisSpace(dict(zip("ab", said, strict=True))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inference": "exact"}, "inference of Agent must be 'models'"),
        ({"inference": "sequential"}, "inference of Agent must be 'models'"),
        ({"planner": Planner(search="states")}, "search of Planner must be 'outcomes'"),
        ({"planner": Planner(model_gain="plug-in")}, "model_gain of Planner must be 'exact'"),
        ({"reasoning": Reasoning(counts="shared")}, "counts of Reasoning must be 'own'"),
        ({"reasoning": Reasoning(max_size=3)}, "at most max_size=3 numbers an agent"),
        ({"own": {"D[0]": np.full((2, 2), 0.5)}}, "own A, B and D of Agent"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    space = HypothesisSpace({"stay": {"B[place]": STAY}, "go": {"B[place]": GO}})
    with pytest.raises(ValueError, match=message):
        Agent(WORLD, space, **options)


def test_rates_per_table_and_agent():
    model = WORLD.with_(pB=[np.ones((2, 2, 2))], pD=[np.ones(2)])
    learning = Learning(rate={"pB": [0.5, 2.0], "pA[what]": 0.0}, retention={"pD[place]": 0.5})
    agent = Agent(model, planner=Planner(gains=(), alpha=None), learning=learning)
    state = agent.init(2)
    for here in (0, 1):
        state, _ = agent.step(state, [[here, 1], [here, 1]], action=[[1], [1]])
    state, _ = agent.end_trial(state)
    moved = agent.posterior_counts(state, "pB[place]") - 1
    assert_allclose(moved[:, 1, 0, 1], [0.5, 2.0])
    assert_allclose(moved.sum(axis=(1, 2, 3)), [0.5, 2.0])
    assert_array_equal(agent.posterior_counts(state, "what")[0], model.pA[1])
    assert_allclose(agent.posterior_counts(state, "pD[0]")[0], [1.0, 0.5])
    assert_array_equal(agent.prior_counts(state, "pB[0]")[0], model.pB[0])
    with pytest.raises(
        ValueError, match=r"rate of Learning must name tables that are learned, .*; got 'D.what.'|must be one of"
    ):
        Agent(model, learning=Learning(rate={"pD[what]": 1.0}))
    with pytest.raises(
        ValueError, match=r"retention of Learning must name tables that are learned, .*'pD\[0\]'\]; got 'A\[0\]'"
    ):
        Agent(model, learning=Learning(retention={"A[0]": 1.0}))
    with pytest.raises(ValueError, match=r"B\[0\] is known to the agent \(its pB is None\)"):
        Agent(WORLD).posterior_counts(Agent(WORLD).init(), "pB[0]")


def test_habits_are_learned_and_followed():
    model = POMDP(A=[np.eye(2)], B=[np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)], pE=[np.array([1.0, 1.0])])
    agent = Agent(model, planner=Planner(gains=(), habit="always"))
    state = agent.init(2)
    for t in range(5):
        state, info = agent.step(state, [[t % 2], [0]], action=[[1], [0]])
    counts = agent.posterior_counts(state, "pE[0]")
    assert_allclose(counts, [[1.0, 5.0], [5.0, 1.0]])  # what is done last is counted when its outcome is seen
    assert_allclose(info.q_pi, [[0.2, 0.8], [0.8, 0.2]])  # what was learned before this step
    vector = POMDP(A=[np.eye(2)], B=model.B, pE=np.array([1.0, 3.0]))
    agent = Agent(vector, planner=Planner(gains=(), habit="always"))
    state, info = agent.step(agent.init(), 0, action=[0])
    assert_allclose(info.q_pi, [0.25, 0.75])
    state, info = agent.step(state, 0, action=[0])
    assert_allclose(agent.posterior_counts(state, "pE")[0], [2.0, 3.0])
    assert_allclose(info.q_pi, [0.25, 0.75])


def test_what_cannot_be_averaged_or_chosen_is_refused():
    space = HypothesisSpace({"stay": {"B[place]": STAY}, "learned": {"pB[place]": GO + 1}})
    with pytest.raises(ValueError, match="average needs hypotheses that all give counts, or all values, of 'B.place.'"):
        space.average("B[place]")
    space = HypothesisSpace({"stay": {"B[place]": STAY}, "go": {"B[place]": GO}})
    assert_allclose(space.average("B[place]"), 0.5)
    with pytest.raises(ValueError, match="preparation 'chosen' needs hypotheses about likelihoods alone"):
        Paradigm("p", "s", Agent(WORLD, space), WORLD, 3, space, 0, preparation="chosen")
    models = {"a": WORLD, "b": WORLD.with_(E=[np.array([0.1, 0.9])])}
    with pytest.raises(ValueError, match="models must agree in their priors over policies; E .or pE. of 'a' and 'b' differ"):
        HypothesisSpace.from_models(models)
    named = WORLD.with_(labels={**WORLD.labels, "outcomes": {"where": ["here", "there"]}})
    with pytest.raises(ValueError, match="models must agree in their names of outcomes"):
        HypothesisSpace.from_models({"a": WORLD, "b": named})
