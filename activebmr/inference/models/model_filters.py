"""One exact filter per hypothesis, in the components that hypotheses speak about; one for all in the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from activebmr import checks
from activebmr.arrays import Bools, Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.exact import Exact
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.bank import ModelBelief
from activebmr.inference.models.claims import Claims
from activebmr.inference.smoothing import moved_log
from activebmr.model.components import Component, components_of
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.pomdp import POMDP

__all__ = ["ModelFilters", "log_normalised"]

_CERTAIN = 1e-12  # doubt about a state that cannot matter to counts


class ModelFilters:
    """How beliefs about M hypotheses and states move and learn from outcomes.

    Attributes:
        claims: per modality what hypotheses claim about it; ``at``: its component.
        touched: per component whether hypotheses speak about one of its modalities.
        traced: whether states move where they do, so that a trial has to be looked back at.
    """

    def __init__(self, model: POMDP, space: HypothesisSpace, offset: float, rate: float | Floats, exact: Exact) -> None:
        self._rate, self._exact = rate, exact
        self.components = components_of(model)
        self.claims: dict[int, Claims] = {}
        self.at: dict[int, int] = {}
        for i, c in enumerate(self.components):
            for m in c.modalities:
                if m in space.tables:
                    self.claims[m], self.at[m] = Claims(c, m, space.tables[m], offset), i
        self.touched = [any(m in self.claims for m in c.modalities) for c in self.components]
        self.traced = any(t and not c.motion.still for t, c in zip(self.touched, self.components, strict=True))

    def predict(self, belief: ModelBelief, controls: Ints) -> ModelBelief:
        """Beliefs one step later under controls ``(n_agents, n_factors)``."""
        known, log = [], []
        for i, c in enumerate(self.components):
            here = belief.known[i]
            known.append(c.known_next[c.known_code(controls), here] if c.known else here)
            if c.motion.still:
                log.append(belief.log[i])
                continue
            log.append(_moved(c, belief.log[i], c.hidden_code(controls), here))
        return replace(belief, known=known, log=log)

    def update(
        self, belief: ModelBelief, knowledge: Knowledge, outcomes: Sequence[np.ndarray]
    ) -> tuple[ModelBelief, Floats, Bools]:
        """Bayes' rule for the outcomes of all modalities: beliefs, log evidence and whether the observation was impossible
        ``(n_agents,)``.

        Where the beliefs hold it impossible, likelihoods of 0 count as e^-32: the states that it contradicts least remain.
        """
        parts = [self._log_likelihoods(i, belief, knowledge, outcomes) for i in range(len(self.components))]
        log, weights = self._added(belief, parts)
        weights, evidence = log_normalised(weights)
        impossible = evidence == -np.inf
        if impossible.any():
            bad = np.flatnonzero(impossible)
            floored = [[np.maximum(x[bad], LOG_FLOOR) for x in part] for part in parts]
            some = replace(belief, log=[x[bad] for x in belief.log], weights=belief.weights[bad])
            log_, weights_ = self._added(some, floored)
            weights[bad], evidence[bad] = log_normalised(weights_)
            for x, y in zip(log, log_, strict=True):
                if y is not None:
                    x[bad] = y
        after = replace(belief, log=log, weights=weights)
        return self._noted(after, outcomes), evidence, impossible

    def _noted(self, belief: ModelBelief, outcomes: Sequence[np.ndarray]) -> ModelBelief:
        """Evidence of the trial so far, with what is seen now: where states stay, or are certain."""
        during, certain = {}, {}
        for m, c in self.claims.items():
            known, soft = belief.known[self.at[m]], self.counted(outcomes[m], c.n_outcomes)
            if c.still or c.common:
                during[m] = c.note(belief.during[m], known, soft)
                continue
            q = np.exp(belief.log[self.at[m]])
            q = np.matmul(np.exp(belief.weights)[:, None, :], c.reading.seen(q))[:, 0]
            certain[m] = q.max(axis=1) > 1.0 - _CERTAIN
            during[m] = c.note(belief.during[m], known, soft * certain[m][:, None], q.argmax(axis=1))
        return replace(belief, during=during, certain=certain)

    def _added(self, belief: ModelBelief, parts: list[list[Floats]]) -> tuple[list[Floats], Floats]:
        """Log beliefs per component, and log weights of hypotheses, not normalised, after likelihoods."""
        weights, logs = belief.weights.copy(), []
        for i, part in enumerate(parts):
            total = belief.log[i]
            if not part:
                logs.append(total.copy())
                continue
            for x in part:
                total = total + x
            total, seen = log_normalised(total, belief.log[i])
            logs.append(total)
            weights += seen if self.touched[i] else seen[:, None]
        return logs, weights

    def _log_likelihoods(
        self, i: int, belief: ModelBelief, knowledge: Knowledge, outcomes: Sequence[np.ndarray]
    ) -> list[Floats]:
        """Log likelihoods of a component's modalities, each of a shape that goes with the component's log beliefs."""
        out, agents, known = [], np.arange(belief.rows), belief.known[i]
        for lookup in self._exact.lookups[i]:
            m = lookup.modality
            if m in self.claims:
                out.append(self._of_claims(self.claims[m], belief, knowledge, known, outcomes[m]))
                continue
            one = lookup.log_likelihood(knowledge.tables[m], agents, known, outcomes[m])
            out.append(one[:, None] if self.touched[i] else one)
        return out

    def _of_claims(self, claims: Claims, belief: ModelBelief, knowledge: Knowledge, known: Ints, outcome: np.ndarray) -> Floats:
        """Log likelihood of an outcome under every hypothesis ``(n_agents, M, n_hidden)``."""
        agents = np.arange(belief.rows)
        columns = claims.columns[claims.reading.known_of[known]]  # (rows, n)
        here = agents[:, None]
        counts = knowledge.models.counts[claims.modality]
        chance = claims.predict(counts, belief.during.get(claims.modality), here, here, columns)  # (rows, n, M, O)
        if outcome.ndim == 1:
            seen, missing = chance[agents, :, :, np.maximum(outcome, 0)], outcome < 0
        else:
            missing = ~(outcome > 0).any(axis=1)
            seen = chance[..., 0] * outcome[:, None, None, 0]
            for o in range(1, claims.n_outcomes):
                seen = seen + chance[..., o] * outcome[:, None, None, o]
        with np.errstate(divide="ignore"):
            log = np.log(seen)
        log[missing] = 0.0
        log = log.transpose(0, 2, 1)
        return log if claims.reading.n_hidden == 1 else log[:, :, claims.reading.hidden_of]

    def counted(self, outcome: np.ndarray, n_outcomes: int) -> Floats:
        """Counts that an outcome is worth ``(n_agents, O)``."""
        soft = outcome if outcome.ndim == 2 else np.eye(n_outcomes)[outcome]
        if outcome.ndim == 1:
            soft[outcome < 0] = 0.0
        if np.ndim(self._rate):
            return checks.each_agent(self._rate, len(soft), "rate of Learning")[:, None] * soft  # type: ignore[no-any-return]
        return np.asarray(self._rate * soft)

    def smoothed(self, belief: ModelBelief) -> list[ModelBelief]:
        """Beliefs about every time of the trial that ``belief`` ends, given all of it, under every hypothesis."""
        path = belief.path()
        logs = [list(belief.log)]
        for now, later in zip(path[-2::-1], path[:0:-1], strict=True):
            out = []
            for i, c in enumerate(self.components):
                if c.motion.still:
                    out.append(belief.log[i])
                    continue
                code, known = c.hidden_code(later.controls), now.known[i]  # type: ignore[arg-type]
                predicted = _moved(c, now.log[i], code, known)
                possible = predicted > -np.inf
                ratio = np.where(possible, logs[0][i] - np.where(possible, predicted, 0.0), -np.inf)
                out.append(now.log[i] + _moved(c, ratio, code, known, back=True))
            logs.insert(0, out)
        return [replace(b, log=log, weights=belief.weights, held={}) for b, log in zip(path, logs, strict=True)]


def log_normalised(log: Floats, otherwise: Floats | None = None) -> tuple[Floats, Floats]:
    """Log probabilities along the last axis, and the log of the normaliser; ``otherwise`` where nothing is possible."""
    top = log.max(axis=-1)
    shift = np.where(top == -np.inf, 0.0, top)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = shift + np.log(np.exp(np.ascontiguousarray(log - shift[..., None])).sum(axis=-1))
        out = log - total[..., None]
    nothing = total == -np.inf
    if otherwise is not None and nothing.any():
        out[nothing] = otherwise[nothing]
    return out, total


def _moved(c: Component, log: Floats, codes: Ints, known: Ints, back: bool = False) -> Floats:
    """Log weights ``(rows, n_hidden)`` or, per hypothesis, ``(rows, M, n_hidden)``, forward (or, transposed, backward) through
    the transitions under each row's controls.
    """
    times = log.shape[1] if log.ndim == 3 else 1
    flat = log.reshape(-1, log.shape[-1])
    weights = None if back else np.exp(flat)
    out, _ = moved_log(c, flat, np.repeat(codes, times), np.repeat(known, times), weights, back)
    return out.reshape(log.shape)
