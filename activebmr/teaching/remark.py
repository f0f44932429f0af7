"""`Remark`: what is said about an answer to an exercise; and how answers are read and compared.

Nobody who answers an exercise gets a traceback: an answer of a wrong form gets a remark that says what form it must have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats

__all__ = ["Remark", "about_number", "about_probabilities", "almost", "named", "no", "opened", "right"]

_GRADES = {"right": "right", "almost": "almost", "no": "not yet", "open": "no answer yet"}
_COLOURS = {"right": "#009E73", "almost": "#E69F00", "no": "#D55E00", "open": "#7F7F7F"}


@dataclass(frozen=True)
class Remark:
    """What is said about an answer.

    Attributes:
        grade: ``"right"``, ``"almost"`` (a known slip), ``"no"``, or ``"open"`` (``...`` stands where the answer should).
        text: what is wrong, or why it is right, in a sentence.

    Example:
        >>> Remark("almost", "you forgot to normalise")
        almost: you forgot to normalise
        >>> bool(Remark("right", ""))
        True
    """

    grade: str
    text: str

    def __post_init__(self) -> None:
        checks.choice(self.grade, "grade of Remark", _GRADES)
        checks.text(self.text, "text of Remark")

    def __bool__(self) -> bool:
        return self.grade == "right"

    def __repr__(self) -> str:
        return f"{_GRADES[self.grade]}: {self.text}" if self.text else _GRADES[self.grade]

    def _repr_html_(self) -> str:
        """What a notebook shows: a coloured bar before the words; all text is escaped."""
        words, colour = _GRADES[self.grade], _COLOURS[self.grade]
        style = f"border-left: 5px solid {colour}; padding: 2px 10px"
        return f'<p style="{style}"><b>{words}</b>{escape(": " + self.text if self.text else "")}</p>'


def right(text: str = "") -> Remark:
    """The answer is right, and this is why, or what follows."""
    return Remark("right", text)


def almost(text: str) -> Remark:
    """The answer is wrong in a way that is known."""
    return Remark("almost", text)


def no(text: str) -> Remark:
    """The answer is wrong; this may help."""
    return Remark("no", text)


def opened(answer: Any) -> Remark | None:
    """A remark if there is no answer: ``...``, None, or an empty text."""
    if answer is ... or answer is None or (isinstance(answer, str) and not answer.strip()):
        return Remark("open", "put your answer where the three dots are")
    return None


Slip = tuple[Any, str]
"""A wrong answer that people give, and what to say to it."""


def about_number(
    answer: Any,
    truth: float,
    why: str,
    slips: Iterable[Slip] = (),
    help: str = "",
    *,
    within: float = 0.006,
    nats: bool = False,
) -> Remark:
    """A remark on an answer that is a number.

    Args:
        answer: what was answered.
        truth: the right number.
        why: what to say if it is right.
        slips: wrong numbers that people give, and what to say to each; the first one that is near is named.
        help: what to say to every other wrong number.
        within: how far an answer may be off, for it may have been rounded: this much, or this share of a number above 1.
        nats: whether it is an amount of information: then bits, and the wrong sign, are known slips too.
    """
    remark = opened(answer)
    if remark is not None:
        return remark
    value = _number(answer)
    if value is None:
        return no(f"the answer must be one number; got {_shown(answer)}")
    if _near(value, truth, within):
        return right(why)
    for slip, text in slips:
        if _near(value, slip, within):
            return almost(text)
    if truth and _near(value, -truth, within):
        return almost("the size is right, the sign is not")
    if nats and _near(value, truth / math.log(2), within):
        return almost("that is the answer in bits; take the natural logarithm (np.log) for nats")
    if _near(value, 100 * truth, within) and abs(truth) <= 1:
        return almost("that is in per cent: divide by 100")
    return no(f"{value:.4g} is too {'large' if value > truth else 'small'}{'; ' * bool(help)}{help}")


def about_probabilities(
    answer: Any, truth: Sequence[float], names: Sequence[str], why: str, slips: Iterable[Slip] = (), help: str = ""
) -> Remark:
    """A remark on an answer that gives a probability for each of several names, in their order.

    Args:
        answer: what was answered: a list, an array, or a dict with the names as keys.
        truth: the right probabilities ``(n,)``.
        names: what they are the probabilities of ``(n,)``.
        why, slips, help: see `about_number`.
    """
    remark = opened(answer)
    if remark is not None:
        return remark
    wanted = np.asarray(truth, dtype=float)
    if isinstance(answer, dict):
        if set(answer) != set(names):
            return no(f"the answer must have a probability for each of {list(names)}; got {list(answer)}")
        answer = [answer[n] for n in names]
    values = _numbers(answer, len(names))
    if values is None or np.isinf(values).any():
        return no(f"the answer must be {len(names)} numbers: the probabilities of {_listed(names)}; got {_shown(answer)}")
    if _all_near(values, wanted):
        return right(why)
    for slip, text in slips:
        if _all_near(values, np.asarray(slip, dtype=float)):
            return almost(text)
    if (values < 0).any():
        return no("a probability cannot be less than 0")
    if values.sum() > 0 and _all_near(values / values.sum(), wanted):
        if _near(float(values.sum()), 100.0, 0.01):
            return almost("that is in per cent: divide by 100")
        return almost(f"you forgot to normalise: the numbers sum to {values.sum():.4g}; divide each of them by that")
    if _all_near(values, wanted[::-1]):
        return almost(f"the right numbers in the wrong order; the order is {_listed(names)}")
    if not _near(float(values.sum()), 1.0, 0.011):
        return no(
            f"probabilities of all that can be must sum to 1; yours sum to {values.sum():.4g}" + (f"; {help}" if help else "")
        )
    return no(help or "these are probabilities, but not the right ones")


def named(answer: Any, allowed: Sequence[str]) -> str | Remark:
    """The name that was answered, in its own spelling; or a remark if it is none of those allowed."""
    remark = opened(answer)
    if remark is not None:
        return remark
    if isinstance(answer, str):
        for name in allowed:
            if answer.strip().lower() == name.lower():
                return name
    return no(f"the answer must be one of {_listed(allowed)}; got {_shown(answer)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(str, names))


def _shown(answer: Any) -> str:
    """An answer, cut where it would not fit on a line."""
    text = " ".join(repr(answer).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _number(answer: Any) -> float | None:
    """A single number, which may be infinite, or None; arrays of one entry are one."""
    values = _numbers(answer, 1)
    return None if values is None else float(values[0])


def _numbers(answer: Any, n: int) -> Floats | None:
    """So many numbers, none of them nan, or None."""
    if hasattr(answer, "detach"):  # a torch tensor
        answer = answer.detach().cpu().numpy()
    try:
        values = np.asarray(answer)
    except (TypeError, ValueError):
        return None
    if values.dtype.kind not in "iuf" or values.size != n:
        return None
    values = values.astype(float).ravel()
    return None if np.isnan(values).any() else values


def _near(value: float, other: float, within: float) -> bool:
    if math.isinf(value) or math.isinf(other):
        return value == other
    return abs(value - other) <= within * max(1.0, abs(other))


def _all_near(values: Floats, others: Floats) -> bool:
    return values.shape == others.shape and bool(np.abs(values - others).max() <= 0.006)
