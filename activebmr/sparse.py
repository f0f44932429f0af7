"""Sparse beliefs: products of marginals over joint states, listed only where they have mass.

A `Ragged` is a batch of short lists, one per row: the joint states (as flat indices of a likelihood's columns) that a row's
belief supports, and their probabilities. The work of every step is then proportional to what an agent does not know yet, whatever
the rest of its batch believes. Sums run within a row in a fixed order, so a row's numbers do not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

try:  # the kernel behind `csr_array @ dense`, without the checks that cost more than the product of a short list
    from scipy.sparse._sparsetools import csr_matvecs as _csr_matvecs
except ImportError:  # pragma: no cover
    _csr_matvecs = None

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

__all__ = ["Ragged", "cross", "from_marginals", "product_of_marginals", "repeat_rows"]


def weighted_rows(start: Ints, index: Ints, weight: Floats, table: Floats) -> Floats:
    """For each list of (index, weight) the weighted sum of rows of ``table`` (n, K): ``(lists, K)``."""
    table = np.ascontiguousarray(table)
    n, width = len(start) - 1, table.shape[1]
    if _csr_matvecs is None:
        return np.asarray(csr_array((weight, index, start), shape=(n, len(table))) @ table)
    out = np.zeros((n, width))
    _csr_matvecs(n, len(table), width, start, index, weight, table.reshape(-1), out.reshape(-1))
    return out


@dataclass(frozen=True, eq=False)
class Ragged:
    """Lists of (index, weight), one list per row and none empty: ``start`` (rows + 1,), ``index`` and ``weight`` (entries,)."""

    start: Ints
    index: Ints
    weight: Floats

    @property
    def rows(self) -> int:
        return len(self.start) - 1

    @cached_property
    def row(self) -> Ints:
        """Row of each entry."""
        if len(self.index) == self.rows:
            return np.arange(self.rows)
        return np.repeat(np.arange(self.rows), np.diff(self.start))

    @property
    def single(self) -> bool:
        """True if every row holds exactly one entry."""
        return len(self.index) == self.rows

    def sum(self, values: Floats) -> Floats:
        """Sums of per-entry values over each row."""
        return values if self.single else np.add.reduceat(values, self.start[:-1])

    def expect(self, table: Floats, offset: Ints | None = None) -> Floats:
        """Weighted sums of rows of ``table`` (n, K) -> (rows, K); ``offset`` per row is added to the indices."""
        index = self.index if offset is None else self.index + offset[self.row]
        if self.single:
            return table[index] * self.weight[:, None]
        return weighted_rows(self.start, index, self.weight, table)


def from_marginals(q: Floats, threshold: float) -> Ragged:
    """Support of one factor's marginals (rows, states): entries above the threshold."""
    row, state = np.nonzero(q > threshold)
    rows = len(q)
    if len(row) == rows:
        return Ragged(np.arange(rows + 1), state, q[row, state])
    start = np.zeros(rows + 1, dtype=np.intp)
    np.cumsum(np.bincount(row, minlength=rows), out=start[1:])
    return Ragged(start, state, q[row, state])


def cross(a: Ragged, b: Ragged, stride_a: int = 1, stride_b: int = 1) -> Ragged:
    """Product of two batches of lists, row by row: indices add (after scaling), weights multiply; ``b`` varies fastest."""
    if b.single:
        if a.single:
            return Ragged(a.start, a.index * stride_a + b.index * stride_b, a.weight * b.weight)
        return Ragged(a.start, a.index * stride_a + (b.index * stride_b)[a.row], a.weight * b.weight[a.row])
    if a.single:
        return Ragged(b.start, (a.index * stride_a)[b.row] + b.index * stride_b, a.weight[b.row] * b.weight)
    count_a, count_b = np.diff(a.start), np.diff(b.start)
    per_entry = count_b[a.row]
    end = np.cumsum(per_entry)
    of_b = np.arange(end[-1]) + np.repeat(b.start[:-1][a.row] - (end - per_entry), per_entry)
    start = np.zeros(a.rows + 1, dtype=np.intp)
    np.cumsum(count_a * count_b, out=start[1:])
    index = np.repeat(a.index * stride_a, per_entry) + b.index[of_b] * stride_b
    return Ragged(start, index, np.repeat(a.weight, per_entry) * b.weight[of_b])


def product_of_marginals(marginals: Sequence[Floats], threshold: float, first_fastest: bool = False) -> Ragged:
    """Joint support of independent factors; indices are flat in C order (or, with ``first_fastest``, in column-major order).

    States whose marginal probability is at or below the threshold are left out; weights are not renormalised.
    """
    order = list(marginals)[::-1] if first_fastest else list(marginals)
    joint = from_marginals(order[0], threshold)
    for q in order[1:]:
        joint = cross(joint, from_marginals(q, threshold), stride_a=q.shape[1])
    return joint


def repeat_rows(a: Ragged, times: int) -> Ragged:
    """Every row ``times`` times in a row (row 0, row 0, ..., row 1, ...)."""
    if times == 1:
        return a
    if a.single:
        index, weight = np.repeat(a.index, times), np.repeat(a.weight, times)
        return Ragged(np.arange(len(index) + 1), index, weight)
    count = np.repeat(np.diff(a.start), times)
    start = np.zeros(len(count) + 1, dtype=np.intp)
    np.cumsum(count, out=start[1:])
    source = np.arange(start[-1]) + np.repeat(np.repeat(a.start[:-1], times) - start[:-1], count)
    return Ragged(start, a.index[source], a.weight[source])
