"""What a result of the how-many paradigm shows: who names the right number, how much they have seen by then, and how little
anybody could need.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import Result
from activebmr.arrays import standard_error
from activebmr.paradigms.how_many.causes import NAMES, experiments, numbers_of, wirings
from activebmr.references import evidence_bound

__all__ = ["MEASURES", "bounds", "course", "enough", "floor", "late", "looks_until", "named", "right", "table"]

Floats = NDArray[np.float64]


def named(posterior: Floats, truth: NDArray[np.intp]) -> Floats:
    """Chance of naming the true number, guessing among the most probable ones (within 1e-9) ``(..., agent, n)``: 1 or 0, or
    1 / k where k numbers, the true one among them, are the most probable.

    Args:
        posterior: over numbers ``(..., agent, n, 4)``.
        truth: index of each agent's true number ``(agent,)``.
    """
    best = posterior.max(axis=-1)
    ties = (posterior > best[..., None] - 1e-9).sum(axis=-1)
    return np.asarray(np.where(_of_truth(posterior, truth) > best - 1e-9, 1.0 / ties, 0.0))


def _of_truth(posterior: Floats, truth: NDArray[np.intp]) -> Floats:
    return posterior[..., np.arange(len(truth)), :, truth].transpose(*range(1, posterior.ndim - 2), 0, posterior.ndim - 2)


def truths(result: Result) -> NDArray[np.intp]:
    """Index of each agent's true number ``(agent,)``."""
    return np.broadcast_to(result.true_model, (result.sizes["agent"],))


def _said(result: Result) -> dict[str, Any]:
    return dict(next(iter(result.settings["schemes"].values())))


def course(result: Result) -> tuple[NDArray[np.intp], Floats]:
    """Looks so far ``(n,)``, from none on, and the posterior over numbers then ``(scheme, agent, n, 4)``: after every look of a
    traced result, after every box of others.
    """
    looks, trials = int(_said(result)["looks"]), result.sizes["trial"]
    shape = (*result.model_posterior.shape[:2], 1, len(NAMES))
    if "model_posterior" not in result.trace:
        after = np.concatenate([np.full(shape, 1 / len(NAMES)), result.model_posterior], axis=2)
        return looks * np.arange(trials + 1), after
    each = result.trace["model_posterior"][:, :, :, 1:]  # at the first time of a trial nothing is looked at
    after = np.concatenate([np.full(shape, 1 / len(NAMES)), each.reshape(*shape[:2], -1, len(NAMES))], axis=2)
    return np.arange(trials * looks + 1), after


def right(result: Result) -> tuple[NDArray[np.intp], Floats]:
    """Looks so far ``(n,)`` and the chance of each agent to name the true number then ``(scheme, agent, n)``, see `course`."""
    looks, posterior = course(result)
    return looks, named(posterior, truths(result))


def enough(result: Result, share: float = 0.95) -> list[int | None]:
    """Per scheme the looks from which on the share of agents who name the true number is never below this again; None if it is
    at the end.
    """
    looks, chance = right(result)
    out: list[int | None] = []
    for mean in chance.mean(axis=1):
        below = np.flatnonzero(mean < share)
        after = 0 if not len(below) else int(below[-1]) + 1
        out.append(int(looks[after]) if after < len(looks) else None)
    return out


def looks_until(result: Result, sure: float = 0.95) -> NDArray[np.intp]:
    """Looks until the true number first has this posterior ``(scheme, agent)``. Those who do not get there count with all looks
    that there were, which flatters them: `late` says who they are.
    """
    looks, posterior = course(result)
    there = _of_truth(posterior, truths(result)) >= sure
    return np.asarray(looks[np.where(there.any(axis=2), there.argmax(axis=2), -1)])


def _named(result: Result) -> Floats:
    return named(result.model_posterior, truths(result))


MEASURES = {
    "number_named": ("chance of naming the true number after a box, guessing among the most probable", "share", _named),
    "looks_to_sure": ("looks until the true number has a posterior of .95 (all, if never)", "looks", looks_until),
}
"""What is counted: the first says what counts as success."""


def late(result: Result, sure: float = 0.95) -> NDArray[np.bool_]:
    """Whose true number never had this posterior ``(scheme, agent)``."""
    _, posterior = course(result)
    return np.asarray(~(_of_truth(posterior, truths(result)) >= sure).any(axis=2))


@cache
def bounds(watched: int, sensors: int, chance: float, strength: float, background: float, sure: float = 0.95) -> Floats:
    """Looks into one box without which nobody is sure of the number on average, of each number ``(4,)``: a bound, no estimate.

    It is `evidence_bound` of the box's wiring against all wirings of other numbers, as if that wiring were all that its number
    could mean (which tells numbers apart best), averaged over wirings.
    """
    tables, numbers = experiments(watched, sensors, chance, strength, background), numbers_of(sensors)
    per_number = np.bincount(numbers)
    found: dict[tuple[int, ...], float] = {}  # wirings that renamed sensors make of each other are alike
    each = []
    for i, wiring in enumerate(w for k in range(len(NAMES)) for w in wirings(k + 1, sensors)):
        shape = tuple(sorted(np.bincount(wiring)))
        if shape not in found:
            others = np.flatnonzero(numbers != numbers[i])
            prior = np.concatenate([[1.0], 1.0 / per_number[numbers[others]]])
            found[shape] = float(evidence_bound(tables[:, [i, *others]], prior, sure)[0])
        each.append(found[shape])
    out = np.bincount(numbers, weights=each)[1:] / per_number[1:]
    out.setflags(write=False)
    return out


def floor(result: Result, scheme: str | int = 0, sure: float = 0.95) -> float:
    """Looks without which nobody could have been sure of these agents' numbers on average, see `bounds`.

    Raises:
        ValueError: if agents had more than one box: the bound is about looks into one.
    """
    if result.sizes["trial"] > 1:
        raise ValueError(f"result must be about one box (n_trials=1); got {result.sizes['trial']}")
    said = result.settings["schemes"][result.schemes[result.index(scheme)]]
    world = int(said["watched"]), int(said["sensors"]), *(float(said[k]) for k in ("chance", "strength", "background"))
    return float(bounds(*world, sure)[truths(result)].mean())


def table(result: Result) -> tuple[list[str], list[list[str]], list[str]]:
    """What the command prints: one row per scheme."""
    looks, chance = right(result)
    when, never, start = looks_until(result), late(result), enough(result)
    _, posterior = course(result)
    of_truth = _of_truth(posterior, truths(result))[:, :, -1]
    rows = [
        [
            scheme,
            _pm(100 * chance[s, :, -1], 1, "%"),
            _pm(of_truth[s], 3),
            _pm(when[s], 1),
            str(int(never[s].sum())),
            "-" if start[s] is None else str(start[s]),
        ]
        for s, scheme in enumerate(result.schemes)
    ]
    boxes, into = result.sizes["trial"], int(_said(result)["looks"])
    each = f"{into} look{'s' * (into != 1)} into {'one box' if boxes == 1 else f'each of {boxes} boxes'}"
    notes = [
        f"{each}; right: who names the true number at the end, guessing among the most probable; posterior: the true number's",
        "looks to .95: until the true number first has this posterior; who is late counts with all looks; +-: standard error",
        "95% right after: looks from which on at least 95% of agents name the true number",
    ]
    return ["scheme", "right", "posterior", "looks to .95", "late", "95% right after"], rows, notes


def _pm(values: NDArray[Any], digits: int, unit: str = "") -> str:
    error = f" +- {standard_error(values):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{error}{unit}"
