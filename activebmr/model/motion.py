"""How the hidden joint states of a component move, by whichever representation is smallest.

Beliefs are moved as ``(rows, histories, n)``: rows share nothing, histories are what different sequences of controls have made
of one row's belief. Products run row by row, so that a row's rounding never depends on how many rows there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from scipy.sparse import csr_array

from activebmr.arrays import Floats
from activebmr.model.pomdp import POMDP

__all__ = ["Dense", "ByFactor", "Motion", "Sparse", "Still", "motion_of", "size_of_motion"]

_DENSE = 1024  # joint states up to which a transition matrix is kept as such
_NUMBERS = 2**26  # ... if all of them together hold at most so many numbers


class Motion(Protocol):
    """Transitions of hidden joint states.

    Attributes:
        still: nothing ever moves.
        by_known: transitions depend on the known joint state.
    """

    still: bool
    by_known: bool

    def forward(self, q: Floats, code: int, known: int) -> Floats:
        """Beliefs ``(rows, histories, n)`` one step later under one combination of controls."""
        ...

    def backward(self, q: Floats, code: int, known: int) -> Floats:
        """The transposed product: ``sum_s' B(s' | s) q(s')`` for every s."""
        ...

    def matrix(self, code: int, known: int) -> Floats:
        """Transition probabilities ``(next, now)``."""
        ...

    def stacked(self, codes: tuple[int, ...]) -> Floats | None:
        """Transposed matrices of several combinations of controls ``(n_codes, now, next)``; None where matrices are not kept,
        or depend on the known state.
        """
        ...


class Still:
    """Nothing moves."""

    still, by_known = True, False

    def __init__(self, n: int) -> None:
        self._n = n

    def forward(self, q: Floats, code: int, known: int) -> Floats:
        return q

    backward = forward

    def matrix(self, code: int, known: int) -> Floats:
        return np.eye(self._n)

    def stacked(self, codes: tuple[int, ...]) -> Floats | None:
        return None


class _Joint:
    """Transition probabilities between joint states, entry by entry."""

    still = False

    def stacked(self, codes: tuple[int, ...]) -> Floats | None:
        return None

    def __init__(self, model: POMDP, known: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        self._model, self._known, self._hidden = model, known, hidden
        self._sizes = tuple(model.num_states[f] for f in hidden)
        self._known_sizes = tuple(model.num_states[f] for f in known)
        self._controls = tuple(model.num_controls[f] for f in hidden)
        self.by_known = _depends_on(model, hidden, known)

    def _factors(self, code: int, known: int) -> list[tuple[Floats, list[int]]]:
        """Per hidden factor its transitions given controls and known states ``(S_f, S_d0, ...)``, and its hidden parents."""
        controls = np.unravel_index(code, self._controls)
        here = dict(zip(self._known, np.unravel_index(known, self._known_sizes) if self._known else (), strict=True))
        out = []
        for i, f in enumerate(self._hidden):
            deps: Sequence[int] = self._model.B_dependencies[f]  # type: ignore[index]
            index = tuple(here[d] if d in here else slice(None) for d in deps)
            b = self._model.B[f][(slice(None), *index, controls[i])]
            out.append((b, [self._hidden.index(d) for d in deps if d not in here]))
        return out


class Dense(_Joint):
    """One matrix per combination of controls (and known joint state, where that matters)."""

    def __init__(self, model: POMDP, known: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        super().__init__(model, known, hidden)
        self._made: dict[tuple[int, int], tuple[Floats, Floats]] = {}
        self._stacked: dict[tuple[int, ...], Floats] = {}

    def stacked(self, codes: tuple[int, ...]) -> Floats | None:
        if self.by_known:
            return None
        if codes not in self._stacked:
            self._stacked[codes] = np.stack([self._matrices(u, 0)[1] for u in codes])
        return self._stacked[codes]

    def _matrices(self, code: int, known: int) -> tuple[Floats, Floats]:
        key = int(code), int(known) if self.by_known else 0
        if key not in self._made:
            n = int(np.prod(self._sizes))
            grid = np.indices(self._sizes).reshape(len(self._sizes), n)
            matrix = np.ones((n, n))
            for i, (b, parents) in enumerate(self._factors(*key)):
                matrix *= b[(grid[i][:, None], *(grid[p][None, :] for p in parents))]
            self._made[key] = matrix, np.ascontiguousarray(matrix.T)
        return self._made[key]

    def forward(self, q: Floats, code: int, known: int) -> Floats:
        return np.matmul(q, self._matrices(code, known)[1])

    def backward(self, q: Floats, code: int, known: int) -> Floats:
        return np.matmul(q, self._matrices(code, known)[0])

    def matrix(self, code: int, known: int) -> Floats:
        return self._matrices(code, known)[0]


class ByFactor(_Joint):
    """Hidden factors that move each by itself: one small matrix per factor, along its own axis."""

    def _along(self, q: Floats, code: int, known: int, turn: bool) -> Floats:
        lead, after = q.shape[:-1], 1
        for i in range(len(self._sizes) - 1, -1, -1):
            b = self._factors(code, known)[i][0]
            if b.ndim == 1:  # wherever it was: every column is this one
                b = np.repeat(b[:, None], self._sizes[i], axis=1)
            if not np.array_equal(b, np.eye(len(b))):
                x = q.reshape(*lead, -1, self._sizes[i], after)
                q = np.matmul(b.T if turn else b, x).reshape(*lead, -1)
            after *= self._sizes[i]
        return q

    def forward(self, q: Floats, code: int, known: int) -> Floats:
        return self._along(q, code, known, turn=False)

    def backward(self, q: Floats, code: int, known: int) -> Floats:
        return self._along(q, code, known, turn=True)

    def matrix(self, code: int, known: int) -> Floats:
        n = int(np.prod(self._sizes))
        return self.forward(np.eye(n)[None], code, known)[0].T


class Sparse(_Joint):
    """Joint transitions listed only where they have mass."""

    def __init__(self, model: POMDP, known: tuple[int, ...], hidden: tuple[int, ...]) -> None:
        super().__init__(model, known, hidden)
        self._made: dict[tuple[int, int], tuple[csr_array, csr_array]] = {}

    def _matrices(self, code: int, known: int) -> tuple[csr_array, csr_array]:
        key = int(code), int(known) if self.by_known else 0
        if key not in self._made:
            n = int(np.prod(self._sizes))
            grid = np.indices(self._sizes).reshape(len(self._sizes), n)
            to, source, weight = np.zeros(n, dtype=np.intp), np.arange(n), np.ones(n)
            for i, (b, parents) in enumerate(self._factors(*key)):
                columns = b[(slice(None), *(grid[p][source] for p in parents))]  # (S_i, entries)
                columns = np.broadcast_to(columns.reshape(len(b), -1), (len(b), len(source)))
                entry, state = np.nonzero(columns.T)
                to, source = to[entry] * self._sizes[i] + state, source[entry]
                weight = weight[entry] * columns[state, entry]
            matrix = csr_array((weight, (to, source)), shape=(n, n))
            self._made[key] = matrix, matrix.T.tocsr()
        return self._made[key]

    @staticmethod
    def _product(matrix: csr_array, q: Floats) -> Floats:
        flat = np.ascontiguousarray(q.reshape(-1, q.shape[-1]).T)
        return np.ascontiguousarray((matrix @ flat).T).reshape(q.shape)

    def forward(self, q: Floats, code: int, known: int) -> Floats:
        return self._product(self._matrices(code, known)[0], q)

    def backward(self, q: Floats, code: int, known: int) -> Floats:
        return self._product(self._matrices(code, known)[1], q)

    def matrix(self, code: int, known: int) -> Floats:
        return self._matrices(code, known)[0].toarray()


def _depends_on(model: POMDP, hidden: tuple[int, ...], known: tuple[int, ...]) -> bool:
    return any(set(model.B_dependencies[f]) & set(known) for f in hidden)  # type: ignore[index]


def size_of_motion(model: POMDP, known: tuple[int, ...], hidden: tuple[int, ...]) -> float:
    """Most numbers that the joint transitions of hidden factors may hold where they have mass."""
    n = float(np.prod([model.num_states[f] for f in hidden], dtype=float))
    n *= float(np.prod([model.num_controls[f] for f in hidden], dtype=float))
    if _depends_on(model, hidden, known):
        n *= float(np.prod([model.num_states[f] for f in known], dtype=float))
    for f in hidden:
        n *= float((model.B[f] > 0).sum(axis=0).max())
    return n


def motion_of(model: POMDP, known: tuple[int, ...], hidden: tuple[int, ...]) -> Motion:
    """The representation that suits the hidden factors of a component."""
    n = int(np.prod([model.num_states[f] for f in hidden], dtype=float))
    own = [set(model.B_dependencies[f]) <= {f, *known} for f in hidden]  # type: ignore[index]
    if all(
        model.num_controls[f] == 1
        and model.B_dependencies[f] == (f,)  # type: ignore[index]
        and np.array_equal(model.B[f][:, :, 0], np.eye(model.num_states[f]))
        for f in hidden
    ):
        return Still(n)
    kinds = float(np.prod([model.num_controls[f] for f in hidden], dtype=float))
    if _depends_on(model, hidden, known):
        kinds *= float(np.prod([model.num_states[f] for f in known], dtype=float))
    if n <= _DENSE and kinds * n * n <= _NUMBERS and (len(hidden) == 1 or not all(own) or n <= 64):
        return Dense(model, known, hidden)
    return ByFactor(model, known, hidden) if all(own) else Sparse(model, known, hidden)
