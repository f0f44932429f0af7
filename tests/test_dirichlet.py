"""Dirichlet counts: against numerical integration, identities and bounds that hold for any counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats

from activebmr import dirichlet


def tables(low=1e-3, high=1e3, zeros=False):
    """Counts with outcomes on axis 0; with ``zeros``, some are structural zeros (never a whole column)."""
    shapes = array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=4)
    logs = st.floats(np.log(low), np.log(high))
    plain = shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=logs)).map(np.exp)
    if not zeros:
        return plain

    def drop(counts, seed):
        gone = np.random.default_rng(seed).random(counts.shape) < 0.3
        gone[0] = False
        return np.where(gone, 0.0, counts)

    return st.builds(drop, plain, st.integers(0, 99))


pairs = st.tuples(tables(zeros=True), st.integers(0, 99)).map(
    lambda x: (x[0], x[0] * np.random.default_rng(x[1]).gamma(2.0, size=x[0].shape))
)


# --- means and logarithms ------------------------------------------------------------------------------------------------
def test_mean_by_hand():
    counts = np.array([[1.0, 0.0, 0.0], [3.0, 0.0, 2.0]])
    assert_array_equal(dirichlet.mean(counts), [[0.25, 0.5, 0.0], [0.75, 0.5, 1.0]])  # a column without counts is uniform


@given(tables(zeros=True))
def test_means_sum_to_one_and_keep_zeros(counts):
    mean = dirichlet.mean(counts)
    assert_allclose(mean.sum(axis=0), 1.0, rtol=1e-12)
    assert_array_equal(mean == 0, counts == 0)
    assert_allclose(dirichlet.mean(7.0 * counts), mean, rtol=1e-12)


def test_expected_log_is_the_integral_of_log_p():
    a, b = 2.5, 0.7
    by_integration = integrate.quad(lambda p: np.log(p) * stats.beta(a, b).pdf(p), 0, 1, limit=200)[0]
    assert_allclose(dirichlet.expected_log([[a], [b]])[0, 0], by_integration, rtol=1e-6)


@given(tables(low=0.1, high=50.0))
def test_expected_log_is_the_gradient_of_log_beta(counts):
    step = 1e-5 * counts[0]
    up, down = counts.copy(), counts.copy()
    up[0] += step
    down[0] -= step
    slope = (dirichlet.log_beta(up) - dirichlet.log_beta(down)) / (2 * step)
    assert_allclose(dirichlet.expected_log(counts)[0], slope, rtol=1e-4, atol=1e-6)


def test_log_beta_of_two_outcomes_is_scipys():
    a, b = np.array([0.3, 2.0, 40.0]), np.array([1.0, 0.01, 7.0])
    assert_allclose(dirichlet.log_beta([a, b]), special.betaln(a, b), rtol=1e-13)


@given(tables(zeros=True))
def test_structural_zeros_take_no_part(counts):
    """A table with a row of zeros more is the same table."""
    wider = np.concatenate([counts, np.zeros((1, *counts.shape[1:]))])
    assert_allclose(dirichlet.log_beta(wider), dirichlet.log_beta(counts), rtol=1e-12, atol=1e-12)
    assert_allclose(dirichlet.expected_log(wider)[:-1], dirichlet.expected_log(counts), rtol=1e-12)
    assert np.isneginf(dirichlet.expected_log(wider)[-1]).all()
    assert_allclose(dirichlet.information_gain(wider)[:-1], dirichlet.information_gain(counts), rtol=1e-12)
    assert_array_equal(dirichlet.information_gain(wider)[-1], 0.0)
    assert_allclose(
        dirichlet.kl_divergence(wider, 2 * wider, floor=0), dirichlet.kl_divergence(counts, 2 * counts, floor=0), rtol=1e-9
    )
    assert_allclose(dirichlet.mutual_information(wider), dirichlet.mutual_information(counts), atol=1e-12)


def test_safe_log_stops_at_minus_32():
    assert_array_equal(dirichlet.safe_log([0.0, np.exp(-40.0)]), [-32.0, -32.0])
    assert_allclose(dirichlet.safe_log(np.e), 1.0, rtol=1e-15)


# --- divergences ---------------------------------------------------------------------------------------------------------
def test_kl_divergence_is_the_integral_of_the_log_ratio():
    q, p = (2.5, 1.5), (0.8, 3.0)

    def integrand(x):
        return stats.beta(*q).pdf(x) * (stats.beta(*q).logpdf(x) - stats.beta(*p).logpdf(x))

    by_integration = integrate.quad(integrand, 0, 1, limit=200)[0]
    assert_allclose(dirichlet.kl_divergence(q, p), by_integration, rtol=1e-7)


@given(pairs)
def test_kl_divergence_is_positive_and_zero_only_for_equals(pair):
    q, p = pair
    divergence = dirichlet.kl_divergence(q, p, floor=0)
    assert divergence.shape == q.shape[1:]
    assert (divergence >= 0).all()
    assert_allclose(dirichlet.kl_divergence(q, q), 0.0, atol=1e-9)
    far = (np.abs(q - p) > 0.1 * (q + p)).any(axis=0) & ((q > 0).sum(axis=0) > 1)
    assert (divergence[far] > 1e-4).all()


def test_kl_divergence_makes_a_zero_of_one_side_dear_but_finite():
    q, p = np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])
    floored = np.maximum(q, dirichlet.COUNT_FLOOR)
    assert_allclose(dirichlet.kl_divergence(q, p), dirichlet.kl_divergence(floored, p, floor=0), rtol=1e-12)
    assert dirichlet.kl_divergence(p, q)[0] > 100 * dirichlet.kl_divergence(p, [[0.5], [0.5]])[0]
    with pytest.raises(ValueError, match=r"q and p must share their zeros when floor is 0; at \(1, 0\) q is 0 and p is 1"):
        dirichlet.kl_divergence(q, p, floor=0)


def test_the_zero_that_only_one_of_the_two_has_is_named():
    with pytest.raises(ValueError, match=r"q and p must share their zeros when floor is 0; at \(2,\) q is 0 and p is 1"):
        dirichlet.kl_divergence([0.0, 1.0, 0.0], [0.0, 1.0, 1.0], floor=0)
    with pytest.raises(ValueError, match=r"at \(2,\) q is 1 and p is 0"):
        dirichlet.kl_divergence([0.0, 1.0, 1.0], [0.0, 1.0, 0.0], floor=0)


def test_kl_categorical_and_neg_entropy_by_hand():
    p, q = np.array([[0.5, 1.0], [0.5, 0.0]]), np.array([[0.25, 0.5], [0.75, 0.5]])
    assert_allclose(dirichlet.kl_categorical(p, q), [0.5 * np.log(2) + 0.5 * np.log(2 / 3), np.log(2)], rtol=1e-12)
    assert_allclose(dirichlet.kl_categorical([0.5, 0.5], [1.0, 0.0]), 0.5 * np.log(0.5) + 0.5 * (np.log(0.5) + 32), rtol=1e-12)
    assert_allclose(dirichlet.neg_entropy(p), [-np.log(2), 0.0], rtol=1e-12)


# --- very many counts ----------------------------------------------------------------------------------------------------
# the numbers of this section are those of mpmath 1.3 with 60 digits
@pytest.mark.parametrize(
    "counts, exact",
    [
        ([1e16, 1.0], -36.841361487904730944),
        ([1e16, 2.5, 1e-3], -84.948383325392959459),
        ([7e15, 2e15, 1e15], -8018185525433405.9547),
        ([1e-9, 1e12], 20.723265808738174314),
    ],
)
def test_log_beta_of_very_many_counts(counts, exact):
    """lnG(1e16) is 3.6e17: as a difference of two of those, the first would be off by 38."""
    assert_allclose(dirichlet.log_beta(counts), exact, rtol=1e-14)
    assert_allclose(dirichlet.log_beta(counts[::-1]), exact, rtol=1e-14)


@pytest.mark.parametrize(
    "q, p, exact",
    [
        ([7e15 + 3, 2e15 + 5, 1e15 + 2], [7e15, 2e15, 1e15], 3.8928571428571352819e-15),
        ([7e15, 2e15, 1e15], [7.0, 2.0, 1.0], 33.664744704173951454),
        ([2e10, 3e10], [1e10, 1.5e10], 0.096573590282611543598),
        ([1e15 + 1e8, 1e15], [1e15, 1e15], 2.49999975000002375),
        ([0.25, 512.0], [2e6, 5e5], 19679809.968887478669),
        # the same means: how far counts have moved is 1e12 in both of two ways, which must not be subtracted
        ([1.1, 2.3], [1.1e12, 2.3e12 + 7], 582265066270.12521469),
        ([0.3, 0.7, 1.9], [0.3e13, 0.7e13, 1.9e13], 13082706492777.919397),
        ([1.0, 1.0], [1.9, 1.2], 0.18826655079973834794),
    ],
)
def test_kl_divergence_of_very_many_counts(q, p, exact):
    assert_allclose(dirichlet.kl_divergence(q, p), exact, rtol=1e-11, atol=1e-12)


@given(st.floats(0, 15).map(lambda e: 10.0**e))
def test_kl_divergence_of_the_same_mean_hardly_depends_on_how_many_counts_there_are(size):
    """Many counts are a normal distribution of K - 1 numbers, and twice the counts halve its variance."""
    p = size * np.array([4.0, 5.0, 7.0])
    assert_allclose(dirichlet.kl_divergence(2 * p, p), np.log(2) - 0.5, atol=0.1 / size)
    assert_allclose(dirichlet.kl_divergence(p / 2, p), 1 - np.log(2), atol=0.3 / size)


# --- information about parameters ----------------------------------------------------------------------------------------
@given(tables(low=1e-2, high=1e3, zeros=True))
def test_information_gain_is_the_divergence_after_one_more_observation(counts):
    """Exactly, not only to first order: KL[Dir(a + e_o) || Dir(a)], column by column."""
    gain = dirichlet.information_gain(counts)
    assert (gain >= 0).all()
    for o in range(len(counts)):
        seen = counts.copy()
        seen[o] += counts[o] > 0
        # the divergence is a difference of gamma functions of up to 4000 nats: 1e-9 is what float64 leaves of it
        assert_allclose(np.where(counts[o] > 0, dirichlet.kl_divergence(seen, counts, floor=0), 0.0), gain[o], 1e-7, 1e-9)


def test_information_gain_is_the_integral_of_the_log_ratio():
    a, b = 0.6, 1.7
    after, before = stats.beta(a + 1, b), stats.beta(a, b)
    by_integration = integrate.quad(lambda x: after.pdf(x) * (after.logpdf(x) - before.logpdf(x)), 0, 1, limit=200)[0]
    assert_allclose(dirichlet.information_gain([a, b])[0], by_integration, rtol=1e-7)


@given(tables(low=1e-2, high=1e2))
def test_expected_information_gain_is_what_outcomes_tell_about_probabilities(counts):
    """sum_o E[A]_o W_o = H[E[A]] - E[H[A]], the mutual information of outcome and parameters; at most the entropy."""
    mean, total = dirichlet.mean(counts), counts.sum(axis=0)
    expected_entropy = special.digamma(total + 1) - (mean * special.digamma(counts + 1)).sum(axis=0)
    expected = (mean * dirichlet.information_gain(counts)).sum(axis=0)
    assert_allclose(expected, -dirichlet.neg_entropy(mean) - expected_entropy, rtol=1e-7, atol=1e-9)
    assert (expected <= -dirichlet.neg_entropy(mean) + 1e-12).all()


def test_information_gain_falls_with_what_is_known():
    gain = [dirichlet.information_gain([[n], [n]])[0, 0] for n in (1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6, 1e9)]
    assert all(a > b > 0 for a, b in zip(gain[:-1], gain[1:], strict=True))
    assert_allclose(gain[0], np.log(2), rtol=1e-5)  # one observation then settles which of the two it is
    assert_allclose(gain[-2:], [0.25e-6, 0.25e-9], rtol=1e-3)  # (1/a - 1/a0) / 2, without cancelling to noise


# --- structure of a likelihood -------------------------------------------------------------------------------------------
@given(tables(zeros=True))
def test_mutual_information_is_bounded_and_symmetric(counts):
    table = counts.reshape(len(counts), -1)
    joint = table / table.sum()
    information = dirichlet.mutual_information(counts)
    entropies = [-special.xlogy(m, m).sum() for m in (joint.sum(axis=0), joint.sum(axis=1))]
    assert -1e-12 <= information <= min(entropies) + 1e-12
    assert_allclose(dirichlet.mutual_information(table.T), information, atol=1e-12)
    assert_allclose(dirichlet.mutual_information(5 * counts), information, atol=1e-12)


def test_mutual_information_of_what_is_certain_and_what_is_unrelated():
    assert_allclose(dirichlet.mutual_information(3.0 * np.eye(4)), np.log(4), rtol=1e-12)
    unrelated = np.multiply.outer([1.0, 2.0, 5.0], [0.3, 0.0, 0.7])
    assert_allclose(dirichlet.mutual_information(unrelated), 0.0, atol=1e-15)


@given(tables(low=0.1, high=10.0))
def test_mutual_information_gradient_is_its_slope(counts):
    """Along any direction that keeps the sum of the joint at 1."""
    joint = counts / counts.sum()
    gradient = dirichlet.mutual_information_gradient(counts)
    for at in range(1, joint.size):
        step = np.zeros(joint.size)
        step[[0, at]] = 1e-6 * joint.min() * np.array([1.0, -1.0])
        step = step.reshape(joint.shape)
        slope = dirichlet.mutual_information(joint + step) - dirichlet.mutual_information(joint - step)
        assert_allclose((gradient * step).sum(), slope / 2, rtol=1e-3, atol=1e-14)


# --- bad input -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value, message",
    [
        (3.0, "counts must be an array with the outcomes on axis 0; got the single number 3.0"),
        ([1.0, np.nan], "counts must be finite; got nan"),
        ([1.0, np.inf], "counts must be finite; got inf"),
        ([[1.0, 2.0], [1.0, -0.5]], r"counts must not be negative; entry \(1, 1\) is -0.5"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), r"counts must not be masked; entry \(1,\) is"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        dirichlet.information_gain,
        dirichlet.mutual_information,
        dirichlet.mutual_information_gradient,
        lambda counts: dirichlet.as_counts(counts, "counts"),
    ],
)
def test_bad_counts_are_named(function, value, message):
    with pytest.raises(ValueError, match=message):
        function(value)


def test_bad_arguments_of_divergences_are_named():
    with pytest.raises(ValueError, match=r"q and p must have the same shape; got \(2, 1\) and \(2, 2\)"):
        dirichlet.kl_divergence([[1.0], [1.0]], [[1.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match=r"p must not be negative; entry \(1,\) is -1"):
        dirichlet.kl_divergence([1.0, 1.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="q must be finite; got nan"):
        dirichlet.kl_divergence([np.nan, 1.0], [1.0, 1.0])
    for function in (dirichlet.mutual_information, dirichlet.mutual_information_gradient):
        with pytest.raises(ValueError, match="counts must hold some mass; all of them are zero"):
            function(np.zeros((2, 2)))


def test_tables_without_outcomes_and_shapes_that_differ_are_named():
    for function in (dirichlet.mean, dirichlet.log_beta, dirichlet.expected_log, dirichlet.expected_mutual_information):
        with pytest.raises(ValueError, match=r"counts must hold at least one outcome on axis 0; got shape \(0, 2\)"):
            function(np.zeros((0, 2)))
    with pytest.raises(ValueError, match=r"p and q must have the same shape; got \(2,\) and \(2, 1\)"):
        dirichlet.kl_categorical([0.5, 0.5], [[0.5], [0.5]])
    with pytest.raises(ValueError, match="counts must hold some mass; all of them are zero"):
        dirichlet.expected_mutual_information(np.zeros((2, 2)))


# --- expected information, and preferences -------------------------------------------------------------------------------
def test_expected_mutual_information_is_an_average_over_joints(rng):
    counts = np.array([[2.0, 0.5, 1.0], [0.7, 3.0, 1.5]])
    draws = rng.dirichlet(counts.ravel(), size=20000).reshape(-1, 2, 3)
    information = [dirichlet.mutual_information(d) for d in draws]
    error = np.std(information) / np.sqrt(len(information))
    assert abs(np.mean(information) - dirichlet.expected_mutual_information(counts)) < 4 * error
    assert_allclose(dirichlet.expected_mutual_information(1e9 * counts), dirichlet.mutual_information(counts), rtol=1e-6)


def test_preferences_add_their_expected_logs(rng):
    counts, c, h = rng.gamma(1.0, size=(3, 2, 2)), np.array([2.0, 1.0, 5.0]), np.array([[1.0, 3.0], [4.0, 2.0]])
    joint = counts / counts.sum()
    expected = (joint * np.log(c / c.sum())[:, None, None]).sum() + (joint * np.log(h / h.sum())).sum()
    gained = dirichlet.mutual_information(counts, c, h) - dirichlet.mutual_information(counts)
    assert_allclose(gained, expected, rtol=1e-10)


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_expected_mutual_information_is_that_of_expected_entropies_by_integration(scale):
    """A probability, or a sum of some, is beta distributed: of each, E[p log p] is one integral."""
    counts = scale * np.array([[2.0, 0.5, 1.0], [0.7, 3.0, 1.5]])

    def entropy(parts):
        total = 0.0
        for a in parts:
            b = counts.sum() - a
            integral = integrate.quad(lambda p: p, 0, 1, weight="alg-loga", wvar=(a - 1, b - 1), epsabs=0, epsrel=1e-11)[0]
            total -= integral / special.beta(a, b)
        return total

    exact = entropy(counts.sum(axis=0)) + entropy(counts.sum(axis=1)) - entropy(counts.ravel())
    assert_allclose(dirichlet.expected_mutual_information(counts), exact, rtol=1e-8)


@given(tables(low=0.1, high=10.0), st.integers(0, 99))
def test_gradient_with_preferences_is_the_slope(counts, seed):
    rng = np.random.default_rng(seed)
    joint = counts / counts.sum()
    c, h = rng.gamma(2.0, size=len(counts)) + 0.1, rng.gamma(2.0, size=counts[0].size) + 0.1
    gradient = dirichlet.mutual_information_gradient(counts, c, h)
    assert gradient.shape == counts.shape
    # the joint stays normalised: preferences enter less their expectation, and so the mean slope is information less one
    assert_allclose((joint * gradient).sum(), dirichlet.mutual_information(counts) - 1, rtol=1e-9, atol=1e-12)
    for at in range(1, joint.size):
        step = np.zeros(joint.size)
        step[[0, at]] = 1e-6 * joint.min() * np.array([1.0, -1.0])
        step = step.reshape(joint.shape)
        slope = dirichlet.mutual_information(joint + step, c, h) - dirichlet.mutual_information(joint - step, c, h)
        assert_allclose((gradient * step).sum(), slope / 2, rtol=1e-3, atol=1e-14)


def test_sizes_of_counts_and_preferences_do_not_matter_and_shapes_are_read_in_c_order(rng):
    counts, c, h = rng.gamma(1.0, size=(3, 2, 2)), np.array([2.0, 1.0, 5.0]), np.array([[1.0, 3.0], [4.0, 2.0]])
    for function in (dirichlet.mutual_information, dirichlet.mutual_information_gradient):
        exact = function(counts, c, h)
        for size in (1e-3, 1e3):
            assert_allclose(function(size * counts, size * c, size * h), exact, rtol=1e-9)
        assert_allclose(function(counts, c[:, None], h.ravel()), exact, rtol=1e-12)
        assert_allclose(function(counts, c, h.reshape(-1, 1)), exact, rtol=1e-12)


def test_gradient_is_floored_where_nothing_is_counted():
    """log(0) is -32 before the one is taken, and where a whole row or column is empty too."""
    gradient = dirichlet.mutual_information_gradient([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    # joint 2/4, 1/4, 1/4; rows 1/2, 1/2; columns 3/4, 1/4
    log = np.log([[0.5 / 0.375, 1.0, 1.0], [0.25 / 0.375, 0.25 / 0.125, 1.0], [1.0, 1.0, 1.0]])
    seen = np.array([[True, False, False], [True, True, False], [False, False, False]])
    assert_allclose(gradient, np.where(seen, log, -32.0) - 1.0, rtol=1e-12)


def test_a_column_without_counts_is_no_distance_from_itself():
    q, p = np.array([[2.0, 0.0], [3.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    divergence = dirichlet.kl_divergence(q, p, floor=0)
    assert_allclose(divergence, [dirichlet.kl_divergence(q[:, 0], p[:, 0], floor=0), 0.0], rtol=1e-12)
    assert_array_equal(dirichlet.information_gain(q)[:, 1], 0.0)


@pytest.mark.parametrize("function", [dirichlet.mutual_information, dirichlet.mutual_information_gradient])
@pytest.mark.parametrize("bad", [[1.0], [0.0, 0.0], [1.0, 1.0, 1.0]])
def test_bad_preferences_are_named(function, bad):
    with pytest.raises(ValueError, match="outcome_preferences must hold 2 numbers with some mass; got"):
        function(np.ones((2, 3)), bad)
    with pytest.raises(ValueError, match="state_preferences must hold 2 numbers with some mass; got"):
        function(np.ones((3, 2)), None, bad)
