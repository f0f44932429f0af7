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

__all__ = ["Smoothed", "moved", "moved_log", "smooth"]

_GATHERED = 2**19  # numbers of transition matrices that are gathered row by row
_FAINT = -600.0  # nats; fainter weights are moved on a scale of their own


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Beliefs about every time of a trial, given all of it.

    Attributes:
        model: whose states they are about.
        filtered: beliefs as they were at each time.
        controls: what was done in between.
        states: per time and component the probabilities of hidden joint states ``(rows, n_hidden)``.
        ratios: per transition and component the log of what later outcomes say for each next state ``(rows, n_hidden)``; None
            where nothing moves.
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
        log, ratio = self.filtered[t].log[component], self.ratios[t][component]
        if ratio is None:
            return np.asarray(self.states[t][component][:, :, None] * np.eye(c.n_hidden))
        code, known = c.hidden_code(self.controls[t]), self.filtered[t].known[component]
        matrices = np.stack([c.motion.matrix(int(u), int(k)) for u, k in zip(code, known, strict=True)])
        weight = ratio[:, :, None] + log[:, None, :]
        return np.asarray(matrices * np.exp(np.where(matrices > 0, weight, -np.inf)))

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
            predicted, _ = moved_log(c, filtered[t].log[i], code, known, filtered[t].q(i))
            with np.errstate(divide="ignore"):
                later = np.log(states[0][i])
            possible = predicted > -np.inf
            later = np.where(possible, later - np.where(possible, predicted, 0.0), -np.inf)
            said, _ = moved_log(c, later, code, known, back=True)
            now.append(np.exp(filtered[t].log[i] + said))
            ratio.append(later)
        states.insert(0, now)
        ratios.insert(0, ratio)
    return Smoothed(model, list(filtered), list(controls), states, ratios)


def moved_log(
    c: Component, log: Floats, codes: Ints, known: Ints, q: Floats | None = None, back: bool = False
) -> tuple[Floats, Floats | None]:
    """Logs of what `moved` makes of weights whose logs are given ``(rows, n_hidden)``; and, if the weights are given too, what
    it makes of them.

    Nothing is lost that is too faint, or too large, for a number of its own: many outcomes may speak against a state by a
    thousand nats, and as many for it later.
    """
    if q is not None and _nothing_is_faint(log):
        after = moved(c, q, codes, known, back)
        with np.errstate(divide="ignore"):
            return np.log(after), after
    top = np.zeros((len(log), 1)) if q is not None else np.maximum(log.max(axis=1, keepdims=True), 0.0)
    faint = (log < top + _FAINT) & (log > -np.inf)
    weight = np.exp(log - top) if q is None else q
    lost = bool(faint.any())
    after = moved(c, np.where(faint, 0.0, weight) if lost else weight, codes, known, back)
    with np.errstate(divide="ignore"):
        out = np.log(after) if q is not None else np.log(after) + top
    while lost:
        rows = np.flatnonzero(faint.any(axis=1))
        rest = np.where(faint[rows], log[rows], -np.inf)
        top = rest.max(axis=1, keepdims=True)
        fainter = (rest < top + _FAINT) & (rest > -np.inf)
        more, _ = moved_log(c, np.where(fainter, -np.inf, rest - top), codes[rows], known[rows], back=back)
        out[rows] = np.logaddexp(out[rows], more + top)
        faint[rows] = fainter
        lost = bool(fainter.any())
    return out, None if q is None else after


def _nothing_is_faint(log: Floats) -> bool:
    """Whether all weights are numbers of their own, or 0."""
    least = np.minimum.reduce(log, axis=None, initial=np.inf)
    return bool(least >= _FAINT or (least == -np.inf and np.count_nonzero(log < _FAINT) == np.count_nonzero(log == -np.inf)))


def moved(c: Component, q: Floats, codes: Ints, known: Ints, back: bool) -> Floats:
    """Forward (or, transposed, backward) through the transitions under each row's controls."""
    key = codes * c.n_known + known if c.motion.by_known else codes
    stacked = None if back else c.motion.stacked(c.hidden_codes)
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
