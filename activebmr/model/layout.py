"""How a model's factors move, and in which order a likelihood's columns are kept so that policies read them in one stroke.

Three kinds of factors matter for speed. A *fixed* one keeps its state (one control, identity). A *set* one is put into a known
state by each control, whatever it was before (gaze, choice, "go to"). All others are *general*. In the tables of a modality
the set factors come last: what all combinations of their controls would show in one state of the other factors is then one
contiguous slab.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import Floats, Ints
from activebmr.counts import mean
from activebmr.model.naming import Key, Table
from activebmr.model.once import once
from activebmr.model.pomdp import POMDP

__all__ = ["Columns", "Dynamics", "Layout", "dynamics_of", "layout_of", "layouts_of"]


class Dynamics:
    """How each factor moves.

    Attributes:
        kind: per factor ``"fixed"``, ``"set"`` or ``"general"``.
        target: per set factor the state that each control leads to ``(U_f,)``; None for the others.
        learned: factors of which each agent expects transitions of its own; none of what a model alone says.
    """

    learned: tuple[int, ...] = ()

    def __init__(self, model: POMDP) -> None:
        self.model = model
        self.kind: list[str] = []
        self.target: list[Ints | None] = []
        self._flat: list[Floats] = []
        for f, (b, counts) in enumerate(zip(model.B, model.pB, strict=True)):  # type: ignore[arg-type]
            b = b if counts is None else mean(counts)  # agents go by their counts, whatever stands beside them
            own = model.B_dependencies[f] == (f,)  # type: ignore[index]
            flat = b.reshape(b.shape[0], -1, b.shape[-1])
            certain = bool(((flat == 0) | (flat == 1)).all())
            if own and b.shape[-1] == 1 and np.array_equal(b[:, :, 0], np.eye(len(b))):
                kind, target = "fixed", None
            elif certain and b.shape[-1] > 1 and (flat == flat[:, :1]).all():
                kind, target = "set", flat[:, 0].argmax(axis=0)
            else:
                kind, target = "general", None
            self.kind.append(kind)
            self.target.append(target)
            self._flat.append(np.ascontiguousarray(flat.transpose(2, 1, 0))[None])

    def take(self, rows: Ints) -> Dynamics:
        """The dynamics of some rows: of all the same ones, unless agents expect their own."""
        return self

    def parents(self, marginals: Sequence[Floats], factor: int) -> Floats:
        """Joint states of what one factor's transitions depend on ``(rows, n)``, as if independent, the last one fastest."""
        deps = self.model.B_dependencies[factor]  # type: ignore[index]
        q = marginals[deps[0]]
        for d in deps[1:]:
            q = (q[:, :, None] * marginals[d][:, None, :]).reshape(len(q), -1)
        return q

    def after(self, marginals: Sequence[Floats], factor: int) -> Floats:
        """Next-state marginals of one factor under each of its controls, ``(rows, U_f, S_f)``, given those of all factors."""
        q = self.parents(marginals, factor)
        # a product per row: its rounding must not depend on how many rows there are
        return np.asarray(np.matmul(q[:, None, None, :], self._flat[factor])[:, :, 0, :])

    def step(self, marginals: Sequence[Floats], factor: int, controls: Ints) -> Floats:
        """The same under one control of each row ``(rows,)``: ``(rows, S_f)``."""
        return self.after(marginals, factor)[np.arange(len(controls)), controls]

    def novelty(self, marginals: Sequence[Floats], factor: int, after: Floats, controls: Ints | None = None) -> Floats:
        """What moves of one factor would tell about its transitions: of known ones nothing, see `LearnedDynamics`."""
        return np.zeros(after.shape[:2])


class Layout:
    """Order of one modality's columns.

    Attributes:
        still: the factors that it depends on and that are not set, in the model's order; they come first.
        slab: the set factors that it depends on; they come last.
        n_still, n_slab: numbers of their joint states.
        order: for each column as kept, its position in C order of the model's own dependencies ``(n_states,)``.
    """

    def __init__(self, model: POMDP, modality: int, dynamics: Dynamics) -> None:
        self._dynamics = dynamics
        self._columns: tuple[Ints | None, Ints] = None, np.zeros(0, dtype=np.intp)  # of the policies last asked for
        deps = model.A_dependencies[modality]  # type: ignore[index]
        self.deps = deps
        self.still = tuple(f for f in deps if dynamics.kind[f] != "set")
        self.slab = tuple(f for f in deps if dynamics.kind[f] == "set")
        sizes = {f: model.num_states[f] for f in deps}
        self.still_sizes = tuple(sizes[f] for f in self.still)
        self.slab_sizes = tuple(sizes[f] for f in self.slab)
        self.n_still, self.n_slab = int(np.prod(self.still_sizes)), int(np.prod(self.slab_sizes))
        self.n_states = self.n_still * self.n_slab
        kept = (*self.still, *self.slab)
        grid = np.arange(self.n_states).reshape([sizes[f] for f in deps])
        self.order = grid.transpose([deps.index(f) for f in kept]).reshape(-1)
        self.original_shape = tuple(sizes[f] for f in deps)
        self.strides = {f: int(np.prod([sizes[g] for g in kept[i + 1 :]], dtype=int)) for i, f in enumerate(kept)}

    def keep(self, tensor: NDArray[np.float64]) -> Floats:
        """Columns of a tensor ``(O, S_deps...)`` in the order kept: ``(n_states, O)``."""
        return np.ascontiguousarray(tensor.reshape(tensor.shape[0], -1)[:, self.order].T)

    def tensor(self, columns: Floats) -> Floats:
        """The way back, for a batch: ``(n, n_states, O)`` as kept to ``(n, O, S_deps...)``."""
        out = np.empty((len(columns), columns.shape[2], self.n_states))
        out[:, :, self.order] = columns.transpose(0, 2, 1)
        return out.reshape(len(columns), columns.shape[2], *self.original_shape)

    def columns(self, tensors: Floats) -> Floats:
        """A batch of tensors ``(n, O, S_deps...)`` as columns in the order kept ``(n, n_states, O)``."""
        flat = tensors.reshape(*tensors.shape[:2], -1)
        return np.ascontiguousarray(flat[:, :, self.order].transpose(0, 2, 1))

    def visited(self, model: POMDP) -> NDArray[np.bool_]:
        """Columns that agents can come to ``(n_states,)``: the set factors stand as at the start, or as some policy puts
        them.
        """
        slab = np.zeros(self.n_slab, dtype=bool)
        for step in range(model.policy_length):
            slab[self.policy_columns(model.policies[:, step])] = True
        start = np.ones(1, dtype=bool)
        for f in self.slab:
            start = np.logical_and.outer(start, model.D[f] > 0).ravel()  # type: ignore[index]
        return np.tile(slab | start, self.n_still)

    def policy_columns(self, policies: Ints) -> Ints:
        """Position within a slab that each one-step policy ``(n_policies, n_factors)`` leads to."""
        held = self._columns
        if policies is not held[0]:
            column = np.zeros(len(policies), dtype=np.intp)
            for f, size in zip(self.slab, self.slab_sizes, strict=True):
                target = self._dynamics.target[f]
                assert target is not None
                column = column * size + target[policies[:, f]]
            self._columns = held = policies, column
        return held[1]


class Columns:
    """Order of the columns of a table that is no likelihood: that of its tensor (transitions: parents, then control, last
    fastest; initial states and habits have one column).

    Attributes:
        n_states: number of columns; ``order``: see `Layout`.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self.n_states = int(np.prod(shape[1:], dtype=int))
        self.order = np.arange(self.n_states)

    def keep(self, tensor: NDArray[np.float64]) -> Floats:
        """Columns of a tensor ``(n_outcomes, ...)``: ``(n_states, n_outcomes)``."""
        return np.ascontiguousarray(tensor.reshape(len(tensor), -1).T)

    def tensor(self, columns: Floats) -> Floats:
        """The way back, for a batch: ``(n, n_states, n_outcomes)`` to ``(n, n_outcomes, ...)``."""
        return np.array(columns.transpose(0, 2, 1), order="C").reshape(len(columns), *self._shape)  # never what is counted on

    def columns(self, tensors: Floats) -> Floats:
        """A batch of tensors ``(n, n_outcomes, ...)`` as columns ``(n, n_states, n_outcomes)``."""
        return np.ascontiguousarray(tensors.reshape(*tensors.shape[:2], -1).transpose(0, 2, 1))


@once
def layout_of(model: POMDP, key: Key) -> Layout | Columns:
    """The order of the columns of any table, by what it is kept by."""
    if not isinstance(key, Table):
        return layouts_of(model)[key]
    return Columns(model.values_of(key).shape)


@once
def dynamics_of(model: POMDP) -> Dynamics:
    """The dynamics of a model, worked out once."""
    return Dynamics(model)


@once
def layouts_of(model: POMDP) -> tuple[Layout, ...]:
    """The layouts of all modalities of a model, worked out once."""
    return tuple(Layout(model, m, dynamics_of(model)) for m in range(model.num_modalities))
