"""Bayesian model reduction for Dirichlet counts: what the evidence would be under another prior, without fitting again.

Sign: a *log evidence ratio* is ln p(o | reduced) - ln p(o | full), positive when the reduced model is better (SPM returns its
negative). Sources: Friston, Parr & Zeidman (2018); Friston et al. (2025), eq. 7 to 9 and 12 to 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from activebmr.dirichlet import as_counts
from activebmr.hypotheses import HypothesisSpace

__all__ = ["bayesian_model_average", "log_evidence_ratio", "log_odds", "model_posterior", "reduced_posterior", "softmax"]


def softmax(x: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """exp(x) / sum(exp(x)), safe for large numbers and for -inf."""
    # contiguous, so that sums run in the same order whatever the array came from
    shifted = np.exp(np.ascontiguousarray(x - x.max(axis=axis, keepdims=True)))
    return shifted / shifted.sum(axis=axis, keepdims=True)


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
    if not (np.isfinite(offset) and offset >= 0):
        raise ValueError(f"offset must be a finite number >= 0; got {offset}")
    q, p, r, n = _evidence_counts(posterior, prior, reduced_prior)
    q, p, r = q + offset, p + offset, r + offset
    s = r + n
    tiny = 1e-12 * max(1.0, float(np.abs(n).max(initial=0.0)))
    if s.size and s.min() < -tiny:
        at = tuple(int(i) for i in np.unravel_index(s.argmin(), s.shape))
        raise ValueError(
            f"posterior + reduced_prior - prior must not be negative; entry {at} is {s.min():.6g} (offset included). After "
            "forgetting, use an offset"
        )
    refuted, unforeseen = (((x <= 0) & (n > tiny)).any(axis=0) for x in (r, p))
    if (refuted & unforeseen).any():
        raise ValueError("prior and reduced_prior must not both exclude what the posterior has seen: neither has any evidence")
    ratio = _log_beta_gain(s, r) - _log_beta_gain(q, p)
    return np.where(refuted, -np.inf, np.where(unforeseen, np.inf, ratio))


def _log_beta_gain(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """lnB(after) - lnB(before) per column; entries that started at zero have seen nothing and take no part."""
    held = (before > 0) & (after > 0)
    rise = np.where(held, gammaln(np.where(held, after, 1.0)) - gammaln(np.where(held, before, 1.0)), 0.0)
    total_after, total_before = (np.where(held, x, 0.0).sum(axis=0) for x in (after, before))
    full = total_before > 0
    fall = gammaln(np.where(full, total_after, 1.0)) - gammaln(np.where(full, total_before, 1.0))
    return rise.sum(axis=0) - fall


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
        probabilities ``(n_models,)``.
    """
    odds = np.zeros(()) if log_prior_odds is None else np.asarray(log_prior_odds, dtype=np.float64)
    if isinstance(reduced_priors, HypothesisSpace):
        space = reduced_priors
        if not isinstance(posterior, dict) or not isinstance(prior, dict):
            if len(space.tables) != 1:
                raise ValueError(f"posterior and prior must be dicts keyed by the modalities {sorted(space.tables)}")
            (only,) = space.tables
            posterior, prior = {only: posterior}, {only: prior}
        ratios = sum(_space_ratios(space, m, posterior[m], prior[m], offset) for m in space.tables) + np.log(space.prior)
    else:
        if isinstance(posterior, dict) or isinstance(prior, dict):
            raise TypeError("posterior and prior may be dicts only together with a HypothesisSpace")
        models = list(reduced_priors)
        if len(models) < 1:
            raise ValueError("reduced_priors must hold at least one model; got none")
        ratios = np.array([log_evidence_ratio(posterior, prior, r, offset).sum() for r in models])
    if odds.shape not in ((), ratios.shape):
        raise ValueError(f"log_prior_odds must hold {ratios.size} numbers, one per model; got shape {odds.shape}")
    scores = ratios + odds
    if not (scores > -np.inf).any():
        raise ValueError("every model is impossible given the observations (all log evidence ratios are -inf); use an offset")
    return softmax(scores)


def _space_ratios(
    space: HypothesisSpace, modality: int, posterior: ArrayLike, prior: ArrayLike, offset: float
) -> NDArray[np.float64]:
    """Log evidence ratio of every hypothesis about one modality: each distinct (column, reduced column) is scored once."""
    table = space.tables[modality]
    q = as_counts(posterior, "posterior").reshape(table.shape[0], -1)
    p = as_counts(prior, "prior").reshape(table.shape[0], -1)
    scores = np.stack([log_evidence_ratio(q, p, np.repeat(c[:, None], q.shape[1], axis=1), offset) for c in table.columns])
    return scores[table.assignment, np.arange(q.shape[1])].sum(axis=1)


def log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log odds of the most probable model, log p - log(1 - p), over the last axis; inf when nothing else is left.

    This is what Occam's window is compared with (16 nats in Friston et al. 2025, eq. 12 and 13).
    """
    best = probabilities.max(axis=-1)
    with np.errstate(divide="ignore"):
        return np.log(best) - np.log(1.0 - best)


def bayesian_model_average(
    space: HypothesisSpace, modality: int, weights: ArrayLike, concentration: float = 1.0
) -> NDArray[np.float64]:
    """Counts that average the reduced priors under posterior weights ``(n_hypotheses,)``, times ``concentration``."""
    return concentration * space.average(modality, weights)
