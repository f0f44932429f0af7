"""What a saved result does not hold: the paradigm it is of, and every step of an agent, which lives again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr import checks
from activebmr.plots.pick import index
from activebmr.simulation.again import live_again
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.registry import ParadigmModule, build_paradigm, module_of, options_as_run, where_to_find
from activebmr.simulation.result import Result

__all__ = ["paradigm_of", "relive"]


def _module(value: Any, name: str) -> Any:
    if not all(hasattr(value, part) for part in ("NAME", "SCHEMES", "paradigm")):
        raise TypeError(f"{name} must be a paradigm's module, with NAME, SCHEMES and paradigm; got {checks.brief(value)}")
    return value


@checks.checked(result=checks.an(Result), module=checks.optional(_module))
def paradigm_of(result: Result, scheme: str | int = 0, module: ParadigmModule | None = None) -> Paradigm:
    """The paradigm that a result is of, under one of its schemes, made again from the result's settings.

    Args:
        result: from `simulate`.
        scheme: name or position.
        module: the paradigm's module; by default the installed one that the result tells; files are handed over.

    Raises:
        ValueError: if there is no such paradigm, or it has no such scheme or options any more.

    Example:
        >>> paradigm_of(result, "reasoning").trial_length
        6
    """
    settings, name = result.settings, result.schemes[result.index(scheme)]
    called = settings.get("paradigm")
    module = module_of(result) if module is None else module
    if module is None:
        raise ValueError(
            f"result must be of a paradigm that is installed, or handed over with its module; {called!r} is not: "
            f"{where_to_find(result)}. Or simulate it again with trace=True"
        )
    if name not in module.SCHEMES:
        raise ValueError(f"scheme must be one that {called!r} makes, {list(module.SCHEMES)}; got {name!r}")
    return build_paradigm(module, name, settings.get("truth"), **options_as_run(module, result, name))


@checks.checked(result=checks.an(Result))
def relive(
    result: Result, scheme: str | int = 0, agent: int = 0, trial: int = 0, *, module: ParadigmModule | None = None
) -> dict[str, NDArray[Any]]:
    """Every step of an agent up to a trial, for results without a trace: the agent lives again, with the same random numbers.

    Args:
        result: from `simulate`.
        scheme: name or position.
        agent, trial: positions, from 0.
        module: the paradigm's module; by default the installed one that the result tells; files are handed over.

    Returns:
        arrays with axes ``(trial, ...)`` or ``(trial, time, ...)``, as `record` returns them.

    Raises:
        ValueError: if the agent cannot live again, or does not live as the result says: then the paradigm was another one.

    Example:
        >>> saved = Result.load(result.save("result.npz"))
        >>> ax = policies(relive(saved, agent=1, trial=2), model, trial=2)
    """
    s, a = result.index(scheme), index("agent", agent, result.sizes["agent"])
    index("trial", trial, result.sizes["trial"])
    paradigm = paradigm_of(result, s, module)
    trace = live_again(result, paradigm, np.array([a]), trial + 1)
    return {name: array[0] for name, array in trace.items()}
