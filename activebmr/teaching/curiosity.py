"""Checks of the exercises on curiosity: what looking is worth before one has looked."""

from __future__ import annotations

import math
from typing import Any

from activebmr.teaching.remark import Remark, about_number, almost, no, opened, right

__all__ = ["MOTIVES", "gain_of_looking", "gain_of_noise", "motives"]

MOTIVES = ("utility", "state", "param", "model")
_EXAMPLES = {
    "ask a friend which of two explanations of his holds": "model",
    "eat the cake": "utility",
    "press a button that you have never pressed": "param",
    "look whether the bus is already there": "state",
}


def _entropy(p: float) -> float:
    return -sum(x * math.log(x) for x in (p, 1 - p) if x > 0)


def gain_of_looking(answer: Any) -> Remark:
    """The lamp is on or off with probability 1/2; what the window shows is right with probability 0.75. What is a look worth?

    Args:
        answer: the expected gain about the state, in nats.

    Example:
        >>> gain_of_looking(0.5623)
        almost: that is the doubt that is left after the look; the gain is how much smaller it is than the doubt before
    """
    before, after = _entropy(0.5), _entropy(0.75)
    slips = [
        (before, "that is the doubt before the look; the look does not remove all of it"),
        (after, "that is the doubt that is left after the look; the gain is how much smaller it is than the doubt before"),
        (
            before - _entropy(0.9),
            "that is the gain for a window that is right with probability 0.9; this one is right with 0.75",
        ),
    ]
    return about_number(
        answer,
        before - after,
        "doubt falls from 0.693 to 0.562 nats, whatever the window shows, so that is what can be expected of a look",
        slips,
        "the gain is the doubt (entropy) before the look minus the doubt that can be expected after it",
        nats=True,
        within=0.003,
    )


def gain_of_noise(answer: Any) -> Remark:
    """A television shows noise, black or white with probability 1/2, and you know that for certain. What is a look worth?

    Args:
        answer: the sum of all expected gains of a look, in nats.

    Example:
        >>> gain_of_noise(0)
        right: the outcome is uncertain, but it tells nothing about anything: no state, no probability, no model
    """
    slips = [
        (
            math.log(2),
            "that is how uncertain the outcome is; but after it you know nothing about the world that you did not know",
        )
    ]
    return about_number(
        answer,
        0.0,
        "the outcome is uncertain, but it tells nothing about anything: no state, no probability, no model",
        slips,
        "what would you know about the world after the look that you did not know before?",
    )


def motives(answer: Any) -> Remark:
    """Which term of a policy's value makes somebody do each of four things?

    Args:
        answer: a dict from each of the four things to one of ``"utility"``, ``"state"``, ``"param"``, ``"model"``.
    """
    remark = opened(answer)
    if remark is not None:
        return remark
    if not isinstance(answer, dict) or set(answer) != set(_EXAMPLES):
        return no(f"the answer must be a dict with these keys: {list(_EXAMPLES)}")
    if any(value is ... or value is None for value in answer.values()):
        return Remark("open", "give every one of the four things a term")
    strange = {str(v) for v in answer.values() if v not in MOTIVES}
    if strange:
        return no(f"the terms are {', '.join(MOTIVES)}; got {', '.join(sorted(strange))}")
    wrong = [thing for thing, term in answer.items() if term != _EXAMPLES[thing]]
    if not wrong:
        return right("what is liked, what is so now, how something works in numbers, and which story is true")
    hints = {
        "utility": "this is done because its outcome is liked",
        "state": "this tells how things are at the moment",
        "param": "this tells how probable outcomes are, where nothing has been counted yet",
        "model": "this tells which of a few stories about the world is true",
    }
    say = almost if len(wrong) <= 2 else no
    return say("; ".join(f"{thing!r}: {hints[_EXAMPLES[thing]]}" for thing in wrong))
