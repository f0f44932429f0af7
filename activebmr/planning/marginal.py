"""Planning from factor marginals: one-step terms modality by modality, and SPM's search over hidden states.

The scheme of Friston et al. (2021, 2025): a policy is looked into if its one-step posterior is not too far below the best
one's; it may lead to the few most probable joint states, and each of them would bring the outcome that is expected in it (a
soft outcome where likelihoods are). Exact where likelihoods are deterministic and nothing is cut off.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from math import prod

import numpy as np

from activebmr.arrays import Floats, Ints, softmax
from activebmr.inference.beliefs import Belief
from activebmr.inference.by_factors import CERTAINTY, INFERENCE
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.learned_dynamics import dynamics_for
from activebmr.inference.looking_up import Tables, columns_at
from activebmr.inference.mean_field import ROUNDS
from activebmr.inference.tables import KnownTable
from activebmr.model.components import components_of
from activebmr.model.layout import dynamics_of, layouts_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.joint.branches import distinct_rows
from activebmr.planning.marginal_predictions import Given, Prediction
from activebmr.planning.marginal_terms import one_step_terms
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.settings import gamma_of, later_prior, log_prior, steps_left
from activebmr.ragged import Ragged, chosen_rows, cross

__all__ = ["MarginalPlanning", "warn_of_separate_gains"]

_AT_ONCE = 2**22  # numbers held at a time
_MANY_STATES = 2**12  # joint states beyond which the likeliest are looked for factor by factor


class MarginalPlanning:
    """See `activebmr.planning.protocol.Planning`; beliefs are `Belief`.

    Args:
        model: the model.
        planner: the settings; gains are separate whatever they say, see `warn_of_separate_gains`.
        inference: name of the filter that beliefs are imagined with, see `activebmr.inference.by_factors`.
        preferences: what agents want.
        trial_length: number of observations in a trial, or None.
        rounds: of the filter.
    """

    def __init__(
        self,
        model: POMDP,
        planner: Planner,
        inference: str,
        preferences: Preferences,
        trial_length: int | None,
        rounds: int = ROUNDS,
    ) -> None:
        self.model, self.planner, self.inference, self.rounds = model, planner, inference, rounds
        self.preferences, self.trial_length = preferences, trial_length

    def evaluate(
        self, belief: Belief, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
    ) -> Evaluation:
        planner, tables = self.planner, knowledge.tables
        qs = belief if len(agents) == belief.rows else belief.take(agents)
        posterior = None if model_posterior is None else model_posterior[agents]
        prior = log_prior(self.model, planner, t, knowledge, agents)
        left = steps_left(planner, self.trial_length, t)
        wanted = lambda later: self.preferences.at(t + later, curious)  # noqa: E731
        if left == 0:
            terms = Terms.zeros(len(agents), len(self.model.policies))
            value = terms.value(())
        elif self.model.policy_length == 1:
            prediction = self._predicted(knowledge, qs, agents)
            terms = self._terms(tables, prediction, agents, wanted(1), planner.gains, posterior)
            value = terms.value(planner.gains)
            depth = 0 if curious else min(planner.depth, left - 1)
            if depth > 0:
                count = {"nodes": 0, "agents": len(agents)}
                value = self._search(knowledge, prediction, agents, t, value, prior, depth, count)
        else:
            steps = [wanted(h + 1) for h in range(min(self.model.policy_length, left))]
            terms = self._sequence_terms(knowledge, agents, qs, steps, planner.gains, posterior)
            value = terms.value(planner.gains)
        return Evaluation(terms, value, self._posterior(value, agents, prior), prior)

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
            prediction = self._predicted(knowledge, qs, agents)
            return self._terms(tables, prediction, agents, None, ("model",), posterior).model
        nothing = [None] * min(self.model.policy_length, left)
        return self._sequence_terms(knowledge, agents, qs, nothing, ("model",), posterior).model

    # --- terms -----------------------------------------------------------------------------------------------------------
    def _predicted(self, knowledge: Knowledge, beliefs: Belief, agents: Ints) -> Prediction:
        """Beliefs of some agents one step ahead."""
        dynamics = dynamics_for(self.model, knowledge.others, agents)
        return Prediction(self.model, beliefs, self.model.first_controls, dynamics)

    def _terms(
        self,
        tables: Tables,
        prediction: Prediction | Given,
        agents: Ints,
        wanted: Sequence[Floats] | None,
        gains: Sequence[str],
        model_posterior: Floats | None = None,
    ) -> Terms:
        """One-step terms, with what moves tell about transitions that are learned."""
        terms = self._terms_of_outcomes(tables, prediction, agents, wanted, gains, model_posterior)
        moved = prediction.novelty() if "param" in gains else None
        if moved is not None:
            terms.param += moved
        return terms

    def _terms_of_outcomes(
        self,
        tables: Tables,
        prediction: Prediction | Given,
        agents: Ints,
        wanted: Sequence[Floats] | None,
        gains: Sequence[str],
        model_posterior: Floats | None,
    ) -> Terms:
        """What outcomes are worth and tell, of as many rows at a time as can be held."""
        size = max(1, _AT_ONCE // self._numbers(prediction, 0 if model_posterior is None else model_posterior.shape[1]))
        if prediction.rows <= size:
            return one_step_terms(prediction, tables, agents, wanted, gains, model_posterior, self.planner.model_gain)
        parts = []
        for a in range(0, prediction.rows, size):
            rows = np.arange(a, min(a + size, prediction.rows))
            posterior = None if model_posterior is None else model_posterior[rows]
            part = prediction.take(rows)
            parts.append(one_step_terms(part, tables, agents[rows], wanted, gains, posterior, self.planner.model_gain))
        return Terms.merge(parts, np.arange(prediction.rows))

    def _numbers(self, prediction: Prediction | Given, n_models: int) -> int:
        """About how many numbers the terms of one row take."""
        states, cells = self._sizes[isinstance(prediction, Given)]
        return states + n_models * cells

    @cached_property
    def _sizes(self) -> list[tuple[int, int]]:
        """Joint states, and cells, of the largest modality: under all controls of what moves, and under given ones."""
        layouts, controls = layouts_of(self.model), self.model.num_controls
        moves = [prod(controls[f] for f in layout.still) for layout in layouts]
        states = max(n * layout.n_states for n, layout in zip(moves, layouts, strict=True))
        cells = max(n * layout.n_slab for n, layout in zip(moves, layouts, strict=True))
        return [(states, cells), (max(layout.n_states for layout in layouts), 1)]

    @cached_property
    def _prefixes(self) -> list[tuple[Ints, Ints, Ints]]:
        """Per step of policies: the step before of each different beginning, its controls, and the beginning of each policy."""
        policies, out = self.model.policies, []
        before = np.zeros(len(policies), dtype=np.intp)
        for h in range(self.model.policy_length):
            key = np.column_stack([before, policies[:, h]])
            distinct, of_policy = np.unique(key, axis=0, return_inverse=True)
            before = of_policy.reshape(-1)
            out.append((distinct[:, 0], distinct[:, 1:], before))
        return out

    def _sequence_terms(
        self,
        knowledge: Knowledge,
        agents: Ints,
        qs: Belief,
        wanted: Sequence[Sequence[Floats] | None],
        gains: Sequence[str],
        model_posterior: Floats | None,
    ) -> Terms:
        """Terms of policies of several steps, summed over the steps wanted (beliefs are predicted, never updated); policies
        share what they have in common at their beginning.
        """
        total = Terms.zeros(len(agents), len(self.model.policies))
        widest = max(len(parent) for parent, _, _ in self._prefixes[: len(wanted)])
        size = max(1, _AT_ONCE // (widest * sum(self.model.num_states)))
        for a in range(0, len(agents), size):
            rows = np.arange(a, min(a + size, len(agents)))
            belief, width = qs.take(rows), 1
            for (parent, controls, of_policy), wants in zip(self._prefixes, wanted, strict=False):
                taken = (np.arange(len(rows))[:, None] * width + parent).ravel()
                width, who = len(parent), np.repeat(agents[rows], len(parent))
                dynamics = dynamics_for(self.model, knowledge.others, who)
                given = Given.after(belief.take(taken), dynamics, np.tile(controls, (len(rows), 1)))
                belief = given.belief
                models = None if model_posterior is None else np.repeat(model_posterior[rows], width, axis=0)
                step = self._terms(knowledge.tables, given, who, wants, gains, models)
                for f in fields(Terms):
                    each = getattr(step, f.name).reshape(len(rows), width)
                    getattr(total, f.name)[rows] += np.take(each, of_policy, axis=1)
        return total

    # --- search ----------------------------------------------------------------------------------------------------------
    def _search(
        self,
        knowledge: Knowledge,
        prediction: Prediction,
        agents: Ints,
        t: int,
        value: Floats,
        prior: Floats,
        depth: int,
        count: dict[str, int],
    ) -> Floats:
        """Add to each promising policy what continuations are worth, over the states it may lead to."""
        planner, worth = self.planner, value + prior
        posterior = self._posterior(value, agents, prior)
        kept = posterior > planner.policy_cutoff * posterior.max(axis=1, keepdims=True)
        # what is cut is worth the penalty less than the best, prior included
        barrier = worth.max(axis=1, keepdims=True) - planner.penalty - np.maximum(prior, -planner.penalty)
        deep = np.where(kept, value, barrier)
        every_row, every_policy = np.nonzero(kept)
        pair, rows, policies = _promising(self.model, self.inference, prediction.belief, every_row, every_policy)
        more = np.empty(len(rows))
        size = max(1, _AT_ONCE // (self._imagined * planner.max_states))
        for part in (slice(a, a + size) for a in range(0, len(rows), size)):
            more[part] = self._continuations(knowledge, prediction, agents, rows[part], policies[part], t, depth, count)
        deep[every_row, every_policy] += planner.discount * more[pair]
        return deep

    def _posterior(self, value: Floats, agents: Ints, prior: Floats) -> Floats:
        """Posterior over policies."""
        gamma = gamma_of(self.planner, agents)
        if isinstance(gamma, float) and gamma < np.inf and self.planner.search == "states":  # values are finite then
            return softmax(gamma * value + prior)
        return policy_probabilities(value, gamma, prior)

    @cached_property
    def _imagined(self) -> int:
        """About how many joint states are looked at to find the likeliest of one row and policy."""
        sizes = [self.model.num_states[f] for f in {f for layout in layouts_of(self.model) for f in layout.deps}]
        return prod(sizes) if prod(sizes) <= _MANY_STATES else self.planner.max_states * max(sizes)

    def _continuations(
        self,
        knowledge: Knowledge,
        prediction: Prediction,
        agents: Ints,
        rows: Ints,
        policies: Ints,
        t: int,
        depth: int,
        count: dict[str, int],
    ) -> Floats:
        """What comes after each pair of row and policy ``(pairs,)``."""
        planner, tables = self.planner, knowledge.tables
        predicted = prediction.under(rows, policies)
        branch, weight, outcomes = self._imagine(tables, agents[rows], predicted, prediction.belief, rows)
        beliefs, who, same = self._after_outcomes(tables, agents[rows], rows, predicted, branch, outcomes)
        count["nodes"] += len(who)
        if count["nodes"] > planner.max_nodes * count["agents"]:
            raise ValueError(
                "depth of Planner must be small enough for the search to look at no more than "
                f"max_nodes={planner.max_nodes} beliefs an agent; this one needs at least "
                f"{count['nodes'] / count['agents']:.3g}"
            )
        ahead = self._predicted(knowledge, beliefs, who)
        value = self._terms(tables, ahead, who, self.preferences.at(t + 2), planner.gains).value(planner.gains)
        later = later_prior(self.model, planner, knowledge, who)
        if depth > 1:
            value = self._search(knowledge, ahead, who, t + 1, value, later, depth - 1, count)
        if planner.backup == "best":
            backed_up = value.max(axis=1)
        else:
            chance = self._posterior(value, who, later)
            backed_up = (chance * np.where(chance > 0, value, 0.0)).sum(axis=1)
        return np.bincount(branch, weights=weight * backed_up[same], minlength=len(rows))

    def _imagine(
        self, tables: Tables, agents: Ints, predicted: Belief, belief: Belief, rows: Ints
    ) -> tuple[Ints, Floats, list[np.ndarray]]:
        """The most probable joint states of each pair, their weights, and the outcomes that each would bring."""
        model = self.model
        relevant = {f for table in tables for f in table.layout.deps if predicted.known[f] is None}
        # the first factor varies fastest, as in SPM, whose order decides between equally probable states
        factors = tuple(sorted(relevant, reverse=True))
        if any(dynamics_of(model).kind[f] != "fixed" for f in factors):
            joint = self._likely_states(predicted, factors)
        else:  # whatever is done, the states stay: look at them once for each row
            first, last = rows.min(), rows.max() + 1
            some = belief if last - first == belief.rows else belief.take(np.arange(first, last))
            joint = chosen_rows(self._likely_states(some, factors), rows - first)
        row, index = joint.row, joint.index
        total = np.bincount(row, weights=joint.weight, minlength=len(rows))
        known = [None if k is None else k[row] for k in predicted.known]
        for f in factors[::-1]:
            index, below = index // model.num_states[f], index
            known[f] = below - index * model.num_states[f]
        branch = Belief([None] * len(known), known, predicted.sizes)
        outcomes: list[np.ndarray] = []
        for table in tables:
            column = columns_at(table.layout, branch, (), row, None)
            if isinstance(table, KnownTable) and table.certain is not None:
                outcomes.append(table.certain[column])
            else:
                column = column + agents[row] * table.n_states if table.learned else column
                outcomes.append(table.likelihood[column, :-1])
        return row, joint.weight / total[row], outcomes

    def _likely_states(self, belief: Belief, factors: tuple[int, ...]) -> Ragged:
        """The most probable joint states of some factors, in each row."""
        sizes = self.model.num_states
        joint, many = belief.joint(()), prod(sizes[f] for f in factors) > _MANY_STATES
        for f in factors:
            joint = cross(joint, belief.likely(f, self.planner.state_cutoff), stride_a=sizes[f])
            if many:  # the likeliest joint states are made of the likeliest of fewer factors
                joint = _likeliest(joint, self.planner.max_states, by_index=True)
        return _likeliest(joint, self.planner.max_states)

    def _after_outcomes(
        self,
        tables: Tables,
        agents: Ints,
        rows: Ints,
        predicted: Belief,
        branch: Ints,
        outcomes: list[np.ndarray],
    ) -> tuple[Belief, Ints, Ints]:
        """Beliefs after the outcomes imagined in each branch; branches that see or come to believe the same become one.

        Returns:
            the distinct beliefs, the agent of each, and which of them each branch leads to.
        """
        model = self.model
        kinds = dynamics_of(model).kind
        # rows share what no action sets, unless something moves by itself: then each pair of row and policy is a case by itself
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
        beliefs, *_ = INFERENCE[self.inference](
            model, tables, who, predicted.take(taken), [o[first] for o in outcomes], self.rounds
        )
        # what comes after depends only on what is believed about the states that no action sets
        moved_by_others = {g for f, deps in enumerate(model.B_dependencies) for g in deps if g != f}  # type: ignore[arg-type]
        held: list[np.ndarray] = []
        for f, kind in enumerate(kinds):
            if kind != "set" or f in moved_by_others:
                known = beliefs.known[f]
                held += [known] if known is not None else list(beliefs[f].T)
        second, again = distinct_rows(who, held)
        return beliefs.take(second), who[second], again[same]


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


def _likeliest(joint: Ragged, most: int, by_index: bool = False) -> Ragged:
    """The most probable entries of each row, first ones first, or in their own order.

    Probabilities that differ by rounding alone are ties, broken by the order of the entries. They are put in order also where
    nothing is cut off: sums must run in the same order whoever else is in the batch.
    """
    if joint.single:
        return joint
    order = np.lexsort((-np.round(joint.weight, 12), joint.row))
    order = order[np.arange(len(joint.index)) - joint.start[:-1][joint.row] < most]
    if by_index:
        order = np.sort(order)
    start = np.zeros(joint.rows + 1, dtype=np.intp)
    np.minimum(joint.count, most).cumsum(out=start[1:])
    return Ragged(start, joint.index[order], joint.weight[order])


def warn_of_separate_gains(model: POMDP, planner: Planner) -> None:
    """Say so if agents asked for gains from all modalities together where they can only be had from each."""
    if planner.modalities == "separate" or "state" not in planner.gains:
        return
    for c in components_of(model):
        if len(c.telling) < 2:
            continue
        names = [model.labels["modality"][m] for m in c.telling]
        factors = [model.labels["factor"][f] for f in c.hidden]
        why = f"joint beliefs about {factors[:4]}{'...' if len(factors) > 4 else ''} would hold {c.n_hidden:.3g} numbers"
        if planner.search == "states":
            why = "a search over states looks at each by itself"
        elif any(table.kind == "B" for table in model.learned):
            why = "agents that learn transitions predict each factor by itself"
        warnings.warn(
            f"modalities {names[:4]}{'...' if len(names) > 4 else ''} inform separately here, their gains are summed: {why} "
            "(Planner(modalities='separate') does so without this warning)",
            stacklevel=4,
        )
        return
