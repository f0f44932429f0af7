"""Joint reasoning against brute force: plain loops over hypotheses, states and outcomes, no code of ours."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import POMDP, HypothesisSpace
from activebmr.inference.models.reasoner import JointReasoner, joint_size
from activebmr.inference.models.settings import Reasoning
from activebmr.model.layout import layouts_of
from activebmr.planning.models.shared import ImaginedThoughts, Prospects
from activebmr.planning.search import Search

OFFSET = 1 / 32
SEEDS = st.integers(0, 10_000)


@dataclass
class Problem:
    """A small model, hypotheses about its first modality, and evidence about it ``(rows, O, states...)``."""

    model: POMDP
    space: HypothesisSpace
    evidence: np.ndarray
    still: list[int]
    placed: list[int]  # the factors that actions set

    def kept(self, rows: slice = slice(None)) -> np.ndarray:
        """Evidence in the order in which the package keeps columns."""
        return np.stack([layouts_of(self.model)[0].keep(e) for e in self.evidence[rows]])


def random_columns(rng: np.random.Generator, shape: tuple[int, ...], zeros: float = 0.2) -> np.ndarray:
    raw = rng.gamma(1.0, size=shape) + 0.02
    drop = rng.random(shape) < zeros
    np.put_along_axis(drop, rng.integers(shape[0], size=shape[1:])[None], False, axis=0)
    raw = np.where(drop, 0.0, raw)
    return raw / raw.sum(axis=0)


def problem(seed: int, moving: bool = False, rows: int = 2) -> Problem:
    """Factors that stay, that actions set and (if ``moving``) that drift by themselves or are pushed, in any order."""
    rng = np.random.default_rng(seed)
    kinds = ["set"] * int(rng.integers(1, 3))
    kinds += (
        list(rng.permutation(["drift", "push", "fixed"])[: rng.integers(1, 3)])
        if moving
        else ["fixed"] * int(rng.integers(1, 3))
    )
    if moving and not {"drift", "push"} & set(kinds):
        kinds[-1] = "drift"
    kinds = [str(k) for k in rng.permutation(kinds)]
    sizes = [int(n) for n in rng.integers(2, 4, len(kinds))]
    still = [f for f, k in enumerate(kinds) if k != "set"]
    placed = [f for f, k in enumerate(kinds) if k == "set"]
    b, deps, d = [], [], []
    for f, kind in enumerate(kinds):
        deps.append([f])
        if kind == "set":
            target = rng.permutation(sizes[f])[: rng.integers(2, sizes[f] + 1)]
            b.append(np.repeat(np.eye(sizes[f])[:, None, target], sizes[f], axis=1))
            d.append(np.eye(sizes[f])[rng.integers(sizes[f])])
            continue
        d.append(random_columns(rng, (sizes[f],)))
        if kind == "fixed":
            b.append(np.eye(sizes[f])[:, :, None])
        else:
            others = [g for g in still if g != f]
            if others and rng.random() < 0.5:
                deps[f] = [int(g) for g in rng.permutation([f, others[0]])]
            shape = (sizes[f], *(sizes[g] for g in deps[f]), 1 if kind == "drift" else 2)
            b.append(random_columns(rng, shape))
            while ((b[-1] == 0) | (b[-1] == 1)).all():  # by chance a factor that stays or is set
                b[-1] = random_columns(rng, shape)
    n_modalities = int(rng.integers(2, 5))
    a, a_deps, pa = [], [], []
    for m in range(n_modalities):
        # the last one only tells where the agent put itself
        pool = placed if m == n_modalities - 1 else list(range(len(kinds)))
        these = [int(f) for f in rng.permutation(pool)[: rng.integers(1, len(pool) + 1)]]
        if m == 0 and not set(these) & set(still):
            these.append(still[0])
        shape = (int(rng.integers(2, 4)), *(sizes[f] for f in these))
        a_deps.append(these)
        a.append(None if m == 0 else random_columns(rng, shape))
        pa.append(np.ones(shape) if m == 0 else None)
    model = POMDP(A=a, B=b, D=d, pA=pa, A_dependencies=a_deps, B_dependencies=deps)
    shape = pa[0].shape
    pool = [rng.gamma(1.0, size=shape[0]) * (rng.random(shape[0]) < 0.7) * rng.choice([1, 8]) for _ in range(3)]
    pool = [c if c.sum() > 0 else np.ones(shape[0]) for c in pool]
    tensors = []
    for _ in range(int(rng.integers(3, 7))):
        if tensors and rng.random() < 0.25:
            tensors.append(tensors[int(rng.integers(len(tensors)))].copy())  # agrees everywhere with another one
            continue
        t = np.empty(shape)
        for at in np.ndindex(*shape[1:]):
            t[(slice(None), *at)] = pool[int(rng.integers(3))]
        tensors.append(t)
    space = HypothesisSpace(
        {f"h{i}": {"pA[0]": t} for i, t in enumerate(tensors)}, prior=rng.gamma(2.0, size=len(tensors)) + 0.1
    )
    evidence = rng.integers(0, 3, (rows, *shape)) * rng.random((rows, *shape)) * (rng.random((rows, *shape)) < 0.5)
    return Problem(model, space, evidence, still, placed)


class Brute:
    """One agent's beliefs as a plain dict (hypothesis, still states) -> probability; nothing is factorised."""

    def __init__(self, prob: Problem, row: int) -> None:
        self.prob, self.model, self.evidence = prob, prob.model, prob.evidence[row]
        self.hypotheses = range(len(prob.space))
        self.states = list(itertools.product(*(range(prob.model.num_states[f]) for f in prob.still)))
        self.where = tuple(int(prob.model.D[f].argmax()) for f in prob.placed)

    def initial(self, model_posterior) -> dict:
        out = {}
        for h in self.hypotheses:
            for s in self.states:
                p = float(model_posterior[h])
                for f, x in zip(self.prob.still, s, strict=True):
                    p *= float(self.model.D[f][x])
                out[h, s] = p
        return out

    def column(self, m: int, s: tuple, where: tuple) -> tuple:
        full = dict(zip(self.prob.still, s, strict=True)) | dict(zip(self.prob.placed, where, strict=True))
        return tuple(full[f] for f in self.model.A_dependencies[m])

    def chance(self, m: int, o: int, h: int, s: tuple, where: tuple, extra: dict | None = None) -> float:
        """P(o_m | hypothesis, states), given counts of this trial by column."""
        at = self.column(m, s, where)
        if m != 0:
            return float(self.model.A[m][(o, *at)])
        counts = []
        for x in range(self.model.num_outcomes[0]):
            n = self.prob.space.dense(h, 0)[(x, *at)] + OFFSET + self.evidence[(x, *at)]
            counts.append(n + (extra or {}).get((at, x), 0.0))
        return float(counts[o] / sum(counts))

    def together(self, outcomes, h: int, s: tuple, where: tuple, extra: dict | None = None) -> float:
        p = 1.0
        for m, o in enumerate(outcomes):
            if np.ndim(o) == 0:
                p *= self.chance(m, int(o), h, s, where, extra)
            else:
                p *= sum(float(w) * self.chance(m, x, h, s, where, extra) for x, w in enumerate(o))
        return p

    def move_chance(self, new: tuple, old: tuple, controls) -> float:
        p = 1.0
        before = dict(zip(self.prob.still, old, strict=True))
        for f, x in zip(self.prob.still, new, strict=True):
            now = tuple(before[g] for g in self.model.B_dependencies[f])
            p *= float(self.model.B[f][(x, *now, controls[f])])
        return p

    def moved(self, belief: dict, controls) -> dict:
        out = dict.fromkeys(belief, 0.0)
        for (h, s), p in belief.items():
            for new in self.states:
                out[h, new] += p * self.move_chance(new, s, controls)
        return out

    def go(self, controls) -> tuple:
        return tuple(int(self.model.B[f][:, 0, controls[f]].argmax()) for f in self.prob.placed)

    def bayes(self, belief: dict, outcomes, where: tuple, extra: dict | None = None) -> tuple[dict, float]:
        """New belief and evidence; ``extra`` counts per still state: what was seen in this trial were that the state."""
        after = {}
        for (h, s), p in belief.items():
            after[h, s] = p * self.together(outcomes, h, s, where, (extra or {}).get(s))
        total = sum(after.values())
        return {k: p / total for k, p in after.items()}, total

    def noted(self, extra: dict, outcomes, where: tuple) -> dict:
        out = {}
        for s in self.states:
            out[s] = dict(extra.get(s, {}))
            at = self.column(0, s, where)
            for x in range(self.model.num_outcomes[0]):
                weight = float(outcomes[0] == x) if np.ndim(outcomes[0]) == 0 else float(outcomes[0][x])
                out[s][at, x] = out[s].get((at, x), 0.0) + weight
        return out

    def all_outcomes(self):
        return itertools.product(*(range(n) for n in self.model.num_outcomes))

    def terms(self, belief: dict, controls, preferences, extra: dict | None = None) -> dict:
        """Utility and informations of one policy by enumeration."""
        after, where = self.moved(belief, controls), self.go(controls)
        state_p: dict = {}
        model_p: dict = {}
        for (h, s), p in after.items():
            state_p[s] = state_p.get(s, 0.0) + p
            model_p[h] = model_p.get(h, 0.0) + p
        out = dict.fromkeys(("utility", "state", "model", "all", "models"), 0.0)
        for o in self.all_outcomes():
            joint = {(h, s): p * self.together(o, h, s, where, (extra or {}).get(s)) for (h, s), p in after.items() if p > 0}
            total = sum(joint.values())
            if total <= 0:
                continue
            by_state: dict = {}
            by_model: dict = {}
            for (h, s), p in joint.items():
                by_state[s] = by_state.get(s, 0.0) + p
                by_model[h] = by_model.get(h, 0.0) + p
            out["utility"] += total * sum(float(preferences[m][x]) for m, x in enumerate(o))
            out["state"] += sum(p * math.log(p / (state_p[s] * total)) for s, p in by_state.items() if p > 0)
            out["models"] += sum(p * math.log(p / (model_p[h] * total)) for h, p in by_model.items() if p > 0)
            for (h, s), p in joint.items():
                if p > 0:
                    out["all"] += p * math.log(p / (after[h, s] * total))
                    out["model"] += p * math.log(p * state_p[s] / (by_state[s] * after[h, s]))
        return out

    def worth(self, belief: dict, controls, preferences, extra: dict | None = None) -> float:
        t = self.terms(belief, controls, preferences, extra)
        return t["utility"] + t["state"] + t["model"]

    def two_steps(self, belief: dict, controls, preferences, count: bool) -> float:
        """Worth of a policy and of the best one after each outcome."""
        total = self.worth(belief, controls, preferences)
        after, where = self.moved(belief, controls), self.go(controls)
        for o in self.all_outcomes():
            p = sum(q * self.together(o, h, s, where) for (h, s), q in after.items())
            if p <= 0:
                continue
            later, _ = self.bayes(after, o, where)
            extra = self.noted({}, o, where) if count else None
            p_best = max(self.worth(later, c, preferences, extra) for c in self.model.first_controls)
            total += p * p_best
        return total

    def array(self, belief: dict) -> np.ndarray:
        return np.array([[belief[h, s] for h in self.hypotheses] for s in self.states])


def random_trial(prob: Problem, seed: int, steps: int, soft: bool):
    """Controls and outcomes of a trial for every row."""
    rng = np.random.default_rng([seed, 7])
    rows = len(prob.evidence)
    controls = [np.stack([rng.integers(n, size=rows) for n in prob.model.num_controls], axis=1) for _ in range(steps - 1)]
    outcomes = []
    for _ in range(steps):
        seen = []
        for n in prob.model.num_outcomes:
            seen.append(rng.dirichlet(np.ones(n), rows) if soft and rng.random() < 0.5 else rng.integers(n, size=rows))
        outcomes.append(seen)
    return controls, outcomes


def filtered(prob: Problem, seed: int, steps: int, soft: bool = False):
    """A trial as the reasoner and as brute force live it: J at every time, and evidence of every outcome."""
    reasoner = JointReasoner(prob.model, prob.space, OFFSET)
    rows = len(prob.evidence)
    rng = np.random.default_rng([seed, 3])
    posterior = rng.dirichlet(np.ones(len(prob.space)), rows)
    controls, outcomes = random_trial(prob, seed, steps, soft)
    fixed = not reasoner.transitions
    joint, expected, placed = reasoner.begin(posterior), reasoner.expectations(prob.kept()), np.full(rows, reasoner.start)
    ours, log_z = [], []
    for t in range(steps):
        if t:
            joint, placed = reasoner.move(joint, controls[t - 1]), reasoner.placed(controls[t - 1])
        joint, z, _ = reasoner.update(joint, expected, placed, outcomes[t])
        reasoner.experience(expected, placed, outcomes[t][0])
        ours.append(joint.copy())
        log_z.append(z)
    theirs, their_z = [], []
    brutes = [Brute(prob, k) for k in range(rows)]
    beliefs, extras, wheres = (
        [b.initial(posterior[k]) for k, b in enumerate(brutes)],
        [{} for _ in brutes],
        [b.where for b in brutes],
    )
    for t in range(steps):
        row, row_z = [], []
        for k, b in enumerate(brutes):
            if t:
                beliefs[k], wheres[k] = b.moved(beliefs[k], controls[t - 1][k]), b.go(controls[t - 1][k])
            seen = [o[k] for o in outcomes[t]]
            beliefs[k], z = b.bayes(beliefs[k], seen, wheres[k], extras[k] if fixed else None)
            extras[k] = b.noted(extras[k], seen, wheres[k])
            row.append(b.array(beliefs[k]))
            row_z.append(math.log(z))
        theirs.append(np.stack(row))
        their_z.append(row_z)
    return {
        "reasoner": reasoner, "posterior": posterior, "controls": controls, "outcomes": outcomes, "expected": expected,
        "placed": placed, "ours": ours, "theirs": theirs, "log_z": log_z, "their_z": their_z, "brutes": brutes,
        "beliefs": beliefs, "extras": extras if fixed else [None] * rows, "wheres": wheres,
    }  # fmt: skip


def possible(seed: int, moving: bool, steps: int, soft: bool = False, **kwargs):
    """The first problem from a seed on whose outcomes are possible (an impossible one has no posterior)."""
    for s in range(seed, seed + 500):
        prob = problem(s, moving, **kwargs)
        try:
            trial = filtered(prob, s, steps, soft)
        except (ZeroDivisionError, ValueError):
            continue
        if min(z for zs in trial["their_z"] for z in zs) > -7:  # far from the floor of e^-32 that likelihoods have
            return prob, trial
    raise AssertionError("no possible problem")


# --- beliefs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("soft", [False, True])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_update_is_bayes_rule(moving, soft, seed):
    """J and log evidence at every time, with outcomes counted within the trial where states stay (`experience`)."""
    _, trial = possible(seed, moving, 4, soft)
    assert_allclose(np.array(trial["log_z"]), np.array(trial["their_z"]), rtol=1e-8, atol=1e-9)
    for ours, theirs in zip(trial["ours"], trial["theirs"], strict=True):
        assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
        assert_allclose(ours.sum(axis=(1, 2)), 1.0, rtol=1e-12)


def test_experience_is_the_dirichlet_multinomial():
    """The evidence of a whole trial, given the states, is that of a Dirichlet-multinomial: no order, no double counting."""
    from scipy.special import gammaln

    prob, trial = possible(5, False, 5)
    brute, placed, outcomes = trial["brutes"][0], None, trial["outcomes"]
    wheres = [brute.where] + [brute.go(c[0]) for c in trial["controls"]]
    weights = np.zeros((len(brute.states), len(prob.space)))
    for i, s in enumerate(brute.states):
        for h in brute.hypotheses:
            log_p = math.log(trial["posterior"][0, h])
            for f, x in zip(prob.still, s, strict=True):
                log_p += math.log(max(prob.model.D[f][x], 1e-300))
            counts: dict = {}
            for t, where in enumerate(wheres):
                at = brute.column(0, s, where)
                counts.setdefault(at, np.zeros(prob.model.num_outcomes[0]))[outcomes[t][0][0]] += 1
                for m in range(1, prob.model.num_modalities):
                    log_p += math.log(max(brute.chance(m, outcomes[t][m][0], h, s, where), math.exp(-32)))
            for at, n in counts.items():
                a = prob.space.dense(h, 0)[(slice(None), *at)] + OFFSET + brute.evidence[(slice(None), *at)]
                log_p += gammaln(a + n).sum() - gammaln(a).sum() - gammaln((a + n).sum()) + gammaln(a.sum())
            weights[i, h] = log_p
    total = np.exp(weights - weights.max())
    assert_allclose(trial["ours"][-1][0], total / total.sum(), rtol=1e-8, atol=1e-12)
    assert_allclose(sum(z[0] for z in trial["log_z"]), np.log(total.sum()) + weights.max(), rtol=1e-9)
    assert placed is None


@pytest.mark.parametrize("moving", [False, True])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_marginals(moving, seed):
    prob, trial = possible(seed, moving, 2)
    belief = trial["reasoner"].marginals(trial["ours"][-1], trial["placed"])
    for k, b in enumerate(trial["brutes"]):
        for i, f in enumerate(prob.still):
            expected = np.zeros(prob.model.num_states[f])
            for (_, s), p in trial["beliefs"][k].items():
                expected[s[i]] += p
            assert_allclose(belief[f][k], expected, atol=1e-10)
        for i, f in enumerate(prob.placed):
            assert_array_equal(belief[f][k], np.eye(prob.model.num_states[f])[trial["wheres"][k][i]])
        assert b.model is prob.model


@settings(max_examples=20)
@given(seed=SEEDS)
def test_smooth_is_hindsight_over_whole_trajectories(seed):
    steps = 3
    prob, trial = possible(seed, True, steps, rows=1)
    reasoner, b = trial["reasoner"], trial["brutes"][0]
    smoothed = reasoner.smooth(trial["ours"], trial["controls"])
    controls = [c[0] for c in trial["controls"]]
    wheres = [b.where] + [b.go(c) for c in controls]
    likelihood = [
        {(h, s): b.together([o[0] for o in trial["outcomes"][t]], h, s, wheres[t]) for h in b.hypotheses for s in b.states}
        for t in range(steps)
    ]
    moves = [{(new, old): b.move_chance(new, old, c) for new in b.states for old in b.states} for c in controls]
    start = b.initial(trial["posterior"][0])
    expected = [dict.fromkeys(start, 0.0) for _ in range(steps)]
    for h in b.hypotheses:
        for path in itertools.product(b.states, repeat=steps):
            p = start[h, path[0]] * likelihood[0][h, path[0]]
            for t in range(1, steps):
                p *= moves[t - 1][path[t], path[t - 1]] * likelihood[t][h, path[t]]
            for t, s in enumerate(path):
                expected[t][h, s] += p
    for t in range(steps):
        e = b.array(expected[t])
        assert_allclose(smoothed[t][0], e / e.sum(), rtol=1e-7, atol=1e-9)


def test_smooth_where_nothing_moves_is_the_last_belief():
    _, trial = possible(1, False, 3)
    for s in trial["reasoner"].smooth(trial["ours"], trial["controls"]):
        assert_array_equal(s, trial["ours"][-1])


# --- what policies are worth --------------------------------------------------------------------------------------------


def random_preferences(seed: int, model: POMDP) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, 11])
    raw = [rng.normal(size=n) * rng.integers(0, 2) for n in model.num_outcomes]
    return [c - np.log(np.exp(c).sum()) for c in raw]


@pytest.mark.parametrize("moving", [False, True])
@settings(max_examples=20)
@given(seed=SEEDS)
def test_terms_are_mutual_informations(moving, seed):
    """state = I(S; O), model = I(M; O | S), their sum I(M, S; O), utility E[C]; I(M; O) <= H(M), log of the outcomes."""
    prob, trial = possible(seed, moving, 2)
    wanted = random_preferences(seed, prob.model)
    terms = Prospects(trial["reasoner"]).terms(trial["ours"][-1], trial["expected"], wanted)
    for k, b in enumerate(trial["brutes"]):
        models = np.array([sum(p for (h, _), p in trial["beliefs"][k].items() if h == g) for g in b.hypotheses])
        entropy = -sum(p * math.log(p) for p in models if p > 0)
        for i, controls in enumerate(prob.model.first_controls):
            e = b.terms(trial["beliefs"][k], controls, wanted, trial["extras"][k])
            assert_allclose(e["all"], e["state"] + e["model"], atol=1e-10)
            assert_allclose(terms.state[k, i], e["state"], atol=1e-9)
            assert_allclose(terms.model[k, i], e["model"], atol=1e-9)
            assert_allclose(terms.utility[k, i], e["utility"], rtol=1e-9, atol=1e-10)
            assert e["models"] <= e["all"] + 1e-10
            assert e["models"] <= entropy + 1e-10
            # I(M; O) <= I(M; O, S) = I(M; S) + I(M; O | S), and no gain exceeds what is there to be known or can be said
            assert terms.model[k, i] <= entropy + 1e-9
            assert terms.model[k, i] <= math.log(prob.model.num_outcomes[0]) + 1e-9
            assert terms.state[k, i] + terms.model[k, i] <= sum(math.log(n) for n in prob.model.num_outcomes) + 1e-9


@settings(max_examples=20)
@given(seed=SEEDS)
def test_param_is_the_expected_novelty(seed):
    prob, trial = possible(seed, False, 2)
    rng = np.random.default_rng(seed)
    novelty = rng.random(prob.evidence.shape)
    kept = np.stack([layouts_of(prob.model)[0].keep(w) for w in novelty])
    terms = Prospects(trial["reasoner"]).terms(trial["ours"][-1], trial["expected"], random_preferences(seed, prob.model), kept)
    for k, b in enumerate(trial["brutes"]):
        for i, controls in enumerate(prob.model.first_controls):
            where, total = b.go(controls), 0.0
            for (h, s), p in trial["beliefs"][k].items():
                for o in range(prob.model.num_outcomes[0]):
                    total += p * b.chance(0, o, h, s, where, trial["extras"][k][s]) * novelty[(k, o, *b.column(0, s, where))]
            assert_allclose(terms.param[k, i], total, rtol=1e-9, atol=1e-10)


@given(seed=SEEDS)
def test_relabelling_the_hypotheses_changes_nothing(seed):
    prob = problem(seed, bool(seed % 2))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(prob.space))
    other = HypothesisSpace(
        {f"x{i}": {"pA[0]": prob.space.dense(int(h), 0)} for i, h in enumerate(order)}, prior=prob.space.prior[order]
    )
    posterior = rng.dirichlet(np.ones(len(order)), len(prob.evidence))
    wanted, terms, gains = random_preferences(seed, prob.model), [], []
    for space, p in ((prob.space, posterior), (other, posterior[:, order])):
        r = JointReasoner(prob.model, space, OFFSET)
        terms.append(Prospects(r).terms(r.begin(p), r.expectations(prob.kept()), wanted))
        gains.append(r.structure_gain(p))
    for name in ("state", "model", "utility"):
        assert_allclose(getattr(terms[0], name), getattr(terms[1], name), atol=1e-10)
    assert_allclose(gains[0], gains[1], atol=1e-10)


@given(seed=SEEDS)
def test_hypotheses_that_agree_leave_nothing_to_learn_about_them(seed):
    prob = problem(seed, bool(seed % 2))
    one = prob.space.dense(0, 0)
    same = HypothesisSpace({f"h{i}": {"pA[0]": one} for i in range(4)})
    r = JointReasoner(prob.model, same, OFFSET)
    posterior = np.random.default_rng(seed).dirichlet(np.ones(4), len(prob.evidence))
    terms = Prospects(r).terms(r.begin(posterior), r.expectations(prob.kept()), random_preferences(seed, prob.model))
    assert_allclose(terms.model, 0.0, atol=1e-12)
    assert_allclose(r.structure_gain(posterior), 0.0, atol=1e-12)
    alone = JointReasoner(prob.model, HypothesisSpace({"a": {"pA[0]": one}, "b": {"pA[0]": one}}), OFFSET)
    half = np.full((len(posterior), 2), 0.5)
    terms_alone = Prospects(alone).terms(
        alone.begin(half), alone.expectations(prob.kept()), random_preferences(seed, prob.model)
    )
    assert_allclose(terms.state, terms_alone.state, atol=1e-12)


@given(seed=SEEDS)
def test_certain_models_leave_no_model_gain(seed):
    prob = problem(seed, bool(seed % 2))
    r = JointReasoner(prob.model, prob.space, OFFSET)
    sure = np.eye(len(prob.space))[np.zeros(len(prob.evidence), dtype=int)]
    terms = Prospects(r).terms(r.begin(sure), r.expectations(prob.kept()), random_preferences(seed, prob.model))
    assert_allclose(terms.model, 0.0, atol=1e-12)


def look_ahead_of(reasoner, joint, expected, wanted, lookahead=1, discount=0.99, outcome_cutoff=1e-12):
    """Worth of every policy by itself, and with the best of what may follow."""
    now = Prospects(reasoner).terms(joint, expected, wanted).value(("state", "model"))
    ahead = ImaginedThoughts(Prospects(reasoner), lambda t: wanted, ("state", "model"), outcome_cutoff)
    search = Search(ahead, 1.0, "best", discount, lambda t: np.zeros(1), 10**7)
    return now, search.look_ahead((joint, expected), np.arange(len(joint)), 0, now, lookahead)


@pytest.mark.parametrize("seed", range(4))
def test_look_ahead_is_two_step_expectimax(seed):
    """With nothing cut off; in worlds that move, where outcomes are counted at the end of a trial alone."""
    prob = problem(seed, True, rows=1)
    r = JointReasoner(prob.model, prob.space, OFFSET)
    posterior = np.random.default_rng(seed).dirichlet(np.ones(len(prob.space)), 1)
    wanted = random_preferences(seed, prob.model)
    settings = {"lookahead": 1, "outcome_cutoff": 0.0, "discount": 1.0}
    _, value = look_ahead_of(r, r.begin(posterior), r.expectations(prob.kept()), wanted, **settings)
    b = Brute(prob, 0)
    belief = b.initial(posterior[0])
    expected = [b.two_steps(belief, c, wanted, count=False) for c in prob.model.first_controls]
    assert_allclose(value[0], expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_look_ahead_counts_what_it_imagines(seed):
    """Where states stay, an imagined outcome is experience: a second look at a column says less than the first."""
    prob = problem(seed, False, rows=1)
    r = JointReasoner(prob.model, prob.space, OFFSET)
    posterior = np.random.default_rng(seed).dirichlet(np.ones(len(prob.space)), 1)
    wanted = random_preferences(seed, prob.model)
    settings = {"lookahead": 1, "outcome_cutoff": 0.0, "discount": 1.0}
    _, value = look_ahead_of(r, r.begin(posterior), r.expectations(prob.kept()), wanted, **settings)
    b = Brute(prob, 0)
    belief = b.initial(posterior[0])
    expected = [b.two_steps(belief, c, wanted, count=True) for c in prob.model.first_controls]
    assert_allclose(value[0], expected, rtol=1e-8, atol=1e-9)


def test_discount_weighs_what_comes_later():
    prob = problem(1, False, rows=2)
    r = JointReasoner(prob.model, prob.space, OFFSET)
    wanted, evidence = random_preferences(1, prob.model), r.expectations(prob.kept())
    joint = r.begin(np.random.default_rng(1).dirichlet(np.ones(len(prob.space)), 2))
    held = {"lookahead": 1}
    now, whole = look_ahead_of(r, joint, evidence, wanted, discount=1.0, **held)
    _, half = look_ahead_of(r, joint, evidence, wanted, discount=0.5, **held)
    assert_allclose(half - now, 0.5 * (whole - now), rtol=1e-9, atol=1e-12)


def test_look_ahead_with_only_improbable_outcomes():
    """Outcomes so many that none reaches the cut-off: the search must not end in 0/0."""
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    noise = np.full((12, 2), 1 / 12)
    model = POMDP(
        A=[None, noise, noise],
        B=[np.eye(2)[:, :, None], go],
        D=[None, [1.0, 0.0]],
        pA=[np.ones((2, 2, 2)), None, None],
        A_dependencies=[[0, 1], [0], [0]],
    )
    rng = np.random.default_rng(0)
    space = HypothesisSpace({f"h{i}": {"pA[0]": rng.gamma(1.0, size=(2, 2, 2))} for i in range(3)})
    r = JointReasoner(model, space, OFFSET)
    wanted = [np.full(n, -math.log(n)) for n in model.num_outcomes]
    evidence = np.zeros((1, 4, 2))
    _, value = look_ahead_of(r, r.begin(np.full((1, 3), 1 / 3)), r.expectations(evidence), wanted, lookahead=1)
    assert np.isfinite(value).all()


@pytest.mark.parametrize("moving", [False, True])
def test_longer_look_ahead_and_chunks(moving, monkeypatch):
    """Three steps by recursion, and the same numbers whatever number of rows is looked into at once."""
    from activebmr.planning import search as module

    prob = problem(3, moving, rows=3)
    r = JointReasoner(prob.model, prob.space, OFFSET)
    posterior = np.random.default_rng(0).dirichlet(np.ones(len(prob.space)), 3)
    wanted = random_preferences(3, prob.model)
    now, two = look_ahead_of(r, r.begin(posterior), r.expectations(prob.kept()), wanted, lookahead=2, outcome_cutoff=0.05)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    _, again = look_ahead_of(r, r.begin(posterior), r.expectations(prob.kept()), wanted, lookahead=2, outcome_cutoff=0.05)
    assert_array_equal(two, again)
    assert np.isfinite(two).all() and now.shape == two.shape


@given(seed=SEEDS)
def test_structure_gain(seed):
    """Entropy of the classes of hypotheses that say the same about everything that a still state could show."""
    prob = problem(seed, False)
    r = JointReasoner(prob.model, prob.space, OFFSET)
    posterior = np.random.default_rng(seed).dirichlet(np.ones(len(prob.space)), len(prob.evidence))
    gain = r.structure_gain(posterior)
    b = Brute(prob, 0)
    everywhere = list(itertools.product(*(range(prob.model.num_states[f]) for f in prob.placed)))
    for i, s in enumerate(b.states):
        for k in range(len(posterior)):
            share: dict = {}
            for h in b.hypotheses:
                tensor = prob.space.dense(h, 0)
                says = tuple(tuple(tensor[(slice(None), *b.column(0, s, w))]) for w in everywhere)
                share[says] = share.get(says, 0.0) + posterior[k, h]
            assert_allclose(gain[k, i], -sum(p * math.log(p) for p in share.values()), atol=1e-10)


# --- what it is built from ------------------------------------------------------------------------------------------------


def test_joint_size_counts_hypotheses_times_states_that_no_action_sets():
    prob = problem(0, False)
    states = int(np.prod([prob.model.num_states[f] for f in prob.still]))
    assert joint_size(prob.model, 7) == 7 * states


def test_no_set_factor_or_only_set_factors():
    """Models whose actions set nothing, and models whose actions set everything, can be reasoned about too."""
    drift = np.array([[0.9, 0.2], [0.1, 0.8]])[:, :, None]
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    space = HypothesisSpace({"a": {"pA[0]": [[4, 1], [1, 4]]}, "b": {"pA[0]": [[1, 4], [4, 1]]}})
    for b, d in ((np.eye(2)[:, :, None], None), (drift, None), (go, [[1.0, 0.0]])):
        model = POMDP(A=[None], B=[b], D=d, pA=[np.ones((2, 2))])
        r = JointReasoner(model, space, OFFSET)
        joint, expected = r.begin(np.full((1, 2), 0.5)), r.expectations(np.zeros((1, 2, 2)))
        joint, log_z, _ = r.update(joint, expected, np.full(1, r.start), [np.array([0])])
        assert_allclose(joint.sum(), 1.0)
        assert_allclose(log_z, math.log(0.5))
        assert_allclose(r.marginals(joint, np.full(1, r.start))[0].sum(), 1.0)
        assert np.isfinite(Prospects(r).terms(joint, expected, [np.log([0.5, 0.5])]).state).all()


@pytest.mark.parametrize(
    "setting", [{"max_size": -1}, {"max_size": 1.5}, {"lookahead": -1}, {"outcome_cutoff": 1.0},
                {"outcome_cutoff": -0.1}, {"discount": 0.0}, {"discount": 1.1}]
)  # fmt: skip
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} of Reasoning must"):
        Reasoning(**setting)


def test_transitions_that_depend_on_set_factors_are_refused():
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    pushed = np.zeros((2, 2, 2, 1))
    pushed[:, :, 0, 0], pushed[:, :, 1, 0] = np.eye(2), np.eye(2)[::-1]
    model = POMDP(A=[None], B=[pushed, go], D=[None, [1.0, 0.0]], pA=[np.ones((2, 2, 2))], B_dependencies=[[0, 1], [1]])
    space = HypothesisSpace({"a": {"pA[0]": np.ones((2, 2, 2))}, "b": {"pA[0]": 1 + np.eye(2)[:, :, None] * np.ones(2)}})
    with pytest.raises(ValueError, match="factor 0"):
        JointReasoner(model, space, OFFSET)
