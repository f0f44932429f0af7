"""What users hand to an agent, checked and brought into one form: observations and actions.

An outcome that was not seen (None, -1, nan or masked) becomes -1 where outcomes are integers, and a row of zeros where they are
probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from activebmr.arrays import Ints
from activebmr.model.pomdp import POMDP

__all__ = ["controls_of", "outcomes_of", "policy_of"]


def outcomes_of(model: POMDP, observation: Any, n_agents: int) -> list[np.ndarray]:
    """Outcomes per modality: integers ``(n_agents,)`` with -1 for unseen, or probabilities ``(n_agents, O_m)``.

    Args:
        model: gives the numbers of modalities and outcomes.
        observation: an array ``(n_agents, n_modalities)``, a list of lists of that shape, or a list with one entry per
            modality; see `Agent.step`.
        n_agents: size of the batch.

    Raises:
        TypeError: if something is no number.
        ValueError: if shapes do not fit or outcomes lie out of range.
    """
    n_modalities = model.num_modalities
    if observation is None:
        raise TypeError("observation must hold outcomes; got None (an outcome that was not seen is None in a list, or -1)")
    if isinstance(observation, np.ndarray) and observation.dtype == object:
        # a table with None in it, or one array per modality
        one = observation.ndim == 1 and n_agents > 1 and n_modalities == 1
        observation = [observation.tolist()] if one else observation.tolist()
    if np.ma.isMaskedArray(observation) and observation.ndim == 0:
        observation = observation.reshape(1)
    if isinstance(observation, (int, float, np.number)) or (isinstance(observation, np.ndarray) and observation.ndim < 2):
        flat = np.ma.atleast_1d(observation) if np.ma.isMaskedArray(observation) else np.atleast_1d(observation)
        # one agent's outcomes, or many agents' outcome of the only modality
        observation = flat[None] if n_agents == 1 else flat[:, None]
    if isinstance(observation, (list, tuple)) and _is_table(observation, n_agents, n_modalities):
        observation = np.array([[np.nan if x is None else x for x in row] for row in observation], dtype=np.float64)
    if isinstance(observation, np.ndarray):
        if observation.shape != (n_agents, n_modalities):
            raise ValueError(
                f"observation must have shape ({n_agents}, {n_modalities}) (agents, modalities); got {observation.shape}"
            )
        observation = list(observation.T)
    if not hasattr(observation, "__len__") or isinstance(observation, (str, bytes, Mapping)):
        raise TypeError(f"observation must be an array, or a list with one entry per modality; got {observation!r}")
    if len(observation) != n_modalities:
        raise ValueError(f"observation must have one entry per modality ({n_modalities}); got {len(observation)}")
    return [_outcome(model, m, o, n_agents) for m, o in enumerate(observation)]


def _is_table(observation: Any, n_agents: int, n_modalities: int) -> bool:
    """Whether a list holds rows (lists of plain numbers) of agents: then it means what the array of it means."""
    rows = [len(row) if isinstance(row, (list, tuple)) else None for row in observation]
    if rows != [n_modalities] * n_agents:
        return False
    if not all(x is None or isinstance(x, (int, float, np.number)) for row in observation for x in row):
        return False
    # one agent with one modality: [[.2, .8]] are probabilities, [[1]] is an outcome
    return n_agents > 1 or n_modalities != 1 or len(observation[0]) == 1


def _outcome(model: POMDP, m: int, value: Any, n_agents: int) -> np.ndarray:
    n_outcomes = model.num_outcomes[m]
    if value is None:
        return np.full(n_agents, -1)
    array = _numbers(value, m, n_outcomes)
    if array.size == n_agents and array.shape in ((), (n_agents,), (n_agents, 1)):
        if n_outcomes == 1 and array.dtype.kind == "f":
            sure = np.abs(array - 1.0) <= 1e-6
            if sure.any():  # probabilities of the only outcome
                array = np.where(sure, 0.0, np.where(array == 0.0, np.nan, array))
        return _whole(array.reshape(n_agents), m, n_outcomes)
    if array.dtype.kind != "f":
        raise ValueError(f"observation[{m}] must hold one outcome per agent ({n_agents}); got shape {array.shape}")
    return _probabilities(array, m, n_agents, n_outcomes)


def _numbers(value: Any, m: int, n_outcomes: int) -> np.ndarray:
    """An array of numbers, nan for what was not seen."""
    if np.ma.isMaskedArray(value):
        return np.asarray(np.ma.filled(value.astype(np.float64), np.nan))
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    if isinstance(value, (list, tuple)) and any(x is None for x in value):
        several = any(np.ndim(x) > 0 for x in value if x is not None)
        value = [([np.nan] * n_outcomes if several else np.nan) if x is None else x for x in value]
    try:
        array = np.asarray(value)
        kind = array.dtype.kind
    except ValueError:  # lists of different lengths
        kind = "?"
    if kind not in "iuf":
        got = repr(value) if kind in "?O" else array.dtype
        raise TypeError(f"observation[{m}] must hold integers, or probabilities of outcomes; got {got}")
    return array


def _whole(array: np.ndarray, m: int, n_outcomes: int) -> np.ndarray:
    if array.dtype.kind == "f":
        seen = ~np.isnan(array)
        if not (np.rint(array[seen]) == array[seen]).all():
            bad = array[seen][np.rint(array[seen]) != array[seen]][0]
            raise ValueError(f"observation[{m}] must hold whole numbers, or nan for what was not seen; got {bad}")
        array = np.where(seen, array, -1.0)
    if ((array < -1) | (array >= n_outcomes)).any():
        bad = array[(array < -1) | (array >= n_outcomes)][0]
        raise ValueError(f"observation[{m}] must lie in 0..{n_outcomes - 1}, or be -1 for what was not seen; got {bad:.12g}")
    return array.astype(np.intp)


def _probabilities(array: np.ndarray, m: int, n_agents: int, n_outcomes: int) -> np.ndarray:
    given = array.shape
    array = array[None] if array.ndim == 1 and n_agents == 1 else array
    wanted = (n_agents, n_outcomes)
    if array.shape == wanted:
        array = np.where(np.isnan(array).all(axis=1, keepdims=True), 0.0, array)
        seen = (array != 0).any(axis=1)
        if (array >= 0).all() and (np.abs(array[seen].sum(axis=1) - 1) <= 1e-6).all():
            return np.asarray(array, dtype=np.float64)
    raise ValueError(
        f"observation[{m}] as probabilities must have shape {wanted} and rows that sum to 1; got {array} of shape {given}"
    )


def controls_of(model: POMDP, action: Any, n_agents: int) -> Ints:
    """Controls ``(n_agents, n_factors)`` from controls of all factors, or of the controlled ones alone.

    Raises:
        TypeError: if it holds no integers.
        ValueError: if shapes do not fit or controls lie out of range.
    """
    if np.ma.is_masked(action):
        raise ValueError(f"action must not be masked; got {action!r}")
    try:
        array = np.asarray(action)
    except ValueError:  # lists of different lengths
        raise TypeError(f"action must hold integers (indices of controls) in rows of one length; got {action!r}") from None
    if array.dtype.kind not in "iu":
        raise TypeError(f"action must hold integers (indices of controls); got {array.dtype}")
    given, controlled = array.shape, list(model.controlled_factors)
    if array.ndim <= 1 and n_agents == 1:
        array = array.reshape(1, -1)
    elif array.ndim == 1:
        array = array[:, None]
    if array.shape == (n_agents, len(controlled)) and len(controlled) != model.num_factors:
        whole = np.zeros((n_agents, model.num_factors), dtype=np.intp)
        whole[:, controlled] = array
        array = whole
    if array.shape != (n_agents, model.num_factors):
        few = "" if len(controlled) == model.num_factors else f", or ({n_agents}, {len(controlled)}) (the controlled ones)"
        raise ValueError(f"action must have shape ({n_agents}, {model.num_factors}) (agents, factors){few}; got {given}")
    for f, n in enumerate(model.num_controls):
        if (array[:, f] < 0).any() or (array[:, f] >= n).any():
            raise ValueError(f"action of factor {f} must lie in 0..{n - 1}; got {array[:, f]}")
    return array.astype(np.intp)


def policy_of(model: POMDP, controls: Ints) -> Ints:
    """First policy that starts with the given controls, -1 where there is none."""
    match = (model.policies[None, :, 0] == controls[:, None]).all(axis=2)
    return np.where(match.any(axis=1), match.argmax(axis=1), -1)
