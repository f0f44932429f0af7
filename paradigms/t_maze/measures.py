"""What animals in a T-maze achieve: when they know the structure, and what they gain from then on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import Result
from activebmr.arrays import standard_error
from activebmr.paradigms.t_maze.floors import best_possible, floor, observer
from activebmr.paradigms.t_maze.reading import window_of
from activebmr.paradigms.t_maze.world import WORTH

__all__ = ["MEASURES", "after", "ever_wrong", "known_after", "posterior_of_truth", "scores", "table"]

Floats = NDArray[np.float64]


# --- what is known -------------------------------------------------------------------------------------------------------
def posterior_of_truth(result: Result) -> Floats:
    """Posterior after each session of the true structure and of those that agree with it ``(scheme, agent, session)``; nan for
    agents that have no hypotheses.
    """
    if result.model_posterior.shape[3] == 0:
        return np.full(result.wins.shape, np.nan)
    truth = np.broadcast_to(result.true_model, result.agent.shape)
    same = result.model_class[None, :] == result.model_class[truth][:, None]
    return np.where(same[None, :, None], result.model_posterior, 0.0).sum(axis=3)


def known_after(result: Result) -> NDArray[np.intp]:
    """Sessions until each agent had adopted what it holds in the end ``(scheme, agent)``; all for those that adopt nothing."""
    return np.where(result.adopted_model >= 0, result.adoption_trial + 1, result.sizes["trial"])


def ever_wrong(result: Result) -> NDArray[np.bool_]:
    """Whether a wrong structure was beyond Occam's window after any session ``(scheme, agent)``."""
    truth = np.broadcast_to(result.true_model, result.agent.shape)
    wrong = result.model_class[result.best_model] != result.model_class[truth][None, :, None]
    window = np.array([window_of(result, s) for s in range(len(result.schemes))])
    return np.asarray((wrong & (result.log_odds > window[:, None, None])).any(axis=2) | result.adopted_wrong)


# --- what is gained ------------------------------------------------------------------------------------------------------
def scores(result: Result) -> Floats:
    """Score of each session ``(scheme, agent, session)``."""
    return np.asarray(WORTH[1] * result.wins + WORTH[2] * result.losses)


def after(result: Result, told: Result | None = None) -> Floats:
    """Mean score of the sessions that came after the one in which an agent adopted the truth ``(scheme, agent)``; nan if none
    did.

    Args:
        result: from `simulate`.
        told: of agents with the same numbers and seed (see `paradigms.t_maze.knowing`): what these scored in those sessions.
    """
    value = scores(result) if told is None else np.broadcast_to(scores(told), result.wins.shape)
    later = np.arange(result.sizes["trial"]) >= known_after(result)[:, :, None]
    later &= result.adopted_truth[:, :, None]
    count = later.sum(axis=2)
    return np.where(count > 0, np.where(later, value, 0.0).sum(axis=2) / np.maximum(count, 1), np.nan)


MEASURES = {
    "score_per_session": ("rewards found less those missed in an arm, in a session", "rewards", scores),
    "sessions_to_structure": (
        "sessions until what is held in the end was adopted (all, if nothing)",
        "sessions",
        known_after,
    ),
}
"""What is counted: the first says what counts as success, what it is good for the second."""


# --- in words ------------------------------------------------------------------------------------------------------------
def table(result: Result) -> tuple[Sequence[str], list[Sequence[str]], Sequence[str]]:
    """Header, rows and notes about a result, for the command line."""
    held, when, wrong = posterior_of_truth(result)[:, :, -1], known_after(result), ever_wrong(result)
    best, each, later = best_possible(result), scores(result), after(result)
    rows: list[Sequence[str]] = []
    for s, name in enumerate(result.schemes):
        seeks = bool(np.isfinite(result.true_model_posterior[s]).any())
        done = np.isfinite(later[s])
        cells = ["-"] * 5
        if seeks:
            gap = later[s, done] - best[done]
            cells = [
                f"{result.adopted_truth[s].mean():.1%}",
                str(int(wrong[s].sum())),
                _mean(held[s], 3),
                _mean(when[s], 1),
                _mean(gap, 2) if done.any() else "-",
            ]
        rows.append((name, *cells, _mean(each[s].mean(axis=1), 2)))
    seen = observer(result)
    rows.append(("an observer of everything", "", "", "", _mean(seen, 1), "", ""))
    rows.append(("the best session", "", "", "", "", "", _mean(best, 2)))
    most = result.sizes["trial"]
    notes = (
        f"sessions: until a structure is adopted (agents that adopt none count as {most}); +-: standard error over agents",
        "found: adopted the truth; wrong: had a wrong structure beyond Occam's window after any session",
        "later - best: score of a session after the truth was adopted, beside what who knows it can expect (exact)",
        f"nobody could be as sure after fewer than {floor(result):.1f} sessions on average (a bound, not reached); the "
        "observer sees more than any agent can",
    )
    return ("scheme", "found", "wrong", "posterior", "sessions", "later - best", "score"), rows, notes


def _mean(values: NDArray[Any], digits: int) -> str:
    error = standard_error(values)
    return f"{values.mean():.{digits}f}" + ("" if np.isnan(error) else f" +- {error:.{digits}f}")
