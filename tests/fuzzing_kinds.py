"""Kinds of arguments, each with its malformed values, and whether a call may take them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spoiled:
    """A value for an argument; ``wrong`` if a call must not take it."""

    label: str
    value: Any
    wrong: bool = True


@dataclass(frozen=True)
class Kind:
    """What an argument is: gives its malformed values."""

    spoil: Callable[[Any, np.random.Generator], Iterator[Spoiled]]
    optional: bool = False
    names: tuple[str, ...] = ()
    """Further names that a message may call it by."""


class Stranger:
    """Nothing that anything takes."""

    def __repr__(self) -> str:
        return "<a stranger>"


def none_of(kind_optional: bool) -> Iterator[Spoiled]:
    """None, for what is not optional."""
    if not kind_optional:
        yield Spoiled("None", None)


def _put(base: np.ndarray, value: Any, rng: np.random.Generator) -> np.ndarray:
    out = np.array(base, dtype=np.result_type(base.dtype, type(value)) if not isinstance(value, complex) else complex)
    out[tuple(int(rng.integers(n)) for n in out.shape)] = value
    return out


def numbers(
    *,
    least: float | None = None,
    finite: bool = True,
    fixed: bool = True,
    optional: bool = False,
    nan: bool = False,
    scalar: bool = False,
    names: tuple[str, ...] = (),
    most: float | None = None,
    more: bool = False,
) -> Kind:
    """An array of real numbers; ``fixed`` if its shape is given by the other arguments, ``scalar`` if one number does too."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        base = np.asarray(valid, dtype=float)
        yield Spoiled("a word", "nothing")
        yield Spoiled("words", np.full(base.shape, "a"))
        yield Spoiled("numerals", np.full(base.shape, "1"))
        yield Spoiled("imaginary parts", _put(base, 1j + float(base.flat[0]), rng))
        yield Spoiled("nan", _put(base, np.nan, rng), not nan)
        yield Spoiled("inf", _put(base, np.inf, rng), finite)
        yield Spoiled("-inf", _put(base, -np.inf, rng), finite)
        yield Spoiled("huge", _put(base, 1e300, rng), False)
        yield Spoiled("tiny", _put(base, 1e-300, rng), False)
        if least is not None:
            yield Spoiled("too small", _put(base, least - float(rng.integers(1, 5)), rng))
        if most is not None:
            yield Spoiled("too large", _put(base, most + 0.5, rng))
        yield Spoiled("nothing in it", np.zeros((0,)), fixed)
        yield Spoiled("an axis more", base[None], fixed and not more)
        if base.ndim:
            yield Spoiled("too few", base[:-1], fixed)
        if not scalar:
            yield Spoiled("one number", 0.5, fixed)
        mask = np.zeros(base.shape, dtype=bool)
        mask[tuple(int(rng.integers(n)) for n in base.shape)] = True
        yield Spoiled("a mask", np.ma.array(base, mask=mask), not nan)
        yield Spoiled("objects", np.full(base.shape, Stranger(), dtype=object))
        yield Spoiled("ragged", [[1.0, 2.0], [1.0]])
        yield Spoiled("a set", {1.0, 2.0})
        yield Spoiled("a dict", {"a": 1.0})
        yield Spoiled("a stranger", Stranger())
        yield Spoiled("dates", np.full(base.shape, "2020-01-01", dtype="datetime64[D]"))
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def number(
    *,
    least: float | None = None,
    above: float | None = None,
    finite: bool = True,
    optional: bool = False,
    most: float | None = None,
    names: tuple[str, ...] = (),
    words: bool = False,
    named: bool = False,
) -> Kind:
    """One real number."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield Spoiled("a word", "nothing")
        yield Spoiled("a numeral", "1.0")
        yield Spoiled("imaginary", 1 + 1j)
        yield Spoiled("nan", float("nan"))
        yield Spoiled("inf", float("inf"), finite)
        yield Spoiled("-inf", -float("inf"), finite or least is not None or above is not None)
        yield Spoiled("a bool", True)
        yield Spoiled("an empty list", [])
        yield Spoiled("a stranger", Stranger())
        yield Spoiled("a dict", {"a": 1.0}, not named)
        yield Spoiled("a table", np.ones((2, 2)))
        if least is not None:
            yield Spoiled("too small", least - 0.5 - float(rng.random()))
        if above is not None:
            yield Spoiled("at the bound", above)
            yield Spoiled("too small", above - float(rng.random()) - 0.1)
        if most is not None:
            yield Spoiled("too large", most + 0.5)
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def whole(
    least: int | None = 0, most: int | None = None, *, optional: bool = False, words: bool = False, names: tuple[str, ...] = ()
) -> Kind:
    """One whole number; ``words`` if a name does too."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield Spoiled("half", 0.5 + (least or 0))
        yield Spoiled("a whole float", float(least or 0))
        yield Spoiled("nan", float("nan"))
        yield Spoiled("inf", float("inf"))
        yield Spoiled("imaginary", 1 + 1j)
        yield Spoiled("a bool", True)
        yield Spoiled("a NumPy bool", np.True_)
        yield Spoiled("an unknown name" if words else "a word", "nothing there")
        yield Spoiled("a numeral", "1")
        yield Spoiled("bytes", b"0")
        yield Spoiled("a list", [0])
        yield Spoiled("a table", np.zeros((2, 2)))
        yield Spoiled("a stranger", Stranger())
        yield Spoiled("a slice", slice(None))
        yield Spoiled("a tuple", (0,))
        yield Spoiled("a mask", np.ma.masked)
        if least is not None:
            yield Spoiled("too small", least - int(rng.integers(1, 4)))
            yield Spoiled("far too small", -(2**70))
        if most is not None:
            yield Spoiled("too large", most + int(rng.integers(1, 4)))
            yield Spoiled("far too large", 2**70)
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def indices(
    least: int,
    most: int,
    *,
    optional: bool = False,
    fixed: bool = True,
    names: tuple[str, ...] = (),
    missing: bool = False,
    unused: bool = False,
    empty: bool = False,
) -> Kind:
    """An array of whole numbers; ``missing`` if nan, None and masks stand for what is not known."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        base = np.asarray(valid)
        yield Spoiled("half", base + 0.5)
        yield Spoiled("one half", _put(base.astype(float), 0.5, rng))
        yield Spoiled("too small", _put(base, least - int(rng.integers(1, 4)), rng), not unused)
        yield Spoiled("too large", _put(base, most + int(rng.integers(1, 4)), rng), not unused)
        yield Spoiled("huge", _put(base, 2**40, rng), not unused)
        yield Spoiled("beyond int", np.full(base.shape, 2**70, dtype=object))
        yield Spoiled("nan", _put(base.astype(float), np.nan, rng), not missing)
        yield Spoiled("inf", _put(base.astype(float), np.inf, rng), not unused)
        yield Spoiled("imaginary parts", base + 1j)
        yield Spoiled("bools", np.ones(base.shape, dtype=bool))
        yield Spoiled("a word", "nothing")
        yield Spoiled("words", np.full(base.shape, "a"))
        yield Spoiled("numerals", np.full(base.shape, "1"))
        yield Spoiled("an axis more", base[None, None], fixed)
        yield Spoiled("too few", base[:-1] if base.ndim and len(base) > 1 else np.zeros((0,), dtype=int), fixed)
        yield Spoiled("nothing in it", [], not empty)
        yield Spoiled("a stranger", Stranger())
        yield Spoiled("a dict", {"a": 0})
        yield Spoiled("a set", {0, 1})
        yield Spoiled("ragged", [[0, 1], [0]])
        yield Spoiled("a mask", np.ma.array(base, mask=np.ones(base.shape, dtype=bool)), not missing)
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def flag(names: tuple[str, ...] = ()) -> Kind:
    """True or False."""
    values = [1, 0, "no", "", None, [], np.ones(2, dtype=bool), 0.0, Stranger()]
    return Kind(lambda valid, rng: (Spoiled(f"{v!r}", v) for v in values), False, names)


def word(*, optional: bool = False, empty: bool = False, names: tuple[str, ...] = ()) -> Kind:
    """One of a few words."""
    values = ["nothing there", "", 1, 1.5, True, b"exact", [], ["a"], {}, Stranger(), np.array(["a", "b"])]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield from (Spoiled(repr(v), v, not (empty and isinstance(v, list) and not v)) for v in values)
        if isinstance(valid, str) and valid.upper() != valid:
            yield Spoiled("capitals", valid.upper())
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def text(*, optional: bool = False, names: tuple[str, ...] = ()) -> Kind:
    """Any text."""
    values = [1, 1.5, True, b"exact", [], {}, Stranger(), np.array(["a", "b"])]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield from (Spoiled(repr(v), v) for v in values)
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def words(*, optional: bool = False, names: tuple[str, ...] = (), any_text: bool = False) -> Kind:
    """A sequence of known names."""

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield Spoiled("an unknown name", ["nothing there"], not any_text)
        yield Spoiled("one word", "nothing there")
        yield Spoiled("halves", [0.5])
        yield Spoiled("None in it", [None])
        yield Spoiled("lists in it", [[]])
        yield Spoiled("a number", 3)
        yield Spoiled("a stranger", Stranger())
        yield Spoiled("a bool", True)
        yield Spoiled("a dict", {"a": 1})
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def thing(*, optional: bool = False, anything: bool = False, names: tuple[str, ...] = (), others: tuple[Any, ...] = ()) -> Kind:
    """An object of a certain type; ``others`` are of that type and do not fit."""
    values = ["nothing", 1, 1.5, True, [], {}, {"a": 1}, (), Stranger(), np.zeros(3), b"a", int, len]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        for value in values:
            if not (optional and hasattr(value, "__len__") and len(value) == 0):
                yield Spoiled(repr(value), value, not (anything and isinstance(value, dict)))
        yield from (Spoiled(f"another {type(o).__name__}", o) for o in others)
        yield from none_of(optional)

    return Kind(spoil, optional, names)


def callable_thing(*, optional: bool = False) -> Kind:
    """A function, or for some the name of one; of functions it is seen what they do only when they are called."""
    plain = thing(optional=optional)

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        for spoiled in plain.spoil(valid, rng):
            if spoiled.value is len:
                continue
            yield Spoiled(spoiled.label, spoiled.value, not (callable(spoiled.value) or spoiled.label == "'nothing'"))

    return Kind(spoil, optional)


def seed(*, optional: bool = True, whole_too: bool = True) -> Kind:
    """A generator of random numbers, or a seed."""
    values: list[Any] = [
        "nothing",
        1.5,
        True,
        np.True_,
        -1,
        [],
        {},
        Stranger(),
        np.random.RandomState(0),
        np.random,
        np.zeros(3),
        np.random.default_rng,
        float("nan"),
        1j,
    ]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield from (Spoiled(repr(v), v) for v in values)
        if not optional:
            yield Spoiled("None", None)

    return Kind(spoil, optional, ("seed",))


def place(*, reads: bool) -> Kind:
    """A path."""
    values = [None, 1, 1.5, True, [], {}, Stranger(), "", "/", "/nothing/there/at/all.npz" if reads else "x\0y.npz", "a.txt"]
    return Kind(lambda valid, rng: (Spoiled(repr(v), v) for v in values), False, ("file", "folder", "path"))


@dataclass(frozen=True)
class Example:
    """A valid call: ``make`` gives the callable and its arguments by name, afresh; ``kinds`` says what they are."""

    name: str
    make: Callable[[], tuple[Callable[..., Any], dict[str, Any]]]
    kinds: dict[str, Kind] = field(default_factory=dict)
