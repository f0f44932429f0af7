"""The causal paradigm: graphs, worlds, evidence and agents against brute force; what watching can tell and what it cannot."""

from __future__ import annotations

import sys
from io import BytesIO
from itertools import combinations, permutations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import betaln

from activebmr import plots, simulate
from activebmr.arrays import standard_error
from activebmr.references import evidence_bound
from activebmr.simulation.registry import options_of
from paradigms import causal
from paradigms.causal import drawing, free, measures, world
from paradigms.causal.graphs import (
    GRAPHS,
    NAMES,
    OUTCOMES,
    SETTINGS,
    causes_of,
    divergences,
    equivalence_classes,
    likelihood,
    say_setting,
    setting_index,
)

WATCH = SETTINGS.index((0, 0, 0))
SET_X = SETTINGS.index((2, 0, 0))


def entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def gains(posterior: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Mutual information of graph and outcome for every setting, written down anew."""
    return np.array([entropy(posterior @ t) - posterior @ entropy(t) for t in tables])


@pytest.fixture(scope="module")
def result():
    return simulate([causal.paradigm(s) for s in causal.SCHEMES], n_agents=48, n_trials=12, seed=3, trace=True)


# --- graphs ----------------------------------------------------------------------------------------------------------------
def test_there_are_25_graphs_without_circles():
    by_hand = set()
    for arrows in product((0, 1), repeat=6):
        chosen = tuple(p for p, there in zip(permutations(range(3), 2), arrows, strict=True) if there)
        matrix = np.zeros((3, 3))
        for a, b in chosen:
            matrix[a, b] = 1
        if not np.linalg.matrix_power(matrix, 3).any():  # nilpotent: no path comes back
            by_hand.add(chosen)
    assert len(GRAPHS) == len(set(GRAPHS)) == len(set(NAMES)) == 25
    assert set(GRAPHS) == by_hand


def test_noisy_or_by_hand():
    tables = likelihood()
    assert_allclose(tables.sum(axis=2), 1.0, atol=1e-15)
    on = {v: [o for o, values in enumerate(OUTCOMES) if values[v]] for v in range(3)}
    chain, collider, none = NAMES.index("X->Y, Y->Z"), NAMES.index("X->Y, Z->Y"), NAMES.index("none")
    assert_allclose(tables[WATCH, none][on[0]].sum(), 0.1)
    assert_allclose(tables[SET_X, chain][on[1]].sum(), 1 - 0.9 * 0.2)
    assert_allclose(tables[SET_X, chain][on[2]].sum(), 0.82 * 0.82 + 0.18 * 0.1)
    assert_allclose(tables[SETTINGS.index((2, 0, 2)), collider][on[1]].sum(), 1 - 0.9 * 0.2 * 0.2)
    # what is set tells nothing about what causes it
    assert_allclose(tables[SETTINGS.index((0, 2, 0)), NAMES.index("X->Y")][on[0]].sum(), 0.1)
    assert tables[SETTINGS.index((1, 0, 0)), :, on[0]].max() == 0.0
    assert say_setting(SETTINGS.index((2, 0, 1))) == "X=1, Z=0" and say_setting(WATCH) == "watch"
    assert_array_equal(setting_index(SETTINGS), np.arange(27))


def test_equivalence_classes_are_those_of_the_distributions_that_graphs_can_represent():
    """Graph h can represent what g generates if h's own conditionals make it again; equivalent graphs can, both ways."""
    rng = np.random.default_rng(0)
    joints = [_random_joint(g, rng) for g in range(25)]
    can = np.array([[np.abs(_refitted(j, h) - j).max() < 1e-12 for h in range(25)] for j in joints])
    classes = equivalence_classes()
    assert_array_equal(can & can.T, classes[:, None] == classes)
    assert sorted(np.bincount(classes)) == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 6]
    with pytest.raises(ValueError, match="read-only"):
        classes[0] = 3


def _random_joint(g: int, rng: np.random.Generator) -> np.ndarray:
    joint = np.ones((2, 2, 2))
    for v in range(3):
        chance = {c: rng.uniform(0.1, 0.9) for c in product((0, 1), repeat=len(causes_of(g, v)))}
        for x in OUTCOMES:
            p = chance[tuple(x[c] for c in causes_of(g, v))]
            joint[x] *= p if x[v] else 1 - p
    return joint


def _refitted(joint: np.ndarray, h: int) -> np.ndarray:
    out = np.ones((2, 2, 2))
    for v in range(3):
        family = (*causes_of(h, v), v)
        with_v = joint.sum(axis=tuple(set(range(3)) - set(family)), keepdims=True)
        out = out * with_v / with_v.sum(axis=v, keepdims=True)
    return out


# --- what watching tells -----------------------------------------------------------------------------------------------------
def _data(rng: np.random.Generator, n: int, watch: bool) -> tuple[np.ndarray, np.ndarray]:
    settings = np.zeros((n, 3), dtype=int) if watch else rng.integers(0, 3, (n, 3))
    outcomes = np.where(settings > 0, settings - 1, rng.integers(0, 2, (n, 3)))
    return settings, outcomes


@pytest.mark.parametrize("sample_size", [0.3, 1.0, 12.0])
def test_watching_never_tells_equivalent_graphs_apart_if_parameters_are_unknown(sample_size):
    """For any data at all, whatever world they are from; and the first settings do tell them apart."""
    rng, classes = np.random.default_rng(1), equivalence_classes()
    told_apart = 0
    for n in (1, 5, 40, 300):
        watched = free.log_evidence(*_data(rng, n, True), sample_size)
        for c in range(11):
            assert np.ptp(watched[classes == c]) < 1e-10
        told_apart += len(np.unique(np.round(watched, 8))) == 11
        settings, outcomes = _data(rng, n + 10, False)
        both = free.log_evidence(settings, outcomes, sample_size)
        if n >= 40:
            assert min(np.ptp(both[classes == c]) for c in range(11) if (classes == c).sum() > 1) > 1e-3
    assert told_apart >= 2  # classes themselves are told apart


def test_watching_tells_equivalent_graphs_apart_slowly_if_strengths_are_known():
    """The trap: a noisy-or with known strengths is no set of free parameters. How much it tells, in nats per trial."""
    classes, gaps = equivalence_classes(), divergences(likelihood())
    same = (classes[:, None] == classes) & ~np.eye(25, dtype=bool)
    watched, best = gaps[WATCH][same], gaps.max(axis=0)[same]
    assert watched.min() > 0.1 and watched.max() < 0.5
    assert (best > 5 * watched).all()
    tables = likelihood()
    assert evidence_bound(tables[[WATCH]]).mean() > 7 * evidence_bound(tables).mean()


# --- evidence where parameters are unknown ---------------------------------------------------------------------------------
def test_free_evidence_equals_the_integral_over_parameters_and_the_product_of_predictions():
    """Beta integrals written down anew; and one observation after the other, in any order."""
    rng = np.random.default_rng(2)
    settings, outcomes = _data(rng, 25, False)
    got = free.log_evidence(settings, outcomes, 2.0)
    for g in (0, 1, 8, 9, 20, 24):
        expected = 0.0
        for v in range(3):
            causes = causes_of(g, v)
            prior = 2.0 / 2 ** (len(causes) + 1)
            for values in product((0, 1), repeat=len(causes)):
                rows = (settings[:, v] == 0) & (outcomes[:, list(causes)] == values).all(axis=1)
                n = np.bincount(outcomes[rows, v], minlength=2)
                expected += betaln(prior + n[0], prior + n[1]) - betaln(prior, prior)
        assert_allclose(got[g], expected, atol=1e-12)
    order = rng.permutation(25)
    assert_allclose(free.log_evidence(settings[order], outcomes[order], 2.0), got, atol=1e-12)
    counts, total = np.zeros((1, 3, 2, 2, 2)), np.zeros(25)
    for s, o in zip(settings, outcomes, strict=True):
        predicted = free._predictions(counts, 2.0)[0]
        assert_allclose(predicted.sum(axis=2), 1.0, atol=1e-12)
        total += np.log(predicted[int(setting_index(s)), :, OUTCOMES.index(tuple(o))])
        free._count(counts, np.array([int(setting_index(s))]), o[None])
    assert_allclose(total, got, atol=1e-11)


def test_novelty_is_what_an_outcome_tells_about_parameters():
    """Against integration over a parameter: entropy of the prediction minus the expected entropy."""
    rng = np.random.default_rng(3)
    counts = np.zeros((1, 3, 2, 2, 2))
    for s, o in zip(*_data(rng, 12, False), strict=True):
        free._count(counts, np.array([int(setting_index(s))]), o[None])
    predicted = free._predictions(counts, 1.0)

    def told(a: float, b: float) -> float:
        def each(p: float) -> float:
            return np.exp((a - 1) * np.log(p) + (b - 1) * np.log1p(-p) - betaln(a, b)) * entropy(np.array([p, 1 - p]))

        known = quad(each, 0, 0.5)[0] + quad(each, 0.5, 1)[0]
        return entropy(np.array([a, b]) / (a + b)) - known

    for g in (0, 3, 8, 19):
        sure = np.eye(25)[g][None]
        got = free.novelty(sure, predicted, counts, 1.0)[0]
        for a in (WATCH, SET_X, SETTINGS.index((0, 1, 2)), SETTINGS.index((1, 1, 2))):
            expected = 0.0
            for o, chance in enumerate(predicted[0, a, g]):
                for v in range(3):
                    if SETTINGS[a][v] == 0:
                        expected += chance * told(*_beta(counts[0, v], g, v, OUTCOMES[o]))
            assert_allclose(got[a], expected, atol=1e-7)


def _beta(counts: np.ndarray, g: int, v: int, values: tuple[int, ...]) -> tuple[float, float]:
    others = [i for i in range(3) if i != v]
    causes = causes_of(g, v)
    n = counts
    for axis, i in enumerate(others):
        n = n.take([values[i]], axis) if i in causes else n.sum(axis=axis, keepdims=True)
    prior = 1.0 / 2 ** (len(causes) + 1)
    return prior + n[0, 0, 0], prior + n[0, 0, 1]


def test_observers_of_unknown_parameters():
    classes = equivalence_classes()
    watching = free.study("watching", 24, 40, seed=5)
    same = classes == classes[watching.truth][:, None]
    mean = (watching.posterior * same[:, None]).sum(axis=2) / same.sum(axis=1)[:, None]
    assert_allclose(watching.of_truth, mean, atol=1e-10)  # the odds within a class are those of the prior, for ever
    assert (watching.settings == WATCH).all()
    setting = free.study("gain", 24, 40, seed=5)
    assert_array_equal(setting.truth, watching.truth)
    assert setting.of_truth[:, -1].mean() > 3 * watching.of_truth[:, -1].mean()
    for way in free.WAYS:  # agents do not depend on each other
        few, more = free.study(way, 3, 8, seed=5), free.study(way, 7, 8, seed=5)
        assert_array_equal(few.posterior, more.posterior[:3])
    assert (np.array([SETTINGS[a] for a in free.study("random-open", 8, 30).settings.ravel()]) == 0).any(axis=1).all()


# --- agents ------------------------------------------------------------------------------------------------------------------
def test_agents_believe_and_choose_as_bayes_has_it(result):
    """Posterior after every trial, and the gain of what was set, from the trace of every scheme."""
    tables = likelihood()
    controls, seen = result.trace["controls"][..., 0, :], result.trace["outcomes"][..., 1, 0]
    done = setting_index(controls)
    for s, scheme in enumerate(result.schemes):
        for k in range(0, 48, 6):
            posterior = np.full(25, 1 / 25)
            for t in range(12):
                if scheme == "gain":
                    worth = gains(posterior, tables)
                    assert_allclose(result.trace["model_info_gain"][s, k, t, 0], worth, atol=1e-12)
                    assert worth[done[s, k, t]] > worth.max() - 1e-8
                posterior = posterior * tables[done[s, k, t], :, seen[s, k, t] - 1]
                posterior /= posterior.sum()
                assert_allclose(result.model_posterior[s, k, t], posterior, atol=1e-12)
    assert (result.impossible == 0).all()
    used = [set(done[s].ravel()) for s in range(4)]
    assert used[3] == {WATCH} and used[2] == set(range(27))
    assert used[1] == {a for a, setting in enumerate(SETTINGS) if 0 in setting}
    assert (result.trace["outcomes"][..., 0, 0] == 0).all()  # nothing is seen before something was done
    assert len(np.unique(result.true_model)) > 15


def test_posteriors_are_calibrated(result):
    """The mean posterior of the most probable graph is the share of agents for whom it is true."""
    hit, best = measures.found(result), result.model_posterior.max(axis=3)
    alone = (np.sort(result.model_posterior)[..., -2] < best - 1e-6)[..., None]
    truth = np.arange(25) == result.true_model[:, None, None]
    named = (result.model_posterior == best[..., None]) & truth
    assert_array_equal((hit == 1.0)[..., None] & alone, named.any(axis=3)[..., None] & alone)
    for s in range(4):
        gap = (hit[s] - best[s]).mean(axis=1)
        assert abs(gap.mean()) < 3.5 * standard_error(gap)


def test_gain_beats_what_is_random_and_watching(result):
    last = result.true_model_posterior[:, :, -1]
    for other in (1, 2, 3):
        gap = last[0] - last[other]
        assert gap.mean() > 0.3 and gap.mean() > 5 * standard_error(gap)
    assert measures.found(result)[0, :, -1].mean() > 0.85


@pytest.mark.slow
def test_gain_needs_a_third_of_the_trials_fewer_and_never_less_than_the_floor():
    schemes = ("gain", "random-open", "random")
    r = simulate([causal.paradigm(s) for s in schemes], n_agents=96, n_trials=40, seed=1)
    when, late = measures.trials_until(r), measures.late(r)
    assert not late[0].any()
    for other in (1, 2):  # who is late counts with 40, too few
        assert (when[other] - when[0] / (2 / 3)).mean() > 5 * standard_error(when[other] - when[0] / (2 / 3))
    assert measures.floor(r) < when[0].mean() - 3 * standard_error(when[0])
    bound = evidence_bound(likelihood())[r.true_model]
    assert (when[0] - bound).mean() < 0.5 * bound.mean()  # and not far from it


def test_looking_ahead_is_an_exact_search():
    """What the first test of two is worth: its gain, and the expected gain of the best second one, discounted by .99."""
    tables, prior = likelihood(), np.full(25, 1 / 25)
    r = simulate(causal.paradigm("gain", tests=2, lookahead=1), n_agents=1, n_trials=1, seed=0, trace=True)
    worth = gains(prior, tables)
    for a in (WATCH, SET_X, SETTINGS.index((2, 1, 0))):
        for o in range(8):
            joint = prior * tables[a, :, o]
            if joint.sum() > 0:
                worth[a] += 0.99 * joint.sum() * gains(joint / joint.sum(), tables).max()
    value = r.trace["neg_efe"][0, 0, 0, 0]  # less flat preferences, the same everywhere
    for a in (SET_X, SETTINGS.index((2, 1, 0))):
        assert_allclose(value[a] - value[WATCH], worth[a] - worth[WATCH], atol=1e-12)


@pytest.mark.parametrize("watched", [1, 2])
def test_where_not_all_variables_can_be_watched(watched):
    tables, policies = world.experiments(watched), world.world_model(watched).policies[:, 0]
    whole, views = likelihood(), list(combinations(range(3), watched))
    assert tables.shape == (27 * len(views), 25, len(views) * 2**watched + 1)
    assert_allclose(tables.sum(axis=2), 1.0, atol=1e-12)
    names = world.outcome_names(watched)
    for policy, table in zip(policies, tables, strict=True):
        a, view = int(setting_index(policy[:3])), views[policy[3]]
        for name, column in zip(names, table.T, strict=True):
            shows = name != "nothing" and all((c != "?") == (v in view) for v, c in enumerate(name))
            fitting = [
                o for o, x in enumerate(OUTCOMES) if shows and all(c in ("?", str(v)) for c, v in zip(name, x, strict=True))
            ]
            assert_allclose(column, whole[a][:, fitting].sum(axis=1), atol=1e-12)
    r = simulate([causal.paradigm(s, watched=watched) for s in ("gain", "watching")], n_agents=12, n_trials=6, trace=True)
    assert (r.trace["controls"][1, ..., :3] == 0).all()
    assert r.true_model_posterior[0, :, -1].mean() > r.true_model_posterior[1, :, -1].mean()


def test_agents_may_make_up_their_mind():
    r = simulate(causal.paradigm("gain", "X->Y", sure=0.9), n_agents=16, n_trials=20, seed=0)
    assert r.adopted_truth.mean() > 0.7
    assert int(r.true_model) == NAMES.index("X->Y")


def test_contract_of_a_paradigm():
    assert options_of(causal) == {"watched": ["3", "2", "1"]}
    assert causal.DEFAULT_SCHEME in causal.SCHEMES
    assert causal.paradigm().truth == "random"
    header, rows, notes = causal.table(simulate(causal.paradigm("gain", watched="2"), n_agents=2, n_trials=2))
    assert len(header) == len(rows[0]) and any("bound" in n for n in notes)


# --- the floor ---------------------------------------------------------------------------------------------------------------
def test_evidence_bound_of_one_experiment_and_two_hypotheses():
    coin = np.array([[[0.9, 0.1], [0.3, 0.7]]])
    kl = (coin[0, 0] * np.log(coin[0, 0] / coin[0, 1])).sum(), (coin[0, 1] * np.log(coin[0, 1] / coin[0, 0])).sum()
    assert_allclose(evidence_bound(coin), np.log(19) / np.array(kl), rtol=1e-6)
    odds = np.log(19 * 0.2 / 0.8), np.log(19 * 0.8 / 0.2)
    assert_allclose(evidence_bound(coin, prior=[0.8, 0.2]), np.array(odds) / kl, rtol=1e-6)


def test_evidence_bound_is_the_least_sum_of_a_grid():
    rng = np.random.default_rng(4)
    for _ in range(5):
        tables = rng.dirichlet(np.ones(3), size=(2, 3))
        got, gaps = evidence_bound(tables, sure=0.9), divergences(tables)
        n = np.linspace(0, 1, 2001)[:, None] * [[1.0, 0.0]] + np.linspace(1, 0, 2001)[:, None] * [[0.0, 1.0]]
        for m in range(3):
            others = [i for i in range(3) if i != m]
            per_trial = n @ gaps[:, m][:, others]  # of every mixture of experiments
            low, high = np.zeros(len(n)), np.full(len(n), 1e4)
            for _ in range(60):  # trials that each mixture takes, by bisection
                middle = (low + high) / 2
                enough = np.exp(-middle[:, None] * per_trial).sum(axis=1) <= 0.1 / 0.9
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
            assert_allclose(got[m], max(1.0, high.min()), rtol=1e-4)
            assert got[m] <= max(1.0, high.min()) * (1 + 1e-9)


def test_evidence_bound_of_what_cannot_be_told_apart_and_of_what_excludes():
    same = np.array([[[0.5, 0.5], [0.5, 0.5], [0.9, 0.1]]])
    bound = evidence_bound(same)
    assert np.isinf(bound[:2]).all() and 1 < bound[2] < np.inf
    assert_array_equal(evidence_bound(np.eye(2)[None]), [1.0, 1.0])
    assert evidence_bound(same, prior=[0.98, 0.01, 0.01])[0] == 0.0


def test_nobody_is_faster_than_the_evidence_bound():
    """Optimal tests of two hypotheses (one experiment: there is nothing to choose) stay above it, and come close."""
    tables = np.array([[[0.55, 0.45], [0.45, 0.55]]])
    rng = np.random.default_rng(5)
    steps = np.where(rng.random((400, 2000)) < 0.55, 1.0, -1.0) * np.log(0.55 / 0.45)
    passed = steps.cumsum(axis=1) >= np.log(19)
    assert passed.any(axis=1).all()
    when = passed.argmax(axis=1) + 1
    bound = evidence_bound(tables)[0]
    assert bound - 3 * standard_error(when) < when.mean() < 1.15 * bound


# --- bad input and drawing ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: causal.paradigm("luck"), "scheme of causal must be one of"),
        (lambda: causal.paradigm("gain", 25), "truth must be 'random' or lie in 0..24; got 25"),
        (lambda: causal.paradigm(watched=4), "watched must be 1, 2 or 3; got 4"),
        (lambda: causal.paradigm(tests=0), "tests must be"),
        (lambda: causal.paradigm(lookahead=1), "lookahead must"),
        (lambda: causal.paradigm(strength=0.0), "strength must lie in"),
        (lambda: causal.paradigm(background=1.0), "background must lie in"),
        (lambda: causal.paradigm(sure=0.4), "sure must lie in"),
        (lambda: free.study("luck"), "way must be one of"),
        (lambda: free.study(n_agents=0), "n_agents must"),
        (lambda: free.log_evidence([[0, 0, 3]], [[0, 0, 0]]), "settings must hold whole numbers in 0..2"),
        (lambda: free.log_evidence([[0, 0, 0]], [[0, 0, 2]]), "outcomes must hold whole numbers in 0..1"),
        (lambda: free.log_evidence([[0, 0]], [[0, 0]]), "of shape"),
        (lambda: free.log_evidence([[0, 2, 0]], [[0, 0, 0]]), r"outcomes\[0, 1\] must be 1, the value that it was set to"),
        (lambda: free.log_evidence([[0, 0, 0]], [[0, 0, 0]], 0.0), "sample_size must"),
        (lambda: evidence_bound([[0.5, 0.5]]), "outcomes must hold probabilities"),
        (lambda: evidence_bound([[[0.5, 0.6], [0.5, 0.5]]]), "outcomes must hold probabilities"),
        (lambda: evidence_bound([[[0.5, 0.5], [0.5, 0.5]]], prior=[1.0, 0.0]), "prior must hold 2 positive numbers"),
        (lambda: evidence_bound([[[0.5, 0.5], [0.5, 0.5]]], sure=1.0), "sure must lie in"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_figures(result, tmp_path):
    before = dict(plots.PALETTE)
    drawn = causal.figures(result, tmp_path / "new")
    assert [p.name for p in drawn] == ["posterior.png", "known.png", "one_agent.png", "chosen.png"]
    assert all(p.stat().st_size > 5000 for p in drawn)
    untraced = simulate([causal.paradigm(s) for s in ("watching", "gain")], n_agents=3, n_trials=3)
    assert drawing.one_agent(untraced, "gain").get_title(loc="left").startswith("One agent (gain)")
    studies = [free.study(way, 3, 6) for way in ("gain", "graph", "watching")]
    page = drawing.overview(result, result, studies)
    page.savefig(BytesIO(), format="png")
    assert f"in {causal.trials_until(result)[0].mean():.1f} trials" in page.texts[0].get_text().replace("\n", " ")
    assert before == plots.PALETTE
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
