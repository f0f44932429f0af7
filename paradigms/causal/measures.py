"""What a result of the causal paradigm shows: who found the graph, when they were sure of it, and how soon anybody could be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import Result
from activebmr.arrays import standard_error
from activebmr.paradigms.causal.world import experiments
from activebmr.references import evidence_bound

__all__ = ["MEASURES", "floor", "found", "late", "table", "trials_until"]


def trials_until(result: Result, sure: float = 0.95) -> NDArray[np.intp]:
    """Trials until the true graph first has this posterior ``(scheme, agent)``. Those who do not get there count with all
    trials that there were, which flatters them: `late` says who they are.
    """
    there = result.true_model_posterior >= sure
    return np.asarray(np.where(there.any(axis=2), there.argmax(axis=2) + 1, there.shape[2]))


def late(result: Result, sure: float = 0.95) -> NDArray[np.bool_]:
    """Whose true graph never had this posterior ``(scheme, agent)``."""
    return np.asarray(~(result.true_model_posterior >= sure).any(axis=2))


def found(result: Result) -> NDArray[np.float64]:
    """Chance of naming the true graph after each trial, guessing among the most probable ones ``(scheme, agent, trial)``: 1 or
    0, and 1 / k where k graphs are as probable as the true one (within 1e-9) and none is more so.
    """
    best = result.model_posterior.max(axis=3)
    ties = (result.model_posterior > best[..., None] - 1e-9).sum(axis=3)
    return np.asarray(np.where(result.true_model_posterior > best - 1e-9, 1.0 / ties, 0.0))


MEASURES = {
    "graph_named": ("chance of naming the true graph after a trial, guessing among the most probable", "share", found),
    "trials_to_sure": ("trials until the true graph has a posterior of .95 (all, if never)", "trials", trials_until),
}
"""What is counted: the first says what counts as success."""


def floor(result: Result, sure: float = 0.95) -> float:
    """Trials without which nobody could have been sure of these agents' graphs on average: `evidence_bound`, a bound."""
    said = next(iter(result.settings["schemes"].values()))
    bound = evidence_bound(experiments(said["watched"], said["strength"], said["background"]), sure=sure)
    truth = np.broadcast_to(result.true_model, (result.sizes["agent"],))
    return float(bound[truth].mean()) / int(said["tests"])


def table(result: Result) -> tuple[list[str], list[list[str]], list[str]]:
    """What the command prints: one row per scheme."""
    share, when, never = found(result)[:, :, -1], trials_until(result), late(result)
    rows = [
        [
            scheme,
            _pm(100 * share[s], 1, "%"),
            _pm(result.true_model_posterior[s, :, -1], 3),
            _pm(when[s], 2),
            f"{np.median(when[s]):g}",
            str(int(never[s].sum())),
        ]
        for s, scheme in enumerate(result.schemes)
    ]
    notes = [
        "found: who names the true graph after the last trial, guessing among the most probable; posterior: the true graph's",
        "trials to .95: until the true graph first has this posterior; who is late counts with all trials; +-: standard error",
        f"nobody could need fewer than {floor(result):.2f} trials to .95 on average (a bound, not reached)",
    ]
    return ["scheme", "found", "posterior", "trials to .95", "median", "late"], rows, notes


def _pm(values: NDArray[Any], digits: int, unit: str = "") -> str:
    error = f" +- {standard_error(values):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{error}{unit}"
