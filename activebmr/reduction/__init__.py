"""Bayesian model reduction: evidence of alternative priors from counts, without fitting again; and searches among them."""

from activebmr.reduction.evidence import (
    bayesian_model_average,
    log_evidence_ratio,
    log_odds,
    log_odds_of_scores,
    model_posterior,
    reduced_posterior,
    softmax,
)

__all__ = [
    "bayesian_model_average",
    "log_evidence_ratio",
    "log_odds",
    "log_odds_of_scores",
    "model_posterior",
    "reduced_posterior",
    "softmax",
]
