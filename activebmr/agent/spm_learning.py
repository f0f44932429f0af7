"""`MoveLearning`: how counts grow with ``inference="spm"``."""

from __future__ import annotations

import numpy as np

from activebmr import checks
from activebmr.agent.learning import CountLearning
from activebmr.agent.settings import Learning
from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory
from activebmr.inference.spm import AlongMoves
from activebmr.model.naming import Key, Table, key_of
from activebmr.model.pomdp import POMDP

__all__ = ["MoveLearning"]


class MoveLearning:
    """See `activebmr.agent.learning.Learner`.

    Counts of A and B grow after every outcome, and count at once; counts of D at the end of a trial, by the states it began in;
    counts of E likewise by the first path alone, whoever chose it. With ``Learning(smooth=True)`` counts of A and B are in the
    end those of the backwards pass, and D and E learn from its states and paths. Retention takes the prior too (SPM has
    eta / (eta + 1)).

    Args:
        model: which tables are learned.
        settings: rates, retention, and whether there is a backwards pass.
        believing: what is believed.
    """

    def __init__(self, model: POMDP, settings: Learning, believing: AlongMoves) -> None:
        self._model, self._believing, self._smooth = model, believing, settings.smooth
        self._rates = settings.rates_of(model)
        within = {f"p{table}": self._rates[table] if table.kind in "AB" else 0.0 for table in model.learned}
        self._counting = CountLearning(model, Learning(within, settings.retention), believing, [], remember=True)

    def take_in(
        self, knowledge: Knowledge, memory: Memory, controls: Ints | None, outcomes: list[np.ndarray], belief: object
    ) -> None:
        self._counting.take_in(knowledge, memory, controls, outcomes, belief)

    def conclude(self, knowledge: Knowledge, memory: Memory) -> None:
        moments = memory.moments
        if not moments:
            return
        states, paths = moments[0].belief.now, moments[min(1, len(moments) - 1)].belief.path
        if self._smooth:
            rates = {key_of(table): self._rate(knowledge, table) for table in self._rates}
            trial = self._believing.backwards(memory, knowledge, rates)
            states, paths = trial.q[0], trial.path[0]
            for kind, counts in (("A", trial.a), ("B", trial.b)):
                for table in self._of(kind):
                    held = knowledge.counted(key_of(table))
                    columns = held.layout.columns(counts[int(table.index)])
                    held.replace(np.arange(knowledge.n_agents), columns, np.arange(held.n_states))
        for table in self._of("D"):
            self._first(knowledge, table, states[int(table.index)])
        for table in self._of("E"):
            if len(moments) > 1 or table.index in self._believing.inferred:  # else no path was taken yet
                self._first(knowledge, table, paths[int(table.index)])

    def forget(self, knowledge: Knowledge) -> dict[Key, Floats]:
        return self._counting.forget(knowledge)

    def _of(self, kind: str) -> list[Table]:
        return [table for table in self._model.learned if table.kind == kind]

    def _rate(self, knowledge: Knowledge, table: Table) -> float | Floats:
        rate = self._rates[table]
        return checks.each_agent(rate, knowledge.n_agents, "rate of Learning") if np.ndim(rate) else rate

    def _first(self, knowledge: Knowledge, table: Table, q: Floats) -> None:
        """Count what a trial began with, in the one column of its table."""
        amounts = np.reshape(self._rate(knowledge, table), (-1, 1)) * q
        knowledge.counted(key_of(table)).observe(np.arange(len(q)), np.zeros(len(q), dtype=np.intp), amounts)
