"""Names that are chosen from a few: what is said of one that does not exist, with the nearest that does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeVar

from activebmr.checks.values import brief

__all__ = ["choice", "known_name", "meant", "nearest"]

T = TypeVar("T")


def nearest(name: Any, known: Iterable[Any]) -> str | None:
    """The known name that may be meant by another one; None if none is near."""
    from difflib import get_close_matches  # only where there is an error to tell

    if not isinstance(name, str):
        return None
    names = {k.casefold(): k for k in known if isinstance(k, str)}
    near = get_close_matches(name.casefold(), list(names), n=1, cutoff=0.5)
    return names[near[0]] if near else None


def meant(name: Any, known: Iterable[Any]) -> str:
    """The end of a message about a name that does not exist: ``"; did you mean 'exact'?"``, or nothing."""
    near = nearest(name, known)
    return "" if near is None else f"; did you mean {near!r}?"


def choice(value: T, name: str, allowed: Collection[T]) -> T:
    """``value`` if it is one of those allowed.

    Raises:
        ValueError: if it is not; the message has the nearest name.
    """
    text = isinstance(value, str)  # also NumPy's
    if not any(value is other or ((text or type(value) is type(other)) and value == other) for other in allowed):
        raise ValueError(f"{name} must be one of {list(allowed)}; got {brief(value)}{meant(value, allowed)}")
    return value


def known_name(value: Any, name: str, known: Collection[str]) -> str:
    """``value`` if it is text, and one of the names that there are; the message tells a few of many.

    Raises:
        TypeError: if it is no text.
        ValueError: if there is no such name; the message has the nearest.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a name; got {brief(value)}")
    if value not in known:
        few = list(known)[:12]
        told = f"{few}" if len(known) <= len(few) else f"{len(known)} names, such as {few[:3]}"
        raise ValueError(f"{name} must be one of {told}; got {brief(value)}{meant(value, known)}")
    return value
