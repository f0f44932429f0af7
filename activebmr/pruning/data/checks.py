"""Checks of tensors, masks and modules, beside those of numbers and names (`activebmr.checks`), in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from activebmr import checks

__all__ = [
    "FINITE",
    "NOT_NEGATIVE",
    "POSITIVE",
    "bool_mask",
    "check_progress",
    "module",
    "module_names",
    "numbers",
    "real",
    "runnable",
    "torch_generator",
    "whole_labels",
]

FINITE = checks.Rule("be finite", torch.isfinite)
POSITIVE = checks.Rule("be finite numbers > 0", lambda x: torch.isfinite(x) & (x > 0))
NOT_NEGATIVE = checks.Rule("be finite numbers >= 0", lambda x: torch.isfinite(x) & (x >= 0))


def module(value: Any, name: str = "net") -> nn.Module:
    """``value`` if it is a module.

    Raises:
        TypeError: if it is none, a class of modules included.
    """
    if not isinstance(value, nn.Module):
        raise TypeError(f"{name} must be a torch.nn.Module; got {checks.brief(value)}")
    return value


def runnable(value: Any, name: str = "net") -> nn.Module:
    """``value`` if it is a module whose parameters have finite values; those that do not learn may be infinite, as masks are.

    Raises:
        TypeError: if it is no module.
        ValueError: if parameters have no values, or some that are not finite.
    """
    found = module(value, name)
    parameters = list(found.named_parameters())
    if any(p.device.type == "meta" for _, p in parameters):
        raise ValueError(f"{name} must have weights, so that it can be run; its parameters are on the device 'meta'")
    for at, p in parameters:
        if p.is_floating_point() and (bad := ~torch.isfinite(p) if p.requires_grad else torch.isnan(p)).any():
            raise ValueError(f"parameters of {name} must be finite; {at!r} holds {p[bad][0].item()}")
    return found


def module_names(value: Any, name: str) -> list[str]:
    """Names in a list, a tuple, a set or whatever can be gone through once; no single text.

    Raises:
        TypeError: if it is none, or holds something else than text.
    """
    if isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a list of names of modules; got the string {value!r}")
    if not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of names of modules; got {checks.brief(value)}")
    return [checks.text(n, f"names in {name}") for n in value]


def real(value: Any, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
    """``value`` if it is a tensor of real numbers (`activebmr.checks.real_tensor`), of a given shape if there is one.

    Raises:
        TypeError, ValueError: if it is none, or of another shape.
    """
    found: Tensor = checks.real_tensor(value, name)
    if shape is not None and tuple(found.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}; got {tuple(found.shape)}")
    return found


def numbers(value: Any, name: str, rule: checks.Rule | None = FINITE, shape: tuple[int, ...] | None = None) -> Tensor:
    """A tensor of float64 from a tensor (with its gradients), an array, a list or a number; all of it obeys a rule.

    Raises:
        TypeError: if it holds no real numbers; truth values are none.
        ValueError: if the shape is another one, or an entry breaks the rule.
    """
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        raise TypeError(f"{name} must be numbers, not truth values; got {checks.brief(value)}")
    if value is None:
        raise TypeError(f"{name} must be numbers; got None")
    found = real(value, name) if checks.is_tensor(value) else torch.from_numpy(checks.float_array(value, name).copy())
    found = found.double()
    if shape is not None and tuple(found.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}; got {tuple(found.shape)}")
    if rule is not None and not (holds := rule.holds(found)).all():
        raise ValueError(f"{name} must {rule.words}; got {found[~holds].flatten()[0].item()}")
    return found


def whole_labels(value: Any, name: str) -> Tensor:
    """A tensor of whole numbers, from a tensor, an array or a list.

    Raises:
        TypeError: if it holds something else.
    """
    if not checks.is_tensor(value):
        value = torch.from_numpy(checks.index_array(value, name, least=-(2**62)).copy())
    found = real(value, name)
    if found.dtype == torch.bool or found.is_floating_point():
        raise TypeError(f"{name} must be whole numbers; got {found.dtype}")
    return found.detach()


def bool_mask(value: Any, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of truth values of a shape, from a tensor, an array or a list.

    Raises:
        ValueError: if it holds something else, or has another shape.
    """
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, bool) for v in value):
        value = torch.tensor(value)
    elif type(value).__module__ == "numpy" and str(getattr(value, "dtype", "")) == "bool":
        value = torch.from_numpy(value)
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        got = value.dtype if isinstance(value, Tensor) else checks.brief(value)
        raise ValueError(f"{name} must be a tensor of truth values; got {got}")
    return real(value, name, shape)


def check_progress(progress: Any, watch: Any, told: Callable[[int, str], None]) -> Callable[[int, str], None] | None:
    """What is called with the line of an epoch: ``progress`` itself, ``told`` where it is True, nothing where it is False.

    Raises:
        TypeError: if it is neither a flag nor a function, or ``watch`` is neither a function nor None.
    """
    if watch is not None:
        checks.function(watch, "watch")
    if callable(progress) and not isinstance(progress, type):
        return progress  # type: ignore[no-any-return]
    if not isinstance(progress, bool):
        raise TypeError(f"progress must be True, False or a function of the epoch and its line; got {checks.brief(progress)}")
    return told if progress else None


def torch_generator(value: Any, name: str = "generator") -> torch.Generator | None:
    """``value`` if it is a source of torch's random numbers, or None.

    Raises:
        TypeError: if it is neither; a seed is none, and NumPy's generators are none.
    """
    if value is not None and not isinstance(value, torch.Generator):
        raise TypeError(f"{name} must be a torch.Generator or None; got {checks.brief(value)}")
    return value
