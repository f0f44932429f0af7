"""One way of writing for NumPy arrays and torch tensors, in float64: what the two libraries spell differently.

Torch is never imported here. An array that comes from it says so, and what it is used with becomes a tensor on its device.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import solve_triangular

__all__ = ["Array", "broadcast", "cholesky", "doubles", "inverse_from", "namespace", "solve_lower"]

Array: TypeAlias = Any
"""A NumPy array or a torch tensor; in arguments of functions also what `numpy.asarray` takes."""


def namespace(*values: Array) -> ModuleType:
    """``torch`` if one of the values is a tensor, otherwise ``numpy``."""
    torch = sys.modules.get("torch")  # who holds a tensor has loaded it
    return torch if torch is not None and any(isinstance(x, torch.Tensor) for x in values) else np


def doubles(*values: Array) -> tuple[Array, ...]:
    """The values in float64 and of one library; tensors keep device and gradients, numbers go where they are met."""
    xp = namespace(*values)
    if xp is np:
        return tuple(np.asarray(x, dtype=np.float64) for x in values)
    device = next(x.device for x in values if isinstance(x, xp.Tensor))

    def tensor(x: Array) -> Array:
        if isinstance(x, xp.Tensor):
            return x.to(xp.float64)
        x = np.array(x, dtype=np.float64)  # a copy: tensors cannot stand on arrays that are read-only
        return xp.as_tensor(x, device=device if x.ndim else None)

    return tuple(tensor(x) for x in values)


def broadcast(**named: Array) -> tuple[Array, ...]:
    """Arrays of one library in their common shape.

    Raises:
        ValueError: if they have none; it says the names and shapes.
    """
    xp = namespace(*named.values())
    try:
        if xp is np:
            return tuple(np.array(x) for x in np.broadcast_arrays(*named.values()))  # copies, which can be written to
        return tuple(xp.broadcast_tensors(*named.values()))
    except (RuntimeError, ValueError) as error:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in named.items())
        raise ValueError(f"shapes must fit (be equal or broadcast); got {shapes}") from error


def cholesky(x: Array) -> Array | None:
    """Lower factor of a symmetric matrix, or None if it is not positive definite."""
    xp = namespace(x)
    if xp is np:
        try:
            return np.linalg.cholesky(x)
        except np.linalg.LinAlgError:
            return None
    factor, failed = xp.linalg.cholesky_ex(x)
    return None if failed else factor


def solve_lower(factor: Array, right: Array) -> Array:
    """x with factor x = right, the factor being lower triangular; ``right`` is ``(n, k)``."""
    xp = namespace(factor)
    if xp is np:
        return solve_triangular(factor, right, lower=True) if right.size else right
    return xp.linalg.solve_triangular(factor, right, upper=False)


def inverse_from(factor: Array) -> Array:
    """Inverse of a matrix from its lower Cholesky factor."""
    xp = namespace(factor)
    if xp is np:
        half = solve_lower(factor, np.eye(len(factor)))
        return half.T @ half
    return xp.cholesky_inverse(factor)
