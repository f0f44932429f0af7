"""What agents carry from trial to trial, what an observation does to them, and a trial as they lived it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.naming import Key, Table

__all__ = ["Knowledge", "Memory", "Moment", "Percept"]


@dataclass(eq=False)
class Knowledge:
    """What a batch of agents carries from trial to trial.

    Attributes:
        tables: per modality what the agents know about it.
        others: counts of learned tables that are no likelihoods (transitions, initial states, habits).
        adopted: hypothesis that each agent adopted ``(n_agents,)``, -1 for none yet; or the model of a list that introspection
            has found.
        models: what a comparison of hypotheses keeps, or None.
        sleep: what agents that introspect keep, or None.
    """

    tables: list[KnownTable | CountTable]
    adopted: Ints
    models: Any = None
    sleep: Any = None
    others: dict[Table, CountTable] = field(default_factory=dict)

    @property
    def n_agents(self) -> int:
        return len(self.adopted)

    def counted(self, key: Key) -> CountTable:
        """A learned table, by what it is kept by."""
        return self.others[key] if isinstance(key, Table) else self.tables[key]  # type: ignore[return-value]

    def copy(self) -> Knowledge:
        others = {key: table.copy() for key, table in self.others.items()}
        tables = [t.copy() if isinstance(t, CountTable) else t for t in self.tables]
        held = {name: None if x is None else x.copy() for name, x in (("models", self.models), ("sleep", self.sleep))}
        return replace(self, tables=tables, others=others, adopted=self.adopted.copy(), **held)


@dataclass(eq=False, slots=True)
class Percept:
    """What an observation did to beliefs.

    Attributes:
        belief: what is believed now.
        log_evidence: log probability of the observation ``(rows,)``, nats.
        impossible: whether the beliefs held it impossible ``(rows,)``.
    """

    belief: Any
    log_evidence: Floats
    impossible: Bools


@dataclass(frozen=True, eq=False)
class Moment:
    """One time of a trial.

    Attributes:
        controls: what was done before it ``(n_agents, n_factors)``, None at the first.
        outcomes: what was seen, per modality (see `activebmr.model.observations`).
        belief: what was believed then.
    """

    controls: Ints | None
    outcomes: list[np.ndarray]
    belief: Any


@dataclass(eq=False)
class Memory:
    """A trial so far; moments are never changed, only added."""

    moments: list[Moment] = field(default_factory=list)

    def add(self, controls: Ints | None, outcomes: list[np.ndarray], belief: Any) -> None:
        self.moments.append(Moment(controls, outcomes, belief))

    def copy(self) -> Memory:
        return Memory(list(self.moments))
