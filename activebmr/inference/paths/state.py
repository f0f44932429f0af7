"""What beliefs along paths consist of: the trial so far, what an ascent came to, beliefs about policies, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.paths.transitions import Transitions
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP

__all__ = ["Ascent", "PathCounts", "Paths", "PolicyBelief"]


@dataclass(eq=False)
class PolicyBelief:
    """Beliefs about policies and their precision after an outcome.

    Attributes:
        q_pi: posterior over policies ``(n_agents, n_policies)``.
        prior: the same without what their paths say about the outcomes ``(n_agents, n_policies)``.
        precision: expected precision ``(n_agents,)``.
        rate: rate of the gamma posterior over the precision ``(n_agents,)``, 1 / precision.
        posteriors, precisions: both in every iteration, ``(n_agents, iterations, n_policies)`` and ``(n_agents, iterations)``;
            empty where the precision is fixed.
    """

    q_pi: Floats
    prior: Floats
    precision: Floats
    rate: Floats
    posteriors: Floats
    precisions: Floats


@dataclass(eq=False)
class PathCounts:
    """Dirichlet counts about transitions, initial states and policies, for agents that learn them along paths.

    Attributes:
        pB: per factor ``(n_agents, S_f, S_d0, ..., U_f)``, or None where B is known.
        pD: per factor ``(n_agents, S_f)``, or None where D is known.
        pE: ``(n_agents, n_policies)``, or None.
        novel: per factor agents who may still learn something from its transitions ``(n_agents,)``; None (for a factor, or
            altogether) if all may.
    """

    pB: list[Floats | None]
    pD: list[Floats | None]
    pE: Floats | None
    novel: list[Bools | None] | None = None

    @classmethod
    def of(cls, model: POMDP, knowledge: Knowledge) -> PathCounts | None:
        """Counts of transitions and initial states as agents have them; None if they learn neither."""
        held = [[knowledge.others.get(Table(kind, f)) for f in range(model.num_factors)] for kind in "BD"]
        if all(table is None for tables in held for table in tables):
            return None
        pB, pD = ([None if table is None else table.tensor() for table in tables] for tables in held)
        return cls(pB, pD, None, [None if table is None else table.novel for table in held[0]])

    @classmethod
    def start(
        cls,
        model: POMDP,
        n_agents: int,
        pB: Sequence[ArrayLike | None] | None = None,
        pD: Sequence[ArrayLike | None] | None = None,
        pE: ArrayLike | None = None,
    ) -> PathCounts:
        """Counts that all agents of a batch begin with, of the shapes of the model's B, D and policies; zeros stay zero.

        Raises:
            ValueError: if a shape does not fit, a count is negative or not finite, or a column has none.
        """
        factors = range(model.num_factors)
        given_b = [None] * len(factors) if pB is None else list(pB)
        given_d = [None] * len(factors) if pD is None else list(pD)
        for name, given in (("pB", given_b), ("pD", given_d)):
            if len(given) != len(factors):
                raise ValueError(f"{name} must have one entry per factor ({len(factors)}); got {len(given)}")
        spread = lambda name, value, shape: None if value is None else _spread(name, value, shape, n_agents)  # noqa: E731
        return cls(
            [spread(f"pB[{f}]", given_b[f], model.B[f].shape) for f in factors],
            [spread(f"pD[{f}]", given_d[f], (model.num_states[f],)) for f in factors],
            spread("pE", pE, (len(model.policies),)),
        )


def _spread(name: str, value: ArrayLike, shape: tuple[int, ...], n_agents: int) -> Floats:
    counts = np.asarray(value, dtype=np.float64)
    if counts.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {counts.shape}")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"{name} must hold finite counts >= 0; got {counts[~(np.isfinite(counts) & (counts >= 0))][0]}")
    if not (counts.sum(axis=0) > 0).all():
        raise ValueError(f"{name} must have some count in every column (over axis 0)")
    return np.repeat(counts[None], n_agents, axis=0)


@dataclass(eq=False)
class Paths:
    """A batch's trial so far.

    Attributes:
        outcomes: per time and modality outcomes ``(n_agents,)``, -1 for what was not seen, or probabilities of outcomes
            ``(n_agents, O_m)``.
        controls: what was done after each of these but the last ``(n_agents, n_factors)``.
        joint: probability of all modalities' joint outcomes in every joint state, learned before this trial
            ``(n_agents or 1, n_joint_states, n_joint_outcomes)``, and minus its entropy ``(n_agents or 1, n_joint_states)``.
        likelihoods: likelihood of each joint state given each time's outcomes ``(n_agents, n_joint_states)``.
        beliefs: after the last outcome, per factor beliefs about every moment, averaged over policies
            ``(n_agents, times, S_f)``.
        counts: what agents have learned about B, D and E, if they learn it.
        log_prior: log prior over policies ``(n_agents, n_policies)`` where it is learned, but not in ``counts``.
        transitions: B and D as expected in this trial, where they are learned.
        x: after the last outcome, per factor beliefs of every policy ``(n_agents, n_policies, times, S_f)``; ``earlier``: the
            same after the outcome before, from which SPM's ascent starts.
        policies: beliefs about policies after the last outcome; ``before``: after the outcome before; ``posteriors``: after
            every outcome, the posterior alone ``(n_agents, n_policies)``.
        kept: policies of a whole trial that have not been dropped ``(n_agents, n_policies)``; None if all are there.
        reach: per factor 1 for the states that it may be in after the last outcome, else 0 ``(n_agents, S_f)``; ``impossible``:
            whether no state that could be reached allows that outcome ``(n_agents,)``.
    """

    outcomes: list[list[np.ndarray]] = field(default_factory=list)
    controls: list[Ints] = field(default_factory=list)
    joint: tuple[Floats, Floats] | None = None
    likelihoods: list[Floats] = field(default_factory=list)
    beliefs: list[Floats] = field(default_factory=list)
    counts: PathCounts | None = None
    log_prior: Floats | None = None
    transitions: Transitions | None = None
    x: list[Floats] | None = None
    earlier: list[Floats] | None = None
    policies: PolicyBelief | None = None
    before: PolicyBelief | None = None
    posteriors: list[Floats] = field(default_factory=list)
    kept: Bools | None = None
    reach: list[Floats] | None = None
    impossible: Bools | None = None

    @property
    def now(self) -> int:
        """Index of the last moment that was observed."""
        return len(self.outcomes) - 1

    def copy(self) -> Paths:
        """A copy that can go on by itself; arrays are shared, for none is ever changed in place."""
        names = ("outcomes", "controls", "likelihoods", "posteriors")
        return replace(self, **{name: list(getattr(self, name)) for name in names})


@dataclass(eq=False)
class Ascent:
    """Beliefs that message passing came to, and how.

    Attributes:
        x: per factor beliefs of every policy about every moment ``(n_agents, n_policies, times, S_f)``.
        evidence: minus the variational free energy of each policy's path ``(n_agents, n_policies)``, nats; what was seen is
            its business, the future is not.
        steps: if recorded, the same after every iteration.
        errors: in a recorded step, the prediction errors that drove it, of the shapes of ``x`` and with mean 0 over states;
            with SPM's quirks only.
    """

    x: list[Floats]
    evidence: Floats
    steps: list[Ascent] = field(default_factory=list)
    errors: list[Floats] | None = None
