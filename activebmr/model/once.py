"""What follows from a model, worked out once and kept just as long as the model is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from activebmr.model.pomdp import POMDP

__all__ = ["once"]

T = TypeVar("T")


def once(make: Callable[..., T]) -> Callable[..., T]:
    """Keep what a function ``(model, *arguments)`` makes with the model that it makes it of.

    A cache of its own would keep models alive, and with them matrices of many numbers, long after the last agent is gone.
    """
    name = f"_{make.__module__}.{make.__qualname__}"

    @wraps(make)
    def kept(model: POMDP, *arguments: Any) -> T:
        key: Any = (name, *arguments) if arguments else name
        held = model._made
        try:
            return held[key]  # type: ignore[no-any-return]
        except KeyError:
            value = held[key] = make(model, *arguments)
            return value

    return kept
