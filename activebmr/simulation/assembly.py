"""Putting a `Result` together from the batches of a simulation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import Ints
from activebmr.simulation.measures import STANDARD, Measure, of_whom, worked_out
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.recorder import nothing
from activebmr.simulation.result import Result, declared
from activebmr.simulation.trace import labels_of

__all__ = ["assemble"]


def assemble(
    schemes: Sequence[Paradigm],
    seed: int,
    settings: dict[str, Any],
    done: list[list[tuple[Ints, tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]]]],
    agents: Ints,
) -> Result:
    """The result of a simulation.

    Args:
        schemes: what was simulated.
        seed: its seed.
        settings: of the run.
        done: for each scheme, of some agents each, their numbers, measures and trace, ``{name: (n_agents, ...)}``; emptied on
            the way.
        agents: whose numbers go into the result, sorted; all must be done under all schemes.

    Warns:
        UserWarning: if a measure of the paradigm's own cannot be worked out; it is left out.
    """

    def gather(part: int, name: str) -> NDArray[Any]:
        """One array of all agents; each batch's share is dropped once it is copied, so that nothing is held twice for long."""
        shares = [[(who, outcome[part].pop(name, None)) for who, outcome in pieces] for pieces in done]
        held = [x for row in shares for _, x in row if x is not None]
        most = max(x.ndim for x in held)
        # schemes may have other numbers of policies or hypotheses: what one has none of is nothing
        shape = tuple(max(x.shape[k] for x in held if x.ndim == most) for k in range(1, most))
        whole = np.empty((len(schemes), len(agents), *shape), dtype=held[0].dtype)
        if any(x is None or x.shape[1:] != shape for row in shares for _, x in row):
            whole.fill(nothing(whole.dtype))
        for s, row in enumerate(shares):
            for who, x in row:
                wanted = np.isin(who, agents)
                if x is not None and x.ndim == most and wanted.any():
                    whole[(s, np.searchsorted(agents, who[wanted]), *(slice(n) for n in x.shape[1:]))] = x[wanted]
            row.clear()
        return whole

    has = _measured(schemes)
    arrays: dict[str, Any] = {name: gather(0, name) for name in STANDARD if name in has}
    space = schemes[0].hypotheses
    truths = schemes[0].truths(seed, agents)
    told = settings | {"n_agents": len(agents), "measures": declared(has)} | labels_of(schemes[0].model)
    arrays |= {
        "scheme": np.array([s.scheme for s in schemes]),
        "model_names": np.array(space.descriptions if space is not None else [], dtype=str),
        "model_class": space.distinct()[1] if space is not None else np.zeros(0, dtype=np.intp),
        "true_model": -1 if truths is None else (truths if schemes[0].truth == "random" else truths[0]),
        "agent": agents,
        "seed": seed,
        "version": settings["version"],
        "settings": json.dumps(told),
    }
    # in the order of the recorder
    traced = dict.fromkeys(name for s in range(len(schemes)) for name in done[s][0][1][1])
    result = Result(arrays, {name: gather(1, name) for name in traced})
    own = {name: _of_each(name, schemes) for name in dict.fromkeys(n for scheme in schemes for n in scheme.measures)}
    return result.with_measures(own, strict=False) if own else result


def _of_each(name: str, schemes: Sequence[Paradigm]) -> Measure:
    """A measure that several schemes have by the same name, each its own: every scheme's numbers are by its own function. A
    scheme that has none of this name is measured as the first one that has it.
    """
    first = next(s.measures[name] for s in schemes if name in s.measures)
    each = [s.measures.get(name, first) for s in schemes]
    if all(m == first for m in each):
        return first

    def numbers(result: Any) -> NDArray[Any]:
        done: list[tuple[Measure, NDArray[Any], tuple[str, ...]]] = []
        rows = []
        for k, measure in enumerate(each):
            held = next((d for d in done if d[0] == measure), None)
            if held is None:
                held = (measure, *worked_out(name, measure, result))
                done.append(held)
            if held[2] != done[0][2]:
                raise ValueError(f"it must have the same axes under all schemes; got {done[0][2]} and {held[2]}")
            rows.append(held[1][k])
        return np.stack(rows)

    return Measure(first.sentence, first.unit, numbers, first.axes)


def _measured(schemes: Sequence[Paradigm]) -> list[str]:
    """Names of the standard measures that schemes of a paradigm have."""
    score = any(s.score or getattr(s.worlds, "rewarding", False) for s in schemes)
    hypotheses = schemes[0].hypotheses is not None
    comparable = all(getattr(s.worlds, "comparable", True) for s in schemes)
    truth = hypotheses or any(s.agent.model.learned for s in schemes)
    return of_whom(score, hypotheses, comparable and truth)
