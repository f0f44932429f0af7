"""`PathSettings`: how beliefs along paths climb, and how policies and their precision follow."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from activebmr import checks

__all__ = ["ITERATIONS", "TIME_CONSTANT", "PathSettings"]

ITERATIONS = 16
"""Of SPM's scheme, after every outcome."""
TIME_CONSTANT = 4.0
"""Of SPM's gradient descent, and of the reset of the first moment's prior."""

STALL = float(np.exp(-8.0))


_AT_LEAST_ONE = checks.Rule("be at least 1 and finite", lambda x: (x >= 1) & np.isfinite(x))
_RULES = {
    "tau": _AT_LEAST_ONE,
    "erp": _AT_LEAST_ONE,
    "zeta": checks.POSITIVE_OR_INFINITE,
    "beta": checks.POSITIVE,
    "stall": checks.Rule("be a number >= 0, or inf", lambda x: x >= 0),
    "eta": checks.NOT_NEGATIVE,
}


@dataclass(frozen=True)
class PathSettings:
    """Settings of message passing along paths.

    The numbers by default are the plain mathematics; `spm` and `curiosity` are what SPM's ``spm_MDP_VB_X`` does, deviations
    included.

    Attributes:
        policies: ``"ahead"``, policies are sequences of moves from now on, whenever that is (pymdp); or ``"trial"``, each is
            the sequence of all moves of a trial, ``trial_length - 1`` steps, and is carried on with or given up.
        messages: ``"marginal"``, a moment hears the log of what its neighbours' beliefs lead one to expect, each with half the
            weight (Parr et al. 2019); or ``"mean-field"``, the expected logs, so that free energy is a bound of the log
            evidence.
        iterations: sweeps over all moments and factors after every outcome, >= 1.
        tau: time constant of the ascent in sweeps, >= 1; 1 goes all the way at once.
        erp: divides the logarithm of the beliefs that an ascent starts from, >= 1; 1 leaves them as they are. Where it starts
            from indifference after every outcome, as it does unless policies are SPM's of a whole trial, this concerns the
            prior over the first moment's states at the first outcome.
        stall: if given, policies whose evidence has risen by no more than this in a sweep stand still until the fifth (SPM).
        zeta: policies of a trial with a probability below exp(-zeta) of the best one's are dropped, > 0.
        beta: rate of the gamma prior over the precision of policies, whose expectation is then inferred after every outcome; >
            0. None: the precision is the agent's ``gamma``.
        eta: learning rate of the counts kept by `PathCounts`, >= 0; 1 for agents, whose rates are those of `Learning`. SPM's
            is the rate of all counts but those of initial states: ``Learning(rate={"pA": eta, "pB": eta, "pE": eta})``.
        quirks: whether SPM's deviations are reproduced: at the ends of a path free energy weighs the likelihood as often as
            there are factors, or half as often; expected free energy counts the moment that has just been observed; a
            policy's past is what it would have done, not what was done; what is to come speaks to the past; novelty is the
            product of marginals with (1/a - 1/a0) / 2, that of transitions is transposed and looked up under the number of
            the policy; the rate of the precision is carried from outcome to outcome; initial states are learned at rate 1.

    Raises:
        ValueError: naming the setting, the rule and the value.

    Source: Friston et al. (2017), "Active inference: a process theory", Neural Computation 29; Parr et al. (2019).

    Example:
        >>> PathSettings.spm(tau=12.0, zeta=6.0)
    """

    policies: str = "ahead"
    messages: str = "marginal"
    iterations: int = 32
    tau: float = 1.0
    erp: float = 4.0
    stall: float | None = None
    zeta: float = float("inf")
    beta: float | None = None
    eta: float = 1.0
    quirks: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("policies", ("ahead", "trial")), ("messages", ("marginal", "mean-field"))):
            checks.choice(getattr(self, name), f"{name} of PathSettings", allowed)
        checks.flag(self.quirks, "quirks of PathSettings")
        if not checks.is_whole(self.iterations) or self.iterations < 1:
            raise ValueError(f"iterations of PathSettings must be a whole number >= 1; got {self.iterations!r}")
        for name, rule in _RULES.items():
            value = getattr(self, name)
            if value is not None or name not in ("beta", "stall"):
                object.__setattr__(self, name, checks.number(value, f"{name} of PathSettings", rule))
        if self.policies == "ahead" and np.isfinite(self.zeta):
            raise ValueError("zeta of PathSettings drops policies of a whole trial: it needs policies='trial'")
        if self.quirks and self.messages != "marginal":
            raise ValueError(f"messages of PathSettings must be 'marginal' with SPM's quirks; got {self.messages!r}")
        if self.stall is not None and not self.quirks:
            raise ValueError("stall of PathSettings is one of SPM's quirks: it needs quirks=True")

    @classmethod
    def spm(cls, **changes: Any) -> PathSettings:
        """``spm_MDP_VB_X`` with policies of a whole trial (its field V), its defaults: Friston et al. (2016, 2017)."""
        spm = {"policies": "trial", "iterations": ITERATIONS, "tau": TIME_CONSTANT, "stall": STALL, "zeta": 3.0, "beta": 1.0}
        checks.known_arguments(changes, [f.name for f in fields(cls)], "PathSettings")
        return cls(**{**spm, "quirks": True, **changes})

    @classmethod
    def curiosity(cls, **changes: Any) -> PathSettings:
        """``spm_MDP_VB_X`` with moves from now on (its field U) at a fixed precision: "Active inference, curiosity and
        insight" (2017).
        """
        checks.known_arguments(changes, [f.name for f in fields(cls)], "PathSettings")
        return cls(**{"iterations": ITERATIONS, "tau": TIME_CONSTANT, "stall": STALL, "quirks": True, **changes})

    @property
    def own_past(self) -> bool:
        """Whether every policy has a past of its own, as if it had been followed from the start (SPM)."""
        return self.quirks and self.policies == "trial"
