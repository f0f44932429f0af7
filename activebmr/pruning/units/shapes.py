"""Sizes that the code of a module names, and modules whose code goes on with other sizes.

Many modules write sizes into their forwards that follow from others only as long as nothing has been cut: attention that
returns ``x.reshape(b, n, c)`` with the width of its input. `ShapeCalls` notes, while a network is followed, which calls name
which sizes, and which units lie along them; `resize` lets a module's forward run with the sizes that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

__all__ = ["ShapeCalls", "resize", "resized_sizes"]

_SHAPED = {torch.Tensor.view, torch.Tensor.reshape, torch.reshape, torch.Tensor.expand, torch.Tensor.unflatten, torch.unflatten}
_SPLIT = {torch.Tensor.split, torch.split}


class ShapeCalls(TorchFunctionMode):  # type: ignore[misc]
    """Calls ``noted`` after every call that names sizes, with what it returned and the axis where the sizes begin."""

    def __init__(self, noted: Callable[[Any, int], None]) -> None:
        super().__init__()
        self.noted = noted

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _SHAPED or func in _SPLIT:
            self.noted(out, _begin(func, args, kwargs or {}))
        return out


def _begin(func: Any, args: Any, kwargs: Mapping[str, Any]) -> int:
    """The axis of the first size: that of ``unflatten`` and ``split``, 0 otherwise."""
    if func in (torch.Tensor.unflatten, torch.unflatten):
        dim = args[1] if len(args) > 1 else kwargs["dim"]
        return int(dim) % args[0].dim()
    if func in _SPLIT:
        dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
        return int(dim) % args[0].dim()
    return 0


class _Sized(TorchFunctionMode):  # type: ignore[misc]
    """Runs calls that name sizes with others: ``table[number of the call]`` is a mapping of axes to sizes."""

    def __init__(self, table: Mapping[int, Mapping[int, int]]) -> None:
        super().__init__()
        self.table, self.count, self.inside = table, 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if self.inside == 0 and (func in _SHAPED or func in _SPLIT):
            new = self.table.get(self.count)
            self.count += 1
            if new:
                args, kwargs = _with_sizes(func, args, kwargs, new)
        return func(*args, **kwargs)


def _with_sizes(func: Any, args: Any, kwargs: dict[str, Any], new: Mapping[int, int]) -> tuple[Any, dict[str, Any]]:
    begin = _begin(func, args, kwargs)
    if func in _SPLIT:
        sizes = args[1] if len(args) > 1 else kwargs.get("split_size_or_sections", kwargs.get("split_size"))
        size = new[begin]
        parts = size if isinstance(sizes, int) else [size] * len(sizes)
        return (args[0], parts), {"dim": begin}
    if func in (torch.Tensor.unflatten, torch.unflatten):
        sizes = list(args[2] if len(args) > 2 else kwargs["sizes"])
        return (args[0], begin, _renewed(sizes, new, begin)), {}
    rest = args[1:] if len(args) > 1 else (kwargs.get("shape", kwargs.get("size")),)
    if len(rest) == 1 and isinstance(rest[0], torch.dtype):
        return args, kwargs
    sizes = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else list(rest)
    return (args[0], _renewed(sizes, new, 0)), {}


def _renewed(sizes: list[int], new: Mapping[int, int], begin: int) -> list[int]:
    return [n if n == -1 else new.get(begin + i, n) for i, n in enumerate(sizes)]


_RUNNING: list[_Sized] = []
"""Forwards that run with other sizes, the innermost last. (Networks run in one thread at a time; noisy ones see to it.)"""


def _enter(module: nn.Module, args: Any) -> None:
    """A module inside has code of its own."""
    if _RUNNING:
        _RUNNING[-1].inside += 1


def _leave(module: nn.Module, args: Any, out: Any) -> None:
    if _RUNNING:
        _RUNNING[-1].inside -= 1


class _Resized(nn.Module):
    """Comes before the class of a module whose code names sizes; see `resize`."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        mine: Any = self._new_sizes
        sized = _Sized(mine.get("train" if self.training else "eval", mine["eval"]))
        _RUNNING.append(sized)
        try:
            with sized:
                return super().forward(*args, **kwargs)
        finally:
            _RUNNING.pop()

    def __reduce__(self) -> Any:
        return _again, (type(self).__mro__[2], self.__dict__)


def _again(kind: type[nn.Module], state: dict[str, Any]) -> nn.Module:
    module = kind.__new__(kind)
    module.__dict__.update(state)
    return resize(module, state["_new_sizes"])


def resize(module: nn.Module, table: Mapping[str, Mapping[int, Mapping[int, int]]]) -> nn.Module:
    """Let, in place, the forward of a module run with other sizes.

    Args:
        table: for ``"eval"`` and ``"train"`` (by default as for the former), by number of a call in its own code that names
        sizes (in
            order), by axis of what the call returns, the size that it is to have.
    """
    kind = type(module)
    if not isinstance(module, _Resized):
        module.__class__ = type(kind.__name__, (_Resized, kind), {"__module__": kind.__module__})
        for inner in module.modules():
            if inner is not module and _enter not in inner._forward_pre_hooks.values():
                inner.register_forward_pre_hook(_enter)
                inner.register_forward_hook(_leave, always_call=True)
    module._new_sizes = {  # type: ignore[assignment]
        mode: {int(k): {int(a): int(n) for a, n in axes.items()} for k, axes in calls.items()} for mode, calls in table.items()
    }
    return module


def resized_sizes(module: nn.Module) -> dict[str, dict[int, dict[int, int]]] | None:
    """The table of a module that `resize` has changed, or None."""
    return module._new_sizes if isinstance(module, _Resized) else None  # type: ignore[return-value]
