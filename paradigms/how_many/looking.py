"""Where agents of the how-many paradigm look: at sensors of one cause, where the number shows, or at others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from activebmr import Result
from activebmr.paradigms.how_many.causes import NAMES, views, wirings
from activebmr.paradigms.how_many.measures import looks_until, truths

__all__ = ["Source", "looked_at", "same_cause", "schemes_of", "typical_agent"]

Source = Result | Mapping[str, Result]
"""Results of schemes; those that see different numbers of sensors, traced, are simulated one by one."""


def schemes_of(source: Source) -> Iterator[tuple[str, Result, int]]:
    """Every scheme, the result that it is in, and its place there."""
    for result in [source] if isinstance(source, Result) else source.values():
        for s, name in enumerate(result.schemes):
            yield name, result, s


def looked_at(source: Source) -> dict[str, NDArray[np.float64]]:
    """By scheme, of agents for whom two or three is true, the share of looks at two sensors of one cause ``(agent,)``; with
    five sensors .4 or .6 of all pairs, and .2 or .3, as the box is wired. Traced results of two sensors a look alone.
    """
    out = {}
    for name, result, s in schemes_of(source):
        said = result.settings["schemes"][name]
        if "controls" not in result.trace or int(said["watched"]) != 2:
            continue
        sensors = int(said["sensors"])
        together = same_cause(result, s, sensors)
        of = np.isin(truths(result), (1, 2))
        out[name] = together[of].mean(axis=(1, 2))
    return out


def same_cause(result: Result, s: int, sensors: int) -> NDArray[np.bool_]:
    """Whether the two sensors of each look of a traced scheme have one cause ``(agent, trial, look)``."""
    pairs = np.array(views(sensors, 2))[result.trace["controls"][s, :, :, :-1, 0]]
    wiring, out = result.trace["states"][s, :, :, 0, 1], np.zeros(pairs.shape[:3], dtype=bool)
    for k in range(len(NAMES)):
        owners = np.array(wirings(k + 1, sensors))
        mine = truths(result) == k
        each = np.take_along_axis(owners[wiring[mine]][:, :, None], pairs[mine].reshape(*pairs[mine].shape[:3], 2), axis=3)
        out[mine] = each[..., 0] == each[..., 1]
    return out


def typical_agent(result: Result, scheme: str | int = 0, number: int = 2) -> int:
    """An agent with this index of the true number, whose looks until it is sure are the median."""
    s = result.index(scheme)
    mine = np.flatnonzero(truths(result) == number)
    mine = mine if len(mine) else np.arange(result.sizes["agent"])
    when = looks_until(result)[s, mine]
    return int(mine[np.argsort(np.abs(when - np.median(when)), kind="stable")[0]])
