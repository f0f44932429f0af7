"""`Reasoning`: settings of exact reasoning about hypotheses and states together."""

from __future__ import annotations

from dataclasses import dataclass

from activebmr import checks

__all__ = ["Reasoning"]


@dataclass(frozen=True)
class Reasoning:
    """Settings of joint reasoning: exact beliefs about hypotheses and states together (`Agent`'s ``inference="models"``).

    Attributes:
        max_size: largest number of numbers that an agent may keep about hypotheses: hypotheses x joint states and, with counts
            of their own, their counts; beyond it the agent falls back to shared counts, or to factor marginals, and says so in
            a warning.
        lookahead: further steps that the gain is expected over, 0 for none. Each step multiplies the work by the
            policies and outcomes that there are.
        evidence: what the posterior over hypotheses is carried from trial to trial by: ``"joint"``, exactly, by the joint
            posterior itself; or ``"counts"``, by model reduction of the counts that the trial added.
        counts: how what was seen is credited to columns where states are uncertain: ``"own"``, to each hypothesis by its own
            beliefs; or ``"shared"``, once for all hypotheses by what is believed on average, which is fast, and the same where
            states are certain when a trial is over. Shared counts know hypotheses about one modality, policies of one step and
            actions that lead from certain states to certain states.
        outcome_cutoff: outcomes less probable than this are not looked into.
        discount: what a gain one step later is worth, in (0, 1]; a little below 1, so that nothing is put off for ever that can
            be learned now.

    Raises:
        TypeError, ValueError: naming the setting, the rule and the value.

    Example:
        >>> model, rules = three_ball.naive_model(), three_ball.rules()
        >>> agent = Agent(model, rules, Planner(alpha=None), reasoning=Reasoning(lookahead=1))
    """

    max_size: int = 1_000_000
    lookahead: int = 0
    outcome_cutoff: float = 1e-12
    discount: float = 0.99
    evidence: str = "joint"
    counts: str = "own"

    def __post_init__(self) -> None:
        for name in ("max_size", "lookahead"):
            value = getattr(self, name)
            if not checks.is_whole(value) or value < 0:
                raise ValueError(f"{name} of Reasoning must be a whole number >= 0; got {value!r}")
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        put("outcome_cutoff", checks.number(self.outcome_cutoff, "outcome_cutoff of Reasoning", checks.SHARE))
        for name, allowed in (("evidence", ("joint", "counts")), ("counts", ("own", "shared"))):
            checks.choice(getattr(self, name), f"{name} of Reasoning", allowed)
        put("discount", checks.number(self.discount, "discount of Reasoning", checks.FRACTION))
