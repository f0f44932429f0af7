"""Worlds that agents act in: generative processes made from models (see `environments` for those of Gymnasium)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats, Ints, sample, sample_cumulative
from activebmr.counts import mean
from activebmr.model.hypotheses import ColumnTable, HypothesisSpace
from activebmr.model.layout import dynamics_of
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP

__all__ = ["ModelProcess", "ModelsProcess", "Process"]


class Process(Protocol):
    """What a world offers: states and outcomes of a batch of agents, driven by uniform random numbers.

    Attributes:
        n_uniforms: how many uniform numbers in [0, 1) one step of one agent uses.

    A world may also have: ``comparable``, whether what agents learn of likelihoods can be compared with its own;
    ``over`` ``(n_agents,)``, whose trial has ended before its time, so that nothing (-1) is seen of it from then on;
    ``rewards`` ``(n_agents,)``, what the last step brought, beside what outcomes are worth; and ``close()``.
    """

    n_uniforms: int

    def reset(self, uniforms: Floats) -> tuple[Ints, Ints]:
        """Begin a trial: states ``(n_agents, n_factors)`` and outcomes ``(n_agents, n_modalities)``."""
        ...

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        """Apply controls ``(n_agents, n_factors)``: the next states and outcomes."""
        ...


class ModelProcess:
    """A world that follows a `POMDP`, in which, if hypotheses are given, one of them is true for each agent.

    Args:
        model: the likelihoods, transitions and initial states that the hypotheses do not speak about.
        hypotheses: structures that the world may have; of what the true one says, the values or the means of the counts hold.
            (For models of their own see `ModelsProcess`.)
        truth: index of the true hypothesis of each agent ``(n_agents,)``.

    Example:
        >>> process = ModelProcess(world)
        >>> states, outcomes = process.reset(np.random.default_rng(0).random((3, process.n_uniforms)))
        >>> outcomes.shape
        (3, 1)
    """

    comparable = True

    def __init__(self, model: POMDP, hypotheses: HypothesisSpace | None = None, truth: Ints | None = None) -> None:
        checks.an(POMDP)(model, "model")
        checks.optional(checks.an(HypothesisSpace))(hypotheses, "hypotheses")
        if (hypotheses is None) != (truth is None):
            raise ValueError("hypotheses and truth must be given together, or neither of them")
        if hypotheses is not None and truth is not None:
            if hypotheses.models:
                raise ValueError(
                    "hypotheses of ModelProcess must be about one model; these are models of their own (ModelsProcess)"
                )
            hypotheses, truth = hypotheses.resolved(model), checks.index_array(truth, "truth", 0, len(hypotheses) - 1)
            if truth.ndim != 1:
                raise ValueError(f"truth must hold an index in 0..{len(hypotheses) - 1} for each agent; got {truth}")
        self.model, self.hypotheses, self.truth = model, hypotheses, truth
        self.n_uniforms = model.num_factors + model.num_modalities
        tables = hypotheses.tables if hypotheses is not None else {}
        # per modality: distinct columns of outcome probabilities, and (truth, state) -> column
        self._columns: list[tuple[Floats, Ints]] = []
        for m, a in enumerate(model.A):
            if m in tables:
                self._columns.append((mean(tables[m].columns.T).T, tables[m].assignment))
            else:
                flat = a.reshape(a.shape[0], -1).T
                self._columns.append((flat, np.arange(len(flat))[None]))
        self._spoken = [m in tables for m in range(model.num_modalities)]  # others' columns are numbered by states
        self._cumulative = [c.cumsum(axis=1) for c, _ in self._columns]
        # per factor, by truth: the next state's cumulative probabilities by states and controls; probabilities of the first one
        self._moves = [_variants(tables.get(Table("B", f)), b).cumsum(axis=-1) for f, b in enumerate(model.B)]
        self._starts = [_variants(tables.get(Table("D", f)), d) for f, d in enumerate(model.D)]  # type: ignore[arg-type]
        self._moving = [Table("B", f) in tables for f in range(model.num_factors)]
        self._strides = [_strides([model.num_states[f] for f in deps]) for deps in model.A_dependencies]  # type: ignore[union-attr]
        self._certain = [c.argmax(axis=1) if (c.max(axis=1) == 1.0).all() else None for c, _ in self._columns]
        self.states: Ints = np.zeros((0, model.num_factors), dtype=np.intp)

    def likelihood(self, modality: int) -> Floats:
        """True likelihood of a modality for each agent, by state: ``(n_agents or 1, n_states, n_outcomes)``."""
        columns, assignment = self._columns[checks.whole_number(modality, "modality", 0, len(self._columns) - 1)]
        which = assignment[self.truth] if len(assignment) > 1 else assignment
        return np.asarray(columns[which])

    def certain(self, modality: int) -> Ints | None:
        """The outcome in each state ``(n_agents or 1, n_states)`` if the world leaves nothing to chance there, else None."""
        modality = checks.whole_number(modality, "modality", 0, len(self._columns) - 1)
        outcomes, assignment = self._certain[modality], self._columns[modality][1]
        if outcomes is None:
            return None
        return np.asarray(outcomes[assignment[self.truth] if len(assignment) > 1 else assignment])

    def reset(self, uniforms: Floats, given: Ints | None = None) -> tuple[Ints, Ints]:
        """Begin a trial; states ``given`` (n_agents, n_factors) that are not -1 are set instead of drawn."""
        uniforms = self._uniforms(uniforms, None if self.truth is None else len(self.truth))
        n = len(uniforms)
        draws = [
            sample(np.repeat(d, n, axis=0) if len(d) == 1 else d[self.truth], uniforms[:, f])
            for f, d in enumerate(self._starts)
        ]
        self.states = np.stack(draws, axis=1)
        if given is not None:
            given = checks.index_array(given, "given", -1, None, self.states.shape)
            if (given >= np.array(self.model.num_states)).any():
                raise ValueError(f"given must lie below the numbers of states {self.model.num_states}, or be -1; got {given}")
            self.states = np.where(given >= 0, given, self.states)
        return self.states, self._outcomes(uniforms)

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        """See `Process`.

        Raises:
            ValueError, TypeError: if controls or random numbers do not fit the agents of the last `reset`.
        """
        model, old = self.model, self.states
        uniforms = self._uniforms(uniforms, len(old))
        controls = checks.index_array(controls, "controls", 0, None, old.shape)
        if (controls >= np.array(model.num_controls)).any():
            raise ValueError(f"controls must lie below the numbers of controls {model.num_controls}; got {controls}")
        fresh = np.empty_like(old)
        dynamics = dynamics_of(model)
        for f in range(model.num_factors):
            target = dynamics.target[f]
            if dynamics.kind[f] == "fixed" and not self._moving[f]:
                fresh[:, f] = old[:, f]
            elif target is not None and not self._moving[f]:
                fresh[:, f] = target[controls[:, f]]
            else:
                deps = model.B_dependencies[f]  # type: ignore[index]
                which = self.truth if self._moving[f] else 0
                rows = self._moves[f][(which, *(old[:, d] for d in deps), controls[:, f])]
                fresh[:, f] = sample_cumulative(rows, uniforms[:, f])
        self.states = fresh
        return fresh, self._outcomes(uniforms)

    def _uniforms(self, uniforms: Any, rows: int | None) -> Floats:
        """Random numbers ``(rows, n_uniforms)`` in [0, 1]."""
        array = checks.numbers(uniforms, "uniforms", checks.PROBABILITY)
        if array.ndim != 2 or array.shape[1] < self.n_uniforms or rows not in (None, len(array)):
            wanted = ("n_agents" if rows is None else rows, self.n_uniforms)
            raise ValueError(f"uniforms must have shape {wanted}, or more columns; got {array.shape}")
        return array

    def _outcomes(self, uniforms: Floats) -> Ints:
        model = self.model
        out = np.empty((len(self.states), model.num_modalities), dtype=np.intp)
        for m, (_, assignment) in enumerate(self._columns):
            deps = model.A_dependencies[m]  # type: ignore[index]
            column = self.states[:, deps[0]]
            if len(deps) > 1:
                column = column * self._strides[m][0]
            for f, stride in zip(deps[1:], self._strides[m][1:], strict=True):
                column += self.states[:, f] * stride
            if self._spoken[m]:
                column = assignment[self.truth if len(assignment) > 1 else 0, column]
            certain = self._certain[m]
            if certain is None:
                out[:, m] = sample_cumulative(self._cumulative[m][column], uniforms[:, model.num_factors + m])
            else:
                out[:, m] = certain[column]
        return out


class ModelsProcess:
    """A world in which each agent's is one of several models, with states of its own.

    States are those of the true model, one number per factor, and -1 for factors that it has not.

    Args:
        model: the agents' model; controls are given as it numbers factors.
        hypotheses: a space of models, see `HypothesisSpace.from_models`.
        truth: index of the true one of each agent ``(n_agents,)``.
    """

    comparable = False

    def __init__(self, model: POMDP, hypotheses: HypothesisSpace, truth: Ints) -> None:
        checks.an(HypothesisSpace)(hypotheses, "hypotheses")
        if not hypotheses.models:
            raise ValueError(
                "hypotheses of ModelsProcess must be models of their own; these are about one model (ModelProcess)"
            )
        truth = checks.index_array(truth, "truth", 0, len(hypotheses) - 1)
        if truth.ndim != 1:
            raise ValueError(f"truth must hold an index in 0..{len(hypotheses) - 1} for each agent; got {truth}")
        self.model, self.hypotheses, self.truth = model, hypotheses, truth
        self._factors = max(m.num_factors for m in hypotheses.models)
        self.n_uniforms = self._factors + model.num_modalities
        self._parts = [(np.flatnonzero(truth == i), ModelProcess(m)) for i, m in enumerate(hypotheses.models)]
        self._parts = [(rows, process) for rows, process in self._parts if len(rows)]

    def reset(self, uniforms: Floats, given: Ints | None = None) -> tuple[Ints, Ints]:
        """Begin a trial; no states can be given.

        Raises:
            ValueError: if some are.
        """
        if given is not None and (np.asarray(given) >= 0).any():
            raise ValueError("given must be None for worlds that are models of their own: their states differ")
        return self._gathered(uniforms, lambda process, rows, mine: process.reset(mine))

    def step(self, controls: Ints, uniforms: Floats) -> tuple[Ints, Ints]:
        acting = list(self.model.controlled_factors)

        def one(process: ModelProcess, rows: Ints, mine: Floats) -> tuple[Ints, Ints]:
            own = np.zeros((len(rows), process.model.num_factors), dtype=np.intp)
            own[:, list(process.model.controlled_factors)] = controls[rows][:, acting]
            return process.step(own, mine)

        return self._gathered(uniforms, one)

    def _gathered(self, uniforms: Floats, do: Callable[[ModelProcess, Ints, Floats], tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
        states = np.full((len(uniforms), self._factors), -1)
        outcomes = np.empty((len(uniforms), self.model.num_modalities), dtype=np.intp)
        for rows, process in self._parts:
            n = process.model.num_factors
            mine = np.concatenate([uniforms[rows, :n], uniforms[rows, self._factors :]], axis=1)
            states[rows, :n], outcomes[rows] = do(process, rows, mine)
        return states, outcomes


def _variants(claimed: ColumnTable | None, known: Floats) -> Floats:
    """Probabilities of next (or first) states as the last axis: ``(n_hypotheses or 1, ...)``."""
    if claimed is None:
        return np.ascontiguousarray(np.moveaxis(known, 0, -1))[None]
    columns = mean(claimed.columns.T).T[claimed.assignment]  # (n_hypotheses, n_columns, S)
    return columns.reshape(len(columns), *known.shape[1:], len(known))


def _strides(sizes: list[int]) -> list[int]:
    """How far apart the states of each factor lie in C order."""
    return [int(np.prod(sizes[i + 1 :], dtype=int)) for i in range(len(sizes))]
