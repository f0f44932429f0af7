"""`Planner`: the settings of planning, checked when they are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats
from activebmr.planning.evaluation import GAINS

__all__ = ["GAINS", "Planner"]

_ABOVE_ZERO = checks.Rule("be > 0", checks.POSITIVE_OR_INFINITE.holds)


@dataclass(frozen=True, eq=False)
class Planner:
    """How an agent plans. Numbers marked (n_agents,) are one for all agents of a batch, or an array with one for each.

    Attributes:
        depth: how many further steps a search looks ahead, 0 for none (Friston et al. 2021). Needs policies of one step. A
            search never looks beyond the end of the trial, if the agent knows when that is. Gains about hypotheses that are
            scored by counts are those of the first step, unless it is a search over states.
        gains: which information gains count beside expected utility, among ``"state"``, ``"param"``, ``"model"``.
        modalities: whether the modalities of an observation inform ``"together"``, as they do (what two of them both tell
            counts once), or ``"separate"``: gains are summed over modalities (SPM, pymdp).
        search: what a search branches over: the ``"outcomes"`` that may be seen, with exact beliefs after each; or the likely
            hidden ``"states"``, each with the outcome expected in it (SPM, the paper).
        backup: what a future is worth to a search over outcomes: the values of its policies averaged by their
            ``"posterior"`` (SPM, pymdp), or the ``"best"`` of them, which an agent that acts decisively can count on.
        discount: what a step later is worth to it, in (0, 1].
        max_nodes: beliefs per agent that it may look at; a search that needs more is refused.
        model_gain: ``"exact"``, the mutual information of model and outcome, or ``"plug-in"``, one update with expected counts
            (SPM and the paper). It concerns hypotheses that are scored by counts; ``inference="models"`` is exact.
        gamma: precision of the posterior over policies, > 0, also inf (n_agents,).
        alpha: precision of action selection, > 0, also inf (n_agents,): policies are drawn from softmax(alpha x (neg_efe +
            log E)); ``None`` takes the best, and the first of equals. Values that only rounding tells apart are equal.
        sampling: whether a ``"policy"`` is drawn and its first controls done, or, factor by factor, ``"marginal"``: each
            control with softmax(alpha log q(u)), q(u) the posterior of all policies that begin with it (pymdp).
        habit: whether the prior over policies counts at the ``"first"`` step of a trial (SPM) or ``"always"`` (pymdp).
        extra_step: whether planning counts one step after the last observation of a trial (SPM, the paper).
        policy_cutoff: a search over states expands policies whose one-step posterior exceeds this share of the best one's.
        state_cutoff: ... and joint states whose factors have a marginal probability above this,
        max_states: ... at most so many, the most probable first.
        penalty: policies that it leaves out get the best one-step value minus this.
        novelty_cutoff: an agent whose every column has a count of at least this expects no more gain about parameters (SPM).

    Raises:
        TypeError, ValueError: naming the setting, the rule and the value.

    Example:
        >>> Planner(depth=2, gains=("state",), gamma=[0.5, 2.0]).gamma
        array([0.5, 2. ])
    """

    depth: int = 0
    gains: Sequence[str] = GAINS
    model_gain: str = "exact"
    gamma: float | Floats = 1.0
    alpha: float | Floats | None = 512.0
    habit: str = "first"
    policy_cutoff: float = 1 / 16
    state_cutoff: float = float(np.exp(-8.0))
    max_states: int = 4
    penalty: float = 512.0
    novelty_cutoff: float = 256.0
    modalities: str = "together"
    search: str = "outcomes"
    backup: str = "posterior"
    discount: float = 1.0
    max_nodes: int = 1_000_000
    sampling: str = "policy"
    extra_step: bool = False

    def __post_init__(self) -> None:
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 (the dataclass is frozen)
        if isinstance(self.gains, str):
            raise TypeError(f"gains of Planner must be a list of names; got the single string {self.gains!r}")
        put("gains", tuple(checks.sequence(self.gains, "gains of Planner")))
        unknown = [g for g in self.gains if g not in GAINS]
        if unknown or len(set(self.gains)) != len(self.gains):
            raise ValueError(f"gains of Planner must be different names among {list(GAINS)}; got {list(self.gains)}")
        for name, allowed in (
            ("model_gain", ("exact", "plug-in")),
            ("habit", ("first", "always")),
            ("modalities", ("together", "separate")),
            ("search", ("outcomes", "states")),
            ("backup", ("posterior", "best")),
            ("sampling", ("policy", "marginal")),
        ):
            checks.choice(getattr(self, name), f"{name} of Planner", allowed)
        checks.flag(self.extra_step, "extra_step of Planner")
        for name, least in (("depth", 0), ("max_nodes", 1), ("max_states", 1)):
            value = getattr(self, name)
            if not checks.is_whole(value) or value < least:
                raise ValueError(f"{name} of Planner must be a whole number >= {least}; got {value!r}")
        put("gamma", checks.per_agent(self.gamma, "gamma of Planner", checks.POSITIVE_OR_INFINITE))
        if self.alpha is not None:
            put("alpha", checks.per_agent(self.alpha, "alpha of Planner", checks.POSITIVE_OR_INFINITE))
        put("discount", checks.number(self.discount, "discount of Planner", checks.FRACTION))
        for name in ("penalty", "novelty_cutoff"):
            put(name, checks.number(getattr(self, name), f"{name} of Planner", _ABOVE_ZERO))
        for name in ("policy_cutoff", "state_cutoff"):
            put(name, checks.number(getattr(self, name), f"{name} of Planner", checks.SHARE))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(np.array_equal(v, vars(other)[k]) for k, v in vars(self).items())

    def __hash__(self) -> int:
        return hash(tuple(np.asarray(v).tobytes() if isinstance(v, np.ndarray) else v for v in vars(self).values()))
