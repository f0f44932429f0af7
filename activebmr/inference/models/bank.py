"""What agents keep about hypotheses whose evidence is their own, and what they believe within a trial."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.joint_belief import JointBelief

__all__ = ["ModelBank", "ModelBelief"]


@dataclass(eq=False)
class ModelBank:
    """What is carried over trials about M distinct hypotheses.

    Attributes:
        counts: per modality that they speak about, evidence without any prior ``(n_agents, n_states, M or 1, O)``.
        log_posterior: log probabilities of hypotheses at the start of the trial, up to a constant ``(n_agents, M)``.
        log_prior: the same before any data.
    """

    counts: dict[int, Floats]
    log_posterior: Floats
    log_prior: Floats

    def copy(self) -> ModelBank:
        return replace(self)  # arrays are replaced when a trial is over, never changed


@dataclass(eq=False)
class ModelBelief:
    """Beliefs of a batch about hypotheses and states, never changed.

    Attributes:
        known: per component the joint state of its known factors ``(n_agents,)``.
        log: per component log probabilities of the joint states of its hidden factors: under every hypothesis ``(n_agents, M,
            n_hidden)`` where hypotheses differ, else ``(n_agents, n_hidden)``.
        weights: log probabilities of hypotheses ``(n_agents, M)``.
        during: per modality that hypotheses speak about what was seen in this trial ``(n_agents, n_states, O)``, where states
            stay or were certain.
        certain: per modality, where states move, whether they are certain now ``(n_agents,)``.
        thinkers, actors: agents that have adopted no hypothesis, and those that have.
        acting: beliefs that the actors act by.
        before, controls, outcomes: beliefs a step ago, what was done then, and what is seen now, where that is needed to learn
            when the trial is over.
    """

    known: list[Ints]
    log: list[Floats]
    weights: Floats
    during: dict[int, Floats]
    thinkers: Ints
    actors: Ints
    acting: JointBelief
    certain: dict[int, Bools] = field(default_factory=dict)
    before: ModelBelief | None = None
    controls: Ints | None = None
    outcomes: dict[int, np.ndarray] = field(default_factory=dict)
    held: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.weights)

    def copy(self) -> ModelBelief:
        return self

    def path(self) -> list[ModelBelief]:
        """Beliefs of the trial so far, the first first."""
        out: list[ModelBelief] = [self]
        while out[-1].before is not None:
            out.append(out[-1].before)
        return out[::-1]
