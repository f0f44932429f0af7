"""What agents that reason jointly hold in mind during a trial, and what they take from it when it is over.

Agents that have adopted no hypothesis yet (*thinkers*) keep the joint posterior over hypotheses and states; those that have
(*actors*) use the adopted one as their likelihood, like any agent. Both go on collecting evidence, so that an adoption can be
revised.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from activebmr.beliefs import Belief
from activebmr.hypotheses import HypothesisSpace
from activebmr.joint import Expectations, JointReasoner, Reasoning
from activebmr.layout import layouts_of
from activebmr.models import POMDP
from activebmr.reduction import softmax
from activebmr.scoring import ModelScorer
from activebmr.sparse import Floats, Ints

__all__ = ["Thinker", "Thoughts"]


@dataclass(eq=False)
class Thoughts:
    """State of a batch that reasons jointly.

    Attributes:
        evidence: observations counted per column, without any prior ``(n_agents, n_states, n_outcomes)``.
        log_posterior: log probabilities of the distinct hypotheses at the start of the trial, up to a constant ``(n_agents,
            M)``.
        posterior: probabilities of the distinct hypotheses at the start of the trial ``(n_agents, M)``.
        thinkers: agents that keep a joint posterior in this trial.
        expected: what their hypotheses predict in this trial.
        joint: their joint posterior ``(thinkers, B, M)``.
        acting: beliefs of the agents that have adopted a hypothesis, apart from the thinkers': what is certain to all of the
            ones must not depend on the others being in the batch. None before a trial's first observation.
        seen: per time the outcomes, the set factors' joint state ``(n_agents,)`` and the beliefs over still states
            ``(n_agents, B)``.
        filtered, controls: the thinkers' joint posteriors and the controls of the trial so far, where states move by
            themselves.
    """

    evidence: Floats
    log_posterior: Floats
    posterior: Floats
    thinkers: Ints
    expected: Expectations
    joint: Floats
    acting: Belief | None = None
    seen: list[tuple[list[np.ndarray], Ints, Floats]] = field(default_factory=list)
    filtered: list[Floats] = field(default_factory=list)
    controls: list[Ints] = field(default_factory=list)

    def copy(self) -> Thoughts:
        return replace(
            self,
            evidence=self.evidence.copy(),
            joint=self.joint.copy(),
            expected=self.expected.take(np.arange(len(self.thinkers))),
            seen=list(self.seen),
            filtered=list(self.filtered),
            controls=list(self.controls),
        )


class Thinker:
    """Joint reasoning of agents with one model and one space of hypotheses; hypotheses that agree everywhere count as one."""

    def __init__(self, model: POMDP, space: HypothesisSpace, offset: float, settings: Reasoning, rate: float) -> None:
        self.model, self.settings = model, settings
        first, self._class = space.distinct()
        self._members = np.bincount(self._class)
        self.first = first
        merged = space.merged() if len(first) < len(space) else space
        self.reasoner = JointReasoner(model, merged, offset, rate)
        self.modality = self.reasoner.modality
        self.layout = layouts_of(model)[self.modality]
        self.log_prior = np.log(merged.prior)
        prior = self.layout.keep(model.pA[self.modality])  # type: ignore[index]
        self.scorer = ModelScorer(merged.tables[self.modality], prior, offset, self.layout.order)

    def start(self, n_agents: int) -> Thoughts:
        """Nothing seen, nothing adopted."""
        n_outcomes = self.model.num_outcomes[self.modality]
        evidence = np.zeros((n_agents, self.layout.n_states, n_outcomes))
        return self.begin(evidence, np.full(n_agents, -1), np.repeat(self.log_prior[None], n_agents, axis=0))

    def begin(self, evidence: Floats, adopted: Ints, log_posterior: Floats) -> Thoughts:
        """A new trial."""
        thinkers = np.flatnonzero(adopted < 0)
        posterior = softmax(log_posterior)
        expected = self.reasoner.expectations(evidence if len(thinkers) == len(evidence) else evidence[thinkers])
        return Thoughts(evidence, log_posterior, posterior, thinkers, expected, self.reasoner.begin(posterior[thinkers]))

    def carry_over(self, thoughts: Thoughts, evidence: Floats, retention: float) -> Floats:
        """Log posterior over distinct hypotheses after a trial that left the counts ``evidence``, up to a constant
        ``(n_agents, M)``.
        """
        if self.settings.evidence == "counts":
            return self.log_evidence(evidence) + self.log_prior
        after = thoughts.log_posterior.copy()
        after[thoughts.thinkers] = np.log(np.maximum(thoughts.joint.sum(axis=1), 1e-300))
        actors = np.setdiff1d(np.arange(len(after)), thoughts.thinkers)
        if len(actors):
            after[actors] += self.log_evidence(evidence[actors] / retention) - self.log_evidence(thoughts.evidence[actors])
        return after if retention == 1.0 else self.log_prior + retention * (after - self.log_prior)

    def log_evidence(self, evidence: Floats) -> Floats:
        """Log evidence of the distinct hypotheses from counts, by model reduction, up to a constant ``(n_agents, M)``."""
        states = np.flatnonzero(self.scorer.telling_states)
        n, n_states = evidence.shape[:2]
        differences = np.zeros((n, n_states, self.scorer.feature.shape[1]))
        flat = self.scorer.differences(evidence[:, states].reshape(n * len(states), evidence.shape[2]), np.tile(states, n))
        differences[:, states] = flat.reshape(n, len(states), differences.shape[2])
        return self.scorer.totals(differences)

    def spread(self, posterior: Floats) -> Floats:
        """Probabilities of all hypotheses from those of the distinct ones: equals share."""
        return (posterior / self._members)[:, self._class]

    def tell(self, thoughts: Thoughts, states: Ints) -> None:
        """Let agents know the joint state of the factors that no action sets before a trial, -1 for those who are not told."""
        told = np.flatnonzero(states[thoughts.thinkers] >= 0)
        if len(told) == 0:
            return
        known = np.eye(self.reasoner.n_still)[states[thoughts.thinkers[told]]]
        thoughts.joint[told] = self.reasoner.begin(thoughts.posterior[thoughts.thinkers[told]], known)

    def perceive(self, thoughts: Thoughts, controls: Ints | None, outcomes: list[np.ndarray]) -> tuple[Belief, Floats]:
        """Update the thinkers' joint posterior: their factor marginals and log evidence."""
        who = thoughts.thinkers
        placed = self._placed(controls, len(thoughts.evidence))[who]
        joint = thoughts.joint
        if controls is not None:
            joint = self.reasoner.move(joint, controls[who])
        thoughts.joint, evidence = self.reasoner.update(joint, thoughts.expected, placed, [o[who] for o in outcomes])
        self.reasoner.experience(thoughts.expected, placed, outcomes[self.modality][who])
        return self.reasoner.marginals(thoughts.joint, placed), evidence

    def _placed(self, controls: Ints | None, n_agents: int) -> Ints:
        return np.full(n_agents, self.reasoner.start) if controls is None else self.reasoner.placed(controls)

    def remember(self, thoughts: Thoughts, controls: Ints | None, outcomes: list[np.ndarray], belief: Belief) -> None:
        """Keep what a step has shown until the trial is over."""
        states = self._states(belief)
        states[thoughts.thinkers] = thoughts.joint.sum(axis=2)
        thoughts.seen.append((outcomes, self._placed(controls, len(thoughts.evidence)), states))
        if self.reasoner.transitions:
            thoughts.filtered.append(thoughts.joint)
            if controls is not None:
                thoughts.controls.append(controls)

    def _states(self, belief: Belief) -> Floats:
        joint = np.ones((belief.rows, 1))
        for f in self.reasoner.still:
            joint = (joint[:, :, None] * belief[f][:, None, :]).reshape(belief.rows, -1)
        return joint

    def lessons(self, thoughts: Thoughts, smooth: bool) -> Floats:
        """Counts that the trial adds to every column ``(n_agents, n_states, n_outcomes)``, from smoothed or filtered
        beliefs.
        """
        shape = thoughts.evidence.shape
        total = np.zeros(shape)
        smoothed: list[Floats] | None = None
        if smooth and self.reasoner.transitions:
            who = thoughts.thinkers
            smoothed = self.reasoner.smooth(thoughts.filtered, [c[who] for c in thoughts.controls])
        columns = self.reasoner.columns[self.modality]
        rows = np.arange(shape[0])[:, None]
        for t, (outcomes, placed, states) in enumerate(thoughts.seen):
            belief = states
            if smooth and not self.reasoner.transitions:
                belief = thoughts.seen[-1][2]
            elif smoothed is not None:
                belief = states.copy()
                belief[thoughts.thinkers] = smoothed[t].sum(axis=2)
            outcome = outcomes[self.modality]
            soft = outcome if outcome.ndim == 2 else np.eye(shape[2])[outcome]
            flat = ((rows * shape[1] + columns[:, placed].T)[:, :, None] * shape[2] + np.arange(shape[2])).ravel()
            amount = (belief[:, :, None] * soft[:, None, :]).ravel()
            total += np.bincount(flat, weights=amount, minlength=total.size).reshape(shape)
        return total

    def choose_states(self, thoughts: Thoughts) -> Ints:
        """The joint state from which each thinker could learn most about the hypotheses; -1 where nothing is left to learn."""
        out = np.full(len(thoughts.evidence), -1)
        gain = self.reasoner.structure_gain(thoughts.posterior[thoughts.thinkers])
        out[thoughts.thinkers] = np.where(gain.max(axis=1) > 1e-9, gain.argmax(axis=1), -1)
        return out


def merge_beliefs(parts: list[tuple[Ints, Belief]], n_agents: int, sizes: tuple[int, ...]) -> Belief:
    """One belief of all agents from those of disjoint groups of them."""
    if len(parts) == 1:
        return parts[0][1]
    marginals: list[Any] = []
    known: list[Any] = []
    for f, size in enumerate(sizes):
        if all(b.known[f] is not None for _, b in parts):
            state = np.empty(n_agents, dtype=np.intp)
            for who, b in parts:
                state[who] = b.known[f]
            marginals.append(None)
            known.append(state)
        else:
            q = np.empty((n_agents, size))
            for who, b in parts:
                q[who] = b[f]
            marginals.append(q)
            known.append(None)
    return Belief(marginals, known, sizes)
