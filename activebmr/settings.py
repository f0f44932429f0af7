"""`Learning` and `Selection`: how an agent's counts change, and when it makes a hypothesis its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Learning", "Selection"]


@dataclass(frozen=True)
class Learning:
    """How counts change.

    Attributes:
        rate: counts that one outcome adds, > 0.
        smooth: whether counts are added at the end of a trial, from beliefs about every moment given the whole trial, instead
            of at every step, from what was believed at that moment (SPM). Without joint reasoning this is exact for factors
            that stay as they are; factors that move by themselves keep what was believed at each moment.
        retention: what counts are multiplied with after every trial, in (0, 1]; 1 forgets nothing (SPM: 512/513).
    """

    rate: float = 1.0
    retention: float = 1.0
    smooth: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate of Learning must be a finite number > 0; got {self.rate}")
        if not 0 < self.retention <= 1:
            raise ValueError(f"retention of Learning must lie in (0, 1]; got {self.retention}")


@dataclass(frozen=True)
class Selection:
    """When an agent makes one of its hypotheses its own (Friston et al. 2025, eq. 12 and 13).

    Attributes:
        threshold: Occam's window in nats: log odds of the best hypothesis above which it is adopted; ``inf`` for never.
        concentration: counts that the adopted average of hypotheses carries per column (SPM: 512).
        offset: added to all counts when hypotheses are scored (SPM: 1/32); see `reduction.log_evidence_ratio`.
        last_outcome: whether the posterior that decides includes what the trial's last outcome taught (SPM's does not; with
            joint reasoning it always does).
        curious: whether, until a hypothesis is adopted (or introspection has found one of a list), preferences are flat and the
            planner looks one step ahead only.
    """

    threshold: float = 16.0
    concentration: float = 512.0
    offset: float = 1 / 32
    curious: bool = False
    last_outcome: bool = False

    def __post_init__(self) -> None:
        if np.isnan(self.threshold):
            raise ValueError("threshold of Selection must be a number of nats, or inf for never; got nan")
        for name in ("concentration", "offset"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} of Selection must be a finite number > 0; got {value}")
