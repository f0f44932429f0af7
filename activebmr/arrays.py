"""Types of arrays, and the few operations on them that every floor shares; a row's numbers never depend on the other rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bools", "Floats", "Ints", "least", "sample", "sample_cumulative", "softmax", "standard_error"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]


def softmax(x: Floats, axis: int = -1) -> Floats:
    """exp(x) / sum(exp(x)), safe for large numbers and for -inf."""
    # contiguous, so that sums run in the same order whatever the array came from
    shifted = np.exp(np.ascontiguousarray(x - x.max(axis=axis, keepdims=True)))
    return shifted / shifted.sum(axis=axis, keepdims=True)


def least(values: Floats) -> float:
    """The least of all numbers; looking at it is faster than looking for it where there is only one."""
    return float(values.item() if values.size == 1 else values.min())


def sample(probabilities: Floats, uniform: Floats) -> Ints:
    """First index whose cumulative probability exceeds uniform x total, row by row; ``uniform`` in [0, 1), ``(rows,)``."""
    return sample_cumulative(np.add.accumulate(probabilities, axis=1), uniform)


def sample_cumulative(cumulative: Floats, uniform: Floats) -> Ints:
    """The same from cumulative sums over each row."""
    above = cumulative > uniform[:, None] * cumulative[:, -1:]
    above[:, -1] = True  # whatever rounding says
    return above.argmax(axis=1)


def standard_error(values: NDArray[Any]) -> float:
    """Standard error of the mean, nan for fewer than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
