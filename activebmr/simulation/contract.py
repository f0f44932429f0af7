"""What a module must hold to be a paradigm, checked name by name; `registry` has it in words."""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Mapping
from os import PathLike
from types import ModuleType
from typing import Any

from activebmr.checks import brief, is_whole
from activebmr.simulation.measures import measures_of

__all__ = ["flaw_of", "odd_name"]

LONGEST = 100  # letters of a name, which files and folders are called by

_NEEDED = ("NAME", "DESCRIPTION", "SCHEMES", "DEFAULT_SCHEME", "paradigm")
_FUNCTIONS = ("figures", "table", "scene_data")
_KNOWN = (*_NEEDED, *_FUNCTIONS, "MEASURES", "TRIALS", "OPTIONS", "SCENE")


def flaw_of(module: ModuleType, name: str | None) -> str | None:
    """What is wrong with a module, in words that follow its name, or None.

    Args:
        module: to be checked.
        name: that it is announced by, or None.
    """
    for attribute in _NEEDED:
        if not hasattr(module, attribute):
            return f"lacks {attribute}{_meant(module, attribute)}"
    if not isinstance(module.NAME, str) or not module.NAME.strip():
        return f"has a NAME that is no name: {module.NAME!r}"
    if name is not None and name != module.NAME:
        return f"has the NAME {module.NAME!r}, but is announced as {name!r}"
    if odd_name(module.NAME):
        return f"has the NAME {module.NAME!r}: {odd_name(module.NAME)}"
    if name is None and any(c in module.NAME for c in '/\\:*?"<>|\n'):
        return f"has the NAME {module.NAME!r}, which no folder can have"
    if not isinstance(module.DESCRIPTION, str):
        return f"has a DESCRIPTION that is no string: {module.DESCRIPTION!r}"
    return _flaw_of_schemes(module) or _flaw_of_more(module)


def odd_name(name: str) -> str | None:
    """Why a name cannot be one of a folder or a file, and be printed; None if it can."""
    if not name.strip():
        return "a name must not be empty"
    if name.strip() in (".", ".."):
        return "a name must not be that of a folder"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name):
        return "a name must not hold control characters"
    if len(name) > LONGEST:
        return f"a name must have at most {LONGEST} letters"
    return None


def _meant(module: ModuleType, attribute: str) -> str:
    """Whether it is there in other letters."""
    near = [n for n in vars(module) if n.lower().rstrip("s") == attribute.lower().rstrip("s") and n not in _KNOWN]
    return f" (it has {near[0]})" if near else ""


def _flaw_of_schemes(module: Any) -> str | None:
    schemes = module.SCHEMES
    if not isinstance(schemes, Mapping) or not all(isinstance(x, str) for pair in schemes.items() for x in pair):
        return "has SCHEMES that do not map names to sentences"
    if not schemes:
        return "has no SCHEMES"
    for name in schemes:
        if odd_name(name):
            return f"has a scheme {name!r} among its SCHEMES: {odd_name(name)}"
    if not isinstance(module.DEFAULT_SCHEME, str) or module.DEFAULT_SCHEME not in schemes:
        return f"has the DEFAULT_SCHEME {module.DEFAULT_SCHEME!r}, which is not among its SCHEMES {list(schemes)}"
    if not callable(module.paradigm):
        return "has a paradigm that is no function"
    return None


def _flaw_of_more(module: Any) -> str | None:
    options = getattr(module, "OPTIONS", {})
    if not isinstance(options, Mapping) or not all(
        isinstance(k, str) and isinstance(v, (list, tuple)) and v for k, v in options.items()
    ):
        return "has OPTIONS that do not map names to lists of values"
    for name, value in ((k, x) for k, v in options.items() for x in v if not isinstance(x, str)):
        return f"has OPTIONS whose values are not all text, which is what --set gives: {name!r} may be {brief(value)}"
    trials = getattr(module, "TRIALS", 1)
    if not is_whole(trials) or trials < 1:
        return f"has TRIALS that are no whole number >= 1: {trials!r}"
    for name in _FUNCTIONS:
        if not callable(getattr(module, name, len)):
            return f"has a {name} that is no function"
    if not isinstance(getattr(module, "SCENE", ""), (str, PathLike, type(None))):
        return f"has a SCENE that is neither text nor a path: {module.SCENE!r}"
    try:
        measures_of(getattr(module, "MEASURES", {}))
    except (TypeError, ValueError) as error:
        return f"has MEASURES that are none: {error}"
    return _flaw_of_arguments(module, options)


def _flaw_of_arguments(module: Any, options: Mapping[str, Any]) -> str | None:
    """Whether ``paradigm`` can be called with a scheme, a rule and the options."""
    try:
        signature = inspect.signature(module.paradigm)
    except (TypeError, ValueError):
        return None  # built in: it will say itself what is wrong
    try:
        signature.bind("scheme", None)
    except TypeError as error:
        return f"has a paradigm that cannot be called as paradigm(scheme, true_rule): {error}"
    try:
        signature.bind("scheme", None, **dict.fromkeys(options, ""))
    except TypeError as error:
        return f"has a paradigm that does not take its OPTIONS {list(options)}: {error}"
    return None
