"""Planning from factor marginals: one-step terms modality by modality, and SPM's search over hidden states.

The scheme of Friston et al. (2021, 2025): a policy is looked into if its one-step posterior is not too far below the best one's;
it may lead to the few most probable joint states, and each of them would bring the outcome that is expected in it (a soft outcome
where likelihoods are). Exact where likelihoods are deterministic and nothing is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from activebmr.arrays import Floats, Ints, softmax
from activebmr.inference.beliefs import Belief
from activebmr.inference.by_factors import CERTAINTY, INFERENCE
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.looking_up import Tables, columns_of
from activebmr.inference.tables import KnownTable
from activebmr.model.layout import dynamics_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.branches import distinct_rows
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.marginal_terms import Given, Prediction, one_step_terms
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.settings import gamma_of, later_prior, log_prior, steps_left
from activebmr.ragged import cross

__all__ = ["MarginalPlanning"]

_PAIRS_AT_ONCE = 2**16  # pairs of agent and policy of several steps that are looked at together


class MarginalPlanning:
    """See `activebmr.planning.protocol.Planning`; beliefs are `Belief`.

    Args:
        model: the model.
        planner: the settings.
        inference: name of the filter that beliefs are imagined with, see `activebmr.inference.by_factors`.
        preferences: what agents want; all agents the same.
        trial_length: number of observations in a trial, or None.
    """

    def __init__(
        self, model: POMDP, planner: Planner, inference: str, preferences: Preferences, trial_length: int | None
    ) -> None:
        if preferences.differ:
            raise ValueError("preferences of each agent need search='outcomes' of Planner, and coupled factors that are not too many")
        self.model, self.planner, self.inference = model, planner, inference
        self.preferences, self.trial_length = preferences, trial_length

    def evaluate(
        self, belief: Belief, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        model, planner, tables = self.model, self.planner, knowledge.tables
        qs = belief if len(agents) == belief.rows else belief.take(agents)
        posterior = None if model_posterior is None else model_posterior[agents]
        prior = log_prior(model, planner, t)
        left = steps_left(planner, self.trial_length, t)
        if left == 0:
            terms = Terms.zeros(len(agents), len(model.policies))
            value = terms.value(())
        elif model.policy_length == 1:
            prediction = Prediction(model, qs, model.first_controls)
            terms = self._terms(tables, prediction, agents, t, posterior, curious)
            value = terms.value(planner.gains)
            depth = 0 if curious else min(planner.depth, left - 1)
            if depth > 0:
                value = self._search(tables, prediction, agents, t, value, prior, depth)
        else:
            terms = self._sequence_terms(tables, agents, qs, t, posterior, curious, left)
            value = terms.value(planner.gains)
        return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)

    def model_gain(
        self, belief: Belief, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None
    ) -> Floats | None:
        """Gain about hypotheses that are scored by their counts, for every policy ``(agents, n_policies)``; None if there is
        none.
        """
        if model_posterior is None or "model" not in self.planner.gains:
            return None
        left = steps_left(self.planner, self.trial_length, t)
        if left == 0:
            return None
        qs = belief if len(agents) == belief.rows else belief.take(agents)
        posterior, tables = model_posterior[agents], knowledge.tables
        if self.model.policy_length == 1:
            prediction = Prediction(self.model, qs, self.model.first_controls)
            return self._terms(tables, prediction, agents, t, posterior, True, ("model",)).model
        return self._sequence_terms(tables, agents, qs, t, posterior, True, left, ("model",)).model

    def _terms(
        self,
        tables: Tables,
        prediction: Prediction | Given,
        agents: Ints,
        t: int,
        model_posterior: Floats | None,
        curious: bool = False,
        gains: Sequence[str] | None = None,
    ) -> Terms:
        return one_step_terms(
            prediction,
            tables,
            agents,
            self.preferences.at(t + 1, curious),
            self.planner.gains if gains is None else gains,
            model_posterior,
            self.planner.model_gain,
        )

    def _sequence_terms(
        self,
        tables: Tables,
        agents: Ints,
        qs: Belief,
        t: int,
        model_posterior: Floats | None,
        curious: bool,
        left: int,
        gains: Sequence[str] | None = None,
    ) -> Terms:
        """Terms of policies of several steps, summed over the steps of each policy (beliefs are predicted, never updated)."""
        model, n_policies = self.model, len(self.model.policies)
        total = Terms.zeros(len(agents), n_policies)
        size = max(1, _PAIRS_AT_ONCE // n_policies)
        for a in range(0, len(agents), size):
            rows = np.arange(a, min(a + size, len(agents)))
            belief = qs.take(np.repeat(rows, n_policies))
            who = np.repeat(agents[rows], n_policies)
            models = None if model_posterior is None else np.repeat(model_posterior[rows], n_policies, axis=0)
            for h in range(min(model.policy_length, left)):
                belief = belief.predict(dynamics_of(model), np.tile(model.policies[:, h], (len(rows), 1)))
                step = self._terms(tables, Given(belief), who, t + h, models, curious, gains)
                for f in fields(Terms):
                    getattr(total, f.name)[rows] += getattr(step, f.name).reshape(len(rows), n_policies)
        return total

    def _search(
        self, tables: Tables, prediction: Prediction, agents: Ints, t: int, value: Floats, prior: Floats, depth: int
    ) -> Floats:
        """Add to each promising policy what the best continuations are worth, over the states it may lead to."""
        planner, worth = self.planner, value + prior
        posterior = softmax(worth)
        kept = posterior > planner.policy_cutoff * posterior.max(axis=1, keepdims=True)
        if planner.policy_cutoff == 0:  # not even those whose probability is too small for a number of its own
            kept[:] = True
        # what is cut is worth the penalty less than the best, prior included
        barrier = worth.max(axis=1, keepdims=True) - planner.penalty - np.maximum(prior, -planner.penalty)
        deep = np.where(kept, value, barrier)
        every_row, every_policy = np.nonzero(kept)
        pair, rows, policies = _promising(self.model, self.inference, prediction.belief, every_row, every_policy)
        predicted = prediction.under(rows, policies)
        branch, weight, outcomes = self._imagine(tables, agents[rows], predicted)
        beliefs, who, same = _after_outcomes(self.model, self.inference, tables, agents[rows], rows, predicted, branch, outcomes)
        ahead = Prediction(self.model, beliefs, self.model.first_controls)
        ahead_value = self._terms(tables, ahead, who, t + 1, None).value(planner.gains)
        later = later_prior(self.model, planner)
        if depth > 1:
            ahead_value = self._search(tables, ahead, who, t + 1, ahead_value, later, depth - 1)
        chance = softmax(ahead_value + later)
        backed_up = (chance * np.where(chance > 0, ahead_value, 0.0)).sum(axis=1)[same]
        deep[every_row, every_policy] += np.bincount(branch, weights=weight * backed_up, minlength=len(rows))[pair]
        return deep

    def _imagine(self, tables: Tables, agents: Ints, predicted: Belief) -> tuple[Ints, Floats, list[np.ndarray]]:
        """The most probable joint states of each row, their weights, and the outcomes that each would bring."""
        model, planner = self.model, self.planner
        relevant = {f for table in tables for f in table.layout.deps if predicted.known[f] is None}
        # the first factor varies fastest, as in SPM, whose order decides between equally probable states
        factors = tuple(sorted(relevant, reverse=True))
        joint = predicted.joint(())
        for f in factors:
            joint = cross(joint, predicted.likely(f, planner.state_cutoff), stride_a=model.num_states[f])
        row, index, weight = joint.row, joint.index, joint.weight
        if not joint.single:
            # most probable first; probabilities that differ by rounding alone are ties, broken by the order of the states.
            # Also where nothing is cut off: sums must run in the same order whoever else is in the batch
            order = np.lexsort((-np.round(weight, 12), row))
            order = order[np.arange(len(index)) - joint.start[:-1][row] < planner.max_states]
            row, index, weight = row[order], index[order], weight[order]
        total = np.bincount(row, weights=weight, minlength=len(agents))
        branch = predicted.take(row)
        for f in factors[::-1]:
            branch.known[f], index = index % model.num_states[f], index // model.num_states[f]
        here = branch.joint(())
        outcomes: list[np.ndarray] = []
        for table in tables:
            column = columns_of(table.layout, branch, (), here)
            if isinstance(table, KnownTable) and table.certain is not None:
                outcomes.append(table.certain[column])
            else:
                column = column + agents[row] * table.n_states if table.learned else column
                outcomes.append(table.likelihood[column, :-1])
        return row, weight / total[row], outcomes


def _promising(model: POMDP, inference: str, belief: Belief, rows: Ints, policies: Ints) -> tuple[Ints, Ints, Ints]:
    """Pairs of row and policy to look into, and for every pair given the one that stands for it.

    Where nothing moves by itself and a row's agent knows all that no action sets, every policy leads to the same beliefs: one
    will do.
    """
    threshold = CERTAINTY.get(inference)
    kinds = dynamics_of(model).kind
    if threshold is None or "general" in kinds:
        return np.arange(len(rows)), rows, policies
    unset = tuple(f for f, kind in enumerate(kinds) if kind == "fixed" and belief.known[f] is None)
    certain = belief.joint(unset, threshold).count == 1
    first = np.ones(len(rows), dtype=bool)
    first[1:] = rows[1:] != rows[:-1]
    looked_into = first | ~certain[rows]
    return np.cumsum(looked_into) - 1, rows[looked_into], policies[looked_into]


def _after_outcomes(
    model: POMDP,
    inference: str,
    tables: Tables,
    agents: Ints,
    rows: Ints,
    predicted: Belief,
    branch: Ints,
    outcomes: list[np.ndarray],
) -> tuple[Belief, Ints, Ints]:
    """Beliefs after the outcomes imagined in each branch; branches that see the same, or come to believe the same, become one.

    Returns:
        the distinct beliefs, the agent of each, and which of them each branch leads to.
    """
    kinds = dynamics_of(model).kind
    # rows share what no action sets, unless something moves by itself: then each pair of row and policy is a case of its own
    source = branch if "general" in kinds else rows[branch]
    seen: list[np.ndarray] = []
    for f, kind in enumerate(kinds):
        known = predicted.known[f]
        if kind == "set" and known is not None:
            seen.append(known[branch])
    for outcome in outcomes:
        seen += [outcome] if outcome.ndim == 1 else list(outcome.T)
    first, same = distinct_rows(source, seen)
    taken = branch[first]
    who = agents[taken]
    beliefs, *_ = INFERENCE[inference](model, tables, who, predicted.take(taken), [o[first] for o in outcomes])
    # what comes after depends only on what is believed about the states that no action sets
    moved_by_others = {g for f, deps in enumerate(model.B_dependencies) for g in deps if g != f}  # type: ignore[arg-type]
    held: list[np.ndarray] = []
    for f, kind in enumerate(kinds):
        if kind != "set" or f in moved_by_others:
            known = beliefs.known[f]
            held += [known] if known is not None else list(beliefs[f].T)
    second, again = distinct_rows(who, held)
    return beliefs.take(second), who[second], again[same]
