"""Comparing hypotheses about any table, and models of their own, by the posterior that agents carry over trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.agent.bank import ByPosterior
from activebmr.agent.selection import Verdict, window
from activebmr.agent.settings import Learning, Selection
from activebmr.arrays import Floats, Ints, softmax
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.worlds.beliefs import WorldsBelief
from activebmr.inference.worlds.worlds import Worlds
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.naming import table_of
from activebmr.reduction.evidence import log_odds_of_scores

__all__ = ["ByWorlds"]


class ByWorlds(ByPosterior):
    """See `activebmr.agent.selection.Comparing`; hypotheses may be adopted within a trial, and given up again.

    Args:
        believing: whose posterior counts.
        space: the hypotheses.
        settings: when one of them is adopted.
        learning: how evidence fades: by the least retention of tables that hypotheses learn, if it is given by table.
        prior: of each agent over hypotheses ``(n_agents, n_hypotheses)``; the space's by default.
    """

    def __init__(
        self, believing: Worlds, space: HypothesisSpace, settings: Selection, learning: Learning, prior: Floats | None = None
    ) -> None:
        super().__init__(believing, space, settings, learning, prior)  # type: ignore[arg-type]
        self._worlds = believing
        kept = learning.retention
        if isinstance(kept, Mapping):
            kept = 1.0
            for world, held in zip(believing.worlds, believing.kept, strict=True):
                for key in world.counting:
                    kept = np.minimum(kept, held[table_of(key)])
        self._kept: Any = kept

    def posterior(self, knowledge: Knowledge, belief: WorldsBelief) -> Floats | None:
        if self._settings.at_once:
            odds, best = self._odds(belief.weights)
            knowledge.adopted = np.where(odds > window(self._settings, knowledge), best, knowledge.adopted)
        self._give_up(knowledge, belief.weights)
        return super().posterior(knowledge, belief)

    def _odds(self, log_weights: Floats) -> tuple[Floats, Ints]:
        """Log odds of each agent's best hypothesis, and which it is."""
        return np.asarray(log_odds_of_scores(log_weights)), self._worlds.first[log_weights.argmax(axis=1)]

    def _give_up(self, knowledge: Knowledge, log_weights: Floats) -> None:
        """What has been refuted is held no longer, whether or not anything else passes Occam's window."""
        held = self._worlds.class_of[np.maximum(knowledge.adopted, 0)]
        refuted = log_weights[np.arange(len(held)), held] == -np.inf
        knowledge.adopted = np.where(refuted, -1, knowledge.adopted)

    def judge(self, knowledge: Knowledge, belief: WorldsBelief, posterior: Floats | None) -> Verdict | None:
        kept = checks.each_agent(self._kept, knowledge.n_agents, "retention of Learning") if np.ndim(self._kept) else self._kept
        knowledge.models = self._worlds.concluded(knowledge.models, belief, kept)
        weights = knowledge.models.log_posterior
        odds, best = self._odds(weights)
        return Verdict(self._spread(softmax(weights)), odds, best, odds > window(self._settings, knowledge))

    def adopt(self, knowledge: Knowledge, verdict: Verdict) -> Floats | None:
        """Counts of tables that hypotheses speak about become those of the hypothesis adopted, with its own evidence; where it
        gives values, which leave nothing to count, they stay the agent's own.
        """
        knowledge.adopted = np.where(verdict.passing, verdict.best, knowledge.adopted)
        self._give_up(knowledge, knowledge.models.log_posterior)
        sure = np.flatnonzero(knowledge.adopted >= 0)  # also those of former trials: their hypothesis has learned on
        home, models = self._worlds.home, self._worlds.class_of[knowledge.adopted[sure]]
        here = self._worlds.slices[home]
        mine = (models >= here.start) & (models < here.stop)
        if mine.any():
            who = sure[mine]
            for key, counts in self._worlds.claimed(knowledge.models, home, models[mine] - here.start, who).items():
                table = knowledge.counted(key)
                plain = counts[:, table.layout.order]
                some = self._worlds.worlds[home].claims[key].learns[models[mine] - here.start]
                if some.any():
                    table.replace(who[some], plain[some], np.arange(counts.shape[1]))
        return verdict.posterior
