"""Planning for agents that reason about hypotheses and states together: exact gains about both, and a search over outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import xlogy

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.reasoner import Expectations, JointReasoner
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.models.shared import Thoughts
from activebmr.inference.tables import CountTable
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.joint import JointPlanning
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.search import Search
from activebmr.planning.settings import gamma_of, log_prior, steps_left

__all__ = ["Prospects", "ReasonedPlanning"]

_FLOOR = float(np.exp(LOG_FLOOR))


class Prospects:
    """What policies promise to joint beliefs ``(rows, B, M)`` about states and hypotheses."""

    def __init__(self, reasoner: JointReasoner) -> None:
        self.reasoner = reasoner

    def terms(
        self, joint: Floats, expected: Expectations, log_preferences: Sequence[Floats], novelty: Floats | None = None
    ) -> Terms:
        """Utility and exact gains of all policies. ``state`` is I(S; O), ``model`` is I(M; O | S): their sum is I(M, S; O).

        ``param`` is the expectation of the information gain W of single columns, if given as ``novelty`` (rows, columns,
        outcomes).
        """
        rows, n_policies = len(joint), len(self.reasoner.model.policies)
        terms = Terms(*(np.zeros((rows, n_policies)) for _ in range(4)))
        for move in range(max(1, len(self.reasoner.moves))):
            policies = np.flatnonzero(self.reasoner.policy_move == move)
            after = np.matmul(self.reasoner.transitions[move], joint) if self.reasoner.transitions else joint
            foreseen, states, ambiguity = self._foreseen(after, expected)
            state, model = self._information(foreseen, states, ambiguity)
            utility = self._utility(foreseen, states, log_preferences)
            at = self.reasoner.policy_set[policies]
            if novelty is not None:
                param = (foreseen * novelty[:, self.reasoner.columns[self.reasoner.modality]]).sum(axis=(1, 3))
                terms.param[:, policies] = param[:, at]
            terms.state[:, policies], terms.model[:, policies] = state[:, at], model[:, at]
            terms.utility[:, policies] = utility[:, at]
        return terms

    def _foreseen(self, joint: Floats, expected: Expectations) -> tuple[Floats, Floats, Floats]:
        """P(b, o) for every set state ``(rows, B, T, O)``, P(b) ``(rows, B)``, and E[H[O | m, s]] ``(rows, T)`` of the
        modality.
        """
        states = joint.sum(axis=2)
        shape = expected.chance[0].shape
        foreseen, ambiguity = np.empty(shape), np.empty((shape[0], shape[2]))
        for c, (first, *rest) in enumerate(self.reasoner.present):
            at = np.flatnonzero(self.reasoner.class_of_set == c)
            share = {k: (joint * self.reasoner.has[c][k]).sum(axis=2) for k in rest}
            base = states
            for k in rest:
                base = base - share[k]
            share[first] = np.maximum(base, 0.0)
            part, doubt = 0.0, 0.0
            for k, g in share.items():
                part = part + g[:, :, None, None] * expected.chance[k][:, :, at]
                doubt = doubt + (g[:, :, None] * expected.entropy[k][:, :, at]).sum(axis=1)
            foreseen[:, :, at], ambiguity[:, at] = part, doubt
        return foreseen, states, ambiguity

    def _information(self, foreseen: Floats, states: Floats, ambiguity: Floats) -> tuple[Floats, Floats]:
        """I(S; O) and I(M; O | S) for every set state ``(rows, T)``."""
        others_entropy = np.matmul(states[:, None, :], self.reasoner.others_entropy)[:, 0]
        if self.reasoner.others is not None:
            # outcomes of all modalities together: (rows, T, O, others)
            together = np.matmul(foreseen.transpose(0, 2, 3, 1), self.reasoner.others)
            surprise = -(together * np.log(np.maximum(together, _FLOOR))).sum(axis=(2, 3))
        else:
            surprise = -xlogy(foreseen.sum(axis=1), foreseen.sum(axis=1)).sum(axis=2)
            for chance in self.reasoner.apart:
                seen = np.matmul(states[:, None, None, :], chance)[:, :, 0]
                surprise = surprise - xlogy(seen, seen).sum(axis=2)
        given = np.maximum(states, 1e-300)[:, :, None, None]
        by_state = -(foreseen * np.log(np.maximum(foreseen / given, _FLOOR))).sum(axis=(1, 3))
        state_gain = np.maximum(surprise - by_state - others_entropy, 0.0)
        model_gain = np.maximum(by_state - ambiguity, 0.0)
        return state_gain, model_gain

    def _utility(self, foreseen: Floats, states: Floats, log_preferences: Sequence[Floats]) -> Floats:
        """Expected log preference of the outcomes of all modalities for every set state ``(rows, T)``."""
        utility = np.zeros((len(states), self.reasoner.n_set))
        for m, c in enumerate(log_preferences):
            if not (c != c[0]).any():
                utility += c[0]
            elif m == self.reasoner.modality:
                utility += (foreseen.sum(axis=1) * c).sum(axis=2)
            else:
                worth = (self.reasoner._kept[m] * c).sum(axis=1)[self.reasoner.columns[m]]
                utility += np.matmul(states[:, None, :], worth)[:, 0]
        return utility

    def branches(
        self, joint: Floats, expected: Expectations, policies: Ints, cutoff: float
    ) -> tuple[tuple[Floats, Expectations], Ints, Floats]:
        """Beliefs after each row's policy and each outcome that it may show, the row of each, and its probability."""
        r = self.reasoner
        if r.transitions:
            joint = np.matmul(np.stack(r.transitions)[r.policy_move[policies]], joint)
        placed, rows = r.policy_set[policies], np.arange(len(joint))
        foreseen = self._foreseen(joint, expected)[0][rows, :, placed]  # (rows, B, O)
        chance = np.matmul(foreseen.transpose(0, 2, 1), r.others[placed])  # (rows, O, others)
        likeliest = chance.reshape(len(chance), -1).max(axis=1)[:, None, None]
        row, outcome, other = np.nonzero(chance > np.minimum(cutoff, 0.5 * likeliest))
        after = joint[row] * r.others[placed[row], :, other][:, :, None]
        after = r._weigh(after, placed[row], [c[row, :, placed[row], outcome] for c in expected.chance])
        after /= after.reshape(len(after), -1).sum(axis=1)[:, None, None]
        later = expected.take(row)
        r.experience(later, placed[row], outcome)
        weight = chance[row, outcome, other]
        total = np.bincount(row, weights=weight, minlength=len(joint))
        return (after, later), row, weight / total[row]


class ReasonedPlanning:
    """See `activebmr.planning.protocol.Planning`; beliefs are `Thoughts`.

    Until an agent has adopted a hypothesis it looks ahead by ``Reasoning.lookahead``, and by the best of what may follow;
    afterwards it plans as ``acting`` does.

    Raises:
        ValueError: if it is to look ahead over more joint outcomes than can be listed.
    """

    def __init__(
        self,
        reasoner: JointReasoner,
        planner: Planner,
        settings: Reasoning,
        preferences: Preferences,
        trial_length: int | None,
        acting: JointPlanning,
    ) -> None:
        if preferences.differ:
            raise ValueError("preferences of each agent are not known to agents that reason about hypotheses")
        if settings.lookahead and reasoner.others is None:
            raise ValueError(
                "lookahead of Reasoning must be 0 for this model: its modalities have too many joint outcomes to branch over"
            )
        self._prospects, self._planner, self._settings = Prospects(reasoner), planner, settings
        self._preferences, self._trial_length, self._acting = preferences, trial_length, acting
        self._gains = [g for g in planner.gains if g != "param"]

    def evaluate(
        self, belief: Thoughts, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Floats | None, curious: bool
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

    def _act(self, belief: Thoughts, knowledge: Knowledge, agents: Ints, t: int, curious: bool) -> Evaluation:
        rows = np.searchsorted(belief.actors, agents)
        mine = belief.acting if len(rows) == len(belief.actors) else belief.acting.take(rows)
        return self._acting.evaluate_rows(mine, knowledge, agents, t, curious)

    def _think(self, belief: Thoughts, knowledge: Knowledge, agents: Ints, t: int, curious: bool) -> Evaluation:
        prospects, planner, settings = self._prospects, self._planner, self._settings
        prior = log_prior(prospects.reasoner.model, planner, t)
        left = steps_left(planner, self._trial_length, t)
        rows = np.searchsorted(belief.thinkers, agents)
        joint, expected = belief.joint, belief.expected
        if len(rows) != len(belief.thinkers):
            joint, expected = joint[rows], expected.take(rows)
        if left == 0:
            terms = Terms.zeros(len(agents), len(prospects.reasoner.model.policies))
            value = terms.value(())
        else:
            table, novelty = knowledge.tables[prospects.reasoner.modality], None
            if "param" in planner.gains and isinstance(table, CountTable):
                novelty = table.novelty.reshape(table.counts.shape)[agents]
            terms = prospects.terms(joint, expected, self._preferences.at(t + 1, curious), novelty)
            value = terms.value(planner.gains)
        depth = min(settings.lookahead, left - 1)
        if depth > 0:
            ahead = _Ahead(self, curious)
            search = Search(ahead, 1.0, "best", settings.discount, lambda t: np.zeros(1), planner.max_nodes)
            value = search.look_ahead((joint, expected), np.arange(len(agents)), t, value, depth)
        return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)


class _Ahead:
    """Foresight (`activebmr.planning.search`) of joint beliefs about states and hypotheses."""

    def __init__(self, planning: ReasonedPlanning, curious: bool) -> None:
        self._planning, self._curious = planning, curious
        r = planning._prospects.reasoner
        self.numbers = r.n_still * len(r.space) * max(1, r.model.num_outcomes[r.modality])

    def worth(self, belief: tuple[Floats, Expectations], agents: Ints, t: int) -> Floats:
        planning = self._planning
        terms = planning._prospects.terms(*belief, planning._preferences.at(t + 1, self._curious))
        return terms.value(planning._gains)

    def branches(
        self, belief: tuple[Floats, Expectations], agents: Ints, rows: Ints, policies: Ints
    ) -> tuple[tuple[Floats, Expectations], Ints, Floats]:
        planning = self._planning
        return planning._prospects.branches(belief[0][rows], belief[1].take(rows), policies, planning._settings.outcome_cutoff)

    def distinct(self, belief: Any, source: Ints) -> tuple[Ints, Ints]:
        return np.arange(len(source)), np.arange(len(source))

    def take(self, belief: tuple[Floats, Expectations], rows: Ints) -> tuple[Floats, Expectations]:
        return belief[0][rows], belief[1].take(rows)
