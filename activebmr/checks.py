"""Checks of arguments, the same for every floor: each raises TypeError or ValueError that names argument, rule and value.

``name`` is what the message calls the argument, with its owner where it has one: ``"gamma of Planner"``. What may hold one
number for all agents or one for each (`per_agent`) is kept as a float or as an array ``(n_agents,)``, and brought to the size
of a batch where that is known (`each_agent`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from operator import index
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr.arrays import Floats

__all__ = [
    "ANY_NUMBER",
    "FRACTION",
    "NOT_NEGATIVE",
    "POSITIVE",
    "POSITIVE_OR_INFINITE",
    "PROBABILITY",
    "Rule",
    "SHARE",
    "choice",
    "each_agent",
    "flag",
    "float_array",
    "frozen",
    "is_whole",
    "number",
    "per_agent",
    "whole_number",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """What numbers must obey: ``words`` follow "must" in a message, ``holds`` says of every number whether it does."""

    words: str
    holds: Callable[[Any], Any]


POSITIVE = Rule("be a finite number > 0", lambda x: np.isfinite(x) & (x > 0))
POSITIVE_OR_INFINITE = Rule("be a number > 0, or inf", lambda x: x > 0)
NOT_NEGATIVE = Rule("be a finite number >= 0", lambda x: np.isfinite(x) & (x >= 0))
PROBABILITY = Rule("lie in [0, 1]", lambda x: (x >= 0) & (x <= 1))
SHARE = Rule("lie in [0, 1)", lambda x: (x >= 0) & (x < 1))
FRACTION = Rule("lie in (0, 1]", lambda x: (x > 0) & (x <= 1))
ANY_NUMBER = Rule("be a number, or inf; not nan", lambda x: ~np.isnan(x))


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number by its type: an int of Python, NumPy or another library, but no bool and no 1.0."""
    if isinstance(value, (bool, np.bool_)) or getattr(value, "dtype", None) == np.bool_:
        return False
    try:
        index(value)
    except TypeError:
        return False
    return True


def whole_number(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """``value`` as an int within its bounds.

    Raises:
        TypeError: if it is no whole number (`is_whole`).
        ValueError: if it lies below ``least`` or above ``most``.
    """
    if not is_whole(value):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    whole = index(value)
    if most is not None and least is not None and not least <= whole <= most:
        raise ValueError(f"{name} must lie in {least}..{most}; got {whole}")
    if least is not None and whole < least:
        raise ValueError(f"{name} must be at least {least}; got {whole}")
    if most is not None and whole > most:
        raise ValueError(f"{name} must be at most {most}; got {whole}")
    return whole


def flag(value: Any, name: str) -> bool:
    """``value`` as a bool; words such as "no" would count as yes, and are refused.

    Raises:
        TypeError: if it is neither True nor False.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def choice(value: T, name: str, allowed: Collection[T]) -> T:
    """``value`` if it is one of those allowed.

    Raises:
        ValueError: if it is not.
    """
    if not any(value is other or (type(value) is type(other) and value == other) for other in allowed):
        raise ValueError(f"{name} must be one of {tuple(allowed)}; got {value!r}")
    return value


def float_array(value: ArrayLike, name: str) -> Floats:
    """``value`` as an array of float64 (not copied if it is one), if nothing of it is lost by that.

    Raises:
        TypeError: if it does not hold real numbers: complex ones, words, arrays that do not fit into one another.
        ValueError: if entries are masked: what stands under a mask is not meant.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        at = tuple(int(i) for i in np.argwhere(np.ma.getmaskarray(value))[0])
        raise ValueError(f"{name} must not be masked; entry {at} is")
    try:
        raw = np.asarray(value)
        array = None if np.iscomplexobj(raw) or raw.dtype.kind in "SUmM" else np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None:
        raise TypeError(f"{name} must be an array of real numbers; got {_brief(value)}")
    return array


def number(value: Any, name: str, rule: Rule) -> float:
    """``value`` as a float that obeys a rule.

    Raises:
        TypeError: if it is no single real number.
        ValueError: if it breaks the rule.
    """
    single = _single(value)
    if single is None:
        raise TypeError(f"{name} must be a single number; got {_brief(value)}")
    if not rule.holds(single):
        raise ValueError(f"{name} must {rule.words}; got {single}")
    return single


def per_agent(value: Any, name: str, rule: Rule) -> float | Floats:
    """One number for all agents, or one for each: a float, or a frozen float64 array ``(n_agents,)``; all obey the rule.

    Raises:
        TypeError: if it holds no real numbers.
        ValueError: if it has more than one axis or no entry, or an entry breaks the rule.

    Example:
        ``per_agent([1, 2.5], "gamma of Planner", POSITIVE)`` is ``array([1. , 2.5])``.
    """
    if _single(value) is not None:
        return number(value, name, rule)
    if value is None or isinstance(value, (str, bytes, bool, np.bool_)):
        raise TypeError(f"{name} must be a number, or an array of one number per agent; got {value!r}")
    array = float_array(value, name)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be a number, or an array (n_agents,) of one per agent; got shape {array.shape}")
    wrong = ~np.asarray(rule.holds(array), dtype=bool)
    if wrong.any():
        raise ValueError(f"{name} must {rule.words}; got {array[wrong][0]} for agent {int(wrong.argmax())}")
    return frozen(array)


def each_agent(value: float | Floats, n_agents: int, name: str) -> Floats:
    """A setting that `per_agent` has checked, as an array ``(n_agents,)``.

    Raises:
        ValueError: if it holds another number of agents.
    """
    if np.ndim(value) and np.shape(value) != (n_agents,):
        raise ValueError(f"{name} has one number for each of {len(value)} agents; the batch has {n_agents}")  # type: ignore[arg-type]
    return np.full(n_agents, value) if np.ndim(value) == 0 else np.asarray(value)


def frozen(array: ArrayLike, dtype: Any = np.float64) -> NDArray[Any]:
    """A read-only copy."""
    copy = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy


def _single(value: Any) -> float | None:
    """A float if the value is one real number (no bool), else None."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None or np.ma.is_masked(value):
        return None
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    if getattr(value, "shape", None) != () or getattr(value, "dtype", None) == np.bool_ or np.iscomplexobj(value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
