"""Digests of data: what tells one data set from another when a run goes on, and costs one pass over its bytes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from activebmr.fingerprints import fingerprint

__all__ = ["digest", "digest_of_dataset", "digest_of_function"]


def digest(*parts: Any) -> str:
    """First 32 digits of a sha256 over tensors, arrays, numbers, text, and lists and dicts of them, with shapes and types.

    Raises:
        TypeError: if a part is something else.

    Example:
        >>> digest(torch.zeros(2), "a") == digest(torch.zeros(2), "a")
        True
    """
    found = hashlib.sha256()
    for part in parts:
        _feed(found, part)
    return found.hexdigest()[:32]


def digest_of_function(function: Any, state: bool = True) -> str:
    """Digest of a loss, likelihood or criterion, as `activebmr.fingerprints.fingerprint` knows it; of modules the classes and
    attributes and, with ``state``, what is in the state dict.

    Raises:
        UnknownStateError: if something in it has state that cannot be read; it says what.

    Example:
        >>> digest_of_function(lambda o, y: o - y) == digest_of_function(lambda o, y: o + y)
        False
    """

    def parts(module: nn.Module) -> list[Any]:
        own = [[type(m), {k: v for k, v in vars(m).items() if k not in _OF_MODULES}] for m in module.modules()]
        return [own, dict(module.state_dict()) if state else None]

    return fingerprint(function, shorter={nn.Module: parts})[:32]


_OF_MODULES = frozenset(vars(nn.Module()))  # what every module has


def digest_of_dataset(dataset: Any, inner: bool = True) -> str:
    """Digest of what can be known of a data set (or sampler) without reading its examples.

    Args:
        dataset: known are its type, its length, and the tensors, arrays and lists of numbers among its attributes; of a subset
            its indices and what they choose from, of a chain each of its parts.
        inner: whether data sets among its attributes count as well.
    """
    return digest(*_known(dataset, inner, set()))


def _known(thing: Any, inner: bool, seen: set[int]) -> list[Any]:
    seen.add(id(thing))
    out: list[Any] = [type(thing).__qualname__]
    with contextlib.suppress(TypeError, NotImplementedError):
        out.append(len(thing))
    if _is_data(thing):  # batches may be given as a plain list of lists of indices
        out.append(thing)
    for name, value in sorted(getattr(thing, "__dict__", {}).items()):
        for part in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(part, Dataset) and inner and id(part) not in seen:
                out += [name, *_known(part, inner, seen)]
        if _is_data(value):
            out += [name, value]
    return out


def _is_data(value: Any) -> bool:
    """Whether an attribute can be counted as data; numbers alone may be counters that move while examples are read."""
    if isinstance(value, Tensor):
        return value.layout == torch.strided
    if isinstance(value, np.ndarray):
        return value.dtype != object
    if isinstance(value, range):
        return True
    if not isinstance(value, (list, tuple)) or not value:
        return False
    if isinstance(value[0], (Tensor, np.ndarray)):
        return all(isinstance(x, (Tensor, np.ndarray)) and _is_data(x) for x in value)
    return all(isinstance(x, (int, float)) or _is_data(x) for x in value)


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        held = value.detach().cpu().contiguous()
        found.update(f"T{held.dtype}{tuple(held.shape)}".encode())
        if held.numel():  # bytes, because numpy knows no bfloat16
            found.update(held.reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"A{value.dtype.str}{value.shape}".encode())
        found.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        found.update(f"M{len(value)}".encode())
        for key in sorted(value, key=str):
            _feed(found, str(key))
            _feed(found, value[key])
    elif isinstance(value, (list, tuple, range)):
        if all(type(x) in (int, float, bool) for x in value):  # in one go: indices may be millions
            found.update(f"N{len(value)}{list(value)!r}".encode())
            return
        found.update(f"L{len(value)}".encode())
        for x in value:
            _feed(found, x)
    elif value is None or isinstance(value, (str, int, float, bool, bytes, np.generic)):
        found.update(f"V{type(value).__name__}{value!r};".encode())
    else:
        raise TypeError(f"parts of a digest must be tensors, arrays, numbers, text, lists or dicts; got {type(value).__name__}")
