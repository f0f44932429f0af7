"""Malformed calls of the whole public API: valid calls (`examples`), one argument of which is spoiled at a time.

``python tests/fuzzing.py 12000 --files 3000`` prints how many calls (and damaged files, see `fuzzing_files`) end in what. An
error is *clear* if it is a ValueError or TypeError (of files also a FileNotFoundError) that names the argument and says a rule.
What must not be accepted is said by the kind of the argument: a nan among counts, half an index, a word for a number. What may
be read in several ways is judged only by how it fails.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

CLEAR, RIGHT, ACCEPTED, UNCLEAR = "clear error", "right answer", "wrong input accepted", "unclear error"
RULE = re.compile(
    r"\b(must|needs?|not|no|cannot|lacks?|is none|neither|unknown|known|does|has|have|is none of|holds?|can be|give|call)\b",
    re.I,
)


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


def _none(kind_optional: bool) -> Iterator[Spoiled]:
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
        yield from _none(optional)

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
        yield from _none(optional)

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
        yield from _none(optional)

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
        yield from _none(optional)

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
        yield from _none(optional)

    return Kind(spoil, optional, names)


def text(*, optional: bool = False, names: tuple[str, ...] = ()) -> Kind:
    """Any text."""
    values = [1, 1.5, True, b"exact", [], {}, Stranger(), np.array(["a", "b"])]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        yield from (Spoiled(repr(v), v) for v in values)
        yield from _none(optional)

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
        yield from _none(optional)

    return Kind(spoil, optional, names)


def thing(*, optional: bool = False, anything: bool = False, names: tuple[str, ...] = (), others: tuple[Any, ...] = ()) -> Kind:
    """An object of a certain type; ``others`` are of that type and do not fit."""
    values = ["nothing", 1, 1.5, True, [], {}, {"a": 1}, (), Stranger(), np.zeros(3), b"a", int, len]

    def spoil(valid: Any, rng: np.random.Generator) -> Iterator[Spoiled]:
        for value in values:
            if not (optional and hasattr(value, "__len__") and len(value) == 0):
                yield Spoiled(repr(value), value, not (anything and isinstance(value, dict)))
        yield from (Spoiled(f"another {type(o).__name__}", o) for o in others)
        yield from _none(optional)

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


@dataclass(frozen=True)
class Outcome:
    """What came of a malformed call."""

    example: str
    argument: str
    label: str
    verdict: str
    said: str


def judge(example: Example, argument: str, spoiled: Spoiled) -> Outcome:
    """Call with one argument spoiled."""
    function, arguments = example.make()
    told = {**arguments, argument: spoiled.value}
    kind = example.kinds[argument]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.errstate(all="ignore"):
                answer = function(**told)
                if inspect.isgenerator(answer):
                    list(answer)
                elif hasattr(answer, "__enter__") and hasattr(answer, "gen"):
                    with answer:
                        pass
    except (ValueError, TypeError, FileNotFoundError, FileExistsError, IsADirectoryError) as error:
        said = str(error)
        named = any(re.search(rf"(?<![A-Za-z0-9]){re.escape(n)}(?![a-z0-9])", said) for n in (argument, *kind.names))
        ours = not isinstance(error, OSError) or "path" in kind.names
        clear = named and ours and RULE.search(said) is not None and "unexpected keyword" not in said
        verdict = CLEAR if clear else UNCLEAR
        return Outcome(example.name, argument, spoiled.label, verdict, f"{type(error).__name__}: {said}")
    except Exception as error:
        return Outcome(example.name, argument, spoiled.label, UNCLEAR, f"{type(error).__name__}: {error}")
    return Outcome(example.name, argument, spoiled.label, ACCEPTED if spoiled.wrong else RIGHT, "")


def malformed(examples: list[Example], calls: int, start: int = 0) -> Iterator[tuple[Example, str, Spoiled]]:
    """``calls`` malformed calls, evenly over all arguments of all examples; the same for the same ``start``."""
    rng = np.random.default_rng(start)
    made = 0
    while made < calls:
        every = []
        for example in examples:
            arguments = example.make()[1]
            for name, kind in example.kinds.items():
                every += [(example, name, s) for s in kind.spoil(arguments.get(name), rng)]
        for i in rng.permutation(len(every))[: calls - made]:
            yield every[i]
            made += 1


def public_names() -> set[str]:
    """Callables that users may call by themselves, as `Example` names them."""
    import activebmr
    from activebmr import dirichlet, plots, reduction

    made_for_users = {"AgentState", "StepInfo", "TrialInfo", "Reduction"}  # but not by them
    names = {n for n in activebmr.__all__ if callable(getattr(activebmr, n))} - made_for_users
    names |= {n for n in reduction.__all__ if callable(getattr(reduction, n))}
    names |= {f"dirichlet.{n}" for n in dirichlet.__all__ if callable(getattr(dirichlet, n))}
    return names | {f"plots.{n}" for n in plots.__all__ if callable(getattr(plots, n))}


def main() -> int:
    from fuzzing_examples import examples

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int, nargs="?", default=2000)
    parser.add_argument("--files", type=int, default=0, help="damage so many files too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="list what was not as it should be")
    parser.add_argument("--only", default="", help="examples whose name contains this")
    options = parser.parse_args()
    held = [e for e in examples() if options.only in e.name]
    for example in held:  # a valid call is valid
        function, arguments = example.make()
        try:
            answer = function(**arguments)
            if hasattr(answer, "gen"):
                with answer:
                    pass
        except Exception as error:
            print(f"INVALID EXAMPLE {example.name}: {type(error).__name__}: {error}", file=sys.stderr)
    outcomes = [judge(*call) for call in malformed(held, options.calls, options.seed)]
    of_files: list[Outcome] = []
    if options.files:
        from fuzzing_files import damaged

        with tempfile.TemporaryDirectory() as folder:
            of_files = list(damaged(Path(folder), options.files, options.seed))
        _print(of_files, f"{len(of_files)} damaged files", options.show)
    _print(outcomes, f"{len(outcomes)} malformed calls of {len(held)} callables", options.show)
    return int(any(o.verdict in (ACCEPTED, UNCLEAR) for o in outcomes + of_files))


def _print(outcomes: list[Outcome], what: str, show: bool) -> None:
    wrong = {(o.verdict, o.example, o.argument, o.label, o.said[:230]) for o in outcomes if o.verdict in (ACCEPTED, UNCLEAR)}
    for told in sorted(wrong) if show else ():
        print(" | ".join(told))
    count = Counter(o.verdict for o in outcomes)
    print(what)
    for verdict in (CLEAR, RIGHT, ACCEPTED, UNCLEAR):
        print(f"  {verdict:22}{count[verdict]:8}")


if __name__ == "__main__":
    sys.exit(main())
