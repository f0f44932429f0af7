"""Planning for agents that reason about hypotheses and states together: exact gains about both, and a search over outcomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.settings import Reasoning
from activebmr.model.pomdp import POMDP
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.search import Foresight, Search
from activebmr.planning.settings import gamma_of, log_prior, steps_left

__all__ = ["Acting", "ReasonedPlanning", "Thinking"]


class Acting(Protocol):
    """Planning of agents who have adopted a hypothesis."""

    def evaluate_rows(self, now: JointBelief, knowledge: Knowledge, agents: Ints, t: int, curious: bool) -> Evaluation:
        """Worth of every policy to some agents, from their beliefs alone."""
        ...


class Thinking(Protocol):
    """What beliefs about hypotheses and states promise.

    Attributes:
        can_branch: whether a search can look into what may come.
    """

    can_branch: bool

    def imagined(self, belief: Any, agents: Ints) -> Any:
        """Beliefs of some agents who have adopted no hypothesis, in the form that the other methods take."""
        ...

    def terms(self, now: Any, knowledge: Knowledge, agents: Ints, wanted: Sequence[Sequence[Floats]], novel: bool) -> Terms:
        """Terms of every policy, over as many steps as there are preferences for; ``novel``: gains about parameters too."""
        ...

    def ahead(
        self, knowledge: Knowledge, wanted: Callable[[int, Ints], Sequence[Floats]], gains: Sequence[str], cutoff: float
    ) -> Foresight:
        """For a search; ``wanted``: preferences of a time, and agents."""
        ...


class ReasonedPlanning:
    """See `activebmr.planning.protocol.Planning`.

    Until an agent has adopted a hypothesis it looks ahead by ``Reasoning.lookahead``, and by the best of what may follow;
    afterwards it plans as ``acting`` does.

    Args:
        model: the model.
        thinking: what beliefs of agents who have adopted nothing promise.
        planner, settings: how to plan, and to reason.
        preferences: what agents want.
        trial_length: number of observations in a trial, or None.
        acting: planning of those who have adopted one; it evaluates the beliefs ``belief.acting`` of ``belief.actors``.

    Raises:
        ValueError: if it is to look ahead over more joint outcomes than can be listed, or with policies of several steps.
    """

    def __init__(
        self,
        model: POMDP,
        thinking: Thinking,
        planner: Planner,
        settings: Reasoning,
        preferences: Preferences,
        trial_length: int | None,
        acting: Acting,
    ) -> None:
        if settings.lookahead and not thinking.can_branch:
            raise ValueError(
                "lookahead of Reasoning must be 0 for this model: its modalities have too many joint outcomes to branch over"
            )
        if settings.lookahead and model.policy_length > 1:
            raise ValueError(
                f"lookahead of Reasoning must be 0 for policies of several steps; got {settings.lookahead} and policies of "
                f"{model.policy_length} steps"
            )
        self.model, self.thinking = model, thinking
        self._planner, self._settings = planner, settings
        self._preferences, self._trial_length, self._acting = preferences, trial_length, acting
        self._later_gains = [g for g in planner.gains if g != "param"]

    def evaluate(
        self, belief: Any, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        acting = knowledge.adopted[agents] >= 0
        if not acting.any():
            return self._think(belief, knowledge, agents, t, curious)
        if acting.all():
            return self._act(belief, knowledge, agents, t, curious)
        parts = [np.flatnonzero(~acting), np.flatnonzero(acting)]
        done = [
            self._think(belief, knowledge, agents[parts[0]], t, curious),
            self._act(belief, knowledge, agents[parts[1]], t, curious),
        ]
        return Evaluation.merge(done, np.argsort(np.concatenate(parts)))

    def _act(self, belief: Any, knowledge: Knowledge, agents: Ints, t: int, curious: bool) -> Evaluation:
        rows = np.searchsorted(belief.actors, agents)
        mine = belief.acting if len(rows) == len(belief.actors) else belief.acting.take(rows)
        return self._acting.evaluate_rows(mine, knowledge, agents, t, curious)

    def _think(self, belief: Any, knowledge: Knowledge, agents: Ints, t: int, curious: bool) -> Evaluation:
        planner, settings, thinking = self._planner, self._settings, self.thinking
        prior = log_prior(self.model, planner, t, knowledge, agents)
        left = steps_left(planner, self._trial_length, t)
        if left == 0:
            terms = Terms.zeros(len(agents), len(self.model.policies))
            value = terms.value(())
            return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)
        now = thinking.imagined(belief, agents)
        wanted = [self._wanted(t + 1 + h, agents, curious) for h in range(min(self.model.policy_length, left))]
        terms = thinking.terms(now, knowledge, agents, wanted, "param" in planner.gains)
        value = terms.value(planner.gains)
        depth = min(settings.lookahead, left - 1)
        if depth > 0:
            ahead = thinking.ahead(
                knowledge, lambda t, who: self._wanted(t, who, curious), self._later_gains, settings.outcome_cutoff
            )
            search = Search(ahead, 1.0, "best", settings.discount, lambda agents: np.zeros(1), planner.max_nodes)
            value = search.look_ahead(now, agents, t, value, depth)
        return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)

    def _wanted(self, t: int, agents: Ints, curious: bool) -> Sequence[Floats]:
        return self._preferences.of(t, agents, curious)
