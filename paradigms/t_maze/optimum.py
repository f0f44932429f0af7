"""The best that can be done in a session of a T-maze whose structure is known: exact, by dynamic programming over beliefs.

It shares no code with the agents. Of plans that are equally good the one is best whose rewards come sooner.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from activebmr.paradigms.t_maze.world import CUE, MOVES, NEXT, REWARD, WORTH, Structure

__all__ = ["Best", "best_session", "worths"]

_SOON = 0.99  # what a reward is worth a move later
_TIE = 1e-9
_DIGITS = 12  # to which beliefs are told apart

Branch = tuple[float, float, int, float]
"""Probability, worth, next place and next probability of the context left."""


class Best(NamedTuple):
    """What the best plan comes to: expected score of a session, and how often it looks at the cue."""

    score: float
    looks: float


def _branches(structure: Structure, reward: float, place: int, left: float, control: int) -> list[Branch]:
    """What may come of a control, where the context is ``left`` with this probability."""
    to = NEXT[place][control]
    if place > CUE and not structure.stays:
        left = 0.5
    if to == 0:
        return [(1.0, WORTH[0], to, left)]
    # of two things that may be seen the first one, given each context
    first = structure.up() if to == CUE else (reward, 1.0 - reward) if to == 2 else (1.0 - reward, reward)
    worth = (WORTH[0], WORTH[0]) if to == CUE else WORTH[1:]
    out = []
    for seen in (0, 1):
        chance = [p if seen == 0 else 1.0 - p for p in first]
        total = left * chance[0] + (1.0 - left) * chance[1]
        if total > 0:
            out.append((total, worth[seen], to, round(left * chance[0] / total, _DIGITS)))
    return out


@lru_cache(maxsize=1_000_000)
def worths(structure: Structure, place: int, left: float, moves: int, reward: float = REWARD) -> tuple[float, ...]:
    """What each control is worth, with the best that may follow, to an agent that has so many ``moves`` left."""
    out = []
    for control in range(3):
        total = 0.0
        for chance, worth, to, then in _branches(structure, reward, place, left, control):
            later = max(worths(structure, to, then, moves - 1, reward)) if moves > 1 else 0.0
            total += chance * (worth + _SOON * later)
        out.append(total)
    return tuple(out)


@lru_cache(maxsize=1_000_000)
def _lived(structure: Structure, place: int, left: float, moves: int, reward: float) -> Best:
    if moves == 0:
        return Best(0.0, 0.0)
    values = worths(structure, place, left, moves, reward)
    good = [u for u, v in enumerate(values) if v > max(values) - _TIE]
    score = looks = 0.0
    for control in good:
        for chance, worth, to, then in _branches(structure, reward, place, left, control):
            later = _lived(structure, to, then, moves - 1, reward)
            score += chance * (worth + later.score) / len(good)
            looks += chance * ((to == CUE) + later.looks) / len(good)
    return Best(score, looks)


def best_session(structure: Structure, moves: int = MOVES, reward: float = REWARD) -> Best:
    """The best plan for a whole session of a structure that is known; exact."""
    return _lived(structure, 0, float(structure.first()[0]), moves, reward)
