"""Numbers of one agent in little room: two bytes each, deflated, in base64; `assets/unpack.js` reads them.

Probabilities are kept in steps of 1/65535, nats as 16-bit floating-point numbers (three digits), whole numbers as they are.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["layout", "pack"]

_LARGEST = 65504.0  # of 16-bit floating point; what is larger is infinite

Kinds = Mapping[str, tuple[str, NDArray[Any]]]


def layout(arrays: Kinds) -> list[list[Any]]:
    """Name, kind and shape of each array, as JSON holds them.

    Args:
        arrays: name -> (kind, array); kinds are ``"share"`` (in [0, 1], nan for 0), ``"half"`` (any number, nan or infinite)
            and ``"whole"`` (in -32768..32767).
    """
    return [[name, kind, list(array.shape)] for name, (kind, array) in arrays.items()]


def pack(arrays: Kinds) -> str:
    """All arrays as one text; see `layout`.

    Raises:
        ValueError: if a kind does not exist, or a whole number is out of range.
    """
    parts = [_encoded(name, kind, np.asarray(array)).tobytes() for name, (kind, array) in arrays.items()]
    return base64.b64encode(zlib.compress(b"".join(parts), 9)).decode("ascii")


def _encoded(name: str, kind: str, array: NDArray[Any]) -> NDArray[Any]:
    if kind == "share":
        return np.rint(np.clip(np.nan_to_num(array, nan=0.0), 0.0, 1.0) * 65535).astype("<u2")
    if kind == "half":
        value = np.asarray(array, dtype=float)
        return np.where(np.abs(value) > _LARGEST, np.copysign(np.inf, value), value).astype("<f2")
    if kind != "whole":
        raise ValueError(f"kind of {name} must be 'share', 'half' or 'whole'; got {kind!r}")
    if array.size and (array.min() < -32768 or array.max() > 32767):
        raise ValueError(f"{name} must lie in -32768..32767; got {array.min()} to {array.max()}")
    return array.astype("<i2")
