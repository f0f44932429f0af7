"""`AlongMoves`: filtering of states, and of the paths that they took, and what is believed of a trial that is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from activebmr.arrays import Floats, Ints, softmax
from activebmr.counts import safe_log
from activebmr.inference.beliefs import Belief
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.looking_up import columns_of, unknown_factors
from activebmr.inference.protocol import recalled
from activebmr.inference.sequential import infer_sequential
from activebmr.inference.spm.backwards import Trial, smooth
from activebmr.inference.spm.motion import Motion, bilinear, carried, check_motion, inferred_factors
from activebmr.model.layout import layouts_of
from activebmr.model.naming import Key, Table, key_of
from activebmr.model.pomdp import POMDP

__all__ = ["AlongMoves", "MoveBelief"]

_KNOWN = 512.0  # counts per column that SPM's backwards pass gives to what is known


@dataclass(frozen=True, eq=False)
class MoveBelief:
    """What is believed after an outcome.

    Attributes:
        now: marginals of every factor's states.
        before: the same after the outcome before, which is not revised; None at the first.
        path: per factor what is believed about the path from the outcome before to this one ``(n_agents, U_f)``; at the first
            outcome, about the one to come.
        begun: counts that the trial began with, by table; what is known has `_KNOWN` counts a column.
        path_evidence: what the inference of paths adds to the log evidence of the outcome ``(n_agents,)``, nats (SPM's Z).
    """

    now: Belief
    before: Belief | None
    path: list[Floats]
    begun: Mapping[Key, Floats]
    path_evidence: Floats

    def copy(self) -> MoveBelief:
        return self


class AlongMoves:
    """See `activebmr.inference.protocol.Believing`.

    Args:
        model: factors must move by themselves, policies have one step. A factor whose control all policies leave at the same
            number is moved by nobody: its path is inferred, whatever agents are said to have done to it.

    Raises:
        ValueError: if the model does not fit.
    """

    at_once, in_hindsight = True, False

    def __init__(self, model: POMDP) -> None:
        check_motion(model)
        self.model, self.inferred = model, inferred_factors(model)

    def begin(self, knowledge: Knowledge) -> MoveBelief:
        motion, factors = Motion(self.model, knowledge), range(self.model.num_factors)
        now = Belief([motion.initial(f) for f in factors])
        counts = {key: knowledge.counted(key).tensor().copy() for key in map(key_of, self.model.learned)}
        return MoveBelief(now, None, [motion.paths(f) for f in factors], counts, np.zeros(knowledge.n_agents))

    def perceive(
        self, belief: MoveBelief, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]
    ) -> Percept:
        """Filter states and then paths.

        The path to this outcome is taken to be what was done or, of factors that nobody controls, what it was before; what the
        outcome says about it is considered once states have been filtered.
        """
        model, motion, everyone = self.model, Motion(self.model, knowledge), np.arange(knowledge.n_agents)
        if controls is None:
            now, evidence, floored = infer_sequential(model, knowledge.tables, everyone, belief.now, outcomes)
            return Percept(replace(belief, now=now), evidence, floored)
        prior = [belief.path[f] if f in self.inferred else np.eye(n)[controls[:, f]] for f, n in enumerate(model.num_controls)]
        predicted = Belief([carried(motion.transitions(f), q, prior[f]) for f, q in enumerate(belief.now)])
        now, evidence, floored = infer_sequential(model, knowledge.tables, everyone, predicted, outcomes)
        path, gained = [], np.zeros(len(everyone))
        for f, p in enumerate(prior):
            heard = safe_log(bilinear(motion.transitions(f), now[f], belief.now[f])) + safe_log(p)
            posterior = softmax(heard)
            if p.shape[1] > 1:
                gained = gained + (posterior * (heard - safe_log(posterior))).sum(axis=1)
            path.append(posterior)
        return Percept(MoveBelief(now, belief.now, path, belief.begun, gained), evidence, floored)

    def marginals(self, belief: MoveBelief) -> Sequence[Floats]:
        return belief.now

    def places(self, belief: MoveBelief, modality: int) -> tuple[Ints, Ints, Floats]:
        layout, now = layouts_of(self.model)[modality], belief.now
        factors = unknown_factors(layout, now)
        joint = now.joint(factors)
        return joint.row, columns_of(layout, now, factors, joint), joint.weight

    def moves(self, belief: MoveBelief, factor: int, controls: Ints) -> tuple[Ints, Ints, Floats]:
        """By the product of what is believed about the state now, the state before and the path between."""
        assert belief.before is not None
        now, before, path = belief.now[factor], belief.before[factor], belief.path[factor]
        column = (before[:, :, None] * path[:, None, :]).reshape(len(now), -1)
        n, width = column.shape
        chance = (column[:, :, None] * now[:, None, :]).reshape(n * width, -1)
        return np.repeat(np.arange(n), width), np.tile(np.arange(width), n), chance

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[MoveBelief]:
        """By the backwards pass, as if counts were what the trial began with."""
        trial, moments = self.backwards(memory, knowledge), memory.moments
        out = []
        for t, moment in enumerate(moments):
            out.append(replace(moment.belief, now=Belief(trial.q[t]), path=trial.path[max(t - 1, 0)]))
        return out

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[MoveBelief]:
        return recalled(self, memory, knowledge)

    def backwards(self, memory: Memory, knowledge: Knowledge, rates: Mapping[Key, float | Floats] | None = None) -> Trial:
        """The backwards pass over a trial, see `smooth`; counts that it leads to are those after the trial."""
        model, n, moments = self.model, knowledge.n_agents, memory.moments
        begun, factors = moments[0].belief.begun, range(model.num_factors)
        spread = lambda values: np.repeat(_KNOWN * values[None], n, axis=0)  # noqa: E731
        held = lambda kind, i, values: begun.get(key_of(Table(kind, i)), spread(values))  # noqa: E731
        mean = lambda counts: counts / counts.sum(axis=1, keepdims=True)  # noqa: E731
        later = [m.belief.path for m in moments[1:]]
        trial = Trial(
            outcomes=[[_shown(o, k) for o, k in zip(m.outcomes, model.num_outcomes, strict=True)] for m in moments],
            q=[list(m.belief.now) for m in moments],
            path=[list(p) for p in (*later, later[-1] if later else moments[0].belief.path)],
            a=[held("A", m, a) for m, a in enumerate(model.A)],
            b=[held("B", f, b) for f, b in enumerate(model.B)],
            d=[mean(held("D", f, model.D[f])) for f in factors],  # type: ignore[index]
            e=[mean(held("E", f, model.E[f])) for f in factors],
        )
        return smooth(model, trial, self.inferred, rates or {})


def _shown(outcome: np.ndarray, n_outcomes: int) -> Floats:
    """Outcomes as probabilities ``(n_agents, O_m)``; 0 for what was not seen."""
    if outcome.ndim == 2:
        return np.asarray(outcome, dtype=np.float64)
    return np.eye(n_outcomes)[outcome] * (outcome >= 0)[:, None]
