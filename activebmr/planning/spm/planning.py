"""`SpmPlanning`: policies of one step, and a search over the states that they may lead to, as ``spm_MDP_VB_XXX`` has it."""

from __future__ import annotations

import warnings

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.counts import safe_log
from activebmr.inference.beliefs import Belief
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.sequential import infer_sequential
from activebmr.inference.spm.filtering import MoveBelief
from activebmr.inference.spm.motion import Motion, inferred_factors
from activebmr.model.pomdp import POMDP
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.settings import gamma_of, steps_left
from activebmr.planning.spm.terms import Mindset, Outlook
from activebmr.ragged import cross

__all__ = ["SpmPlanning"]


class SpmPlanning:
    """See `activebmr.planning.protocol.Planning`; beliefs are `MoveBelief`.

    Args:
        model: policies of one step.
        planner: the settings; gains are summed over modalities whatever they say.
        preferences: what agents want.
        trial_length: number of observations in a trial, or None.

    Raises:
        ValueError: if the search is to be over outcomes.
    """

    def __init__(self, model: POMDP, planner: Planner, preferences: Preferences, trial_length: int | None) -> None:
        if planner.depth > 0 and planner.search != "states":
            raise ValueError(f"search of Planner must be 'states' for inference='spm'; got {planner.search!r}")
        if planner.modalities == "together" and "state" in planner.gains and model.num_modalities > 1:
            warnings.warn(
                "modalities inform separately with inference='spm', their gains are summed (Planner(modalities='separate') "
                "does so without this warning)",
                stacklevel=5,
            )
        self.model, self.planner, self.preferences, self.trial_length = model, planner, preferences, trial_length

    def evaluate(
        self, belief: MoveBelief, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        planner, motion = self.planner, Motion(self.model, knowledge)
        prior = self._log_prior(motion, agents) if t == 0 or planner.habit == "always" else 0.0
        left = steps_left(planner, self.trial_length, t)
        if left == 0 or len(self.model.policies) == 1:  # where there is nothing to choose, SPM reckons nothing
            terms = Terms.zeros(len(agents), len(self.model.policies))
            value = terms.value(())
        else:
            search = _Search(self, motion, knowledge, curious, first=t == 0)
            now = belief.now if len(agents) == belief.now.rows else belief.now.take(agents)
            depth = 0 if curious else min(planner.depth, left - 1)
            terms, value = search.look(now, agents, t, depth)
        return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)

    def _log_prior(self, motion: Motion, agents: Ints) -> Floats:
        """log E of every policy ``(agents, n_policies)``, of the factors that somebody controls."""
        model, total = self.model, np.zeros((len(agents), len(self.model.policies)))
        for f in set(range(model.num_factors)) - inferred_factors(model):
            total += np.take(safe_log(motion.paths(f)[agents]), model.first_controls[:, f], axis=1)
        return total


class _Search:
    """What policies are worth to some agents at one moment."""

    def __init__(self, planning: SpmPlanning, motion: Motion, knowledge: Knowledge, curious: bool, first: bool) -> None:
        self._model, self._planner, self._preferences = planning.model, planning.planner, planning.preferences
        self._tables, self._curious = knowledge.tables, curious
        self._mindset = Mindset(planning.model, motion, knowledge.tables, planning.planner.gains, first)
        self._relevant = tuple(sorted({f for deps in self._model.A_dependencies for f in deps}))  # type: ignore[union-attr]

    def look(self, belief: Belief, agents: Ints, t: int, depth: int) -> tuple[Terms, Floats]:
        """One-step terms of every policy, and its value with ``depth`` more steps ``(rows, n_policies)``."""
        planner = self._planner
        outlook = self._mindset.outlook(belief, agents)
        terms = self._mindset.terms(outlook, self._preferences.at(t + 1, self._curious))
        value = terms.value(planner.gains)
        if depth <= 0:
            return terms, value
        chance = policy_probabilities(value, gamma_of(planner, agents))
        kept = chance > planner.policy_cutoff * chance.max(axis=1, keepdims=True)
        deep = np.where(kept, value, value.max(axis=1, keepdims=True) - planner.penalty)
        pairs = np.flatnonzero(kept)
        deep.reshape(-1)[pairs] += planner.discount * self._ahead(outlook, pairs, t, depth)
        return terms, deep

    def _ahead(self, outlook: Outlook, pairs: Ints, t: int, depth: int) -> Floats:
        """What comes after pairs of row and policy ``(pairs,)``: an average over the likeliest states that they lead to, each
        with the outcomes expected in it.
        """
        planner, predicted = self._planner, outlook.belief.take(pairs)
        branch, weight, states = self._likely(predicted)
        agents = outlook.agents[pairs][branch]
        outcomes = []
        for table in self._tables:
            column = agents * table.n_states if table.learned else np.zeros(len(branch), dtype=np.intp)
            for f, stride in table.layout.strides.items():
                column = column + states[f] * stride
            outcomes.append(table.likelihood[column, :-1])
        beliefs, *_ = infer_sequential(self._model, self._tables, agents, predicted.take(branch), outcomes)
        _, value = self.look(beliefs, agents, t + 1, depth - 1)
        worth = value.max(axis=1)
        if planner.backup == "posterior":
            worth = (policy_probabilities(value, gamma_of(planner, agents)) * value).sum(axis=1)
        return np.bincount(branch, weights=weight * worth, minlength=len(pairs))

    def _likely(self, predicted: Belief) -> tuple[Ints, Floats, dict[int, Ints]]:
        """The most probable joint states of each row: their rows, their shares, and the state of each factor.

        Those that only rounding tells apart come in the order in which the first factor varies fastest (SPM).
        """
        joint = predicted.joint(())
        for f in self._relevant[::-1]:
            joint = cross(joint, predicted.likely(f, self._planner.state_cutoff), stride_a=predicted.sizes[f])
        row, index, weight = joint.row, joint.index, joint.weight
        order = np.lexsort((-np.round(weight, 12), row))
        order = order[np.arange(len(row)) - joint.start[row] < self._planner.max_states]
        row, index, weight = row[order], index[order], weight[order]
        states = {}
        for f in self._relevant:
            index, states[f] = np.divmod(index, predicted.sizes[f])
        return row, weight / np.bincount(row, weights=weight, minlength=predicted.rows)[row], states
