"""The arguments of `Agent`, checked one by one; whether they fit together is seen when its parts are made."""

from __future__ import annotations

import warnings
from typing import Any

from activebmr import checks
from activebmr.agent.assembly import ALIASES, WAYS
from activebmr.agent.introspection import Introspection
from activebmr.agent.settings import Learning, Selection
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.paths import PathSettings
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.pomdp import POMDP
from activebmr.planning.planner import Planner

__all__ = ["check_kinds", "trial_length_of", "way_of"]

_KINDS = {
    "model": POMDP,
    "hypotheses": HypothesisSpace,
    "planner": Planner,
    "learning": Learning,
    "selection": Selection,
    "reasoning": Reasoning,
    "introspection": Introspection,
    "paths": PathSettings,
}


def check_kinds(given: dict[str, Any]) -> None:
    """Raise TypeError unless all arguments by these names are what they should be, or None (but for the model)."""
    for name, kind in _KINDS.items():
        if not isinstance(given[name], kind) and (given[name] is not None or name == "model"):
            raise TypeError(f"{name} of Agent must be a {kind.__name__}; got {type(given[name]).__name__}")


def trial_length_of(value: Any) -> int | None:
    """Observations in a trial, or None; ValueError if it is no whole number >= 1."""
    if value is not None and not (checks.is_whole(value) and value >= 1):
        raise ValueError(f"trial_length of Agent must be a whole number >= 1, or None; got {value}")
    return None if value is None else int(value)


def way_of(inference: str | None, hypotheses: HypothesisSpace | None, reasoning: Reasoning | None) -> str:
    """The way of believing that is meant; ValueError if there is none of that name, or it has no use for ``reasoning``."""
    if inference is None:
        return "models" if hypotheses is not None or reasoning is not None else "exact"
    if isinstance(inference, str) and inference == "joint":
        warnings.warn(
            "inference='joint' of Agent is now called 'factorised' (one distribution per factor between observations); what is "
            "exact is 'exact'",
            DeprecationWarning,
            stacklevel=3,
        )
    name = ALIASES.get(inference, inference) if isinstance(inference, str) else ""
    if name not in WAYS:
        known = [*WAYS, *ALIASES]
        raise ValueError(f"inference of Agent must be one of {known}; got {inference!r}{checks.meant(inference, known)}")
    if reasoning is not None and name not in ("models", "paths"):
        raise ValueError(
            f"reasoning of Agent needs inference='models', or None; got inference={inference!r} and reasoning={reasoning!r}"
        )
    return name
