"""Which paradigms there are: modules that installed packages announce in the entry-point group `activebmr.paradigms`.

Anyone can add one. In the `setup.cfg` of a package::

    [options.entry_points]
    activebmr.paradigms =
        my-paradigm = my_package.my_module

The module holds ``NAME`` (the same name), ``DESCRIPTION`` (a sentence), ``SCHEMES`` (name of a scheme -> a sentence),
``DEFAULT_SCHEME`` and ``paradigm(scheme, true_rule) -> activebmr.Paradigm``, where ``true_rule`` is the index of the hypothesis
that is true in the world, ``"random"`` for another one per agent, or None for the paradigm's own. It may also have
``figures(result, folder) -> list of paths``, with which the command line draws; ``table(result) -> (header, rows, notes)``,
what it prints instead of its own table; ``TRIALS``, how many trials a run has if nothing else is said (32); and ``OPTIONS``
(name -> the values it may have, the default first), further arguments of ``paradigm`` that ``--set name=value`` chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, cast

from activebmr.checks import is_whole

if TYPE_CHECKING:
    from activebmr.simulation.paradigm import Paradigm
    from activebmr.simulation.result import Result

__all__ = ["GROUP", "ParadigmModule", "draw_figures", "load_paradigm", "options_of", "paradigm_names", "trials_of", "unknown"]

GROUP = "activebmr.paradigms"


class ParadigmModule(Protocol):
    """What a module must hold to be a paradigm."""

    NAME: str
    DESCRIPTION: str
    SCHEMES: Mapping[str, str]
    DEFAULT_SCHEME: str

    def paradigm(self, scheme: str, true_rule: int | str | None, **options: str) -> Paradigm: ...


def _announced() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        same = found.setdefault(point.name, [])
        if point.value not in [p.value for p in same]:  # a package may be found twice, in its folder and where it is installed
            same.append(point)
    return found


def paradigm_names() -> list[str]:
    """Names of all paradigms that installed packages announce, sorted; nothing is imported."""
    return sorted(_announced())


def load_paradigm(name: str) -> ParadigmModule:
    """Import the module of a paradigm and check that it is one.

    Raises:
        ValueError: if there is no such paradigm, if two packages announce different ones under this name, or if its module
            cannot be imported or lacks something.
    """
    found = _announced()
    if name not in found:
        raise ValueError(unknown("paradigm", name, sorted(found)))
    if len(found[name]) > 1:
        raise ValueError(f"paradigm {name!r} is announced by several packages: {', '.join(p.value for p in found[name])}")
    point = found[name][0]
    try:
        module = point.load()
    except (Exception, SystemExit) as error:  # whatever a plug-in does when imported, it must not take the others along
        raise ValueError(f"paradigm {name!r} cannot be loaded from {point.value}: {type(error).__name__}: {error}") from error
    problem = _flaw(name, module)
    if problem:
        raise ValueError(f"paradigm {name!r} cannot be used: {point.value} {problem}")
    return cast(ParadigmModule, module)


def _flaw(name: str, module: ModuleType) -> str | None:
    """What is wrong with a plug-in's module, or None."""
    for attribute in ("NAME", "DESCRIPTION", "SCHEMES", "DEFAULT_SCHEME", "paradigm"):
        if not hasattr(module, attribute):
            return f"lacks {attribute}"
    schemes = module.SCHEMES
    if name != module.NAME:
        return f"has the NAME {module.NAME!r}, but is announced as {name!r}"
    if not isinstance(module.DESCRIPTION, str):
        return f"has a DESCRIPTION that is no string: {module.DESCRIPTION!r}"
    if not isinstance(schemes, Mapping) or not all(isinstance(x, str) for pair in schemes.items() for x in pair):
        return "has SCHEMES that do not map names to sentences"
    if module.DEFAULT_SCHEME not in schemes:
        return f"has the DEFAULT_SCHEME {module.DEFAULT_SCHEME!r}, which is not among its SCHEMES {list(schemes)}"
    options = getattr(module, "OPTIONS", {})
    if not isinstance(options, Mapping) or not all(
        isinstance(k, str) and isinstance(v, (list, tuple)) and v and all(isinstance(x, str) for x in v)
        for k, v in options.items()
    ):
        return "has OPTIONS that do not map names to lists of values"
    trials = getattr(module, "TRIALS", 1)
    if not is_whole(trials) or trials < 1:
        return f"has TRIALS that are no whole number >= 1: {trials!r}"
    if not callable(module.paradigm):
        return "has a paradigm that is no function"
    return None


def options_of(module: ParadigmModule) -> dict[str, list[str]]:
    """A paradigm's own options and the values that each may have, the default first."""
    return {name: list(values) for name, values in getattr(module, "OPTIONS", {}).items()}


def trials_of(module: ParadigmModule) -> int:
    """How many trials a run of a paradigm has if nothing else is said."""
    return int(getattr(module, "TRIALS", 32))


def draw_figures(module: ParadigmModule, result: Result, folder: Path) -> list[Path] | None:
    """Let a paradigm draw its figures of a result into a folder; None if it draws none."""
    draw = getattr(module, "figures", None)
    return None if draw is None else [Path(p) for p in draw(result, folder)]


def unknown(what: str, name: str, known: list[str]) -> str:
    """Message about a name that does not exist: the ones that do, and the one that may be meant."""
    if not known:
        return f"there is no {what} {name!r}: none is installed (is activebmr itself installed, as with 'pip install -e .'?)"
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"there is no {what} {name!r}, only {', '.join(known)}{hint}"
