"""Which paradigm a result is of, and what its agents went through step by step: recorded, or lived again with the same seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.simulation.again import live_again
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.registry import build_paradigm, load_paradigm, module_of, options_as_run, where_to_find
from activebmr.simulation.result import Result

__all__ = ["Life", "Source", "chosen_agents", "lives", "source_of"]

_NEEDED = ("free_energy", "neg_efe", "utility", "state_info_gain", "param_info_gain", "model_info_gain", "q_pi", "policy")


@dataclass(frozen=True)
class Source:
    """Where a result comes from.

    Attributes:
        module: of the paradigm, or None if there is none of its name.
        paradigms: one per scheme that is shown, in their order.
    """

    module: Any
    paradigms: list[Paradigm]


@dataclass(frozen=True)
class Life:
    """What some agents went through under one scheme.

    Attributes:
        paradigm: the scheme.
        rows: arrays of a trace with axes (agent, trial, ...), see `activebmr.simulation.recorder.Recorder`.
    """

    paradigm: Paradigm
    rows: dict[str, NDArray[Any]]


def source_of(result: Result, schemes: Sequence[str], paradigm: Any = None) -> Source:
    """The paradigm of a result.

    Args:
        result: what was simulated.
        schemes: names of the schemes that are shown.
        paradigm: a `Paradigm` or several (for every scheme one), or a paradigm's module or name; by default the one that the
            result's settings name.

    Raises:
        ValueError, TypeError: if there is no such paradigm, or it lacks a scheme.
    """
    if isinstance(paradigm, Paradigm) or (isinstance(paradigm, Iterable) and not isinstance(paradigm, (str, ModuleType))):
        given = [paradigm] if isinstance(paradigm, Paradigm) else list(paradigm)
        if not all(isinstance(p, Paradigm) for p in given):
            raise TypeError(f"paradigm must be a Paradigm, a list of them, a module or a name; got {given!r}")
        named = {p.scheme: p for p in given}
        lacking = [s for s in schemes if s not in named]
        if lacking:
            raise ValueError(f"paradigm must hold the schemes that are shown; it lacks {lacking}, and has {list(named)}")
        return Source(_module_of_name(result), [named[s] for s in schemes])
    module = _module(result, paradigm)
    return Source(module, [_built(result, module, scheme) for scheme in schemes])


def _module_of_name(result: Result) -> Any:
    """The module that has the name of a result's paradigm, for its words and its scene; None if there is none."""
    try:
        return module_of(result)
    except ValueError:
        return None


def _module(result: Result, given: Any) -> Any:
    if given is not None and not isinstance(given, str):
        if not callable(getattr(given, "paradigm", None)):
            raise TypeError(f"paradigm must be a Paradigm, a list of them, a module or a name; got {given!r}")
        return given
    if given is not None:
        return load_paradigm(given)
    module = module_of(result)
    if module is None:
        raise ValueError(
            f"result must be of a paradigm that is installed, or else hand it over as paradigm=...: {where_to_find(result)}"
        )
    return module


def _built(result: Result, module: Any, scheme: str) -> Paradigm:
    """A scheme as it was when the result was made."""
    settings = result.settings
    if scheme not in module.SCHEMES:
        near = checks.meant(scheme, module.SCHEMES)
        raise ValueError(f"schemes must be ones that {module.NAME} has, {list(module.SCHEMES)}; got {scheme!r}{near}")
    return build_paradigm(module, scheme, settings.get("truth"), **options_as_run(module, result, scheme))


def chosen_agents(result: Result, agents: Sequence[int] | None, most: int) -> NDArray[np.intp]:
    """Positions of agents in a result, by their numbers; the first ``most`` if none are named.

    Raises:
        ValueError: if there are none, one is named twice, or is not in the result.
        TypeError: if a number is not whole.
    """
    numbers = np.asarray(result.agent)
    if agents is None:
        return np.arange(min(most, len(numbers)))
    wanted = list(checks.sequence(agents, "agents"))
    for number in wanted:
        if not checks.is_whole(number):
            raise TypeError(f"agents must be whole numbers; got {checks.brief(number)}")
        if number not in numbers:
            raise ValueError(f"agents must be among those of the result, {numbers.min()} to {numbers.max()}; got {number}")
    if not wanted or len(set(wanted)) != len(wanted):
        raise ValueError(f"agents must name each agent once, and at least one; got {wanted}")
    return np.array([int(np.flatnonzero(numbers == number)[0]) for number in wanted])


def lives(result: Result, source: Source, at: NDArray[np.intp]) -> list[Life]:
    """What the agents at some positions went through, under every scheme of a source.

    Where the result has no trace, they live again (see `live_again`).

    Raises:
        ValueError: if the paradigm is not the one of the result.
    """
    return [Life(p, _recorded(result, p, at) or live_again(result, p, at, result.sizes["trial"])) for p in source.paradigms]


def _recorded(result: Result, paradigm: Paradigm, at: NDArray[np.intp]) -> dict[str, NDArray[Any]] | None:
    """The rows of a scheme in the trace; None if there are none, or not of all its policies."""
    if not all(name in result.trace for name in _NEEDED):
        return None
    s = result.index(paradigm.scheme)
    rows = {name: np.asarray(array)[s][at] for name, array in result.trace.items()}
    n = len(paradigm.agent.model.policies)
    model = paradigm.agent.model
    for name, size in zip(model.labels["factor"], model.num_states, strict=True):
        found = rows.get(f"qs_{name}")
        if found is None or found.shape[-1] != size:
            has = "has none" if found is None else f"has {found.shape[-1]}"
            raise ValueError(
                f"paradigm must be the one of the result: it has {size} states of {name!r}, of which the trace {has}"
            )
    if rows["q_pi"].shape[-1] != n or not np.isfinite(rows["q_pi"]).any():
        return None  # schemes with other policies do not fit into one array
    return rows
