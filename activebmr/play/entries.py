"""Lines of a journal: what they hold, and whether what a file says can be one.

Files may be damaged, or changed by hand. A line is taken only if everything that the tables are made of is there and in range,
so that nothing in a table rests on half of a line.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from typing import Any

from activebmr.checks import is_whole
from activebmr.play.setting import MAX_SEED, MOST_TRIALS, Setting

__all__ = ["checked_entry", "parsed"]

_HELD = {
    "games": ("paradigm",),
    "join": ("participant", "name", "joined", "scheme", "seed", "agent", "true_model"),
    "trial": ("participant", "trial", "outcomes", "states", "controls", "moved_at", "seconds", "reaction_seconds"),
    "belief": ("participant", "trial", "hypothesis"),
}
"""What a line of each kind holds at least."""

_MOST = 2**31 - 1
_LATEST = 1e11  # seconds since 1970, the year 5138: the latest that a calendar need know


def parsed(line: bytes) -> dict[str, Any]:
    """A line as an entry of some kind, whose contents are not looked at yet.

    Raises:
        ValueError: if it is none.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON, or was cut off in writing") from None
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in _HELD:
        raise ValueError("it is no line of a journal")
    missing = [name for name in _HELD[kind] if name not in entry]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return dict(entry)


def checked_entry(entry: dict[str, Any], setting: Setting, joined: Iterable[int]) -> dict[str, Any]:
    """An entry whose contents fit the game.

    Args:
        entry: as `parsed` gives it.
        setting: the game.
        joined: numbers of those who have joined before.

    Raises:
        ValueError: naming what does not fit.
    """
    kind = entry["kind"]
    if kind == "games":
        return entry
    hypotheses = len(setting.sentences_of_hypotheses)
    _whole(entry, "participant", 1, _MOST)
    if kind == "join":
        for name in ("name", "joined", "scheme"):
            if not isinstance(entry[name], str):
                raise ValueError(f"{name} must be text; got {entry[name]!r:.60}")
        _whole(entry, "seed", 0, MAX_SEED)
        _whole(entry, "agent", 0, _MOST)
        if entry["true_model"] is not None:
            _whole(entry, "true_model", 0, hypotheses - 1)
        if entry["participant"] in joined:
            raise ValueError(f"participant {entry['participant']} has joined before")
        return entry
    if entry["participant"] not in joined:
        raise ValueError(f"participant {entry['participant']} has not joined")
    _whole(entry, "trial", 0, MOST_TRIALS - 1)
    if kind == "belief":
        _whole(entry, "hypothesis", -1, hypotheses - 1)
        return entry
    return _trial(entry, setting)


def _trial(entry: dict[str, Any], setting: Setting) -> dict[str, Any]:
    model, outcomes = setting.model, entry["outcomes"]
    if not isinstance(outcomes, list) or not 1 <= len(outcomes) <= setting.paradigm.trial_length:
        raise ValueError(f"outcomes must be those of 1 to {setting.paradigm.trial_length} times")
    n = len(outcomes)
    states = model.num_states if setting.knows_states else None
    _rows(entry, "outcomes", n, -1, model.num_outcomes)
    _rows(entry, "states", n, -1, states)
    _rows(entry, "controls", n - 1, 0, model.num_controls)
    _numbers(entry, "moved_at", n - 1, 0.0)
    _numbers(entry, "seconds", n - 1)
    _numbers(entry, "reaction_seconds", n - 1, none=True)
    entry.setdefault("rewards", [0.0] * n)
    _numbers(entry, "rewards", n, -sys.float_info.max, sys.float_info.max)
    return entry


def _whole(entry: dict[str, Any], name: str, least: int, most: int) -> None:
    value = entry[name]
    if not is_whole(value) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number in {least}..{most}; got {value!r:.60}")


def _rows(entry: dict[str, Any], name: str, n: int, least: int, sizes: tuple[int, ...] | None) -> None:
    """A list of numbers for each time, within ``least`` and the sizes; None for sizes that are not known."""
    rows = entry[name]
    if not isinstance(rows, list) or len(rows) != n or not all(isinstance(row, list) for row in rows):
        raise ValueError(f"{name} must be lists of numbers, one for each of {n} times")
    for row in rows:
        limits = [_MOST] * len(row) if sizes is None else sizes
        if len(row) != len(limits):
            raise ValueError(f"{name} must have {len(limits)} numbers at each time; got {len(row)}")
        for value, size in zip(row, limits, strict=True):
            if not is_whole(value) or not least <= value < size:
                raise ValueError(f"{name} must hold whole numbers in {least}..{size - 1}; got {value!r:.60}")


def _numbers(
    entry: dict[str, Any], name: str, n: int, least: float = -_LATEST, most: float = _LATEST, none: bool = False
) -> None:
    values = entry[name]
    if not isinstance(values, list) or len(values) != n:
        raise ValueError(f"{name} must be a list of {n} numbers")
    for value in values:
        if none and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most or math.isnan(value):
            raise ValueError(f"{name} must hold numbers in {least:g}..{most:g}; got {value!r:.60}")
