"""What policies share: the distinct histories of controls, component by component, worked out once per model.

A policy of several steps does something to every component at every step, but few distinct things: histories of controls that
bring a component's known state to the same place, or its hidden states into the same distribution, are one. A *cell* is a
distinct pair of the two at one step; what policies are worth is the sum of what their cells are worth, one for each step and
component.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.components import Component, component_of
from activebmr.model.once import once
from activebmr.model.pomdp import POMDP
from activebmr.model.reading import Reading
from activebmr.planning.joint.keeping import keep

__all__ = ["Histories", "Level", "histories_of"]

_MERGED_UP_TO = 4096  # hidden joint states whose certain motion is followed state by state, to find histories that agree
_MATRICES_UP_TO = 128  # ... and whose motion by chance is followed as a matrix,
_NUMBERS = 2**24  # ... as long as those of one step hold so many numbers


@dataclass(frozen=True, eq=False)
class Level:
    """Distinct hidden histories of one step: history i of the step before it, moved by one combination of controls.

    Attributes:
        parent: history of the step before ``(n,)``; 0 is the present for the first step.
        code: combination of controls ``(n,)``.
        known: cell-independent known history of the step before ``(n,)``, where motion depends on the known state.
        groups: indices of histories with the same (code, known), and the two.
        codes: the distinct combinations of controls.
        full: whether most histories of the step before go on with each of them.
        places: place of each history among all pairs of history before and code ``(n,)``; None if they are the first of these,
            in order (the last histories before may lead nowhere that others do not).
    """

    parent: Ints
    code: Ints
    known: Ints
    groups: tuple[tuple[int, int, Ints], ...]

    @cached_property
    def codes(self) -> tuple[int, ...]:
        return tuple(int(u) for u in np.unique(self.code))

    @cached_property
    def full(self) -> bool:
        return (int(self.parent.max()) + 1) * len(self.codes) <= 2 * len(self.parent)

    @cached_property
    def places(self) -> Ints | None:
        at = self.parent * len(self.codes) + np.searchsorted(self.codes, self.code)
        whole = len(at) == (int(self.parent.max()) + 1) * len(self.codes)
        return None if whole and (np.diff(at) == 1).all() else at

    def wide(self, stacked: Floats) -> Floats:
        """Matrices ``(n_codes, now, width)`` side by side ``(now, n_codes * width)``, kept for later."""
        kept: dict[int, tuple[Floats, Floats]] = self.__dict__.setdefault("_wide", {})
        held = kept.get(id(stacked))
        if held is None or held[1] is not stacked:
            wide = np.ascontiguousarray(stacked.transpose(1, 0, 2).reshape(stacked.shape[1], -1))
            held = keep(kept, id(stacked), (wide, stacked))
        return held[0]


class Histories:
    """The histories that policies ``(n_policies, n_steps, n_factors)`` make of one component.

    Attributes:
        steps: number of steps.
        maps: known joint state that each cell leads to from each known joint state ``(n_cells, n_known)``.
        hidden: hidden history of each cell, counted over all steps ``(n_cells,)``.
        levels: hidden histories step by step; empty where hidden states never move.
        step: step of each cell ``(n_cells,)``, in ascending order; ``ends[h]`` is the number of cells up to step h.
        cell: cell of each policy at each step ``(n_policies, n_steps)``; ``by_step``: the same, step by step.
    """

    def __init__(self, component: Component, policies: Ints) -> None:
        self.component, self.steps = component, policies.shape[1]
        n_policies = len(policies)
        self.levels: list[Level] = []
        known_maps = [np.arange(component.n_known)[None]]
        known_id = np.zeros(n_policies, dtype=np.intp)
        hidden_id, led = np.zeros(n_policies, dtype=np.intp), _start(component)
        maps, hidden, steps, cell = [], [], [], []
        seen_hidden, seen_cells = 0, 0
        self.ends = []
        for h in range(self.steps):
            controls = policies[:, h]
            before = known_id
            known_id, level_maps = _compose(known_maps[-1], before, component.known_code(controls), component.known_next)
            known_maps.append(level_maps)
            if not component.motion.still:
                hidden_id, led, level = self._level(hidden_id, component.hidden_code(controls), before, led)
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
        self.by_step = [np.ascontiguousarray(self.cell[:, h]) for h in range(self.steps)]
        self._known_maps = known_maps
        self._aligned = np.logical_and.accumulate(self.hidden == np.arange(len(self.hidden)))
        self._composed: dict[tuple[int, int], tuple[Floats, Floats]] = {}

    def _level(self, before: Ints, code: Ints, known: Ints, led: np.ndarray | None) -> tuple[Ints, np.ndarray | None, Level]:
        """One step on: the history of each policy, where histories lead (if that is followed), and the level."""
        motion = self.component.motion
        known = known if motion.by_known else np.zeros_like(known)
        keys, index = np.unique(np.stack([before, code, known], 1), axis=0, return_inverse=True)
        index = index.reshape(-1)
        if led is not None:
            led, first, same = _merged(self.component, keys, led)
            keys, index = keys[first], same[index]
        groups = [
            (int(u), int(k), np.flatnonzero((keys[:, 1] == u) & (keys[:, 2] == k))) for u, k in np.unique(keys[:, 1:], axis=0)
        ]
        return index, led, Level(keys[:, 0], keys[:, 1], keys[:, 2], tuple(groups))

    def cells_are_histories(self, n_cells: int) -> bool:
        """Whether each of the first cells has the hidden history of its own number."""
        return bool(self._aligned[n_cells - 1])

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

    def composed(self, h: int, stacked: Floats, reading: Reading, table: Floats) -> Floats:
        """What one more step under each code of step h shows of a table: ``(n_codes, now, width)``; the last few are kept."""
        held = self._composed.get((h, id(table)))
        if held is None or held[1] is not table:
            columns = table[0] if reading.project is None else np.matmul(reading.project, table[0])
            held = keep(self._composed, (h, id(table)), (np.matmul(stacked, columns), table))
        return held[0]

    def until(self, q: Floats, start: Ints, steps: int) -> tuple[Floats | None, Floats]:
        """Hidden beliefs of the histories of all of the first steps but the last, or None; and of those alone that the last
        one begins from.
        """
        if steps == 1:
            return None, q[:, None]
        now, out = q[:, None], []
        for h, level in enumerate(self.levels[: steps - 1]):
            now = self._move(now, level, self._known_maps[h][:, start])
            out.append(now)
        return (out[0] if len(out) == 1 else np.concatenate(out, axis=1)), now

    def _move(self, now: Floats, level: Level, known: Ints) -> Floats:
        motion = self.component.motion
        stacked = motion.stacked(level.codes) if level.full else None
        if stacked is not None:
            n = now.shape[2]
            wide = np.matmul(now, level.wide(stacked)).reshape(len(now), -1, n)
            return wide[:, : len(level.parent)] if level.places is None else wide[:, level.places]
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


def _start(c: Component) -> np.ndarray | None:
    """Where the empty history leads: a map ``(1, n_hidden)`` if hidden states move with certainty, else a matrix
    ``(1, n_hidden, n_hidden)``; None where that is too much to follow.
    """
    if c.motion.still or c.motion.by_known:
        return None
    certain = all(((b == 0.0) | (b == 1.0)).all() for b in (c.model.B[f] for f in c.hidden))
    if certain:
        return np.arange(c.n_hidden)[None] if c.n_hidden <= _MERGED_UP_TO else None
    return np.eye(c.n_hidden)[None] if c.n_hidden <= _MATRICES_UP_TO else None


def _merged(c: Component, keys: Ints, led: np.ndarray) -> tuple[np.ndarray | None, Ints, Ints]:
    """Histories (parent, code, known) that lead every belief to the same place are one: where they lead, the first of each, and
    which each is.
    """
    codes, of = np.unique(keys[:, 1], return_inverse=True)
    if led.ndim == 2:
        moves = np.stack([c.motion.matrix(int(u), 0).argmax(axis=0) for u in codes])
        fresh = moves[of.reshape(-1)[:, None], led[keys[:, 0]]]
        marks = fresh
    else:
        if len(keys) * c.n_hidden**2 > _NUMBERS:
            return None, np.arange(len(keys)), np.arange(len(keys))
        matrices = np.stack([c.motion.matrix(int(u), 0) for u in codes])
        fresh = np.matmul(matrices[of.reshape(-1)], led[keys[:, 0]])
        # orders of moves that make no difference differ by rounding
        marks = np.rint(fresh.reshape(len(keys), -1) * 1e12).astype(np.int64)
    _, first, same = np.unique(marks, axis=0, return_index=True, return_inverse=True)
    return fresh[first], first, same.reshape(-1)


def _compose(maps: Ints, before: Ints, code: Ints, after: Ints) -> tuple[Ints, Ints]:
    """Known histories one step on: which each policy now has, and where each leads from every known state."""
    keys, index = np.unique(np.stack([before, code], 1), axis=0, return_inverse=True)
    led = after[keys[:, 1][:, None], maps[keys[:, 0]]]
    distinct, same = np.unique(led, axis=0, return_inverse=True)
    return same.reshape(-1)[index.reshape(-1)], distinct


@once
def histories_of(model: POMDP, factors: tuple[int, ...], single: bool = False) -> Histories:
    """The histories of a model's policies in some factors, which nothing but themselves moves; of their first steps only, if
    ``single``. Worked out once.
    """
    policies = model.policies[:, :1] if single else model.policies
    return Histories(component_of(model, factors), policies)
