"""What the command's arguments mean, checked before any work: paradigms, schemes, rules, options, numbers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from activebmr import checks
from activebmr.cli.problems import Problem
from activebmr.simulation.registry import ParadigmModule, build_paradigm, load_paradigm, options_of, unknown

if TYPE_CHECKING:
    from activebmr.simulation.paradigm import Paradigm

__all__ = [
    "build",
    "checked",
    "fits_memory",
    "in_range",
    "module_named",
    "one_of",
    "processes",
    "rule_of",
    "scheme_names",
    "schemes_of",
    "settings_of",
]


@contextmanager
def checked() -> Iterator[None]:
    """What the library says against arguments, in one line."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        raise Problem(error) from error


def module_named(name: str) -> ParadigmModule:
    """The module of a paradigm, by its name or the path of its file."""
    with checked():
        return load_paradigm(name)


def scheme_names(module: ParadigmModule, wanted: list[str] | None) -> list[str]:
    """Schemes that are asked for, by default the paradigm's own; ``all`` are all."""
    known = list(module.SCHEMES)
    names = wanted or [module.DEFAULT_SCHEME]
    if "all" in names and "all" not in known:
        return known
    for name in names:
        if name not in known:
            raise Problem(unknown(f"scheme of {module.NAME}", name, known))
    return list(dict.fromkeys(names))


def rule_of(text: str | None, random: bool = True) -> int | str | None:
    """The true rule: an index, ``"random"``, or None if none is given."""
    if text is None or (random and text == "random"):
        return text
    try:
        return int(text)
    except ValueError:
        expected = "a whole number (counted from 0)" + " or 'random'" * random
        raise Problem(f"--true-rule must be {expected}; got {text!r}") from None


def settings_of(module: ParadigmModule, given: list[str] | None) -> dict[str, str]:
    """Options of the paradigm's own, NAME=VALUE."""
    known, out = options_of(module), {}
    for text in given or []:
        name, sign, value = text.partition("=")
        if not sign:
            raise Problem(f"--set must look like NAME=VALUE; got {text!r}")
        if name not in known:
            raise Problem(unknown(f"option of {module.NAME}", name, list(known)))
        if name in out:
            raise Problem(f"--set {name} must be given once; got {out[name]!r} and {value!r}")
        one_of(f"--set {name}", value, known[name])
        out[name] = value
    return out


def build(module: ParadigmModule, schemes: list[str], rule: int | str | None, settings: dict[str, str]) -> list[Paradigm]:
    """The paradigm under each of some schemes."""
    with checked():
        if rule is None:
            return [build_paradigm(module, s, None, **settings) for s in schemes]
        # the default scheme tells what rules there are; others may need one to be built
        rules = build_paradigm(module, module.DEFAULT_SCHEME, None, **settings).hypotheses
        if rules is None:
            raise Problem(f"--true-rule must not be given for {module.NAME}: it has no rules")
        if isinstance(rule, int):
            in_range("--true-rule", rule, 0, len(rules) - 1)
        return [build_paradigm(module, s, rule, **settings) for s in schemes]


def schemes_of(
    module: ParadigmModule, wanted: list[str] | None, rule: int | str | None, settings: dict[str, str]
) -> list[Paradigm]:
    """Schemes to be run; of ``all`` those that can be built, as some cannot with a random rule."""
    names = scheme_names(module, wanted)
    if wanted != ["all"] or "all" in module.SCHEMES or rule != "random":
        return build(module, names, rule, settings)
    built, problems = [], []
    for name in names:
        try:
            built += build(module, [name], rule, settings)
        except Problem as problem:
            problems.append((name, problem))
    if not built:
        raise problems[0][1]
    for name, problem in problems:
        print(f"left out: {name}: {problem}", file=sys.stderr)
    return built


def one_of(option: str, value: str, known: Sequence[str]) -> None:
    """Refuse a value that is none of those that there are."""
    if value not in known:
        raise Problem(f"{option} must be one of {', '.join(known)}; got {value!r}{checks.meant(value, known)}")


def in_range(option: str, value: int, low: int, high: int | None = None) -> None:
    """Refuse a number that is out of range."""
    if value < low or (high is not None and value > high):
        span = f"{low} or more" if high is None else f"{low} to {high}"
        raise Problem(f"{option} must be {span}; got {value}")


def processes(jobs: int) -> int:
    """How many processes there are to be, at most one per core."""
    if jobs != -1 and jobs < 1:
        raise Problem(f"--jobs must be 1 or more, or -1 for all cores; got {jobs}")
    if jobs == 1:
        return 1
    from activebmr.workers import all_cores

    return all_cores() if jobs == -1 else min(jobs, max(2, all_cores()))


def fits_memory(schemes: list[Paradigm], agents: int, trials: int) -> None:
    """Refuse a run whose measures (three times, while they are put together) would not fit this machine's memory."""
    models = max(len(s.hypotheses) if s.hypotheses is not None else 0 for s in schemes)
    needed = 3 * 8 * len(schemes) * agents * trials * (models + 8)
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if 0 < memory < needed:
        size = f"about {needed / 2**30:.3g} GiB of memory; this machine has {memory / 2**30:.3g}"
        raise Problem(f"--agents {agents} and --trials {trials} need {size}: use fewer, or several runs with other seeds")
