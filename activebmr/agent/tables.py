"""What agents know about each modality when their life begins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from activebmr.arrays import Floats
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.layout import layout_of, layouts_of
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP
from activebmr.reduction.scoring import ModelScorer

__all__ = ["Inheritance"]


class Inheritance:
    """Tables that agents are born with: known likelihoods are one for all, learned ones are each agent's.

    Args:
        model: likelihoods and counts.
        own: counts of each agent by modality, where they differ ``(n_agents, O_m, S_d0, ...)``.
        novelty_cutoff: see `Planner`.
    """

    def __init__(self, model: POMDP, own: Mapping[int, Floats], novelty_cutoff: float) -> None:
        self._model, self._own, self._cutoff = model, own, novelty_cutoff
        layouts, learned = layouts_of(model), model.learned_modalities
        self._known = {m: KnownTable(a, layouts[m]) for m, a in enumerate(model.A) if m not in learned}

    def of(self, n_agents: int, scorers: Mapping[int, ModelScorer] | None = None) -> list[KnownTable | CountTable]:
        """The tables of a batch, with scores of hypotheses where there is a scorer."""
        return [
            self._known[m] if m in self._known else self._counts(m, n_agents, (scorers or {}).get(m))
            for m in range(self._model.num_modalities)
        ]

    def others(self, n_agents: int) -> dict[Table, CountTable]:
        """Counts of the tables that are no likelihoods."""
        return {
            table: CountTable.start(self._model.counts_of(table), layout_of(self._model, table), n_agents, None, self._cutoff)  # type: ignore[arg-type]
            for table in self._model.learned
            if table.kind != "A"
        }

    def _counts(self, m: int, n_agents: int, scorer: ModelScorer | None) -> CountTable:
        layout = layouts_of(self._model)[m]
        table = CountTable.start(self._model.pA[m], layout, n_agents, scorer, self._cutoff)  # type: ignore[index]
        if m in self._own and len(self._own[m]) == n_agents:
            table.replace(np.arange(n_agents), layout.columns(self._own[m]), np.arange(layout.n_states))
        return table
