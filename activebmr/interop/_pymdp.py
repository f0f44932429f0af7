"""What both directions of the exchange with pymdp share: finding pymdp, and telling known likelihoods from learned ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pymdp.agent import Agent

__all__ = ["KNOWN", "LEARNABLE", "ZERO", "agent_class", "one_of_the_batch"]

KNOWN = 2.0**100
"""Counts per column that stand for a known likelihood in pymdp: more observations are lost in rounding, there is no novelty.

A power of two, so that rounding changes nothing. What is impossible gets 2^40 of them: a probability of 1e-18, and a novelty
of 1e-12, where a count of zero would promise 36 nats as soon as pymdp has added what rounding leaves of a belief.
"""

ZERO = 2.0**40
"""Counts of what is impossible under a known likelihood."""

LEARNABLE = 2.0**50
"""A column with more counts cannot learn."""

_MISSING = (
    "activebmr.interop.pymdp needs pymdp 1.0: pip install -e '.[pymdp]'. (The package is inferactively-pymdp; what is just "
    "called pymdp is another program.)"
)


def agent_class() -> type[Agent]:
    """pymdp's class of agents; ImportError with what to install if there is none."""
    try:
        import jax  # noqa: F401
        from pymdp.agent import Agent
    except ImportError as error:
        raise ImportError(_MISSING) from error
    if not hasattr(Agent, "update_empirical_prior"):
        raise ImportError(_MISSING)
    return Agent


def one_of_the_batch(agent: Any, which: int | None) -> int:
    """The index of the agent that is meant, checked; TypeError or ValueError if there is none such."""
    if not isinstance(agent, agent_class()):
        raise TypeError(f"agent must be a pymdp.agent.Agent of pymdp 1.0; got {type(agent).__module__}.{type(agent).__name__}")
    if which is None:
        if agent.batch_size != 1:
            raise ValueError(f"which must say which of the {agent.batch_size} agents of the batch is meant")
        return 0
    if isinstance(which, bool) or not isinstance(which, (int, np.integer)):
        raise TypeError(f"which must be a whole number, the place of an agent in its batch; got {which!r}")
    if not 0 <= which < agent.batch_size:
        raise ValueError(f"which must lie in 0..{agent.batch_size - 1}, the agents of the batch; got {which}")
    return int(which)
