"""Rows of beliefs gathered by how many states they hold possible, so that nothing is worked out where there is no mass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from activebmr.arrays import Floats, Ints

__all__ = ["by_support"]

_NO_MASS = 1e-16  # less probable states cannot move a float64 sum


def by_support(q: Floats) -> Iterator[tuple[Ints | None, Ints | None]]:
    """Groups of rows of beliefs ``(rows, n)``, each with indices of states ``(rows of it, width)``: all that have mass, then
    some without. None stands for all rows, or all states in order.

    The width follows from a row's own belief, so that its numbers never depend on the other rows.
    """
    n = q.shape[1]
    if n == 1:
        yield None, None
        return
    mass = q > _NO_MASS
    count = mass.sum(axis=1)
    # widths in steps of a quarter of the power of two below: few groups, little waste
    step = 2 ** np.maximum(np.floor(np.log2(np.maximum(count, 1))).astype(np.intp) - 2, 0)
    width = np.minimum(-(-np.maximum(count, 1) // step) * step, n)
    kinds = np.unique(width)
    for w in kinds:
        rows = None if len(kinds) == 1 else np.flatnonzero(width == w)
        if w == n:
            yield rows, None
            continue
        here = mass if rows is None else mass[rows]
        yield rows, np.argsort(~here, axis=1, kind="stable")[:, :w]
