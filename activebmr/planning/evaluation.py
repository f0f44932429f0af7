"""What planning reports: the terms of the expected free energy of every policy, and the posterior over policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from activebmr.arrays import Floats, Ints

__all__ = ["GAINS", "Evaluation", "Terms"]

GAINS = ("state", "param", "model")
"""Names of the information gains that a planner can add to expected utility."""


@dataclass(eq=False)
class Terms:
    """What each policy is worth and why, arrays ``(rows, n_policies)`` in nats; gains that were not asked for are 0."""

    utility: Floats
    state: Floats
    param: Floats
    model: Floats

    def value(self, gains: Sequence[str]) -> Floats:
        """Negative expected free energy: utility plus the gains named."""
        total = self.utility.copy()
        for gain in gains:
            total += getattr(self, gain)
        return total

    @classmethod
    def zeros(cls, rows: int, n_policies: int) -> Terms:
        """Nothing gained, nothing wanted."""
        return cls(*(np.zeros((rows, n_policies)) for _ in fields(cls)))

    @classmethod
    def merge(cls, parts: Sequence[Terms], order: Ints) -> Terms:
        """Terms of parts of a batch, put one after the other and then in ``order``."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts])[order] for f in fields(cls)))


@dataclass(eq=False)
class Evaluation:
    """Worth of the policies for a batch of rows: arrays ``(rows, n_policies)``.

    Attributes:
        terms: the one-step (or summed, for longer policies) terms.
        neg_efe: negative expected free energy, with what the deeper search adds; without the prior over policies.
        q_pi: posterior over policies, softmax(gamma x neg_efe + log E).
        log_prior: the log prior over policies that was used ``(n_policies,)``, or of each row ``(rows, n_policies)`` where it
            is learned; 0 where none was.
        path_evidence: with beliefs along paths, log evidence that each policy's path has for what was seen; else 0.
        acts: where policies say what to do in a whole trial: what they do now ``(n_actions, n_factors)`` and with which
            probabilities ``(rows, n_actions)``; None where a policy is drawn by what it is worth.
        moves: the same of every policy ``(n_policies, n_factors)``; None where all of them begin now.
        precision: what ``q_pi`` was made with ``(rows, 1)``; None where that is the planner's gamma.
    """

    terms: Terms
    neg_efe: Floats
    q_pi: Floats
    log_prior: Floats | float
    path_evidence: Floats | float = 0.0
    acts: tuple[Ints, Floats] | None = None
    moves: Ints | None = None
    precision: Floats | None = None

    @classmethod
    def merge(cls, parts: Sequence[Evaluation], order: Ints) -> Evaluation:
        """Evaluations of parts of a batch, put one after the other and then in ``order``."""
        together = lambda arrays: np.concatenate(list(arrays))[order]  # noqa: E731
        terms = Terms.merge([p.terms for p in parts], order)
        prior = parts[0].log_prior
        if np.ndim(prior) == 2:
            prior = together(p.log_prior for p in parts)
        return cls(terms, together(p.neg_efe for p in parts), together(p.q_pi for p in parts), prior)
