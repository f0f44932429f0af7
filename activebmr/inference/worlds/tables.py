"""Where the columns of a world's tables come from: known, learned by the agents, or claimed by models of the world.

All tables are arrays ``(n_agents or 1, n_models or 1, n_columns, n_outcomes)``, columns in C order of the table's axes.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from activebmr.arrays import Floats
from activebmr.dirichlet import column_information_gain
from activebmr.inference.knowledge import Knowledge
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import layout_of
from activebmr.model.naming import Key, Table, table_of
from activebmr.model.pomdp import POMDP

__all__ = ["Claimed", "Known", "Learned", "Source", "claims_of", "source_of"]


_MANY = 1e12  # counts of what is known


class Source(Protocol):
    """Where one table comes from.

    Attributes:
        by_agent, by_model: whether it differs between agents, and between models.
        curious: whether there is something to learn about it.
    """

    by_agent: bool
    by_model: bool
    curious: bool

    def probabilities(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        """The table as believed; ``counts``: evidence that each model has ``(n_agents, M, n_columns, n_outcomes)``."""
        ...

    def novelty(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        """Information that each outcome would give about its column, nats, of the same shape."""
        ...

    def counted(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        """Dirichlet counts, of the same shape: of what is known, so many that nothing adds to them."""
        ...


class Known:
    """A table that everybody knows."""

    by_agent, by_model, curious = False, False, False

    def __init__(self, columns: Floats) -> None:
        self._columns = columns[None, None]

    def probabilities(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        return self._columns

    def novelty(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        return np.zeros_like(self._columns)

    def counted(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        return _MANY * self._columns


class Learned:
    """A table that agents learn, whichever model of the world is true: it is part of their knowledge."""

    by_agent, by_model, curious = True, False, True

    def __init__(self, model: POMDP, key: Key) -> None:
        self._key = key
        order = layout_of(model, key).order
        self._plain = None if np.array_equal(order, np.arange(len(order))) else np.argsort(order)

    def _in_order(self, flat: Floats, n_agents: int) -> Floats:
        table = flat.reshape(n_agents, -1, flat.shape[1])
        return (table if self._plain is None else table[:, self._plain])[:, None]

    def probabilities(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        table = knowledge.counted(self._key)
        return self._in_order(table.likelihood[:, :-1], len(table.counts))

    def novelty(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        table = knowledge.counted(self._key)
        novelty = self._in_order(table.novelty, len(table.counts))
        return np.where(table.novel[:, None, None, None], novelty, 0.0)

    def counted(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        table = knowledge.counted(self._key)
        return self._in_order(table.counts.reshape(-1, table.n_outcomes), len(table.counts))


class Claimed:
    """A table about which every model of the world says something: counts, which it learns on from evidence of its own, or
    values.

    Attributes:
        prior: counts, or values, before any data ``(M, n_columns, n_outcomes)``.
        learns: models that give counts ``(M,)``.
    """

    by_model = True

    def __init__(self, prior: Floats, sharp: np.ndarray) -> None:
        self.prior, self.learns = prior, ~sharp
        self.by_agent = self.curious = bool(self.learns.any())
        self._sharp = (prior / prior.sum(axis=2, keepdims=True))[None]

    def born(self, n_agents: int) -> Floats:
        """No evidence."""
        return np.zeros((n_agents, *self.prior.shape))

    def counts(self, evidence: Floats) -> Floats:
        """Counts with evidence; where the prior is 0, which is structural, they stay 0."""
        return np.where(self.prior > 0, self.prior + evidence, 0.0)

    def probabilities(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        if counts is None:
            return self._sharp
        held = self.counts(counts)
        held /= held.sum(axis=3, keepdims=True)
        return held if self.learns.all() else np.where(self.learns[:, None, None], held, self._sharp)

    def novelty(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        if counts is None:
            return np.zeros_like(self._sharp)
        gain = column_information_gain(self.counts(counts), axis=3)
        return np.where(self.learns[:, None, None], gain, 0.0)

    def counted(self, knowledge: Knowledge, counts: Floats | None) -> Floats:
        known = _MANY * self._sharp
        return known if counts is None else np.where(self.learns[:, None, None], self.counts(counts), known)


def claims_of(model: POMDP, space: HypothesisSpace) -> dict[Key, Claimed]:
    """What distinct hypotheses claim about each table; of a model of its own all that it learns."""
    if space.models:
        out = {}
        for table in model.learned:
            if table.kind != "E":
                counts = model.counts_of(table)
                assert counts is not None
                columns = counts.reshape(len(counts), -1).T
                key: Key = int(table.index) if table.kind == "A" else table
                out[key] = Claimed(columns[None], np.zeros(1, dtype=bool))
        return out
    return {key: Claimed(t.columns[t.assignment], space.sharp[key]) for key, t in space.tables.items()}


def source_of(model: POMDP, table: Table, claims: dict[Key, Claimed]) -> Source:
    """Where a table comes from."""
    key: Key = int(table.index) if table.kind == "A" else table
    if key in claims:
        return claims[key]
    if table_of(key) in model.learned:
        return Learned(model, key)
    values = model.values_of(table)
    return Known(np.ascontiguousarray(values.reshape(len(values), -1).T))
