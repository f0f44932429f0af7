"""Comparing hypotheses by the exact posterior that agents carry over trials."""

from __future__ import annotations

from typing import Any

import numpy as np

from activebmr import checks
from activebmr.agent.selection import Verdict, take_over
from activebmr.agent.settings import Learning, Selection
from activebmr.arrays import Bools, Floats, Ints, softmax
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.shared import Bank, SharedEvidence, Thoughts
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import layouts_of
from activebmr.reduction.evidence import log_odds_of_scores
from activebmr.reduction.scoring import ModelScorer

__all__ = ["ByPosterior"]


class ByPosterior:
    """See `activebmr.agent.selection.Comparing`; an adoption can be revised.

    Args:
        believing: whose posterior counts.
        space: the hypotheses.
        settings: when one of them is adopted.
        learning: how evidence fades.
        scored: keep scores of hypotheses in the tables too (for the plug-in gain).
    """

    def __init__(
        self, believing: SharedEvidence, space: HypothesisSpace, settings: Selection, learning: Learning, scored: bool
    ) -> None:
        self._believing, self._space, self._settings, self._learning = believing, space, settings, learning
        self._scorers: dict[int, ModelScorer] = {}
        if scored:
            m = believing.modality
            model, layout = believing.model, layouts_of(believing.model)[m]
            prior = layout.keep(model.pA[m])  # type: ignore[index]
            self._scorers[m] = ModelScorer(space.tables[m], prior, settings.offset, layout.order)

    def scorers(self) -> dict[int, ModelScorer]:
        return self._scorers

    def start(self, knowledge: Knowledge) -> Floats | None:
        knowledge.models = self._believing.born(knowledge.n_agents)
        return self._believing.spread(softmax(knowledge.models.log_posterior))

    def posterior(self, knowledge: Knowledge, belief: Thoughts) -> Floats | None:
        return self._believing.posterior(belief)

    def curious(self, knowledge: Knowledge) -> Bools | None:
        return knowledge.adopted < 0 if self._settings.curious else None

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        if modality == self._believing.modality:
            knowledge.models.evidence[agents, columns] += amounts

    def judge(self, knowledge: Knowledge, belief: Any, posterior: Floats | None) -> Verdict | None:
        bank: Bank = knowledge.models
        kept = self._learning.retention
        if np.ndim(kept):
            kept = checks.each_agent(kept, knowledge.n_agents, "retention of Learning")
        if np.any(np.asarray(kept) < 1.0):
            bank.evidence *= kept if np.ndim(kept) == 0 else np.asarray(kept)[:, None, None]
        log_posterior = self._believing.carry_over(belief, bank, bank.evidence, kept)
        bank.log_posterior, bank.before = log_posterior, bank.evidence.copy()
        odds = log_odds_of_scores(log_posterior)
        probabilities = softmax(log_posterior)
        best = self._believing.first[probabilities.argmax(axis=1)]
        return Verdict(self._believing.spread(probabilities), odds, best, odds > self._settings.threshold)

    def adopt(self, knowledge: Knowledge, verdict: Verdict) -> Floats | None:
        changed = np.flatnonzero(verdict.passing & (knowledge.adopted != verdict.best))
        if len(changed):
            m = self._believing.modality
            take_over(knowledge, self._space, m, changed, verdict.posterior[changed], self._settings, per_column=True)
        knowledge.adopted = np.where(verdict.passing, verdict.best, knowledge.adopted)
        return verdict.posterior
