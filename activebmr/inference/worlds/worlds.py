"""Believing in models of the world and in states together, where transitions and initial states are learned or in question.

    J(s, m) = w_m q_m(s)          w_m: prior times all normalisers of model m's filter

Models are hypotheses about tables of one model, or models of their own, with other states. Without hypotheses there is one
world and nothing to compare. The posterior over models is exact for sharp hypotheses; for those that learn it is where it is
certain at once what happened; else expected counts stand for what is known (assumed-density filtering).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats, Ints, softmax
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.marginals import Marginals
from activebmr.inference.models.model_filters import log_normalised
from activebmr.inference.protocol import recalled
from activebmr.inference.told import given_states
from activebmr.inference.worlds.beliefs import WorldBelief, WorldsBank, WorldsBelief
from activebmr.inference.worlds.evidence import Rates, noted, rest_of_trial, transition
from activebmr.inference.worlds.tables import claims_of
from activebmr.inference.worlds.world import World
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import dynamics_of, layouts_of
from activebmr.model.naming import Key, table_of
from activebmr.model.pomdp import POMDP

__all__ = ["Worlds"]

_NO_MASS = 1e-16  # less probable states cannot move a float64 sum


class Worlds:
    """See `activebmr.inference.protocol.Believing` and `Moving`.

    Args:
        model: the agents' model; of a space of models one of these. Reports of states are about it (given that it is true).
        space: the hypotheses; None for agents that have none.
        rates: per world the counts that one event adds, by table: called with the world's model.
        largest: numbers that an agent may keep about worlds.
        kept: per world what counts are multiplied with after every trial, by table; by default 1.

    Attributes:
        worlds: the worlds, one after the other in the posterior over models.
        first, class_of: see `HypothesisSpace.distinct`.
        tabled: always empty: no hypothesis is scored by counts that agents share.

    Raises:
        ValueError: if that is more than ``largest``, or transitions are too large to be held for every model.
    """

    in_hindsight, sets_states = False, False
    tabled: tuple[int, ...] = ()

    def __init__(
        self,
        model: POMDP,
        space: HypothesisSpace | None,
        rates: Sequence[Rates],
        largest: float = np.inf,
        kept: Sequence[Rates] | None = None,
    ) -> None:
        self.model, self.space = model, space
        self.at_once = space is None
        if space is None:
            self.worlds = [World(model, {})]
            self.first = self.class_of = np.zeros(1, dtype=np.intp)
            self.log_prior = np.zeros(1)
        else:
            self.first, self.class_of = space.distinct()
            merged = space.merged()
            self.worlds = [World(m, claims_of(m, merged)) for m in space.models or (model,)]
            self.log_prior = np.log(merged.prior)
        self.rates = list(rates)
        self.kept = [{table_of(k): 1.0 for k in w.counting} for w in self.worlds] if kept is None else list(kept)
        own = [i for i, w in enumerate(self.worlds) if w.model is model]
        self.home = own[0]
        self.n_models = len(self.log_prior)
        size = sum(w.size() for w in self.worlds)
        if size > largest:
            raise ValueError(
                f"hypotheses of Agent must hold at most max_size={largest:g} numbers an agent (Reasoning(max_size=...)); these "
                f"{self.n_models} hold {size:.4g}"
            )
        ends = np.cumsum([0, *(w.n_models for w in self.worlds)])
        self.slices = [slice(int(a), int(b)) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        # models that learn count what happened when a trial is over
        self._looks_back = space is not None and any(w.counting for w in self.worlds)
        self._controlled = [list(w.model.controlled_factors) for w in self.worlds]
        self._plain = [np.argsort(layout.order) for layout in layouts_of(model)]

    # --- a life ----------------------------------------------------------------------------------------------------------
    def born(self, n_agents: int, log_prior: Floats | None = None) -> WorldsBank:
        """Nothing seen; ``log_prior``: of each agent over distinct hypotheses, the space's by default."""
        prior = np.repeat(self.log_prior[None], n_agents, axis=0) if log_prior is None else log_prior
        counts = [{k: w.claims[k].born(n_agents) for k in w.counting} for w in self.worlds]
        return WorldsBank(counts, prior, prior)

    def begin(self, knowledge: Knowledge) -> WorldsBelief:
        bank = knowledge.models if self.space is not None else self.born(knowledge.n_agents)
        worlds = [w.begin(knowledge, counts) for w, counts in zip(self.worlds, bank.counts, strict=True)]
        return WorldsBelief(worlds, log_normalised(bank.log_posterior)[0])

    def of_world(self, i: int, controls: Ints) -> Ints:
        """Controls ``(n_agents, n_factors)`` of the agents' model as those of a world's."""
        world = self.worlds[i]
        if world.model is self.model:
            return controls
        out = np.zeros((len(controls), world.model.num_factors), dtype=np.intp)
        out[:, self._controlled[i]] = controls[:, list(self.model.controlled_factors)]
        return out

    def perceive(
        self, belief: WorldsBelief, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]
    ) -> Percept:
        now = belief.worlds
        if controls is not None:
            now = [w.predict(b, knowledge, self.of_world(i, controls)) for i, (w, b) in enumerate(self._each(now))]
        after, weights, evidence = self._updated(now, belief.weights, knowledge, outcomes, False)
        impossible = evidence == -np.inf
        if impossible.any():
            floored, weights_, evidence_ = self._updated(now, belief.weights, knowledge, outcomes, True)
            weights[impossible], evidence[impossible] = weights_[impossible], evidence_[impossible]
            for a, b in zip(after, floored, strict=True):
                for x, y in zip(a.log, b.log, strict=True):
                    x[impossible] = y[impossible]
        done = [None if controls is None else self.of_world(i, controls) for i in range(len(self.worlds))]
        after = [
            noted(w, b, before if controls is not None else None, u, outcomes, rates)
            for w, b, before, u, rates in zip(self.worlds, after, belief.worlds, done, self.rates, strict=True)
        ]
        before = belief if controls is not None else None
        if before is not None and not self._looks_back:  # one step back is all that anybody needs then
            before = replace(before, before=None)
        return Percept(WorldsBelief(after, weights, before, controls, list(outcomes)), evidence, impossible)

    def _each(self, beliefs: Sequence[WorldBelief]) -> list[tuple[World, WorldBelief]]:
        return list(zip(self.worlds, beliefs, strict=True))

    def _updated(
        self,
        now: Sequence[WorldBelief],
        weights: Floats,
        knowledge: Knowledge,
        outcomes: Sequence[np.ndarray],
        floored: bool,
    ) -> tuple[list[WorldBelief], Floats, Floats]:
        done = [w.update(b, knowledge, outcomes, floored) for w, b in self._each(now)]
        with np.errstate(invalid="ignore"):
            scores = weights + np.concatenate([seen for _, seen in done], axis=1)
        weights, evidence = log_normalised(scores, weights)
        return [b for b, _ in done], weights, evidence

    # --- what is believed --------------------------------------------------------------------------------------------------
    def average(self, belief: WorldsBelief, i: int | None = None) -> JointBelief:
        """Beliefs about the states of a world (by default that of the agents' model), given that one of its models is true."""
        i = self.home if i is None else i
        if i not in belief.held:
            own = belief.weights[:, self.slices[i]]
            p, qs = softmax(np.where(np.isneginf(own.max(axis=1, keepdims=True)), 0.0, own)), []
            for log in belief.worlds[i].log:
                q = np.exp(log)
                qs.append(q[:, 0] if q.shape[1] == 1 else np.matmul(p[:, None, :], q)[:, 0])
            with np.errstate(divide="ignore"):
                belief.held[i] = JointBelief(belief.worlds[i].known, [np.log(q) for q in qs], qs)  # type: ignore[index]
        return belief.held[i]  # type: ignore[no-any-return,index]

    def marginals(self, belief: WorldsBelief, i: int | None = None) -> Marginals:
        i = self.home if i is None else i
        return Marginals(self.worlds[i].components, self.average(belief, i))

    def marginals_under(self, belief: WorldsBelief, model: int) -> Marginals:
        """Marginals of the factors of the world of one distinct hypothesis, given that it is true."""
        i = next(i for i, part in enumerate(self.slices) if part.start <= model < part.stop)
        world, mine = self.worlds[i], model - self.slices[i].start
        logs = [log[:, mine if log.shape[1] > 1 else 0] for log in belief.worlds[i].log]
        return Marginals(world.components, JointBelief(belief.worlds[i].known, logs))

    def places(self, belief: WorldsBelief, modality: int) -> tuple[Ints, Ints, Floats]:
        world, whole = self.worlds[self.home], self.average(belief)
        i = world.at[modality]
        reads = world.reads[i][modality]
        weight = reads.seen(whole.q(i)[:, None])[:, 0]
        columns = self._plain[modality][reads.known[whole.known[i]][:, None] + reads.distinct]
        rows, at = np.nonzero(weight > _NO_MASS)
        return rows, columns[rows, at], weight[rows, at]

    def moves(self, belief: WorldsBelief, factor: int, controls: Ints) -> tuple[Ints, Ints, Floats]:
        world = self.worlds[self.home]
        assert belief.before is not None
        own = belief.weights[:, self.slices[self.home]]
        pairs, columns = transition(world, belief.worlds[self.home], belief.before.worlds[self.home], factor, controls)
        p = softmax(np.where(np.isneginf(own.max(axis=1, keepdims=True)), 0.0, own))
        weight = pairs[:, 0] if pairs.shape[1] == 1 else np.matmul(p[:, None], pairs.reshape(*pairs.shape[:2], -1))[:, 0]
        weight = weight.reshape(len(pairs), *pairs.shape[2:])
        rows, at = np.nonzero(weight.sum(axis=2) > _NO_MASS)
        return rows, columns[rows, at], weight[rows, at]

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[WorldsBelief]:
        return self._smoothed([m.belief for m in memory.moments])

    def _smoothed(self, path: Sequence[WorldsBelief]) -> list[WorldsBelief]:
        controls = [b.controls for b in path[1:]]
        each = [
            w.smooth([b.worlds[i] for b in path], [self.of_world(i, u) for u in controls if u is not None])
            for i, w in enumerate(self.worlds)
        ]
        last = path[-1].weights
        return [
            replace(b, worlds=list(worlds), weights=last, held={})
            for b, worlds in zip(path, zip(*each, strict=True), strict=True)
        ]

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[WorldsBelief]:
        return recalled(self, memory, knowledge)

    # --- hypotheses ------------------------------------------------------------------------------------------------------
    def posterior(self, belief: WorldsBelief) -> Floats:
        """Probabilities of the distinct hypotheses now ``(n_agents, n_models)``."""
        return softmax(belief.weights)

    def counted(self, bank: WorldsBank, key: Key, agents: Ints, columns: Ints, amounts: Floats) -> None:
        """What is learned on average is nothing to models that count by themselves."""

    def concluded(self, bank: WorldsBank, belief: WorldsBelief, retention: Floats | float) -> WorldsBank:
        """What is carried on from a trial that ended with ``belief``; ``retention`` is that of the posterior over models."""
        path = belief.path()
        counts = [dict(b.counts) for b in belief.worlds]
        if path[0].outcomes and self._looks_back:
            smoothed, seen = self._smoothed(path), [b.outcomes for b in path]
            for i, w in enumerate(self.worlds):
                moved = [self.of_world(i, b.controls) for b in path[1:] if b.controls is not None]
                lived, hindsight = [b.worlds[i] for b in path], [b.worlds[i] for b in smoothed]
                counts[i] = rest_of_trial(w, lived, hindsight, moved, seen, self.rates[i])
        counts = [
            {k: _faded(x, kept[table_of(k)]) for k, x in held.items()} for held, kept in zip(counts, self.kept, strict=True)
        ]
        share = np.asarray(retention)
        prior, after = bank.log_prior, belief.weights
        if np.any(share < 1.0):
            of_models = share if share.ndim == 0 else share[:, None]
            with np.errstate(invalid="ignore"):
                after = np.where(of_models == 1.0, after, prior + of_models * (after - prior))
        return WorldsBank(counts, after, prior)

    def claimed(self, bank: WorldsBank, i: int, models: Ints, agents: Ints) -> dict[Key, Floats]:
        """Counts of some agents under one model of world ``i`` each: by table ``(len(agents), n_columns, n_outcomes)``."""
        world = self.worlds[i]
        return {k: world.claims[k].counts(bank.counts[i][k])[agents, models] for k in world.counting}

    # --- experiments -----------------------------------------------------------------------------------------------------
    def told(self, belief: WorldsBelief, states: Ints) -> WorldsBelief:
        """Beliefs of agents that are told states ``(n_agents, n_factors)`` before a trial, which is evidence about models that
        disagree on how a trial begins; -1 tells nothing about a factor, and those that actions set are ignored.

        Raises:
            ValueError: if hypotheses have states of their own.
        """
        if len(self.worlds) > 1:
            raise ValueError(
                "states can be told to agents whose hypotheses have the same states; these are models of their own"
            )
        (world,), (held,) = self.worlds, belief.worlds
        states = np.where(np.array(dynamics_of(world.union).kind) == "set", -1, states)
        logs, scores = [], belief.weights
        for x, c, touched in zip(held.log, world.components, world.touched, strict=True):
            logs.append(given_states(x, c.hidden, c.hidden_sizes, states))
            if touched:  # how probable each model held what is told
                fits = np.where(np.isneginf(logs[-1]), -np.inf, x)
                scores = scores + log_normalised(fits)[1]
        return replace(belief, worlds=[replace(held, log=logs)], weights=log_normalised(scores, belief.weights)[0], held={})

    def experiments(self, belief: WorldsBelief) -> Ints:
        """Refused: which states would teach most is worked out for hypotheses about likelihoods alone."""
        raise ValueError(
            "experiments need hypotheses about likelihoods alone, given as counts; these speak about other tables or are values"
        )


def _faded(counts: Floats, kept: float | Floats) -> Floats:
    """Counts ``(n_agents, M, n_columns, n_outcomes)`` after forgetting; ``kept``: one share, or one of each agent."""
    if not np.any(np.asarray(kept) < 1.0):
        return counts
    return counts * checks.each_agent(kept, len(counts), "retention of Learning")[:, None, None, None]
