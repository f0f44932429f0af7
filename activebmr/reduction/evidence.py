"""Bayesian model reduction for Dirichlet counts: what the evidence would be under another prior, without fitting again.

Sign: a *log evidence ratio* is ln p(o | reduced) - ln p(o | full), positive when the reduced model is better (SPM returns its
negative). Sources: Friston, Parr & Zeidman (2018); Friston et al. (2025), eq. 7 to 9 and 12 to 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr.arrays import Bools, Floats, softmax
from activebmr.checks import NOT_NEGATIVE, float_array, number
from activebmr.dirichlet import as_counts
from activebmr.log_gamma import log_rise, log_rise_difference
from activebmr.model.hypotheses import HypothesisSpace

__all__ = [
    "bayesian_model_average",
    "log_evidence_ratio",
    "log_odds",
    "log_odds_of_scores",
    "model_posterior",
    "reduced_posterior",
    "softmax",
]


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
    tiny = 1e-12 * max(1.0, float(np.abs(n).max(initial=0.0)))
    if s.size and s.min() < -tiny:
        at = tuple(int(i) for i in np.unravel_index(s.argmin(), s.shape))
        raise ValueError(
            f"posterior + reduced_prior - prior must not be negative; entry {at} is {s.min():.6g} (offset included). After "
            "forgetting, use an offset"
        )
    refuted, unforeseen = (((x <= 0) & (n > tiny)).any(axis=0) for x in (r, p))
    return _gain(r, p, n, ~unforeseen), refuted, unforeseen


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


def model_posterior(
    posterior: ArrayLike | dict[int, ArrayLike],
    prior: ArrayLike | dict[int, ArrayLike],
    reduced_priors: Sequence[Any] | NDArray[np.float64] | HypothesisSpace,
    log_prior_odds: ArrayLike | None = None,
    offset: float = 0.0,
) -> NDArray[np.float64]:
    """Posterior probabilities of alternative models (Friston et al. 2025, eq. 9): softmax of log evidence ratios + prior odds.

    Args:
        posterior: counts after the observations, outcomes on axis 0; with a `HypothesisSpace` about several modalities, a dict
            from modality to counts.
        prior: counts before them (same form).
        reduced_priors: the models: a sequence of arrays of counts, or a `HypothesisSpace`, whose own prior is then used too.
        log_prior_odds: ``(n_models,)`` added to the log evidence ratios; 0 by default.
        offset: see `log_evidence_ratio` (SPM: 1/32).

    Returns:
        probabilities ``(n_models,)``. The full prior cancels in them, so that it may even exclude what was seen.

    Raises:
        ValueError: if shapes do not fit, counts or the offset are out of range, or every model is impossible.
        TypeError: if counts are given as dicts without a `HypothesisSpace`.
    """
    odds = np.zeros(()) if log_prior_odds is None else np.asarray(log_prior_odds, dtype=np.float64)
    if isinstance(reduced_priors, HypothesisSpace):
        space = reduced_priors
        if not isinstance(posterior, dict) or not isinstance(prior, dict):
            if len(space.tables) != 1:
                raise ValueError(f"posterior and prior must be dicts keyed by the modalities {list(space.tables)}")
            (only,) = space.tables
            posterior, prior = {only: posterior}, {only: prior}
        ratios = sum(_space_ratios(space, m, posterior[m], prior[m], offset) for m in space.tables) + np.log(space.prior)
    else:
        if isinstance(posterior, dict) or isinstance(prior, dict):
            raise TypeError("posterior and prior may be dicts only together with a HypothesisSpace")
        models = list(reduced_priors)
        if len(models) < 1:
            raise ValueError("reduced_priors must hold at least one model; got none")
        ratios = np.array([_evidence(posterior, prior, r, offset).sum() for r in models])
    if odds.shape not in ((), ratios.shape):
        raise ValueError(f"log_prior_odds must hold {ratios.size} numbers, one per model; got shape {odds.shape}")
    scores = ratios + odds
    if not (scores > -np.inf).any():
        raise ValueError("every model is impossible given the observations (all log evidence ratios are -inf); use an offset")
    return softmax(scores)


def _evidence(posterior: ArrayLike, prior: ArrayLike, reduced_prior: ArrayLike, offset: float) -> Floats:
    """Log evidence of each column up to what all reduced priors share; -inf where it is refuted."""
    score, refuted, _ = _scores(posterior, prior, reduced_prior, offset)
    return np.where(refuted, -np.inf, score)


def _space_ratios(
    space: HypothesisSpace, modality: int, posterior: ArrayLike, prior: ArrayLike, offset: float
) -> NDArray[np.float64]:
    """Log evidence of every hypothesis about one modality: each distinct (state, reduced column) is scored once."""
    table = space.tables[modality]
    q = as_counts(posterior, "posterior").reshape(table.shape[0], -1)
    p = as_counts(prior, "prior").reshape(table.shape[0], -1)
    if not q.shape[1] == p.shape[1] == table.assignment.shape[1]:
        raise ValueError(f"posterior and prior of modality {modality} must have shape {table.shape}")
    state, column, pair = table.placed
    return _evidence(q[:, state], p[:, state], table.columns[column].T, offset)[pair].sum(axis=1)


def log_odds(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Log odds of the most probable model, log p - log(sum of the others), over the last axis.

    This is what Occam's window is compared with (16 nats in Friston et al. 2025, eq. 12 and 13). It is inf only if all others
    are exactly 0, as they are from 745 nats on: where scores are at hand, `log_odds_of_scores` goes further.

    Args:
        probabilities: ``(..., n_models)``, >= 0; they need not sum to 1.

    Returns:
        nats ``(...)``, >= 0 where one model has at least half of the whole.
    """
    p = float_array(probabilities, "probabilities")
    best, others = _best_and_others(p, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(best) - np.log(others.sum(axis=-1)))[()]


def log_odds_of_scores(log_scores: ArrayLike) -> NDArray[np.float64]:
    """Log odds of the best model from log posterior probabilities up to a constant, ``(..., n_models)`` to ``(...)``.

    The best score less the log of the sum of the others' exponentials: exact at 600 nats as at 6, and inf only if all others
    are -inf.

    Raises:
        ValueError: if a score is nan or inf, or somewhere all are -inf.

    Example:
        ``log_odds_of_scores([0.0, -1000.0])`` is 1000.
    """
    scores = float_array(log_scores, "log_scores")
    best, others = _best_and_others(scores, -np.inf)
    if not np.isfinite(best).all():
        raise ValueError("log_scores must be numbers below inf, one of them above -inf: every model is impossible")
    second = others.max(axis=-1, keepdims=True, initial=-np.inf)
    base = np.where(np.isneginf(second), 0.0, second)
    with np.errstate(divide="ignore"):
        return np.asarray(best - base[..., 0] - np.log(np.exp(others - base).sum(axis=-1)))[()]


def _best_and_others(values: Floats, nothing: float) -> tuple[Floats, Floats]:
    """The largest value over the last axis, and all values with ``nothing`` in its place."""
    best, others = values.argmax(axis=-1, keepdims=True), np.array(values)
    np.put_along_axis(others, best, nothing, axis=-1)
    return np.take_along_axis(values, best, axis=-1)[..., 0], others


def bayesian_model_average(
    space: HypothesisSpace, modality: int, weights: ArrayLike, concentration: float = 1.0
) -> NDArray[np.float64]:
    """Counts that average the reduced priors under posterior weights ``(n_hypotheses,)``, times ``concentration``."""
    return concentration * space.average(modality, weights)
