"""What was worked out and may be asked for again soon: dicts that are emptied before they hold too much."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

__all__ = ["keep"]

_ENTRIES = 64
_NUMBERS = 2**24

V = TypeVar("V", bound=tuple)  # type: ignore[type-arg]


def keep(kept: dict[Hashable, V], key: Hashable, entry: V) -> V:
    """Put a tuple of arrays (and of what they were made of) into a dict, alone if there is no room beside the others."""
    if len(kept) >= _ENTRIES or _numbers(entry) + sum(map(_numbers, kept.values())) > _NUMBERS:
        kept.clear()
    kept[key] = entry
    return entry


def _numbers(entry: tuple) -> int:  # type: ignore[type-arg]
    return sum(getattr(x, "size", 0) for x in entry)
