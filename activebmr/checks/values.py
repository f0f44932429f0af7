"""Checks of arguments, the same for every floor: each raises TypeError or ValueError that names argument, rule and value.

``name`` is what the message calls the argument, with its owner where it has one: ``"gamma of Planner"``. What may hold one
number for all agents or one for each (`per_agent`) is kept as a float or as an array ``(n_agents,)``, and brought to the size
of a batch where that is known (`each_agent`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import index
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr.arrays import Floats, Ints

__all__ = [
    "ANY_NUMBER",
    "FRACTION",
    "NOT_NEGATIVE",
    "POSITIVE",
    "POSITIVE_OR_INFINITE",
    "PROBABILITY",
    "Rule",
    "SHARE",
    "brief",
    "each_agent",
    "flag",
    "float_array",
    "frozen",
    "function",
    "generator",
    "index_array",
    "is_whole",
    "mapping",
    "number",
    "numbers",
    "pair",
    "path_like",
    "per_agent",
    "sequence",
    "text",
    "whole_from",
    "whole_number",
]


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
    if getattr(value, "shape", ()) != () or str(getattr(value, "dtype", "")) == "torch.bool":  # torch would take them
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
        raise TypeError(f"{name} must be a whole number; got {brief(value)}")
    whole = index(value)
    if most is not None and least is not None and not least <= whole <= most:
        raise ValueError(f"{name} must lie in {least}..{most}; got {whole}")
    if least is not None and whole < least:
        raise ValueError(f"{name} must be at least {least}; got {whole}")
    if most is not None and whole > most:
        raise ValueError(f"{name} must be at most {most}; got {whole}")
    return whole


def whole_from(value: Any, name: str, least: int) -> int:
    """``value`` as an int that is not below the least; one error for both rules, as settings have it.

    Raises:
        ValueError: if it is no whole number (`is_whole`), or below.
    """
    if not is_whole(value) or index(value) < least:
        raise ValueError(f"{name} must be a whole number >= {least}; got {brief(value)}")
    return index(value)


def flag(value: Any, name: str) -> bool:
    """``value`` as a bool; words such as "no" would count as yes, and are refused.

    Raises:
        TypeError: if it is neither True nor False.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {brief(value)}")
    return bool(value)


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
        raise TypeError(f"{name} must be an array of real numbers; got {brief(value)}")
    return array


def number(value: Any, name: str, rule: Rule) -> float:
    """``value`` as a float that obeys a rule.

    Raises:
        TypeError: if it is no single real number.
        ValueError: if it breaks the rule.
    """
    single = _single(value)
    if single is None:
        raise TypeError(f"{name} must be a single number; got {brief(value)}")
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


def numbers(value: Any, name: str, rule: Rule, shape: tuple[int, ...] | None = None) -> Floats:
    """``value`` as an array of float64 all of which obeys a rule, of a given shape if there is one.

    Raises:
        TypeError, ValueError: see `float_array`; and if the shape is another one, or an entry breaks the rule.
    """
    array = float_array(value, name)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
    wrong = ~np.asarray(rule.holds(array), dtype=bool)
    if wrong.any():
        raise ValueError(f"{name} must {rule.words}; got {array[wrong][0]}")
    return array


def pair(value: Any, name: str, rule: Rule) -> tuple[float, float]:
    """Two numbers, both of which obey a rule.

    Raises:
        TypeError: if it is no list of two numbers.
        ValueError: if one breaks the rule.
    """
    if len(sequence(value, name)) != 2:
        raise TypeError(f"{name} must be two numbers; got {brief(value)}")
    return number(value[0], f"{name}[0]", rule), number(value[1], f"{name}[1]", rule)


def index_array(value: Any, name: str, least: int, most: int | None = None, shape: tuple[int, ...] | None = None) -> Ints:
    """``value`` as an array of whole numbers within bounds, of a given shape if there is one; nothing is rounded.

    Raises:
        TypeError: if it holds no whole numbers: also 1.0 is none, and True.
        ValueError: if the shape is another one, an entry lies out of range or is masked.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise ValueError(f"{name} must not be masked; got {brief(value)}")
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iu" and not (array.size == 0 and array.dtype.kind == "f"):
        raise TypeError(f"{name} must hold whole numbers; got {brief(value)}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {array.shape}")
    wrong = (array < least) | (array > (np.iinfo(np.intp).max if most is None else most))
    if wrong.any():
        rule = f"be at least {least}" if most is None else f"lie in {least}..{most}"
        raise ValueError(f"{name} must {rule}; got {array[wrong][0]}")
    return array.astype(np.intp)


def generator(value: Any, name: str) -> np.random.Generator | None:
    """A generator of random numbers, from a generator, a seed or None.

    Raises:
        TypeError: if it is none of these.
        ValueError: if the seed is negative.
    """
    if value is None or isinstance(value, np.random.Generator):
        return value
    if not is_whole(value):
        raise TypeError(f"{name} must be a numpy.random.Generator, or a seed; got {brief(value)}")
    return np.random.default_rng(whole_number(value, name, 0))


def text(value: Any, name: str) -> str:
    """``value`` if it is a str.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text; got {brief(value)}")
    return value


def path_like(value: Any, name: str) -> Any:
    """``value`` if it can be the path of a file or folder.

    Raises:
        TypeError: if it is neither text nor a path.
        ValueError: if it is empty, or no file can have that name.
    """
    if not isinstance(value, (str, PathLike)):
        raise TypeError(f"{name} must be a path; got {brief(value)}")
    if not str(value) or "\0" in str(value):
        raise ValueError(f"{name} must be a path that a file can have; got {value!r}")
    return value


def function(value: Any, name: str) -> Any:
    """``value`` if it can be called.

    Raises:
        TypeError: if it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function; got {brief(value)}")
    return value


def mapping(value: Any, name: str) -> Any:
    """``value`` if it is a dict, or another mapping.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict; got {brief(value)}")
    return value


def sequence(value: Any, name: str) -> Any:
    """``value`` if it holds several things in an order: a list, a tuple or an array, but no text and no dict.

    Raises:
        TypeError: if it does not.
    """
    listed = hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, type)
    if not listed or isinstance(value, (str, bytes, Mapping)) or getattr(value, "shape", (1,)) == ():
        raise TypeError(f"{name} must be a list; got {brief(value)}")
    return value


def frozen(array: ArrayLike, dtype: Any = np.float64) -> NDArray[Any]:
    """A read-only copy."""
    copy = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy


def _single(value: Any) -> float | None:
    """A float if the value is one real number (no bool), else None."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None or np.ma.is_masked(value):
        return None
    if isinstance(value, (float, np.integer, np.floating)):
        return float(value)
    if isinstance(value, int):
        return float(value) if abs(value) < 2**1000 else math.copysign(math.inf, value)
    kind = getattr(value, "dtype", None)
    if getattr(value, "shape", None) != () or kind == np.bool_ or str(kind) == "torch.bool":
        return None
    if np.iscomplexobj(value) or str(kind).startswith("torch.complex"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # the last: tensors without numbers, as on torch's device "meta"
        return None


def brief(value: Any) -> str:
    """What a message says of a value: its first 80 characters, in one line."""
    words = " ".join(repr(value).split())
    return words if len(words) <= 80 else f"{words[:77]}..."
