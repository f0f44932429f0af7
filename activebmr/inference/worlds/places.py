"""Which columns of a table the joint states of a component read: columns in C order of the table's own axes.

Likelihoods as agents keep them have an order of their own (`activebmr.model.layout`), which depends on how factors move. Here
it may be in question how they move, so that nothing may depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.components import Component
from activebmr.model.pomdp import POMDP

__all__ = ["Reads", "of_likelihood", "of_transitions"]


class Reads:
    """Columns that the states of some parents make, for the joint states of a component.

    Attributes:
        known: part of the column that each known joint state makes ``(n_known,)``.
        hidden: part that each hidden joint state makes ``(n_hidden,)``; the column is the sum of the two.
        distinct: the different hidden parts ``(k,)``; ``member``: which of them each hidden state makes, as a matrix
            ``(n_hidden, k)``.
    """

    def __init__(self, component: Component, parents: Sequence[int], sizes: Sequence[int], after: int) -> None:
        stride, strides = after, {}
        for f, n in zip(parents[::-1], sizes[::-1], strict=True):
            strides[f] = stride
            stride *= n
        self.known = _parts(component.known, component.known_sizes, strides)
        self.hidden = _parts(component.hidden, component.hidden_sizes, strides)
        self.distinct, of = np.unique(self.hidden, return_inverse=True)
        self.member = np.eye(len(self.distinct))[of.reshape(-1)]

    def seen(self, q: Floats) -> Floats:
        """Probabilities of the distinct columns ``(..., k)`` from those of hidden states ``(..., n_hidden)``."""
        if q.ndim == 2:  # a product per row: its rounding must not depend on how many rows there are
            return np.matmul(q[:, None], self.member)[:, 0]
        return np.matmul(q, self.member)


def of_likelihood(component: Component, modality: int) -> Reads:
    """Columns of a modality's likelihood."""
    model = component.model
    deps: Sequence[int] = model.A_dependencies[modality]  # type: ignore[index]
    return Reads(component, deps, [model.num_states[f] for f in deps], 1)


def of_transitions(component: Component, factor: int) -> Reads:
    """Columns of a factor's transitions under its control 0; that under control u is u further."""
    model: POMDP = component.model
    deps: Sequence[int] = model.B_dependencies[factor]  # type: ignore[index]
    return Reads(component, deps, [model.num_states[f] for f in deps], model.num_controls[factor])


def _parts(factors: tuple[int, ...], sizes: tuple[int, ...], strides: dict[int, int]) -> Ints:
    total = np.zeros(int(np.prod(sizes, dtype=float)), dtype=np.intp)
    grid = np.indices(sizes).reshape(len(sizes), len(total))
    for i, f in enumerate(factors):
        total += grid[i] * strides.get(f, 0)
    return total
