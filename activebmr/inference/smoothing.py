"""Beliefs about every time of a trial given all of it, pairs of successive states included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.joint_belief import JointBelief
from activebmr.inference.marginals import Marginals
from activebmr.model.components import Component, components_of
from activebmr.model.pomdp import POMDP

__all__ = ["Smoothed", "moved", "smooth"]

_GATHERED = 2**19  # numbers of transition matrices that are gathered row by row


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Beliefs about every time of a trial, given all of it.

    Attributes:
        model: whose states they are about.
        filtered: beliefs as they were at each time.
        controls: what was done in between.
        states: per time and component the probabilities of hidden joint states ``(rows, n_hidden)``.
        ratios: per transition and component what later outcomes say for each next state ``(rows, n_hidden)``; None where
            nothing moves.
    """

    model: POMDP
    filtered: list[JointBelief]
    controls: list[Ints]
    states: list[list[Floats]]
    ratios: list[list[Floats | None]]

    def at(self, t: int) -> JointBelief:
        """Beliefs about time t."""
        with np.errstate(divide="ignore"):
            return JointBelief(self.filtered[t].known, [np.log(q) for q in self.states[t]], self.states[t])

    def qs(self, t: int) -> Marginals:
        """Marginals of every factor at time t, per factor ``(rows, S_f)``."""
        return Marginals(components_of(self.model), self.at(t))

    def pairs(self, t: int, component: int) -> Floats:
        """Probability of each pair of hidden joint states of a component at times t + 1 and t ``(rows, next, now)``."""
        c = components_of(self.model)[component]
        q, ratio = self.filtered[t].q(component), self.ratios[t][component]
        if ratio is None:
            return np.asarray(self.states[t][component][:, :, None] * np.eye(c.n_hidden))
        code, known = c.hidden_code(self.controls[t]), self.filtered[t].known[component]
        matrices = np.stack([c.motion.matrix(int(u), int(k)) for u, k in zip(code, known, strict=True)])
        return np.asarray(matrices * ratio[:, :, None] * q[:, None, :])

    def pair(self, t: int, factor: int) -> Floats:
        """Probability of a factor's next state together with its parents' states ``(rows, S_f, S_d0, ...)``, the axes after
        the first as in ``B_dependencies[factor]``.
        """
        model, components = self.model, components_of(self.model)
        i = next(i for i, c in enumerate(components) if factor in c.factors)
        c = components[i]
        joint, rows = self.pairs(t, i), len(self.controls[t])
        deps: Sequence[int] = model.B_dependencies[factor]  # type: ignore[assignment]
        out = np.zeros((rows, model.num_states[factor], *(model.num_states[d] for d in deps)))
        after, before = self.filtered[t + 1].known[i], self.filtered[t].known[i]
        hidden = np.indices(c.hidden_sizes).reshape(len(c.hidden), c.n_hidden)
        new, old = np.nonzero(np.ones((c.n_hidden, c.n_hidden)))

        def state(f: int, known: Ints, which: Ints) -> Ints:
            if f in c.hidden:
                return np.broadcast_to(hidden[c.hidden.index(f)][which], (rows, len(which)))
            return np.broadcast_to(c.states_of(known)[c.known.index(f)][:, None], (rows, len(which)))

        index = (np.arange(rows)[:, None], state(factor, after, new), *(state(d, before, old) for d in deps))
        np.add.at(out, index, joint.reshape(rows, -1))
        return out


def smooth(model: POMDP, filtered: Sequence[JointBelief], controls: Sequence[Ints]) -> Smoothed:
    """Beliefs about every time of a trial given all of it.

    Args:
        model: gives the transitions.
        filtered: beliefs after each outcome.
        controls: what was done between them ``(rows, n_factors)``, one fewer.
    """
    components, n, last = components_of(model), len(filtered), filtered[-1]
    states: list[list[Floats]] = [[last.q(i) for i in range(len(components))]]
    ratios: list[list[Floats | None]] = []
    for t in range(n - 2, -1, -1):
        now, ratio = [], []
        for i, c in enumerate(components):
            if c.motion.still:
                now.append(states[0][i])
                ratio.append(None)
                continue
            code, known = c.hidden_code(controls[t]), filtered[t].known[i]
            predicted = moved(c, filtered[t].q(i), code, known)
            later = np.divide(states[0][i], predicted, out=np.zeros_like(predicted), where=predicted > 0)
            now.append(filtered[t].q(i) * moved(c, later, code, known, back=True))
            ratio.append(later)
        states.insert(0, now)
        ratios.insert(0, ratio)
    return Smoothed(model, list(filtered), list(controls), states, ratios)


def moved(c: Component, q: Floats, codes: Ints, known: Ints, back: bool = False) -> Floats:
    """Forward (or, transposed, backward) through the transitions under each row's controls."""
    key = codes * c.n_known + known if c.motion.by_known else codes
    stacked = None if back else c.motion.stacked(tuple(range(int(np.prod(c.hidden_controls, dtype=float)))))
    if stacked is not None and len(q) * stacked[0].size <= _GATHERED:
        return np.asarray(np.matmul(q[:, None], stacked[codes])[:, 0])
    step = c.motion.backward if back else c.motion.forward
    kinds = np.unique(key) if len(key) > 1 else key
    if len(kinds) == 1:
        return step(q[:, None], int(codes[0]), int(known[0]))[:, 0]
    out = np.empty_like(q)
    for kind in kinds:
        rows = np.flatnonzero(key == kind)
        out[rows] = step(q[rows][:, None], int(codes[rows[0]]), int(known[rows[0]]))[:, 0]
    return out
