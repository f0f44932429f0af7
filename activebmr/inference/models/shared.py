"""Believing in hypotheses and states together, with one evidence for all hypotheses.

Agents that have adopted no hypothesis yet (*thinkers*) keep the joint posterior over hypotheses and states; those that have
(*actors*) use the adopted one as their likelihood, like any agent. Both go on collecting evidence, so that an adoption can be
revised. What was seen is credited to the columns of a table once for all hypotheses: exact where states are certain when a
trial is over, and fast because hypotheses that agree about a column share all that follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats, Ints, softmax
from activebmr.inference.beliefs import Belief
from activebmr.inference.exact import Exact
from activebmr.inference.joint_belief import marginals_of
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.models.reasoner import Expectations, JointReasoner
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.told import given_states
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import layouts_of
from activebmr.model.pomdp import POMDP
from activebmr.reduction.scoring import ModelScorer

__all__ = ["Bank", "SharedEvidence", "Thoughts"]

_NO_MASS = 1e-16


@dataclass(eq=False)
class Bank:
    """What is carried over trials about hypotheses; those that agree everywhere count as one.

    Attributes:
        evidence: observations counted per column, without any prior ``(n_agents, n_states, n_outcomes)``.
        before: the same at the start of the trial.
        log_posterior: log probabilities of the distinct hypotheses at the start of the trial, up to a constant ``(n_agents,
            M)``.
        log_prior: the same before any data.
        scores: log evidence of the counts ``before``, nan where it is not known yet ``(n_agents, M)``.
    """

    evidence: Floats
    before: Floats
    log_posterior: Floats
    log_prior: Floats
    scores: Floats | None = None

    def copy(self) -> Bank:
        return replace(self, evidence=self.evidence.copy())


@dataclass(eq=False)
class Thoughts:
    """Beliefs of a batch about hypotheses and states.

    Attributes:
        n_agents: size of the batch.
        thinkers, actors: agents that keep a joint posterior in this trial, and those that do not.
        expected: what the thinkers' hypotheses predict in this trial; changed in place as outcomes come in.
        joint: the thinkers' joint posterior ``(thinkers, B, M)``.
        placed: joint state of the set factors ``(n_agents,)``.
        acting: beliefs of the actors.
        prior: posterior over distinct hypotheses at the start of the trial ``(n_agents, M)``.
    """

    n_agents: int
    thinkers: Ints
    actors: Ints
    expected: Expectations
    joint: Floats
    placed: Ints
    acting: Any
    prior: Floats

    def copy(self) -> Thoughts:
        return replace(self, expected=self.expected.take(np.arange(len(self.thinkers))))


class SharedEvidence:
    """See `activebmr.inference.protocol.Believing`.

    Raises:
        ValueError: see `JointReasoner`.
    """

    at_once, in_hindsight, sets_states = False, False, True

    def __init__(self, model: POMDP, space: HypothesisSpace, offset: float, settings: Reasoning, rate: float | Floats) -> None:
        self.model, self.settings, self._rate = model, settings, rate
        self.first, self.class_of = space.distinct()
        merged = space.merged() if len(self.first) < len(space) else space
        self.reasoner = JointReasoner(model, merged, offset)
        self.modality = self.reasoner.modality
        self.tabled = (self.modality,)
        layout = layouts_of(model)[self.modality]
        self.log_prior = np.log(merged.prior)
        prior = layout.keep(model.pA[self.modality])  # type: ignore[index]
        self.scorer = ModelScorer(merged.tables[self.modality], prior, offset, layout.order)
        self.inner = Exact(model)
        # whether different hidden states are different columns, wherever one is
        self._apart = [all(len(np.unique(c)) == len(c) for c in columns.T) for columns in self.reasoner.columns]

    # --- a life ----------------------------------------------------------------------------------------------------------
    def born(self, n_agents: int, log_prior: Floats | None = None) -> Bank:
        """Nothing seen; ``log_prior``: of each agent over distinct hypotheses, the space's by default."""
        prior = np.repeat(self.log_prior[None], n_agents, axis=0) if log_prior is None else log_prior
        layout = layouts_of(self.model)[self.modality]
        evidence = np.zeros((n_agents, layout.n_states, self.model.num_outcomes[self.modality]))
        return Bank(evidence, evidence.copy(), prior, prior)

    def begin(self, knowledge: Knowledge) -> Thoughts:
        bank: Bank = knowledge.models
        thinkers, actors = np.flatnonzero(knowledge.adopted < 0), np.flatnonzero(knowledge.adopted >= 0)
        prior, n = softmax(bank.log_posterior), knowledge.n_agents
        rate = self._rate
        if isinstance(rate, np.ndarray):
            rate = np.asarray(checks.each_agent(rate, n, "rate of Learning"))[thinkers]
        evidence = bank.evidence if len(thinkers) == n else bank.evidence[thinkers]
        expected = self.reasoner.expectations(evidence, rate)
        joint = self.reasoner.begin(prior[thinkers])
        placed = np.full(n, self.reasoner.start)
        return Thoughts(n, thinkers, actors, expected, joint, placed, self.inner.start(len(actors)), prior)

    def perceive(
        self, belief: Thoughts, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]
    ) -> Percept:
        reasoner, who, actors = self.reasoner, belief.thinkers, belief.actors
        evidence, impossible = np.empty(belief.n_agents), np.zeros(belief.n_agents, dtype=bool)
        placed = np.full(belief.n_agents, reasoner.start) if controls is None else reasoner.placed(controls)
        joint, acting = belief.joint, belief.acting
        if len(who):
            whole = len(who) == belief.n_agents
            here, seen = (placed, outcomes) if whole else (placed[who], [o[who] for o in outcomes])
            if controls is not None:
                joint = reasoner.move(joint, controls if whole else controls[who])
            joint, evidence[who], impossible[who] = reasoner.update(joint, belief.expected, here, seen)
            reasoner.experience(belief.expected, here, seen[self.modality])
        if len(actors):
            if controls is not None:
                acting = self.inner.predict(acting, controls[actors])
            percept = self.inner.update(acting, knowledge.tables, actors, [o[actors] for o in outcomes])
            acting, evidence[actors], impossible[actors] = percept.belief, percept.log_evidence, percept.impossible
        after = replace(belief, joint=joint, acting=acting, placed=placed)
        return Percept(after, evidence, impossible)

    def marginals(self, belief: Thoughts) -> Belief:
        parts = []
        if len(belief.thinkers):
            parts.append((belief.thinkers, self.reasoner.marginals(belief.joint, belief.placed[belief.thinkers])))
        if len(belief.actors):
            parts.append((belief.actors, marginals_of(self.inner.components, belief.acting)))
        return _merged(parts, belief.n_agents, self.model.num_states)

    def places(self, belief: Thoughts, modality: int) -> tuple[Ints, Ints, Floats]:
        columns, who = self.reasoner.columns[modality], belief.thinkers
        states = belief.joint.sum(axis=2)
        rows, hidden = np.nonzero(states > _NO_MASS)
        agents, at = who[rows], columns[hidden, belief.placed[who][rows]]
        weight = states[rows, hidden]
        if not self._apart[modality]:
            agents, at, weight = _gathered(agents, at, weight)
        if len(belief.actors):
            theirs, columns_, weight_ = self.inner.places(belief.acting, modality)
            agents, at, weight = (
                np.concatenate(x) for x in ((agents, belief.actors[theirs]), (at, columns_), (weight, weight_))
            )
            order = np.argsort(agents, kind="stable")
            agents, at, weight = agents[order], at[order], weight[order]
        return agents, at, weight

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[Thoughts]:
        moments = memory.moments
        last: Thoughts = moments[-1].belief
        controls = [m.controls for m in moments[1:] if m.controls is not None]
        who, n = last.thinkers, len(moments)
        joint = self.reasoner.smooth([m.belief.joint for m in moments], [c[who] for c in controls])
        acting = [last.acting] * n
        if len(last.actors):
            inner = Memory()
            for m in moments:
                inner.add(None if m.controls is None else m.controls[last.actors], [], m.belief.acting)
            acting = list(self.inner.hindsight(inner, knowledge))
        return [replace(m.belief, joint=j, acting=a) for m, j, a in zip(moments, joint, acting, strict=True)]

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[Thoughts]:
        raise TypeError("agents with hypotheses do not dream")

    # --- hypotheses ------------------------------------------------------------------------------------------------------
    def posterior(self, belief: Thoughts) -> Floats:
        """Probabilities of the distinct hypotheses now ``(n_agents, M)``."""
        posterior = belief.prior
        if len(belief.thinkers):
            posterior = posterior.copy()
            posterior[belief.thinkers] = belief.joint.sum(axis=1)
        return posterior

    def counted(self, bank: Bank, modality: int, agents: Ints, columns: Ints, amounts: Floats) -> None:
        """Take in, in place, what was learned about a modality: see `activebmr.agent.learning.Listener`."""
        if modality == self.modality:
            bank.evidence[agents, columns] += amounts

    def concluded(self, bank: Bank, belief: Thoughts, retention: Floats | float) -> Bank:
        """What is carried on from a trial that ended with ``belief``; ``retention``: of evidence, one for all agents or
        ``(n_agents,)``.
        """
        fades = bool(np.any(np.asarray(retention) < 1.0))
        evidence, prior = bank.evidence, bank.log_prior
        kept = retention if np.ndim(retention) == 0 else np.asarray(retention)[:, None, None]
        if fades:
            evidence = evidence * kept
        if self.settings.evidence == "counts":
            return Bank(evidence, evidence.copy(), self.log_evidence(evidence) + prior, prior)
        after, scores = bank.log_posterior.copy(), np.full(bank.log_posterior.shape, np.nan)
        with np.errstate(divide="ignore"):
            after[belief.thinkers] = np.log(belief.joint.sum(axis=1))
        if len(belief.actors):
            actors = belief.actors
            whole = None if bank.scores is None or fades else bank.scores[actors]
            before = self.log_evidence(bank.before[actors]) if whole is None or np.isnan(whole).any() else whole
            now = self.log_evidence(bank.evidence[actors])
            after[actors] += now - before
            scores[actors] = now
        if fades:
            share = retention if np.ndim(retention) == 0 else np.asarray(retention)[:, None]
            after = np.where(np.asarray(share) == 1.0, after, prior + share * (after - prior))
        return Bank(evidence, evidence.copy(), after, prior, None if fades else scores)

    def log_evidence(self, evidence: Floats) -> Floats:
        """Log evidence of the distinct hypotheses from counts, by model reduction, up to a constant ``(n_agents, M)``."""
        states = np.flatnonzero(self.scorer.telling_states)
        n, n_states = evidence.shape[:2]
        differences = np.zeros((n, n_states, self.scorer.feature.shape[1]))
        flat = self.scorer.differences(evidence[:, states].reshape(n * len(states), evidence.shape[2]), np.tile(states, n))
        differences[:, states] = flat.reshape(n, len(states), differences.shape[2])
        return self.scorer.totals(differences)

    # --- experiments -----------------------------------------------------------------------------------------------------
    def told(self, belief: Thoughts, states: Ints) -> Thoughts:
        """Beliefs of agents that are told states ``(n_agents, n_factors)`` before a trial; -1 tells nothing about a factor, and
        those that actions set are ignored.
        """
        reasoner = self.reasoner
        rows = np.flatnonzero((states[belief.thinkers][:, list(reasoner.still)] >= 0).any(axis=1))
        joint, told = belief.joint.copy(), belief.thinkers[rows]
        with np.errstate(divide="ignore"):
            initial = np.repeat(np.log(reasoner.initial)[None], len(rows), axis=0)
        known = np.exp(given_states(initial, reasoner.still, reasoner.still_sizes, states[told]))
        joint[rows] = reasoner.begin(belief.prior[told], known)
        acting = self.inner.told(belief.acting, states[belief.actors]) if len(belief.actors) else belief.acting
        return replace(belief, joint=joint, acting=acting)

    def experiments(self, belief: Thoughts) -> Ints:
        """States ``(n_agents, n_factors)`` from which each thinker's trial would teach most about hypotheses; -1 where nothing
        is left to learn, and for factors that actions set.
        """
        gain = self.reasoner.structure_gain(belief.prior[belief.thinkers])
        best = np.where(gain.max(axis=1) > 1e-9, gain.argmax(axis=1), -1)
        out = np.full((belief.n_agents, self.model.num_factors), -1)
        chosen = belief.thinkers[best >= 0]
        for f, value in zip(self.reasoner.still, np.unravel_index(best[best >= 0], self.reasoner.still_sizes), strict=True):
            out[chosen, f] = value
        return out


def _gathered(agents: Ints, columns: Ints, weight: Floats) -> tuple[Ints, Ints, Floats]:
    """Entries of the same agent and column made one, agents ascending."""
    width = int(columns.max(initial=0)) + 1
    key, same = np.unique(agents * width + columns, return_inverse=True)
    total = np.bincount(same.reshape(-1), weights=weight, minlength=len(key))
    return key // width, key % width, total


def _merged(parts: list[tuple[Ints, Belief]], n_agents: int, sizes: tuple[int, ...]) -> Belief:
    """One belief of all agents from those of disjoint groups of them."""
    if len(parts) == 1:
        return parts[0][1]
    marginals: list[Floats | None] = []
    known: list[Ints | None] = []
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
