"""What `dirichlet` works out of counts, for counts that have been checked: unchecked, and so as fast as can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln

from activebmr.log_gamma import log_rise

__all__ = ["LOG_FLOOR", "expected_log", "log_beta", "mean", "safe_log"]

LOG_FLOOR = -32.0
"""Smallest logarithm that inference ever sees: impossible is e^-32, about 1e-14 (SPM's ``spm_log``)."""


def safe_log(p: ArrayLike) -> NDArray[np.float64]:
    """max(log p, -32): the logarithm that SPM uses throughout, finite at zero."""
    return np.log(np.maximum(p, np.exp(LOG_FLOOR)))


def mean(counts: ArrayLike) -> NDArray[np.float64]:
    """Expected probabilities E[A] = a / sum(a), column by column; a column without any counts is uniform."""
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=0, keepdims=True)
    return np.divide(counts, total, out=np.full_like(counts, 1.0 / len(counts)), where=total > 0)


def log_beta(counts: ArrayLike) -> NDArray[np.float64]:
    """Log multivariate beta function per column, ``sum_i lnG(a_i) - lnG(sum_i a_i)`` over the non-zero entries.

    Returns:
        array of the shape of ``counts`` without axis 0.
    """
    counts = np.asarray(counts, dtype=np.float64)
    # lnG of the largest count and of the sum may be huge and nearly the same: their difference is taken as one
    largest = counts.argmax(axis=0, keepdims=True)
    most = np.take_along_axis(counts, largest, axis=0)[0]
    others = counts.copy()
    np.put_along_axis(others, largest, 0.0, axis=0)
    logs = gammaln(np.where(others > 0, others, 1.0)).sum(axis=0)
    return np.asarray(logs - log_rise(np.where(most > 0, most, 1.0), others.sum(axis=0)))[()]


def expected_log(counts: ArrayLike) -> NDArray[np.float64]:
    """E[log A] = psi(a) - psi(sum a); -inf at structural zeros."""
    counts = np.asarray(counts, dtype=np.float64)
    held = counts > 0
    logs = digamma(np.where(held, counts, 1.0)) - digamma(np.maximum(counts.sum(axis=0, keepdims=True), 1e-300))
    return np.where(held, logs, -np.inf)
