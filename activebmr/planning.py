"""`Planner`: what every policy is worth, by expected free energy and sophisticated search, and the posterior over policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from activebmr.beliefs import Belief
from activebmr.dirichlet import LOG_FLOOR
from activebmr.efe import Given, Prediction, Terms, one_step_terms
from activebmr.inference import CERTAINTY, INFERENCE, Tables, columns_of
from activebmr.layout import dynamics_of
from activebmr.models import POMDP
from activebmr.reduction import softmax
from activebmr.sparse import Floats, Ints, cross
from activebmr.tables import KnownTable

__all__ = ["GAINS", "Evaluation", "Planner", "View", "log_preferences", "sample"]

GAINS = ("state", "param", "model")
"""Names of the information gains that a planner can add to expected utility."""


def log_preferences(model: POMDP, t: int) -> list[Floats]:
    """log softmax(C) per modality for outcomes at time step t, floored at -32 (SPM)."""
    out = []
    for c in model.C:  # type: ignore[union-attr]
        row = c[min(t, len(c) - 1)] if c.ndim == 2 else c
        shifted = row - row.max()
        out.append(np.maximum(shifted - np.log(np.exp(shifted).sum()), LOG_FLOOR))
    return out


def sample(probabilities: Floats, uniform: Floats) -> Ints:
    """First index whose cumulative probability exceeds uniform x total, row by row; ``uniform`` in [0, 1), ``(rows,)``."""
    cumulative = np.cumsum(probabilities, axis=1)
    return (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(axis=1).clip(max=probabilities.shape[1] - 1)


@dataclass(frozen=True, eq=False)
class View:
    """What planning needs to know about a batch of agents: their model, tables, inference, preferences and time."""

    model: POMDP
    tables: Tables
    inference: str
    preferences: Callable[[int], Sequence[Floats]]
    trial_length: int | None


@dataclass(eq=False)
class Evaluation:
    """Worth of the policies for a batch of rows: arrays ``(rows, n_policies)``.

    Attributes:
        terms: the one-step (or summed, for longer policies) terms.
        neg_efe: negative expected free energy, with what the deeper search adds; without the prior over policies.
        q_pi: posterior over policies, softmax(gamma x neg_efe + log E).
        log_prior: the log prior over policies that was used ``(n_policies,)``.
        path_evidence: with message passing, log evidence that each policy's path has for what was seen; else 0.
    """

    terms: Terms
    neg_efe: Floats
    q_pi: Floats
    log_prior: Floats
    path_evidence: Floats | float = 0.0

    @classmethod
    def merge(cls, parts: Sequence[Evaluation], order: Ints) -> Evaluation:
        """Evaluations of parts of a batch, put one after the other and then in ``order``."""
        together = lambda arrays: np.concatenate(list(arrays))[order]  # noqa: E731
        terms = Terms(*(together(getattr(p.terms, f.name) for p in parts) for f in fields(Terms)))
        return cls(terms, together(p.neg_efe for p in parts), together(p.q_pi for p in parts), parts[0].log_prior)


@dataclass(frozen=True)
class Planner:
    """How an agent plans.

    Attributes:
        depth: how many further steps the sophisticated search looks ahead, 0 for none (Friston et al. 2021). Needs policies of
            one step. The search never looks beyond the end of the trial, if the agent knows when that is.
        gains: which information gains count beside expected utility, among ``"state"``, ``"param"``, ``"model"``.
        model_gain: ``"exact"``, the mutual information of model and outcome, or ``"plug-in"``, one update with expected counts
            (SPM and the paper).
        gamma: precision of the posterior over policies, > 0.
        alpha: precision of action selection: actions are drawn from softmax(alpha x (neg_efe + log E)); ``None`` picks the
            best.
        habit: whether the prior over policies counts at the ``"first"`` step of a trial (SPM) or ``"always"`` (pymdp).
        policy_cutoff: the search expands policies whose one-step posterior exceeds this share of the best one's.
        state_cutoff: ... and joint states whose factors have a marginal probability above this,
        max_states: ... at most so many, the most probable first.
        penalty: policies that are cut get the best one-step value minus this.
        novelty_cutoff: an agent whose every column has a count of at least this expects no more gain about parameters (SPM).
    """

    depth: int = 0
    gains: Sequence[str] = GAINS
    model_gain: str = "exact"
    gamma: float = 1.0
    alpha: float | None = 512.0
    habit: str = "first"
    policy_cutoff: float = 1 / 16
    state_cutoff: float = float(np.exp(-8.0))
    max_states: int = 4
    penalty: float = 512.0
    novelty_cutoff: float = 256.0

    def __post_init__(self) -> None:
        if isinstance(self.gains, str):
            raise TypeError(f"gains of Planner must be a list of names; got the single string {self.gains!r}")
        object.__setattr__(self, "gains", tuple(self.gains))
        if not isinstance(self.depth, (int, np.integer)) or isinstance(self.depth, bool) or self.depth < 0:
            raise ValueError(f"depth of Planner must be a whole number >= 0; got {self.depth!r}")
        unknown = [g for g in self.gains if g not in GAINS]
        if unknown or len(set(self.gains)) != len(self.gains):
            raise ValueError(f"gains of Planner must be different names among {list(GAINS)}; got {list(self.gains)}")
        for name, value, allowed in (
            ("model_gain", self.model_gain, ("exact", "plug-in")),
            ("habit", self.habit, ("first", "always")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} of Planner must be one of {list(allowed)}; got {value!r}")
        for name in ("gamma", "penalty", "novelty_cutoff"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} of Planner must be > 0; got {getattr(self, name)}")
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha of Planner must be > 0, or None for the best action; got {self.alpha}")
        for name in ("policy_cutoff", "state_cutoff"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} of Planner must lie in [0, 1); got {getattr(self, name)}")
        if int(self.max_states) != self.max_states or self.max_states < 1:
            raise ValueError(f"max_states of Planner must be a whole number >= 1; got {self.max_states}")

    def evaluate(self, view: View, agents: Ints, qs: Belief, t: int, model_posterior: Floats | None = None) -> Evaluation:
        """Evaluate all policies from beliefs ``qs`` (rows, S_f) at time step ``t`` of a trial."""
        model = view.model
        log_prior = model.log_policy_prior if (t == 0 or self.habit == "always") else np.zeros(len(model.policies))
        if model.policy_length == 1:
            prediction = Prediction(model, qs, model.first_controls)
            terms = self._terms(view, prediction, agents, t, model_posterior)
            value = terms.value(self.gains)
            if self.depth > 0 and (view.trial_length is None or t + 1 < view.trial_length):
                value = self._search(view, prediction, agents, t, value, log_prior, self.depth)
        else:
            terms = self._sequence_terms(view, agents, qs, t, model_posterior)
            value = terms.value(self.gains)
        return Evaluation(terms, value, softmax(self.gamma * value + log_prior), log_prior)

    def act(self, evaluation: Evaluation, uniform: Floats) -> Ints:
        """Draw a policy for each row: softmax(alpha x (neg_efe + log prior)); the first of equals if alpha is None."""
        worth = evaluation.neg_efe + evaluation.log_prior + evaluation.path_evidence
        return worth.argmax(axis=1) if self.alpha is None else sample(softmax(self.alpha * worth), uniform)

    def _terms(self, view: View, prediction: Prediction | Given, agents: Ints, t: int, model_posterior: Floats | None) -> Terms:
        return one_step_terms(
            prediction, view.tables, agents, view.preferences(t + 1), self.gains, model_posterior, self.model_gain
        )

    def _sequence_terms(self, view: View, agents: Ints, qs: Belief, t: int, model_posterior: Floats | None) -> Terms:
        """Terms of policies of several steps, summed over the steps of each policy (beliefs are predicted, never updated)."""
        model, n_policies = view.model, len(view.model.policies)
        rows = len(agents)
        belief = qs.take(np.repeat(np.arange(rows), n_policies))
        who = np.repeat(agents, n_policies)
        models = None if model_posterior is None else np.repeat(model_posterior, n_policies, axis=0)
        total = Terms(*(np.zeros((rows, n_policies)) for _ in range(4)))
        for h in range(model.policy_length):
            belief = belief.predict(dynamics_of(model), np.tile(model.policies[:, h], (rows, 1)))
            step = self._terms(view, Given(belief), who, t + h, models)
            for f in fields(Terms):
                getattr(total, f.name).__iadd__(getattr(step, f.name).reshape(rows, n_policies))
        return total

    def _search(
        self, view: View, prediction: Prediction, agents: Ints, t: int, value: Floats, log_prior: Floats, depth: int
    ) -> Floats:
        """Add to each promising policy what the best continuations are worth, over the states it may lead to."""
        worth = value + log_prior
        posterior = softmax(worth)
        kept = posterior > self.policy_cutoff * posterior.max(axis=1, keepdims=True)
        # what is cut is worth the penalty less than the best, prior included
        barrier = worth.max(axis=1, keepdims=True) - self.penalty - np.maximum(log_prior, -self.penalty)
        deep = np.where(kept, value, barrier)
        every_row, every_policy = np.nonzero(kept)
        pair, rows, policies = _promising(view, prediction.belief, every_row, every_policy)
        predicted = prediction.under(rows, policies)
        branch, weight, outcomes = self._imagine(view, agents[rows], predicted)
        beliefs, who, same = _after_outcomes(view, agents[rows], rows, predicted, branch, outcomes)
        ahead = Prediction(view.model, beliefs, view.model.first_controls)
        ahead_value = self._terms(view, ahead, who, t + 1, None).value(self.gains)
        later_prior = view.model.log_policy_prior if self.habit == "always" else np.zeros_like(log_prior)
        if depth > 1 and (view.trial_length is None or t + 2 < view.trial_length):
            ahead_value = self._search(view, ahead, who, t + 1, ahead_value, later_prior, depth - 1)
        worth = ahead_value + later_prior
        chance = softmax(worth)
        backed_up = (chance * np.where(chance > 0, worth, 0.0)).sum(axis=1)[same]
        deep[every_row, every_policy] += np.bincount(branch, weights=weight * backed_up, minlength=len(rows))[pair]
        return deep

    def _imagine(self, view: View, agents: Ints, predicted: Belief) -> tuple[Ints, Floats, list[np.ndarray]]:
        """The most probable joint states of each row, their weights, and the outcomes that each would bring."""
        model = view.model
        relevant = {f for table in view.tables for f in table.layout.deps if predicted.known[f] is None}
        # the first factor varies fastest, as in SPM, whose order decides between equally probable states
        factors = tuple(sorted(relevant, reverse=True))
        joint = predicted.joint(())
        for f in factors:
            joint = cross(joint, predicted.likely(f, self.state_cutoff), stride_a=model.num_states[f])
        row, index, weight = joint.row, joint.index, joint.weight
        if not joint.single:
            # most probable first; probabilities that differ by rounding alone are ties, broken by the order of the states.
            # Also where nothing is cut off: sums must run in the same order whoever else is in the batch
            order = np.lexsort((-np.round(weight, 12), row))
            order = order[np.arange(len(index)) - joint.start[:-1][row] < self.max_states]
            row, index, weight = row[order], index[order], weight[order]
        total = np.bincount(row, weights=weight, minlength=len(agents))
        branch = predicted.take(row)
        for f in factors[::-1]:
            branch.known[f], index = index % model.num_states[f], index // model.num_states[f]
        here = branch.joint(())
        outcomes: list[np.ndarray] = []
        for table in view.tables:
            column = columns_of(table.layout, branch, (), here)
            if isinstance(table, KnownTable) and table.certain is not None:
                outcomes.append(table.certain[column])
            else:
                column = column + agents[row] * table.n_states if table.learned else column
                outcomes.append(table.likelihood[column, :-1])
        return row, weight / total[row], outcomes


def _promising(view: View, belief: Belief, rows: Ints, policies: Ints) -> tuple[Ints, Ints, Ints]:
    """Pairs of row and policy to look into, and for every pair given the one that stands for it.

    Where nothing moves by itself and a row's agent knows all that no action sets, every policy leads to the same beliefs: one
    will do.
    """
    threshold = CERTAINTY.get(view.inference)
    kinds = dynamics_of(view.model).kind
    if threshold is None or "general" in kinds:
        return np.arange(len(rows)), rows, policies
    unset = tuple(f for f, kind in enumerate(kinds) if kind == "fixed" and belief.known[f] is None)
    certain = belief.joint(unset, threshold).count == 1
    first = np.ones(len(rows), dtype=bool)
    first[1:] = rows[1:] != rows[:-1]
    looked_into = first | ~certain[rows]
    return np.cumsum(looked_into) - 1, rows[looked_into], policies[looked_into]


def _after_outcomes(
    view: View, agents: Ints, rows: Ints, predicted: Belief, branch: Ints, outcomes: list[np.ndarray]
) -> tuple[Belief, Ints, Ints]:
    """Beliefs after the outcomes imagined in each branch; branches that see the same, or come to believe the same, become one.

    Returns:
        the distinct beliefs, the agent of each, and which of them each branch leads to.
    """
    kinds = dynamics_of(view.model).kind
    # rows share what no action sets, unless something moves by itself: then each pair of row and policy is a case of its own
    source = branch if "general" in kinds else rows[branch]
    seen: list[np.ndarray] = []
    for f, kind in enumerate(kinds):
        known = predicted.known[f]
        if kind == "set" and known is not None:
            seen.append(known[branch])
    for outcome in outcomes:
        seen += [outcome] if outcome.ndim == 1 else list(outcome.T)
    first, same = _distinct(source, seen)
    taken = branch[first]
    who = agents[taken]
    beliefs, _ = INFERENCE[view.inference](view.model, view.tables, who, predicted.take(taken), [o[first] for o in outcomes])
    # what comes after depends only on what is believed about the states that no action sets
    moved_by_others = {g for f, deps in enumerate(view.model.B_dependencies) for g in deps if g != f}  # type: ignore[arg-type]
    held: list[np.ndarray] = []
    for f, kind in enumerate(kinds):
        if kind != "set" or f in moved_by_others:
            known = beliefs.known[f]
            held += [known] if known is not None else list(beliefs[f].T)
    second, again = _distinct(who, held)
    return beliefs.take(second), who[second], again[same]


def _distinct(source: Ints, columns: list[np.ndarray]) -> tuple[Ints, Ints]:
    """First row of each set of rows with the same source and the same values in all columns, and which set each row is in."""
    mark = source.astype(np.float64)
    for k, column in enumerate(columns):
        mark = mark + column * (
            0.1 + 0.01 * np.sqrt(k + 2.0)
        )  # brings equal rows together; that they are equal is checked below
    order = np.argsort(mark, kind="stable")
    fresh = np.zeros(len(order), dtype=bool)
    fresh[0] = True
    for column in (source, *columns):
        ordered = column[order]
        fresh[1:] |= ordered[1:] != ordered[:-1]
    same = np.empty(len(order), dtype=np.intp)
    same[order] = np.cumsum(fresh) - 1
    return order[fresh], same
