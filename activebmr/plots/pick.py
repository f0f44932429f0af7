"""Picking measures, schemes, agents and trials by name or number, with errors that say what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.simulation.result import DIMENSIONS, Result

__all__ = ["LABELS", "PER_AGENT", "PER_TRIAL", "index", "insight_trial", "per_agent", "per_trial", "record", "truth_of"]

LABELS = {
    "wins": "wins",
    "losses": "losses",
    "net_wins": "wins − losses",
    "confidence": "confidence (nats)",
    "free_energy": "free energy (nats)",
    "log_odds": "log odds of the best model (nats)",
    "kl_to_truth": "KL from the truth (nats)",
    "true_model_posterior": "posterior of the true model",
    "score": "score",
    "discovery_trials": "discovery time (trials)",
    "adoption_trial": "trial of insight",
}
"""Measures that can be drawn, and how axes name them."""

PER_TRIAL = [name for name in LABELS if name == "net_wins" or DIMENSIONS[name][2:] == ("trial",)]
PER_AGENT = [name for name in LABELS if DIMENSIONS.get(name) == ("scheme", "agent")]


def index(name: str, value: Any, count: int) -> int:
    """A position in 0..count - 1."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or not 0 <= value < count:
        raise ValueError(f"{name} must be a whole number in 0..{count - 1}; got {value!r}")
    return int(value)


def per_trial(result: Result, measure: str, scheme: str | int) -> NDArray[Any]:
    """A measure of one scheme ``(agent, trial)``; ``net_wins`` are wins - losses."""
    if measure not in PER_TRIAL:
        raise ValueError(f"measure must be one of {PER_TRIAL}; got {measure!r}")
    s = result.index(scheme)
    if measure == "net_wins":
        return result["wins"][s].astype(float) - result["losses"][s]
    values = result[measure][s].astype(float)
    if np.isnan(values).all():
        raise ValueError(f"measure {measure!r} must be known for the scheme: {result.schemes[s]!r} has no hypotheses")
    return values


def per_agent(result: Result, measure: str, scheme: str | int) -> NDArray[Any]:
    """A measure of one scheme ``(agent,)``; a trial of insight counts from 1 and is nan for agents that had none."""
    if measure not in PER_AGENT:
        raise ValueError(f"measure must be one of {PER_AGENT}; got {measure!r}")
    values = result[measure][result.index(scheme)].astype(float)
    return np.where(values < 0, np.nan, values + 1) if measure == "adoption_trial" else values


def insight_trial(result: Result, scheme: int, agent: int) -> int | None:
    """The trial (from 1) after which an agent adopted a hypothesis, or None."""
    trial = int(result["adoption_trial"][scheme, agent])
    return trial + 1 if trial >= 0 else None


def truth_of(result: Result, agent: int) -> int | None:
    """The true hypothesis of an agent, or None."""
    true = result["true_model"]
    number = int(true[agent] if true.ndim else true)
    return number if number >= 0 else None


def record(source: Result | Mapping[str, Any], scheme: str | int = 0, agent: int = 0) -> dict[str, NDArray[Any]]:
    """Everything recorded of one agent, step by step: arrays with axes ``(trial, ...)`` or ``(trial, time, ...)``.

    Args:
        source: a result of ``simulate(..., trace=True)``, its ``trace``, or what `activebmr.replay` returned (already
            one agent).
        scheme, agent: which one, for results.
    """
    if isinstance(source, Result):
        if not source.trace:
            raise ValueError(
                "source must be recorded step by step: simulate(..., trace=True), or replay; this Result has no trace"
            )
        scheme = source.index(scheme)
        source = source.trace
    if "policy" not in source:
        raise ValueError(f"source must be a Result, its trace or a replay, with an array 'policy'; got {sorted(source)}")
    if np.ndim(source["policy"]) == 2:
        return {name: np.asarray(array) for name, array in source.items() if np.ndim(array)}
    if np.ndim(source["policy"]) == 3:  # a replay of several participants
        a = index("agent", agent, len(source["policy"]))
        return {name: np.asarray(array)[a] for name, array in source.items() if np.ndim(array)}
    n_schemes, n_agents = np.shape(source["policy"])[:2]
    s, a = index("scheme", scheme, n_schemes), index("agent", agent, n_agents)
    return {name: np.asarray(array)[s, a] for name, array in source.items()}
