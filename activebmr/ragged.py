"""Sparse beliefs: products of marginals over joint states, listed only where they have mass.

A `Ragged` is a batch of short lists, one per row: the joint states (as flat indices of a likelihood's columns) that a row's
belief supports, and their probabilities. The work of every step is then proportional to what an agent does not know yet,
whatever the rest of its batch believes. Sums run within a row in a fixed order, so a row's numbers do not depend on its
neighbours.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array

from activebmr.arrays import Floats, Ints

try:  # the kernel behind `csr_array @ dense`, without the checks that cost more than the product of a short list
    from scipy.sparse._sparsetools import csr_matvecs as _csr_matvecs
except ImportError:  # pragma: no cover
    _csr_matvecs = None

__all__ = ["Ragged", "chosen_rows", "cross", "from_marginals", "repeat_rows"]


def weighted_rows(start: Ints, index: Ints, weight: Floats, table: Floats) -> Floats:
    """For each list of (index, weight) the weighted sum of rows of ``table`` (n, K): ``(lists, K)``."""
    table = np.ascontiguousarray(table)
    n, width = len(start) - 1, table.shape[1]
    if _csr_matvecs is None:
        return np.asarray(csr_array((weight, index, start), shape=(n, len(table))) @ table)
    out = np.zeros((n, width))
    _csr_matvecs(n, len(table), width, start, index, weight, table.reshape(-1), out.reshape(-1))
    return out


class Ragged:
    """Lists of (index, weight), one list per row and none empty: ``start`` (rows + 1,), ``index`` and ``weight`` (entries,).

    Treat it as read-only. ``rows`` is their number, and ``single`` says whether every row holds exactly one entry.
    """

    __slots__ = ("_count", "_row", "index", "rows", "single", "start", "weight")

    def __init__(self, start: Ints, index: Ints, weight: Floats) -> None:
        self.start, self.index, self.weight = start, index, weight
        self.rows = len(start) - 1
        self.single = len(index) == self.rows
        self._row: Ints | None = None
        self._count: Ints | None = None

    @property
    def row(self) -> Ints:
        """Row of each entry."""
        if self._row is None:
            self._row = _arange(self.rows) if self.single else _arange(self.rows).repeat(self.count)
        return self._row

    @property
    def count(self) -> Ints:
        """Entries of each row."""
        if self._count is None:
            self._count = self.start[1:] - self.start[:-1]
        return self._count

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
    rows = len(q)
    if rows == 1:
        state = (q[0] > threshold).nonzero()[0]
        return Ragged(np.array([0, len(state)]), state, q[0, state])
    flat = q.ravel()
    entry = (flat > threshold).nonzero()[0]
    row = entry // q.shape[1]
    state, weight = entry - row * q.shape[1], flat.take(entry)
    if len(row) == rows:
        return Ragged(_arange(rows + 1), state, weight)
    out = Ragged(_starts(np.bincount(row, minlength=rows)), state, weight)
    out._row = row
    return out


def _starts(count: Ints) -> Ints:
    start = np.zeros(len(count) + 1, dtype=np.intp)
    count.cumsum(out=start[1:])
    return start


@lru_cache(maxsize=512)
def _arange(n: int) -> Ints:
    numbers = np.arange(n)
    numbers.setflags(write=False)
    return numbers


def cross(a: Ragged, b: Ragged, stride_a: int = 1, stride_b: int = 1) -> Ragged:
    """Product of two batches of lists, row by row: indices add (after scaling), weights multiply; ``b`` varies fastest."""
    index_a = a.index if stride_a == 1 else a.index * stride_a
    index_b = b.index if stride_b == 1 else b.index * stride_b
    if b.single:
        if a.single:
            return Ragged(a.start, index_a + index_b, a.weight * b.weight)
        return Ragged(a.start, index_a + index_b[a.row], a.weight * b.weight[a.row])
    if a.single:
        return Ragged(b.start, index_a[b.row] + index_b, a.weight[b.row] * b.weight)
    count_a, count_b = a.count, b.count
    if (count_a[0] == count_a).all() and (count_b[0] == count_b).all():  # lists of one length need no bookkeeping
        wide, long = (a.rows, count_a[0], 1), (a.rows, 1, count_b[0])
        return Ragged(
            _arange(a.rows + 1) * (count_a[0] * count_b[0]),
            (index_a.reshape(wide) + index_b.reshape(long)).ravel(),
            (a.weight.reshape(wide) * b.weight.reshape(long)).ravel(),
        )
    per_entry = count_b[a.row]
    end = per_entry.cumsum()
    of_b = (b.start[:-1][a.row] - end + per_entry).repeat(per_entry)
    of_b += np.arange(end[-1])
    index, weight = index_a.repeat(per_entry), a.weight.repeat(per_entry)
    index += index_b[of_b]
    weight *= b.weight[of_b]
    return Ragged(_starts(count_a * count_b), index, weight)


def chosen_rows(a: Ragged, rows: Ints) -> Ragged:
    """Some rows, in any order and number."""
    if a.single:
        return Ragged(_arange(len(rows) + 1), a.index[rows], a.weight[rows])
    count = a.count[rows]
    start = _starts(count)
    source = (a.start[:-1][rows] - start[:-1]).repeat(count)
    source += np.arange(start[-1])
    return Ragged(start, a.index[source], a.weight[source])


def repeat_rows(a: Ragged, times: int) -> Ragged:
    """Every row ``times`` times in a row (row 0, row 0, ..., row 1, ...)."""
    return a if times == 1 else chosen_rows(a, _arange(a.rows).repeat(times))
