"""Learning counts: which columns an outcome or a move may have come from, at once or when the trial is over, and forgetting.

One trial adds, with beliefs q given what is known when they are counted,

    A_m   rate sum_t o_t (x) q_t(parents of m)
    B_f   rate sum_t 1[u_t = u] q(s'_f at t + 1, parents of f at t)
    D_f   rate q_1(s_f)
    E     rate for every control (or policy of one step) that was carried out
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from activebmr import checks
from activebmr.agent.settings import Learning
from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory, Moment
from activebmr.inference.protocol import Believing
from activebmr.model.naming import Key, Table, key_of
from activebmr.model.observations import policy_of
from activebmr.model.pomdp import POMDP

__all__ = ["CountLearning", "Learner", "Listener"]


class Listener(Protocol):
    """Someone who wants to know what is counted."""

    def counted(
        self, knowledge: Knowledge, key: Key, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        """Counts ``amounts`` (entries, outcomes) were added to the table kept by ``key`` at columns of agents; ``change``: of
        the scores of hypotheses.
        """
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

    def forget(self, knowledge: Knowledge) -> dict[Key, Floats]:
        """Let counts fade; the counts of every learned table afterwards ``(n_agents, n_states, n_outcomes)``."""
        ...


Entries = tuple[Ints, Ints, Floats]
"""Agents (ascending), columns (none of an agent twice), amounts ``(entries, n_outcomes)``."""


class CountLearning:
    """Expected counts, see above.

    Args:
        model: which tables are learned.
        settings: rates, retention, and when to learn.
        believing: the way of believing that says which columns these were.
        listeners: who is told of every count.
        remember: keep the trial even if nothing is learned from it at its end.
    """

    def __init__(
        self, model: POMDP, settings: Learning, believing: Believing, listeners: Sequence[Listener], remember: bool = False
    ) -> None:
        self._model, self._settings, self._believing = model, settings, believing
        self._listeners = list(listeners)
        self._rate, self._retention = settings.rates_of(model), settings.retentions_of(model)
        self._learned = tuple(table for table in model.learned if np.any(np.asarray(self._rate[table]) > 0))
        self._smooth = settings.smooth or believing.in_hindsight
        self._at_once = believing.at_once and not self._smooth and not settings.at_end
        self._remembers = remember or bool(self._learned and not self._at_once)
        self._habits: Callable[[object], Floats | None] | None = getattr(believing, "habits", None)
        self._entries: dict[str, Callable[[Table, Moment], Entries | None]] = {
            "A": self._seen, "B": self._moved, "D": self._begun, "E": self._done,
        }  # fmt: skip

    def take_in(
        self, knowledge: Knowledge, memory: Memory, controls: Ints | None, outcomes: list[np.ndarray], belief: object
    ) -> None:
        if self._remembers:
            memory.add(controls, outcomes, belief)
        if self._at_once and self._learned:
            self._learn(knowledge, Moment(controls, outcomes, belief))

    def conclude(self, knowledge: Knowledge, memory: Memory) -> None:
        if self._at_once or not self._learned or not memory.moments:
            return
        moments = memory.moments
        beliefs = self._believing.hindsight(memory, knowledge) if self._smooth else [m.belief for m in moments]
        for moment, belief in zip(moments, beliefs, strict=True):
            self._learn(knowledge, Moment(moment.controls, moment.outcomes, belief))

    def _learn(self, knowledge: Knowledge, moment: Moment) -> None:
        # what all of it says is taken from the beliefs before any of it is counted
        found = [(table, self._entries[table.kind](table, moment)) for table in self._learned]
        for table, entries in found:
            if entries is None:
                continue
            agents, columns, amounts = entries
            rate, key = self._rate[table], key_of(table)
            if np.ndim(rate):
                amounts = checks.each_agent(rate, knowledge.n_agents, "rate of Learning")[agents][:, None] * amounts
            elif rate != 1.0:
                amounts = rate * amounts
            change = knowledge.counted(key).observe(agents, columns, amounts)
            for listener in self._listeners:
                listener.counted(knowledge, key, agents, columns, amounts, change)

    def _seen(self, table: Table, moment: Moment) -> Entries | None:
        m = int(table.index)
        agents, columns, weight = self._believing.places(moment.belief, m)
        outcome = moment.outcomes[m]
        if outcome.ndim == 1:
            if (outcome < 0).any():
                seen = outcome[agents] >= 0
                if not seen.any():
                    return None
                agents, columns, weight = agents[seen], columns[seen], weight[seen]
            outcome = np.eye(self._model.num_outcomes[m])[outcome]
        return agents, columns, outcome[agents] * weight[:, None]

    def _moved(self, table: Table, moment: Moment) -> Entries | None:
        return None if moment.controls is None else self._believing.moves(moment.belief, int(table.index), moment.controls)

    def _begun(self, table: Table, moment: Moment) -> Entries | None:
        if moment.controls is not None:
            return None
        q = self._believing.marginals(moment.belief)[int(table.index)]
        return np.arange(len(q)), np.zeros(len(q), dtype=np.intp), np.asarray(q)

    def _done(self, table: Table, moment: Moment) -> Entries | None:
        """Controls that were followed by an observation: what is done after the last one of a trial changes nothing. Where
        beliefs are about policies of whole trials, what these say.
        """
        if table.index == -1 and self._habits is not None:
            q = self._habits(moment.belief)
            return None if q is None else (np.arange(len(q)), np.zeros(len(q), dtype=np.intp), q)
        if moment.controls is None:
            return None
        if table.index == -1:
            chosen, n = policy_of(self._model, moment.controls), len(self._model.policies)
        else:
            chosen, n = moment.controls[:, int(table.index)], self._model.num_controls[int(table.index)]
        agents = np.flatnonzero(chosen >= 0)
        return agents, np.zeros(len(agents), dtype=np.intp), np.eye(n)[chosen[agents]]

    def forget(self, knowledge: Knowledge) -> dict[Key, Floats]:
        counts: dict[Key, Floats] = {}
        for table in self._model.learned:
            held, kept = knowledge.counted(key_of(table)), self._retention[table]
            if np.any(np.asarray(kept) < 1.0):
                held.retain(checks.each_agent(kept, knowledge.n_agents, "retention of Learning") if np.ndim(kept) else kept)
            counts[key_of(table)] = held.counts
        return counts
