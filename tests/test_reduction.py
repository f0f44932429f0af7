"""Bayesian model reduction against the exact evidence of raw observations, one observation after the other."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import ColumnTable, HypothesisSpace, reduction
from activebmr.reduction import log_evidence_ratio, model_posterior, reduced_posterior, scoring
from activebmr.reduction.scoring import ModelScorer
from activebmr.reduction.search.alternatives import Alternatives
from activebmr.reduction.search.supports import check_gained


def log_evidence_of_sequence(prior, outcomes):
    """ln p(o_1, o_2, ...) by the chain rule: each outcome is predicted by the counts so far. No gamma function."""
    counts, total = [float(x) for x in prior], 0.0
    for o in outcomes:
        total += math.log(counts[o] / sum(counts))
        counts[o] += 1.0
    return total


counts_of = lambda n: st.lists(st.floats(0.02, 20.0), min_size=n, max_size=n)  # noqa: E731
columns = st.integers(2, 5).flatmap(
    lambda n: st.tuples(counts_of(n), counts_of(n), st.lists(st.integers(0, n - 1), max_size=25))
)


def with_observations(prior, outcomes):
    return np.asarray(prior) + np.bincount(outcomes, minlength=len(prior))


# --- evidence ------------------------------------------------------------------------------------------------------------
@given(columns)
def test_ratio_is_that_of_the_exact_evidences_of_the_raw_observations(column):
    prior, reduced, outcomes = column
    posterior = with_observations(prior, outcomes)
    exact = log_evidence_of_sequence(reduced, outcomes) - log_evidence_of_sequence(prior, outcomes)
    assert_allclose(log_evidence_ratio(posterior, prior, reduced), exact, rtol=1e-9, atol=1e-9)


@given(columns, st.floats(1e-3, 1.0))
def test_offset_is_added_to_both_priors(column, offset):
    prior, reduced, outcomes = column
    posterior = with_observations(prior, outcomes)
    plus = [log_evidence_of_sequence(np.add(x, offset), outcomes) for x in (reduced, prior)]
    assert_allclose(log_evidence_ratio(posterior, prior, reduced, offset), plus[0] - plus[1], rtol=1e-9, atol=1e-9)


@given(columns, st.floats(0.1, 10.0))
def test_reductions_chain(column, scale):
    """full -> reduced -> further reduced is full -> further reduced; a reduction to the prior itself changes nothing."""
    prior, reduced, outcomes = (np.asarray(x) for x in column)
    posterior, further = with_observations(prior, outcomes.astype(int)), reduced[::-1] * scale
    midway = reduced_posterior(posterior, prior, reduced)
    two_steps = log_evidence_ratio(posterior, prior, reduced) + log_evidence_ratio(midway, reduced, further)
    assert_allclose(two_steps, log_evidence_ratio(posterior, prior, further), rtol=1e-8, atol=1e-9)
    assert_allclose(log_evidence_ratio(posterior, prior, prior), 0.0, atol=1e-10)


@given(columns)
def test_nobody_loses_by_having_seen_nothing(column):
    prior, reduced, _ = column
    assert_allclose(log_evidence_ratio(prior, prior, reduced), 0.0, atol=1e-12)


@pytest.mark.parametrize(
    "prior, seen, reduced, evidence",
    [
        # uniform over 2 outcomes says 5 equal outcomes with 1/2 x 2/3 x 3/4 x 4/5 x 5/6 = 1/6, who excludes the other with 1
        ([1, 1], [5, 0], [1, 1e-16], 6),
        ([1, 1], [5, 0], [1e-3, 1e-300], 6),
        # uniform over 3: 1/3 x 2/4 = 1/6; uniform over the first 2 only: 1/2 x 2/3 = 1/3
        ([1, 1, 1], [2, 0, 0], [1, 1e-16, 1e-16], 6),
        ([1, 1, 1], [2, 0, 0], [1, 1, 1e-16], 2),
        # one of each: 1/3 x 1/4 against 1/2 x 1/3
        ([1, 1, 1], [1, 1, 0], [1, 1, 1e-16], 2),
        ([1, 1, 1], [1, 1, 0], [1, 1, 0], 2),
        ([1, 1], [5, 0], [1, 0], 6),
    ],
)
def test_tiny_reduced_priors_are_finite_and_right(prior, seen, reduced, evidence):
    prior, seen, reduced = (np.array(x, dtype=float) for x in (prior, seen, reduced))
    assert_allclose(log_evidence_ratio(prior + seen, prior, reduced), np.log(evidence), rtol=1e-12)


def test_a_hypothesis_that_excludes_what_was_seen_is_impossible():
    ratio = log_evidence_ratio([[2.0, 1.0], [1.0, 2.0]], np.ones((2, 2)), [[1.0, 1.0], [0.0, 0.0]])
    assert np.isfinite(ratio[0])
    assert np.isneginf(ratio[1])
    assert np.isfinite(log_evidence_ratio([[2.0, 1.0], [1.0, 2.0]], np.ones((2, 2)), [[1.0, 1.0], [0.0, 0.0]], 1 / 32)).all()


def test_a_prior_that_excludes_what_was_seen_is_impossible():
    """Nothing that may happen is worse than what cannot: the ratio is infinite, or the input refused."""
    try:
        ratio = log_evidence_ratio([2.0, 3.0], [1.0, 0.0], [1.0, 1.0])
    except ValueError:
        return
    assert ratio == np.inf


def test_columns_are_scored_on_their_own(rng):
    prior, reduced = rng.gamma(1.0, size=(2, 4, 3, 2)) + 0.1
    posterior = prior + rng.integers(0, 5, size=prior.shape)
    ratio = log_evidence_ratio(posterior, prior, reduced, 1 / 32)
    assert ratio.shape == (3, 2)
    for at in np.ndindex(3, 2):
        column = (slice(None), *at)
        assert_allclose(ratio[at], log_evidence_ratio(posterior[column], prior[column], reduced[column], 1 / 32), rtol=1e-12)
    order = rng.permutation(4)  # outcomes may be named in any order
    assert_allclose(log_evidence_ratio(posterior[order], prior[order], reduced[order], 1 / 32), ratio, rtol=1e-10)


def test_reduced_posterior_adds_what_was_observed():
    assert_array_equal(reduced_posterior([3.0, 1.5], [1.0, 1.0], [0.0, 2.0]), [2.0, 2.5])
    assert (reduced_posterior([1.0 + 1e-17, 0.1 + 0.2], [1.0, 0.3], [0.0, 0.0]) >= 0).all()  # rounding makes no negative counts


# --- very sharp priors ---------------------------------------------------------------------------------------------------
def exact_evidence(prior, seen):
    """ln p(a sequence with so many of each outcome): products of (count + k), to 60 digits."""
    rise = lambda x, n: sum(((x + k).ln() for k in range(n)), Decimal(0))  # noqa: E731
    counts = [Decimal(float(x)) for x in prior]
    return sum(rise(x, int(n)) for x, n in zip(counts, seen, strict=True)) - rise(sum(counts), int(sum(seen)))


sharpness = st.floats(-3, 16).map(lambda e: 10.0**e)


@given(sharpness, sharpness, st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_evidence_for_priors_of_any_sharpness(full, reduced, seen):
    """As differences of lnG, the ratios of counts of 1e10 would be off by 3e-6, of 1e15 by nats."""
    getcontext().prec = 60
    prior, other = full * np.array([0.2, 0.3, 0.5]), reduced * np.array([0.7, 0.2, 0.1])
    n = np.array(seen, dtype=float)
    posterior = prior + n
    exact = exact_evidence(other, seen) - exact_evidence(prior, seen)
    if (posterior - prior == n).all():  # else the counts themselves do not say what was seen
        assert_allclose(log_evidence_ratio(posterior, prior, other), float(exact), rtol=1e-12, atol=1e-10)


def test_evidence_for_a_change_of_prior_that_much_was_seen_under():
    """1e16 outcomes under (1, 2) instead of (2, 1): (n_1 + 1) / (n_0 + 1), by hand; priors are what is small here."""
    seen = np.array([3e15, 7e15])
    ratio = log_evidence_ratio(seen + [1.0, 2.0], [1.0, 2.0], [2.0, 1.0])
    assert_allclose(ratio, np.log(3 / 7), atol=1e-10)


@given(st.lists(st.tuples(sharpness, st.floats(0.05, 0.95)), min_size=2, max_size=40), st.floats(0.0, 1.0))
def test_scores_of_hypotheses_are_their_log_evidence_ratios(hypotheses, offset):
    """One hypothesis per reduced column, a few (one by one) or many (in one array), as agents keep them."""
    columns = np.array([[size * share, size * (1 - share)] for size, share in hypotheses])
    n = len(columns)
    table = ColumnTable(columns, np.stack([np.arange(n), np.zeros(n, dtype=int)], axis=1), (2, 2))
    prior, seen = np.array([[1.0, 2.0], [1.0, 1.0]]), np.array([[3.0, 1.5], [0.0, 2.0]])
    scorer = ModelScorer(table, prior, offset)
    states = np.arange(2)
    differences = scorer.differences(scorer.evidence(prior + seen, states), states)
    ratios = [log_evidence_ratio((prior + seen).T, prior.T, table.columns[a].T, offset).sum() for a in table.assignment]
    expected = np.array(ratios) - ratios[0]
    assert_allclose(scorer.totals(differences[None])[0], expected, rtol=1e-11, atol=1e-10)
    assert_allclose(scorer.collect(np.array([0, 2]), states, differences)[0], expected, rtol=1e-11, atol=1e-10)
    base, change = scorer.predictions(scorer.evidence(prior + seen, states), states)
    predicted = base[0] + np.vstack([np.zeros(2), change[0, : n - 1]])
    foreseen = columns + offset + seen[0]
    assert_allclose(predicted, foreseen / foreseen.sum(axis=1, keepdims=True), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_one_by_one_and_together_say_the_same(seed, monkeypatch):
    """For whole and fractional steps, equal and other totals; and a row's numbers are its own."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(1, 9, size=(6, 3)) * rng.choice([1.0, 0.37, 1e9], size=(6, 1))
    table = ColumnTable(pool, rng.integers(6, size=(20, 5)), (3, 5))
    prior, counts, states = np.ones((5, 3)), 1.0 + rng.gamma(1.0, size=(40, 3)), rng.integers(5, size=40)
    start = np.array([0, 3, 4, 20, 40])
    found = []
    for few in (10**6, 0):
        monkeypatch.setattr(scoring, "_FEW", few)
        scorer = ModelScorer(table, prior, 1 / 32)
        assert scorer.many == (few == 0)
        evidence = scorer.evidence(counts, states)
        differences = scorer.differences(evidence, states)
        assert_array_equal(scorer.differences(evidence[7:9], states[7:9]), differences[7:9])
        collected = scorer.collect(start, states, differences)
        assert_array_equal(scorer.collect(np.array([0, 16]), states[4:20], differences[4:20])[0], collected[2])
        found.append((differences, collected, *scorer.predictions(evidence, states), scorer.telling_outcomes))
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_a_thousand_hypotheses_with_columns_of_their_own():
    """Their number of pairs of columns is 8 x 999: work must grow with that, not with its square."""
    rng = np.random.default_rng(0)
    tables = 1e6 * (rng.dirichlet(np.ones(3), size=(1000, 8)).transpose(0, 2, 1) + 0.1)
    space = HypothesisSpace({str(i): {0: t} for i, t in enumerate(tables)})
    prior, seen = np.ones((8, 3)), rng.integers(0, 3, size=(8, 3)).astype(float)
    scorer = ModelScorer(space.tables[0], prior, 1 / 32)
    states = np.arange(8)
    score = scorer.totals(scorer.differences(scorer.evidence(prior + seen, states), states)[None])[0]
    means = np.log(tables / tables.sum(axis=1, keepdims=True))  # counts of 1e6 are as good as fixed
    expected = (means * seen.T).sum(axis=(1, 2))
    assert_allclose(score - score[0], expected - expected[0], atol=1e-3)
    weights = rng.dirichlet(np.ones(1000))
    assert_allclose(space.average(0, weights), np.tensordot(weights, tables, 1), rtol=1e-12)
    assert_allclose(model_posterior((prior + seen).T, prior.T, space, offset=1 / 32), reduction.softmax(score), atol=1e-9)
    alone = Alternatives(space).ratios((prior + seen).T[None], prior.T)[0]
    assert_allclose(alone - alone[0], score - score[0], atol=1e-8)


def test_only_outcomes_that_hypotheses_predict_differently_tell_them_apart():
    """The others are not looked into; where columns hold more or fewer counts, predictions differ in every outcome."""
    for second, telling in (([1.0, 2.0, 1.0], [0, 1]), ([2.0, 1.0, 1.0 + 1e-16], []), ([4.0, 1.0, 1.0], [0, 1, 2])):
        table = ColumnTable(np.array([[2.0, 1.0, 1.0], second]), np.array([[0], [1]]), (3, 1))
        assert ModelScorer(table, np.ones((1, 3)), 1 / 32).telling_outcomes == telling


def test_hypotheses_with_zeros_need_an_offset_to_be_scored():
    table = ColumnTable(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[0], [1]]), (2, 1))
    with pytest.raises(ValueError, match="offset must be positive when hypotheses hold zeros: .*; got offset=0.0"):
        ModelScorer(table, np.ones((1, 2)), 0.0)


# --- posterior over models -----------------------------------------------------------------------------------------------
def random_tables(rng, n_models=4):
    prior = rng.gamma(1.0, size=(3, 2, 2)) + 0.1
    posterior = prior + rng.integers(0, 4, size=prior.shape)
    pool = rng.gamma(1.0, size=(3, 3)) + 0.1
    models = [pool[:, rng.integers(3, size=(2, 2))] for _ in range(n_models)]
    return posterior, prior, models


def exact_posterior(posterior, prior, models, odds):
    evidence = []
    for model, o in zip(models, odds, strict=True):
        total = o
        for at in np.ndindex(*prior.shape[1:]):
            column = (slice(None), *at)
            seen = np.repeat(np.arange(len(prior)), np.rint(posterior[column] - prior[column]).astype(int))
            total += log_evidence_of_sequence(model[column], seen)
        evidence.append(total)
    weights = np.exp(np.array(evidence) - max(evidence))
    return weights / weights.sum()


@given(st.integers(0, 10**6))
def test_model_posterior_is_bayes_rule(seed):
    rng = np.random.default_rng(seed)
    posterior, prior, models = random_tables(rng)
    exact = exact_posterior(posterior, prior, models, np.zeros(4))
    assert_allclose(model_posterior(posterior, prior, models), exact, rtol=1e-8)
    assert_allclose(model_posterior(posterior, prior, np.array(models)), exact, rtol=1e-8)
    weights = rng.gamma(2.0, size=4)
    space = HypothesisSpace({str(i): {0: m} for i, m in enumerate(models)}, prior=weights)
    weighted = exact_posterior(posterior, prior, models, np.log(weights))
    assert_allclose(model_posterior(posterior, prior, space), weighted, rtol=1e-8)
    assert_allclose(model_posterior({0: posterior}, {0: prior}, space), weighted, rtol=1e-8)
    assert_allclose(model_posterior(posterior, prior, models, np.log(weights)), weighted, rtol=1e-8)
    assert_allclose(model_posterior(posterior, prior, space, -np.log(weights)), exact, rtol=1e-8)


def test_evidence_of_several_modalities_multiplies(rng):
    first, second = random_tables(rng), random_tables(rng)
    space = HypothesisSpace({str(i): {0: first[2][i], 3: second[2][i]} for i in range(4)})
    together = model_posterior({0: first[0], 3: second[0]}, {0: first[1], 3: second[1]}, space)
    product = model_posterior(*first) * model_posterior(*second)
    assert_allclose(together, product / product.sum(), rtol=1e-10)
    with pytest.raises(ValueError, match=r"posterior and prior must be dicts keyed by the modalities \[0, 3\]"):
        model_posterior(first[0], first[1], space)


@given(st.integers(0, 10**6))
def test_the_full_prior_cancels_in_a_posterior_over_models(seed):
    """So it may be anything, even one that excludes what was seen, or holds no counts at all."""
    rng = np.random.default_rng(seed)
    posterior, prior, models = random_tables(rng)
    seen = np.rint(posterior - prior)
    expected = model_posterior(posterior, prior, models)
    for full in (np.zeros_like(prior), np.where(rng.random(prior.shape) < 0.5, 0.0, prior)):
        assert_allclose(model_posterior(full + seen, full, models), expected, rtol=1e-8, atol=1e-300)
        space = HypothesisSpace({str(i): {0: m} for i, m in enumerate(models)})
        assert_allclose(model_posterior(full + seen, full, space), expected, rtol=1e-8, atol=1e-300)


def test_posterior_over_models_where_the_full_prior_holds_nothing():
    """One of each of three outcomes: 1 / (3 4 5) under counts of 1, 8 / (6 7 8) under counts of 2."""
    p = np.array([1 / (3 * 4 * 5), 8 / (6 * 7 * 8)])
    found = model_posterior(np.ones((3, 1)), np.zeros((3, 1)), [np.ones((3, 1)), np.full((3, 1), 2.0)])
    assert_allclose(found, p / p.sum(), rtol=1e-12)


@pytest.mark.parametrize("nats", [0.5, 30.0, 35.0, 36.0, 60.0, 600.0, 744.0])
def test_log_odds_of_a_near_certainty(nats):
    """1 - p has lost its last digit at 36.7 nats; the sum of the others has not."""
    p = np.array([np.exp(-nats), 1.0, 0.0]) / (1.0 + np.exp(-nats))
    assert_allclose(reduction.log_odds(p), nats, rtol=1e-3 if nats > 700 else 1e-12)
    assert_allclose(reduction.log_odds_of_scores([-nats - 3.0, -3.0, -np.inf]), nats, rtol=1e-12)


@given(st.lists(st.floats(-5000, 5000), min_size=1, max_size=6), st.floats(-1e4, 1e4))
def test_log_odds_of_scores_are_the_best_less_the_others(scores, shift):
    best, *others = sorted(scores, reverse=True)
    expected = best - (others[0] + math.log(sum(math.exp(x - others[0]) for x in others)) if others else -math.inf)
    assert_allclose(reduction.log_odds_of_scores(scores), expected, rtol=1e-12, atol=1e-10)
    moved = reduction.log_odds_of_scores(np.array([scores, scores]) + [[0.0], [shift]])
    assert_allclose(moved, [expected, expected], rtol=1e-9, atol=1e-8)


def test_log_odds_are_infinite_only_where_nothing_else_is_possible():
    assert_array_equal(reduction.log_odds_of_scores([[0.0, -np.inf], [-1e300, 0.0]]), [np.inf, 1e300])
    for bad in ([-np.inf, -np.inf], [0.0, np.nan], [0.0, np.inf]):
        with pytest.raises(ValueError, match="log_scores must be numbers below inf, one of them above -inf"):
            reduction.log_odds_of_scores(bad)


def test_log_odds_are_those_of_the_best():
    assert_allclose(reduction.log_odds(np.array([[0.2, 0.8], [0.5, 0.5]])), [np.log(4), 0.0], atol=1e-15)
    assert reduction.log_odds(np.array([0.0, 1.0])) == np.inf


def test_softmax_is_safe():
    assert_allclose(reduction.softmax(np.array([1000.0, 1000.0, -np.inf])), [0.5, 0.5, 0.0])


def test_bayesian_model_average_by_hand():
    space = HypothesisSpace({"a": {0: [[1.0, 1.0], [0.0, 0.0]]}, "b": {0: [[1.0, 0.0], [0.0, 1.0]]}})
    average = reduction.bayesian_model_average(space, 0, [0.25, 0.75], concentration=8.0)
    assert_allclose(average, [[8.0, 2.0], [0.0, 6.0]])
    assert_allclose(space.average(0), [[1.0, 0.5], [0.0, 0.5]])
    assert_allclose(space.average(0, total=1.0).sum(), 1.0)


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "arguments, message",
    [
        (([1.0, -1.0], [1.0, 1.0], [1.0, 1.0]), r"posterior must not be negative; entry \(1,\) is -1"),
        (([1.0, 1.0], [np.nan, 1.0], [1.0, 1.0]), "prior must be finite; got nan"),
        (([1.0, 1.0], [1.0, 1.0], [1.0, np.inf]), "reduced_prior must be finite; got inf"),
        (
            ([1.0, 1.0], [1.0, 1.0], [1.0, 1.0, 1.0]),
            r"posterior, prior and reduced_prior must have the same shape; got \(2,\), \(2,\) and \(3,\)",
        ),
        (
            ([1.0, 0.5], [1.0, 1.0], [1.0, 0.0]),
            r"posterior \+ reduced_prior - prior must not be negative; entry \(1,\) is -0.5",
        ),
    ],
)
@pytest.mark.parametrize("function", [log_evidence_ratio, reduced_posterior])
def test_bad_counts_are_named(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("offset", [-0.1, np.nan, np.inf])
def test_bad_offsets_are_named(offset):
    with pytest.raises(ValueError, match=f"offset must be a finite number >= 0; got {offset}"):
        log_evidence_ratio([1.0, 1.0], [1.0, 1.0], [1.0, 1.0], offset)


def test_forgetting_below_the_prior_asks_for_an_offset():
    with pytest.raises(ValueError, match="After forgetting, use an offset"):
        log_evidence_ratio([0.99, 1.0], [1.0, 1.0], [0.0, 1.0])
    assert np.isfinite(log_evidence_ratio([0.99, 1.0], [1.0, 1.0], [0.0, 1.0], 1 / 32))


def test_bad_models_are_named():
    one = np.ones((2, 2))
    with pytest.raises(ValueError, match="reduced_priors must hold at least one model; got none"):
        model_posterior(one, one, [])
    with pytest.raises(ValueError, match=r"log_prior_odds must hold 2 numbers, one per model; got shape \(3,\)"):
        model_posterior(one, one, [one, one], np.zeros(3))
    with pytest.raises(TypeError, match="dicts of them need a HypothesisSpace as reduced_priors"):
        model_posterior({0: one}, {0: one}, [one, one])
    with pytest.raises(ValueError, match="every model is impossible given the observations"):
        model_posterior([2.0, 2.0], [1.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])


def test_what_holds_no_models_is_named():
    with pytest.raises(ValueError, match=r"x must be an array with some numbers; got shape \(0,\)"):
        reduction.softmax([])
    with pytest.raises(ValueError, match=r"x must be an array with some numbers; got shape \(\)"):
        reduction.softmax(1.0)
    for empty in (np.zeros((2, 0)), 1.0):
        with pytest.raises(ValueError, match=r"probabilities must be an array \(..., n_models\) of some models; got shape"):
            reduction.log_odds(empty)
        with pytest.raises(ValueError, match=r"log_scores must be an array \(..., n_models\) of some models; got shape"):
            reduction.log_odds_of_scores(empty)


def test_what_both_priors_exclude_is_no_evidence_for_either():
    """Seen where only one of the two gives it a chance, it settles the matter; where neither does, nothing can be said."""
    seen, fair, never = [2.0, 1.0], [1.0, 1.0], [0.0, 1.0]
    assert log_evidence_ratio(seen, fair, never) == -np.inf
    assert log_evidence_ratio([1.0, 1.0], never, fair) == np.inf
    with pytest.raises(ValueError, match="prior and reduced_prior must not both exclude what the posterior has seen"):
        log_evidence_ratio([1.0, 1.0], never, [0.0, 2.0])
    # each in a column of its own
    table = np.transpose([seen, [1.0, 1.0]])
    assert_array_equal(log_evidence_ratio(table, np.transpose([fair, never]), np.transpose([never, fair])), [-np.inf, np.inf])


def test_models_of_alternatives_are_had_by_name_or_index():
    space = HypothesisSpace({"even": {0: [[1.0], [1.0]]}, "odd": {0: [[3.0], [1.0]]}})
    with pytest.raises(TypeError, match="space of Alternatives must be a HypothesisSpace; got dict"):
        Alternatives({"even": 1})
    alternatives = Alternatives(space)
    prior, posterior = np.full((1, 2, 1), 4.0), np.array([[[9.0], [6.0]]])
    for model in ("odd", 1):
        found = alternatives.adopted(model, posterior, prior)
        assert_allclose(found[0], [[[3.0], [1.0]]])
        assert_allclose(found[1], [[[8.0], [3.0]]])  # what was seen is 5 and 2
    with pytest.raises(ValueError, match="model must be one of the 2 names, such as 'even'; got 'both'"):
        alternatives.adopted("both", posterior, prior)
    with pytest.raises(ValueError, match=r"model must lie in 0..1; got 2"):
        alternatives.adopted(2, posterior, prior)


@pytest.mark.parametrize("size", [1.0, 1e9])
def test_rounding_of_counts_is_no_loss(size):
    """Posteriors are sums: of 1e9 counts 1e-4 are a last digit, of 1 they are evidence that has been forgotten."""
    p = size * np.array([[1.0, 0.5], [0.5, 0.25]])
    check_gained(p * (1 - 1e-13), p)
    check_gained(p + 1.0, p)
    with pytest.raises(ValueError, match=r"posterior must not be below prior; entry \(0, 0\) has"):
        check_gained(p * (1 - 1e-11), p)


def test_what_has_been_forgotten_to_the_last_count_takes_no_part():
    """Of a prior like the full one, nothing can be said against it; of another, what the entries that are left say."""
    gone, prior = [0.0, 2.0, 3.0], [1.0, 1.0, 2.0]
    assert log_evidence_ratio(gone, prior, prior) == 0.0
    left = log_evidence_ratio(gone[1:], prior[1:], [3.0, 1.0])
    assert_allclose(log_evidence_ratio(gone, prior, [1.0, 3.0, 1.0]), left, rtol=1e-12)
