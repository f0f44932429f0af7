"""What agents believe about worlds and their states within a trial, and what they carry over from trial to trial."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.model.naming import Key

__all__ = ["WorldBelief", "WorldsBank", "WorldsBelief"]


@dataclass(eq=False)
class WorldBelief:
    """Beliefs about one world, of which M models may be true; never changed.

    Attributes:
        known: per component the joint state of its known factors ``(n_agents,)``.
        log: per component log probabilities of the joint states of its hidden factors ``(n_agents, M or 1, n_hidden)``.
        foreseen: the same before what was seen now, None at the first time.
        moved_by: transitions of varied components that it was foreseen by, see `activebmr.inference.worlds.moving`.
        counts: per table that models claim and learn, the evidence that each has so far ``(n_agents, M, n_columns,
            n_outcomes)``: of former trials, and what is certain of this one.
        origins: per factor whose initial states are learned the probability of each of these given the hidden joint state of
            now (and all that was seen before it) ``(n_agents, M or 1, S_f, n_hidden)``.
        during: per likelihood of states that stay, outcomes of this trial in all columns that they may have come from
            ``(n_agents, 1, n_columns, n_outcomes)``.
        counted: per table whether what happened now is part of ``counts`` already ``(n_agents, M)``.
    """

    known: list[Ints]
    log: list[Floats]
    foreseen: list[Floats] | None
    moved_by: dict[int, Floats]
    counts: dict[Key, Floats]
    origins: dict[int, Floats] = field(default_factory=dict)
    during: dict[Key, Floats] = field(default_factory=dict)
    counted: dict[Key, Bools] = field(default_factory=dict)

    def evidence(self, key: Key) -> Floats | None:
        """All counts that models go by now."""
        counts = self.counts.get(key)
        return counts if counts is None or key not in self.during else counts + self.during[key]


@dataclass(eq=False)
class WorldsBelief:
    """Beliefs of a batch about models of the world, whichever world they belong to, and states; never changed.

    Attributes:
        worlds: what is believed about each world.
        weights: log probabilities of all models ``(n_agents, n_models)``, world after world.
        before, controls, outcomes: beliefs a step ago, what was done then ``(n_agents, n_factors)``, and what is seen now.
            (Where nothing is to be counted when the trial is over, no further back.)
    """

    worlds: list[WorldBelief]
    weights: Floats
    before: WorldsBelief | None = None
    controls: Ints | None = None
    outcomes: list[np.ndarray] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.weights)

    def copy(self) -> WorldsBelief:
        return self

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: what was believed before goes first, so that long trials do not nest deeply."""
        return {"_past": self.path()[:-1], **self.__dict__, "held": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({k: v for k, v in state.items() if k != "_past"})

    def path(self) -> list[WorldsBelief]:
        """Beliefs of the trial so far, the first first."""
        out: list[WorldsBelief] = [self]
        while out[-1].before is not None:
            out.append(out[-1].before)
        return out[::-1]


@dataclass(eq=False)
class WorldsBank:
    """What is carried over trials.

    Attributes:
        counts: per world and table that its models claim and learn, the evidence of each, see `WorldBelief`.
        log_posterior: log probabilities of models at the start of the trial, up to a constant ``(n_agents, n_models)``.
        log_prior: the same before any data.
    """

    counts: list[dict[Key, Floats]]
    log_posterior: Floats
    log_prior: Floats

    def copy(self) -> WorldsBank:
        return replace(self)  # arrays are replaced, never changed
