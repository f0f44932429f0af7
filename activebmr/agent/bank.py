"""Comparing hypotheses by the exact posterior that agents carry over trials."""

from __future__ import annotations

from typing import Any

import numpy as np

from activebmr import checks
from activebmr.agent.selection import Verdict, take_over, window
from activebmr.agent.settings import Learning, Selection
from activebmr.arrays import Bools, Floats, Ints, softmax
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.own import OwnEvidence
from activebmr.inference.models.shared import SharedEvidence
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
        prior: of each agent over hypotheses ``(n_agents, n_hypotheses)``; the space's by default.
        scored: keep scores of hypotheses in the tables too, which the plug-in gain needs.
    """

    def __init__(
        self,
        believing: SharedEvidence | OwnEvidence,
        space: HypothesisSpace,
        settings: Selection,
        learning: Learning,
        prior: Floats | None = None,
        scored: bool = False,
    ) -> None:
        each = space.prior[None] if prior is None else prior
        of_class = np.matmul(each[:, None], np.eye(len(believing.first))[believing.class_of])[:, 0]
        self._log_prior = None if prior is None else np.log(of_class)
        self._share = each / of_class[:, believing.class_of]
        self._believing, self._space, self._settings, self._learning = believing, space, settings, learning
        self._scored = scored

    def scorers(self) -> dict[int, ModelScorer]:
        model, out = self._believing.model, {}
        for m in self._believing.tabled if self._scored else ():
            layout = layouts_of(model)[m]
            prior = layout.keep(model.pA[m])  # type: ignore[index]
            out[m] = ModelScorer(self._space.tables[m], prior, self._settings.offset, layout.order)
        return out

    def _spread(self, posterior: Floats) -> Floats:
        """Probabilities of all hypotheses ``(n_agents, n_hypotheses)`` from those of the distinct ones ``(n_agents, M)``:
        no evidence tells apart those that agree everywhere, so that their odds stay those of the prior.
        """
        return np.asarray(posterior[:, self._believing.class_of] * self._share)

    def start(self, knowledge: Knowledge) -> Floats | None:
        knowledge.models = self._believing.born(knowledge.n_agents, self._log_prior)
        return self._spread(softmax(knowledge.models.log_posterior))

    def posterior(self, knowledge: Knowledge, belief: Any) -> Floats | None:
        return self._spread(self._believing.posterior(belief))

    def curious(self, knowledge: Knowledge) -> Bools | None:
        return knowledge.adopted < 0 if self._settings.curious else None

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        self._believing.counted(knowledge.models, modality, agents, columns, amounts)

    def judge(self, knowledge: Knowledge, belief: Any, posterior: Floats | None) -> Verdict | None:
        kept = self._learning.retention
        if np.ndim(kept):
            kept = checks.each_agent(kept, knowledge.n_agents, "retention of Learning")
        knowledge.models = self._believing.concluded(knowledge.models, belief, kept)
        log_posterior = knowledge.models.log_posterior
        odds = log_odds_of_scores(log_posterior)
        probabilities = softmax(log_posterior)
        best = self._believing.first[probabilities.argmax(axis=1)]
        return Verdict(self._spread(probabilities), odds, best, odds > window(self._settings, knowledge))

    def adopt(self, knowledge: Knowledge, verdict: Verdict) -> Floats | None:
        changed = np.flatnonzero(verdict.passing & (knowledge.adopted != verdict.best))
        for m in self._believing.tabled if len(changed) else ():
            take_over(knowledge, self._space, m, changed, verdict.posterior[changed], self._settings, per_column=True)
        knowledge.adopted = np.where(verdict.passing, verdict.best, knowledge.adopted)
        return verdict.posterior
