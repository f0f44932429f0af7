"""What policies promise to joint beliefs about states and hypotheses that share one evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import xlogy

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.reasoner import Expectations, JointReasoner
from activebmr.inference.models.shared import Thoughts
from activebmr.inference.tables import CountTable
from activebmr.planning.evaluation import Terms
from activebmr.planning.joint.supports import by_support
from activebmr.planning.models.bundles import plogp

__all__ = ["ImaginedThoughts", "Prospects", "SharedProspects"]

_FLOOR = float(np.exp(LOG_FLOOR))


class Prospects:
    """What policies promise to joint beliefs ``(rows, B, M)`` about states and hypotheses.

    Args:
        reasoner: whose beliefs they are.
        together: whether all modalities of an observation inform together, or each by itself.
    """

    def __init__(self, reasoner: JointReasoner, together: bool = True) -> None:
        self.reasoner = reasoner
        self._others = reasoner.others if together else None
        entropy = reasoner.others_entropy.T  # (T, B)
        self._entropy = np.ascontiguousarray(entropy) if (entropy != 0.0).any() else None
        self._classes = [np.flatnonzero(reasoner.class_of_set == c) for c in range(len(reasoner.present))]
        # where the set states of a class stand among those in which a column occurs
        self.places = [
            {k: reasoner.slot_of[k][placed] for k in present}
            for present, placed in zip(reasoner.present, self._classes, strict=True)
        ]

    def terms(
        self, joint: Floats, expected: Expectations, log_preferences: Sequence[Floats], novelty: Floats | None = None
    ) -> Terms:
        """Utility and exact gains of all policies. ``state`` is I(S; O), ``model`` is I(M; O | S): their sum is I(M, S; O).

        ``param`` is the expectation of the information gain W of single columns, if given as ``novelty`` (rows, columns,
        outcomes).
        """
        r = self.reasoner
        out = Terms.zeros(len(joint), len(r.model.policies))
        for move in range(max(1, len(r.moves))):
            policies = np.flatnonzero(r.policy_move == move)
            at = r.policy_set[policies]
            after = np.matmul(r.transitions[move], joint) if r.transitions else joint
            states = after.sum(axis=2)
            for rows, index in by_support(states):
                some = slice(None) if rows is None else rows
                part = _Part(self, after[some], states[some], expected, rows, index)
                into = np.ix_(np.arange(len(joint)) if rows is None else rows, policies)
                state, model = part.information()
                out.state[into], out.model[into] = state[:, at], model[:, at]
                out.utility[into] = part.utility(log_preferences)[:, at]
                if novelty is not None:
                    out.param[into] = part.novelty(novelty[some])[:, at]
        return out

    def branches(
        self, joint: Floats, expected: Expectations, policies: Ints, cutoff: float
    ) -> tuple[tuple[Floats, Expectations], Ints, Floats]:
        """Beliefs after each row's policy and each outcome that it may show, the row of each, and its probability."""
        r = self.reasoner
        if r.others is None:
            raise ValueError("modalities have too many joint outcomes to branch over")
        if r.transitions:
            joint = np.matmul(np.stack(r.transitions)[r.policy_move[policies]], joint)
        placed, rows = r.policy_set[policies], np.arange(len(joint))
        foreseen = _Part(self, joint, joint.sum(axis=2), expected, None, None).foreseen[rows, :, placed]  # (rows, B, O)
        chance = np.matmul(foreseen.transpose(0, 2, 1), r.others[placed])  # (rows, O, others)
        likeliest = chance.reshape(len(chance), -1).max(axis=1)[:, None, None]
        row, outcome, other = np.nonzero(chance > np.minimum(cutoff, 0.5 * likeliest))
        after = joint[row] * r.others[placed[row], :, other][:, :, None]
        after = r.weigh(
            after,
            placed[row],
            [c[row, :, slot[placed[row]], outcome] for c, slot in zip(expected.chance, r.slot_of, strict=True)],
        )
        after /= after.reshape(len(after), -1).sum(axis=1)[:, None, None]
        later = expected.take(row)
        r.experience(later, placed[row], outcome)
        weight = chance[row, outcome, other]
        total = np.bincount(row, weights=weight, minlength=len(joint))
        return (after, later), row, weight / total[row]


class _Part:
    """Rows that hold equally many states possible: w of the B.

    Attributes:
        foreseen: P(b, o) of the modality in question for every set state ``(rows, w, T, O)``.
        ambiguity: its expected entropy, given states and hypothesis ``(rows, T)``.
    """

    def __init__(
        self,
        prospects: Prospects,
        joint: Floats,
        states: Floats,
        expected: Expectations,
        rows: Ints | None,
        index: Ints | None,
    ) -> None:
        self._of, self._index = prospects, index
        if index is None:
            at: Any = slice(None) if rows is None else rows
        else:
            here = np.arange(len(joint))[:, None]
            joint, states = joint[here, index], states[here, index]
            at = (here if rows is None else rows[:, None], index)
        self.states = states
        r = prospects.reasoner
        n_outcomes = expected.chance[0].shape[3]
        self.foreseen = np.empty((*states.shape, r.n_set, n_outcomes))
        self.ambiguity = np.empty((len(states), r.n_set))
        share = self._shares(joint)
        chance, entropy = [c[at] for c in expected.chance], [h[at] for h in expected.entropy]
        for c, placed in enumerate(prospects._classes):
            part: Any = 0.0
            doubt: Any = 0.0
            for k, g in share[c].items():
                slots = prospects.places[c][k]
                part = part + g[:, :, None, None] * chance[k].take(slots, axis=2)
                # contiguous, so that products run in the same order whatever the number of rows
                doubt = doubt + np.matmul(g[:, None, :], entropy[k].take(slots, axis=2))[:, 0]
            self.foreseen[:, :, placed], self.ambiguity[:, placed] = part, doubt

    def _shares(self, joint: Floats) -> list[dict[int, Floats]]:
        """Per class of set states the probability of states and each distinct column ``(rows, w)``."""
        r = self._of.reasoner
        out = []
        for (first, *rest), has in zip(r.present, r.has, strict=True):
            share = {}
            base = self.states
            for k in rest:
                member = has[k] if self._index is None else has[k][self._index]
                share[k] = np.matmul(joint[:, :, None, :], member[..., None])[..., 0, 0]
                base = base - share[k]
            share[first] = np.maximum(base, 0.0)
            out.append(share)
        return out

    def _of_states(self, table: Floats) -> Floats:
        """What ``(T, B, ...)`` says of the states in question: ``(T, w, ...)`` or ``(rows, T, w, ...)``."""
        if self._index is None:
            return table
        return np.moveaxis(table[:, self._index], 1, 0)

    def information(self) -> tuple[Floats, Floats]:
        """I(S; O) and I(M; O | S) for every set state ``(rows, T)``."""
        foreseen, states, of = self.foreseen, self.states, self._of
        if of._others is not None:
            # outcomes of all modalities together: (rows, T, O, others)
            others = self._of_states(of._others)
            together = np.matmul(np.ascontiguousarray(foreseen.transpose(0, 2, 3, 1)), others)
            surprise = -plogp(together.reshape(*together.shape[:2], -1))
        else:
            seen = foreseen.sum(axis=1)
            surprise = -xlogy(seen, seen).sum(axis=2)
            for chance in of.reasoner.apart:
                seen = np.matmul(states[:, None, None, :], self._of_states(chance))[:, :, 0]
                surprise = surprise - xlogy(seen, seen).sum(axis=2)
        # -sum P(b, o) log P(o | b)
        given = -plogp(foreseen) + xlogy(states, states)[:, :, None]
        by_state = given.sum(axis=1)
        known = 0.0
        if of._entropy is not None:
            known = np.matmul(self._of_states(of._entropy)[..., None, :], states[:, None, :, None])[..., 0, 0]
        state_gain = np.maximum(surprise - by_state - known, 0.0)
        model_gain = np.maximum(by_state - self.ambiguity, 0.0)
        return state_gain, model_gain

    def utility(self, log_preferences: Sequence[Floats]) -> Floats:
        """Expected log preference of the outcomes of all modalities for every set state ``(rows, T)``."""
        r = self._of.reasoner
        utility = np.zeros((len(self.states), r.n_set))
        for m, c in enumerate(log_preferences):
            if not (c != c[0]).any():
                utility += c[0]
            elif m == r.modality:
                seen = self.foreseen.sum(axis=1)
                utility += (seen * np.where(seen > 0, c, 0.0)).sum(axis=2)
            else:
                chance = r.kept[m]
                worth = (chance * np.where(chance > 0, c, 0.0)).sum(axis=1)[r.columns[m]].T  # (T, B)
                given = self._of_states(np.ascontiguousarray(worth))
                states = self.states[:, None, :]
                utility += (np.where(states > 0, given, 0.0) * states).sum(axis=2)
        return utility

    def novelty(self, novelty: Floats) -> Floats:
        """Expected information gain of single columns for every set state ``(rows, T)``."""
        columns = self._of.reasoner.columns[self._of.reasoner.modality]
        if self._index is None:
            gain = novelty[:, columns]
        else:
            gain = novelty[np.arange(len(novelty))[:, None, None], columns[self._index]]
        return np.asarray((self.foreseen * gain).sum(axis=(1, 3)))


class SharedProspects:
    """See `activebmr.planning.models.planning.Thinking`; beliefs are `Thoughts`."""

    single = True

    def __init__(self, reasoner: JointReasoner, together: bool) -> None:
        self.prospects = Prospects(reasoner, together)
        self.can_branch = reasoner.others is not None

    def imagined(self, belief: Thoughts, agents: Ints) -> tuple[Floats, Expectations]:
        rows = np.searchsorted(belief.thinkers, agents)
        if len(rows) == len(belief.thinkers):
            return belief.joint, belief.expected
        return belief.joint[rows], belief.expected.take(rows)

    def terms(
        self,
        now: tuple[Floats, Expectations],
        knowledge: Knowledge,
        agents: Ints,
        wanted: Sequence[Sequence[Floats]],
        novel: bool,
    ) -> Terms:
        table, novelty = knowledge.tables[self.prospects.reasoner.modality], None
        if novel and isinstance(table, CountTable):
            novelty = table.novelty.reshape(table.counts.shape)[agents]
        return self.prospects.terms(*now, wanted[0], novelty)

    def ahead(
        self, knowledge: Knowledge, wanted: Callable[[int, Ints], Sequence[Floats]], gains: Sequence[str], cutoff: float
    ) -> ImaginedThoughts:
        return ImaginedThoughts(self.prospects, lambda t: wanted(t, np.zeros(0, dtype=np.intp)), gains, cutoff)


class ImaginedThoughts:
    """Foresight (`activebmr.planning.search`) of joint beliefs about states and hypotheses.

    Args:
        prospects: what they promise.
        wanted: log preferences of the outcomes of a time.
        gains: which gains count.
        cutoff: outcomes less probable than this are not looked into.
    """

    def __init__(
        self, prospects: Prospects, wanted: Callable[[int], Sequence[Floats]], gains: Sequence[str], cutoff: float
    ) -> None:
        self._prospects, self._wanted, self._gains, self._cutoff = prospects, wanted, gains, cutoff
        r = prospects.reasoner
        self.numbers = r.n_still * len(r.space) * max(1, r.model.num_outcomes[r.modality])

    def worth(self, belief: tuple[Floats, Expectations], agents: Ints, t: int) -> Floats:
        return self._prospects.terms(*belief, self._wanted(t + 1)).value(self._gains)

    def branches(
        self, belief: tuple[Floats, Expectations], agents: Ints, rows: Ints, policies: Ints
    ) -> tuple[tuple[Floats, Expectations], Ints, Floats]:
        return self._prospects.branches(belief[0][rows], belief[1].take(rows), policies, self._cutoff)

    def distinct(self, belief: Any, source: Ints) -> tuple[Ints, Ints]:
        return np.arange(len(source)), np.arange(len(source))

    def take(self, belief: tuple[Floats, Expectations], rows: Ints) -> tuple[Floats, Expectations]:
        return belief[0][rows], belief[1].take(rows)
