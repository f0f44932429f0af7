"""`Learning` and `Selection`: how an agent's counts change, and when it makes a hypothesis its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats

__all__ = ["Learning", "Selection"]

_WINDOW = checks.Rule("be a number of nats, or inf for never", checks.ANY_NUMBER.holds)


class _Settings:
    """Equal if all values are; an array counts as one value."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(np.array_equal(value, vars(other)[name]) for name, value in vars(self).items())

    def __hash__(self) -> int:
        return hash(tuple(np.asarray(value).tobytes() for value in vars(self).values()))


@dataclass(frozen=True, eq=False)
class Learning(_Settings):
    """How counts change. Numbers marked (n_agents,) are one for all agents of a batch, or an array with one for each.

    Attributes:
        rate: counts that one outcome adds, >= 0 (n_agents,); 0 freezes the counts of an agent that stays uncertain.
        retention: what counts are multiplied with after every trial, in (0, 1] (n_agents,); 1 forgets nothing (SPM: 512/513).
        smooth: whether counts are added at the end of a trial, from beliefs about every moment given the whole trial, instead
            of at every step, from what was believed at that moment (SPM). Without joint reasoning this is exact for factors
            that stay as they are; factors that move by themselves keep what was believed at each moment.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if ``smooth`` is not a bool, or a number is none.

    Example:
        ``Learning(rate=[0.1, 1.0])`` for a batch of two agents, of which the second learns ten times as fast.
    """

    rate: float | Floats = 1.0
    retention: float | Floats = 1.0
    smooth: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", checks.per_agent(self.rate, "rate of Learning", checks.NOT_NEGATIVE))
        object.__setattr__(self, "retention", checks.per_agent(self.retention, "retention of Learning", checks.FRACTION))
        object.__setattr__(self, "smooth", checks.flag(self.smooth, "smooth of Learning"))


@dataclass(frozen=True, eq=False)
class Selection(_Settings):
    """When an agent makes one of its hypotheses its own (Friston et al. 2025, eq. 12 and 13).

    Attributes:
        threshold: Occam's window in nats: log odds of the best hypothesis above which it is adopted; ``inf`` for never. One
            for all agents, or an array ``(n_agents,)``.
        concentration: counts that the adopted average of hypotheses carries per column, > 0 (SPM: 512). One for all agents, or
            an array ``(n_agents,)``.
        offset: added to all counts when hypotheses are scored, > 0 (SPM: 1/32); see `reduction.log_evidence_ratio`.
        last_outcome: whether the posterior that decides includes what the trial's last outcome taught (SPM's does not; with
            joint reasoning it always does).
        curious: whether, until a hypothesis is adopted (or introspection has found one of a list), preferences are flat and the
            planner looks one step ahead only.

    Raises:
        ValueError: if a number is out of its range.
        TypeError: if ``curious`` or ``last_outcome`` is not a bool, or a number is none.

    Example:
        ``Selection(threshold=[3.0, float("inf")])`` for a batch of two agents, of which the second adopts nothing.
    """

    threshold: float | Floats = 16.0
    concentration: float | Floats = 512.0
    offset: float = 1 / 32
    curious: bool = False
    last_outcome: bool = False

    def __post_init__(self) -> None:
        for name, rule in (("threshold", _WINDOW), ("concentration", checks.POSITIVE)):
            object.__setattr__(self, name, checks.per_agent(getattr(self, name), f"{name} of Selection", rule))
        object.__setattr__(self, "offset", checks.number(self.offset, "offset of Selection", checks.POSITIVE))
        for name in ("curious", "last_outcome"):
            object.__setattr__(self, name, checks.flag(getattr(self, name), f"{name} of Selection"))
