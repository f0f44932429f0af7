"""`JointBelief`: what a batch believes about every component, and how that goes together with factor marginals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.beliefs import Belief
from activebmr.inference.marginals import Marginals
from activebmr.model.components import Component

__all__ = ["JointBelief", "joint_of", "marginals_of"]


class JointBelief:
    """Beliefs of a batch about every component; treat it as read-only.

    Attributes:
        known: per component the joint state of its known factors ``(rows,)``.
        log: per component log probabilities of the joint states of its hidden factors ``(rows, n_hidden)``.
    """

    __slots__ = ("_marginals", "_q", "known", "log", "rows")

    def __init__(self, known: Sequence[Ints], log: Sequence[Floats], q: Sequence[Floats | None] | None = None) -> None:
        self.known, self.log = list(known), list(log)
        self._q: list[Floats | None] = [None] * len(self.log) if q is None else list(q)
        self._marginals: Belief | None = None
        self.rows = len(self.known[0])

    def q(self, component: int) -> Floats:
        """Probabilities of the hidden joint states of a component ``(rows, n_hidden)``."""
        held = self._q[component]
        if held is None:
            held = self._q[component] = np.exp(self.log[component])
        return held

    def take(self, rows: Ints) -> JointBelief:
        """Some rows, in any order and number."""
        return JointBelief(
            [k[rows] for k in self.known], [x[rows] for x in self.log], [None if q is None else q[rows] for q in self._q]
        )

    def copy(self) -> JointBelief:
        return self


def joint_of(components: Sequence[Component], belief: Belief) -> JointBelief:
    """The joint belief in which factors are independent, with given marginals."""
    known, log, qs = [], [], []
    for c in components:
        state = np.zeros(belief.rows, dtype=np.intp)
        for f, n in zip(c.known, c.known_sizes, strict=True):
            here = belief.known[f]
            state = state * n + (belief[f].argmax(axis=1) if here is None else here)
        q = np.ones((belief.rows, 1))
        for f in c.hidden:
            q = (q[:, :, None] * belief[f][:, None, :]).reshape(belief.rows, -1)
        known.append(state)
        qs.append(q)
        with np.errstate(divide="ignore"):
            log.append(np.log(q))
    return JointBelief(known, log, qs)


def marginals_of(components: Sequence[Component], belief: JointBelief) -> Belief:
    """The factor marginals of a joint belief, worked out once."""
    if belief._marginals is not None:
        return belief._marginals
    marginals = Marginals(components, belief)
    sizes = [0] * len(marginals)
    values: list[Floats | None] = [None] * len(marginals)
    known: list[Ints | None] = [None] * len(marginals)
    for i, c in enumerate(components):
        for f, n, state in zip(c.known, c.known_sizes, c.states_of(belief.known[i]), strict=True):
            known[f], sizes[f] = state, n
        for f, n in zip(c.hidden, c.hidden_sizes, strict=True):
            values[f], sizes[f] = marginals[f], n
    belief._marginals = Belief(values, known, sizes)
    return belief._marginals
