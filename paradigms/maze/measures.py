"""What agents in a maze achieve: moves until the map is known, beside the fewest, and the way to the cheese after that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from activebmr import Result, simulate
from activebmr.arrays import standard_error
from activebmr.paradigms.maze.maps import distances, maps, still_possible
from activebmr.references import fewest_moves, optimal_moves

__all__ = ["MEASURES", "Floor", "Ways", "detour", "floor_of", "known_after", "table", "tables_of", "ways"]

_SIZE = ("n_maps", "n_rooms", "n_doors", "map_seed", "corridors")


@dataclass(frozen=True, eq=False)
class Ways:
    """Where agents went.

    Attributes:
        rooms, doors: at each time ``(scheme, agent, time)``; the door taken at the last time leads nowhere any more.
        tables: the maps ``(n_maps, n_rooms, n_doors)``.
        truths: the true map of each agent ``(agent,)``.
    """

    rooms: np.ndarray
    doors: np.ndarray
    tables: np.ndarray
    truths: np.ndarray

    def possible(self) -> np.ndarray:
        """How many maps are possible at each time ``(scheme, agent, time)``."""
        return np.stack([still_possible(self.tables, r, d).sum(axis=-1) for r, d in zip(self.rooms, self.doors, strict=True)])

    def known_after(self) -> np.ndarray:
        """Moves until one map is left ``(scheme, agent)``; all moves for those that were not done in time."""
        known = self.possible() == 1
        return np.where(known.any(axis=2), known.argmax(axis=2), known.shape[2] - 1)


@dataclass(frozen=True, eq=False)
class Floor:
    """The fewest moves of each agent ``(agent,)``: of the best observer, and of one who proves what it knows."""

    best: np.ndarray
    proof: np.ndarray


def _settings(result: Result) -> dict[str, Any]:
    return dict(next(iter(result.settings["schemes"].values())))


def tables_of(result: Result) -> np.ndarray:
    """The maps that the agents of a result had before them."""
    n_maps, n_rooms, n_doors, seed, corridors = (int(_settings(result)[name]) for name in _SIZE)
    return maps(n_maps, n_rooms, n_doors, seed, corridors=corridors)


def ways(result: Result, n_agents: int | None = None, schemes: Sequence[str] | None = None) -> Ways:
    """Where agents went: from the trace, or else, the same seed being the same life, by letting them live again.

    Args:
        result: from `simulate`.
        n_agents: so many of them, the first; all by default.
        schemes: some of the result's; all by default.
    """
    chosen = result.schemes if schemes is None else list(schemes)
    who = result.agent[:n_agents]
    truths = np.broadcast_to(result.true_model, result.agent.shape)[: len(who)]
    if result.trace:
        at = [result.index(s) for s in chosen]
        rooms, doors = (result.trace[name][at, : len(who), 0, :, 0] for name in ("states", "controls"))
        return Ways(rooms, doors, tables_of(result), truths)
    lived = []
    for name in chosen:
        again = simulate(_paradigm(result, name), int(who.max()) + 1, 1, int(result.seed), trace=True)
        lived.append([again.trace[key][0, who, 0, :, 0] for key in ("states", "controls")])
    return Ways(np.stack([r for r, _ in lived]), np.stack([d for _, d in lived]), tables_of(result), truths)


def _paradigm(result: Result, scheme: str) -> Any:
    from activebmr.paradigms.maze import paradigm  # which draws on this module

    settings = _settings(result)
    options = {name: int(settings[name]) for name in (*_SIZE, "lookahead")}
    return paradigm(scheme, result.settings["truth"], moves=int(settings["trial_length"]) - 1, **options)


def known_after(result: Result) -> np.ndarray:
    """Moves until each agent could know the map ``(scheme, agent)``; all moves for those that could not in time."""
    return ways(result).known_after()


def _unsure(result: Result) -> np.ndarray:
    """Observations after which no map was beyond Occam's window ``(scheme, agent)``; nan for agents that know no maps."""
    seeks = np.isfinite(result.true_model_posterior).all(axis=2)
    return np.where(seeks, result.unsure.sum(axis=2), np.nan)


MEASURES = {
    "moves_to_map": ("moves until one map is adopted, or all of them (missing for agents that know no maps)", "moves", _unsure),
    "cheese_found": ("times that the cheese was reached", "times", "wins"),
}
"""What is counted, by what every result holds; `known_after` has the moves until the map could be known."""


def floor_of(lived: Ways) -> Floor:
    """The fewest moves that agents with these maps who began in these rooms could need.

    Both numbers are exact: those of the best observer are a floor of every scheme's mean, those of the proof of every agent's.
    """
    at = lived.truths, lived.rooms[0, :, 0]
    return Floor(optimal_moves(lived.tables)[at], fewest_moves(lived.tables)[at])


def detour(lived: Ways, goal: int) -> np.ndarray:
    """Moves to the cheese from where the map was known, beyond those of the shortest way ``(scheme, agent)``; nan for agents
    who had not the time for it; inf for those who had, and never came there.
    """
    known, length = lived.known_after(), lived.rooms.shape[2]
    knows = lived.possible()[:, :, -1] == 1
    there = (lived.rooms == goal) & (np.arange(length) >= known[:, :, None])
    shortest = np.stack([distances(t)[:, goal] for t in lived.tables])
    begin = np.take_along_axis(lived.rooms, known[:, :, None], axis=2)[:, :, 0]
    least = shortest[lived.truths, begin]
    taken = np.where(there.any(axis=2), there.argmax(axis=2) - known, np.inf)
    return np.where(knows & (known + least < length), taken - least, np.nan)


def table(result: Result) -> tuple[Sequence[str], list[Sequence[str]], Sequence[str]]:
    """Header, rows and notes about a result, for the command line."""
    from activebmr.paradigms.maze import cheese

    lived = ways(result)
    known, floor, beyond = lived.known_after(), floor_of(lived), detour(lived, cheese(lived.tables.shape[1]))
    rows: list[Sequence[str]] = []
    late = (lived.possible()[:, :, -1] > 1).sum(axis=1)
    wrong = result.adopted_wrong.sum(axis=1)
    for s, name in enumerate(result.schemes):
        seeks = np.isfinite(result.true_model_posterior[s]).any()
        straight = (beyond[s][~np.isnan(beyond[s])] == 0).mean() if seeks else np.nan
        rows.append(
            (
                name,
                _mean(known[s]),
                f"{np.median(known[s]):g}",
                _mean(known[s] - floor.best),
                str(late[s]),
                str(wrong[s]) if seeks else "-",
                f"{straight:.0%}" if seeks else "-",
            )
        )
    rows.append(("the best observer", _mean(floor.best), f"{np.median(floor.best):g}", "", "", "", ""))
    rows.append(("a proof by one who knows", _mean(floor.proof), f"{np.median(floor.proof):g}", "", "", "", ""))
    most = lived.rooms.shape[2] - 1
    notes = (
        f"moves: until one map of {len(lived.tables)} is left (agents that were late count as {most}); +-: standard error",
        "above the best: agent by agent, of the observer who chooses the moves that are fewest on average (exact)",
        "wrong: agents that adopted a wrong map; straight: those that then went the shortest way to the cheese",
    )
    return ("scheme", "moves", "median", "above the best", "late", "wrong", "straight"), rows, notes


def _mean(values: np.ndarray) -> str:
    error = standard_error(values)
    return f"{values.mean():.2f}" + ("" if np.isnan(error) else f" +- {error:.2f}")
