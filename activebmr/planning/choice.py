"""From what policies are worth to what is done: the posterior over policies, ties, and the probabilities of actions."""

from __future__ import annotations

import numpy as np

from activebmr.arrays import Floats, Ints, least, sample
from activebmr.model.pomdp import POMDP

__all__ = ["TIE", "Actions", "log_policy_probabilities", "policy_probabilities", "policy_weights", "tied"]

TIE = 1e-9
"""Share of the spread of all values (or of 1 nat) within which two values count as equal."""

_FAINTEST = -700.0  # log weight
_LEAST = float(np.exp(np.full(1, _FAINTEST))[0])


def tied(worth: Floats) -> Floats:
    """Values ``(rows, n)`` in which those that only rounding tells from the best are as good as it."""
    best, least = worth.max(axis=1, keepdims=True), worth.min(axis=1, keepdims=True)
    if least.min() == -np.inf:
        least = np.where(worth > -np.inf, worth, np.inf).min(axis=1, keepdims=True)
        least = np.minimum(least, best)
    with np.errstate(invalid="ignore"):
        near = worth >= best - TIE * np.maximum(best - least, 1.0)
    return np.where(near, best, worth)


def policy_probabilities(worth: Floats, precision: Floats | float, log_prior: Floats | float = 0.0) -> Floats:
    """softmax(precision x worth + log prior) ``(rows, n)``; an infinite precision leaves the prior among the best of what it
    allows.

    Args:
        worth: values ``(rows, n)``.
        precision: >= 0, for all rows or ``(rows, 1)``.
        log_prior: ``(n,)`` or 0.
    """
    p = np.exp(_scores(worth, precision, log_prior))
    p /= np.add.reduce(p, axis=1, keepdims=True)
    return p


def policy_weights(worth: Floats, precision: Floats | float, log_prior: Floats | float = 0.0) -> Floats:
    """`policy_probabilities` up to a factor for each row, to draw from: the best has 1; 0 stands for what is less probable than
    e^-700, as exp is slow where it underflows.
    """
    score = np.maximum(_scores(worth, precision, log_prior), _FAINTEST)
    np.exp(score, out=score)
    score -= _LEAST
    return score


def log_policy_probabilities(worth: Floats, precision: Floats | float, log_prior: Floats | float = 0.0) -> Floats:
    """Logs of `policy_probabilities`, also of those that are too small for a number of their own; -inf for what cannot be."""
    scores = _scores(worth, precision, log_prior)
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def _scores(worth: Floats, precision: Floats | float, log_prior: Floats | float) -> Floats:
    """precision x worth + log prior ``(rows, n)``, less the best of each row's."""
    if not isinstance(log_prior, float) and np.isinf(precision).any():  # the best of what the prior allows
        worth = np.where(np.isinf(precision) & (log_prior == -np.inf), -np.inf, worth)
    best = np.maximum.reduce(worth, axis=1, keepdims=True)
    if isinstance(precision, float) and 0.0 < precision < np.inf and least(best) > -np.inf:
        score = worth - best
        if precision != 1.0:
            score *= precision
        if isinstance(log_prior, float) and log_prior == 0.0:
            return score
        score += log_prior
        best = score.max(axis=1, keepdims=True)
        if least(best) > -np.inf:
            return np.asarray(score - best)
        best = worth.max(axis=1, keepdims=True)
    # where everything is out of the question it stays so, and the prior alone counts in the end
    shifted = worth - np.where(best == -np.inf, 0.0, best)
    infinite = np.isinf(precision)
    if not np.any(infinite):
        with np.errstate(invalid="ignore"):
            score = precision * shifted
    else:
        sharp = np.where(tied(shifted) >= 0.0, 0.0, -np.inf)
        with np.errstate(invalid="ignore"):
            score = np.where(infinite, sharp, np.where(infinite, 0.0, precision) * shifted)
    if np.any(np.asarray(precision) == 0.0):
        score = np.where(np.asarray(precision) == 0.0, 0.0, score)
    score = score + log_prior
    top = score.max(axis=1, keepdims=True)
    if np.isinf(top).any():  # the prior excludes the best: then it alone counts
        score = np.where(np.isinf(top), np.zeros_like(score) + log_prior, score)
        top = score.max(axis=1, keepdims=True)
    return np.ascontiguousarray(score - top)


class Actions:
    """The combinations of controls that policies begin with.

    Attributes:
        controls: the distinct ones ``(n_actions, n_factors)``, in the order of the first policy that begins with each.
        action: which of them each policy begins with ``(n_policies,)``.
        first: first policy that begins with each ``(n_actions,)``.
        begin: first controls of every policy ``(n_policies, n_factors)``.
    """

    def __init__(self, model: POMDP) -> None:
        self.num_controls = model.num_controls
        self.begin = np.ascontiguousarray(model.first_controls)
        _, first, same = np.unique(model.first_controls, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self.first, self.action = first[order], rank[same.reshape(-1)]
        self.controls = model.first_controls[self.first]
        self.each = len(self.first) == len(self.action)  # every policy is an action
        member = np.zeros((len(self.action), len(self.first)))
        member[np.arange(len(self.action)), self.action] = 1.0
        self._member = member

    def probabilities(self, policies: Floats) -> Floats:
        """Of every combination ``(rows, n_actions)``, from those of the policies."""
        if self.each:
            return policies
        return np.asarray(np.matmul(policies[:, None], self._member)[:, 0])

    def per_factor(self, actions: Floats) -> list[Floats]:
        """Of every control of each factor ``(rows, U_f)``, from those of the combinations."""
        out = []
        for f, n in enumerate(self.num_controls):
            member = (self.controls[:, f][:, None] == np.arange(n)).astype(np.float64)
            out.append(np.asarray(np.matmul(actions[:, None], member)[:, 0]))
        return out

    def marginal(self, policies: Floats, alpha: Floats | float | None) -> list[Floats]:
        """Probabilities of each factor's controls when they are drawn one factor at a time (pymdp): softmax(alpha log q(u_f)),
        q(u_f) summed over the policies that begin with it; the first of the best if alpha is None.
        """
        out = []
        for q in self.per_factor(self.probabilities(policies)):
            with np.errstate(divide="ignore"):
                log = np.log(q)
            if alpha is None:
                out.append(np.eye(q.shape[1])[tied(q).argmax(axis=1)])
            else:
                out.append(policy_probabilities(tied(log), alpha))
        return out

    def draw_marginal(self, marginal: list[Floats], uniform: Floats) -> Ints:
        """Controls ``(rows, n_factors)``, each factor's by itself, from one uniform number a row."""
        controls, u = np.zeros((len(uniform), len(marginal)), dtype=np.intp), uniform
        for f, p in enumerate(marginal):
            if p.shape[1] == 1:
                continue
            controls[:, f] = sample(p, u)
            # what is left of the number within its interval is uniform again
            upper = np.cumsum(p, axis=1)
            at = controls[:, f][:, None]
            high = np.take_along_axis(upper, at, axis=1)[:, 0]
            share = np.take_along_axis(p, at, axis=1)[:, 0]
            u = np.clip((u * upper[:, -1] - (high - share)) / np.where(share > 0, share, 1.0), 0.0, np.nextafter(1.0, 0.0))
        return controls
