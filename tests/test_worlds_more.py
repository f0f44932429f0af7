"""The general engine under odd use: refuted models, long trials, batches, forgetting, being told, worlds themselves."""

from __future__ import annotations

import copy
import math
import pickle

import enumeration as brute
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import (
    POMDP,
    Agent,
    HypothesisSpace,
    Learning,
    Paradigm,
    Planner,
    Reasoning,
    Selection,
    depends,
    replay,
    simulate,
)
from activebmr import reachable_rules as reachable
from activebmr.simulation.worlds import ModelProcess

FLIP = np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)
HALF = np.full((2, 2, 2), 0.5)
QUIET = Planner(gains=(), alpha=None)
NEVER = Selection(threshold=np.inf)


def entropy(p):
    return -sum(x * math.log(x) for x in np.ravel(p) if x > 0)


def observed(row):
    return [None if o is None else np.array([o]) if np.ndim(o) == 0 else np.asarray(o)[None] for o in row]


class Plans:
    """Worth of policies to somebody who believes in several models, each with states of its own: ``belief`` holds p(m) q_m."""

    def __init__(self, models, policies):
        self.models, self.policies = models, policies
        joint = list(np.ndindex(*models[0].num_outcomes))
        self.outcomes = joint
        self.like = [np.array([brute.likelihood(m, list(o)) for o in joint]) for m in models]
        self.moves = {}

    def move(self, belief, k, h):
        out = []
        for i, (b, m) in enumerate(zip(belief, self.models, strict=True)):
            key = i, tuple(self.policies[i][k][h])
            if key not in self.moves:
                self.moves[key] = brute.transitions(m, key[1])
            out.append(self.moves[key] @ b)
        return out

    def terms(self, belief, t):
        """Utility, I(S; O | M), I(M; O)."""
        total = sum(b.sum() for b in belief)
        each = [like * b / total for b, like in zip(belief, self.like, strict=True)]
        mixed = sum(x.sum(axis=1) for x in each)
        utility = sum(
            p * sum(brute.wanted(self.models[0], m, t)[x] for m, x in enumerate(o))
            for p, o in zip(mixed, self.outcomes, strict=True)
        )
        state, told = 0.0, entropy(mixed)
        for x in each:
            w = x.sum()
            if w > 0:
                state += w * (entropy(x.sum(axis=1) / w) + entropy(x.sum(axis=0) / w) - entropy(x / w))
                told -= w * entropy(x.sum(axis=1) / w)
        return np.array([utility, state, told])

    def values(self, belief, t, steps):
        out = []
        for k in range(len(self.policies[0])):
            b, total = belief, np.zeros(3)
            for h in range(steps):
                b = self.move(b, k, h)
                total = total + self.terms(b, t + 1 + h)
            out.append(total)
        return np.array(out)

    def search(self, belief, t, depth, backup):
        out = []
        for k in range(len(self.policies[0])):
            b = self.move(belief, k, 0)
            worth, total = self.terms(b, t + 1).sum(), sum(x.sum() for x in b)
            for o in range(len(self.outcomes) if depth else 0):
                after = [x * like[o] for x, like in zip(b, self.like, strict=True)]
                p = sum(x.sum() for x in after)
                if p > 0:
                    ahead = self.search(after, t + 1, depth - 1, backup)
                    worth += p / total * brute.Plans.back(ahead, 1.0, backup, 0.0)
            out.append(worth)
        return np.array(out)


def some_model(rng, outcomes, controls, steps, wishes):
    """Controlled factors, maybe one more among them, in any order; what they drive and show differs from model to model."""
    n = len(controls) + int(rng.integers(0, 2))
    u = [1] * n
    for f, c in zip(sorted(rng.permutation(n)[: len(controls)]), controls, strict=True):
        u[f] = c
    s = [int(rng.integers(1, 4)) for _ in range(n)]
    b_deps = [[f, *(g for g in range(n) if g != f and rng.random() < 0.4)] for f in range(n)]
    b = [brute._moves(rng, (s[f], *(s[g] for g in d), u[f]), d == [f]) for f, d in enumerate(b_deps)]
    a_deps = [[int(g) for g in rng.permutation(n)[: rng.integers(1, n + 1)]] for _ in outcomes]
    a = [brute.columns(rng, (o, *(s[g] for g in d)), 0.15) for o, d in zip(outcomes, a_deps, strict=True)]
    d = [brute.certain(rng, (k,)) if rng.random() < 0.4 else brute.columns(rng, (k,)) for k in s]
    return POMDP(A=a, B=b, C=wishes, D=d, A_dependencies=a_deps, B_dependencies=b_deps, policy_length=steps)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_models_of_their_own_are_compared_and_planned_with_as_enumeration_does(seed):
    """Also when some are refuted, by policies of several steps, by searches of both kinds, and near the end of a trial."""
    rng = np.random.default_rng(seed)
    steps, length = int(rng.integers(1, 3)), 4
    controls = [2] if steps == 2 else [[2], [2, 2], [3]][rng.integers(3)]
    outcomes = [int(x) for x in rng.integers(2, 4, size=rng.integers(1, 3))]
    wishes = [rng.normal(size=k) for k in outcomes]
    models = [some_model(rng, outcomes, controls, steps, wishes) for _ in range(3)]
    space = HypothesisSpace.from_models({f"m{i}": m for i, m in enumerate(models)}, rng.dirichlet(np.ones(3) * 3) + 0.01)
    model, truth = models[rng.integers(3)], models[rng.integers(3)]
    depth = 0 if steps > 1 else int(rng.integers(0, 2))
    backup = "best" if rng.random() < 0.5 else "posterior"
    best = backup == "best"
    agent = Agent(
        model,
        space,
        Planner(depth=0 if best else depth, gains=("state", "model"), alpha=None),
        selection=NEVER,
        reasoning=Reasoning(lookahead=depth if best else 0, outcome_cutoff=0.0, discount=1.0),
        trial_length=length,
    )

    def own(m, acting):
        out = np.zeros((*acting.shape[:-1], m.num_factors), dtype=int)
        out[..., list(m.controlled_factors)] = acting
        return out

    policies = model.policies[:, :, list(model.controlled_factors)]
    plans = Plans(models, [own(m, policies) for m in models])
    acts = np.array([[int(rng.integers(c)) for c in controls] for _ in range(length)])
    seen, _ = brute.lived(truth, rng, length, soft=0.2, controls=own(truth, acts).tolist())
    state = agent.init()
    for t, row in enumerate(seen):
        weights = [brute.paths(m, seen[: t + 1], own(m, acts)[:t].tolist())[-1] for m in models]
        with np.errstate(divide="ignore"):
            posterior = brute.softmax(np.log(space.prior) + np.log([w.sum() for w in weights]))
        state, info = agent.step(state, observed(row), action=own(model, acts)[t])
        assert_allclose(info.model_posterior, posterior, rtol=0, atol=1e-10)
        belief = [
            p * (brute.at_time(w, t) if w.sum() > 0 else np.zeros(len(brute.joint_states(m))))
            for p, w, m in zip(posterior, weights, models, strict=True)
        ]
        left = length - 1 - t
        if left:
            expected = plans.values(belief, t, min(steps, left))
            found = np.stack([info.utility, info.state_info_gain, info.model_info_gain], axis=1)
            assert_allclose(found, expected, rtol=0, atol=1e-9)
        if depth and left > 1:
            assert_allclose(info.neg_efe, plans.search(belief, t, 1, backup), rtol=0, atol=1e-8)


def test_a_refuted_world_of_several_parts_is_planned_without():
    """Two factors that nothing couples, each of which shows itself twice: nothing is left to be listed of the world that is
    refuted."""
    two = [np.eye(2), np.eye(2), np.eye(2), np.eye(2)]
    make = lambda d: POMDP(A=two, B=[FLIP, np.eye(2)[:, :, None]], D=[d, d], A_dependencies=[[0], [0], [1], [1]])  # noqa: E731
    one, other = make([1.0, 0.0]), make([0.5, 0.5])
    space = HypothesisSpace.from_models({"one": one, "other": other})
    agent = Agent(other, space, Planner(depth=1, gains=("state", "model", "param"), alpha=None))
    state, info = agent.step(agent.init(), [[1, 1, 1, 1]])
    assert_allclose(info.model_posterior, [0.0, 1.0], atol=1e-12)
    assert_allclose(info.model_info_gain, 0.0, atol=1e-12)
    assert np.isfinite(info.neg_efe).all()


# --- batches, copies ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(4))
def test_numbers_do_not_depend_on_the_batch_where_joint_states_move_by_what_is_learned(seed):
    """To the last bit: coupled factors of several states, whose transitions and initial states agents learn."""
    rng = np.random.default_rng(seed)
    shapes = {"pB[0]": (3, 3, 2, 2), "pB[1]": (2, 2, 1), "pD[0]": (3,), "pD[1]": (2,)}
    counts = {k: rng.gamma(1.0, size=v) + 0.1 for k, v in shapes.items()}
    model = POMDP(
        A=[brute.columns(rng, (3, 3, 2), 0.0), brute.columns(rng, (4, 2), 0.0), brute.columns(rng, (3, 3), 0.0)],
        B=[None, None],
        pB=[counts["pB[0]"], counts["pB[1]"]],
        pD=[counts["pD[0]"], counts["pD[1]"]],
        B_dependencies=[[0, 1], [1]],
        A_dependencies=[[0, 1], [1], [0]],
    )
    agent = Agent(model, planner=Planner(gains=("state", "param"), alpha=None))
    n, length = 5, 3
    seen = [[rng.integers(k, size=n) for k in model.num_outcomes] for _ in range(2 * length)]
    done = [np.stack([rng.integers(2, size=n), np.zeros(n, dtype=int)], axis=1) for _ in range(2 * length)]

    def life(who):
        state, out = agent.init(len(who)), []
        for t in range(2 * length):
            state, info = agent.step(state, [x[who] for x in seen[t]], action=done[t][who])
            out += [info.neg_efe, info.param_info_gain, info.free_energy, *info.qs]
            out += [agent.posterior_counts(state, k) for k in shapes]
            if t % length == length - 1:
                state, _ = agent.end_trial(state)
        return out

    whole = life(np.arange(n))
    for who in ([0], [3], [4, 1]):
        for mine, all_ in zip(life(np.array(who)), whole, strict=True):
            assert_array_equal(mine, all_[who])


@pytest.mark.parametrize("learns", [False, True])
def test_states_of_long_trials_can_be_pickled_and_copied(learns):
    """Where each belief holds on to the one before, 400 of them must not be 400 deep."""
    model = POMDP(A=[np.eye(2) * 0.8 + 0.1], B=[None], pB=[np.ones((2, 2, 2))])
    space = HypothesisSpace({"a": {"pB[0]": FLIP * 3 + 1}, "b": {"pB[0]": HALF * 2}}) if learns else None
    agent = Agent(model, space, QUIET, selection=NEVER)
    state = agent.init()
    for t in range(400):
        state, _ = agent.step(state, t % 2, action=[t % 2])
    after = [agent.posterior_counts(agent.end_trial(s)[0], "pB[0]") for s in (state, copy.deepcopy(state))]
    after.append(agent.posterior_counts(agent.end_trial(pickle.loads(pickle.dumps(state)))[0], "pB[0]"))
    assert_array_equal(after[0], after[1])
    assert_array_equal(after[0], after[2])
    if not learns:
        assert len(state.belief.path()) == 2  # nobody looks further back


def test_counts_that_are_handed_out_are_nobodys_counts():
    model = POMDP(A=[np.eye(2)], B=[FLIP], pD=[[1.0, 1.0]])
    agent = Agent(model, planner=QUIET)
    state = agent.init(2)
    agent.posterior_counts(state, "pD[0]")[:] = 99.0
    assert_array_equal(agent.posterior_counts(state, "pD[0]"), np.ones((2, 2)))


# --- forgetting, adopting, being told ----------------------------------------------------------------------------------------
BOTH = POMDP(A=[None], B=[None], pA=[np.ones((2, 2))], pB=[np.ones((2, 2, 2))])
SPACE = HypothesisSpace(
    {"a": {"pA[0]": np.ones((2, 2)), "pB[0]": np.ones((2, 2, 2))}, "b": {"pA[0]": np.eye(2) * 5 + 1, "pB[0]": FLIP * 3 + 1}}
)


def test_evidence_of_each_table_fades_by_its_own_retention():
    def counted(retention):
        agent = Agent(BOTH, SPACE, QUIET, learning=Learning(retention=retention), selection=NEVER)
        state = agent.init(2)
        for t in range(4):
            state, _ = agent.step(state, [[t % 2]] * 2, action=[[1]] * 2)
        models = agent.end_trial(state)[0].knowledge.models
        return {str(k): v.sum(axis=(1, 2, 3)) / 2 for k, v in models.counts[0].items()}, models

    whole, kept = counted(1.0)
    assert_allclose([whole["0"], whole["B[0]"]], [[4, 4], [3, 3]])
    by_table, faded = counted({"pB[0]": [0.5, 1.0]})
    assert_allclose([by_table["0"], by_table["B[0]"]], [[4, 4], [1.5, 3]])
    expected = kept.log_prior + np.array([[0.5], [1.0]]) * (kept.log_posterior - kept.log_prior)
    assert_allclose(faded.log_posterior, expected)
    nothing, same = counted({})
    assert_allclose([nothing["0"], nothing["B[0]"]], [[4, 4], [3, 3]])
    assert_array_equal(same.log_posterior, kept.log_posterior)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_hypothesis_that_gives_values_leaves_an_agent_its_counts(at_once):
    """Whether or not the others give counts of the same table."""
    model = POMDP(A=[np.eye(2)], B=[None], pB=[np.ones((2, 2, 2))], D=[[1.0, 0.0]])
    space = HypothesisSpace({"sharp": {"B[0]": FLIP}, "loose": {"pB[0]": HALF}})
    agent = Agent(model, space, QUIET, selection=Selection(threshold=1.0, at_once=at_once))
    state = agent.init()
    for t in range(6):
        state, _ = agent.step(state, t % 2, action=[1])
    state, _ = agent.end_trial(state)
    assert_array_equal(state.adopted, [0])
    expected = np.ones((2, 2, 2))
    expected[1, 0, 1] += 3
    expected[0, 1, 1] += 2
    assert_allclose(agent.posterior_counts(state, "pB[0]")[0], expected)


def test_being_told_how_a_trial_begins_is_evidence_about_hypotheses_of_that():
    blind, stay = [np.full((2, 2), 0.5)], [np.eye(2)[:, :, None]]
    agent = Agent(POMDP(A=blind, B=stay), HypothesisSpace({"a": {"D[0]": [0.9, 0.1]}, "b": {"D[0]": [0.1, 0.9]}}), QUIET)
    state = agent.tell(agent.init(2), np.array([[0], [-1]]))
    _, info = agent.step(state, [[0], [0]], action=[[0], [0]])
    assert_allclose(info.model_posterior, [[0.9, 0.1], [0.5, 0.5]])
    model = POMDP(A=blind, B=stay, pD=[[1.0, 1.0]])
    space = HypothesisSpace({"a": {"pD[0]": [9.0, 1.0]}, "b": {"pD[0]": [1.0, 9.0]}})
    agent = Agent(model, space, QUIET, selection=NEVER)
    state = agent.init()
    for _ in range(3):
        state, _ = agent.step(agent.tell(state, [[0]]), 0, action=[0])
        state, _ = agent.end_trial(state)
    odds = (9 / 10 * 10 / 11 * 11 / 12) / (1 / 10 * 2 / 11 * 3 / 12)
    assert_allclose(state.model_posterior[0], [odds / (1 + odds), 1 / (1 + odds)])


# --- settings of models of their own -----------------------------------------------------------------------------------------
ONE = POMDP(A=[None], B=[np.eye(2)[:, :, None]], pA=[np.ones((2, 2))], labels={"factor": ["x"]})
TWO = POMDP(A=[None], B=[None], pA=[np.ones((2, 3))], pB=[np.ones((3, 3, 1))], labels={"factor": ["y"]})
MODELS = HypothesisSpace.from_models({"one": ONE, "two": TWO})


@pytest.mark.parametrize("rate", [{"pB": 0.5}, {"pB[y]": 0.5}, {"pB[0]": 0.5, "pA": 0.25}])
def test_rates_may_name_tables_that_one_of_the_models_has(rate):
    agent = Agent(ONE, MODELS, QUIET, learning=Learning(rate=rate), selection=NEVER)
    state = agent.init()
    for t in range(3):
        state, _ = agent.step(state, t % 2, action=[0])
    counts = agent.end_trial(state)[0].knowledge.models.counts
    assert_allclose([x.sum() for c in counts for x in c.values()], [3 * rate.get("pA", 1.0)] * 2 + [2 * 0.5])


def test_what_no_model_has_is_refused_by_name():
    with pytest.raises(ValueError, match=r"rate of Learning must name tables that are learned, \['pA\[0\]'\]; got 'pD'"):
        Agent(ONE, MODELS, learning=Learning(rate={"pD": 0.5}))
    with pytest.raises(ValueError, match="retention of Learning must name tables that are learned, .*; got 'pD'"):
        Agent(BOTH, learning=Learning(retention={"pD": 0.5}))
    with pytest.raises(ValueError, match="own pA of Agent must not speak about modalities that hypotheses speak about"):
        Agent(ONE, MODELS, own={"pA[0]": np.ones((2, 2, 2))})


# --- worlds, results, models -------------------------------------------------------------------------------------------------
def test_a_world_follows_its_hypothesis_where_no_two_columns_agree():
    model = POMDP(A=[np.full((2, 2), 0.5)], B=[np.eye(2)[:, :, None]])
    said = {"a": [[0.9, 0.2], [0.1, 0.8]], "b": [[0.3, 0.6], [0.7, 0.4]]}
    process = ModelProcess(model, HypothesisSpace({k: {"A[0]": v} for k, v in said.items()}), np.array([0, 1] * 1000))
    for state in (0, 1):
        uniforms = np.random.default_rng(state).random((2000, process.n_uniforms))
        _, outcomes = process.reset(uniforms, np.full((2000, 1), state))
        for truth, name in enumerate(said):
            drawn = uniforms[truth::2, 1] >= said[name][0][state]
            assert_array_equal(outcomes[truth::2, 0], drawn)


def test_hypotheses_that_agree_do_not_leave_an_agent_unsure():
    model = POMDP(A=[np.eye(2)], B=[HALF], D=[[1.0, 0.0]])
    sure = {"B[0]": FLIP * 0.9 + 0.05}
    space = HypothesisSpace({"a": sure, "twin": sure, "b": {"B[0]": HALF}})
    agent = Agent(model, space, Planner(gains=("model",)), selection=Selection(threshold=3.0))
    result = simulate(Paradigm("x", "s", agent, model, 10, hypotheses=space, truth="a"), 8, 3, seed=1)
    assert (result.adopted_model == 0).all()
    assert (result.unsure[0, :, -1] == 0).all()
    assert_allclose(result.kl_to_truth, -np.log(2 * result.true_model_posterior), rtol=0, atol=1e-12)


def test_a_replay_measures_what_the_simulation_did():
    one = POMDP(A=[np.array([[0.9, 0.2], [0.1, 0.8]])], B=[None], pB=[FLIP + 1.0])
    two = POMDP(A=[np.full((2, 3), 0.5)], B=[FLIP, np.full((3, 3, 1), 1 / 3)], A_dependencies=[[1]])
    values = HypothesisSpace({"a": {"pB[0]": FLIP * 3 + 0.2}, "b": {"B[0]": HALF}})
    for space in (values, HypothesisSpace.from_models({"one": one, "two": two})):
        agent = Agent(one, space, Planner(gains=("model", "param")), selection=Selection(threshold=2.0, at_once=True))
        paradigm = Paradigm("x", "s", agent, one, 4, hypotheses=space, truth=0)
        trace = simulate(paradigm, 3, 3, seed=1, trace=True).trace
        again = replay(paradigm, **{k: trace[k][0].swapaxes(2, 3) for k in ("controls", "outcomes")})
        for name in ("neg_efe", "free_energy", "model_posterior", "log_odds", "kl_to_truth"):
            assert_array_equal(again[name], trace[name][0], err_msg=name)


def test_habits_change_where_new_counts_say_so():
    eyes = {"A": [np.eye(2), np.eye(2)], "B": [FLIP, FLIP], "A_dependencies": [[0], [1]]}
    model = POMDP(**eyes, E=[[0.9, 0.1], [0.3, 0.7]]).with_(pE=[None, [1.0, 3.0]])
    assert_allclose(np.stack(model.E), [[0.9, 0.1], [0.25, 0.75]])
    known = model.with_(pE=None)
    assert not known.learned
    assert_array_equal(np.stack(known.E), np.stack(model.E))
    assert_allclose(POMDP(A=[np.eye(2)], B=[FLIP], pE=np.array([1.0, 3.0])).with_(pE=None).E, [0.25, 0.75])


ROOM = POMDP(A=[np.full((2, 2, 3), 0.5)], B=[HALF, np.full((3, 3, 1), 1 / 3)], labels={"factor": ["side", "hue"]})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: depends(ROOM, "A[0]", [["side"], ["hue"], ["side"]], lambda s: [0.5, 0.5]), r"\['side'\] stands twice"),
        (lambda: depends(ROOM, "A[0]", [["side"], ["hue"]], lambda s: [1.0]), r"must return 2 probabilities, of A\[0\]"),
        (lambda: depends(ROOM, "A[0]", [["side"], ["hue"]], lambda s: [9, 1], concentration=2.0), "must sum to 1"),
        (lambda: reachable(ROOM, "side", {"a": [(0, 1, 1)], "b": []}), r"moves\['a'\] must hold pairs"),
    ],
)
def test_rules_name_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()
