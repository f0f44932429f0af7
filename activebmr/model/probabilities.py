"""Probabilities and counts as users give them, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.checks import float_array, frozen
from activebmr.counts import mean
from activebmr.dirichlet import as_counts

__all__ = ["TOLERANCE", "check_beside", "columns", "counts_of"]

TOLERANCE = 1e-6
"""How far probabilities may miss a sum of 1, or the mean of the counts beside them."""


def columns(value: Any, name: str, what: str) -> NDArray[np.float64]:
    """Probabilities over axis 0, checked. Columns that miss a sum of 1 by more than float64's rounding are normalised.

    How much they may miss it is what rounding can do to numbers of their own precision: 1e-6, or more for long columns in
    single precision.
    """
    array = float_array(value, name)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; it holds {array[~np.isfinite(array)][0]}")
    if array.size and array.min() < 0:
        at = tuple(int(i) for i in np.unravel_index(array.argmin(), array.shape))
        raise ValueError(f"{name} must not be negative; entry {at} is {array.min():.6g}")
    totals, count = array.sum(axis=0), len(array)
    wrong = np.abs(totals - 1.0) > max(TOLERANCE, count * _precision(value))
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(np.atleast_1d(wrong))[0]) if totals.ndim else ()
        column = f"column {at}" if at else "it"
        raise ValueError(f"{name} must sum to 1 over {what} (axis 0); {column} sums to {float(totals[at]):.6g}")
    inexact = np.abs(totals - 1.0) > 4 * count * np.finfo(np.float64).eps
    return np.where(inexact, array / totals, array) if inexact.any() else array


def _precision(value: Any) -> float:
    dtype = np.asarray(value).dtype
    return float(np.finfo(dtype).eps) if dtype.kind == "f" else 0.0


def counts_of(name: str, values: Sequence[Any] | None, count: int, owner: str) -> tuple[NDArray[np.float64] | None, ...]:
    """Counts per modality or factor (the owner), None where a table is known; every column of them must hold some."""
    if values is None:
        return (None,) * count
    if len(values) != count:
        raise ValueError(f"{name} must have one entry per {owner} ({count}); got {len(values)}")
    out = tuple(None if v is None else frozen(as_counts(v, f"{name}[{i}]")) for i, v in enumerate(values))
    for i, counts in enumerate(out):
        if counts is None:
            continue
        empty = ~(np.atleast_1d(counts.sum(axis=0)) > 0)
        if empty.any():
            at = tuple(int(k) for k in np.argwhere(empty)[0]) if counts.ndim > 1 else ()
            column = f"column {at} has none" if at else "it has none"
            raise ValueError(f"{name}[{i}] of POMDP must have some count in every column; {column}")
    return out


def check_beside(name: str, values: NDArray[np.float64], counts: NDArray[np.float64]) -> None:
    """Raise ValueError unless probabilities are the mean of the counts beside them; ``name``: like ``"A[0]"``."""
    if counts.shape != values.shape:
        raise ValueError(f"p{name} of POMDP must have the shape of {name}, {values.shape}; got {counts.shape}")
    expected = mean(counts)
    apart = np.abs(values - expected)
    if apart.max() > TOLERANCE:
        at = tuple(int(i) for i in np.unravel_index(apart.argmax(), apart.shape))
        raise ValueError(
            f"{name} of POMDP must be the mean of p{name}, or None; at {at} {name[0]} is {values[at]:.6g} and the mean of "
            f"the counts {expected[at]:.6g}"
        )
