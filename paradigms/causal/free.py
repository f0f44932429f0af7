"""Graphs whose parameters nobody knows: exact evidence of what was seen and done, and observers who reason by it.

With known strengths (the paradigm itself) watching does tell X->Y from Y->X, if slowly: a noisy-or makes effects more frequent
than causes. It cannot where a graph may have any probabilities: X->Y and Y->X can then represent the same distributions, and if
prior beliefs give equivalent graphs the same mean evidence everywhere (BDe), what is watched leaves their odds as they were,
exactly. What was set is no evidence about what causes it, and that is what breaks the tie.

Who knows no parameters must find them out on the way: seeking what tells about the graph alone is short-sighted (`study`).

Every variable has one Dirichlet table for each combination of values of its causes; their parameters are integrated out.

Source: Heckerman, Geiger and Chickering (1995), "Learning Bayesian networks", Machine Learning 20 (BDe); Cooper and Yoo (1999),
"Causal discovery from a mixture of experimental and observational data", UAI (set variables).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, gammaln, logsumexp

from activebmr import checks
from activebmr.paradigms.causal.graphs import GRAPHS, OUTCOMES, SETTINGS, causes_of, likelihood, setting_index

__all__ = ["SAMPLE_SIZE", "WAYS", "FreeStudy", "graph_gain", "log_evidence", "novelty", "study"]

WAYS = {
    "gain": "settings that are expected to tell most about graph and parameters together (exact)",
    "graph": "settings that are expected to tell most about the graph alone (exact)",
    "random": "any of the 27 settings, by lot",
    "random-open": "any of the 19 that leave something to be seen, by lot",
    "watching": "nothing is ever set",
}
SAMPLE_SIZE = 1.0
"""Observations that prior beliefs about a graph's parameters are worth."""

Floats = NDArray[np.float64]

_OTHERS = ((1, 2), (0, 2), (0, 1))
_SUBSETS = ((), (0,), (1,), (0, 1))  # of the two others, by their places: the causes that a variable may have
_FAMILY = np.array(
    [[_SUBSETS.index(tuple(_OTHERS[v].index(c) for c in causes_of(g, v))) for v in range(3)] for g in range(len(GRAPHS))]
)
"""Which of the four sets of causes each variable has in each graph ``(25, 3)``."""
_SETTINGS, _OUTCOMES = np.array(SETTINGS), np.array(OUTCOMES)


def log_evidence(settings: ArrayLike, outcomes: ArrayLike, sample_size: float = SAMPLE_SIZE) -> Floats:
    """Log evidence of every graph ``(25,)``, nats: how probable what was seen is, given what was done, all parameters averaged.

    Args:
        settings: what was done in each trial ``(trials, 3)``: 0 left, 1 set to 0, 2 set to 1.
        outcomes: values of the variables ``(trials, 3)``, 0 or 1.
        sample_size: observations that prior beliefs are worth (BDeu), > 0: the same for every graph, spread evenly.

    Raises:
        ValueError: if shapes or numbers do not fit, or a variable did not get the value that it was set to.

    Example:
        ``log_evidence([[2, 0, 0]], [[1, 1, 0]])``: X was set to 1, then Y was 1 and Z 0.
    """
    done, seen = np.asarray(settings), np.asarray(outcomes)
    checks.number(sample_size, "sample_size", checks.POSITIVE)
    for name, array, most in (("settings", done, 2), ("outcomes", seen, 1)):
        if array.ndim != 2 or array.shape[1] != 3 or array.shape != done.shape or not np.isin(array, range(most + 1)).all():
            raise ValueError(f"{name} must hold whole numbers in 0..{most} of shape (trials, 3); got {array.tolist()}")
    if ((done > 0) & (done - 1 != seen)).any():
        t, v = (int(i) for i in np.argwhere((done > 0) & (done - 1 != seen))[0])
        raise ValueError(f"outcomes[{t}, {v}] must be {done[t, v] - 1}, the value that it was set to; got {seen[t, v]}")
    counts = np.zeros((1, 3, 2, 2, 2))
    for setting, outcome in zip(done, seen, strict=True):
        _count(counts, np.array([int(setting_index(setting))]), outcome[None])
    return _scores(counts, sample_size)[0]


def _count(counts: Floats, setting: NDArray[Any], values: NDArray[Any]) -> None:
    """Add, in place, one trial of each agent: per variable that was left alone, its value beside those of the two others
    ``(agents, variable, other, other, value)``.
    """
    rows = np.arange(len(counts))
    for v, (a, b) in enumerate(_OTHERS):
        counts[rows, v, values[:, a], values[:, b], values[:, v]] += _SETTINGS[setting, v] == 0


def _tables(counts: Floats, sample_size: float) -> list[tuple[Floats, Floats]]:
    """Per set of causes: counts ``(agents, variable, a, b, value)`` with axes of length 1 for those that are no causes, and
    the prior's.
    """
    out = []
    for subset in _SUBSETS:
        dropped = tuple(2 + place for place in range(2) if place not in subset)
        kept = counts.sum(axis=dropped, keepdims=True)
        out.append((kept, np.full(kept.shape, sample_size / 2 ** (len(subset) + 1))))
    return out


def _scores(counts: Floats, sample_size: float) -> Floats:
    """Log evidence of every graph ``(agents, 25)``."""
    local = np.empty((len(counts), 3, len(_SUBSETS)))
    for i, (n, prior) in enumerate(_tables(counts, sample_size)):
        cells = (gammaln(prior + n) - gammaln(prior)).sum(axis=4)
        total, all_prior = n.sum(axis=4), prior.sum(axis=4)
        local[:, :, i] = (cells - gammaln(all_prior + total) + gammaln(all_prior)).sum(axis=(2, 3))
    return np.asarray(sum(local[:, v, _FAMILY[:, v]] for v in range(3)))


def _predictions(counts: Floats, sample_size: float) -> Floats:
    """Probabilities of the next outcome under every setting and graph ``(agents, 27, 25, 8)``, exact."""
    each = np.empty((len(counts), 3, len(_SUBSETS), len(OUTCOMES)))  # of the value that a variable has in an outcome
    for i, (n, prior) in enumerate(_tables(counts, sample_size)):
        p = np.broadcast_to((n + prior) / (n + prior).sum(axis=4, keepdims=True), counts.shape)
        for v, (a, b) in enumerate(_OTHERS):
            each[:, v, i] = p[:, v, _OUTCOMES[:, a], _OUTCOMES[:, b], _OUTCOMES[:, v]]
    out = np.ones((len(counts), len(SETTINGS), len(GRAPHS), len(OUTCOMES)))
    for v in range(3):
        left, set_to = _SETTINGS[:, v] == 0, _SETTINGS[:, v] - 1
        out[:, left] *= each[:, v, _FAMILY[:, v]][:, None]
        out[:, ~left] *= (set_to[~left, None] == _OUTCOMES[:, v])[None, :, None]
    return out


def graph_gain(posterior: Floats, predicted: Floats) -> Floats:
    """Mutual information of graph and outcome under every setting ``(agents, 27)``, nats."""
    mixture = (posterior[:, None, :, None] * predicted).sum(axis=2)
    return np.asarray(_entropy(mixture) - (posterior[:, None] * _entropy(predicted)).sum(axis=2))


def novelty(posterior: Floats, predicted: Floats, counts: Floats, sample_size: float) -> Floats:
    """Mutual information of parameters and outcome, given the graph, under every setting ``(agents, 27)``, nats, exact: that of
    every variable that is left alone, by what its causes are expected to be.
    """
    each = np.empty((len(counts), 3, len(_SUBSETS), len(OUTCOMES)))
    for i, (n, prior) in enumerate(_tables(counts, sample_size)):
        a = n + prior
        mean = a / a.sum(axis=4, keepdims=True)
        known = digamma(a.sum(axis=4) + 1) - (mean * digamma(a + 1)).sum(axis=4)  # entropy, were the parameters known
        gain = np.broadcast_to(_entropy(mean) - known, counts.shape[:4])
        for v, (b, c) in enumerate(_OTHERS):
            each[:, v, i] = gain[:, v, _OUTCOMES[:, b], _OUTCOMES[:, c]]
    out = np.zeros(predicted.shape[:2])
    for v in range(3):
        expected = (predicted * each[:, v, _FAMILY[:, v]][:, None]).sum(axis=3)
        out += (posterior[:, None] * expected).sum(axis=2) * (_SETTINGS[:, v] == 0)
    return out


def _entropy(p: Floats) -> Floats:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1))


@dataclass(frozen=True, eq=False)
class FreeStudy:
    """What observers came to believe who know no parameters.

    Attributes:
        way: how they chose, a key of `WAYS`.
        posterior: over graphs after every trial ``(agents, trials, 25)``.
        truth: the true graph of each agent ``(agents,)``.
        settings: index in `SETTINGS` of what was done ``(agents, trials)``.
    """

    way: str
    posterior: Floats
    truth: NDArray[np.intp]
    settings: NDArray[np.intp]

    @property
    def of_truth(self) -> Floats:
        """Posterior of the true graph ``(agents, trials)``."""
        return np.asarray(self.posterior[np.arange(len(self.truth)), :, self.truth])


def study(
    way: str = "gain", n_agents: int = 64, n_trials: int = 64, seed: int = 0, *, sample_size: float = SAMPLE_SIZE
) -> FreeStudy:
    """Observers who know no parameters, in the worlds of the paradigm (noisy-or; the graph of each drawn from the 25).

    The numbers of observer k depend on the seed and k alone; the same k has the same graph under every way.

    Raises:
        ValueError: for an unknown way, or numbers out of range.

    Example:
        ``study("watching", 16).of_truth.mean(axis=0)``
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {list(WAYS)}; got {way!r}")
    n_agents, n_trials = (checks.whole_number(n, name, 1) for n, name in ((n_agents, "n_agents"), (n_trials, "n_trials")))
    streams = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(k,))) for k in range(n_agents)]
    truth = np.array([s.integers(len(GRAPHS)) for s in streams])
    draws = np.stack([s.random((n_trials, 2)) for s in streams])
    allowed = {"watching": [0], "random-open": [a for a, s in enumerate(SETTINGS) if 0 in s]}.get(way, range(len(SETTINGS)))
    cumulative = likelihood().cumsum(axis=2)
    counts = np.zeros((n_agents, 3, 2, 2, 2))
    posterior = np.empty((n_agents, n_trials, len(GRAPHS)))
    chosen = np.empty((n_agents, n_trials), dtype=np.intp)
    now = np.full((n_agents, len(GRAPHS)), 1 / len(GRAPHS))
    for t in range(n_trials):
        worth = np.zeros((n_agents, len(SETTINGS)))
        if way in ("gain", "graph"):
            predicted = _predictions(counts, sample_size)
            worth += graph_gain(now, predicted)
        if way == "gain":
            worth += novelty(now, predicted, counts, sample_size)
        best = (worth >= worth.max(axis=1, keepdims=True) - 1e-9) & np.isin(np.arange(len(SETTINGS)), allowed)
        chosen[:, t] = _nth(best, draws[:, t, 0])
        chances = cumulative[chosen[:, t], truth]
        outcome = (chances[:, :-1] <= draws[:, t, 1, None] * chances[:, -1:]).sum(axis=1)
        _count(counts, chosen[:, t], _OUTCOMES[outcome])
        scores = _scores(counts, sample_size)
        now = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
        posterior[:, t] = now
    return FreeStudy(way, posterior, truth, chosen)


def _nth(allowed: NDArray[np.bool_], uniform: Floats) -> NDArray[np.intp]:
    """One of the allowed of each row, all alike, by a uniform number."""
    nth = np.floor(uniform * allowed.sum(axis=1)).astype(int) + 1
    return np.asarray((allowed.cumsum(axis=1) >= nth[:, None]).argmax(axis=1))
