"""What users hand to an agent, checked and brought into one form: observations and actions."""

from __future__ import annotations

from typing import Any

import numpy as np

from activebmr.models import POMDP
from activebmr.sparse import Ints

__all__ = ["controls_of", "outcomes_of", "policy_of"]


def outcomes_of(model: POMDP, observation: Any, n_agents: int) -> list[np.ndarray]:
    n_modalities = model.num_modalities
    if observation is None:
        raise TypeError("observation must hold outcomes; got None")
    if isinstance(observation, (int, np.integer)) or (isinstance(observation, np.ndarray) and observation.ndim < 2):
        flat = np.atleast_1d(observation)
        # one agent's outcomes, or many agents' outcome of the only modality
        observation = flat[None] if n_agents == 1 else flat[:, None]
    if isinstance(observation, np.ndarray):
        if observation.shape != (n_agents, n_modalities):
            raise ValueError(
                f"observation must have shape ({n_agents}, {n_modalities}) (agents, modalities); got {observation.shape}"
            )
        observation = list(observation.T)
    if len(observation) != n_modalities:
        raise ValueError(f"observation must have one entry per modality ({n_modalities}); got {len(observation)}")
    return [_outcome(model, m, o, n_agents) for m, o in enumerate(observation)]


def _outcome(model: POMDP, m: int, value: Any, n_agents: int) -> np.ndarray:
    n_outcomes, array = model.num_outcomes[m], np.asarray(value)
    if np.issubdtype(array.dtype, np.integer):
        array = array[None] if array.ndim == 0 and n_agents == 1 else array
        if array.shape != (n_agents,):
            raise ValueError(f"observation[{m}] must hold one outcome per agent ({n_agents}); got shape {array.shape}")
        if (array < 0).any() or (array >= n_outcomes).any():
            bad = array[(array < 0) | (array >= n_outcomes)][0]
            raise ValueError(f"observation[{m}] must lie in 0..{n_outcomes - 1}; got {int(bad)}")
        return array.astype(np.intp)
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"observation[{m}] must hold integers, or probabilities of outcomes; got {array.dtype}")
    array = array[None] if array.ndim == 1 and n_agents == 1 else array
    wanted = (n_agents, n_outcomes)
    if array.shape != wanted or not (array >= 0).all() or (np.abs(array.sum(axis=1) - 1) > 1e-6).any():
        raise ValueError(
            f"observation[{m}] as probabilities must have shape {wanted} and rows that sum to 1; "
            f"got {array} of shape {array.shape}"
        )
    return array


def controls_of(model: POMDP, action: Any, n_agents: int) -> Ints:
    array = np.asarray(action)
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"action must hold integers (indices of controls); got {array.dtype}")
    if array.ndim <= 1 and n_agents == 1:
        array = array.reshape(1, -1)
    if array.shape != (n_agents, model.num_factors):
        raise ValueError(f"action must have shape ({n_agents}, {model.num_factors}) (agents, factors); got {np.shape(action)}")
    for f, n in enumerate(model.num_controls):
        if (array[:, f] < 0).any() or (array[:, f] >= n).any():
            raise ValueError(f"action of factor {f} must lie in 0..{n - 1}; got {array[:, f]}")
    return array.astype(np.intp)


def policy_of(model: POMDP, controls: Ints) -> Ints:
    """First policy that starts with the given controls, -1 where there is none."""
    match = (model.policies[None, :, 0] == controls[:, None]).all(axis=2)
    return np.where(match.any(axis=1), match.argmax(axis=1), -1)
