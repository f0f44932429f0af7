"""Learning counts: which columns an outcome may have come from, at once or when the trial is over, and forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from activebmr import checks
from activebmr.agent.settings import Learning
from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory
from activebmr.inference.protocol import Believing
from activebmr.inference.tables import CountTable
from activebmr.model.pomdp import POMDP

__all__ = ["CountLearning", "Learner", "Listener"]


class Listener(Protocol):
    """Someone who wants to know what is counted."""

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        """Counts ``amounts`` (entries, outcomes) were added at columns of agents; ``change``: of the scores of hypotheses."""
        ...


class Learner(Protocol):
    """A way of learning."""

    def take_in(
        self, knowledge: Knowledge, memory: Memory, controls: Ints | None, outcomes: list[np.ndarray], belief: object
    ) -> None:
        """After each observation: learn from it now, or keep it."""
        ...

    def conclude(self, knowledge: Knowledge, memory: Memory) -> None:
        """After a trial: learn what was kept."""
        ...

    def forget(self, knowledge: Knowledge) -> dict[int, Floats]:
        """Let counts fade; the counts of every learned modality afterwards ``(n_agents, n_states, n_outcomes)``."""
        ...


class CountLearning:
    """Expected counts: every outcome adds ``rate`` to the columns it may have come from, in proportion to their probability.

    Args:
        model: which modalities are learned.
        settings: rate, retention, and when to learn.
        believing: the way of believing that says which columns these were.
        listeners: who is told of every count.
        remember: keep the trial even if nothing is learned from it at its end.
    """

    def __init__(
        self, model: POMDP, settings: Learning, believing: Believing, listeners: Sequence[Listener], remember: bool = False
    ) -> None:
        self._model, self._settings, self._believing = model, settings, believing
        self._listeners = list(listeners)
        self._learned = model.learned_modalities if np.any(np.asarray(settings.rate) > 0) else ()
        self._smooth = settings.smooth or believing.in_hindsight
        self._at_once = believing.at_once and not self._smooth
        self._remembers = remember or bool(self._learned and not self._at_once)

    def take_in(
        self, knowledge: Knowledge, memory: Memory, controls: Ints | None, outcomes: list[np.ndarray], belief: object
    ) -> None:
        if self._remembers:
            memory.add(controls, outcomes, belief)
        if self._at_once:
            for m in self._learned:
                self._learn(knowledge, m, outcomes[m], belief)

    def conclude(self, knowledge: Knowledge, memory: Memory) -> None:
        if self._at_once or not self._learned or not memory.moments:
            return
        moments = memory.moments
        beliefs = self._believing.hindsight(memory, knowledge) if self._smooth else [m.belief for m in moments]
        for moment, belief in zip(moments, beliefs, strict=True):
            for m in self._learned:
                self._learn(knowledge, m, moment.outcomes[m], belief)

    def _learn(self, knowledge: Knowledge, modality: int, outcome: np.ndarray, belief: object) -> None:
        agents, columns, weight = self._believing.places(belief, modality)
        if outcome.ndim == 1:
            if (outcome < 0).any():
                seen = outcome[agents] >= 0
                if not seen.any():
                    return
                agents, columns, weight = agents[seen], columns[seen], weight[seen]
            outcome = np.eye(self._model.num_outcomes[modality])[outcome]
        rate = self._settings.rate
        if np.ndim(rate):
            weight = checks.each_agent(rate, knowledge.n_agents, "rate of Learning")[agents] * weight
        elif rate != 1.0:
            weight = rate * weight
        amounts = outcome[agents] * weight[:, None]
        table = knowledge.tables[modality]
        change = table.observe(agents, columns, amounts)  # type: ignore[union-attr]
        for listener in self._listeners:
            listener.counted(knowledge, modality, agents, columns, amounts, change)

    def forget(self, knowledge: Knowledge) -> dict[int, Floats]:
        kept = self._settings.retention
        forgets = bool(np.any(np.asarray(kept) < 1.0))
        counts: dict[int, Floats] = {}
        for m in self._model.learned_modalities:
            table = knowledge.tables[m]
            assert isinstance(table, CountTable)
            if forgets:
                each = checks.each_agent(kept, knowledge.n_agents, "retention of Learning") if np.ndim(kept) else kept
                table.retain(each)
            counts[m] = table.counts
        return counts
