"""What policies do to factor marginals, one step ahead.

Policies that do the same to the factors that a modality depends on share the work for it: each modality is evaluated per
*cell*, a combination of where its set factors end (a column of its slab) and how its other controlled factors move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.beliefs import SUPPORT, Belief
from activebmr.inference.looking_up import columns_of, unknown_factors
from activebmr.model.layout import Dynamics, Layout, dynamics_of
from activebmr.model.pomdp import POMDP
from activebmr.ragged import Ragged, cross, from_marginals, repeat_rows

__all__ = ["Cells", "Given", "Prediction"]


@dataclass(eq=False)
class Cells:
    """Predicted joint states of one modality's factors, for all distinct things that policies do to them.

    Attributes:
        joint: lists with rows ``(row, movement)``: states of the factors that are not set (indices into columns / slab width).
        n_moves: distinct movements of general factors.
        n_slab: width of a slab, the number of joint states of set factors.
        cell: cell ``movement * n_slab + slab column`` of every policy ``(n_policies,)``.
    """

    joint: Ragged
    n_moves: int
    n_slab: int
    cell: Ints

    def spread(self, values: Floats) -> Floats:
        """Per-cell values ``(rows * n_moves * n_slab,)`` to policies ``(rows, n_policies)``."""
        # not values[:, cell]: that is laid out by columns, and sums over policies would then depend on the number of rows
        return np.take(values.reshape(-1, self.n_moves * self.n_slab), self.cell, axis=1)


class Prediction:
    """Predicted beliefs one step ahead under one-step policies ``(n_policies, n_factors)`` that all rows share.

    Args:
        model: the model.
        beliefs: what is believed now.
        policies: what may be done.
        dynamics: how factors move in each row; by default as the model says.
    """

    def __init__(
        self, model: POMDP, beliefs: Belief | Sequence[Floats], policies: Ints, dynamics: Dynamics | None = None
    ) -> None:
        self.model, self.policies = model, policies
        self.belief = Belief.of(beliefs)
        self.rows = self.belief.rows
        self._dynamics = dynamics_of(model) if dynamics is None else dynamics

    def take(self, rows: Ints) -> Prediction:
        """Some rows, in any order and number."""
        return Prediction(self.model, self.belief.take(rows), self.policies, self._dynamics.take(rows))

    def novelty(self) -> Floats | None:
        """What moves would tell about transitions that are learned, in nats ``(rows, n_policies)``; None where none are."""
        dynamics, now = self._dynamics, list(self.belief)
        if not dynamics.learned:
            return None
        each = (np.take(dynamics.novelty(now, f, self._after[f]), self.policies[:, f], axis=1) for f in dynamics.learned)
        return np.asarray(sum(each))

    @cached_property
    def _after(self) -> dict[int, Floats]:
        """Marginals of the general factors under each of their controls ``(rows, U_f, S_f)``."""
        kinds = self._dynamics.kind
        now = list(self.belief) if "general" in kinds else []
        return {f: self._dynamics.after(now, f) for f, kind in enumerate(kinds) if kind == "general"}

    def under(self, rows: Ints, policies: Ints) -> Belief:
        """Predicted beliefs for chosen pairs of row and policy."""
        belief, kinds = self.belief, self._dynamics.kind
        controls = self.policies[policies]
        marginals: list[Floats | None] = []
        known: list[Ints | None] = []
        for f, kind in enumerate(kinds):
            target = self._dynamics.target[f]
            state = belief.known[f]
            if kind == "set" and target is not None:
                state, q = target[controls[:, f]], None
            elif kind == "general":
                state, q = None, self._after[f][rows, controls[:, f]]
            else:
                state, q = (None, belief[f].take(rows, axis=0)) if state is None else (state[rows], None)
            marginals.append(q)
            known.append(state)
        fixed = frozenset(f for f, kind in enumerate(kinds) if kind == "fixed")
        return Belief(marginals, known, belief.sizes).repeating(belief, rows, fixed)

    def cells(self, layout: Layout) -> Cells:
        """The distinct predictions about the factors of one modality."""
        kinds = self._dynamics.kind
        fixed = tuple(f for f in layout.still if kinds[f] == "fixed")
        general = tuple(f for f in layout.still if kinds[f] == "general")
        slab = layout.policy_columns(self.policies)
        if not general:
            return Cells(self.belief.joint(fixed), 1, layout.n_slab, slab)
        moved = [f for f in general if self.model.num_controls[f] > 1]
        moves, move = np.unique(self.policies[:, moved], axis=0, return_inverse=True)
        joint = repeat_rows(self.belief.joint(()), len(moves))
        for f in layout.still:
            if kinds[f] == "fixed":
                support = repeat_rows(self.belief.support(f), len(moves))
            else:
                control = moves[:, moved.index(f)] if f in moved else np.zeros(len(moves), dtype=np.intp)
                support = from_marginals(self._after[f][:, control].reshape(-1, self.belief.sizes[f]), SUPPORT)
            joint = cross(joint, support, stride_a=self.belief.sizes[f])
        return Cells(joint, len(moves), layout.n_slab, move.reshape(-1) * layout.n_slab + slab)


class Given:
    """Beliefs that are predictions already, as those of the later steps of a policy: one nameless policy per row.

    ``moved`` is what the move that led to them would tell about transitions that are learned ``(rows, 1)``, None for nothing.
    """

    def __init__(self, belief: Belief, moved: Floats | None = None) -> None:
        self.belief, self.rows = belief, belief.rows
        self.policies = np.zeros((1, len(belief)), dtype=np.intp)
        self._moved = moved

    @classmethod
    def after(cls, belief: Belief, dynamics: Dynamics, controls: Ints) -> Given:
        """What beliefs are predicted to become under controls ``(rows, n_factors)``."""
        predicted = belief.predict(dynamics, controls)
        if not dynamics.learned:
            return cls(predicted)
        now = list(belief)
        each = (dynamics.novelty(now, f, predicted[f][:, None], controls[:, f]) for f in dynamics.learned)
        return cls(predicted, np.asarray(sum(each)))

    def take(self, rows: Ints) -> Given:
        """Some rows, in any order and number."""
        return Given(self.belief.take(rows), None if self._moved is None else self._moved[rows])

    def novelty(self) -> Floats | None:
        """See `Prediction.novelty`."""
        return self._moved

    def cells(self, layout: Layout) -> Cells:
        """The prediction about the factors of one modality."""
        factors = unknown_factors(layout, self.belief)
        joint = self.belief.joint(factors)
        columns = columns_of(layout, self.belief, factors, joint)
        return Cells(Ragged(joint.start, columns, joint.weight), 1, 1, np.zeros(1, dtype=np.intp))
