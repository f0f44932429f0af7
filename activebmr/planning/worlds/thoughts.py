"""What is imagined about a world: which models of it may be true, what each believes, and what it knows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.worlds.beliefs import WorldBelief
from activebmr.inference.worlds.world import World
from activebmr.model.naming import Table

__all__ = ["Columns", "Thoughts", "thoughts_of"]

_LEAST = float(np.exp(2 * LOG_FLOOR))
"""Share of the best model's probability below which a model is not thought of."""


@dataclass(frozen=True, eq=False)
class Thoughts:
    """Beliefs of some rows about one world; only models that may be true are listed.

    Attributes:
        agents: agent of each row ``(rows,)``.
        row, model: row and model of each pair that is thought of ``(pairs,)``, rows ascending.
        weight: probability of the model ``(pairs,)``; those of a row, over all worlds, sum to 1.
        q: per component probabilities of its hidden joint states: ``(pairs, n_hidden)`` where models differ in it, else
            ``(rows, n_hidden)``.
        known: per component the joint state of its known factors ``(rows,)``.
        origins: per factor whose initial states are learned the probability of each of these together with each hidden joint
            state ``(pairs or rows, S_f, n_hidden)``; left out where nothing more is to be learned about them.
    """

    agents: Ints
    row: Ints
    model: Ints
    weight: Floats
    q: list[Floats]
    known: list[Ints]
    origins: dict[int, Floats] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.agents)

    def total(self, values: Floats) -> Floats:
        """Sums over the pairs of each row: ``(pairs, ...)`` to ``(rows, ...)``."""
        out = np.zeros((self.rows, *values.shape[1:]))
        if len(values):
            first = np.flatnonzero(np.diff(self.row, prepend=-1))
            out[self.row[first]] = np.add.reduceat(values, first, axis=0)
        return out

    def take(self, rows: Ints, world: World) -> Thoughts:
        """Some rows, in any order and number."""
        start = np.searchsorted(self.row, np.arange(self.rows + 1))
        count = (start[1:] - start[:-1])[rows]
        row = np.repeat(np.arange(len(rows)), count)
        pairs = np.repeat(start[rows] - np.cumsum(count) + count, count) + np.arange(len(row))
        q = [x[pairs] if t else x[rows] for x, t in zip(self.q, world.touched, strict=True)]
        known = [k[rows] for k in self.known]
        origins = {f: x[pairs] if world.touched[world.home[f]] else x[rows] for f, x in self.origins.items()}
        return Thoughts(self.agents[rows], row, self.model[pairs], self.weight[pairs], q, known, origins)


def thoughts_of(world: World, belief: WorldBelief, weights: Floats, agents: Ints) -> Thoughts:
    """Thoughts of some agents; ``weights``: probabilities of the world's models ``(len(agents), M)``."""
    row, model = np.nonzero(weights > _LEAST)
    units = [(agents[row], model) if touched else (agents, 0) for touched in world.touched]
    q = [np.exp(log[at]) for log, at in zip(belief.log, units, strict=True)]
    # in one order in memory: products must not depend on how many rows there are
    origins = {f: np.ascontiguousarray(x[units[world.home[f]]] * q[world.home[f]][:, None]) for f, x in belief.origins.items()}
    return Thoughts(agents, row, model, weights[row, model], q, [k[agents] for k in belief.known], origins)


class Columns:
    """The tables of a world as they are believed now, and what follows from single columns."""

    def __init__(self, world: World, belief: WorldBelief, knowledge: Knowledge) -> None:
        self._world, self._belief, self._knowledge = world, belief, knowledge
        self._made: dict[tuple[str, str, int], Floats] = {}

    def _held(self, what: str, kind: str, index: int) -> Floats:
        key = what, kind, index
        if key not in self._made:
            self._made[key] = getattr(self, f"_{what}")(kind, index)
        return self._made[key]

    def _table(self, kind: str, index: int) -> Floats:
        return self._world.table(kind, index, self._knowledge, self._belief)

    def _entropy(self, kind: str, index: int) -> Floats:
        p = self._held("table", kind, index)
        return np.asarray(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=3))

    def _novelty(self, kind: str, index: int) -> Floats:
        key = index if kind == "A" else Table(kind, index)
        return self._world.source(kind, index).novelty(self._knowledge, self._belief.evidence(key))  # type: ignore[arg-type]

    def _gain(self, kind: str, index: int) -> Floats:
        table, novelty = self._held("table", kind, index), self._held("novelty", kind, index)
        return np.asarray((table * novelty).sum(axis=3))

    def at(self, what: str, kind: str, index: int, agents: Ints, models: Ints, columns: Ints) -> Floats:
        """Of units (agent and model) ``(n,)`` what is asked for at columns ``(n, k)`` (or ``(k,)``, the same for all).

        ``what``: ``"table"`` ``(n, k, n_outcomes)``; ``"novelty"`` likewise, the information in nats that each outcome gives
        about its column; ``"entropy"`` of a column, and its expected ``"gain"`` ``(n, k)``.
        """
        held = self._held(what, kind, index)
        a = agents[:, None] if len(held) > 1 else np.zeros((1, 1), dtype=np.intp)
        m = models[:, None] if held.shape[1] > 1 else np.zeros((1, 1), dtype=np.intp)
        return held[a, m, np.atleast_2d(columns)]

    def counts(self, kind: str, index: int, agents: Ints, models: Ints) -> Floats:
        """Counts of the only column of a table that is learned, of units ``(n, n_outcomes)``; large ones where it is known."""
        held = self._world.source(kind, index).counted(self._knowledge, self._belief.evidence(Table(kind, index)))
        at = (
            agents if len(held) > 1 else np.zeros(1, dtype=np.intp),
            models if held.shape[1] > 1 else np.zeros(1, dtype=np.intp),
        )
        return np.broadcast_to(held[(*at, 0)], (len(agents), held.shape[3]))
