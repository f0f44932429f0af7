"""Planning from joint beliefs: exact terms of policies of any length, and a search over outcomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.knowledge import Knowledge
from activebmr.model.pomdp import POMDP
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.joint.blocks import Tables
from activebmr.planning.joint.branches import Branches
from activebmr.planning.joint.outlook import Outlook
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.search import Search
from activebmr.planning.settings import gamma_of, later_prior, log_prior, steps_left

__all__ = ["JointPlanning"]


class JointPlanning:
    """See `activebmr.planning.protocol.Planning`.

    Args:
        model: the model.
        planner: the settings.
        tables: what is known about each modality at the start.
        preferences: what agents want.
        trial_length: number of observations in a trial, or None.
        joint: makes a `JointBelief` of a way's beliefs; None where they are one.
        model_gain: the gain about hypotheses of every policy, of ways that have one: called with belief, knowledge, agents,
            time and posterior over models.
    """

    def __init__(
        self,
        model: POMDP,
        planner: Planner,
        tables: Tables,
        preferences: Preferences,
        trial_length: int | None,
        joint: Callable[[Any], JointBelief] | None = None,
        model_gain: Callable[..., Floats | None] | None = None,
    ) -> None:
        self.model, self.planner, self.preferences, self.trial_length = model, planner, preferences, trial_length
        self._joint, self._model_gain = joint, model_gain
        together = planner.modalities == "together"
        self._outlook = Outlook(model, tables, planner.gains, together)
        self._branches = Branches(model, tables) if planner.depth > 0 else None

    def evaluate(
        self, belief: Any, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        whole = belief if self._joint is None else self._joint(belief)
        now = whole if len(agents) == whole.rows else whole.take(agents)
        gain = None
        if self._model_gain is not None:
            gain = self._model_gain(belief, knowledge, agents, t, model_posterior)
        return self.evaluate_rows(now, knowledge, agents, t, curious, gain)

    def evaluate_rows(
        self, now: JointBelief, knowledge: Knowledge, agents: Ints, t: int, curious: bool, model_gain: Floats | None = None
    ) -> Evaluation:
        """The same from beliefs of the agents in question alone; ``model_gain``: of every policy ``(agents, n_policies)``."""
        model, planner = self.model, self.planner
        prior = log_prior(model, planner, t, knowledge, agents)
        left = steps_left(planner, self.trial_length, t)
        steps = range(min(model.policy_length, left))
        wanted = [self.preferences.of(t + 1 + h, agents, curious) for h in steps]
        terms = self._outlook.terms(now, knowledge.tables, agents, wanted)
        if model_gain is not None:
            terms.model = model_gain
        value = terms.value(planner.gains)
        depth = 0 if curious else min(planner.depth, left - 1)
        if depth > 0 and self._branches is not None:
            value = self._ahead(knowledge).look_ahead(now, agents, t, value, depth)
        return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)

    def _ahead(self, knowledge: Knowledge) -> Search:
        planner = self.planner
        assert self._branches is not None
        foresight = _Ahead(self, knowledge.tables, self._branches)
        prior = lambda agents: later_prior(self.model, planner, knowledge, agents)  # noqa: E731
        return Search(foresight, planner.gamma, planner.backup, planner.discount, prior, planner.max_nodes)


class _Ahead:
    """Foresight (`activebmr.planning.search`) of joint beliefs, given what agents know."""

    def __init__(self, planning: JointPlanning, tables: Tables, branches: Branches) -> None:
        self._planning, self._tables, self._branches = planning, tables, branches
        self.numbers = branches.numbers

    def worth(self, belief: JointBelief, agents: Ints, t: int) -> Floats:
        planning = self._planning
        terms: Terms = planning._outlook.terms(belief, self._tables, agents, [planning.preferences.of(t + 1, agents)])
        return terms.value([g for g in planning.planner.gains if g != "model"])

    def branches(self, belief: JointBelief, agents: Ints, rows: Ints, policies: Ints) -> tuple[JointBelief, Ints, Floats]:
        return self._branches.after(belief, self._tables, agents, rows, policies)

    def distinct(self, belief: JointBelief, source: Ints) -> tuple[Ints, Ints]:
        return self._branches.distinct(belief, source)

    def take(self, belief: JointBelief, rows: Ints) -> JointBelief:
        return belief.take(rows)
