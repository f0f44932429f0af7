"""How factors move for agents of whom each expects its own transitions, and what a move would tell about them.

What is predicted is E[B], column by column the mean of an agent's own counts; what one move would tell about a column is W of
its counts, see `activebmr.dirichlet.information_gain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.tables import CountTable
from activebmr.model.layout import Dynamics, dynamics_of
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP

__all__ = ["LearnedDynamics", "dynamics_for"]

_AT_ONCE = 2**22  # numbers of tables held at a time


class LearnedDynamics(Dynamics):
    """Dynamics of rows whose agents have learned the transitions of some factors; others move as the model says.

    Structural zeros stay zero, so that what is set (or stays as it is) in the model is so for every agent: only factors of
    kind ``"general"`` differ.

    Args:
        shared: dynamics of the model.
        tables: counts of each learned factor of kind ``"general"``.
        agents: agent of each row ``(rows,)``.
    """

    def __init__(self, shared: Dynamics, tables: Mapping[int, CountTable], agents: Ints) -> None:
        self.model, self.kind, self.target, self._flat = shared.model, shared.kind, shared.target, shared._flat
        self._shared, self._tables, self._agents = shared, tables, agents
        self.learned = tuple(tables)

    def take(self, rows: Ints) -> LearnedDynamics:
        return LearnedDynamics(self._shared, self._tables, self._agents[rows])

    def after(self, marginals: Sequence[Floats], factor: int) -> Floats:
        table = self._tables.get(factor)
        if table is None:
            return self._shared.after(marginals, factor)
        return self._expected(table.likelihood[:, :-1], self.parents(marginals, factor), factor)

    def step(self, marginals: Sequence[Floats], factor: int, controls: Ints) -> Floats:
        table = self._tables.get(factor)
        if table is None:
            return self._shared.step(marginals, factor, controls)
        return self._expected(table.likelihood[:, :-1], self.parents(marginals, factor), factor, controls)[:, 0]

    def novelty(self, marginals: Sequence[Floats], factor: int, after: Floats, controls: Ints | None = None) -> Floats:
        """Expected information about a factor's transitions, nats: W of its columns, as if states before and after a move were
        independent (pymdp, SPM).

        Args:
            marginals: of all factors before the move.
            factor: one of those learned.
            after: its states after the move, under each control ``(rows, U_f, S_f)``, or under ``controls`` ``(rows, 1, S_f)``.
            controls: of the factor ``(rows,)``; None for every one.

        Returns:
            ``(rows, U_f)``, or ``(rows, 1)``; 0 for agents that have nothing left to learn about the table.
        """
        table = self._tables[factor]
        novel = table.novel[self._agents]
        if not novel.any():
            return np.zeros(after.shape[:2])
        weight = self._expected(table.novelty, self.parents(marginals, factor), factor, controls)
        gain = np.matmul(after[:, :, None, :], weight[:, :, :, None])[:, :, 0, 0]
        return np.where(novel[:, None], np.maximum(gain, 0.0), 0.0)

    def _expected(self, columns: Floats, parents: Floats, factor: int, controls: Ints | None = None) -> Floats:
        """Expectation over parents ``(rows, n)`` of agents' columns ``(n_agents * n * U_f, K)``, under every control or under
        one for each row: ``(rows, U_f or 1, K)``.
        """
        n, n_controls, width = parents.shape[1], self.model.num_controls[factor], columns.shape[1]
        whole = columns.reshape(-1, n, n_controls, width)
        size = max(1, _AT_ONCE // (n * width * (n_controls if controls is None else 1)))
        out = np.empty((len(parents), n_controls if controls is None else 1, width))
        for part in (slice(a, a + size) for a in range(0, len(parents), size)):
            who = self._agents[part]
            theirs = whole[who] if controls is None else whole[who, :, controls[part]][:, :, None]
            # a product per row: its rounding must not depend on how many rows there are
            out[part] = np.matmul(parents[part, None, None, :], theirs.transpose(0, 2, 1, 3))[:, :, 0]
        return out


def dynamics_for(model: POMDP, others: Mapping[Table, CountTable], agents: Ints) -> Dynamics:
    """How factors move in rows of some agents, whose counts ``others`` (see `Knowledge`) may hold transitions."""
    shared = dynamics_of(model)
    tables = {int(t.index): held for t, held in others.items() if t.kind == "B" and shared.kind[int(t.index)] == "general"}
    return LearnedDynamics(shared, tables, agents) if tables else shared
