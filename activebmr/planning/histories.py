"""What policies share: the distinct histories of controls, component by component, worked out once per model.

A policy of several steps does something to every component at every step, but few distinct things: histories of controls that
bring a component's known state to the same place, or its hidden states into the same distribution, are one. A *cell* is a
distinct pair of the two at one step; what policies are worth is the sum of what their cells are worth, one for each step and
component.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.components import Component, components_of
from activebmr.model.pomdp import POMDP

__all__ = ["Histories", "Level", "histories_of"]

_MERGED_UP_TO = 4096  # hidden joint states whose certain motion is followed state by state, to find histories that agree


@dataclass(frozen=True, eq=False)
class Level:
    """Distinct hidden histories of one step: history i of the step before it, moved by one combination of controls.

    Attributes:
        parent: history of the step before ``(n,)``; 0 is the present for the first step.
        code: combination of controls ``(n,)``.
        known: cell-independent known history of the step before ``(n,)``, where motion depends on the known state.
        groups: indices of histories with the same (code, known), and the two.
    """

    parent: Ints
    code: Ints
    known: Ints
    groups: tuple[tuple[int, int, Ints], ...]


class Histories:
    """The histories that policies ``(n_policies, n_steps, n_factors)`` make of one component.

    Attributes:
        steps: number of steps.
        maps: known joint state that each cell leads to from each known joint state ``(n_cells, n_known)``.
        hidden: hidden history of each cell, counted over all steps ``(n_cells,)``.
        levels: hidden histories step by step; empty where hidden states never move.
        step: step of each cell ``(n_cells,)``, in ascending order; ``ends[h]`` is the number of cells up to step h.
        cell: cell of each policy at each step ``(n_policies, n_steps)``.
    """

    def __init__(self, component: Component, policies: Ints) -> None:
        self.component, self.steps = component, policies.shape[1]
        n_policies = len(policies)
        self.levels: list[Level] = []
        known_maps = [np.arange(component.n_known)[None]]
        known_id = np.zeros(n_policies, dtype=np.intp)
        hidden_id, hidden_maps = np.zeros(n_policies, dtype=np.intp), self._certain_start()
        maps, hidden, steps, cell = [], [], [], []
        seen_hidden, seen_cells = 0, 0
        self.ends = []
        for h in range(self.steps):
            controls = policies[:, h]
            before = known_id
            known_id, level_maps = _compose(known_maps[-1], before, component.known_code(controls), component.known_next)
            known_maps.append(level_maps)
            if not component.motion.still:
                hidden_id, hidden_maps, level = self._level(hidden_id, component.hidden_code(controls), before, hidden_maps)
                self.levels.append(level)
            pairs, index = np.unique(np.stack([known_id, hidden_id], 1), axis=0, return_inverse=True)
            maps.append(level_maps[pairs[:, 0]])
            hidden.append(pairs[:, 1] + seen_hidden)
            steps.append(np.full(len(pairs), h))
            cell.append(index.reshape(-1) + seen_cells)
            seen_cells += len(pairs)
            seen_hidden += len(self.levels[-1].parent) if self.levels else 0
            self.ends.append(seen_cells)
        self.maps, self.hidden = np.concatenate(maps), np.concatenate(hidden)
        self.step, self.cell = np.concatenate(steps), np.stack(cell, axis=1)
        self._known_maps = known_maps

    def _certain_start(self) -> Ints | None:
        """Identity map of the hidden states, if their histories can be told apart by where they lead; else None."""
        c = self.component
        if c.motion.still or c.motion.by_known or c.n_hidden > _MERGED_UP_TO:
            return None
        for f in c.hidden:
            b = c.model.B[f]
            if not ((b == 0.0) | (b == 1.0)).all():
                return None
        return np.arange(c.n_hidden)[None]

    def _level(
        self, before: Ints, code: Ints, known: Ints, maps: Ints | None
    ) -> tuple[Ints, Ints | None, Level]:
        motion = self.component.motion
        known = known if motion.by_known else np.zeros_like(known)
        keys, index = np.unique(np.stack([before, code, known], 1), axis=0, return_inverse=True)
        index = index.reshape(-1)
        if maps is not None:
            where = {int(u): motion.matrix(int(u), 0).argmax(axis=0) for u in np.unique(keys[:, 1])}
            led = np.stack([where[int(u)][maps[int(i)]] for i, u, _ in keys])
            maps, first, same = np.unique(led, axis=0, return_index=True, return_inverse=True)
            keys, index = keys[first], same.reshape(-1)[index]
        groups = [
            (int(u), int(k), np.flatnonzero((keys[:, 1] == u) & (keys[:, 2] == k)))
            for u, k in np.unique(keys[:, 1:], axis=0)
        ]
        return index, maps, Level(keys[:, 0], keys[:, 1], keys[:, 2], tuple(groups))

    # --- at run time -----------------------------------------------------------------------------------------------------
    def known(self, start: Ints, n_cells: int) -> Ints:
        """Known joint state of every cell ``(rows, n_cells)``, from where the rows are now ``(rows,)``."""
        return np.ascontiguousarray(self.maps[:n_cells, start].T)

    def beliefs(self, q: Floats, start: Ints, steps: int) -> Floats:
        """Hidden beliefs of all histories of the first steps ``(rows, n_histories, n_hidden)``, from ``(rows, n_hidden)``."""
        if not self.levels:
            return q[:, None]
        now, out = q[:, None], []
        for h, level in enumerate(self.levels[:steps]):
            now = self._move(now, level, self._known_maps[h][:, start])
            out.append(now)
        return out[0] if len(out) == 1 else np.concatenate(out, axis=1)

    def _move(self, now: Floats, level: Level, known: Ints) -> Floats:
        motion = self.component.motion
        if len(level.groups) == 1 and not motion.by_known:
            return motion.forward(now[:, level.parent], level.groups[0][0], 0)
        out = np.empty((len(now), len(level.parent), now.shape[2]))
        for code, history, members in level.groups:
            moving = now[:, level.parent[members]]
            if not motion.by_known:
                out[:, members] = motion.forward(moving, code, 0)
                continue
            for state in np.unique(known[history]):
                rows = np.flatnonzero(known[history] == state)
                out[np.ix_(rows, members)] = motion.forward(moving[rows], code, int(state))
        return out


def _compose(maps: Ints, before: Ints, code: Ints, after: Ints) -> tuple[Ints, Ints]:
    """Known histories one step on: which each policy now has, and where each leads from every known state."""
    keys, index = np.unique(np.stack([before, code], 1), axis=0, return_inverse=True)
    led = after[keys[:, 1][:, None], maps[keys[:, 0]]]
    distinct, same = np.unique(led, axis=0, return_inverse=True)
    return same.reshape(-1)[index.reshape(-1)], distinct


@lru_cache(maxsize=32)
def histories_of(model: POMDP, single: bool = False) -> tuple[Histories, ...]:
    """The histories of a model's policies in each of its components; of their first steps only, if ``single``."""
    policies = model.policies[:, :1] if single else model.policies
    return tuple(Histories(c, policies) for c in components_of(model))
