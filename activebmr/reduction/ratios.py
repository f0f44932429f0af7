"""What a column of Dirichlet counts would be worth under another prior, or under values that are known.

Sign: a *log evidence ratio* is ln p(o | reduced) - ln p(o | full), positive when the reduced model is better (SPM returns its
negative). Sources: Friston, Parr & Zeidman (2018); Friston et al. (2025), eq. 7 to 9.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from activebmr.arrays import Bools, Floats
from activebmr.checks import NOT_NEGATIVE, number
from activebmr.dirichlet import as_counts
from activebmr.log_gamma import log_rise, log_rise_difference

__all__ = ["log_evidence", "log_evidence_ratio", "reduced_posterior"]


def _evidence_counts(posterior: ArrayLike, prior: ArrayLike, reduced_prior: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    q, p, r = as_counts(posterior, "posterior"), as_counts(prior, "prior"), as_counts(reduced_prior, "reduced_prior")
    if not q.shape == p.shape == r.shape:
        raise ValueError(f"posterior, prior and reduced_prior must have the same shape; got {q.shape}, {p.shape} and {r.shape}")
    # the evidence is carried as n = q - p, and only then added to r: q + r would round a tiny r away (and then turn negative)
    return q, p, r, q - p


def reduced_posterior(posterior: ArrayLike, prior: ArrayLike, reduced_prior: ArrayLike) -> NDArray[np.float64]:
    """Counts after the same observations under the reduced prior: r + (q - p) (Friston et al. 2025, eq. 8).

    Raises:
        ValueError: if shapes differ, or a count would become negative (the prior holds more than the posterior did, as after
            forgetting).

    Example:
        >>> reduced_posterior([5.0, 1.0], [1.0, 1.0], [8.0, 1.0])
        array([12.,  1.])
    """
    *_, r, n = _evidence_counts(posterior, prior, reduced_prior)
    s = r + n
    if s.size and s.min() < -1e-12 * max(1.0, float(np.abs(n).max())):
        at = tuple(int(i) for i in np.unravel_index(s.argmin(), s.shape))
        raise ValueError(f"posterior + reduced_prior - prior must not be negative; entry {at} is {s.min():.6g}")
    return np.maximum(s, 0.0)


def log_evidence_ratio(
    posterior: ArrayLike, prior: ArrayLike, reduced_prior: ArrayLike, offset: float = 0.0
) -> NDArray[np.float64]:
    """ln p(o | reduced) - ln p(o | full) for each column of a table of Dirichlet counts (Friston et al. 2025, eq. 9).

    Args:
        posterior: counts after the observations, outcomes on axis 0.
        prior: counts before them, same shape.
        reduced_prior: counts that the alternative model would have had before them, same shape. A zero where something was
            observed makes the alternative impossible: its ratio is -inf.
        offset: added to every entry of all three (SPM: 1/32, which makes structural zeros soft).

    Returns:
        array of the shape of ``posterior`` without axis 0, nats; positive where the reduced model is better. Sum it for tables.

    Raises:
        ValueError: on negative or non-finite counts, shapes that differ, a negative offset, or a reduced posterior below zero.

    Example:
        >>> prior, seen = np.array([1.0, 1.0]), np.array([4.0, 0.0])
        >>> round(float(log_evidence_ratio(prior + seen, prior, [8.0, 1.0])), 3)
        1.204
    """
    score, refuted, unforeseen = _scores(posterior, prior, reduced_prior, offset)
    if (refuted & unforeseen).any():
        raise ValueError("prior and reduced_prior must not both exclude what the posterior has seen: neither has any evidence")
    return np.where(refuted, -np.inf, np.where(unforeseen, np.inf, score))


def _scores(posterior: ArrayLike, prior: ArrayLike, reduced_prior: ArrayLike, offset: float) -> tuple[Floats, Bools, Bools]:
    """Log evidence ratio of each column, and whether the reduced and the full prior exclude what was seen in it.

    Where the full one does, its evidence is left out: what stays is that of the reduced prior alone, up to a constant.
    """
    offset = number(offset, "offset", NOT_NEGATIVE)
    _, p, r, n = _evidence_counts(posterior, prior, reduced_prior)
    p, r = p + offset, r + offset
    s = r + n
    tiny = _tiny(n)
    if s.size and s.min() < -tiny:
        at = tuple(int(i) for i in np.unravel_index(s.argmin(), s.shape))
        raise ValueError(
            f"posterior + reduced_prior - prior must not be negative; entry {at} is {s.min():.6g} (offset included). After "
            "forgetting, use an offset"
        )
    refuted, unforeseen = (((x <= 0) & (n > tiny)).any(axis=0) for x in (r, p))
    return _gain(r, p, n, ~unforeseen), refuted, unforeseen


def _tiny(n: Floats) -> float:
    """Counts that are no more than rounding."""
    return 1e-12 * max(1.0, float(np.abs(n).max(initial=0.0)))


def _gain(r: Floats, p: Floats, n: Floats, known: Bools) -> Floats:
    """lnB(r + n) - lnB(r) per column, less the same of p where that is ``known``.

    Entries that started at zero have seen nothing and take no part.
    """
    of_r, of_p = ((x > 0) & (x + n > 0) for x in (r, p))
    of_p &= known

    def rise(x: Floats, step: Floats, y: Floats, other: Floats, mine: Bools, theirs: Bools) -> Floats:
        """lnG(x + step) - lnG(x) less the same of y, each where it takes part."""
        if (mine & theirs).all():
            return log_rise_difference(x, step, y, other)
        out, both = np.zeros(x.shape), mine & theirs
        out[both] = log_rise_difference(x[both], step[both], y[both], other[both])
        for one, seen, where, sign in ((x, step, mine & ~theirs, 1.0), (y, other, theirs & ~mine, -1.0)):
            out[where] = sign * log_rise(one[where], seen[where])
        return out

    total = [np.where(held, x, 0.0).sum(axis=0) for x, held in ((r, of_r), (n, of_r), (p, of_p), (n, of_p))]
    return rise(r, n, p, n, of_r, of_p).sum(axis=0) - rise(*total, of_r.any(axis=0), of_p.any(axis=0))


def log_evidence(
    posterior: ArrayLike, prior: ArrayLike, reduced: ArrayLike, offset: float, sharp: Bools | None = None
) -> Floats:
    """Log evidence of each column under reduced prior counts, or under values that are known, up to what all of them share.

    Args:
        posterior, prior, offset: see `log_evidence_ratio`.
        reduced: reduced prior counts or, where ``sharp``, probabilities v: the evidence is then sum_o n_o log v_o, with n what
            was seen (the multinomial coefficient is not among it, nor in the evidence of counts). They get no offset.
        sharp: which columns hold values; none by default.

    Returns:
        nats, of the shape of ``posterior`` without axis 0; -inf where something was seen that is excluded.

    Raises:
        ValueError: see `log_evidence_ratio`.
    """
    score, refuted, unforeseen = _scores(posterior, prior, reduced, offset)
    if sharp is not None and sharp.any():
        _, p, v, n = _evidence_counts(posterior, prior, reduced)
        tiny = _tiny(n)
        n = np.where(n > tiny, n, 0.0)
        of_values = xlogy(n, np.where(v > 0, v, 1.0)).sum(axis=0)
        score = np.where(sharp, of_values + _gain(np.zeros_like(p), p + offset, n, ~unforeseen), score)
        refuted = np.where(sharp, ((v <= 0) & (n > 0)).any(axis=0), refuted)
    return np.where(refuted, -np.inf, score)
