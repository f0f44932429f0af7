"""What the settings of a `Planner` come to at one moment, the same for every way of planning."""

from __future__ import annotations

import sys

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.model.pomdp import POMDP
from activebmr.planning.planner import Planner

__all__ = ["gamma_of", "later_prior", "log_prior", "steps_left"]


def steps_left(planner: Planner, trial_length: int | None, t: int) -> int:
    """Observations that will come after the one of time t, as far as the planner counts them."""
    if trial_length is None:
        return sys.maxsize
    return max(0, trial_length - t - 1 + planner.extra_step)


def log_prior(model: POMDP, planner: Planner, t: int) -> Floats | float:
    """Log prior over policies at time t ``(n_policies,)``; 0 where it does not count."""
    return model.log_policy_prior if t == 0 or planner.habit == "always" else 0.0


def later_prior(model: POMDP, planner: Planner) -> Floats:
    """Log prior over policies at steps that a search imagines ``(n_policies,)``."""
    return model.log_policy_prior if planner.habit == "always" else np.zeros(len(model.policies))


def gamma_of(planner: Planner, agents: Ints) -> Floats | float:
    """Precision of the posterior over policies: a number, or that of each row ``(rows, 1)``."""
    gamma = planner.gamma
    return gamma if isinstance(gamma, float) else np.asarray(gamma)[agents][:, None]
