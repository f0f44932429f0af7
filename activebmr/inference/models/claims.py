"""What hypotheses claim about one modality, and what each predicts once it has been held against evidence."""

from __future__ import annotations

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.log_gamma import log_rise
from activebmr.model.columns import ColumnTable
from activebmr.model.components import Component
from activebmr.model.layout import layouts_of
from activebmr.model.reading import Reading

__all__ = ["Claims"]


class Claims:
    """The reduced priors of M hypotheses about a modality.

    Attributes:
        modality: the modality.
        component: component that it belongs to.
        reading: the known and hidden states that it depends on.
        columns: its columns ``(n_known, n_hidden)`` of the reading.
        reduced: counts of every column before any data, with the offset ``(n_states, M, O)``.
        common: whether all hypotheses count alike, because no hidden state tells columns apart.
        still: whether hidden states stay as they are within a trial, so that outcomes can be counted as they come in.
    """

    def __init__(self, component: Component, modality: int, table: ColumnTable, offset: float) -> None:
        layout = layouts_of(component.model)[modality]
        self.modality, self.component = modality, component
        self.reading = Reading(component, [modality])
        self.columns = self.reading.columns(modality)
        assigned = table.assignment[:, layout.order]  # (M, n_states), columns as kept
        self.reduced = np.ascontiguousarray((table.columns + offset)[assigned.T])
        self.n_states, self.n_models, self.n_outcomes = self.reduced.shape
        self.common = self.reading.n_hidden == 1
        self.still = component.motion.still
        self._hidden_of_column = np.zeros(self.n_states, dtype=np.intp)
        self._hidden_of_column[self.columns] = np.arange(self.reading.n_hidden)

    def born(self, n_agents: int) -> Floats:
        """No evidence: counts ``(n_agents, n_states, M or 1, O)``."""
        return np.zeros((n_agents, self.n_states, 1 if self.common else self.n_models, self.n_outcomes))

    def predict(self, counts: Floats, during: Floats | None, agents: Ints, rows: Ints, columns: Ints) -> Floats:
        """Probabilities of outcomes under every hypothesis ``(..., M, O)``.

        Args:
            counts: evidence of the batch, see `born`.
            during: evidence of this trial ``(rows, n_states, O)``, or None.
            agents, rows: agent and row, of the shape of ``columns`` or such that they go together.
            columns: the columns in question ``(...)``.
        """
        out = self.reduced[columns]
        out += counts[agents, columns]
        if during is not None:
            out += during[rows, columns][..., None, :]
        total = out[..., 0].copy()
        for o in range(1, self.n_outcomes):
            total += out[..., o]
        out /= total[..., None]
        return out

    def note(self, during: Floats, known: Ints, outcome: Floats, hidden: Ints | None = None) -> Floats:
        """Evidence within a trial with one more outcome ``(rows, O)``: whatever the hidden state is, it was seen in the column
        that they make; or in that of a ``hidden`` state of the reading alone.
        """
        after = during.copy()
        columns = self.columns[self.reading.known_of[known]]
        if hidden is not None:
            columns = np.take_along_axis(columns, hidden[:, None], axis=1)
        after[np.arange(len(known))[:, None], columns] += outcome[:, None, :]
        return after

    def count_trial(self, counts: Floats, during: Floats, q: Floats) -> None:
        """Add, in place, what a trial's outcomes are evidence for, where hidden states stayed as they were: as beliefs ``(rows,
        M, n_hidden)`` of the component have them at its end.
        """
        if self.common:
            counts += during[:, :, None, :]
            return
        weight = self.reading.seen(q).transpose(0, 2, 1)[:, self._hidden_of_column]  # (rows, n_states, M)
        counts += weight[..., None] * during[:, :, None, :]

    def count(self, counts: Floats, known: Ints, q: Floats, outcome: Floats) -> None:
        """Add, in place, what one outcome ``(rows, O)`` is evidence for, under smoothed beliefs ``(rows, M, n_hidden)``, where
        hypotheses count apart (those that count alike do so at the end of a trial, see `count_trial`).
        """
        columns = self.columns[self.reading.known_of[known]]
        rows = np.arange(len(known))[:, None]
        weight = self.reading.seen(q).transpose(0, 2, 1)
        counts[rows, columns] += weight[..., None] * outcome[:, None, None, :]

    def log_evidence(self, counts: Floats) -> Floats:
        """Log evidence of counts under every hypothesis, by model reduction ``(rows, M)``."""
        prior = np.broadcast_to(self.reduced, (len(counts), *self.reduced.shape))
        seen = np.broadcast_to(counts, prior.shape)
        each = log_rise(prior, seen).sum(axis=3) - log_rise(prior.sum(axis=3), seen.sum(axis=3))
        return np.ascontiguousarray(each.transpose(0, 2, 1)).sum(axis=2)
