"""What an agent can look up about each modality: expected likelihoods, ambiguity, novelty and model scores per column.

Known likelihoods are one table that all agents share. Learned ones are per agent and renewed only at the columns that an outcome touched.
Layout: states of the likelihood's factors flattened in C order on the second axis, outcomes last.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from activebmr.dirichlet import column_information_gain
from activebmr.models import POMDP
from activebmr.scoring import ModelScorer, segments
from activebmr.sparse import Floats, Ints, Ragged

__all__ = ["CountTable", "KnownTable"]


def _likelihood_rows(counts: Floats, out: Floats) -> None:
    """Write E[A] and sum_o A log A of each column (entries, outcomes) into ``out`` (entries, outcomes + 1)."""
    n_outcomes = counts.shape[-1]
    total = counts[..., 0].copy()
    for o in range(1, n_outcomes):
        total += counts[..., o]
    out[..., n_outcomes] = 0.0
    for o in range(n_outcomes):
        p = counts[..., o] / total
        out[..., o] = p
        out[..., n_outcomes] += p * np.log(np.where(p > 0, p, 1.0))


class KnownTable:
    """Lookup of a likelihood that is known and so the same for all agents."""

    learned = False

    def __init__(self, model: POMDP, modality: int) -> None:
        a = model.A[modality]
        self.n_outcomes, self.n_states = a.shape[0], int(np.prod(a.shape[1:]))
        self.likelihood = np.empty((self.n_states, self.n_outcomes + 1))
        _likelihood_rows(a.reshape(self.n_outcomes, -1).T, self.likelihood)
        self.ambiguous = bool((self.likelihood[:, -1] < 0).any())

    def offset(self, agents: Ints) -> Ints | None:
        """What to add to a state's index to find it in the tables of each row's agent."""
        return None


@dataclass(eq=False)
class CountTable:
    """Counts of one learned modality for a batch of agents, and what is derived from them.

    Attributes:
        counts: Dirichlet counts ``(n_agents, n_states, n_outcomes)``.
        likelihood: E[A] and, last, sum_o A log A of each column, ``(n_agents * n_states, n_outcomes + 1)``.
        novelty: W of each column, ``(n_agents * n_states, n_outcomes)``.
        novel: agents that have a column with no count above the cut-off ``(n_agents,)``; the others gain nothing (SPM).
        differences: scores of each column's alternative reduced priors ``(n_agents, n_states, n_alternatives)``, if any.
    """

    counts: Floats
    likelihood: Floats
    novelty: Floats
    novel: NDArray[np.bool_]
    differences: Floats | None
    scorer: ModelScorer | None
    novelty_cutoff: float

    learned = True
    ambiguous = True

    @classmethod
    def start(cls, counts: Floats, n_agents: int, scorer: ModelScorer | None, novelty_cutoff: float) -> CountTable:
        n_states, n_outcomes = counts.shape
        table = cls(
            counts=np.repeat(counts[None], n_agents, axis=0),
            likelihood=np.empty((n_agents * n_states, n_outcomes + 1)),
            novelty=np.zeros((n_agents * n_states, n_outcomes)),
            novel=np.zeros(n_agents, dtype=bool),
            differences=None if scorer is None else np.zeros((n_agents, n_states, scorer.feature.shape[1])),
            scorer=scorer,
            novelty_cutoff=novelty_cutoff,
        )
        table.renew(np.arange(n_agents))
        return table

    @property
    def n_states(self) -> int:
        return int(self.counts.shape[1])

    @property
    def n_outcomes(self) -> int:
        return int(self.counts.shape[2])

    def offset(self, agents: Ints) -> Ints | None:
        """What to add to a state's index to find it in the tables of each row's agent."""
        return agents * self.n_states

    def copy(self) -> CountTable:
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return CountTable(**{k: v.copy() if isinstance(v, np.ndarray) else v for k, v in held.items()})

    def renew(self, agents: Ints) -> None:
        """Derive everything anew for all columns of some agents."""
        if len(agents) == 0:
            return
        counts = self.counts[agents]
        flat = (agents[:, None] * self.n_states + np.arange(self.n_states)).ravel()
        rows = np.empty((len(flat), self.n_outcomes + 1))
        _likelihood_rows(counts.reshape(-1, self.n_outcomes), rows)
        self.likelihood[flat] = rows
        self.novel[agents] = (counts.max(axis=2) < self.novelty_cutoff).any(axis=1)
        novel = self.novel[agents]
        held = flat.reshape(len(agents), -1)[novel].ravel()
        self.novelty[held] = column_information_gain(counts[novel].reshape(-1, self.n_outcomes), axis=1)
        if self.scorer is not None and self.differences is not None:
            states = np.tile(np.flatnonzero(self.scorer.telling_states), len(agents))
            who = np.repeat(agents, len(states) // len(agents))
            evidence = self.scorer.evidence(self.counts[who, states], states)
            self.differences[who, states] = self.scorer.differences(evidence, states)

    def scores(self, agents: Ints) -> Floats:
        """Log evidence of every hypothesis, up to a constant per agent, ``(len(agents), n_hypotheses)``."""
        assert self.scorer is not None and self.differences is not None
        states = np.flatnonzero(self.scorer.telling_states)
        values = self.differences[agents[:, None], states].reshape(-1, self.differences.shape[2])
        start = np.arange(len(agents) + 1) * len(states)
        return self.scorer.collect(start, np.tile(states, len(agents)), values)

    def observe(self, belief: Ragged, outcome: Floats, rate: float) -> Floats | None:
        """Add ``rate x outcome x belief`` to the counts, rows of ``belief`` being the agents; structural zeros stay.

        Returns the change of every hypothesis' score ``(n_agents, n_hypotheses)``, or None without hypotheses.
        """
        agents, states = belief.row, belief.index
        flat = agents * self.n_states + states
        counts = self.counts.reshape(-1, self.n_outcomes)
        old = counts[flat]
        new = old + (old > 0) * outcome[agents] * (rate * belief.weight)[:, None]
        counts[flat] = new
        rows = np.empty((len(flat), self.n_outcomes + 1))
        _likelihood_rows(new, rows)
        self.likelihood[flat] = rows
        self.novelty[flat] = column_information_gain(new, axis=1)
        scorer = self.scorer
        if scorer is None or self.differences is None:
            return None
        telling = np.flatnonzero(scorer.telling_states[states])
        agents, states = agents[telling], states[telling]
        fresh = scorer.differences(scorer.evidence(new[telling], states), states)
        change = fresh - self.differences[agents, states]
        self.differences[agents, states] = fresh
        return scorer.collect(segments(agents, len(self.counts)), states, change)
