"""Lives that are lived again: every step of agents of a result that has no trace, with the same random numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import Ints
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.result import Result
from activebmr.simulation.simulate import run_batch

__all__ = ["live_again"]

_SAME = ("free_energy", "confidence", "impossible", "wins", "losses", "log_odds")
_CLOSE: Any = {"rtol": 1e-6, "atol": 1e-9, "equal_nan": True}  # other machines and versions of NumPy round otherwise


def live_again(result: Result, paradigm: Paradigm, at: Ints, n_trials: int) -> dict[str, NDArray[Any]]:
    """The trace of some agents in their first trials, which they live again; that takes as long as the first time.

    Args:
        result: what was simulated.
        paradigm: the scheme of it that they live under.
        at: positions of agents in the result.
        n_trials: trials that they live through.

    Returns:
        arrays with axes ``(agent, trial, ...)``, see `activebmr.simulation.recorder.Recorder`.

    Raises:
        ValueError: if they do not live as the result says: then the paradigm was another one.
    """
    numbers = np.asarray(result.agent)[at]
    # settings of each agent are those of one batch
    every = np.arange(int(np.asarray(result.agent).max()) + 1) if paradigm.agent.differ else numbers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there was to say was said in the first life
        measures, rows = run_batch(paradigm, every, n_trials, int(result.seed), True)
    mine = numbers if paradigm.agent.differ else np.arange(len(numbers))
    s = result.index(paradigm.scheme)
    for name in _SAME:
        if name in result.arrays and name in measures:
            then, now = np.asarray(result.arrays[name])[s][at, :n_trials], measures[name][mine]
            other = np.argwhere(~np.isclose(then, now, **_CLOSE))
            if len(other):
                k, t = other[0]
                was = f"{name} in trial {t + 1} was {then[k, t]:g} and is {now[k, t]:g}"
                told = result.settings.get("version")
                raise ValueError(
                    f"result must be what its paradigm gives, or have a trace; agent {numbers[k]} under {paradigm.scheme!r} "
                    f"lives another life now ({was}): its settings were others, or its version ({told}). Simulate it again "
                    "with trace=True"
                )
    return {name: array[mine] for name, array in rows.items()}
