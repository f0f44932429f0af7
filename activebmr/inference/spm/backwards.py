"""The backwards pass: beliefs about all moments, paths and counts of a trial that is over, by variational sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from activebmr.arrays import Floats, Ints, softmax
from activebmr.counts import LOG_FLOOR, safe_log
from activebmr.inference.spm.motion import bilinear
from activebmr.model.naming import Key, Table
from activebmr.model.pomdp import POMDP

__all__ = ["SWEEPS", "Trial", "smooth"]

SWEEPS = 16
_SETTLED = 1 / 128  # rise of the evidence, in nats, below which a sweep is the last


@dataclass(eq=False)
class Trial:
    """A trial that is over, agent by agent; what is believed about it is replaced sweep by sweep.

    Attributes:
        outcomes: per time and modality probabilities of outcomes ``(n, O_m)``; 0 for what was not seen.
        q: per time and factor ``(n, S_f)``.
        path: per time and factor ``(n, U_f)``: the path from this time to the next.
        a: per modality the counts that the trial began with ``(n, O_m, S_d0, ...)``.
        b: per factor the counts that the trial began with ``(n, S_f, S_f, U_f)``.
        d, e: per factor what the trial began with: probabilities of states ``(n, S_f)`` and of paths ``(n, U_f)``.
        evidence: after `smooth`, per time what SPM calls its free energy ``(n, times)``, nats.
    """

    outcomes: list[list[Floats]]
    q: list[list[Floats]]
    path: list[list[Floats]]
    a: list[Floats]
    b: list[Floats]
    d: list[Floats]
    e: list[Floats]
    evidence: Floats | None = None

    @property
    def times(self) -> int:
        return len(self.outcomes)

    def take(self, agents: Ints) -> Trial:
        """Some agents' trial."""
        pick = lambda rows: [x[agents] for x in rows]  # noqa: E731
        nested = [[pick(x) for x in part] for part in (self.outcomes, self.q, self.path)]
        return Trial(*nested, *(pick(part) for part in (self.a, self.b, self.d, self.e)))

    def put(self, agents: Ints, other: Trial) -> None:
        """Take over beliefs, counts and evidence of some agents from `other`, which is about them alone."""
        for mine, others in ((self.q, other.q), (self.path, other.path)):
            for x, y in zip(mine, others, strict=True):
                for f, value in enumerate(y):
                    x[f][agents] = value
        for mine, others in ((self.a, other.a), (self.b, other.b)):
            for f, value in enumerate(others):
                mine[f][agents] = value
        assert self.evidence is not None and other.evidence is not None
        self.evidence[agents] = other.evidence


def smooth(model: POMDP, trial: Trial, inferred: frozenset[int], rates: Mapping[Key, float | Floats]) -> Trial:
    """Beliefs about a trial given all of it, and the counts that it leads to.

    Each sweep counts, by products of what is believed so far, and then renews beliefs about each moment's states, factor by
    factor, and about paths. States hear the log of the expected likelihood, averaged over the other factors, and the expected
    log transitions from the moments before and after. As in SPM, what comes from the moment after is normalised over the state
    it left, the evidence counts the likelihood once per factor, and a controlled path takes its evidence in anew in every
    sweep. An agent's sweeps end when its evidence rises by less than 1/128 nat, or after 16.

    Args:
        model: dependencies.
        trial: what was filtered.
        inferred: factors whose path is inferred; it is the same at all times of a trial.
        rates: counts that one time adds to a table, for all agents or ``(n,)``; 1 where it is not named.

    Returns:
        the same trial with new beliefs, and counts after the trial instead of those before it.
    """
    n = len(trial.q[0][0])
    whole, awake, best = trial.take(np.arange(n)), np.arange(n), np.full(n, -np.inf)
    whole.evidence = np.zeros((n, trial.times))
    for path in whole.path:
        for f in inferred:
            path[f] = trial.path[-1][f].copy()
    for _ in range(SWEEPS):
        now, start = whole.take(awake), trial.take(awake)
        now.a, now.b = start.a, start.b
        _count(model, now, {key: np.broadcast_to(rate, n)[awake] for key, rate in rates.items()})
        _sweep(model, now, inferred)
        whole.put(awake, now)
        total = np.asarray(now.evidence).sum(axis=1)
        rises = total - best[awake] >= _SETTLED
        best[awake] = total
        awake = awake[rises]
        if not len(awake):
            break
    return whole


def _sweep(model: POMDP, trial: Trial, inferred: frozenset[int]) -> None:
    """Beliefs by the counts, one after the other; changes the trial."""
    log_b = [_expected_log(b, 1) for b in trial.b]
    back_b = [_expected_log(b, 2) for b in trial.b]
    forward = [np.ascontiguousarray(np.moveaxis(x, -1, 1)) for x in log_b]
    backward = [np.ascontiguousarray(np.moveaxis(x, -1, 1).swapaxes(2, 3)) for x in back_b]
    likelihoods = [a / a.sum(axis=1, keepdims=True) for a in trial.a]
    n, last = len(trial.q[0][0]), trial.times - 1
    evidence = np.zeros((n, trial.times))
    for t in range(trial.times):
        informed = _log_likelihoods(model, likelihoods, trial.outcomes[t])
        q = trial.q[t]
        if not informed.factors:
            evidence[:, t] = informed.log[:, 0]
        for f in informed.factors:
            heard = informed.about(f, q)
            if t == 0:
                heard = heard + safe_log(trial.d[f])
            if t < last:
                heard = heard + _message(backward[f], trial.path[t][f], trial.q[t + 1][f])
            if t > 0:
                heard = heard + _message(forward[f], trial.path[t - 1][f], trial.q[t - 1][f])
            q[f] = softmax(heard)
            evidence[:, t] += (q[f] * (heard - safe_log(q[f]))).sum(axis=1)
    for f in range(model.num_factors):
        told = [bilinear(forward[f], trial.q[t][f], trial.q[t - 1][f]) for t in range(1, trial.times)]
        if f in inferred:
            heard = np.sum(told, axis=0) + safe_log(trial.e[f])
            path = softmax(heard)
            evidence[:, last] += (path * (heard - safe_log(path))).sum(axis=1)
            for t in range(trial.times):
                trial.path[t][f] = path
        else:
            for t, here in enumerate(told):
                heard = here + safe_log(trial.path[t][f])
                trial.path[t][f] = path = softmax(heard)
                evidence[:, t + 1] += (path * (heard - safe_log(path))).sum(axis=1)
    trial.evidence = evidence


def _count(model: POMDP, trial: Trial, rates: Mapping[Key, Floats]) -> None:
    """Add to counts what is believed about a trial; zeros stay zero."""
    for m, deps in enumerate(model.A_dependencies):  # type: ignore[arg-type]
        rate = rates.get(m, 1.0)
        for outcomes, q in zip(trial.outcomes, trial.q, strict=True):
            trial.a[m] = _grown(trial.a[m], (outcomes[m], *(q[f] for f in deps)), rate)
    for f in range(model.num_factors):
        rate = rates.get(Table("B", f), 1.0)
        for t, path in enumerate(trial.path[:-1]):
            trial.b[f] = _grown(trial.b[f], (trial.q[t + 1][f], trial.q[t][f], path[f]), rate)


def _grown(counts: Floats, marginals: Sequence[Floats], rate: float | Floats) -> Floats:
    """Counts ``(n, ...)`` with a product of marginals added, one for each axis, where they are not 0."""
    seen = marginals[0] * np.reshape(rate, (-1, 1))
    for q in marginals[1:]:
        seen = seen[..., None] * q.reshape(len(q), *[1] * (seen.ndim - 1), -1)
    return np.asarray(counts + (counts > 0) * seen)


def _expected_log(counts: Floats, axis: int) -> Floats:
    """psi(counts) - psi(their sum over an axis), floored."""
    held = counts > 0
    logs = digamma(np.where(held, counts, 1.0)) - digamma(np.maximum(counts.sum(axis=axis, keepdims=True), 1e-300))
    return np.maximum(np.where(held, logs, LOG_FLOOR), LOG_FLOOR)


def _message(logs: Floats, path: Floats, q: Floats) -> Floats:
    """Expected logs ``(n, S)`` under a path and the beliefs about a neighbouring moment; ``logs`` ``(n, U, S, S there)``."""
    heard = np.matmul(logs, q[:, None, :, None])[..., 0]
    return np.asarray(np.matmul(path[:, None, :], heard)[:, 0])


@dataclass(frozen=True, eq=False)
class _Informed:
    """Log likelihood of the joint states ``(n, prod S_f)`` of those factors that outcomes tell about."""

    factors: tuple[int, ...]
    sizes: tuple[int, ...]
    log: Floats

    def about(self, f: int, q: Sequence[Floats]) -> Floats:
        """The same averaged over what is believed about the other factors ``(n, S_f)``."""
        n, at = len(self.log), self.factors.index(f)
        out = self.log
        for g in self.factors[at + 1 :][::-1]:
            out = np.matmul(out.reshape(n, -1, q[g].shape[1]), q[g][:, :, None])[..., 0]
        for g in self.factors[:at]:
            out = np.matmul(q[g][:, None, :], out.reshape(n, q[g].shape[1], -1))[:, 0]
        return np.asarray(out.reshape(n, -1))


def _log_likelihoods(model: POMDP, likelihoods: Sequence[Floats], outcomes: Sequence[Floats]) -> _Informed:
    factors = tuple(f for f in range(model.num_factors) if model.num_states[f] > 1 and _tells_of(model, f))
    sizes = tuple(model.num_states[f] for f in factors)
    n = len(outcomes[0])
    total = np.zeros((n, *sizes))
    for m, deps in enumerate(model.A_dependencies):  # type: ignore[arg-type]
        seen = outcomes[m].any(axis=1)
        chance = np.matmul(outcomes[m][:, None, :], likelihoods[m].reshape(n, len(outcomes[m][0]), -1))[:, 0]
        log = np.where(seen[:, None], safe_log(chance), 0.0)
        by_factor = log.reshape(n, *(model.num_states[f] for f in deps))
        order = np.argsort(deps)
        by_factor = by_factor.transpose(0, *(1 + order))
        total += by_factor.reshape(n, *(model.num_states[f] if f in deps else 1 for f in factors))
    return _Informed(factors, sizes, total.reshape(n, -1))


def _tells_of(model: POMDP, factor: int) -> bool:
    return any(factor in deps for deps in model.A_dependencies)  # type: ignore[union-attr]
