"""Bayesian model reduction for Dirichlet counts: what the evidence would be under another prior, without fitting again.

Sign: a *log evidence ratio* is ln p(o | reduced) - ln p(o | full), positive when the reduced model is better (SPM returns its
negative). Sources: Friston, Parr & Zeidman (2018); Friston et al. (2025), eq. 7 to 9 and 12 to 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr import arrays, checks
from activebmr.arrays import Floats
from activebmr.checks import float_array
from activebmr.dirichlet import as_counts
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.reduction.ratios import log_evidence, log_evidence_ratio, reduced_posterior
from activebmr.reduction.spaces import key_in, shown, space_evidence

__all__ = [
    "bayesian_model_average",
    "log_evidence_ratio",
    "log_odds",
    "log_odds_of_scores",
    "model_posterior",
    "reduced_posterior",
    "softmax",
]


def model_posterior(
    posterior: ArrayLike | Mapping[Any, ArrayLike],
    prior: ArrayLike | Mapping[Any, ArrayLike],
    reduced_priors: Sequence[Any] | NDArray[np.float64] | HypothesisSpace,
    log_prior_odds: ArrayLike | None = None,
    offset: float = 0.0,
) -> NDArray[np.float64]:
    """Posterior probabilities of alternative models (Friston et al. 2025, eq. 9): softmax of log evidence ratios + prior odds.

    Args:
        posterior: counts after the observations, outcomes (next states, initial states) on axis 0; with a `HypothesisSpace`
            about several tables a dict from their names (``"pB[0]"``, `Table`, or the index of a modality) to counts.
        prior: counts before them (same form).
        reduced_priors: the models: a sequence of arrays of counts, or a `HypothesisSpace`, whose own prior is then used too.
            What its hypotheses give as values is scored by the likelihood of what was seen, sum n log value.
        log_prior_odds: ``(n_models,)`` added to the log evidence ratios; 0 by default.
        offset: added to counts, see `log_evidence_ratio` (SPM: 1/32); not to values, which are known.

    Returns:
        probabilities ``(n_models,)``. The full prior cancels in them, so that it may even exclude what was seen. They are exact
        where the states that tables depend on were seen.

    Raises:
        ValueError: if shapes or names do not fit, counts or the offset are out of range, every model is impossible, or the
            hypotheses are models of their own.
        TypeError: if counts are given as dicts without a `HypothesisSpace`.

    Example:
        >>> prior, seen = np.array([1.0, 1.0]), np.array([4.0, 0.0])
        >>> model_posterior(prior + seen, prior, [[8.0, 1.0], [1.0, 8.0]]).round(3)
        array([0.997, 0.003])
    """
    odds = np.zeros(()) if log_prior_odds is None else checks.numbers(log_prior_odds, "log_prior_odds", checks.ANY_NUMBER)
    if isinstance(reduced_priors, HypothesisSpace):
        ratios = space_evidence(reduced_priors, posterior, prior, offset) + np.log(reduced_priors.prior)
    else:
        if isinstance(posterior, Mapping) or isinstance(prior, Mapping):
            raise TypeError(
                "posterior and prior must be arrays of counts; dicts of them need a HypothesisSpace as reduced_priors"
            )
        models = list(checks.sequence(reduced_priors, "reduced_priors"))
        if len(models) < 1:
            raise ValueError("reduced_priors must hold at least one model; got none")
        models = [as_counts(r, f"reduced_priors[{i}]") for i, r in enumerate(models)]
        ratios = np.array([log_evidence(posterior, prior, r, offset).sum() for r in models])
    if odds.shape not in ((), ratios.shape):
        raise ValueError(f"log_prior_odds must hold {ratios.size} numbers, one per model; got shape {odds.shape}")
    scores = ratios + odds
    if not (scores > -np.inf).any():
        raise ValueError("every model is impossible given the observations (all log evidence ratios are -inf); use an offset")
    return arrays.softmax(scores)


def softmax(x: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """exp(x) / sum(exp(x)) along an axis, safe for large numbers and for -inf.

    Raises:
        ValueError, TypeError: if ``x`` holds nan, no numbers, or nothing along the axis; or there is no such axis.

    Example:
        >>> softmax([0.0, np.log(3.0)])
        array([0.25, 0.75])
    """
    array = checks.numbers(x, "x", checks.ANY_NUMBER)
    if not array.ndim or not array.size:
        raise ValueError(f"x must be an array with some numbers; got shape {array.shape}")
    return arrays.softmax(array, checks.whole_number(axis, "axis", -array.ndim, array.ndim - 1))


def log_odds(probabilities: ArrayLike) -> NDArray[np.float64]:
    """Log odds of the most probable model, log p - log(sum of the others), over the last axis.

    This is what Occam's window is compared with (16 nats in Friston et al. 2025, eq. 12 and 13). It is inf only if all others
    are exactly 0, as they are from 745 nats on: where scores are at hand, `log_odds_of_scores` goes further.

    Args:
        probabilities: ``(..., n_models)``, >= 0; they need not sum to 1.

    Returns:
        nats ``(...)``, >= 0 where one model has at least half of the whole.

    Example:
        >>> round(float(log_odds([0.75, 0.25])), 4)
        1.0986
    """
    p = checks.numbers(probabilities, "probabilities", checks.NOT_NEGATIVE)
    if p.ndim == 0 or not p.size:
        raise ValueError(f"probabilities must be an array (..., n_models) of some models; got shape {p.shape}")
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
        >>> float(log_odds_of_scores([0.0, -1000.0]))
        1000.0
    """
    scores = float_array(log_scores, "log_scores")
    if scores.ndim == 0 or not scores.size:
        raise ValueError(f"log_scores must be an array (..., n_models) of some models; got shape {scores.shape}")
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
    space: HypothesisSpace, modality: Any, weights: ArrayLike, concentration: float = 1.0
) -> NDArray[np.float64]:
    """Counts of a table that average the reduced priors under posterior weights ``(n_hypotheses,)``, times ``concentration``.

    Args:
        space: the hypotheses.
        modality: the table: its name (``"pB[0]"``), a `Table`, or the index of a modality. Of hypotheses that all give values,
            these are averaged: what is expected, so that ``concentration`` is what each column is worth.
        weights, concentration: see above.

    Raises:
        ValueError: if the hypotheses do not speak about it, or some give counts of it and others values.

    Example:
        >>> left, right = np.array([[9.0], [1.0]]), np.array([[1.0], [9.0]])
        >>> two = HypothesisSpace({"left": {"pA[0]": left}, "right": {"pA[0]": right}})
        >>> bayesian_model_average(two, 0, [0.75, 0.25]).ravel()
        array([7., 3.])
    """
    checks.an(HypothesisSpace)(space, "space")
    concentration = checks.number(concentration, "concentration", checks.POSITIVE)
    key = key_in(modality)
    sharp = space.sharp.get(key)
    if sharp is not None and sharp.any() and not sharp.all():
        raise ValueError(
            f"hypotheses about {shown(key)} must all give counts or all give values to be averaged; "
            f"{space.names[sharp.argmax()]!r} gives values and {space.names[sharp.argmin()]!r} counts"
        )
    return concentration * space.average(key, weights)
