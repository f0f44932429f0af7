"""`World`: one structure of states, of which M models may be true; each has a filter of its own over all of them.

    predict   q_m(s') = sum_s B_m(s' | s, u) q_m(s)
    update    log q_m(s) += sum_k log A_m,k(o_k | s);   log evidence of m += log of the normaliser

A_m, B_m and D_m are expectations under the counts that model m has: those that it claims, and its evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.counts import LOG_FLOOR, mean
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.model_filters import log_normalised
from activebmr.inference.worlds.beliefs import WorldBelief
from activebmr.inference.worlds.moving import Mover
from activebmr.inference.worlds.places import Reads, of_likelihood
from activebmr.inference.worlds.tables import Claimed, Learned, Source, source_of
from activebmr.model.components import Component, components_of
from activebmr.model.naming import Key, Table, table_of
from activebmr.model.pomdp import POMDP

__all__ = ["World"]


class World:
    """See above.

    Args:
        model: what the models share.
        claims: what they say of tables, by what these are kept by.

    Attributes:
        n_models: M.
        components: factors that belong together, whichever model is true.
        movers, reads, touched: per component how it moves, what its modalities read (by modality), and whether models differ
            in it.
        sources: by table where it comes from.
    """

    def __init__(self, model: POMDP, claims: dict[Key, Claimed]) -> None:
        self.model, self.claims = model, claims
        self.n_models = max((len(c.prior) for c in claims.values()), default=1)
        self.union = _union(model, claims)
        self.sources: dict[Table, Source] = {}
        for kind, n in (("A", model.num_modalities), ("B", model.num_factors), ("D", model.num_factors)):
            for i in range(n):
                self.sources[Table(kind, i)] = source_of(model, Table(kind, i), claims)
        self.components = components_of(self.union)
        varied = frozenset(f for f in range(model.num_factors) if self.source("B", f).by_agent or self.source("B", f).by_model)
        self.movers = [Mover(c, varied) for c in self.components]
        self.reads: list[dict[int, Reads]] = [{m: of_likelihood(c, m) for m in c.modalities} for c in self.components]
        self.touched = [any(self.source(*t).by_model for t in _tables_of(c)) for c in self.components]
        self.at = {m: i for i, c in enumerate(self.components) for m in c.modalities}
        self.home = {f: i for i, c in enumerate(self.components) for f in c.factors}

    def source(self, kind: str, index: int) -> Source:
        """Where a table comes from."""
        return self.sources[Table(kind, index)]

    @cached_property
    def counting(self) -> tuple[Key, ...]:
        """Tables that models claim and learn."""
        return tuple(k for k, c in self.claims.items() if c.curious)

    def size(self) -> int:
        """Numbers that an agent keeps about it."""
        beliefs = sum(c.n_hidden * (self.n_models if t else 1) for c, t in zip(self.components, self.touched, strict=True))
        return beliefs + sum(self.claims[k].prior.size for k in self.counting)

    def table(self, kind: str, index: int, knowledge: Knowledge, belief: WorldBelief) -> Floats:
        """A table as believed ``(n_agents or 1, n_models or 1, n_columns, n_outcomes)``."""
        key: Key = index if kind == "A" else Table(kind, index)
        return self.source(kind, index).probabilities(knowledge, belief.evidence(key))

    def transitions(self, knowledge: Knowledge, belief: WorldBelief) -> dict[int, Floats]:
        """Transitions of the hidden factors of components in which some differ between agents or models."""
        moving = [f for mover in self.movers if mover.varied for f in mover.component.hidden]
        tables = {f: self.table("B", f, knowledge, belief) for f in moving}
        # beliefs keep them: what agents count later must not change them
        return {f: t.copy() if isinstance(self.source("B", f), Learned) else t for f, t in tables.items()}

    # --- a trial -----------------------------------------------------------------------------------------------------------
    def begin(self, knowledge: Knowledge, counts: dict[Key, Floats]) -> WorldBelief:
        """Beliefs before the first outcome."""
        n = knowledge.n_agents
        belief = WorldBelief([np.full(n, c.start) for c in self.components], [], None, {}, counts)
        for c, touched in zip(self.components, self.touched, strict=True):
            q = np.ones((1, 1, 1))
            for f in c.hidden:
                start = self.table("D", f, knowledge, belief)[:, :, 0]  # (n_agents or 1, M or 1, S_f)
                q = q[..., None] * start[:, :, None, :]
                q = q.reshape(*q.shape[:2], -1)
            with np.errstate(divide="ignore"):
                log = np.log(q)
            belief.log.append(np.broadcast_to(log, (n, self.n_models if touched else 1, c.n_hidden)).copy())
        for f in self._begun:
            i = self.home[f]
            c = self.components[i]
            first = np.eye(c.hidden_sizes[c.hidden.index(f)])[:, self.movers[i].states[c.hidden.index(f)]]
            belief.origins[f] = np.broadcast_to(first, (*belief.log[i].shape[:2], *first.shape))
        for key in self.counting:
            table = table_of(key)
            if table.kind == "A" and self._stays(int(table.index)):
                belief.during[key] = np.zeros((n, 1, *self.claims[key].prior.shape[1:]))
        return belief

    @cached_property
    def _begun(self) -> tuple[int, ...]:
        """Hidden factors about whose initial states there is something to learn."""
        return tuple(f for c in self.components for f in c.hidden if self.source("D", f).curious)

    def _stays(self, modality: int) -> bool:
        """Whether the hidden states that a modality depends on stay as they are."""
        return self.movers[self.at[modality]].still

    def predict(self, belief: WorldBelief, knowledge: Knowledge, controls: Ints) -> WorldBelief:
        """Beliefs one step later under controls ``(n_agents, n_factors)``."""
        tables = self.transitions(knowledge, belief)
        known, log = [], []
        for i, c in enumerate(self.components):
            here = belief.known[i]
            known.append(c.known_next[c.known_code(controls), here] if c.known else here)
            log.append(self.movers[i].move(belief.log[i], c.hidden_code(controls), here, tables))
        origins = {f: self._origin(f, belief, log, controls, tables) for f in belief.origins}
        return WorldBelief(known, log, log, tables, belief.counts, origins, belief.during)

    def _origin(self, f: int, belief: WorldBelief, after: list[Floats], controls: Ints, tables: dict[int, Floats]) -> Floats:
        """Where a factor began, given where its component is one step later."""
        i = self.home[f]
        mover, now = self.movers[i], belief.origins[f]
        if mover.still:
            return now
        code = self.components[i].hidden_code(controls)
        with np.errstate(divide="ignore"):
            joint = np.log(now) + belief.log[i][:, :, None]
        moved = [mover.move(joint[:, :, s], code, belief.known[i], tables) for s in range(joint.shape[2])]
        possible = after[i] > -np.inf
        shift = np.where(possible, after[i], 0.0)
        return np.stack([np.where(possible, np.exp(x - shift), 0.0) for x in moved], axis=2)

    def update(
        self, belief: WorldBelief, knowledge: Knowledge, outcomes: Sequence[np.ndarray], floored: bool = False
    ) -> tuple[WorldBelief, Floats]:
        """Bayes' rule for the outcomes of all modalities: beliefs, and log evidence of every model ``(n_agents, M)``.

        ``floored``: likelihoods of 0 count as e^-32.
        """
        evidence = np.zeros((len(belief.known[0]), self.n_models))
        logs = []
        for i, reads in enumerate(self.reads):
            total = belief.log[i]
            for m, r in reads.items():
                one = self._log_likelihood(m, r, belief, knowledge, i, outcomes[m])
                total = total + (np.maximum(one, LOG_FLOOR) if floored else one)
            if not reads:
                logs.append(total)
                continue
            log, seen = log_normalised(total, belief.log[i])
            logs.append(log)
            evidence += seen
        return replace(belief, log=logs), evidence

    def smooth(self, filtered: Sequence[WorldBelief], controls: Sequence[Ints]) -> list[WorldBelief]:
        """Beliefs about every time of a trial given all of it; what they foresaw is kept."""
        out = [filtered[-1]]
        for now, moved in zip(filtered[-2::-1], controls[::-1], strict=True):
            later, logs = out[0], []
            assert later.foreseen is not None
            for i, c in enumerate(self.components):
                if self.movers[i].still:
                    logs.append(later.log[i])
                    continue
                foreseen = later.foreseen[i]
                possible = foreseen > -np.inf
                ratio = np.where(possible, later.log[i] - np.where(possible, foreseen, 0.0), -np.inf)
                said = self.movers[i].move(ratio, c.hidden_code(moved), now.known[i], later.moved_by, back=True)
                logs.append(log_normalised(now.log[i] + said, now.log[i])[0])
            out.insert(0, replace(now, log=logs))
        return out

    def _log_likelihood(
        self, m: int, reads: Reads, belief: WorldBelief, knowledge: Knowledge, i: int, outcome: np.ndarray
    ) -> Floats:
        """Log likelihood of a modality's outcome ``(n_agents, M or 1, n_hidden)``; 0 where nothing was seen."""
        table = self.table("A", m, knowledge, belief)
        known = belief.known[i]
        columns = reads.known[known][:, None] + reads.distinct
        agents = (np.arange(len(known)) if len(table) > 1 else np.zeros(len(known), dtype=np.intp))[:, None]
        if outcome.ndim == 1:
            chance = table[agents, :, columns, np.maximum(outcome, 0)[:, None]]  # (n_agents, k, M)
            missing = outcome < 0
        else:
            each = table[agents, :, columns]
            chance = each[..., 0] * outcome[:, None, None, 0]
            for o in range(1, each.shape[3]):
                chance = chance + each[..., o] * outcome[:, None, None, o]
            missing = ~(outcome > 0).any(axis=1)
        with np.errstate(divide="ignore"):
            log = np.log(chance)
        log[missing] = 0.0
        place = np.searchsorted(reads.distinct, reads.hidden)
        return np.ascontiguousarray(log.swapaxes(1, 2)[:, :, place])


def _tables_of(c: Component) -> list[tuple[str, int]]:
    """Tables that beliefs about a component follow from."""
    return [("A", m) for m in c.modalities] + [(kind, f) for f in c.hidden for kind in ("B", "D")]


def _union(model: POMDP, claims: dict[Key, Claimed]) -> POMDP:
    """The model in which all is possible that some model holds possible: which factors belong together, and what is known."""
    values: dict[str, list[Floats]] = {kind: list(getattr(model, kind)) for kind in ("A", "B", "D")}
    for key, claim in claims.items():
        kind, index = table_of(key)
        each = mean(claim.prior.transpose(2, 0, 1))  # (n_outcomes, M, n_columns)
        values[kind][int(index)] = each.mean(axis=1).reshape(values[kind][int(index)].shape)
    return POMDP(
        A=values["A"],
        B=values["B"],
        C=model.C,
        D=values["D"],
        A_dependencies=model.A_dependencies,
        B_dependencies=model.B_dependencies,
        policies=model.policies,
        labels=model.labels,
    )
