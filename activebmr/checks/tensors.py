"""What can be said of a tensor of torch by what it tells of itself: torch is not imported here."""

from __future__ import annotations

from typing import Any

from activebmr.checks.values import brief

__all__ = ["dense_tensor", "is_tensor", "real_tensor"]


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or a parameter."""
    return not isinstance(value, type) and all(
        hasattr(value, key) for key in ("is_complex", "layout", "device", "requires_grad")
    )


def dense_tensor(value: Any, name: str) -> Any:
    """``value``, a tensor, if it is dense and has values.

    Raises:
        ValueError: if it is sparse, or without values (on torch's device "meta").
    """
    if str(value.layout) != "torch.strided":
        raise ValueError(f"{name} must be a dense tensor; got layout {value.layout}")
    if value.device.type == "meta":
        raise ValueError(f"{name} must have values; got a tensor on the device 'meta'")
    return value


def real_tensor(value: Any, name: str) -> Any:
    """``value`` if it is a dense tensor of real numbers that are there.

    Raises:
        TypeError: if it is no tensor, or one of complex numbers.
        ValueError: if it is sparse, or without values (on torch's device "meta").
    """
    if not is_tensor(value):
        raise TypeError(f"{name} must be a tensor; got {brief(value)}")
    if value.is_complex():
        raise TypeError(f"{name} must be a tensor of real numbers; got {value.dtype}")
    return dense_tensor(value, name)
