"""What may come of a policy: every joint outcome that can occur after it, its probability, and the exact beliefs it leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.tables import KnownTable
from activebmr.model.components import Component, components_of
from activebmr.model.pomdp import POMDP
from activebmr.model.reading import Reading
from activebmr.planning.joint.blocks import LARGEST, Block, Own, Tables, TooLarge
from activebmr.planning.joint.histories import histories_of

__all__ = ["Branches", "distinct_rows"]

_CHANCE = 1e-16  # joint outcomes that are less probable cannot move a float64 sum


class Branches:
    """One step into the future of joint beliefs.

    Raises:
        ValueError: if the joint outcomes of a component are too many to branch over.
    """

    def __init__(self, model: POMDP, tables: Tables) -> None:
        self.model, self.components = model, components_of(model)
        self.histories = [histories_of(model, c.factors, True) for c in self.components]
        self._outcomes = [_Outcomes(c, tables) if c.telling else None for c in self.components]
        # a known state matters to what comes later unless every control leads to one place wherever one is
        self._matters = [
            c.motion.by_known or bool((c.known_next != c.known_next[:, :1]).any()) if c.known else False
            for c in self.components
        ]
        widths = [1 if o is None else o.width for o in self._outcomes]
        self.numbers = sum(c.n_hidden * width for c, width in zip(self.components, widths, strict=True))

    def after(
        self, belief: JointBelief, tables: Tables, agents: Ints, rows: Ints, policies: Ints
    ) -> tuple[JointBelief, Ints, Floats]:
        """Beliefs after the first step of chosen policies and each outcome that it may show.

        Args:
            belief: beliefs now.
            tables: what the agents know.
            agents: agent of each row of ``belief``.
            rows, policies: which row takes which policy ``(pairs,)``.

        Returns:
            the beliefs of all branches, the pair that each belongs to, in order, and its probability.
        """
        pair, weight = np.arange(len(rows)), np.ones(len(rows))
        known, q = [], []
        for i, (h, outcomes) in enumerate(zip(self.histories, self._outcomes, strict=True)):
            cell = h.cell[policies, 0]
            known.append(h.maps[cell, belief.known[i][rows]])
            moved = h.beliefs(belief.q(i), belief.known[i], 1)
            foreseen = moved[rows, h.hidden[cell]] if h.levels else moved[rows, 0]
            if outcomes is None:
                q.append(foreseen[pair])
                continue
            of, chance, after = outcomes.branches(foreseen, known[i], tables, agents[rows])
            old, new = _pairs(pair, of, len(rows))
            q = [x[old] for x in q]
            pair, weight = pair[old], weight[old] * chance[new]
            q.append(after[new])
        with np.errstate(divide="ignore"):
            logs = [np.log(x) for x in q]
        return JointBelief([k[pair] for k in known], logs, q), pair, weight

    def distinct(self, belief: JointBelief, source: Ints) -> tuple[Ints, Ints]:
        """First of each set of rows that have the same source and, as far as the future goes, the same beliefs; and which set
        each row is in.
        """
        columns: list[np.ndarray] = []
        for i, c in enumerate(self.components):
            if self._matters[i]:
                columns.append(belief.known[i])
            if c.n_hidden > 1:
                columns += list(np.round(belief.q(i), 12).T)
        return distinct_rows(source, columns)


class _Outcomes:
    """Joint outcomes of one component's telling modalities."""

    def __init__(self, component: Component, tables: Tables) -> None:
        self.component = component
        known = [m for m in component.telling if isinstance(tables[m], KnownTable)]
        own = [m for m in component.telling if not isinstance(tables[m], KnownTable)]
        self.reading = Reading(component, component.telling)
        try:
            self.block = Block(component, tables, known, self.reading) if known else None
            self.width = self.block.n_slots if self.block is not None else 1
            self.width *= int(np.prod([component.model.num_outcomes[m] for m in own], dtype=float))
            if self.width * self.reading.n_hidden > LARGEST:
                raise TooLarge(self.width * self.reading.n_hidden)
        except TooLarge as error:
            names = [component.model.labels["modality"][m] for m in component.telling]
            raise ValueError(
                f"search of Planner must not be 'outcomes' with depth > 0 for this model: modalities {names} have too many "
                f"joint outcomes ({error.args[0]:.3g} numbers, at most {LARGEST}); choose search='states', or depth 0"
            ) from None
        self.own = [Own(component, m, self.reading) for m in own]

    def branches(self, q: Floats, known: Ints, tables: Tables, agents: Ints) -> tuple[Ints, Floats, Floats]:
        """Per branch its row (ascending), its probability and the belief after it ``(branches, n_hidden)``."""
        at = self.reading.known_of[known]
        likelihood = np.ones((len(q), self.reading.n_hidden, 1)) if self.block is None else self.block.chance[at]
        for o in self.own:
            places = (agents * o.n_states)[:, None] + o.columns[at]
            chance = tables[o.modality].likelihood[places, :-1]
            likelihood = (likelihood[..., None] * chance[:, :, None, :]).reshape(*likelihood.shape[:2], -1)
        seen = self.reading.seen(q[:, None])
        chance = np.matmul(seen, likelihood)[:, 0]
        row, slot = np.nonzero(chance > _CHANCE)
        of_block = likelihood[row, :, slot]
        after = q[row] * (of_block if self.reading.project is None else of_block[:, self.reading.hidden_of])
        total = after.sum(axis=1)
        return row, chance[row, slot], after / total[:, None]


def _pairs(old: Ints, new: Ints, n: int) -> tuple[Ints, Ints]:
    """All combinations of entries of two ascending lists that belong to the same of n pairs, in order."""
    count = np.bincount(new, minlength=n)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    times = count[old]
    first = np.repeat(np.arange(len(old)), times)
    within = np.arange(len(first)) - np.repeat(np.cumsum(times) - times, times)
    return first, start[old[first]] + within


def distinct_rows(source: Ints, columns: Sequence[np.ndarray]) -> tuple[Ints, Ints]:
    """First row of each set of rows with the same source and the same values in all columns, by source; and which set each row
    is in.
    """
    if not columns:
        _, first, same = np.unique(source, return_index=True, return_inverse=True)
        return first, same.reshape(-1)
    mark = np.zeros(len(source))
    for k, column in enumerate(columns):
        # brings equal rows together; whether neighbours of one mark are equal is checked below
        mark += column * (0.1 + 0.01 * np.sqrt(k + 2.0))
    order = np.lexsort((mark, source))
    fresh = np.ones(len(order), dtype=bool)
    mark, whose = mark[order], source[order]
    alike = ((mark[1:] == mark[:-1]) & (whose[1:] == whose[:-1])).nonzero()[0]
    if len(alike):
        one, other = order[alike], order[alike + 1]
        differ = np.zeros(len(alike), dtype=bool)
        for column in columns:
            differ |= column[one] != column[other]
        fresh[alike + 1] = differ
    same = np.empty(len(order), dtype=np.intp)
    same[order] = np.cumsum(fresh) - 1
    return order[fresh], same
