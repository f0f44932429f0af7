"""Rules for the arguments of functions: `checked` says them in one line above the function.

Rules take a value and a name and give back the value as the function needs it:
``@checked(model=an(POMDP), bar=flag, scheme=optional(text))``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from activebmr.checks.names import choice, meant
from activebmr.checks.values import Rule, brief, number, sequence, whole_number

__all__ = ["Check", "an", "checked", "items", "known_arguments", "one_of", "optional", "real", "whole"]

P = ParamSpec("P")
R = TypeVar("R")

Check = Callable[[Any, str], Any]


def checked(**rules: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function whose arguments are checked, and brought into its form, before it is called; defaults are trusted.

    Args:
        rules: by name of the argument a function of a value and the name that gives back the value, or raises.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        names = list(signature(function).parameters)
        places = [(names.index(name), name, rule) for name, rule in rules.items()]

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = list(args)
            for place, name, rule in places:
                if place < len(given):
                    given[place] = rule(given[place], name)
                elif name in kwargs:
                    kwargs[name] = rule(kwargs[name], name)
            return function(*given, **kwargs)  # type: ignore[arg-type]

        return call

    return decorate


def an(kind: type | tuple[type, ...], what: str = "") -> Check:
    """The rule that a value is of a type."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    words = what or " or ".join(k.__name__ for k in kinds)

    def check(value: Any, name: str) -> Any:
        if not isinstance(value, kinds):
            article = "an" if words[0] in "AEIOU" else "a"
            raise TypeError(f"{name} must be {article} {words}; got {brief(value)}")
        return value

    return check


def optional(rule: Check) -> Check:
    """The rule that a value obeys another one, or is None."""
    return lambda value, name: None if value is None else rule(value, name)


def whole(least: int | None = None, most: int | None = None) -> Check:
    """The rule of `whole_number`."""
    return lambda value, name: whole_number(value, name, least, most)


def real(rule: Rule) -> Check:
    """The rule of `number`."""
    return lambda value, name: number(value, name, rule)


def one_of(allowed: Collection[Any]) -> Check:
    """The rule of `choice`."""
    return lambda value, name: choice(value, name, allowed)


def items(rule: Check) -> Check:
    """The rule that a value is a list all of which obeys another one."""
    return lambda value, name: [rule(v, f"{name}[{i}]") for i, v in enumerate(sequence(value, name))]


def known_arguments(given: Collection[str], known: Collection[str], owner: str) -> None:
    """Refuse names that are none of the arguments of something, before Python does in words of its own.

    Raises:
        TypeError: if one is none of them; the message has the nearest.
    """
    for name in given:
        if name not in known:
            raise TypeError(f"{name} is no argument of {owner}, which has {list(known)}{meant(name, known)}")
