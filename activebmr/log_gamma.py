"""Differences of log gamma functions without cancellation, for counts from 1e-300 to 1e16 and beyond.

lnG(x + n) - lnG(x) taken as a difference is wrong by 3e-6 at x = 1e10 and by 38 at 1e16, where both are 3.6e17. Here both
Stirling series are subtracted term by term, so that the error is that of rounding the result. Source: the series of
Abramowitz & Stegun (1964), 6.1.40 and 6.3.18.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, gammaln

from activebmr.arrays import Bools, Floats

__all__ = ["bregman_log", "log_gamma_rest", "log_rise", "log_rise_difference", "psi_rest"]

_LARGE = 10.0  # from here on the series below are exact to rounding
_HUGE = 256.0  # up to here the plain difference is wrong by 1e-12 at most, and faster
_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_PSI = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12)


def log_rise(start: ArrayLike, step: ArrayLike, end: ArrayLike | None = None) -> Floats:
    """lnG(start + step) - lnG(start), to 1e-12, or 1e-15 of its size where that is more, wherever both arguments are positive.

    Args:
        start: > 0, any shape.
        step: how far it goes, of either sign. It matters to its last digit where ``start`` is too large to show it.
        end: ``start + step``, > 0, where that is known better than their sum is: 1 - (1 - 1e-300) is not 0.

    Returns:
        array of their common shape, nats.

    Example:
        ``log_rise(1e16, 3)`` is 3 log(1e16) = 110.52...
    """
    start, step = np.asarray(start, dtype=np.float64), np.asarray(step, dtype=np.float64)
    stop = start + step if end is None else np.asarray(end, dtype=np.float64)
    low, high = np.minimum(start, stop), np.maximum(start, stop)
    long = (high > _HUGE) & (low >= _LARGE)
    if not long.any():
        return np.asarray(gammaln(stop) - gammaln(start))
    if long.all():
        return np.asarray(_long_rise(low, high, step))
    start, stop, low, high, step = np.broadcast_arrays(start, stop, low, high, step)
    out, short = np.empty(long.shape), ~long
    out[short] = gammaln(stop[short]) - gammaln(start[short])
    out[long] = _long_rise(low[long], high[long], step[long])
    return out


def _long_rise(low: Floats, high: Floats, step: Floats) -> Floats:
    far = np.abs(step)
    rise = far * np.log(high) + (low - 0.5) * np.log1p(far / low) - far
    return np.asarray(np.copysign(1.0, step) * (rise + (_series(high, _LOG_GAMMA) / high - _series(low, _LOG_GAMMA) / low)))


def log_rise_difference(start: ArrayLike, step: ArrayLike, other: ArrayLike, other_step: ArrayLike | None = None) -> Floats:
    """``log_rise(start, step) - log_rise(other, other_step)``: what one count adds to a ratio of evidences.

    It is a second difference of lnG, and is taken along the shorter side first: along the steps where few outcomes were seen,
    from ``other`` to ``start`` where many were.

    Args:
        start, other: > 0, any shape.
        step, other_step: as for `log_rise`; the same by default.
    """
    r, n, p = (np.asarray(x, dtype=np.float64) for x in (start, step, other))
    m = n if other_step is None else np.asarray(other_step, dtype=np.float64)
    change, s, q = r - p, r + n, p + m
    small = np.maximum(s, q) <= _HUGE
    if small.all():
        return np.asarray(gammaln(s) - gammaln(r) - (gammaln(q) - gammaln(p)))
    few: Bools = small | (np.maximum(np.abs(n), np.abs(m)) <= np.abs(change))
    if few.all():
        return np.asarray(log_rise(r, n, s) - log_rise(p, m, q))
    shift = change if other_step is None else change + (n - m)
    first = log_rise(np.where(few, r, q), np.where(few, n, shift), s)
    return np.asarray(first - log_rise(p, np.where(few, m, change), np.where(few, q, r)))


def log_gamma_rest(x: Floats) -> Floats:
    """lnG(x) - x log x + x for x > 0: what is left of it after the terms that grow, 0.92 - log(x) / 2 for large x."""
    large = x >= _LARGE
    far, near = np.where(large, x, _LARGE), np.where(large, 1.0, x)
    long = 0.5 * np.log(2 * np.pi / far) + _series(far, _LOG_GAMMA) / far
    return np.where(large, long, gammaln(near) - near * np.log(near) + near)


def psi_rest(x: Floats) -> Floats:
    """psi(x) - log x for x > 0, the derivative of `log_gamma_rest`: -1 / (2 x) for large x, to all digits."""
    large = x >= _LARGE
    far, near = np.where(large, x, _LARGE), np.where(large, 1.0, x)
    return np.where(large, (_series(far, _PSI) / far - 0.5) / far, digamma(near) - np.log(near))


def bregman_log(d: Floats) -> Floats:
    """(1 + d) log(1 + d) - d for d >= -1, >= 0 and to all digits: d^2 / 2 for small d."""
    small = np.abs(d) < 0.05
    x = np.where(small, d, 0.0)
    total = np.zeros_like(x)
    for k in range(13, 1, -1):
        total = (1.0 if k % 2 == 0 else -1.0) / (k * (k - 1)) + total * x
    y = np.where(small, 0.0, np.maximum(d, -1.0))
    inside = y > -1.0
    return np.where(small, total * x * x, np.where(inside, (1 + y) * np.log1p(np.where(inside, y, 0.0)) - y, 1.0))


def _series(x: Floats, terms: tuple[float, ...]) -> Floats:
    """Sum of terms[k] / x^(2 k)."""
    w = 1.0 / (x * x)
    total = np.full_like(w, terms[-1])
    for term in terms[-2::-1]:
        total = term + w * total
    return total
