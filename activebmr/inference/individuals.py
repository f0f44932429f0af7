"""Agents of one batch with likelihoods, transitions or initial states of their own, believing exactly.

Who an agent is, is a state like any other, which it knows and which never changes: the model gets, for every component whose
tables differ, a further known factor with one state per agent, and the tables that differ depend on it. All that exact beliefs
and planning can do, they can then do for every agent with its own numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.exact import Exact
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.protocol import recalled
from activebmr.inference.tables import KnownTable
from activebmr.model.components import components_of
from activebmr.model.layout import layouts_of
from activebmr.model.pomdp import POMDP

__all__ = ["Individuals", "First"]


class First(Sequence[Floats]):
    """The first few of a sequence of arrays."""

    def __init__(self, arrays: Sequence[Floats], n: int) -> None:
        self._arrays, self._n = arrays, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, i: int) -> Floats:  # type: ignore[override]
        if not -self._n <= i < self._n:
            raise IndexError(f"factor must lie in 0..{self._n - 1}; got {i}")
        return self._arrays[i % self._n]


class Individuals:
    """See `activebmr.inference.protocol.Believing`.

    Args:
        model: what the agents share.
        own: by ``("A", m)``, ``("B", f)`` or ``("D", f)`` the tables of each agent ``(n_agents, ...)``.

    Attributes:
        extended: the model in which agents know who they are; its further factors have one control.
        tables: likelihoods that differ, by modality, in the extended model.
    """

    at_once, in_hindsight = True, False

    def __init__(self, model: POMDP, own: Mapping[tuple[str, int], Floats]) -> None:
        self.model, self.n_agents = model, len(next(iter(own.values())))
        self.extended, self._initial = _extended(model, own, self.n_agents)
        self.inner = Exact(self.extended)
        layouts = layouts_of(self.extended)
        self.tables = {m: KnownTable(self.extended.A[m], layouts[m]) for kind, m in own if kind == "A"}
        for m, shared in enumerate(layouts_of(model)):
            if m in self.tables or layouts[m].strides == shared.strides:
                continue
            # a factor that controls set for all agents alike, or for none, is not that any more
            if model.pA[m] is not None:  # type: ignore[index]
                raise ValueError(
                    f"own B of Agent must not change which factors actions set if modality {m}, which is learned, depends on "
                    "several of them"
                )
            self.tables[m] = KnownTable(self.extended.A[m], layouts[m])

    def begin(self, knowledge: Knowledge) -> JointBelief:
        n = knowledge.n_agents
        if n != self.n_agents:
            raise ValueError(f"own of Agent has tables for {self.n_agents} agents; the batch has {n}")
        start = self.inner.start(n)
        known, log = list(start.known), list(start.log)
        for i, c in enumerate(self.inner.components):
            for f, stride in zip(c.known, _strides(c.known_sizes), strict=True):
                if f >= self.model.num_factors:
                    known[i] = known[i] + np.arange(n) * stride
            if any(f in self._initial for f in c.hidden):
                q = np.ones((n, 1))
                for f in c.hidden:
                    mine = self._initial.get(f, np.broadcast_to(self.extended.D[f], (n, len(self.extended.D[f]))))  # type: ignore[index]
                    q = (q[:, :, None] * mine[:, None, :]).reshape(n, -1)
                with np.errstate(divide="ignore"):
                    log[i] = np.log(q)
        return JointBelief(known, log)

    def perceive(
        self, belief: JointBelief, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]
    ) -> Percept:
        return self.inner.perceive(belief, self._with_own(knowledge), self._all(controls), outcomes)

    def _with_own(self, knowledge: Knowledge) -> Knowledge:
        return replace(knowledge, tables=[self.tables.get(m, t) for m, t in enumerate(knowledge.tables)])

    def _all(self, controls: Ints | None) -> Ints | None:
        if controls is None:
            return None
        more = self.extended.num_factors - self.model.num_factors
        return np.concatenate([controls, np.zeros((len(controls), more), dtype=np.intp)], axis=1)

    def marginals(self, belief: JointBelief) -> Sequence[Floats]:
        return First(self.inner.marginals(belief), self.model.num_factors)

    def places(self, belief: JointBelief, modality: int) -> tuple[Ints, Ints, Floats]:
        return self.inner.places(belief, modality)

    def _memory(self, memory: Memory) -> Memory:
        out = Memory()
        for m in memory.moments:
            out.add(self._all(m.controls), m.outcomes, m.belief)
        return out

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[JointBelief]:
        return self.inner.hindsight(self._memory(memory), self._with_own(knowledge))

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[JointBelief]:
        return recalled(self, memory, knowledge)


def _strides(sizes: tuple[int, ...]) -> list[int]:
    return [int(np.prod(sizes[i + 1 :], dtype=int)) for i in range(len(sizes))]


def _extended(model: POMDP, own: Mapping[tuple[str, int], Floats], n_agents: int) -> tuple[POMDP, dict[int, Floats]]:
    """The model in which agents know who they are, and initial states of each agent, per factor where they differ."""
    initial = {f: value for (kind, f), value in own.items() if kind == "D"}
    # where agents differ in how they begin, none of them is to be certain for all
    start = [initial[f].mean(axis=0) if f in initial else d for f, d in enumerate(model.D)]  # type: ignore[arg-type]
    shared = model.with_(D=start)
    n, who = model.num_factors, {}
    for c in components_of(shared):
        tables = [("A", m) in own for m in c.modalities] + [("B", f) in own for f in c.factors]
        if any(tables):
            for f in c.factors:
                who[f] = n + len(set(who.values()))
    extra = sorted(set(who.values()))
    A, a_deps, counts = [], [], list(model.pA)  # type: ignore[arg-type]
    for m, (a, deps) in enumerate(zip(model.A, model.A_dependencies, strict=True)):  # type: ignore[arg-type]
        mine = own.get(("A", m))
        if mine is not None:
            A.append(np.moveaxis(mine, 0, -1))
            a_deps.append([*deps, who[deps[0]]])
            continue
        # axes in the order in which columns are kept, which is then the order of both models
        kept = (*layouts_of(model)[m].still, *layouts_of(model)[m].slab)
        axes = (0, *(1 + deps.index(f) for f in kept))
        A.append(a.transpose(axes))
        a_deps.append(list(kept))
        counts[m] = None if counts[m] is None else counts[m].transpose(axes)
    B, b_deps = [], []
    for f, (b, deps) in enumerate(zip(model.B, model.B_dependencies, strict=True)):  # type: ignore[arg-type]
        mine = own.get(("B", f))
        B.append(b if mine is None else np.moveaxis(mine, 0, -2))
        b_deps.append(list(deps) if mine is None else [*deps, who[f]])
    B += [np.eye(n_agents)[:, :, None]] * len(extra)
    b_deps += [[f] for f in extra]
    policies = np.concatenate([model.policies, np.zeros((*model.policies.shape[:2], len(extra)), dtype=np.intp)], axis=2)
    prior = [*model.E, *([np.ones(1)] * len(extra))] if isinstance(model.E, tuple) else model.E
    extended = POMDP(
        A=A,
        B=B,
        C=model.C,
        D=[*start, *([np.eye(n_agents)[0]] * len(extra))],
        E=prior,
        pA=counts,
        A_dependencies=a_deps,
        B_dependencies=b_deps,
        policies=policies,
        labels={**model.labels, "factor": [*model.labels["factor"], *(f"agent ({f})" for f in extra)]},
    )
    return extended, initial
