"""Which factors belong together: the components of a model, which are independent of each other given the controls.

Two factors are coupled if some modality depends on both, or the transitions of one on the state of the other. Coupled factors
make up a *component*; beliefs about different components never become dependent, so an exact filter needs one joint
distribution per component and none over all factors. Within a component some factors are *known*: they begin in a certain state
and move with certainty, by what is done and by what else is known (gaze, choice, a place on a map). Their joint state is one
number per agent. The others are *hidden*, and their joint states are what an agent has beliefs about.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.layout import layouts_of
from activebmr.model.motion import Motion, motion_of
from activebmr.model.once import once
from activebmr.model.pomdp import POMDP

__all__ = ["Component", "component_of", "components_of", "known_factors"]


class Component:
    """Factors that belong together.

    Attributes:
        factors: the factors, in the model's order.
        known, hidden: those whose states agents always know, and the others.
        n_known, n_hidden: numbers of their joint states (C order; 1 if there are none).
        start: known joint state at the beginning of a trial.
        initial: probabilities of the hidden joint states then ``(n_hidden,)``.
        modalities: modalities that depend on some of the factors.
        telling: those that depend on a hidden one; the others say nothing that agents do not know.
        known_next: known joint state after each combination of controls ``(n_known_controls, n_known)``.
        motion: how hidden joint states move.
    """

    def __init__(self, model: POMDP, factors: Sequence[int], known: frozenset[int]) -> None:
        self.model = model
        self.factors = tuple(factors)
        self.known = tuple(f for f in factors if f in known)
        self.hidden = tuple(f for f in factors if f not in known)
        self.known_sizes = tuple(model.num_states[f] for f in self.known)
        self.hidden_sizes = tuple(model.num_states[f] for f in self.hidden)
        self.n_known = int(np.prod(self.known_sizes, dtype=float))
        self.n_hidden = int(np.prod(self.hidden_sizes, dtype=float))
        deps: Sequence[Sequence[int]] = model.A_dependencies  # type: ignore[assignment]
        self.modalities = tuple(m for m, d in enumerate(deps) if set(d) & set(factors))
        self.telling = tuple(m for m in self.modalities if set(deps[m]) & set(self.hidden))
        self.known_controls = tuple(model.num_controls[f] for f in self.known)
        self.hidden_controls = tuple(model.num_controls[f] for f in self.hidden)

    # --- known factors ---------------------------------------------------------------------------------------------------
    @cached_property
    def start(self) -> int:
        states = [int(self.model.D[f].argmax()) for f in self.known]  # type: ignore[index]
        return int(np.ravel_multi_index(states, self.known_sizes)) if states else 0

    @cached_property
    def known_next(self) -> Ints:
        model, grid = self.model, np.indices(self.known_sizes).reshape(len(self.known), self.n_known)
        codes = np.indices(self.known_controls).reshape(len(self.known), int(np.prod(self.known_controls, dtype=float)))
        out = np.zeros((codes.shape[1], self.n_known), dtype=np.intp)
        for i, f in enumerate(self.known):
            here = [grid[self.known.index(d)][None, :] for d in model.B_dependencies[f]]  # type: ignore[index]
            chance = model.B[f][(slice(None), *here, codes[i][:, None])]
            out = out * self.known_sizes[i] + chance.argmax(axis=0)
        return out

    def known_code(self, controls: Ints) -> Ints:
        """Which combination of controls of the known factors each row ``(rows, n_factors)`` holds."""
        return _ravel([controls[:, f] for f in self.known], self.known_controls, len(controls))

    # --- hidden factors --------------------------------------------------------------------------------------------------
    @cached_property
    def initial(self) -> Floats:
        joint = np.ones(1)
        for f in self.hidden:
            joint = (joint[:, None] * self.model.D[f]).reshape(-1)  # type: ignore[index]
        return joint

    @cached_property
    def motion(self) -> Motion:
        return motion_of(self.model, self.known, self.hidden)

    @cached_property
    def hidden_codes(self) -> tuple[int, ...]:
        """All combinations of controls of the hidden factors."""
        return tuple(range(int(np.prod(self.hidden_controls, dtype=float))))

    def hidden_code(self, controls: Ints) -> Ints:
        """Which combination of controls of the hidden factors each row ``(rows, n_factors)`` holds."""
        return _ravel([controls[:, f] for f in self.hidden], self.hidden_controls, len(controls))

    def marginals(self, joint: Floats) -> list[Floats]:
        """Marginals of the hidden factors of joint distributions ``(rows, n_hidden)``, per factor ``(rows, S_f)``."""
        n = len(self.hidden)
        if n == 1:
            return [joint]
        tensor, out = joint.reshape(len(joint), *self.hidden_sizes), []
        for i in range(n):
            # one axis after the other, the last first: sums then run in one order whatever the number of rows
            q = tensor
            for axis in range(n - 1, -1, -1):
                if axis != i:
                    q = np.ascontiguousarray(q).sum(axis=axis + 1)
            out.append(np.ascontiguousarray(q))
        return out

    def states_of(self, known: Ints) -> list[Ints]:
        """States of the known factors, per factor, from their joint states ``(rows,)``."""
        return list(np.unravel_index(known, self.known_sizes)) if self.known else []

    # --- likelihoods -----------------------------------------------------------------------------------------------------
    def columns(self, modality: int) -> tuple[Ints, Ints]:
        """Where a likelihood's columns lie in its `Layout`: an offset for each known joint state ``(n_known,)`` and one for
        each hidden joint state ``(n_hidden,)``; the column of a pair is the sum of the two.
        """
        strides = layouts_of(self.model)[modality].strides
        return (_offsets(self.known, self.known_sizes, strides), _offsets(self.hidden, self.hidden_sizes, strides))


def _offsets(factors: tuple[int, ...], sizes: tuple[int, ...], strides: dict[int, int]) -> Ints:
    total = np.zeros(int(np.prod(sizes, dtype=float)), dtype=np.intp)
    grid = np.indices(sizes).reshape(len(sizes), len(total))
    for i, f in enumerate(factors):
        total += grid[i] * strides.get(f, 0)
    return total


def _ravel(controls: list[Ints], sizes: tuple[int, ...], rows: int) -> Ints:
    code: Ints | None = None
    for u, n in zip(controls, sizes, strict=True):
        if n > 1:
            code = u if code is None else code * n + u
    return np.zeros(rows, dtype=np.intp) if code is None else code


def known_factors(model: POMDP) -> frozenset[int]:
    """Factors whose states agents always know: certain at the start, moved with certainty by what is done and known."""
    certain = {
        f
        for f, (b, d) in enumerate(zip(model.B, model.D, strict=True))  # type: ignore[arg-type]
        if np.count_nonzero(d) == 1 and ((b == 0.0) | (b == 1.0)).all()
    }
    while True:
        held = {f for f in certain if set(model.B_dependencies[f]) <= certain}  # type: ignore[index]
        if held == certain:
            return frozenset(certain)
        certain = held


def _groups(model: POMDP) -> list[list[int]]:
    """Connected components of the factors, in the order of their first factor."""
    group = list(range(model.num_factors))

    def root(f: int) -> int:
        while group[f] != f:
            f = group[f]
        return f

    coupled = [list(deps) for deps in model.A_dependencies]  # type: ignore[union-attr]
    coupled += [[f, *deps] for f, deps in enumerate(model.B_dependencies)]  # type: ignore[arg-type]
    for first, *others in coupled:
        for f in others:
            a, b = sorted((root(first), root(f)))
            group[b] = a
    found: dict[int, list[int]] = {}
    for f in range(model.num_factors):
        found.setdefault(root(f), []).append(f)
    return list(found.values())


@once
def components_of(model: POMDP) -> tuple[Component, ...]:
    """The components of a model, worked out once; together they hold each of its factors and modalities exactly once."""
    return tuple(component_of(model, tuple(factors)) for factors in _groups(model))


@once
def component_of(model: POMDP, factors: tuple[int, ...]) -> Component:
    """Some factors, which nothing but themselves moves, as a component, worked out once: its transitions are many numbers."""
    return Component(model, factors, known_factors(model))
