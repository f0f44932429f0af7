"""Believing in hypotheses and states together: one exact filter per hypothesis, each with counts of its own.

    J(s, m) = w_m q(s | m)          w_m: prior times all normalisers of hypothesis m's filter

Components of the model (see `activebmr.model.components`) that no hypothesis speaks about have one filter for all. Given a
hypothesis components are independent, so each has its own. Where hidden states stay as they are, outcomes are counted as they
come in, in the columns that each of them would make: exact, given the states. Where they move, outcomes seen in states that are
certain are. All others every hypothesis counts when the trial is over, by its own smoothed beliefs.

The posterior over hypotheses is exact for sharp ones. For learned ones it is where hidden states that stay are certain when a
trial is over, and those that move while they last; else counts of expected states stand for what is known about each column
(assumed-density filtering).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from activebmr.arrays import Floats, Ints, softmax
from activebmr.inference.exact import Exact
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.models.bank import ModelBank, ModelBelief
from activebmr.inference.models.experiments import Experiments
from activebmr.inference.models.model_filters import ModelFilters, log_normalised
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.smoothing import smooth
from activebmr.inference.told import given_states
from activebmr.model.components import components_of
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import dynamics_of
from activebmr.model.pomdp import POMDP

__all__ = ["OwnEvidence", "own_size"]


def own_size(model: POMDP, space: HypothesisSpace) -> int:
    """Numbers that an agent keeps about the distinct hypotheses: beliefs and counts."""
    n_models, size = len(space.distinct()[0]), 0
    for c in components_of(model):
        spoken = [m for m in c.modalities if m in space.tables]
        if spoken:
            size += n_models * c.n_hidden
        for m in spoken:
            hidden = set(model.A_dependencies[m]) & set(c.hidden)  # type: ignore[index]
            size += (n_models if hidden else 1) * int(np.prod(space.tables[m].shape))
    return size


class OwnEvidence:
    """See `activebmr.inference.protocol.Believing`.

    Attributes:
        claims: per modality what hypotheses claim about it.
        touched: per component whether hypotheses speak about one of its modalities.
    """

    at_once, in_hindsight, sets_states = False, False, True

    def __init__(self, model: POMDP, space: HypothesisSpace, offset: float, settings: Reasoning, rate: float | Floats) -> None:
        self.model, self.settings = model, settings
        self.first, self.class_of = space.distinct()
        merged = space.merged() if len(self.first) < len(space) else space
        self.n_models = len(merged)
        self.log_prior = np.log(merged.prior)
        self.inner = Exact(model)
        self.filters = ModelFilters(model, merged, offset, rate, self.inner)
        self.components, self.claims, self.touched = self.filters.components, self.filters.claims, self.filters.touched
        self.tabled = tuple(sorted(self.claims))
        self._experiments = Experiments(model, merged)

    # --- a life ----------------------------------------------------------------------------------------------------------
    def born(self, n_agents: int, log_prior: Floats | None = None) -> ModelBank:
        """Nothing seen; ``log_prior``: of each agent over distinct hypotheses, the space's by default."""
        prior = np.repeat(self.log_prior[None], n_agents, axis=0) if log_prior is None else log_prior
        return ModelBank({m: c.born(n_agents) for m, c in self.claims.items()}, prior, prior)

    def begin(self, knowledge: Knowledge) -> ModelBelief:
        n, bank = knowledge.n_agents, knowledge.models
        whole = self.inner.start(n)
        log = [
            np.repeat(x[:, None], self.n_models, axis=1) if touched else x
            for x, touched in zip(whole.log, self.touched, strict=True)
        ]
        during = {m: np.zeros((n, c.n_states, c.n_outcomes)) for m, c in self.claims.items()}
        thinkers, actors = np.flatnonzero(knowledge.adopted < 0), np.flatnonzero(knowledge.adopted >= 0)
        weights = log_normalised(bank.log_posterior)[0]
        return ModelBelief(whole.known, log, weights, during, thinkers, actors, self.inner.start(len(actors)))

    def perceive(
        self, belief: ModelBelief, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]
    ) -> Percept:
        actors, acting = belief.actors, belief.acting
        after = belief if controls is None else self.filters.predict(belief, controls)
        after, evidence, impossible = self.filters.update(after, knowledge, outcomes)
        if len(actors):
            if controls is not None:
                acting = self.inner.predict(acting, controls[actors])
            percept = self.inner.update(acting, knowledge.tables, actors, [o[actors] for o in outcomes])
            acting, evidence[actors], impossible[actors] = percept.belief, percept.log_evidence, percept.impossible
        seen = {m: outcomes[m] for m in self.claims}
        trace = {"before": belief if controls is not None else None, "controls": controls, "outcomes": seen}
        if not self.filters.traced:
            trace["before"] = None
        return Percept(replace(after, acting=acting, held={}, **trace), evidence, impossible)

    # --- what is believed --------------------------------------------------------------------------------------------------
    def average(self, belief: ModelBelief) -> JointBelief:
        """Beliefs about states whatever hypothesis is true, per component; those that actors act by."""
        if "average" not in belief.held:
            p, known, qs = np.exp(belief.weights), [], []
            for i, log in enumerate(belief.log):
                q = np.exp(log)
                if self.touched[i]:
                    q = np.matmul(p[:, None, :], q)[:, 0]
                if len(belief.actors):
                    q[belief.actors] = belief.acting.q(i)
                known.append(belief.known[i])
                qs.append(q)
            with np.errstate(divide="ignore"):
                belief.held["average"] = JointBelief(known, [np.log(q) for q in qs], qs)
        return belief.held["average"]  # type: ignore[no-any-return]

    def marginals(self, belief: ModelBelief) -> Sequence[Floats]:
        return self.inner.marginals(self.average(belief))

    def places(self, belief: ModelBelief, modality: int) -> tuple[Ints, Ints, Floats]:
        return self.inner.places(self.average(belief), modality)

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[ModelBelief]:
        moments = memory.moments
        last: ModelBelief = moments[-1].belief
        acting = [last.acting] * len(moments)
        if len(last.actors):
            inner = Memory()
            for m in moments:
                inner.add(None if m.controls is None else m.controls[last.actors], [], m.belief.acting)
            acting = list(self.inner.hindsight(inner, knowledge))
        if self.filters.traced:
            thinking = self.filters.smoothed(last)
        else:  # only what no hypothesis speaks about moves
            states = [self._untouched(m.belief) for m in moments]
            controls = [m.controls for m in moments[1:] if m.controls is not None]
            flat = smooth(self.model, states, controls)
            smoothed = [flat.at(t) for t in range(len(moments))]
            thinking = [
                replace(
                    m.belief, weights=last.weights, held={},
                    log=[last.log[i] if t else b.log[i] for i, t in enumerate(self.touched)],
                )
                for m, b in zip(moments, smoothed, strict=True)
            ]  # fmt: skip
        return [replace(b, acting=a) for b, a in zip(thinking, acting, strict=True)]

    def _untouched(self, belief: ModelBelief) -> JointBelief:
        flat = [x[:, 0] if t else x for x, t in zip(belief.log, self.touched, strict=True)]
        return JointBelief(belief.known, flat)

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[ModelBelief]:
        raise TypeError("agents with hypotheses do not dream")

    # --- hypotheses ------------------------------------------------------------------------------------------------------
    def posterior(self, belief: ModelBelief) -> Floats:
        """Probabilities of the distinct hypotheses now ``(n_agents, M)``."""
        return softmax(belief.weights)

    def counted(self, bank: ModelBank, modality: int, agents: Ints, columns: Ints, amounts: Floats) -> None:
        """What is learned on average is nothing to hypotheses that count by themselves."""

    def concluded(self, bank: ModelBank, belief: ModelBelief, retention: Floats | float) -> ModelBank:
        """What is carried on from a trial that ended with ``belief``."""
        counts, prior = {m: x.copy() for m, x in bank.counts.items()}, bank.log_prior
        path = self.filters.smoothed(belief) if self.filters.traced else [belief]
        for m, claims in self.claims.items():
            i = self.filters.at[m]
            if claims.still or claims.common:
                claims.count_trial(counts[m], belief.during[m], np.exp(belief.log[i]))
                continue
            counts[m] += belief.during[m][:, :, None, :]
            for then in path:
                if m in then.outcomes:
                    soft = self.filters.counted(then.outcomes[m], claims.n_outcomes)
                    soft[then.certain[m]] = 0.0
                    claims.count(counts[m], then.known[i], np.exp(then.log[i]), soft)
        fades = bool(np.any(np.asarray(retention) < 1.0))
        if fades:
            for x in counts.values():
                x *= retention if np.ndim(retention) == 0 else np.asarray(retention)[:, None, None, None]
        if self.settings.evidence == "counts":
            return ModelBank(counts, self.log_evidence(counts) + prior, prior)
        after = belief.weights
        if fades:
            share = retention if np.ndim(retention) == 0 else np.asarray(retention)[:, None]
            after = np.where(np.asarray(share) == 1.0, after, prior + share * (after - prior))
        return ModelBank(counts, after, prior)

    def log_evidence(self, counts: dict[int, Floats]) -> Floats:
        """Log evidence of the distinct hypotheses from counts, by model reduction ``(n_agents, M)``."""
        return np.asarray(sum(claims.log_evidence(counts[m]) for m, claims in self.claims.items()))

    # --- experiments -----------------------------------------------------------------------------------------------------
    def told(self, belief: ModelBelief, states: Ints) -> ModelBelief:
        """Beliefs of agents that are told states ``(n_agents, n_factors)`` before a trial; -1 tells nothing about a factor, and
        those that actions set are ignored.
        """
        states = np.where(np.array(dynamics_of(self.model).kind) == "set", -1, states)
        logs = [given_states(x, c.hidden, c.hidden_sizes, states) for x, c in zip(belief.log, self.components, strict=True)]
        acting = self.inner.told(belief.acting, states[belief.actors]) if len(belief.actors) else belief.acting
        return replace(belief, log=logs, acting=acting, held={})

    def experiments(self, belief: ModelBelief) -> Ints:
        """States ``(n_agents, n_factors)`` from which each thinker's trial would teach most about hypotheses; -1 where nothing
        is left to learn, and for factors that actions set.
        """
        out = np.full((belief.rows, self.model.num_factors), -1)
        out[belief.thinkers] = self._experiments.best(np.exp(belief.weights[belief.thinkers]))
        return out
