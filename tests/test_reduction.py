"""Bayesian model reduction against the exact evidence of raw observations, one observation after the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from activebmr import HypothesisSpace, reduction
from activebmr.reduction import log_evidence_ratio, model_posterior, reduced_posterior


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
    with pytest.raises(TypeError, match="posterior and prior may be dicts only together with a HypothesisSpace"):
        model_posterior({0: one}, {0: one}, [one, one])
    with pytest.raises(ValueError, match="every model is impossible given the observations"):
        model_posterior([2.0, 2.0], [1.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])
