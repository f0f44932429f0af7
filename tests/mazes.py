"""Ways through a maze by bookkeeping alone: which maps are possible, what a door would tell, what lies behind it.

Written without the library, as the truth that its agents are held against. Maps are certain and rooms are seen, so that what is
known is a set of possible maps, here the bits of a whole number.
"""

from __future__ import annotations

import itertools
from functools import cache
from math import log

import numpy as np
from scipy.special import digamma

DISCOUNT = 0.99
TIE = 1e-9


class Explorer:
    """Somebody with the maps ``(n_maps, n_rooms, n_doors)``, of whom any may be true, all as likely."""

    def __init__(self, tables: np.ndarray) -> None:
        self.tables = tables
        self.n_maps, self.n_rooms, self.n_doors = tables.shape
        self.everything = (1 << self.n_maps) - 1
        self.leads: dict[tuple[int, int], dict[int, int]] = {}
        for m, room, door in np.ndindex(*tables.shape):
            at = self.leads.setdefault((room, door), {})
            at[int(tables[m, room, door])] = at.get(int(tables[m, room, door]), 0) | 1 << m
        self.worth = cache(self._worth)
        self.soonest = cache(self._soonest)

    def after(self, possible: int, room: int, door: int) -> list[tuple[int, int, float]]:
        """Rooms that a door may lead to, the maps that are left then, and how probable that is."""
        total = possible.bit_count()
        left = [(to, possible & which) for to, which in self.leads[room, door].items()]
        return [(to, some, some.bit_count() / total) for to, some in left if some]

    def gain(self, possible: int, room: int, door: int) -> float:
        """Nats that a door will tell about the map."""
        return -sum(p * log(p) for _, _, p in self.after(possible, room, door))

    def _worth(self, possible: int, room: int, ahead: int) -> tuple[float, ...]:
        """What each door tells, now and with the best moves after it."""
        values = []
        for door in range(self.n_doors):
            value = self.gain(possible, room, door)
            if ahead:
                for to, some, p in self.after(possible, room, door):
                    value += DISCOUNT * p * max(self.worth(some, to, ahead - 1))
            values.append(value)
        return tuple(values)

    def _soonest(self, possible: int, room: int, horizon: int) -> float:
        """Expected moves until one map is left, of which those beyond the horizon are not counted."""
        if possible.bit_count() == 1 or horizon == 0:
            return 0.0
        ways = [
            sum(p * self.soonest(some, to, horizon - 1) for to, some, p in self.after(possible, room, door))
            for door in range(self.n_doors)
        ]
        return 1.0 + min(ways)


class Curious:
    """Counts of where each door led ``(next room, room, door)``, and how much a further look would move the belief in them."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts.astype(float)

    def worth(self, room: int, ahead: int) -> np.ndarray:
        """What each sequence of doors promises, the last one fastest; nothing is learned on the way."""
        total = self.counts.sum(axis=0)
        held = np.where(self.counts > 0, self.counts, 1.0)
        gain = (digamma(held + 1) - np.log(held)) - (digamma(total + 1) - np.log(total))
        chance = self.counts / total
        new = (chance * gain).sum(axis=0)
        values = []
        for doors in itertools.product(range(total.shape[1]), repeat=ahead + 1):
            there, value = np.eye(len(total))[room], 0.0
            for door in doors:
                value += there @ new[:, door]
                there = chance[:, :, door] @ there
            values.append(value)
        return np.array(values)


def walk(
    tables: np.ndarray,
    scheme: str,
    truth: int,
    start: int,
    draws: np.ndarray,
    ahead: int = 0,
    counts: np.ndarray | None = None,
    explorer: Explorer | None = None,
) -> tuple[list[int], list[int], list[int]]:
    """Rooms, doors and possible maps until one is left, or the draws ``(time,)`` that decide among equals are used up.

    Args:
        tables: the maps.
        scheme: "gain", "novelty" or "random".
        truth: the true map.
        start: the first room.
        draws: uniform numbers.
        ahead: further moves looked ahead.
        counts: what novelty begins with.
        explorer: one made from the same maps, to share what it remembers.
    """
    mind = explorer or Explorer(tables)
    new = None if counts is None else Curious(counts)
    rooms, doors, possible = [start], [], [mind.everything]
    for uniform in draws:
        if possible[-1].bit_count() == 1:
            break
        if scheme == "gain":
            value = np.array(mind.worth(possible[-1], rooms[-1], ahead))
        else:
            value = np.zeros(mind.n_doors) if new is None else new.worth(rooms[-1], ahead)
        good = np.flatnonzero(value >= value.max() - TIE * max(value.max() - value.min(), 1.0))
        door = int(good[min(int(uniform * len(good)), len(good) - 1)]) // (len(value) // mind.n_doors)
        to = int(tables[truth, rooms[-1], door])
        if new is not None and len(rooms) > 1:  # agents learn what a move has shown when they have chosen the next one
            new.counts[rooms[-1], rooms[-2], doors[-1]] += 1.0
        possible.append(possible[-1] & mind.leads[rooms[-1], door][to])
        rooms.append(to)
        doors.append(door)
    return rooms, doors, possible
