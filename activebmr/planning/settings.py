"""What the settings of a `Planner` come to at one moment, the same for every way of planning."""

from __future__ import annotations

import sys

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge
from activebmr.model.pomdp import POMDP
from activebmr.planning.planner import Planner

__all__ = ["gamma_of", "habits", "later_prior", "log_prior", "steps_left"]


def steps_left(planner: Planner, trial_length: int | None, t: int) -> int:
    """Observations that will come after the one of time t, as far as the planner counts them."""
    if trial_length is None:
        return sys.maxsize
    return max(0, trial_length - t - 1 + planner.extra_step)


def log_prior(model: POMDP, planner: Planner, t: int, knowledge: Knowledge, agents: Ints) -> Floats | float:
    """Log prior over policies of some agents at time t ``(n_policies,)``, or of each ``(agents, n_policies)`` if it is learned;
    0 where it does not count.
    """
    return habits(model, knowledge, agents) if t == 0 or planner.habit == "always" else 0.0


def later_prior(model: POMDP, planner: Planner, knowledge: Knowledge, agents: Ints) -> Floats:
    """The same at steps that a search imagines."""
    return habits(model, knowledge, agents) if planner.habit == "always" else np.zeros(len(model.policies))


def habits(model: POMDP, knowledge: Knowledge, agents: Ints) -> Floats:
    """Log prior over policies ``(n_policies,)``, or of some agents ``(agents, n_policies)`` if it is learned."""
    learned = {table.index: counts for table, counts in knowledge.others.items() if table.kind == "E"}
    if not learned:
        return model.log_policy_prior
    with np.errstate(divide="ignore"):
        if -1 in learned:
            return np.log(learned[-1].likelihood[agents, :-1])
        out = np.zeros((len(agents), len(model.policies)))
        for f, known in enumerate(model.E):
            log = np.log(learned[f].likelihood[agents, :-1]) if f in learned else np.log(known)[None]
            out += log[:, model.policies[:, :, f]].sum(axis=2)
    return out


def gamma_of(planner: Planner, agents: Ints) -> Floats | float:
    """Precision of the posterior over policies: a number, or that of each row ``(rows, 1)``."""
    gamma = planner.gamma
    return gamma if isinstance(gamma, float) else np.asarray(gamma)[agents][:, None]
