"""Worth of the cells of one set of factors: what outcomes are expected there, what they are worth, and what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.tables import CountTable
from activebmr.model.components import Component
from activebmr.model.reading import Reading, project
from activebmr.planning.joint.blocks import Block, Own, Silent, Tables
from activebmr.planning.joint.histories import Histories, Level
from activebmr.planning.joint.keeping import keep
from activebmr.planning.joint.supports import by_support
from activebmr.planning.preferences import Wish

__all__ = ["Cells", "Part", "Worth"]

_AT_ONCE = 2**21  # numbers held at a time
_FEW = 8  # outcomes up to which a sum over them is faster one by one


@dataclass(eq=False)
class Worth:
    """Worth of cells, or of what they are looked up in ``(rows, n)``; None for what is 0."""

    utility: Floats | None = None
    state: Floats | None = None
    param: Floats | None = None

    def add(self, name: str, values: Floats | None) -> None:
        if values is not None:
            held = getattr(self, name)
            setattr(self, name, values if held is None else held + values)

    def total(self, names: Sequence[str]) -> Floats | None:
        """The sum of some terms, None for 0."""
        out = None
        for name in names:
            values = getattr(self, name)
            if values is not None:
                out = values if out is None else out + values
        return out


class Cells:
    """Worth of cells ``(rows, cells)``, looked up when it is asked for.

    Attributes:
        constant: utility that is the same for all policies, summed over the steps.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Worth, Ints | None]] = []
        self.constant = 0.0

    def add(self, worth: Worth, index: Ints | None = None) -> None:
        """Take in worth ``(rows, n)``, and which of the n each cell has."""
        self._parts.append((worth, index))

    def total(self, *names: str) -> Floats | None:
        """The sum of some terms of every cell, None for 0; without what is constant."""
        out = None
        for worth, index in self._parts:
            values = worth.total(names)
            if values is not None:
                picked = _pick(values, index)
                out = picked if out is None else out + picked
        return out


class Part:
    """Some factors of a component, which nothing but themselves moves, and what is read from them.

    Args:
        component: the component that beliefs are about.
        followed: the factors in question.
        histories: what policies make of them.
        gains: which of ``"state"`` and ``"param"`` are wanted.
        blocks: known modalities, each informing by itself.
        learned: modalities of each agent, with the known ones that inform together with them.
        silent: modalities that tell nothing.
        apart: whether novelty takes outcomes and states as if they were independent, as SPM and pymdp do.
    """

    def __init__(
        self,
        component: Component,
        followed: Component,
        histories: Histories,
        gains: Sequence[str],
        blocks: list[Block],
        learned: list[tuple[list[Block], list[Own]]],
        silent: list[Silent],
        apart: bool = False,
    ) -> None:
        self._apart = apart
        self.histories, self._blocks, self._learned, self._silent = histories, blocks, learned, silent
        self._curious, self._novel = "state" in gains, "param" in gains
        kept = [component.known.index(f) for f in followed.known]
        self._known_of = None if followed.known == component.known else project(component.known_sizes, kept)
        self._hidden = _Marginal(component, followed)
        self._wide: dict[int, tuple[Floats, Floats]] = {}
        self._last: _Place | None = None
        first = histories.by_step[0]
        self._policies_are_cells = bool((first == np.arange(len(first))).all())

    def spread(self, values: Floats, steps: int) -> Floats:
        """Cells' values to policies, summed over their steps ``(rows, n_policies)``."""
        cell = self.histories.by_step
        if steps == 1 and self._policies_are_cells and values.shape[1] == len(cell[0]):
            return values
        total = values.take(cell[0], axis=1)
        for h in range(1, steps):
            total += values.take(cell[h], axis=1)
        return total

    def cells(self, start: Ints, q: Floats, tables: Tables, agents: Ints, wanted: Sequence[Wish]) -> Cells:
        """Worth of every cell of as many steps as there are preferences for."""
        h, steps = self.histories, len(wanted)
        n_cells = h.ends[steps - 1]
        if self._known_of is not None:
            start = self._known_of[start]
        place = self._place(start, n_cells, wanted)
        out = Cells()
        for silent in self._silent:
            m = silent.modality
            if all(w.flat[m] for w in wanted):
                out.constant += sum(float(w[m][0]) for w in wanted)
            else:
                out.add(Worth(_silent_worth(silent, place)))
        if self._blocks or self._learned:
            foreseen = _Foreseen(h, self._hidden.of(q), start, steps)
            for block in self._blocks:
                self._known_block(block, foreseen, place, out)
            for blocks, own in self._learned:
                self._of_each_agent(blocks, own, foreseen.beliefs, place, tables, agents, out)
        return out

    def _place(self, start: Ints, n_cells: int, wanted: Sequence[Wish]) -> _Place:
        """Where cells are; the last answer is kept where nothing is known of the state, for it is then always the same."""
        h = self.histories
        hidden, step = h.hidden[:n_cells] if h.levels else None, h.step[:n_cells]
        if h.component.n_known > 1:
            return _Place(h.known(start, n_cells), hidden, step, wanted)
        last = self._last
        same = last is not None and last.known.shape == (len(start), n_cells) and len(last.wanted) == len(wanted)
        if not same or any(a is not b for a, b in zip(last.wanted, wanted, strict=True)):  # type: ignore[union-attr]
            last = self._last = _Place(np.zeros((len(start), n_cells), dtype=np.intp), hidden, step, wanted)
        return last  # type: ignore[return-value]

    # --- known likelihoods -----------------------------------------------------------------------------------------------
    def _known_block(self, block: Block, foreseen: _Foreseen, place: _Place, out: Cells) -> None:
        n, plain = block.n_slots, all(w.plain[m] for w in place.lists for m in block.modalities)
        # preferences of each agent, or of minus infinity (times a belief of 0), need the outcomes themselves
        table = block.table(place.lists if plain else [])
        seen, index = self._read(block.reading, table, foreseen, place)
        worth = Worth(state=information(seen[..., :n], seen[..., n]) if self._curious else None)
        out.add(worth, index)
        if not plain:
            at = block.reading.known_of[place.known]
            out.add(Worth(slots_worth(block, _pick(seen[..., :n], index), at, place)))
        elif len(place.lists) == 1:
            worth.utility = seen[..., n + 1]
        else:
            each = _pick(seen[..., n + 1 :], index)
            out.add(Worth(np.take_along_axis(each, place.which[place.step][None, :, None], axis=2)[..., 0]))

    def _read(self, reading: Reading, table: Floats, foreseen: _Foreseen, place: _Place) -> tuple[Floats, Ints | None]:
        """Expected columns ``(rows, n, width)``, and which of the n each cell has: ``(cells,)``, ``(rows, cells)`` or None."""
        known, hidden = place.known, place.hidden
        if reading.n_known == 1:
            expected = foreseen.expected(reading, table)
            return expected, _which(self.histories, known.shape[1], hidden)
        seen = reading.seen(foreseen.beliefs)
        at = reading.known_of[known]
        if hidden is None and reading.n_known <= 2 * known.shape[1]:
            wide = np.matmul(seen, self._widened(table)).reshape(len(seen), reading.n_known, table.shape[2])
            return wide, at
        out = np.empty((*known.shape, table.shape[2]))
        for part in chunks(len(known), known.shape[1] * table.shape[1] * table.shape[2]):
            x = seen[part] if hidden is None else seen[part][:, hidden]
            out[part] = np.matmul(x[:, :, None, :], table[at[part]])[:, :, 0]
        return out, None

    def _widened(self, table: Floats) -> Floats:
        """A table ``(n_known, n_hidden, width)`` as one matrix; kept together with the table, so that no other has its id."""
        held = self._wide.get(id(table))
        if held is None or held[1] is not table:
            wide = np.ascontiguousarray(table.transpose(1, 0, 2).reshape(table.shape[1], -1))
            held = keep(self._wide, id(table), (wide, table))
        return held[0]

    # --- likelihoods of each agent ---------------------------------------------------------------------------------------
    def _of_each_agent(
        self, blocks: list[Block], own: list[Own], beliefs: Floats, place: _Place, tables: Tables, agents: Ints, out: Cells
    ) -> None:
        reading, shape = own[0].reading, place.known.shape
        held = [tables[o.modality] for o in own]
        novel = self._novel and any(isinstance(t, CountTable) and t.novel[agents].any() for t in held)
        whole = Worth(np.zeros(shape), np.zeros(shape) if self._curious else None, np.zeros(shape) if novel else None)
        width = int(np.prod([t.n_outcomes for t in held])) * (blocks[0].n_slots if blocks else 1)
        seen = reading.seen(beliefs)
        groups = by_support(seen[:, 0]) if place.hidden is None else iter([(None, None)])
        for some, index in groups:
            n_states = reading.n_hidden if index is None else index.shape[1]
            for rows in chunks(shape[0] if some is None else len(some), shape[1] * n_states * (width + 8)):
                at: Ints | slice = rows if some is None else some[rows]
                part, x, where = place.of(at), seen[at], None if index is None else index[rows]
                if part.hidden is None:
                    x = x if where is None else np.take_along_axis(x, where[:, None], axis=2)
                    x = np.broadcast_to(x, (*part.known.shape, x.shape[2]))
                else:
                    x = x[:, part.hidden]
                known = reading.known_of[part.known]
                columns = known if where is None else (known[:, :, None], where[:, None, :])
                cells = self._some(blocks, own, x, known, columns, part, tables, agents[at], novel)
                for name, values in vars(cells).items():
                    if values is not None:
                        getattr(whole, name)[at] = values
        out.add(whole)

    def _some(
        self,
        blocks: list[Block],
        own: list[Own],
        x: Floats,
        at: Ints,
        columns: Ints | tuple[Ints, Ints],
        place: _Place,
        tables: Tables,
        agents: Ints,
        novel: bool,
    ) -> Worth:
        """Worth of cells at known states ``at`` with beliefs ``x`` (rows, cells, hidden) about the rest, whose place in a table
        is ``columns``.
        """
        out, ambiguity = Worth(), np.zeros(at.shape)
        joint: Floats | None = None  # (rows, cells, hidden, joint outcomes), beliefs in it
        for block in blocks:
            table = block.table([])[columns]
            joint = x[..., None] * table[..., : block.n_slots]
            ambiguity += _weighted(x, table[..., block.n_slots])
            out.add("utility", slots_worth(block, joint.sum(axis=2), at, place))
        for o in own:
            table = tables[o.modality]
            places = agents[:, None, None] * o.n_states + o.columns[columns]
            likelihood = table.likelihood[places]
            chance = likelihood[..., :-1]
            ambiguity += _weighted(x, likelihood[..., -1])
            expected = np.matmul(x[:, :, None, :], chance)[:, :, 0]
            out.add("utility", outcomes_worth(expected, o.modality, place))
            if novel and isinstance(table, CountTable):
                novelty = table.novelty[places]
                if self._apart:
                    gain = (expected * np.matmul(x[:, :, None, :], novelty)[:, :, 0]).sum(axis=2)
                else:
                    gain = _weighted(x, (chance * novelty).sum(axis=3))
                out.add("param", np.where(table.novel[agents][:, None], gain, 0.0))
            if self._curious:
                whole = x[..., None] if joint is None else joint
                joint = (whole[..., :, None] * chance[..., None, :]).reshape(*at.shape, x.shape[2], -1)
        if self._curious and joint is not None:
            out.add("state", information(np.ascontiguousarray(joint.sum(axis=2)), ambiguity))
        return out


class _Place:
    """Where cells are, and what is wanted there.

    Attributes:
        known: known joint state of each cell ``(rows, cells)``.
        hidden: hidden history of each cell ``(cells,)``, or None where hidden states never move.
        step: step of each cell ``(cells,)``.
        lists: the different preferences among the steps; ``which``: those of each step.
    """

    def __init__(self, known: Ints, hidden: Ints | None, step: Ints, wanted: Sequence[Wish]) -> None:
        self.known, self.hidden, self.step = known, hidden, step
        self.lists: list[Wish] = []
        self.which = np.zeros(len(wanted), dtype=np.intp)
        for h, w in enumerate(wanted):
            for j, held in enumerate(self.lists):
                if w is held:
                    self.which[h] = j
                    break
            else:
                self.which[h] = len(self.lists)
                self.lists.append(w)
        self.wanted = list(wanted)

    def of(self, rows: Ints | slice) -> _Place:
        """Some rows."""
        made = {id(w): w.of(rows) for w in self.wanted}
        return _Place(self.known[rows], self.hidden, self.step, [made[id(w)] for w in self.wanted])

    def by_wish(self) -> list[tuple[Wish, Ints | slice]]:
        """Each preference, and the cells that it counts for."""
        if len(self.lists) == 1:
            return [(self.lists[0], slice(None))]
        return [(w, np.flatnonzero(self.which[self.step] == j)) for j, w in enumerate(self.lists)]


class _Foreseen:
    """Hidden beliefs of all histories, and what they lead one to expect."""

    def __init__(self, histories: Histories, q: Floats, start: Ints, steps: int) -> None:
        self._histories, self._q, self._start, self._steps = histories, q, start, steps

    @cached_property
    def beliefs(self) -> Floats:
        """``(rows, n_histories, n_hidden)``."""
        return self._histories.beliefs(self._q, self._start, self._steps)

    @cached_property
    def _until(self) -> tuple[Floats | None, Floats]:
        return self._histories.until(self._q, self._start, self._steps)

    def expected(self, reading: Reading, table: Floats) -> Floats:
        """Expected columns of a table that depends on no known state ``(rows, n_histories, width)``."""
        h = self._histories
        level = h.levels[self._steps - 1] if h.levels else None
        stacked = None if level is None else h.component.motion.stacked(level.codes)
        if stacked is None or level is None:
            return np.matmul(reading.seen(self.beliefs), table[0])
        # beliefs after the last step are of no use but for what they lead one to expect
        before, now = self._until
        last = _moved_on(now, level, h.composed(self._steps - 1, stacked, reading, table))
        return last if before is None else np.concatenate([np.matmul(reading.seen(before), table[0]), last], axis=1)


def _moved_on(now: Floats, level: Level, composed: Floats) -> Floats:
    """What one more step shows ``(rows, n_histories, width)``, by ``composed`` of every code ``(n_codes, now, width)``."""
    if level.full:
        wide = np.matmul(now, level.wide(composed)).reshape(len(now), -1, composed.shape[2])
        return wide[:, : len(level.parent)] if level.places is None else wide[:, level.places]
    out = np.empty((len(now), len(level.parent), composed.shape[2]))
    for code, _, members in level.groups:
        out[:, members] = np.matmul(now[:, level.parent[members]], composed[level.codes.index(code)])
    return out


class _Marginal:
    """Beliefs about some hidden factors of a component, from those about all."""

    def __init__(self, component: Component, followed: Component) -> None:
        self._sizes = component.hidden_sizes
        self._dropped = [i for i, f in enumerate(component.hidden) if f not in followed.hidden]
        self._matrix = None
        if self._dropped and component.n_hidden <= 256:
            kept = [component.hidden.index(f) for f in followed.hidden]
            self._matrix = np.eye(followed.n_hidden)[project(component.hidden_sizes, kept)]

    def of(self, q: Floats) -> Floats:
        if not self._dropped:
            return q
        if self._matrix is not None:
            return np.matmul(q[:, None], self._matrix)[:, 0]
        tensor = q.reshape(len(q), *self._sizes)
        for axis in self._dropped[::-1]:
            tensor = np.ascontiguousarray(tensor).sum(axis=axis + 1)
        return np.ascontiguousarray(tensor).reshape(len(q), -1)


def _which(histories: Histories, n_cells: int, hidden: Ints | None) -> Ints | None:
    """History of each cell, or None where cells and histories are the same."""
    if hidden is None:
        return np.zeros(n_cells, dtype=np.intp)
    return None if histories.cells_are_histories(n_cells) else hidden


def chunks(rows: int, numbers: int) -> list[slice]:
    """Parts of a batch of so many numbers a row that can be held at a time."""
    size = max(1, _AT_ONCE // max(1, numbers))
    return [slice(a, min(a + size, rows)) for a in range(0, rows, size)]


def information(chance: Floats, ambiguity: Floats) -> Floats:
    """Entropy of expected outcomes (last axis) less their expected entropy, given minus the latter; >= 0."""
    if chance.shape[-1] > _FEW:
        p = np.maximum(chance, 1e-300)
        total = np.add.reduce(chance * np.log(p), axis=-1)
        return np.maximum(ambiguity - total, 0.0)
    total = None
    for o in range(chance.shape[-1]):
        p = chance[..., o]
        term = p * np.log(np.maximum(p, 1e-300))
        total = term if total is None else total + term
    return np.maximum(ambiguity - total, 0.0)  # type: ignore[operator]


def _pick(values: Floats, index: Ints | None) -> Floats:
    """Values ``(rows, n, ...)`` of each cell ``(rows, cells, ...)``."""
    if index is None:
        return values
    if index.ndim == 1:
        return values.take(index, axis=1)
    return values[np.arange(len(values))[:, None], index]


def _weighted(x: Floats, values: Floats) -> Floats:
    """Sum over the hidden states (last axis)."""
    return np.asarray(np.matmul(x[..., None, :], values[..., :, None])[..., 0, 0])


def _silent_worth(silent: Silent, place: _Place) -> Floats | None:
    """Expected log preference of a modality that depends on known states alone ``(rows, cells)``."""
    m, at = silent.modality, silent.reading.known_of[place.known]
    if all(w.plain[m] for w in place.lists):
        worth = [silent.worth(w, m) for w in place.lists]
        return np.take(worth[0], at) if len(worth) == 1 else np.stack(worth)[place.which[place.step][None, :], at]
    return outcomes_worth(silent.chance[at], m, place)


def outcomes_worth(expected: Floats, modality: int, place: _Place) -> Floats:
    """Expected log preference of a modality's outcomes ``(rows, cells, O)``: ``(rows, cells)``."""
    out = np.empty(expected.shape[:2])
    for w, at in place.by_wish():
        c, p = w[modality], expected[:, at]
        out[:, at] = (np.where(p > 0, c[:, None, :] if c.ndim == 2 else c, 0.0) * p).sum(axis=2)
    return out


def slots_worth(block: Block, chance: Floats, known: Ints, place: _Place) -> Floats:
    """Expected log preference of a block's slots ``(rows, cells, slots)`` at known states of the block ``(rows, cells)``."""
    out, rows = np.empty(chance.shape[:2]), np.arange(len(chance))[:, None, None]
    for w, at in place.by_wish():
        outcome = block.outcome[known[:, at]]  # (rows, cells, slots, modalities)
        value = np.zeros(outcome.shape[:3])
        for i, m in enumerate(block.modalities):
            o = outcome[..., i]  # -1 where a slot is none of this modality's
            value += np.where(o >= 0, w[m][rows, o] if w[m].ndim == 2 else w[m][o], 0.0)
        p = chance[:, at]
        out[:, at] = (np.where(p > 0, value, 0.0) * p).sum(axis=2)
    return out
