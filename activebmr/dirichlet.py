"""Dirichlet distributions over the columns of a table of counts.

Every function takes arrays of concentration parameters ("counts") with the outcomes on axis 0, so that a likelihood of any
number of factors, ``(n_outcomes, n_states_0, n_states_1, ...)``, is one table of columns. A count of exactly zero is a
*structural zero*: that outcome is impossible, and it takes no part in any sum. All numbers are natural (nats).
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, xlogy

from activebmr import checks
from activebmr import counts as counts_of
from activebmr.checks import float_array
from activebmr.counts import LOG_FLOOR
from activebmr.log_gamma import bregman_log, log_gamma_rest, psi_rest

__all__ = [
    "COUNT_FLOOR",
    "LOG_FLOOR",
    "as_counts",
    "expected_mutual_information",
    "expected_log",
    "information_gain",
    "kl_categorical",
    "kl_divergence",
    "log_beta",
    "mean",
    "mutual_information",
    "mutual_information_gradient",
    "neg_entropy",
    "safe_log",
]

COUNT_FLOOR = float(np.exp(-16.0))
"""Smallest count that `kl_divergence` distinguishes from zero by default, about 1e-7 (SPM)."""


def as_counts(value: ArrayLike, name: str) -> NDArray[np.float64]:
    """``value`` as a float64 array of counts, or a ValueError that names it.

    Raises:
        ValueError: if it has no axis, is masked, holds a negative number, a nan or an infinity.
        TypeError: if it holds no real numbers.

    Example:
        >>> as_counts([[3, 1], [1, 1]], "pA").dtype
        dtype('float64')
    """
    counts = float_array(value, name)
    if counts.ndim == 0:
        raise ValueError(f"{name} must be an array with the outcomes on axis 0; got the single number {counts}")
    if not np.isfinite(counts).all():
        raise ValueError(f"{name} must be finite; got {counts[~np.isfinite(counts)][0]}")
    if counts.size and counts.min() < 0:
        where = tuple(int(i) for i in np.unravel_index(counts.argmin(), counts.shape))
        raise ValueError(f"{name} must not be negative; entry {where} is {counts.min():.6g}")
    return counts


def _table(value: ArrayLike, name: str) -> NDArray[np.float64]:
    """Counts of at least one outcome."""
    counts = as_counts(value, name)
    if counts.shape[0] == 0:
        raise ValueError(f"{name} must hold at least one outcome on axis 0; got shape {counts.shape}")
    return counts


def safe_log(p: ArrayLike) -> NDArray[np.float64]:
    """max(log p, -32): the logarithm that SPM uses throughout, finite at zero.

    Raises:
        ValueError, TypeError: on negative or non-finite numbers, and what is no array of real numbers.

    Example:
        >>> safe_log([1.0, 0.0])
        array([  0., -32.])
    """
    return counts_of.safe_log(checks.numbers(p, "p", checks.NOT_NEGATIVE))


def mean(counts: ArrayLike) -> NDArray[np.float64]:
    """Expected probabilities E[A] = a / sum(a), column by column; a column without any counts is uniform.

    Raises:
        ValueError, TypeError: on negative or non-finite numbers, and what is no array of real numbers.

    Example:
        >>> mean([[3.0, 0.0], [1.0, 0.0]])
        array([[0.75, 0.5 ],
               [0.25, 0.5 ]])
    """
    return counts_of.mean(_table(counts, "counts"))


def log_beta(counts: ArrayLike) -> NDArray[np.float64]:
    """Log multivariate beta function per column, ``sum_i lnG(a_i) - lnG(sum_i a_i)`` over the non-zero entries.

    Returns:
        array of the shape of ``counts`` without axis 0.

    Raises:
        ValueError, TypeError: on negative or non-finite numbers, and what is no array of real numbers.

    Example:
        >>> log_beta([[1.0, 2.0], [1.0, 2.0]]).round(4)
        array([ 0.    , -1.7918])
    """
    return counts_of.log_beta(_table(counts, "counts"))


def expected_log(counts: ArrayLike) -> NDArray[np.float64]:
    """E[log A] = psi(a) - psi(sum a); -inf at structural zeros.

    Raises:
        ValueError, TypeError: on negative or non-finite numbers, and what is no array of real numbers.

    Example:
        >>> expected_log([1.0, 2.0])
        array([-1.5, -0.5])
    """
    return counts_of.expected_log(_table(counts, "counts"))


def kl_divergence(q: ArrayLike, p: ArrayLike, floor: float = COUNT_FLOOR) -> NDArray[np.float64]:
    """KL divergence KL[Dir(q) || Dir(p)] of Dirichlet distributions, column by column.

    Args:
        q: counts of the first distribution, outcomes on axis 0.
        p: counts of the second one, same shape.
        floor: counts below it are raised to it, so that a structural zero that only one of the two has costs much instead of
            infinitely much. The default, e^-16, is SPM's (``spm_KL_dir``); it shifts the divergence of tables with zeros by
            about 1e-6 nats. With 0, entries that are zero in both are left out, exactly.

    Returns:
        array of the shape of ``q`` without axis 0, nats, >= 0. Sum it for the divergence of whole tables.

    Raises:
        ValueError: on negative or non-finite counts, shapes that differ or, with ``floor=0``, a zero in only one of the two.

    Example:
        >>> kl_divergence([[2.0], [1.0]], [[1.0], [1.0]]).round(4)
        array([0.1931])
    """
    q, p = as_counts(q, "q"), as_counts(p, "p")
    if q.shape != p.shape:
        raise ValueError(f"q and p must have the same shape; got {q.shape} and {p.shape}")
    floor = checks.number(floor, "floor", checks.NOT_NEGATIVE)
    if floor > 0:
        q, p = np.maximum(q, floor), np.maximum(p, floor)
    elif ((q > 0) != (p > 0)).any():
        at = tuple(int(i) for i in np.argwhere((q > 0) != (p > 0))[0])
        raise ValueError(f"q and p must share their zeros when floor is 0; at {at} q is {q[at]:.6g} and p is {p[at]:.6g}")
    held = q > 0
    total_q, total_p = q.sum(axis=0), p.sum(axis=0)
    some = total_q > 0
    q, p = np.where(held, q, 1.0), np.where(held, p, 1.0)
    total_q, total_p = np.where(some, total_q, 1.0), np.where(some, total_p, 1.0)
    # with lnG(x) = x log x - x + rest(x), what grows is total_p times the divergence of the means of p from those of q, taken
    # from how far they lie apart (from the changes of counts where these are small); and the rest stays small
    change = np.where(held, q - p, 0.0)
    total_change = change.sum(axis=0)
    mean_p, mean_q = p / total_p, q / total_q
    drift, move = mean_p * (total_change / q), change / q
    apart = np.where(np.abs(drift) + np.abs(move) < 1.0, drift - move, (mean_p - mean_q) / mean_q)
    mean_divergence = (mean_q * bregman_log(apart)).sum(axis=0, where=held)
    rest = (log_gamma_rest(p) - log_gamma_rest(q) + change * psi_rest(q)).sum(axis=0, where=held)
    rest -= log_gamma_rest(total_p) - log_gamma_rest(total_q) + total_change * psi_rest(total_q)
    return np.maximum(np.where(some, total_p * mean_divergence + rest, 0.0), 0.0)


def kl_categorical(p: ArrayLike, q: ArrayLike) -> NDArray[np.float64]:
    """KL divergence of the categorical distributions p from q per column, sum_o p (log p - log q), logs floored at -32.

    Example:
        >>> round(float(kl_categorical([1.0, 0.0], [0.5, 0.5])), 4)
        0.6931
    """
    p, q = as_counts(p, "p"), as_counts(q, "q")
    if p.shape != q.shape:
        raise ValueError(f"p and q must have the same shape; got {p.shape} and {q.shape}")
    return (p * (counts_of.safe_log(p) - counts_of.safe_log(q))).sum(axis=0)


def neg_entropy(p: ArrayLike) -> NDArray[np.float64]:
    """Negative entropy sum_o p log p of each column, nats, <= 0; its expectation is minus the ambiguity of a likelihood.

    Example:
        >>> neg_entropy([[1.0, 0.5], [0.0, 0.5]]).round(4)
        array([ 0.    , -0.6931])
    """
    p = as_counts(p, "p")
    return xlogy(p, p).sum(axis=0)


def information_gain(counts: ArrayLike) -> NDArray[np.float64]:
    """W: how much the belief about a column's parameters would move if outcome o were seen in it, in nats.

    W[o, s] = KL[Dir(a_s + e_o) || Dir(a_s)] up to the approximation used throughout the field (Friston et al. 2025, novelty):
    ``log a0 - log a + 1/a - 1/a0 + psi(a) - psi(a0)`` with ``a0`` the sum of the column. It is in fact exactly
    that KL divergence of the column after one more observation; computed here as
    ``[psi(a + 1) - log a] - [psi(a0 + 1) - log a0]``, the same number without the cancellation at small counts.

    Args:
        counts: outcomes on axis 0.

    Returns:
        array of the same shape, >= 0, and 0 at structural zeros.

    Raises:
        ValueError: on negative or non-finite counts.

    Example:
        >>> information_gain([[1.0, 100.0], [1.0, 100.0]]).round(4)
        array([[0.1931, 0.0025],
               [0.1931, 0.0025]])
    """
    counts = as_counts(counts, "counts")
    return column_information_gain(counts, axis=0)


def column_information_gain(counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """`information_gain` with the outcomes on any axis, unchecked."""
    held = counts > 0
    total = counts.sum(axis=axis, keepdims=True)
    gain = _novelty(np.where(held, counts, 1.0)) - _novelty(np.where(total > 0, total, 1.0))
    return np.where(held, np.maximum(gain, 0.0), 0.0)


def _novelty(a: NDArray[np.float64]) -> NDArray[np.float64]:
    return digamma(a + 1.0) - np.log(a)


def _joint(counts: ArrayLike) -> NDArray[np.float64]:
    joint = _table(counts, "counts")
    if not joint.sum() > 0:
        raise ValueError("counts must hold some mass; all of them are zero")
    return joint / joint.sum()


def _log_weights(weights: ArrayLike | None, shape: tuple[int, ...], name: str) -> NDArray[np.float64]:
    """Logs of weights of this shape, or flattened, normalised to one, floored at -32; zeros if there are none."""
    size = prod(shape)
    if weights is None:
        return np.zeros(size)
    array = as_counts(weights, name)
    if array.shape not in ((size,), (size, 1), shape) or not array.sum() > 0:
        raise ValueError(f"{name} must hold {size} numbers with some mass; got {array}")
    return counts_of.safe_log(array.reshape(-1) / array.sum())


def mutual_information(
    counts: ArrayLike, outcome_preferences: ArrayLike | None = None, state_preferences: ArrayLike | None = None
) -> float:
    """Mutual information (nats) between outcomes (axis 0) and columns, of the joint distribution that the counts imply.

    The measure of a likelihood's structure that structure learning favours (Friston et al. 2025; SPM's ``spm_MDP_MI``).

    Args:
        counts: outcomes on axis 0.
        outcome_preferences: probabilities of preferred outcomes ``(n_outcomes,)``; their expected log is added.
        state_preferences: the same for columns, of their shape ``(n_states_0, ...)`` or flattened in C order.

    Raises:
        ValueError: if counts are negative or all zero, or preferences do not fit.

    Example:
        >>> round(mutual_information(np.eye(2)), 4), mutual_information(np.ones((2, 2)))
        (0.6931, 0.0)
    """
    joint = _joint(counts)
    states = joint.shape[1:]
    joint = joint.reshape(joint.shape[0], -1)
    outcomes, columns = joint.sum(axis=1), joint.sum(axis=0)
    information = xlogy(joint, joint).sum() - xlogy(columns, columns).sum() - xlogy(outcomes, outcomes).sum()
    worth = outcomes @ _log_weights(outcome_preferences, (len(outcomes),), "outcome_preferences")
    return float(information + worth + columns @ _log_weights(state_preferences, states, "state_preferences"))


def mutual_information_gradient(
    counts: ArrayLike, outcome_preferences: ArrayLike | None = None, state_preferences: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Derivative of `mutual_information` with respect to the normalised joint A, of the shape of ``counts``.

    log(A / (row sum x column sum)) - 1, floored at -32 before the 1 is taken, plus log preferences less their expectation.

    Example:
        >>> mutual_information_gradient(np.ones((2, 2)))
        array([[-1., -1.],
               [-1., -1.]])
    """
    joint = _joint(counts)
    table = joint.reshape(joint.shape[0], -1)
    outcomes, columns = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
    independent = outcomes * columns
    ratio = np.divide(table, independent, out=np.zeros_like(table), where=independent > 0)
    gradient = counts_of.safe_log(ratio) - 1.0
    of_outcomes = _log_weights(outcome_preferences, (len(table),), "outcome_preferences")
    of_states = _log_weights(state_preferences, joint.shape[1:], "state_preferences")
    gradient += (of_outcomes - outcomes[:, 0] @ of_outcomes)[:, None] + of_states - columns[0] @ of_states
    return gradient.reshape(joint.shape)


def expected_mutual_information(counts: ArrayLike) -> float:
    """Mutual information (nats) expected under the Dirichlet distribution over joint probabilities with these counts.

    Example:
        >>> round(expected_mutual_information(1e6 * np.eye(2)), 4)
        0.6931
    """
    table = _table(counts, "counts")
    table = table.reshape(table.shape[0], -1)
    total = table.sum()
    if not total > 0:
        raise ValueError("counts must hold some mass; all of them are zero")

    def expected_entropy(a: NDArray[np.float64]) -> float:
        return float(-(a / total * (digamma(a + 1.0) - digamma(total + 1.0))).sum())

    return expected_entropy(table.sum(axis=0)) + expected_entropy(table.sum(axis=1)) - expected_entropy(table)
