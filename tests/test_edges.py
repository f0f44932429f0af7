"""What lies at edges: limits of size to the last number, numbers that concern speed alone, zeros, and what is missing.

Truths are counted by hand or come from `enumeration`. The tests are fast, for many of them reach the same few lines otherwise
only in long examples.
"""

from __future__ import annotations

import importlib
import math
import warnings
from dataclasses import replace

import enumeration as brute
import numpy as np
import pytest
from numpy.testing import assert_allclose

from activebmr import POMDP, Agent, HypothesisSpace, Learning, PathSettings, Planner, Reasoning, Selection
from activebmr.inference.beliefs import Belief
from activebmr.inference.paths import PathCounts, Paths
from activebmr.inference.tables import KnownTable
from activebmr.model.layout import dynamics_of, layouts_of
from activebmr.planning.choice import Actions, policy_probabilities
from activebmr.planning.joint.keeping import keep
from activebmr.planning.paths.inference import PathInference
from activebmr.planning.preferences import log_preferences
from activebmr.reduction import model_posterior

QUIET = Planner(gains=(), alpha=None)
TOGETHER, AHEAD = Planner(gains=("state",), alpha=None), Planner(depth=1, gains=("state",), alpha=None)
GAINS = ("state", "param", "model")
AHEAD_TOO = Reasoning(lookahead=1)


# --- limits of size ----------------------------------------------------------------------------------------------------------
def full(rng, *shape):
    """Probabilities without a zero, so that nothing can be left out."""
    return brute.columns(rng, shape, zeros=0.0)


def coupled(learned=(), moved=False):
    """Two factors of 3 and 2 states, of which nothing is known, and modalities of 4 and 5 outcomes that depend on both."""
    rng = np.random.default_rng(0)
    deps = [[0, 1], [1, 0]] if moved else [[0], [1]]
    b = [
        full(rng, n, *((3, 2) if d == [0, 1] else (2, 3) if d == [1, 0] else (n,)), 2)
        for n, d in zip((3, 2), deps, strict=True)
    ]
    a = [full(rng, n, 3, 2) for n in (4, 5)]
    return POMDP(
        A=[None if "A" in learned else a[0], a[1]],
        B=[None if "B" in learned else b[0], b[1]],
        pA=[3 * a[0] if "A" in learned else None, None],
        pB=[3 * b[0] if "B" in learned else None, None],
        A_dependencies=[[0, 1], [0, 1]],
        B_dependencies=deps,
    )


def still(sizes=(3, 2)):
    """Factors that stay, and a learned modality of 4 outcomes that depends on all of them."""
    rng = np.random.default_rng(1)
    a = 2 * full(rng, 4, *sizes)
    model = POMDP(A=[None], B=[np.eye(n)[:, :, None] for n in sizes], pA=[a], A_dependencies=[list(range(len(sizes)))])
    return model, HypothesisSpace({f"h{i}": {0: 3 * full(rng, 4, *sizes)} for i in range(3)})


def spoken(planner, reasoning=None):
    """Three hypotheses about the first modality of 4 outcomes, whose factors move; the other has 5."""
    model, rng = coupled("A"), np.random.default_rng(2)
    space = HypothesisSpace({f"h{i}": {0: 3 * full(rng, 4, 3, 2)} for i in range(3)})
    agent = Agent(model, space, planner, reasoning=reasoning)
    agent.step(agent.init(), [0, 0])


def two_components():
    """Hypotheses about two modalities, of factors that nothing else couples."""
    rng = np.random.default_rng(3)
    a = [2 * full(rng, 4, n) for n in (3, 2)]
    model = POMDP(A=[None, None], B=[full(rng, n, n, 2) for n in (3, 2)], pA=a, A_dependencies=[[0], [1]])
    space = HypothesisSpace({f"h{i}": {m: 3 * full(rng, 4, n) for m, n in enumerate((3, 2))} for i in range(3)})
    agent = Agent(model, space, TOGETHER)
    agent.step(agent.init(), [0, 0])


def planned(model, planner, **options):
    agent = Agent(model, planner=planner, **options)
    agent.step(agent.init(), [0, 0])


def asked():
    model, space = still()
    agent = Agent(model, space, QUIET)
    agent.experiments(agent.init())


LIMITS = {
    # name: module and number, what is done, numbers that it needs, what it says if there is no room
    "paths": ("inference.paths.beliefs._LARGEST", lambda: Agent(coupled(), inference="paths", trial_length=3), 120, ValueError),
    "exact": ("inference.exact.LARGEST", lambda: Agent(coupled()), 6, ValueError),
    "filter": ("inference.by_factors.LARGEST", lambda: Agent(coupled(), inference="factorised"), 6, ValueError),
    # every pair of joint states, under two controls of each factor
    "motion": ("inference.exact._LARGEST_MOTION", lambda: Agent(coupled(moved=True)), 6 * 6 * 4, ValueError),
    "learned motion": ("inference.worlds.moving.LARGEST", lambda: Agent(coupled("B")), 6, ValueError),
    "experiments": ("inference.models.experiments._LARGEST", asked, 6, ValueError),
    "together": ("planning.joint.outlook.LARGEST", lambda: planned(coupled("A"), TOGETHER), 6 * 20, UserWarning),
    "block": ("planning.joint.blocks.LARGEST", lambda: planned(coupled(), TOGETHER), 6 * 20, UserWarning),
    "search": ("planning.joint.branches.LARGEST", lambda: planned(coupled(), AHEAD), 6 * 20, ValueError),
    "learned search": ("planning.joint.branches.LARGEST", lambda: planned(coupled("A"), AHEAD), 6 * 20, ValueError),
    "worlds, search": ("planning.worlds.foresight.LARGEST", lambda: planned(coupled("B"), AHEAD), 20, ValueError),
    "worlds, together": ("planning.worlds.prospects.LARGEST", lambda: planned(coupled("B"), TOGETHER), 20, UserWarning),
    "hypotheses": ("planning.models.own.LARGEST", two_components, 6 * 3, UserWarning),
    "hypotheses, search": ("planning.models.own.LARGEST", lambda: spoken(TOGETHER, AHEAD_TOO), 6 * 3, ValueError),
    # in each state: what three models say of 4 outcomes, and those with the 5 of the other modality
    "outcomes": ("planning.models.bundles.LARGEST", lambda: spoken(TOGETHER), 6 * (3 * 4 + 4 * 5), UserWarning),
}  # fmt: skip


def put(monkeypatch, name, value):
    module, attribute = f"activebmr.{name}".rsplit(".", 1)
    monkeypatch.setattr(importlib.import_module(module), attribute, value)


@pytest.mark.parametrize("name", LIMITS)
def test_what_just_fits_is_let_in_and_one_number_more_is_not(monkeypatch, name):
    limit, make, size, error = LIMITS[name]
    put(monkeypatch, limit, size)
    make()
    put(monkeypatch, limit, size - 1)
    with pytest.raises(ValueError) if error is ValueError else pytest.warns(UserWarning, match="inform separately"):
        make()


def test_who_finds_no_room_even_for_each_modality_by_itself_is_told_so(monkeypatch):
    put(monkeypatch, "planning.models.bundles.LARGEST", 6 * (3 * 4 + 4) - 1)
    with pytest.warns(UserWarning, match="inform separately"), pytest.raises(ValueError, match="max_size of Reasoning"):
        spoken(TOGETHER)


# --- numbers that concern speed alone ----------------------------------------------------------------------------------------
_SPEED = """
    inference.learned_dynamics._AT_ONCE inference.by_factors._AT_ONCE planning.joint.cells._AT_ONCE planning.joint.cells._FEW
    planning.joint.keeping._ENTRIES planning.joint.keeping._NUMBERS planning.joint.histories._NUMBERS planning.search._AT_ONCE
    planning.worlds.prospects._AT_ONCE planning.worlds.planning._AT_ONCE planning.models.groups._AT_ONCE
    planning.models.bundles._FEW planning.models.own._COMPARED planning.marginal._AT_ONCE inference.factorised._FEW
"""
SPEED = _SPEED.split()


def crowd(kind):
    """Five agents of every way to plan, with wishes of their own where they may have them."""
    model = coupled("A")
    own = {"C[0]": np.random.default_rng(6).normal(size=(5, 4))}
    planner = Planner(depth=1, gains=("state", "param"), alpha=None)
    if kind in ("factorised", "mean-field"):
        planner = Planner(depth=1, gains=("state", "param"), search="states", modalities="separate", max_states=8, alpha=None)
        return Agent(coupled(("A", "B")) if kind == "mean-field" else model, planner=planner, inference=kind, own=own)
    if kind == "worlds":
        return Agent(coupled(("A", "B")), planner=planner, own=own)
    if kind in ("own", "shared"):
        model, space = still()
        go = np.stack([np.eye(3)[:, [s] * 3] for s in range(3)], axis=2)
        model = POMDP(A=[None], B=[go, model.B[1]], D=[np.eye(3)[0], None], pA=model.pA, A_dependencies=[[0, 1]])
        own = own if kind == "own" else None
        return Agent(model, space, Planner(gains=GAINS, alpha=None), reasoning=Reasoning(counts=kind, lookahead=1), own=own)
    return Agent(model, planner=planner, own=own)


def told(agent):
    rng, state, out = np.random.default_rng(5), agent.init(5), []
    for _ in range(2):
        seen = np.stack([rng.integers(n, size=5) for n in agent.model.num_outcomes], axis=1)
        action = np.stack([rng.integers(n, size=5) for n in agent.model.num_controls], axis=1)
        state, info = agent.step(state, seen, action=action)
        out += [info.neg_efe, info.q_pi, *info.qs, info.free_energy]
    state, _ = agent.end_trial(state)
    return [*out, *(agent.posterior_counts(state, f"p{t}") for t in agent.model.learned)]


@pytest.mark.parametrize("kind", ["exact", "worlds", "own", "shared", "factorised", "mean-field"])
def test_numbers_that_concern_speed_change_nothing(monkeypatch, kind):
    whole = told(crowd(kind))
    assert all(np.isfinite(x).all() for x in whole)
    for value in (60, 2**40) if kind == "worlds" else (1, 300, 2**40):
        for name in SPEED:
            put(monkeypatch, name, value)
        for a, b in zip(told(crowd(kind)), whole, strict=True):
            assert_allclose(a, b, rtol=1e-10, atol=1e-12)


# --- likely states -----------------------------------------------------------------------------------------------------------
def test_likely_states_are_those_of_each_agent_by_itself():
    """Those beyond the cut-off, or beyond half the largest where that is less: one with a flat belief keeps all of its own."""
    q = np.array([[0.9, 0.05, 0.03, 0.02], [0.25, 0.25, 0.25, 0.25], [0.45, 0.25, 0.2, 0.1], [0.0, 0.0, 1.0, 0.0]])
    belief = Belief([q], [None], (4,))
    for cutoff in (0.01, 0.04, 0.15, 0.24, 0.3, 0.6):
        found = belief.likely(0, cutoff)
        for row, p in enumerate(q):
            kept = [s for s in range(4) if p[s] > min(cutoff, p.max() / 2)]
            some = slice(found.start[row], found.start[row + 1])
            assert list(found.index[some]) == kept, (cutoff, row)
            assert_allclose(found.weight[some], p[kept])


# --- hypotheses about some components, outcomes missing or half seen, zeros --------------------------------------------------
def observed(row):
    return [None if o is None else np.array([o]) if np.ndim(o) == 0 else np.asarray(o)[None] for o in row]


def live(agent, seen, done):
    state, out = agent.init(), []
    for t, row in enumerate(seen):
        state, info = agent.step(state, observed(row), action=done[t] if t < len(done) else agent.model.first_controls[0])
        out.append(info)
    return state, out


def check_posterior(agent, models, prior, seen, done):
    """Hypotheses and states of every time, and in hindsight, are those of all paths under all hypotheses."""
    state, told_ = live(agent, seen, done)
    for t, info in enumerate(told_):
        paths = [brute.paths(m, seen[: t + 1], done[:t])[-1] for m in models]
        weight = prior * np.array([p.sum() for p in paths])
        before = prior if t == 0 else prior * np.array([brute.paths(m, seen[:t], done[: t - 1])[-1].sum() for m in models])
        assert_allclose(info.free_energy, -math.log(weight.sum() / before.sum()), rtol=1e-9, atol=1e-10)
        if len(models) > 1:
            assert_allclose(np.ravel(info.model_posterior), weight / weight.sum(), rtol=1e-8, atol=1e-11)
        for f in range(models[0].num_factors):
            q = sum(w * brute.marginal(models[0], brute.at_time(p, t), f) for w, p in zip(weight, paths, strict=True) if w > 0)
            assert_allclose(np.ravel(info.qs[f]), q / weight.sum(), rtol=0, atol=1e-10)
    for t, qs in enumerate(agent.hindsight(state)):
        for f, mine in enumerate(qs):
            q = sum(w * brute.marginal(models[0], brute.at_time(p, t), f) for w, p in zip(weight, paths, strict=True) if w > 0)
            assert_allclose(np.ravel(mine), q / weight.sum(), rtol=0, atol=1e-10)


def apart(rng, zeros):
    """Two factors that nothing couples, each of which is seen by itself."""
    return POMDP(
        A=[brute.columns(rng, (3, n), zeros) for n in (3, 2)],
        B=[brute.columns(rng, (n, n, 2), zeros) for n in (3, 2)],
        D=[brute.columns(rng, (n,), zeros) for n in (3, 2)],
        A_dependencies=[[0], [1]],
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("table", ["A[0]", "B[0]", "B[1]", "D[0]"])
def test_hypotheses_about_one_component_leave_the_others_exact(table, seed):
    """Also where outcomes are missing or half seen, and where zeros rule states or a hypothesis out."""
    rng = np.random.default_rng([seed, sum(map(ord, table))])
    model, kind, i = apart(rng, 0.4), table[0], int(table[2])
    values = [brute.columns(rng, getattr(model, kind)[i].shape, 0.4) for _ in range(3)]
    models = [model.with_(**{kind: [v if j == i else x for j, x in enumerate(getattr(model, kind))]}) for v in values]
    prior = np.array([0.5, 0.3, 0.2])
    seen, done = brute.lived(models[0], rng, 3, missing=0.2, soft=0.4)
    space = HypothesisSpace({f"h{k}": {table: v} for k, v in enumerate(values)}, prior)
    check_posterior(Agent(model, space, QUIET, selection=Selection(threshold=np.inf), remember=True), models, prior, seen, done)


SHARP = 1e13


@pytest.mark.parametrize("counts", ["own", "shared"])
@pytest.mark.parametrize("seed", range(6))
def test_sharp_hypotheses_about_counts_with_outcomes_missing_or_half_seen(counts, seed):
    """A place that is set, and two factors of which one moves by chance: both ways to keep counts give Bayes' rule."""
    rng = np.random.default_rng([seed, 3])
    place = np.stack([np.eye(2)[:, [0, 0]], np.eye(2)[:, [1, 1]]], axis=2)
    likely = [full(rng, 3, 2, 3) for _ in range(3)]
    model = POMDP(
        A=[None, brute.columns(rng, (3, 2, 2), 0.3), full(rng, 2, 3)],
        B=[place, brute.columns(rng, (3, 3, 1), 0.3) if seed % 2 else np.eye(3)[:, :, None], np.eye(2)[:, :, None]],
        D=[[1.0, 0.0], full(rng, 3), [0.4, 0.6]],
        pA=[np.ones((3, 2, 3)), None, None],
        A_dependencies=[[0, 1], [0, 2], [1]],
    )
    models = [POMDP(A=[a, *model.A[1:]], B=model.B, D=model.D, A_dependencies=model.A_dependencies) for a in likely]
    space = HypothesisSpace({f"h{k}": {0: SHARP * a} for k, a in enumerate(likely)}, [0.5, 0.3, 0.2])
    agent = Agent(
        model,
        space,
        QUIET,
        selection=Selection(threshold=np.inf, offset=1e-9),
        reasoning=Reasoning(counts=counts),
        remember=True,
    )
    seen, done = brute.lived(models[0], rng, 3, missing=0.25, soft=0.4)
    check_posterior(agent, models, space.prior, seen, done)


@pytest.mark.parametrize("seed", range(10))
def test_exact_beliefs_with_zeros_anywhere(seed):
    """Warnings are errors here: that of a logarithm of zero would be one, too."""
    rng = np.random.default_rng([seed, 4])
    model = brute.small_model(seed + 500, learned=0.0, never=True)
    seen, done = brute.lived(model, rng, 3, missing=0.2, soft=0.3)
    check_posterior(Agent(model, planner=QUIET, remember=True), [model], np.ones(1), seen, done)


WAYS = ["exact", "factorised", "sequential", "mean-field", "paths", "spm"]


@pytest.mark.parametrize("inference", WAYS)
@pytest.mark.parametrize("learned", [False, True])
def test_certainty_and_zeros_warn_nobody(inference, learned):
    """A world without chance, preferences of minus infinity, and counts of zero: every way believes what is so."""
    go = np.stack([np.eye(2)[:, [0, 0]], np.eye(2)[:, [1, 1]]], axis=2)
    swap = np.eye(2)[::-1][:, :, None]
    one = np.zeros((2, 2, 2))
    one[0, 0], one[1, 1] = 1.0, 1.0  # what is shown is the place
    rest = {"A": [None], "pA": [4 * one]} if learned else {"A": [one]}
    model = POMDP(B=[go, swap], C=[[0.0, -np.inf]], D=[[1.0, 0.0], [1.0, 0.0]], A_dependencies=[[0, 1]], **rest)
    agent = Agent(model, planner=Planner(alpha=None), inference=inference, trial_length=3, learning=Learning())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = agent.init()
        for t, (o, u) in enumerate([(0, 1), (1, 0), (0, 0)]):
            state, info = agent.step(state, o, action=[u, 0])
            assert_allclose(info.qs[0][o], 1.0, atol=1e-6)
            assert_allclose(info.qs[1][t % 2], 1.0, atol=1e-6)
            assert not np.any(info.impossible)
            if t < 2:
                assert_allclose(info.q_pi[0], 1.0, atol=1e-6)  # what must never be is not gone to
        state, _ = agent.end_trial(state)
    if learned:
        gained = agent.posterior_counts(state, 0)[0] - 4 * one
        expected = np.zeros((2, 2, 2))
        expected[0, 0, 0], expected[1, 1, 1] = 2.0, 1.0
        assert_allclose(gained, expected, atol=1e-6)


# --- agents of a batch, factors of one state, sums ---------------------------------------------------------------------------
def chooser(kind, own=None, wishes=None):
    """Agents who look one step further than the next, of every way to plan; nothing but preferences moves them."""
    rng = np.random.default_rng(7)
    a, b = full(rng, 3, 2), full(rng, 2, 2, 2)
    counts = {"worlds": {"A": [a], "B": [None], "pB": [3 * b]}, "own": {"A": [None], "B": [b], "pA": [3 * a]}}
    model = POMDP(**{"A": [a], "B": [b], "D": [[0.7, 0.3]], "C": [wishes], **counts.get(kind, {})})
    planner = Planner(depth=1, gains=(), alpha=None, policy_cutoff=0.0, state_cutoff=0.0)
    options = {"own": own, "trial_length": 4}
    if kind == "values":
        space = HypothesisSpace({f"h{i}": {"B[0]": full(rng, 2, 2, 2)} for i in range(3)})
        return Agent(model, space, planner, reasoning=AHEAD_TOO, **options)
    if kind == "own":
        space = HypothesisSpace({f"h{i}": {0: 5 * full(rng, 3, 2)} for i in range(3)})
        return Agent(model, space, planner, reasoning=AHEAD_TOO, **options)
    if kind in ("exact", "worlds"):
        return Agent(model, planner=planner, **options)
    ahead = Planner(depth=1, gains=(), alpha=None, policy_cutoff=0.0, state_cutoff=0.0, search="states")
    return Agent(model, planner=Planner(gains=(), alpha=None) if kind == "paths" else ahead, inference=kind, **options)


@pytest.mark.parametrize("kind", ["exact", "worlds", "values", "own", "factorised", "sequential", "mean-field", "paths", "spm"])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_wishes_of_each_agent_are_those_of_a_model_that_has_them(kind, n):
    """As many agents as there are outcomes, policies or hypotheses, and more: an axis taken for another would go unseen."""
    wishes = np.random.default_rng(8).normal(size=(n, 3))
    together = chooser(kind, {"C[0]": wishes})
    seen = np.arange(n)[:, None] % 3
    _, whole = together.step(together.init(n), seen)
    for k in range(n):
        alone = chooser(kind, wishes=wishes[k])
        _, info = alone.step(alone.init(), seen[k])
        assert_allclose(whole.neg_efe[k], np.ravel(info.neg_efe), rtol=1e-10, err_msg=str(k))
        assert_allclose(whole.utility[k], np.ravel(info.utility), rtol=1e-10)


def beside(modalities, counts, wish=None, **own):
    """Hypotheses about what a hidden state shows, and a modality that is known and depends on that and on where one goes."""
    rng = np.random.default_rng(31)
    go = np.repeat(np.eye(3)[:, None, :], 3, axis=1)
    model = POMDP(
        A=[None, full(rng, 4, 2, 3)],
        B=[np.eye(2)[:, :, None], go],
        C=[None, wish],
        D=[[0.7, 0.3], [1.0, 0.0, 0.0]],
        pA=[3 * full(rng, 3, 2), None],
        A_dependencies=[[0], [0, 1]],
    )
    space = HypothesisSpace({f"h{i}": {0: 5 * full(rng, 3, 2)} for i in range(3)})
    planner = Planner(gains=("state", "model"), alpha=None, modalities=modalities)
    return Agent(model, space, planner, reasoning=Reasoning(counts=counts), **own)


@pytest.mark.parametrize("modalities", ["together", "separate"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_wishes_of_each_agent_about_what_is_known_beside_hypotheses(n, modalities):
    wishes = np.random.default_rng(8).normal(size=(n, 4))
    together, seen = beside(modalities, "own", own={"C[1]": wishes}), np.stack([np.arange(n) % 3, np.arange(n) % 4], axis=1)
    _, whole = together.step(together.init(n), seen)
    for k in range(n):
        alone = beside(modalities, "own", wishes[k])
        _, info = alone.step(alone.init(), seen[k])
        for name in ("neg_efe", "utility", "state_info_gain", "model_info_gain"):
            assert_allclose(getattr(whole, name)[k], np.ravel(getattr(info, name)), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("modalities", ["together", "separate"])
def test_before_anything_is_counted_it_does_not_matter_whose_counts_they_are(modalities):
    agents = [beside(modalities, counts) for counts in ("own", "shared")]
    plans = [a.plan(a.perceive(a.init(), [0, 1])[0]) for a in agents]
    for name in ("state", "model"):
        own, shared = (np.ravel(getattr(p.terms, name)) for p in plans)
        assert_allclose(own, shared, rtol=1e-9, atol=1e-12, err_msg=name)
    assert np.ptp(np.ravel(plans[0].terms.state)) > 1e-3


@pytest.mark.parametrize("inference", WAYS)
def test_a_factor_of_one_state_changes_nothing_whatever_is_done_to_it(inference):
    rng = np.random.default_rng(9)
    a, b, wish = full(rng, 3, 2), full(rng, 2, 2, 3), rng.normal(size=3)
    lone = np.ones((1, 1, 2))
    planner = Planner(gains=("state",), alpha=None)
    how = {"planner": planner, "inference": inference, "trial_length": 3}
    if inference == "paths":  # the number of factors counts among SPM's quirks
        how["paths"] = PathSettings(quirks=False)
    small = Agent(POMDP(A=[a], B=[b], C=[wish], D=[[0.7, 0.3]]), **how)
    more = POMDP(A=[a], B=[b, lone], C=[wish], D=[[0.7, 0.3], [1.0]], A_dependencies=[[0]], B_dependencies=[[0], [1]])
    large = Agent(more, **how)
    one, two = small.init(2), large.init(2)
    for o, u in (([0, 2], [1, 0]), ([1, 1], [2, 2]), ([2, 0], [0, 1])):
        one, here = small.step(one, np.array(o)[:, None], action=np.array(u)[:, None])
        two, there = large.step(two, np.array(o)[:, None], action=np.array([u, [1, 0]]).T)
        assert_allclose(there.qs[0], here.qs[0], rtol=1e-10)
        assert_allclose(there.free_energy, here.free_energy, rtol=1e-9, atol=1e-12)
        moves = [tuple(p[0]) for p in more.policies]
        for i, (u0, _) in enumerate(moves):
            assert_allclose(there.neg_efe[:, i], here.neg_efe[:, u0], rtol=1e-9, atol=1e-12)


def gains_of_one_factor(inference, **learned):
    """Expected gains about tables, of two moves, after outcome 1; and what is believed then."""
    rng = np.random.default_rng(10)
    a, b = rng.gamma(2.0, size=(3, 2)) + 0.3, rng.gamma(2.0, size=(2, 2, 2)) + 0.3
    about = {"A": [None] if "pA" in learned else [a / a.sum(axis=0)], "B": [None] if "pB" in learned else [b / b.sum(axis=0)]}
    model = POMDP(D=[[0.7, 0.3]], **about, **{k: [a if k == "pA" else b] for k in learned})
    agent = Agent(model, planner=Planner(gains=("param",), alpha=None), inference=inference)
    _, info = agent.step(agent.init(), 1)
    return np.ravel(info.param_info_gain), a, b, np.ravel(info.qs[0])


@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential", "mean-field"])
def test_novelty_of_outcomes_and_of_moves_is_summed(inference):
    both, a, b, q = gains_of_one_factor(inference, pA=True, pB=True)
    mean_a, mean_b, new_a, new_b = a / a.sum(axis=0), b / b.sum(axis=0), brute.novelty(a), brute.novelty(b)
    bayes = mean_a[1] * [0.7, 0.3]
    assert_allclose(q, bayes / bayes.sum(), rtol=1e-10)
    then = mean_b.transpose(2, 0, 1) @ q
    if inference == "exact":
        moves, outcomes = np.einsum("s,rsu,rsu->u", q, mean_b, new_b), np.einsum("ur,or,or->u", then, mean_a, new_a)
    else:  # as if what is predicted were independent: of the states before and after, and of states and outcomes (SPM)
        moves, outcomes = np.einsum("s,ur,rsu->u", q, then, new_b), np.einsum("uo,uo->u", then @ mean_a.T, then @ new_a.T)
    assert_allclose(both, outcomes + moves, rtol=1e-9)
    assert_allclose(gains_of_one_factor(inference, pB=True)[0], moves, rtol=1e-9)


@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential", "mean-field"])
def test_policies_have_evidence_of_their_own_along_paths_alone(inference):
    agent = Agent(coupled(), planner=Planner(gains=(), alpha=None), inference=inference)
    state, _ = agent.perceive(agent.init(2), np.zeros((2, 2), dtype=int))
    assert np.all(np.asarray(agent.plan(state).path_evidence) == 0)


# --- the order of factors ----------------------------------------------------------------------------------------------------
def three_factors(order, kind, turned=False):
    """A place that is set, a state that moves by itself and one that stays, in some order; outcomes show pairs of them, the
    modalities in one order or (``turned``) the other.
    """
    rng = np.random.default_rng(11)
    sizes, controls = (2, 3, 2), (2, 1, 1)
    go = np.stack([np.eye(2)[:, [u, u]] for u in range(2)], axis=2)
    b = [go, full(rng, 3, 3, 1), np.eye(2)[:, :, None]]
    d = [np.array([1.0, 0.0]), full(rng, 3), np.array([0.4, 0.6])]
    pairs = [(0, 1), (0, 2)]
    tables = [full(rng, 3, *(sizes[f] for f in p)) for p in pairs]
    other = [{"B": full(rng, 3, 3, 1), "A": full(rng, 3, 2, 3)} for _ in range(3)]
    at = [order.index(f) for f in range(3)]
    counted = kind in ("own", "shared")
    model = POMDP(
        A=[None if counted else tables[0], tables[1]][:: -1 if turned else 1],
        B=[None if kind == "worlds" and f == 1 else b[f] for f in order],
        C=[[0.0, 1.0, -1.0], [1.0, 0.5, 0.0]][:: -1 if turned else 1],
        D=[d[f] for f in order],
        pA=[2 * tables[0], None][:: -1 if turned else 1] if counted else None,
        pB=[3 * b[f] if f == 1 else None for f in order] if kind == "worlds" else None,
        A_dependencies=[[at[f] for f in p] for p in pairs][:: -1 if turned else 1],
    )
    assert [model.num_controls[i] for i in at] == list(controls)
    planner, more = Planner(depth=2, gains=GAINS, alpha=None), {}
    if kind == "values":
        space = HypothesisSpace({f"h{i}": {f"B[{at[1]}]": o["B"]} for i, o in enumerate(other)})
        planner, more = Planner(gains=GAINS, alpha=None), {"hypotheses": space, "reasoning": Reasoning(lookahead=2)}
    elif counted:
        space = HypothesisSpace({f"h{i}": {int(turned): 4 * o["A"]} for i, o in enumerate(other)})
        planner, more = (
            Planner(gains=GAINS, alpha=None),
            {"hypotheses": space, "reasoning": Reasoning(lookahead=2, counts=kind)},
        )
    elif kind != "exact" and kind != "worlds":
        how = {"gains": ("state", "param"), "modalities": "separate", "alpha": None}
        planner = Planner(**how) if kind == "paths" else Planner(depth=2, search="states", max_states=12, **how)
        more = {"inference": kind, "trial_length": 4}
        if kind == "paths":  # so many sweeps that their order does not matter
            more["paths"] = PathSettings(iterations=120, quirks=False)
    return Agent(model, planner=planner, **more), at


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("kind", ["exact", "worlds", "values", "own", "shared", "factorised", "mean-field", "paths", "spm"])
def test_the_order_of_factors_does_not_matter(kind, order):
    """Searches, too, over more than one step, and what one step later is taken for the same."""
    (one, at), (two, to) = three_factors((0, 1, 2), kind), three_factors(order, kind)
    here, there = one.init(3), two.init(3)
    for o, u in (([[0, 1], [2, 0], [1, 1]], [1, 0, 1]), ([[1, 1], [0, 2], [2, 2]], [0, 1, 1])):
        controls = np.zeros((3, 3), dtype=int)
        controls[:, 0] = u
        moved = np.zeros((3, 3), dtype=int)
        moved[:, to[0]] = u
        here, a = one.step(here, np.array(o), action=controls)
        there, b = two.step(there, np.array(o), action=moved)
        near = {"rtol": 1e-8, "atol": 1e-10}
        assert_allclose(b.neg_efe, a.neg_efe, **near)
        assert_allclose(b.free_energy, a.free_energy, **near)
        for f in range(3):
            assert_allclose(b.qs[to[f]], a.qs[at[f]], **near)


# --- choices -----------------------------------------------------------------------------------------------------------------
def test_policies_of_any_worth_precision_and_prior():
    """softmax(precision x worth + log prior), in plain numbers: what is out of the question has nothing, and where all that
    the prior allows is, or nothing has any weight, the prior alone counts.
    """
    never = -np.inf
    worths = [[1.0, 0.5, -2.0], [never, 0.3, 0.1], [never, never, 0.2], [never, never, never], [0.7, 0.7, 0.7]]
    priors = [[0.5, 0.3, 0.2], [0.0, 0.6, 0.4], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]
    precisions = [0.0, 0.5, 1.0, 4.0, np.inf]

    def expected(w, g, p):
        allowed = [i for i in range(3) if p[i] > 0 and (g == 0 or w[i] > never)]
        if not allowed:
            return np.array(p)
        best = max(w[i] for i in allowed)
        weight = np.zeros(3)
        for i in allowed:
            weight[i] = p[i] * (1.0 if g == 0 else float(w[i] == best) if g == np.inf else math.exp(g * (w[i] - best)))
        return weight / weight.sum()

    cases = [(w, g, p) for w in worths for g in precisions for p in priors]
    with np.errstate(divide="ignore"):
        log = np.log([p for _, _, p in cases])
    worth, precision = np.array([w for w, _, _ in cases]), np.array([[g] for _, g, _ in cases])
    whole = policy_probabilities(worth, precision, log)
    for i, (w, g, p) in enumerate(cases):
        assert_allclose(whole[i], expected(w, g, p), rtol=1e-12, atol=1e-300, err_msg=str((w, g, p)))
        alone = policy_probabilities(worth[i : i + 1], g, log[i])
        assert_allclose(alone[0], expected(w, g, p), rtol=1e-12, atol=1e-300, err_msg=str((w, g, p)))


def test_controls_drawn_from_one_number_are_independent():
    """Over all numbers, evenly spaced, each combination comes as often as the product of its factors' probabilities says."""
    sizes, n = (2, 1, 3, 2), 20_000
    rng = np.random.default_rng(12)
    model = POMDP(
        A=[np.ones((1, 2, 2, 2, 2))],
        B=[full(rng, 2, 2, k) for k in sizes],
        A_dependencies=[[0, 1, 2, 3]],
    )
    marginal = [full(rng, k) for k in sizes]
    drawn = Actions(model).draw_marginal([np.repeat(p[None], n, axis=0) for p in marginal], (np.arange(n) + 0.5) / n)
    for combination in np.ndindex(*sizes):
        share = (drawn == combination).all(axis=1).mean()
        assert abs(share - math.prod(p[u] for p, u in zip(marginal, combination, strict=True))) < 8 / n


# --- paths -------------------------------------------------------------------------------------------------------------------
def test_ascents_start_from_indifference_but_for_the_first():
    """How flat the prior is made to start from concerns the first outcome alone, when sweeps are too few to forget it."""
    rng = np.random.default_rng(13)
    model = POMDP(A=[full(rng, 3, 3)], B=[full(rng, 3, 3, 2)], D=[[0.9, 0.08, 0.02]])
    beliefs = []
    for erp in (1.0, 50.0):
        few = PathSettings(iterations=1, tau=4.0, erp=erp)
        agent = Agent(model, planner=QUIET, inference="paths", paths=few, trial_length=3)
        state, first = agent.step(agent.init(), 0, action=[0])
        _, second = agent.step(state, 2, action=[1])
        beliefs.append((np.ravel(first.qs[0]), np.ravel(second.qs[0])))
    (a, b), (c, d) = beliefs
    assert a[0] - c[0] > 0.05  # nearer to the prior
    assert_allclose(b, d, rtol=1e-12)


def test_judging_an_ascent_again_says_the_same():
    model = coupled()
    agent = Agent(model, planner=Planner(gains=("state",), alpha=None), inference="paths", trial_length=3)
    state, _ = agent.perceive(agent.init(2), np.array([[0, 1], [3, 2]]))
    evaluation = agent.plan(state)
    engine = PathInference(model, 3, ("state",), 1.0, lambda t: log_preferences(model, t))
    paths, tables = Paths(), [KnownTable(a, layout) for a, layout in zip(model.A, layouts_of(model), strict=True)]
    again, free_energy = engine.evaluate(
        paths, tables, engine.take_in(paths, tables, None, [np.array([0, 3]), np.array([1, 2])])
    )
    assert_allclose(again.q_pi, evaluation.q_pi, rtol=1e-12)
    assert_allclose(again.neg_efe, evaluation.neg_efe, rtol=1e-12)
    assert free_energy.shape == (2,) and np.isfinite(free_energy).all()


# --- what nobody cares about -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", ["own", "shared", "values"])
def test_hypotheses_about_what_nobody_wants_leave_searches_alone(kind, depth):
    """Worth is that of agents without hypotheses, who will know more about the other state when they choose again."""
    rng = np.random.default_rng(14)
    go = np.stack([np.eye(3)[:, [u] * 3] for u in range(3)], axis=2)
    clear, dim = full(rng, 3, 3, 2), np.full((3, 3, 2), 1 / 3)
    clear[:, 1:] = dim[:, 1:]  # only in the first place one sees how things are
    pays = np.zeros((2, 3, 2))
    pays[:, 0], pays[:, 1], pays[:, 2] = [[0.5, 0.5], [0.5, 0.5]], [[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]]
    about = full(rng, 3, 3, 2)
    rest = {
        "B": [
            go,
            full(rng, 2, 2, 1) if kind == "values" else np.eye(2)[:, :, None],
            np.array([[0.9, 0.2], [0.1, 0.8]])[:, :, None],
        ],
        "C": [None, None, [0.0, 2.0]],
        "D": [np.eye(3)[0], [0.5, 0.5], [0.6, 0.4]],
        "A_dependencies": [[0, 1], [0, 2], [0, 2]],
    }
    plain = Agent(POMDP(A=[about, clear, pays], **rest), planner=Planner(depth=depth, gains=(), alpha=None, backup="best"))
    reasoning = Reasoning(lookahead=depth, discount=1.0, outcome_cutoff=0.0, **({} if kind == "values" else {"counts": kind}))
    if kind == "values":
        space = HypothesisSpace({f"h{i}": {"B[1]": full(rng, 2, 2, 1)} for i in range(3)})
        model = POMDP(A=[about, clear, pays], **rest)
    else:
        space = HypothesisSpace({f"h{i}": {0: 5 * full(rng, 3, 3, 2)} for i in range(3)})
        model = POMDP(A=[None, clear, pays], pA=[2 * about, None, None], **rest)
    agent = Agent(model, space, Planner(gains=(), alpha=None), reasoning=reasoning, selection=Selection(threshold=np.inf))
    one, other = agent.init(2), plain.init(2)
    for seen, place in (([[0, 1, 0], [2, 2, 1]], [1, 0]), ([[1, 0, 1], [0, 1, 1]], [0, 2])):
        action = np.array([[p, 0, 0] for p in place])
        one, mine = agent.step(one, np.array(seen), action=action)
        other, theirs = plain.step(other, np.array(seen), action=action)
        assert_allclose(mine.qs[2], theirs.qs[2], rtol=1e-10)
        assert_allclose(mine.neg_efe, theirs.neg_efe, rtol=1e-9, atol=1e-10)
    assert np.ptp(theirs.neg_efe, axis=1).min() > 0.05


# --- what must never be ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["exact", "worlds", "values", "own", "shared", *WAYS[1:]])
@pytest.mark.parametrize("depth", [0, 1])
def test_what_must_never_be_is_never_chosen_and_costs_nothing_elsewhere(kind, depth):
    """Whatever is minus infinity counts only where it can happen: in one of three places; what is left is log softmax of C."""
    if depth and kind == "paths":
        return
    rng = np.random.default_rng(15)
    go = np.stack([np.eye(3)[:, [u] * 3] for u in range(3)], axis=2)
    shows = np.eye(3)
    lamp = full(rng, 2, 2, 2)
    model = POMDP(
        A=[shows, full(rng, 2, 2) if kind not in ("own", "shared") else None],
        B=[go, None if kind == "worlds" else lamp[:, :, :1]],
        C=[[1.0, 0.0, -np.inf], None],
        D=[np.eye(3)[0], [0.5, 0.5]],
        pA=[None, np.ones((2, 2))] if kind in ("own", "shared") else None,
        pB=[None, 3 * lamp[:, :, :1]] if kind == "worlds" else None,
        A_dependencies=[[0], [1]],
    )
    about = {"B[1]": lambda: full(rng, 2, 2, 1)} if kind == "values" else {"pA[1]": lambda: 5 * full(rng, 2, 2)}
    ways = {"search": "states", "modalities": "separate"} if kind in WAYS[1:] else {}
    planner = Planner(depth=depth if kind in ("exact", "worlds", *WAYS[1:]) else 0, gains=(), alpha=None, backup="best", **ways)
    if kind in ("values", "own", "shared"):
        space = HypothesisSpace({f"h{i}": {k: make() for k, make in about.items()} for i in range(3)})
        how = {} if kind == "values" else {"counts": kind}
        agent = Agent(model, space, planner, reasoning=Reasoning(lookahead=depth, discount=1.0, **how))
    else:
        more = {"inference": kind, "trial_length": 4} if kind in WAYS[1:] else {}
        if kind == "paths":  # what has just been seen counts among SPM's quirks
            more["paths"] = PathSettings(quirks=False)
        agent = Agent(model, planner=planner, **more)
    state = agent.init(2)
    state, info = agent.step(state, np.array([[0, 1], [0, 0]]), action=np.array([[1, 0], [0, 0]]))
    # the other modality's outcomes are worth log 1/2 each
    log = np.log(np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()) - math.log(2)
    assert_allclose(info.utility[:, :2], np.repeat(log[None], 2, axis=0), atol=1e-6)
    if ways:  # SPM's, where what must never be is worth -32
        assert (info.utility[:, 2] < -31).all() and (info.q_pi[:, 2] < 1e-12).all()
    else:
        assert (info.utility[:, 2] == -np.inf).all() and (info.q_pi[:, 2] == 0).all()
    assert_allclose(info.q_pi[:, 0] / info.q_pi[:, 1], math.e, rtol=1e-5)
    if depth and not ways:
        assert_allclose(info.neg_efe[:, :2], log + log.max() + np.zeros((2, 1)), atol=1e-6)


# the offset of hypotheses gives what they speak about a chance in any case
@pytest.mark.parametrize(
    "kind, about_what_is_spoken_of",
    [("exact", False), ("exact", True), ("worlds", False), ("worlds", True), ("own", False), ("shared", False)],
)
def test_what_must_never_be_and_cannot_be_warns_nobody(kind, about_what_is_spoken_of):
    """Neither where a state is ruled out in which it could be, nor where counts rule it out in all states."""
    rng = np.random.default_rng(16)
    counts = np.array([[3.0, 1.0], [1.0, 2.0], [0.0, 0.0]])
    bad = np.array([[0.5, 0.0], [0.5, 0.5], [0.0, 0.5]])  # the last outcome only in the second state, where it is not
    go, stay = np.stack([np.eye(2)[:, [u, u]] for u in range(2)], axis=2), np.eye(2)[:, :, None]
    wishes = [None, [0.0, 0.0, -np.inf]][:: -1 if about_what_is_spoken_of else 1]
    with_counts = kind in ("own", "shared", "worlds")
    model = POMDP(
        A=[None if with_counts else counts / counts.sum(axis=0), bad],
        B=[go, stay, stay],
        C=wishes,
        D=[[1.0, 0.0], [0.3, 0.7], [1.0, 0.0] if kind != "worlds" else None],
        pA=[counts, None] if with_counts else None,
        pD=[None, None, [2.0, 0.0]] if kind == "worlds" else None,
        A_dependencies=[[1], [2]],
    )
    planner = Planner(gains=("state", "param"), alpha=None)
    if kind in ("own", "shared"):
        space = HypothesisSpace({f"h{i}": {0: counts * rng.gamma(2.0, size=(3, 2))} for i in range(3)})
        agent = Agent(model, space, planner, reasoning=Reasoning(counts=kind), selection=Selection(offset=1e-3))
    else:
        agent = Agent(model, planner=planner)
    _, info = agent.step(agent.init(2), np.array([[0, 0], [1, 1]]), action=np.zeros((2, 3), dtype=int))
    assert_allclose(info.utility, -math.log(2) - math.log(3), rtol=1e-9)


def test_the_size_of_a_search_that_is_refused_is_that_of_an_agent():
    planner = Planner(depth=2, gains=(), alpha=None, max_nodes=10)
    said = set()
    for n in (1, 4):
        agent = Agent(coupled(), planner=planner)
        with pytest.raises(ValueError, match="max_nodes") as error:
            agent.step(agent.init(n), np.zeros((n, 2), dtype=int))
        said.add(str(error.value))
    assert len(said) == 1


def test_what_moves_teach_along_policies_of_a_trial_is_what_the_moves_to_come_do():
    """States are seen; after the first move policies differ in the second alone, one of which is hardly known."""
    rng = np.random.default_rng(17)
    b = np.stack([np.eye(2) * 60 + 20, rng.gamma(2.0, size=(2, 2)) + 0.5], axis=2)
    policies = np.array([[[u], [v]] for u in range(2) for v in range(2)])
    model = POMDP(A=[np.eye(2)], B=[b / b.sum(axis=0)], policies=policies)
    settings = PathSettings(policies="trial", quirks=False, iterations=200)
    engine = PathInference(model, 3, ("param",), 1.0, lambda t: log_preferences(model, t), settings)
    paths, tables = Paths(counts=PathCounts.start(model, 1, [b])), [KnownTable(model.A[0], layouts_of(model)[0])]
    engine.advance(paths, tables, None, [np.array([0])])
    *_, evaluation = engine.advance(paths, tables, np.array([[0]]), [np.array([1])])
    gain = np.einsum("rsu,rsu->su", b / b.sum(axis=0), brute.novelty(b))[1]
    assert_allclose(evaluation.terms.param[0, :2], gain, rtol=1e-4)


WARNED = {
    "spm": lambda: Agent(coupled(), planner=Planner(gains=("state",)), inference="spm", trial_length=3),
    "states": lambda: Agent(coupled(), planner=Planner(depth=1, gains=("state",), search="states"), inference="factorised"),
    "too many for hypotheses": lambda: Agent(*still(), QUIET, reasoning=Reasoning(max_size=1)),
    "counts too many": lambda: Agent(*still(), QUIET, reasoning=Reasoning(max_size=20)),
}


@pytest.mark.parametrize("name", WARNED)
def test_warnings_point_at_who_made_the_agent(name):
    with pytest.warns(UserWarning) as caught:
        WARNED[name]()
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", ["exact", "worlds", "values", "own", "shared"])
def test_a_place_that_nobody_cares_about_leaves_searches_alone(kind, first):
    """Wherever one goes, and wherever among the factors it stands; its outcomes are worth log 1/2 at every step."""
    rng = np.random.default_rng(18)
    a, b, wish, go = (
        full(rng, 3, 2),
        full(rng, 2, 2, 2),
        rng.normal(size=3),
        np.stack([np.eye(2)[:, [u, u]] for u in range(2)], axis=2),
    )
    priors, values = [5 * full(rng, 3, 2) for _ in range(3)], [full(rng, 2, 2, 2) for _ in range(3)]
    deep, depth = kind in ("exact", "worlds"), 2

    def agent(place):
        at = 1 if place and first else 0  # of the factor and the modality that matter

        def with_place(mine, its):
            return ([its, mine] if at else [mine, its]) if place else [mine]

        counted = kind in ("own", "shared")
        model = POMDP(
            A=with_place(None if counted else a, np.eye(2)),
            B=with_place(None if kind == "worlds" else b, go),
            C=with_place(wish, None),
            D=with_place([0.7, 0.3], [1.0, 0.0]),
            pA=with_place(2 * a, None) if counted else None,
            pB=with_place(3 * b, None) if kind == "worlds" else None,
            A_dependencies=with_place([at], [1 - at]),
        )
        planner = Planner(depth=depth if deep else 0, gains=("state",), alpha=None, backup="best")
        if deep:
            return Agent(model, planner=planner), at
        table = f"B[{at}]" if kind == "values" else at
        space = HypothesisSpace({f"h{i}": {table: x} for i, x in enumerate(values if kind == "values" else priors)})
        how = {"counts": kind} if counted else {}
        reasoning = Reasoning(lookahead=depth, discount=1.0, outcome_cutoff=0.0, **how)
        return Agent(model, space, planner, reasoning=reasoning, selection=Selection(threshold=np.inf)), at

    (one, _), (two, at) = agent(False), agent(True)
    _, here = one.step(one.init(2), np.array([[0], [2]]), action=np.zeros((2, 1), dtype=int))
    seen = np.zeros((2, 2), dtype=int)
    seen[:, at] = [0, 2]
    _, there = two.step(two.init(2), seen, action=np.zeros((2, 2), dtype=int))
    for i, controls in enumerate(two.model.first_controls):
        value = there.neg_efe[:, i] + (depth + 1) * math.log(2)
        assert_allclose(value, here.neg_efe[:, controls[at]], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", ["exact", "worlds", "values", "own", "shared", "factorised", "mean-field", "paths", "spm"])
def test_the_order_of_modalities_does_not_matter(kind):
    (one, _), (two, _) = three_factors((0, 1, 2), kind), three_factors((0, 1, 2), kind, turned=True)
    here, there = one.init(3), two.init(3)
    for o, u in (([[0, 1], [2, 0], [1, 1]], [1, 0, 1]), ([[1, 1], [0, 2], [2, 2]], [0, 1, 1])):
        controls = np.zeros((3, 3), dtype=int)
        controls[:, 0] = u
        here, a = one.step(here, np.array(o), action=controls)
        there, b = two.step(there, np.array(o)[:, ::-1], action=controls)
        for name in ("utility", "state_info_gain", "param_info_gain", "neg_efe", "free_energy"):
            assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.parametrize(
    "kind", ["exact", "worlds", "values", "own", "shared", "factorised", "sequential", "mean-field", "paths"]
)
def test_what_some_agents_of_a_batch_half_see_or_miss_is_theirs_alone(kind):
    """What one does not see tells one nothing, whoever else has seen something."""
    agent, _ = three_factors((0, 1, 2), kind)
    no = [np.nan] * 3
    a = np.array([[0.5, 0.5, 0.0], no, [1.0, 0.0, 0.0], no])
    b = np.array([no, [0.0, 0.2, 0.8], [0.6, 0.4, 0.0], no])
    action = np.zeros((4, 3), dtype=int)
    _, whole = agent.step(agent.init(4), [a, b], action=action)
    for k in range(4):
        _, alone = agent.step(agent.init(1), [a[k : k + 1], b[k : k + 1]], action=action[:1])
        for f in range(3):
            assert_allclose(whole.qs[f][k], alone.qs[f][0], rtol=1e-9, atol=1e-12)
        assert_allclose(whole.free_energy[k], alone.free_energy[0], rtol=1e-9, atol=1e-12)
    assert_allclose(whole.qs[2][3], [0.4, 0.6], rtol=1e-6)


@pytest.mark.parametrize("kind", ["values", "own", "shared"])
def test_telling_where_actions_lead_says_nothing(kind):
    agent, _ = three_factors((0, 1, 2), kind)
    told_, silent = (agent.tell(agent.init(), np.array([[place, -1, 1]])) for place in (1, -1))
    (_, a), (_, b) = (agent.step(s, np.array([[0, 1]]), action=np.zeros((1, 3), dtype=int)) for s in (told_, silent))
    for f in range(3):
        assert_allclose(a.qs[f], b.qs[f], rtol=1e-12)
    assert_allclose(a.qs[2][0] if np.ndim(a.qs[2]) == 2 else a.qs[2], [0.0, 1.0], atol=1e-12)
    told_, silent = agent.tell(agent.init(), np.array([[1, -1, -1]])), agent.init()
    (_, a), (_, b) = (agent.step(s, np.array([[0, 1]]), action=np.zeros((1, 3), dtype=int)) for s in (told_, silent))
    for f in range(3):
        assert_allclose(a.qs[f], b.qs[f], rtol=1e-12)


def test_spm_drops_states_up_to_e_to_the_minus_16():
    """However much then speaks for them."""
    for power, kept in ((15.5, True), (16.5, False)):
        p = math.exp(-power)
        speaks = np.array([[1.0, 1e-12], [0.0, 1.0 - 1e-12]])
        agent = Agent(POMDP(A=[speaks], B=[np.eye(2)[:, :, None]], D=[[p, 1 - p]]), planner=QUIET, inference="sequential")
        _, info = agent.step(agent.init(), 0)
        assert_allclose(np.ravel(info.qs[0])[0], 1.0 if kept else 0.0, atol=1e-4)


@pytest.mark.parametrize(
    "inference, search, nodes",
    [("exact", "outcomes", 6), ("factorised", "outcomes", 6), ("sequential", "outcomes", 6), ("sequential", "states", 8)],
)
def test_a_search_may_look_at_just_as_many_beliefs_as_it_needs(inference, search, nodes):
    """Of two controls, after each of which three outcomes, or four states, are possible."""
    rng = np.random.default_rng(21)
    goes = np.array([[0.3, 0.2, 0.25, 0.25], [0.2, 0.3, 0.3, 0.2]])
    model = POMDP(A=[full(rng, 3, 4)], B=[np.repeat(goes.T[:, None, :], 4, axis=1)])
    planner = Planner(
        depth=1, gains=("state",), alpha=None, search=search, modalities="separate", policy_cutoff=0.0, max_nodes=nodes
    )
    agent = Agent(model, planner=planner, inference=inference)
    agent.step(agent.init(), 0)
    agent = Agent(model, planner=replace(planner, max_nodes=nodes - 1), inference=inference)
    with pytest.raises(ValueError, match=f"max_nodes={nodes - 1}"):
        agent.step(agent.init(), 0)


# --- what agents know by themselves ------------------------------------------------------------------------------------------
def test_places_that_controls_set_for_some_agents_alone():
    """A hand goes where everyone wants, a foot slips with one of two agents. What depends on both may not be learned then."""
    rng = np.random.default_rng(22)
    hand, foot = (np.repeat(np.eye(n)[:, None, :], n, axis=1) for n in (2, 3))
    slip = np.stack([foot, 0.7 * foot + 0.3 * full(rng, 3, 3, 3)])
    model = POMDP(
        A=[full(rng, 4, 2, 3, 2), full(rng, 3, 3)],
        B=[hand, foot, full(rng, 2, 2, 1)],
        A_dependencies=[[0, 1, 2], [1]],
    )
    agent = Agent(model, planner=QUIET, own={"B[1]": slip})
    did = np.array([[1, 2, 0], [1, 2, 0]])
    state, _ = agent.step(agent.init(2), np.array([[0, 1], [0, 1]]), action=did)
    _, info = agent.step(state, np.array([[3, 0], [3, 0]]))
    for k in range(2):
        alone = Agent(model.with_(B=[hand, slip[k], model.B[2]]), planner=QUIET)
        then, _ = alone.step(alone.init(), [0, 1], action=did[k])
        _, own = alone.step(then, [3, 0])
        for f in range(3):
            assert_allclose(info.qs[f][k], np.ravel(own.qs[f]), rtol=1e-10)
    learned = model.with_(A=[None, model.A[1]], pA=[2 * model.A[0], None])
    with pytest.raises(ValueError, match="own B of Agent must not change which factors actions set if modality 0"):
        Agent(learned, planner=QUIET, own={"B[1]": slip})


def test_joint_beliefs_are_kept_where_nothing_moves_and_made_anew_where_actions_do():
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    still_ = np.eye(2)[:, :, None]
    deps = [[0, 1], [2, 3]]
    model = POMDP(A=[np.full((2, 2, 2), 0.5)] * 2, B=[still_, still_, go, go], A_dependencies=deps)
    belief = Belief([np.array([[0.25, 0.75]])] * 4, [None] * 4, (2, 2, 2, 2))
    before = {f: belief.joint(f) for f in ((0, 1), (2, 3))}
    after = belief.predict(dynamics_of(model), np.array([[0, 0, 1, 0]]))
    assert after.joint((0, 1)) is before[0, 1]
    assert after.joint((2, 3)).index.tolist() == [2] and after.joint((2, 3)).weight.tolist() == [1.0]


# --- what is known well enough -----------------------------------------------------------------------------------------------
def test_moves_that_are_known_well_teach_nothing_to_those_who_know_them():
    rng = np.random.default_rng(23)
    b = full(rng, 3, 3, 2)
    counts = np.stack([2 * b, 1e5 * b])
    model = POMDP(A=[full(rng, 3, 3)], B=[None], pB=[2 * b])
    planner = Planner(gains=("param",), alpha=None)
    alone = [Agent(model.with_(pB=[c]), planner=planner, inference="spm") for c in counts]
    gains = [np.ravel(a.plan(a.perceive(a.init(), 0)[0]).terms.param) for a in alone]
    assert np.abs(gains[0]).max() > 1e-3 and (gains[1] == 0).all()


def test_precision_falls_to_a_thousandth_of_its_prior_rate_at_least():
    """What was done is what is worth most by far, and nobody had expected it: the first step overshoots."""
    n, others = 20, range(1, 20)
    go = np.repeat(np.eye(n)[:, None, :], n, axis=1)
    policies = np.array([[[0], [0]], *([[a], [b]] for a in others for b in others)])
    model = POMDP(A=[np.eye(n)], B=[go], policies=policies, C=[[2.6] + [0.0] * 19])
    settings = PathSettings(policies="trial", beta=0.5, iterations=1)
    engine = PathInference(model, 3, (), 1.0, lambda t: log_preferences(model, t), settings)
    paths, tables = Paths(), [KnownTable(a, layout) for a, layout in zip(model.A, layouts_of(model), strict=True)]
    engine.advance(paths, tables, None, [np.array([1])])
    engine.advance(paths, tables, np.array([[0]]), [np.array([0])])
    assert_allclose(paths.policies.precision, 1024 / 0.5, rtol=1e-12)


def test_telling_where_one_is_says_nothing_to_who_is_about_to_be_put_somewhere():
    """Even to those who do not know where they begin: a place that actions set is never told."""
    rng = np.random.default_rng(24)
    go = np.stack([np.eye(2)[:, [u, u]] for u in range(2)], axis=2)
    model = POMDP(A=[full(rng, 3, 2, 2)], B=[go, np.eye(2)[:, :, None]], D=[[0.4, 0.6], [0.3, 0.7]])
    space = HypothesisSpace({f"h{i}": {"A[0]": full(rng, 3, 2, 2)} for i in range(2)})
    agent = Agent(model, space, QUIET)
    seen = [agent.step(s, 0)[1].qs for s in (agent.tell(agent.init(), np.array([[0, -1]])), agent.init())]
    for told_, silent in zip(*seen, strict=True):
        assert_allclose(np.ravel(told_), np.ravel(silent), rtol=1e-12)


@pytest.mark.parametrize("lookahead", [1, 2])
@pytest.mark.parametrize("kind", ["own", "shared", "values"])
def test_outcomes_that_are_left_out_of_a_search_give_their_weight_to_the_others(kind, lookahead):
    """What is worth the same whatever is seen is worth that, however few outcomes are looked at."""
    rng = np.random.default_rng(25)
    tables = [full(rng, 4, 2) for _ in range(3)]
    counted = kind != "values"
    b = [
        full(rng, 2, 2, 2) if kind == "own" else np.eye(2)[:, :, None],
        np.stack([np.eye(2)[:, [u] * 2] for u in (0, 1)], axis=2),
    ]
    model = POMDP(
        A=[None if counted else tables[0], np.eye(2)],
        B=b,
        C=[None, [0.0, 1.0]],
        pA=[2 * tables[0], None] if counted else None,
        D=[[0.5, 0.5], [1.0, 0.0]],
        A_dependencies=[[0], [1]],
    )
    space = HypothesisSpace({f"h{i}": {0: 5 * a} if counted else {"A[0]": a} for i, a in enumerate(tables)})
    found = []
    for cutoff in (0.0, 0.45):
        few = Reasoning(lookahead=lookahead, discount=1.0, outcome_cutoff=cutoff, **({"counts": kind} if counted else {}))
        agent = Agent(model, space, Planner(gains=(), alpha=None), reasoning=few, selection=Selection(threshold=np.inf))
        _, info = agent.step(agent.init(2), np.array([[0, 0], [3, 0]]), action=np.array([[0, 1], [0, 0]]))
        found.append(info.neg_efe)
    assert_allclose(found[1], found[0], rtol=1e-10)
    assert np.ptp(found[0], axis=1).min() > 0.5


def test_gains_about_moves_are_those_of_each_agent_by_itself():
    """Where modalities inform by themselves, as where they inform together."""
    rng = np.random.default_rng(26)
    model = POMDP(
        A=[full(rng, 3, 2), full(rng, 3, 2)], B=[None], pB=[3 * full(rng, 2, 2, 2)], A_dependencies=[[0], [0]], policy_length=2
    )
    for modalities in ("together", "separate"):
        agent = Agent(model, planner=Planner(gains=("param",), alpha=None, modalities=modalities))
        seen = np.array([[0, 1], [2, 2], [1, 0]])
        state, _ = agent.step(agent.init(3), seen, action=np.array([[0], [1], [1]]))
        _, whole = agent.step(state, seen[::-1])
        for k in range(3):
            state, _ = agent.step(agent.init(), seen[k], action=[int(k > 0)])
            _, own = agent.step(state, seen[::-1][k])
            assert_allclose(whole.param_info_gain[k], own.param_info_gain, rtol=1e-9, atol=1e-12)
        assert np.ptp(whole.param_info_gain, axis=0).min() > 1e-4


@pytest.mark.parametrize("inference", ["exact", "factorised", "sequential"])
def test_who_knows_all_moves_well_expects_nothing_more_though_others_do(inference):
    """One agent has seen the one move that is not known well yet, one has not."""
    model = POMDP(A=[np.eye(2)], B=[None], pB=[np.array([[4.0, 1.0], [1.0, 2.5]])[:, :, None]])
    agent = Agent(model, planner=Planner(gains=("param",), alpha=None, novelty_cutoff=3.0), inference=inference)
    state = agent.init(2)
    for seen in ([1, 0], [1, 0]):
        state, _ = agent.step(state, np.array(seen)[:, None], action=np.zeros((2, 1), dtype=int))
    state, _ = agent.end_trial(state)
    _, info = agent.step(state, np.array([[0], [0]]))
    assert info.param_info_gain[0] == 0 and info.param_info_gain[1] > 1e-3


# --- along paths -------------------------------------------------------------------------------------------------------------
def indifferent(settings, gamma=1.0):
    """Free energy after two moments, of who has nothing to choose by."""
    rng = np.random.default_rng(27)
    model = POMDP(
        A=[full(rng, 3, 3)],
        B=[full(rng, 3, 3, 2)],
        policies=np.array([[[0], [0]], [[0], [1]], [[1], [1]]]),
    )
    engine = PathInference(model, 3, (), gamma, lambda t: log_preferences(model, t), settings)
    paths, tables = Paths(), [KnownTable(a, layout) for a, layout in zip(model.A, layouts_of(model), strict=True)]
    engine.advance(paths, tables, None, [np.array([1])])
    return float(engine.advance(paths, tables, np.array([[0]]), [np.array([2])])[1][0])


def test_precision_is_free_where_it_stays_as_it_was():
    given = indifferent(PathSettings(policies="trial"))
    for beta in (0.25, 1.0, 3.0):
        assert_allclose(indifferent(PathSettings(policies="trial", beta=beta)), given, rtol=1e-12)


def test_spm_counts_a_given_precision_as_if_the_rate_were_one():
    one, other = (indifferent(PathSettings.spm(policies="trial", beta=None), gamma) for gamma in (1.0, 4.0))
    assert_allclose(other - one, 4.0 - math.log(4.0) - 1.0, rtol=1e-9)


def test_before_anything_is_seen_learned_initial_states_are_believed():
    counts = np.array([1.0, 2.0, 5.0])
    agent = Agent(
        POMDP(A=[np.eye(3)], B=[np.eye(3)[:, :, None]], pD=[counts]), planner=QUIET, inference="paths", trial_length=2
    )
    assert_allclose(agent.init(2).qs[0], np.tile(counts / 8, (2, 1)), rtol=1e-12)


def test_spm_tells_what_moves_teach_of_every_control_though_states_are_fewer():
    """Two controls with the same counts are worth the same, a third is not."""
    rng = np.random.default_rng(30)
    b = full(rng, 2, 2, 3)
    b[..., 2] = b[..., 0]
    model = POMDP(A=[np.eye(2)], B=[None], pB=[2 * b])
    planner = Planner(gains=("param",), alpha=None)
    agent = Agent(model, planner=planner, inference="paths", paths=PathSettings.spm(), trial_length=2)
    _, info = agent.step(agent.init(), 0)
    assert_allclose(info.param_info_gain[2], info.param_info_gain[0], rtol=1e-9)
    assert abs(info.param_info_gain[1] - info.param_info_gain[0]) > 1e-3


# --- in hindsight ------------------------------------------------------------------------------------------------------------
def test_an_outcome_is_the_vector_that_is_certain_of_it_in_hindsight_too():
    rng = np.random.default_rng(28)
    model = POMDP(A=[None], B=[full(rng, 2, 2, 1)], pA=[3 * full(rng, 3, 2)])
    agent = Agent(model, planner=QUIET, inference="spm", learning=Learning(smooth=True))
    found = []
    for as_told in (np.array, lambda o: np.eye(3)[o]):
        state = agent.init(2)
        for outcome in ([0, 2], [1, 0], [0, 0]):
            state, _ = agent.step(state, [as_told(outcome)])
        found.append(agent.end_trial(state)[1].counts[0])
    assert_allclose(found[0], found[1], rtol=1e-12)
    assert found[0][0, :, 0].sum() > model.pA[0][0].sum() + 1.9


def test_what_moves_by_itself_where_one_is_is_smoothed_agent_by_agent():
    """Three controls in two places that are known: what moves a state is a matter of both."""
    rng = np.random.default_rng(29)
    go = np.repeat(np.eye(2)[:, None, :], 2, axis=1)
    model = POMDP(
        A=[None, np.eye(2)],
        B=[full(rng, 3, 3, 2, 3), go],
        pA=[3 * full(rng, 3, 3), None],
        D=[[0.2, 0.3, 0.5], [1.0, 0.0]],
        A_dependencies=[[0], [1]],
        B_dependencies=[[0, 1], [1]],
    )
    agent = Agent(model, planner=QUIET, learning=Learning(smooth=True))
    did = [np.array([[c, p] for c in range(3) for p in range(2)]), np.array([[2 - c, p] for c in range(3) for p in range(2)])]

    def lived(rows):
        state, place = agent.init(len(rows)), np.zeros(len(rows), dtype=int)
        for t in range(3):
            seen = np.stack([(np.array(rows) + t) % 3, place], axis=1)
            action = did[t][rows] if t < 2 else np.zeros((len(rows), 2), dtype=int)
            state, place = agent.step(state, seen, action=action)[0], action[:, 1]
        return agent.end_trial(state)[1].counts[0]

    whole = lived(list(range(6)))
    for k in range(6):
        assert_allclose(whole[k], lived([k])[0], rtol=1e-12)
    assert np.ptp(whole, axis=0).max() > 0.1


# --- what is kept, and what is refused ---------------------------------------------------------------------------------------
def test_what_is_kept_stays_until_there_is_no_room():
    kept = {}
    for i in range(64):
        keep(kept, i, (np.zeros(2**17),))
    assert len(kept) == 64
    keep(kept, 64, (np.zeros(1),))
    assert list(kept) == [64]
    keep(kept, 65, (np.zeros(2**24 - 1),))
    keep(kept, 66, (np.zeros(1),))
    assert list(kept) == [66]


def test_certain_choices_are_the_best_ones_in_a_search_over_states():
    go = np.repeat(np.eye(3)[:, None, :], 3, axis=1)
    model = POMDP(A=[np.eye(3)], B=[go], C=[[0.0, 1.0, 1.0]])
    planner = Planner(depth=1, search="states", modalities="separate", gamma=np.inf, alpha=None)
    agent = Agent(model, planner=planner, inference="sequential")
    _, info = agent.step(agent.init(), 0)
    assert_allclose(info.q_pi, [0.0, 0.5, 0.5], atol=1e-12)


def test_models_given_as_arrays_take_counts_as_arrays():
    counts = np.ones((2, 1))
    for posterior, prior in (({0: counts}, counts), (counts, {0: counts})):
        with pytest.raises(TypeError, match="dicts of them need a HypothesisSpace"):
            model_posterior(posterior, prior, [counts])
