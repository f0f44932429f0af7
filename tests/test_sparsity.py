"""Entries that may not be there: closed forms against enumeration of all supports and against sequences of raw observations."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from activebmr.reduction import log_evidence_ratio
from activebmr.reduction.search.single_parameters import (
    SingleParameters,
    absent_probability,
    learned_rate,
    single_ratios,
    support_evidence,
)

COUNTS = st.floats(0.02, 30.0)
RATES = st.floats(0.01, 0.97)


@st.composite
def columns(draw, most=6, equal=None):
    """Prior and observations of one column of 2 to `most` outcomes, some of which were not seen; prior counts may be equal."""
    k = draw(st.integers(2, most))
    same = draw(st.booleans()) if equal is None else equal
    prior = np.full(k, draw(COUNTS)) if same else np.array(draw(st.lists(COUNTS, min_size=k, max_size=k)))
    seen = np.array(draw(st.lists(st.sampled_from([0, 0, 0, 1, 2, 7, 300]), min_size=k, max_size=k)), dtype=float)
    return prior, seen * draw(st.sampled_from([1.0, 1.0, 0.37]))


def supports(prior, seen, rate, remainder=0.0):
    """Every set of absent entries of a column, and ln p(o, set) - ln p(o | full); a column keeps an entry at least."""
    entries = [k for k in range(len(prior)) if prior[k] > remainder]
    sets, scores = [], []
    for size in range(len(entries) + 1):
        for gone in itertools.combinations(entries, size):
            if remainder == 0 and size == len(entries):
                continue
            reduced = prior.copy()
            reduced[list(gone)] = remainder
            odds = size * math.log(rate) + (len(entries) - size) * math.log1p(-rate)
            sets.append(gone)
            scores.append(odds + float(log_evidence_ratio(prior + seen, prior, reduced)))
    scores = np.array(scores)
    return sets, scores - (math.log1p(-(rate ** len(entries))) if remainder == 0 else 0.0)


def marginals(sets, scores, n):
    weight = np.exp(scores - logsumexp(scores))
    return np.array([sum(w for w, gone in zip(weight, sets, strict=True) if k in gone) for k in range(n)])


def sparse_table(rng, n_outcomes, n_states, share, each):
    """A true likelihood, where it is zero, and counts of `each` observations of each state."""
    zero = rng.random((n_outcomes, n_states)) < share
    zero[rng.integers(n_outcomes, size=n_states), np.arange(n_states)] = False
    truth = np.where(zero, 0.0, rng.gamma(1.0, size=zero.shape))
    truth /= truth.sum(axis=0)
    return truth, zero, rng.multinomial(each, truth.T).T.astype(float)


# --- one entry -----------------------------------------------------------------------------------------------------------
@given(columns(), st.sampled_from([0.0, 1e-3, 1 / 32, 2.0]))
def test_single_ratio_is_the_log_evidence_ratio_without_the_entry(column, remainder):
    prior, seen = column
    ratios = single_ratios(prior + seen, prior, remainder)
    for k in range(len(prior)):
        reduced = prior.copy()
        reduced[k] = min(remainder, prior[k])
        assert_allclose(ratios[k], log_evidence_ratio(prior + seen, prior, reduced), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 10**6))
def test_single_ratio_is_that_of_raw_observations_one_by_one(seed):
    rng = np.random.default_rng(seed)
    prior, outcomes = rng.gamma(1.0, size=5) + 0.05, rng.integers(0, 3, size=20)

    def log_evidence(counts):
        counts, total = list(counts), 0.0
        for o in outcomes:
            total += math.log(counts[o] / sum(counts))
            counts[o] += 1
        return total

    ratios = single_ratios(prior + np.bincount(outcomes, minlength=5), prior)
    for k in (3, 4):
        without = [0.0 if i == k else x for i, x in enumerate(prior)]
        assert_allclose(ratios[k], log_evidence(without) - log_evidence(prior), rtol=1e-9)
    assert np.isneginf(ratios[np.unique(outcomes)]).all()


def test_single_ratios_of_a_table_are_those_of_its_columns(rng):
    prior = rng.gamma(1.0, size=(4, 3, 2)) + 0.1
    posterior = prior + rng.integers(0, 2, size=prior.shape)
    ratios = single_ratios(posterior, prior)
    for at in np.ndindex(3, 2):
        column = (slice(None), *at)
        assert_array_equal(ratios[column], single_ratios(posterior[column], prior[column]))


def test_removing_several_entries_is_not_the_sum_of_removing_each():
    prior, seen = np.ones(4), np.array([5.0, 0, 0, 0])
    alone = single_ratios(prior + seen, prior)
    both = log_evidence_ratio(prior + seen, prior, [1.0, 0, 0, 1])
    assert both > alone[1] + alone[2] + 0.1


def test_what_cannot_be_removed():
    ratios = single_ratios(
        [[4.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 1.0, 0.0]], [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    )
    assert np.isneginf(ratios[:, 0]).all()  # the only entry, and structural zeros
    assert np.isneginf(ratios[1, 1]) and ratios[0, 1] > 0
    assert np.isneginf(ratios[:, 2]).all()
    assert_allclose(single_ratios([4.0], [1.0], 0.5), 0.0, atol=1e-12)  # one outcome is certain whatever its count


@pytest.mark.parametrize("soft", [1e-9, 0.01, 0.5])
def test_soft_counts_refute_a_zero_but_not_a_remainder(soft):
    prior, seen = np.ones(3), np.array([200.0, 3.0, soft])
    assert np.isneginf(single_ratios(prior + seen, prior)[2])
    kept = single_ratios(prior + seen, prior, 1 / 32)[2]
    assert np.isfinite(kept)
    best = single_ratios(prior + [200.0, 3.0 + soft, 0.0], prior, 1 / 32)[2]
    assert kept <= best + 1e-9
    assert soft > 0.01 or best - kept < 0.4
    assert absent_probability(prior + seen, prior, 0.5)[2] == 0
    if soft <= 0.01:
        assert absent_probability(prior + seen, prior, 0.5, 1 / 32)[2] > 0.95


def test_rounding_is_no_observation():
    prior = np.array([0.3, 0.3, 0.3])
    posterior = prior + [7.0, 0.0, 0.0]
    posterior[1] = 0.1 + 0.2  # not 0.3
    posterior[2] = np.nextafter(0.3, 0)
    assert np.isfinite(single_ratios(posterior, prior)[1:]).all()
    assert_allclose(single_ratios(posterior, prior)[1], single_ratios(posterior, prior)[2], rtol=1e-9)


@pytest.mark.parametrize("search", ["exact", "joint", "greedy"])
def test_counts_of_all_sizes_in_one_column(search):
    prior, seen = np.array([1e9, 1e-9, 1e-3, 5.0]), np.array([0.0, 4.0, 0, 0])
    for remainder in (0.0, 1e-12):
        space = SingleParameters(search=search, rate=0.4, threshold=-np.inf, adopt="zero", remainder=remainder)
        found = space.reduce((prior + seen)[None, :, None], prior[:, None])
        assert found.removed[0, 0, 0] and not found.removed[0, 1, 0]
        assert np.isfinite(found.log_evidence_ratio[0]) and np.isfinite(found.posterior).all()


def test_an_entry_that_outweighs_all_others_leaves_them():
    prior = np.array([1e9, 1e-9, 2e-9])
    posterior = prior + [0, 3.0, 1.0]
    ratios = single_ratios(posterior, prior)
    assert_allclose(ratios[0], log_evidence_ratio(posterior, prior, [0, 1e-9, 2e-9]), atol=1e-5)
    assert ratios[0] > 0 and np.isneginf(ratios[1:]).all()


# --- all supports --------------------------------------------------------------------------------------------------------
@given(columns(), RATES, st.sampled_from([0.0, 0.0, 0.015]))
def test_evidence_and_probabilities_are_those_of_all_supports(column, rate, remainder):
    prior, seen = column
    if not seen.any():
        return
    sets, scores = supports(prior, seen, rate, remainder)
    assert_allclose(support_evidence(prior + seen, prior, rate, remainder), logsumexp(scores), rtol=1e-6, atol=1e-6)
    probabilities = absent_probability(prior + seen, prior, rate, remainder)
    assert_allclose(probabilities, marginals(sets, scores, len(prior)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [1e-3, 0.3, 1.0, 40.0, 1e5])
@pytest.mark.parametrize("count", [1e-3, 0.1, 1.0, 20.0, 300.0])
@pytest.mark.parametrize("rate", [1e-4, 0.4, 0.99])
def test_the_integral_is_the_sum(n, count, rate):
    """Equal counts are summed; counts that differ in the last digits need the integral. Neither knows of the other."""
    prior = np.full(12, count)
    seen = np.r_[n, n / 3, np.zeros(10)]
    nearly = prior * (1 + 1e-13 * np.arange(12))
    for function in (support_evidence, absent_probability):
        assert_allclose(function(nearly + seen, nearly, rate), function(prior + seen, prior, rate), rtol=1e-6, atol=1e-7)


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=10)
def test_the_learned_rate_is_its_posterior_mean(seed, equal):
    rng = np.random.default_rng(seed)
    shape = (4, int(rng.integers(1, 12)))
    prior = np.ones(shape) if equal else rng.gamma(2.0, size=shape) + 0.05
    *_, seen = sparse_table(rng, *shape, rng.choice([0.0, 0.3, 0.6]), 10)
    grid = (np.arange(400) + 0.5) / 400
    density = np.zeros(400)
    for c in range(shape[1]):
        sets, _ = supports(prior[:, c], seen[:, c], 0.5)
        reduced = np.array([[0.0 if k in gone else x for k, x in enumerate(prior[:, c])] for gone in sets]).T
        after, before = (np.repeat(x[:, c, None], len(sets), axis=1) for x in (prior + seen, prior))
        ratio = log_evidence_ratio(after, before, reduced)
        size = np.array([len(gone) for gone in sets])
        each = ratio + size * np.log(grid)[:, None] + (4 - size) * np.log1p(-grid)[:, None]
        density += logsumexp(each, axis=1) - np.log1p(-(grid**4))
    weight = np.exp(density - density.max())
    assert_allclose(learned_rate(prior + seen, prior), (weight * grid).sum() / weight.sum(), atol=3e-3)
    evidence = SingleParameters().evidence((prior + seen)[None], prior)
    assert_allclose(evidence, logsumexp(density) - math.log(400), atol=0.03)


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_rate_is_found_in_large_tables(rng, equal, share):
    prior = np.ones((8, 1500)) if equal else rng.gamma(3.0, size=(8, 1500)) + 0.1
    zero = rng.random(prior.shape) < share
    zero[:, zero.all(axis=0)] = False
    truth = np.where(zero, 0.0, rng.gamma(prior)) + 1e-300
    seen = rng.multinomial(100, (truth / truth.sum(axis=0)).T).T
    assert abs(learned_rate(prior + seen, prior) - zero.mean()) < 0.02


@pytest.mark.parametrize("equal", [True, False])
def test_probabilities_are_calibrated(rng, equal):
    """Of entries that are said to be absent with probability x, a share x is, if tables are drawn from the model itself."""
    prior = np.ones((6, 20000)) if equal else rng.choice([0.3, 1.0, 3.0], size=(6, 20000))
    zero = rng.random(prior.shape) < 0.3
    while zero.all(axis=0).any():
        bad = zero.all(axis=0)
        zero[:, bad] = rng.random((6, bad.sum())) < 0.3
    truth = np.where(zero, 0.0, rng.gamma(prior))
    seen = rng.multinomial(12, (truth / truth.sum(axis=0)).T).T
    probabilities = absent_probability(prior + seen, prior, 0.3)
    unseen = seen == 0
    for low in np.arange(0.1, 0.9, 0.1):
        these = unseen & (probabilities >= low) & (probabilities < low + 0.1)
        if these.sum() > 200:
            p = probabilities[these]
            assert abs((zero[these] - p).sum()) < 4.5 * math.sqrt((p * (1 - p)).sum())


def test_probabilities_where_nothing_can_be_learned():
    prior, posterior = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 0.0]]), np.array([[1.0, 5.0, 0.0], [1.0, 0.0, 0.0]])
    # of two entries one must stay: P(first absent) = 0.3 x 0.7 / (1 - 0.3^2)
    assert_allclose(absent_probability(posterior, prior, 0.3), [[0.21 / 0.91, 0, 1], [0.21 / 0.91, 1, 1]])
    assert_allclose(support_evidence(posterior, prior, 0.3), [0, 0, 0], atol=1e-15)
    assert_allclose(learned_rate(prior, prior), 0.5, atol=1e-3)
    assert_array_equal(absent_probability([5.0, 1.0], [1.0, 1.0], 0.0), [0, 0])


# --- sets of entries -----------------------------------------------------------------------------------------------------
def score(prior, seen, gone, rate, remainder=0.0):
    reduced = np.where(gone, np.minimum(prior, remainder), prior)
    return float(log_evidence_ratio(prior + seen, prior, reduced)) + gone.sum() * math.log(rate / (1 - rate))


def removed_by(search, prior, seen, rate, **options):
    space = SingleParameters(search=search, rate=rate, threshold=-np.inf, **options)
    return space.reduce((prior + seen)[None, :, None], prior[:, None]).removed[0, :, 0]


@given(columns(), RATES, st.sampled_from([0.0, 0.0, 0.015]))
def test_joint_is_the_best_set_and_greedy_none_better(column, rate, remainder):
    prior, seen = column
    if not seen.any():
        return
    _, scores = supports(prior, seen, rate, remainder)
    best = scores.max() - (scores[0] if len(scores) else 0.0)  # against nothing removed, the first set
    joint = score(prior, seen, removed_by("joint", prior, seen, rate, remainder=remainder), rate, remainder)
    greedy = score(prior, seen, removed_by("greedy", prior, seen, rate, remainder=remainder), rate, remainder)
    assert_allclose(joint, best, rtol=1e-8, atol=1e-8)
    assert -1e-9 <= greedy <= joint + 1e-9
    exact = removed_by("exact", prior, seen, rate, remainder=remainder)
    away = np.abs(absent_probability(prior + seen, prior, rate, remainder) - 0.5) > 1e-7
    assert_array_equal(exact[away], (absent_probability(prior + seen, prior, rate, remainder) > 0.5)[away])


def test_greedy_follows_the_best_entry_step_by_step(rng):
    prior, seen = rng.gamma(1.0, size=6) + 0.1, np.array([9.0, 2.0, 0, 0, 0, 0])
    gone, odds = np.zeros(6, dtype=bool), math.log(0.3 / 0.7)
    while True:
        now = score(prior, seen, gone, 0.3)
        each = [-np.inf if gone[k] or seen[k] else score(prior, seen, gone | (np.arange(6) == k), 0.3) for k in range(6)]
        if max(each) - now < 0.2:
            break
        gone[int(np.argmax(each))] = True
    assert np.isfinite(odds) and gone.any()
    assert_array_equal(removed_by("greedy", prior, seen, 0.3, log_odds=0.2), gone)


@pytest.mark.parametrize("search", ["exact", "joint", "greedy"])
def test_no_removal_without_enough_odds(search, rng):
    prior, seen = rng.gamma(1.0, size=6) + 0.1, np.array([9.0, 2.0, 0, 0, 0, 0])
    few = [removed_by(search, prior, seen, 0.3, log_odds=x).sum() for x in (0.0, 1.0, 3.0, 30.0)]
    assert few == sorted(few, reverse=True) and few[0] > 0 and few[-1] == 0


# --- reduction of tables -------------------------------------------------------------------------------------------------
def example(rng, prior=None):
    _, zero, seen = sparse_table(rng, 7, 60, 0.4, 50)
    prior = np.ones(zero.shape) if prior is None else prior
    return prior, prior + seen, zero


@pytest.mark.parametrize("search", ["exact", "joint", "greedy"])
@pytest.mark.parametrize("unequal", [False, True])
@pytest.mark.parametrize("remainder", [0.0, 0.01])
def test_counts_that_are_adopted(search, unequal, remainder, rng):
    prior, posterior, zero = example(rng, rng.gamma(2.0, size=(7, 60)) + 0.2 if unequal else None)
    options = {"search": search, "remainder": remainder}
    sharp = SingleParameters(adopt="zero", **options).reduce(posterior[None], prior)
    gone = sharp.removed[0]
    assert sharp.accepted[0] and zero[gone].mean() > 0.8 and gone[zero].mean() > 0.8
    assert_allclose(sharp.prior[0], np.where(gone, remainder, prior))
    assert_allclose(sharp.posterior[0], np.where(gone, remainder + np.round(posterior - prior), posterior), atol=1e-12)
    soft = SingleParameters(**options).reduce(posterior[None], prior)
    assert_array_equal(soft.removed, sharp.removed)
    there = 1 - absent_probability(posterior, prior, "learn", remainder)
    assert_allclose(soft.prior[0], remainder + there * (prior - remainder), atol=1e-9)
    assert_allclose(soft.posterior[0] - soft.prior[0], posterior - prior, atol=1e-9)
    for found in (sharp, soft):
        exact = log_evidence_ratio(posterior, prior, found.prior[0]).sum()
        assert_allclose(found.log_evidence_ratio, [exact], rtol=1e-9)
        assert_array_equal(found.model, [-1])
        assert found.ratios is None and found.probabilities is None


def test_a_table_that_needs_no_zeros_stays_as_it_was(rng):
    prior = np.ones((6, 80))
    _, _, seen = sparse_table(rng, 6, 80, 0.0, 30)
    assert (seen == 0).any()
    found = SingleParameters().reduce((prior + seen)[None], prior)
    assert not found.accepted[0] and not found.removed.any() and found.log_evidence_ratio[0] == 0
    assert_array_equal(found.prior[0], prior)
    assert_array_equal(found.posterior[0], prior + seen)
    assert SingleParameters().evidence((prior + seen)[None], prior)[0] < 0


def test_occams_window_is_about_the_evidence_of_the_table(rng):
    prior, posterior, _ = example(rng)
    evidence = SingleParameters(rate=0.2).evidence(posterior[None], prior)[0]
    assert_allclose(evidence, support_evidence(posterior, prior, 0.2).sum(), rtol=1e-9)
    never = SingleParameters(rate=0.2, log_odds=np.inf, adopt="zero").reduce(posterior[None], prior)
    assert not never.accepted.any() and not never.removed.any()
    for threshold, accepted in ((evidence - 1e-6, True), (evidence + 1e-6, False), (np.inf, False)):
        found = SingleParameters(rate=0.2, threshold=threshold).reduce(posterior[None], prior)
        assert found.accepted[0] == found.removed.any() == accepted


def test_an_average_makes_nothing_impossible():
    prior, seen = np.full((3, 1), 500.0), np.array([[1e6], [1e6], [0.0]])
    found = SingleParameters(rate=0.5).reduce((prior + seen)[None], prior)
    assert found.removed[0, 2, 0] and absent_probability(prior + seen, prior, 0.5)[2, 0] == 1.0
    assert 0 < found.prior[0, 2, 0] < 1e-10


def test_rows_of_a_batch_do_not_know_of_each_other(rng):
    """Tables of all kinds at once, with a factor more, against each of them alone."""
    shape = (5, 4, 3)
    prior = np.stack([np.ones(shape), rng.gamma(2.0, size=shape) + 0.1, np.ones(shape) * 8, np.ones(shape)])
    prior[3, 2:, 1] = 0
    seen = np.stack([sparse_table(rng, 5, 12, s, n)[2].reshape(shape) for s, n in ((0, 50), (0.5, 40), (0.4, 1000), (0.3, 0))])
    seen[0] *= 1e6  # one row's large numbers are not another's rounding
    seen[1, :, 0] = 0
    posterior = prior + seen
    for options in ({}, {"search": "joint", "rate": 0.3}, {"search": "greedy", "adopt": "zero"}, {"remainder": 0.02}):
        space = SingleParameters(**options)
        together = space.reduce(posterior, prior)
        assert together.accepted[1] and not together.accepted[3]
        for i in range(4):
            alone = space.reduce(posterior[i : i + 1], prior[i])
            for name in ("prior", "posterior", "log_evidence_ratio", "accepted", "removed"):
                assert_allclose(getattr(together, name)[i], getattr(alone, name)[0], rtol=1e-9, atol=1e-12)


def test_names_of_outcomes_and_states_do_not_matter(rng):
    prior, posterior, _ = example(rng, rng.gamma(2.0, size=(7, 60)) + 0.2)
    space = SingleParameters()
    found = space.reduce(posterior[None], prior).posterior[0]
    rows, states = rng.permutation(7), rng.permutation(60)
    other = space.reduce(posterior[None, rows][:, :, states], prior[rows][:, states]).posterior[0]
    assert_allclose(other, found[rows][:, states], rtol=1e-8)


def test_columns_that_have_seen_nothing_are_left_alone(rng):
    prior, posterior, _ = example(rng)
    prior[:, 3], posterior[:, 3] = 0.0, 0.0
    posterior[:, 5] = prior[:, 5]
    prior[3:, 7], posterior[3:, 7] = 0.0, 0.0
    for options in ({}, {"rate": 0.9}, {"search": "joint", "adopt": "zero", "rate": 0.9}, {"remainder": 0.01}):
        found = SingleParameters(threshold=-np.inf, log_odds=-10.0, **options).reduce(posterior[None], prior)
        assert_array_equal(found.posterior[0][:, [3, 5]], posterior[:, [3, 5]])
        assert_array_equal(found.prior[0][3:, 7], 0)
        assert not found.removed[0][:, [3, 5]].any() and not found.removed[0][3:, 7].any() and found.accepted[0]


@pytest.mark.parametrize("options", [{}, {"rate": 0.9}, {"rate": 0.0}, {"search": "joint"}, {"search": "greedy"}])
def test_without_data_nothing_happens(options):
    prior = np.ones((2, 4, 3))
    found = SingleParameters(threshold=-np.inf, log_odds=-np.inf, **options).reduce(prior, prior)
    assert not found.accepted.any() and not found.removed.any()
    assert_array_equal(found.log_evidence_ratio, 0)
    assert_array_equal(found.posterior, prior)
    assert found.posterior is not prior


@pytest.mark.parametrize("search", ["exact", "joint", "greedy"])
def test_a_rate_of_zero_removes_nothing(search, rng):
    prior, posterior, _ = example(rng)
    found = SingleParameters(search=search, rate=0.0, threshold=-np.inf).reduce(posterior[None], prior)
    assert not found.accepted.any() and not found.removed.any()
    assert_array_equal(support_evidence(posterior, prior, 0.0), 0)
    large = 300 * (1 + rng.random(prior.shape))  # t^300 is smaller than any number
    assert_array_equal(absent_probability(large + 1e4 * (posterior - prior), large, 0.0), 0)


def test_soft_counts_need_a_remainder(rng):
    """An agent in doubt about its state spreads a little of each observation: exact zeros are then all refuted."""
    prior, posterior, zero = example(rng)
    seen = posterior - prior
    posterior = prior + 0.9999 * seen + 0.0001 * seen.mean(axis=1, keepdims=True)
    assert not SingleParameters().reduce(posterior[None], prior).removed.any()
    found = SingleParameters(remainder=1 / 32).reduce(posterior[None], prior).removed[0]
    assert zero[found].mean() > 0.85 and found[zero].mean() > 0.85


@pytest.mark.parametrize("unequal", [False, True])
def test_a_million_entries_take_little_memory(unequal, rng):
    shape = (100, 10_000)
    prior = rng.gamma(1.0, size=shape) + 0.01 if unequal else np.ones(shape)
    zero = rng.random(shape) < 0.5
    seen = rng.poisson(np.where(zero, 0.0, 3 * rng.gamma(1.0, size=shape)))
    posterior = prior + seen
    single_ratios(posterior, prior)
    found = SingleParameters().reduce(posterior[None], prior[None])
    assert found.accepted[0] and found.removed[0][zero].mean() > 0.9 if not unequal else found.accepted[0]
    tracemalloc.start()
    SingleParameters().reduce(posterior[None, :, :2000], prior[None, :, :2000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * posterior.nbytes


# --- bad input -----------------------------------------------------------------------------------------------------------
ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    "posterior, prior, message",
    [
        ([[1.0, -1.0]], [[1.0, 1.0]], r"posterior must not be negative; entry \(0, 1\) is -1"),
        ([[1.0, 1.0]], [[1.0, np.nan]], "prior must be finite; got nan"),
        ([[1.0, 1.0]], [[1.0]], r"posterior and prior must have the same shape; got \(1, 2\) and \(1, 1\)"),
        ([[1.0, 0.5]], [[1.0, 1.0]], r"posterior must not be below prior; entry \(0, 1\) has 0.5 counts after and 1 before"),
        ([[1.0, 0.5]], [[1.0, 0.0]], r"posterior must be zero where prior is, a structural zero; entry \(0, 1\) is 0.5"),
        (np.zeros((2, 2)), np.zeros((2, 2)), "prior must hold some counts; got 4 zeros"),
        (np.zeros((2, 0)), np.zeros((2, 0)), "prior must hold some counts; got 0 zeros"),
        (3.0, 1.0, "posterior must be an array with the outcomes on axis 0; got the single number 3.0"),
    ],
)
@pytest.mark.parametrize("function", [single_ratios, absent_probability, learned_rate, support_evidence])
def test_bad_tables_are_named(function, posterior, prior, message):
    more = (0.5,) if function is support_evidence else ()
    with pytest.raises(ValueError, match=message):
        function(posterior, prior, *more)


@pytest.mark.parametrize(
    "posterior, prior, message",
    [
        (ONES, ONES[0, :1], r"prior must have the shape of posterior"),
        (ONES[0], ONES[0], r"posterior must be a batch of tables"),
        (np.stack([ONES, ONES - 0.5]), ONES, r"posterior must not be below prior; entry \(1, 0, 0\) has 0.5 counts after"),
        (ONES[None] - 2, ONES, "posterior must not be negative"),
        (np.zeros((1, 3, 2)), 0 * ONES, "prior must hold some counts"),
        (ONES[None], np.where(np.eye(3, 2) > 0, 0, ONES), r"posterior must be zero where prior is.*entry \(0, 0, 0\) is 1"),
        (np.zeros((0, 3, 2)), ONES, r"posterior must be a batch of tables"),
    ],
)
def test_bad_batches_are_named(posterior, prior, message):
    with pytest.raises(ValueError, match=message):
        SingleParameters().reduce(posterior, prior)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"rate": 1.0}, ValueError, r"rate must be in \[0, 1\); got 1.0"),
        ({"rate": -0.1}, ValueError, r"rate must be in \[0, 1\); got -0.1"),
        ({"rate": np.nan}, ValueError, r"rate must be in \[0, 1\); got nan"),
        ({"rate": "guess"}, TypeError, r"rate must be a number in \[0, 1\) or 'learn'; got 'guess'"),
        ({"rate": None}, TypeError, r"rate must be a number in \[0, 1\) or 'learn'; got None"),
        ({"remainder": -1.0}, ValueError, "remainder must be a finite number of counts >= 0; got -1.0"),
        ({"remainder": np.inf}, ValueError, "remainder must be a finite number of counts >= 0; got inf"),
        ({"search": "all"}, ValueError, r"search of SingleParameters must be one of \['exact', 'joint', 'greedy'\]; got 'all'"),
        ({"adopt": "none"}, ValueError, r"adopt of SingleParameters must be one of \['average', 'zero'\]; got 'none'"),
        ({"threshold": np.nan}, ValueError, "threshold of SingleParameters must be a number of nats"),
        ({"log_odds": np.nan}, ValueError, "log_odds of SingleParameters must be a number of nats; got nan"),
    ],
)
def test_bad_settings_are_named(options, error, message):
    with pytest.raises(error, match=message):
        SingleParameters(**options)


def test_support_evidence_needs_a_number():
    with pytest.raises(ValueError, match=r"rate of support_evidence must be a number in \[0, 1\); got 'learn'"):
        support_evidence(ONES, ONES, "learn")


# --- very many counts ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1.0, 1e8, 1e11])
def test_ratios_of_entries_with_very_many_prior_counts(size):
    """By products of (count + k): as differences of lnG, at 1e11 counts they would be off by 1e-3."""
    prior, seen = size * np.array([4.0, 3.0, 2.0, 1.0]), np.array([3.0, 4.0, 0.0, 0.0])
    whole, k = prior.sum(), np.arange(7)
    found = single_ratios((prior + seen)[:, None], prior[:, None])[:, 0]
    expected = [np.log1p(gone / (whole - gone + k)).sum() for gone in prior[2:]]
    np.testing.assert_allclose(found[2:], expected, rtol=1e-12)
    assert np.isneginf(found[:2]).all()
