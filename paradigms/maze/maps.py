"""Random maps of a maze, and what can be known of them by walking: plain tables, no agents."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["distances", "maps", "still_possible", "transitions"]

_TRIES = 1000  # draws in a row without a new map after which there are taken to be no more


def maps(n_maps: int = 100, n_rooms: int = 6, n_doors: int = 3, seed: int = 0, *, corridors: int = 2) -> np.ndarray:
    """Different random maps of a maze: the room to which each door leads ``(n_maps, n_rooms, n_doors)``.

    The doors of a room lead to different other rooms, and only one way. The first ``corridors`` of them are the same in all
    maps: the rooms lie in a ring, and these doors lead to the next room, the one before, the one after the next and so on.
    Every other door leads to a room drawn at random among those that are left. From every room all others can be reached.

    Args:
        n_maps: how many, >= 2.
        n_rooms: rooms, >= 2.
        n_doors: doors of each room, 1 to n_rooms - 1.
        seed: whole number >= 0.
        corridors: doors of each room that lead to the same room in all maps, 0 to n_doors.

    Raises:
        ValueError: if a number is out of its range, or there are not so many different maps.

    Example:
        ``maps(8, 4, 2, corridors=1)``: the second door of each of four rooms leads to one of two.
    """
    for name, value, least, most in (
        ("n_maps", n_maps, 2, None),
        ("n_rooms", n_rooms, 2, None),
        ("n_doors", n_doors, 1, n_rooms - 1),
        ("seed", seed, 0, None),
        ("corridors", corridors, 0, n_doors),
    ):
        if isinstance(value, bool) or int(value) != value or value < least or (most is not None and value > most):
            bounds = f">= {least}" if most is None else f"in {least}..{most}"
            raise ValueError(f"{name} must be a whole number {bounds}; got {value!r}")
    steps = [(-1) ** i * (i // 2 + 1) for i in range(n_rooms)]  # 1, -1, 2, -2, ... rooms on along the ring
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(n_rooms, n_doors, corridors)))
    found: dict[bytes, np.ndarray] = {}
    tries = 0
    while len(found) < n_maps:
        if (tries := tries + 1) > _TRIES:
            raise ValueError(
                f"n_maps must be small enough for maps of {n_rooms} rooms with {n_doors} doors, {corridors} of them corridors; "
                f"got {n_maps}, found {len(found)}"
            )
        table = np.empty((n_rooms, n_doors), dtype=np.intp)
        for room in range(n_rooms):
            table[room, :corridors] = [(room + step) % n_rooms for step in steps[:corridors]]
            left = np.setdiff1d(np.arange(n_rooms), [room, *table[room, :corridors]])
            table[room, corridors:] = rng.permutation(left)[: n_doors - corridors]
        if table.tobytes() not in found and np.isfinite(distances(table)).all():
            found[table.tobytes()], tries = table, 0
    return np.stack(list(found.values()))


def transitions(table: np.ndarray) -> np.ndarray:
    """A map as transition probabilities ``(n_rooms, n_rooms, n_doors)``: next room, room, door."""
    return np.moveaxis(np.eye(len(table))[table], -1, 0)


def distances(table: np.ndarray) -> np.ndarray:
    """Moves of the shortest way from each room to each ``(n_rooms, n_rooms)``, inf where there is none."""
    steps = np.where(np.eye(len(table), dtype=bool), 0.0, np.inf)
    for _ in range(len(table)):
        steps = np.minimum(steps, 1.0 + steps[table].min(axis=1))
    return steps


def still_possible(tables: np.ndarray, rooms: np.ndarray, doors: np.ndarray) -> np.ndarray:
    """Which maps agree with what was seen up to each time ``(..., time, n_maps)``.

    Args:
        tables: the maps ``(n_maps, n_rooms, n_doors)``.
        rooms: the room at each time ``(..., time)``.
        doors: the door taken then ``(..., time)``; the last one does not matter.
    """
    led: Any = np.moveaxis(tables[:, rooms[..., :-1], doors[..., :-1]], 0, -1)
    agree = led == rooms[..., 1:, None]
    before = np.ones((*agree.shape[:-2], 1, len(tables)), dtype=bool)
    return np.logical_and.accumulate(np.concatenate([before, agree], axis=-2), axis=-2)
