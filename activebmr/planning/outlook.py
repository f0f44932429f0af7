"""Expected free energy of policies under joint beliefs: utility, and gains about states and parameters; and what may come of
each policy, for a search that branches over outcomes.

Worth is worked out per *cell* (`activebmr.planning.histories`) and summed over the cells of each policy. Modalities of one
component inform together (what two of them both tell counts once) or, where asked, each by itself, summed; different components
are independent of each other, and their gains add up.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.components import Component, components_of
from activebmr.model.pomdp import POMDP
from activebmr.model.reading import Reading
from activebmr.planning.blocks import LARGEST, Block, Own, Silent, Tables, TooLarge
from activebmr.planning.evaluation import Terms
from activebmr.planning.histories import Histories, histories_of

__all__ = ["Outlook", "Wanted"]

Wanted = Sequence[Sequence[Floats]]
"""Log preferences of the steps ahead: per step and modality ``(O_m,)`` or, where agents differ, ``(rows, O_m)``."""

_AT_ONCE = 2**22  # numbers held at a time


class Outlook:
    """What the policies of a model promise.

    Args:
        model: the model.
        tables: what is known about each modality; those of learned ones are not looked at here.
        gains: which of ``"state"`` and ``"param"`` are wanted.
        together: whether the modalities of a component inform together.
        single: look at the first step of policies only.
    """

    def __init__(
        self, model: POMDP, tables: Tables, gains: Sequence[str], together: bool = True, single: bool = False
    ) -> None:
        self.model, self.gains = model, tuple(gains)
        self.histories = histories_of(model, single)
        self.n_policies = len(model.policies)
        self.parts = [
            _Part(c, h, tables, self.gains, together) for c, h in zip(components_of(model), self.histories, strict=True)
        ]

    def terms(self, belief: JointBelief, tables: Tables, agents: Ints, wanted: Wanted) -> Terms:
        """Terms of every policy, summed over as many steps as there are preferences for.

        Args:
            belief: beliefs of the rows now.
            tables: what the agents know.
            agents: agent of each row.
            wanted: see `Wanted`.
        """
        steps = len(wanted)
        out = Terms.zeros(belief.rows, self.n_policies)
        if steps == 0:
            return out
        for i, part in enumerate(self.parts):
            cells = part.cells(belief.known[i], belief.q(i), tables, agents, wanted)
            for name, values in zip(("utility", "state", "param"), cells, strict=True):
                if values is not None:
                    getattr(out, name).__iadd__(part.spread(values, steps))
        return out


class _Part:
    """One component's share."""

    def __init__(
        self, component: Component, histories: Histories, tables: Tables, gains: Sequence[str], together: bool
    ) -> None:
        self.component, self.histories = component, histories
        self.curious, self.novel = "state" in gains, "param" in gains
        self.apart = not together  # SPM's and pymdp's novelty takes outcomes and states as if they were independent
        silent = [m for m in component.modalities if m not in component.telling]
        self.silent = [Silent(component, tables, m) for m in silent if isinstance(tables[m], KnownTable)]
        known = [m for m in component.telling if isinstance(tables[m], KnownTable)]
        own = [m for m in component.modalities if not isinstance(tables[m], KnownTable)]
        self.groups: list[tuple[list[Block], list[Own]]] = []
        if together and len(component.telling) > 1:
            try:
                self.groups = [_joined(component, tables, known, own)]
            except TooLarge as error:
                names = [component.model.labels["modality"][m] for m in component.telling]
                warnings.warn(
                    f"modalities {names[:4]}{'...' if len(names) > 4 else ''} inform separately here, their gains are summed: "
                    f"a table of their joint outcomes would hold {error.args[0]:.3g} numbers, more than {LARGEST} "
                    "(Planner(modalities='separate') does so without this warning)",
                    stacklevel=2,
                )
        if not self.groups:
            self.groups = [([Block(component, tables, [m])], []) for m in known] + [([], [Own(component, m)]) for m in own]
        self._wide: dict[int, Floats] = {}
        self._kept: dict[int, Floats] = {}

    def spread(self, values: Floats, steps: int) -> Floats:
        """Cells' values ``(rows, cells)`` to policies, summed over their steps ``(rows, n_policies)``."""
        cell = self.histories.cell
        if steps == 1:
            return np.take(values, cell[:, 0], axis=1)
        total = np.take(values, cell[:, 0], axis=1)
        for h in range(1, steps):
            total += np.take(values, cell[:, h], axis=1)
        return total

    def cells(
        self, start: Ints, q: Floats, tables: Tables, agents: Ints, wanted: Wanted
    ) -> tuple[Floats, Floats | None, Floats | None]:
        """Utility, and gains about states and parameters, of every cell ``(rows, cells)``; None for what is 0."""
        steps, rows = len(wanted), len(start)
        n_cells = self.histories.ends[steps - 1]
        known = self.histories.known(start, n_cells)
        beliefs = self.histories.beliefs(q, start, steps) if self.groups else q[:, None]
        hidden = self.histories.hidden[:n_cells] if self.histories.levels else None
        step = self.histories.step[:n_cells]
        utility, state, param = np.zeros((rows, n_cells)), None, None
        for s in self.silent:
            utility += _silent_worth(s, known, step, wanted)
        for blocks, own in self.groups:
            if not own:
                u, g = self._known_block(blocks[0], beliefs, hidden, known, step, wanted)
                w = None
            else:
                u, g, w = self._learned(blocks, own, beliefs, hidden, known, step, tables, agents, wanted)
            utility += u
            state = g if state is None else (state if g is None else state + g)
            param = w if param is None else (param if w is None else param + w)
        return utility, state, param

    # --- known likelihoods -----------------------------------------------------------------------------------------------
    def _known_block(
        self, block: Block, beliefs: Floats, hidden: Ints | None, known: Ints, step: Ints, wanted: Wanted
    ) -> tuple[Floats, Floats | None]:
        # preferences of each agent, or of minus infinity (times a belief of 0), need the outcomes themselves
        n = block.n_slots
        shared = all(w[m].ndim == 1 and w[m].min() > -np.inf for w in wanted for m in block.modalities)
        lists, which = _distinct_wishes(wanted, block.modalities) if shared else ([], np.zeros(len(wanted), dtype=np.intp))
        table = block.table(lists)
        seen, index = self._read(block.reading, table, beliefs, hidden, known)
        gain = _information(seen[..., :n], seen[..., n]) if self.curious else None
        worth = seen[..., n + 1 :]
        if not shared:
            spread, at = _pick(seen[..., :n], index), block.reading.known_of[known]
            return _own_worth(block, spread, at, step, wanted), None if gain is None else _pick(gain, index)
        if worth.shape[2] == 1:
            utility = _pick(worth[..., 0], index)
        else:
            utility = np.take_along_axis(_pick(worth, index), which[step][None, :, None], axis=2)[..., 0]
        return utility, None if gain is None else _pick(gain, index)

    def _read(
        self, reading: Reading, table: Floats, beliefs: Floats, hidden: Ints | None, known: Ints
    ) -> tuple[Floats, Ints | None]:
        """Expected columns ``(rows, n, width)``, and which of the n each cell has: ``(cells,)``, ``(rows, cells)`` or None."""
        seen = reading.seen(beliefs)
        if reading.n_known == 1:
            expected = np.matmul(seen, table[0])
            return expected, (np.zeros(known.shape[1], dtype=np.intp) if hidden is None else hidden)
        at = reading.known_of[known]
        if hidden is None and reading.n_known <= 2 * known.shape[1]:
            key = id(table)
            if key not in self._wide:
                if len(self._wide) > 64:
                    self._wide.clear()
                    self._kept.clear()
                self._wide[key] = np.ascontiguousarray(table.transpose(1, 0, 2).reshape(table.shape[1], -1))
                self._kept[key] = table  # so that no other table can have its id
            wide = np.matmul(seen, self._wide[key]).reshape(len(seen), reading.n_known, table.shape[2])
            return wide, at
        out = np.empty((*known.shape, table.shape[2]))
        for part in _chunks(len(known), known.shape[1] * table.shape[1] * table.shape[2]):
            x = seen[part] if hidden is None else seen[part][:, hidden]
            out[part] = np.matmul(x[:, :, None, :], table[at[part]])[:, :, 0]
        return out, None

    # --- likelihoods of each agent ---------------------------------------------------------------------------------------
    def _learned(
        self,
        blocks: list[Block],
        own: list[Own],
        beliefs: Floats,
        hidden: Ints | None,
        known: Ints,
        step: Ints,
        tables: Tables,
        agents: Ints,
        wanted: Wanted,
    ) -> tuple[Floats, Floats | None, Floats | None]:
        reading = own[0].reading
        rows, n_cells = known.shape
        utility = np.zeros((rows, n_cells))
        state = np.zeros((rows, n_cells)) if self.curious else None
        novel = self.novel and any(isinstance(t := tables[o.modality], CountTable) and t.novel[agents].any() for o in own)
        param = np.zeros((rows, n_cells)) if novel else None
        width = int(np.prod([tables[o.modality].n_outcomes for o in own])) * (blocks[0].n_slots if blocks else 1)
        for part in _chunks(rows, n_cells * reading.n_hidden * (width + 8)):
            at = reading.known_of[known[part]]
            x = reading.seen(beliefs[part])
            x = np.broadcast_to(x, (len(at), n_cells, x.shape[2])) if hidden is None else x[:, hidden]
            u, g, w = self._learned_part(blocks, own, x, at, step, tables, agents[part], _of(wanted, part))
            utility[part] = u
            if state is not None:
                state[part] = g
            if param is not None:
                param[part] = w
        return utility, state, param

    def _learned_part(
        self,
        blocks: list[Block],
        own: list[Own],
        x: Floats,
        at: Ints,
        step: Ints,
        tables: Tables,
        agents: Ints,
        wanted: Wanted,
    ) -> tuple[Floats, Floats, Floats]:
        utility, ambiguity, param = np.zeros(at.shape), np.zeros(at.shape), np.zeros(at.shape)
        joint: Floats | None = None  # (rows, cells, hidden, joint outcomes), beliefs in it
        for block in blocks:
            table = block.table([])[at]
            joint = x[..., None] * table[..., : block.n_slots]
            ambiguity += _weighted(x, table[..., block.n_slots])
            utility += _own_worth(block, joint.sum(axis=2), at, step, wanted)
        for o in own:
            table = tables[o.modality]
            places = agents[:, None, None] * o.n_states + o.columns[at]
            likelihood = table.likelihood[places]
            chance = likelihood[..., :-1]
            ambiguity += _weighted(x, likelihood[..., -1])
            expected = np.matmul(x[:, :, None, :], chance)[:, :, 0]
            utility += _worth(expected, o.modality, step, wanted)
            if self.novel and isinstance(table, CountTable):
                novelty = table.novelty[places]
                if self.apart:
                    gain = (expected * np.matmul(x[:, :, None, :], novelty)[:, :, 0]).sum(axis=2)
                else:
                    gain = _weighted(x, (chance * novelty).sum(axis=3))
                param += np.where(table.novel[agents][:, None], gain, 0.0)
            if joint is None:
                joint = x[..., None] * chance
            else:
                joint = (joint[..., :, None] * chance[..., None, :]).reshape(*joint.shape[:3], -1)
        assert joint is not None
        return utility, _information(np.ascontiguousarray(joint.sum(axis=2)), ambiguity), param


def _joined(
    component: Component, tables: Tables, known: list[int], own: list[int]
) -> tuple[list[Block], list[Own]]:
    """All modalities of a component, read together."""
    if not own:
        return [Block(component, tables, known)], []
    reading = Reading(component, [*known, *own])
    blocks = [Block(component, tables, known, reading)] if known else []
    size = reading.n_hidden * (blocks[0].n_slots if blocks else 1)
    size *= int(np.prod([component.model.num_outcomes[m] for m in own], dtype=float))
    if size > LARGEST:
        raise TooLarge(size)
    return blocks, [Own(component, m, reading) for m in own]


def _chunks(rows: int, numbers: int) -> list[slice]:
    """Parts of a batch of so many numbers a row that can be held at a time."""
    size = max(1, _AT_ONCE // max(1, numbers))
    return [slice(a, min(a + size, rows)) for a in range(0, rows, size)]


def _information(chance: Floats, ambiguity: Floats) -> Floats:
    """Entropy of expected outcomes (last axis) less their expected entropy, given minus the latter."""
    total = chance[..., 0] * np.log(np.where(chance[..., 0] > 0, chance[..., 0], 1.0))
    for o in range(1, chance.shape[-1]):
        p = chance[..., o]
        total += p * np.log(np.where(p > 0, p, 1.0))
    return np.maximum(ambiguity - total, 0.0)


def _pick(values: Floats, index: Ints | None) -> Floats:
    """Values ``(rows, n, ...)`` of each cell ``(rows, cells, ...)``."""
    if index is None:
        return values
    if index.ndim == 1:
        return np.take(values, index, axis=1)
    return values[np.arange(len(values))[:, None], index]


def _weighted(x: Floats, values: Floats) -> Floats:
    """Sum over the hidden states (last axis)."""
    return np.asarray(np.matmul(x[..., None, :], values[..., :, None])[..., 0, 0])


def _differs(wanted: Sequence[Floats], modality: int) -> bool:
    return wanted[modality].ndim == 2


def _rows_of(wanted: Sequence[Floats], part: slice) -> Sequence[Floats]:
    return [w[part] if w.ndim == 2 else w for w in wanted]


def _of(wanted: Wanted, part: slice) -> Wanted:
    return [_rows_of(w, part) for w in wanted]


def _distinct_wishes(wanted: Wanted, modalities: Sequence[int]) -> tuple[list[Sequence[Floats]], Ints]:
    """Different preferences among the steps, and which of them each step has."""
    lists: list[Sequence[Floats]] = []
    which = np.zeros(len(wanted), dtype=np.intp)
    for h, w in enumerate(wanted):
        for j, known in enumerate(lists):
            if all(w[m] is known[m] or np.array_equal(w[m], known[m]) for m in modalities):
                which[h] = j
                break
        else:
            which[h] = len(lists)
            lists.append(w)
    return lists, which


def _silent_worth(silent: Silent, known: Ints, step: Ints, wanted: Wanted) -> Floats:
    """Expected log preference of a modality that depends on known states alone ``(rows, cells)``."""
    at = silent.reading.known_of[known]
    m = silent.modality
    if not any(_differs(w, m) for w in wanted):
        lists, which = _distinct_wishes(wanted, [m])
        worth = np.stack([silent.worth(w[m]) for w in lists])
        return np.asarray(worth[which[step][None, :], at]) if len(lists) > 1 else np.take(worth[0], at)
    return _worth(silent.chance[at], m, step, wanted)


def _worth(expected: Floats, modality: int, step: Ints, wanted: Wanted) -> Floats:
    """Expected log preference of a modality's outcomes ``(rows, cells, O)`` at each cell ``(rows, cells)``."""
    out = np.empty(expected.shape[:2])
    for h, w in enumerate(wanted):
        at = step == h
        c = w[modality]
        p = expected[:, at]
        worth = np.where(p > 0, c[:, None, :] if c.ndim == 2 else c, 0.0) * p
        out[:, at] = worth.sum(axis=2)
    return out


def _own_worth(block: Block, chance: Floats, known: Ints, step: Ints, wanted: Wanted) -> Floats:
    """Expected log preference of a block's slots ``(rows, cells, slots)``, at known states of the block or the component."""
    total = np.zeros(chance.shape[:2])
    rows = np.arange(len(chance))[:, None, None]
    for h, w in enumerate(wanted):
        at = np.flatnonzero(step == h)
        outcome = block.outcome[known[:, at]]  # (rows, cells, slots, modalities)
        value = np.zeros(outcome.shape[:3])
        for i, m in enumerate(block.modalities):
            value += w[m][rows, outcome[..., i]] if w[m].ndim == 2 else w[m][outcome[..., i]]
        p = chance[:, at]
        total[:, at] = (np.where(p > 0, value, 0.0) * p).sum(axis=2)
    return total
