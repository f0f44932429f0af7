"""Sums over all supports of a column of counts, exactly: which of its unseen entries may be absent.

Given the log odds of absence, `Series` sums over how many of a column's unseen entries are absent, where those have equal prior
counts; `Integral` does without that, see `activebmr.reduction.search.single_parameters`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, gammaln

from activebmr.arrays import Bools, Floats, Ints
from activebmr.counts import log_beta
from activebmr.log_gamma import log_rise_difference

__all__ = ["BLOCK", "Integral", "Series", "distinct", "gain", "mean_rate", "parts"]


BLOCK = 2**17
"""Numbers held at a time."""

_STEP, _STRETCH, _LEFT, _RIGHT, _DEPTH = 0.32, 0.5, -3.0, 4.5, 36.0  # of quadrature, see Integral


class Statistics(Protocol):
    """What the sums need to know about a batch of columns, M of them: see `activebmr.reduction.search.supports.Fit`."""

    before: Floats
    seen: Floats
    fixed: Floats
    most: Floats
    unseen: Ints
    entries: Ints
    table: Ints

    def gaps(self, part: Ints) -> tuple[Floats, Floats | None]:
        """Prior counts that absent entries would lose, and the part of their log evidence ratios that is theirs alone."""
        ...


class Series:
    """Columns whose unseen entries have equal counts: the sum over supports is a sum over how many entries are absent."""

    def __init__(self, fit: Statistics, where: Ints) -> None:
        keys = (fit.before, fit.seen, fit.fixed, fit.most, fit.unseen, fit.entries, fit.table)
        first, self.inverse, self.times = distinct(*(x[where] for x in keys))
        self.first = where[first]
        before, seen, fixed, gap, self.unseen, self.entries, self.table = (x[self.first] for x in keys)
        u, j = self.unseen[:, None], np.arange(self.unseen.max(initial=0) + 1)
        left = np.maximum(u - j, 0)
        self.base = gammaln(u + 1.0) - gammaln(j + 1.0) - gammaln(left + 1.0)
        self.base += gain(fixed[:, None] + left * gap[:, None], before[:, None], seen[:, None])
        self.base[j > u] = -np.inf
        self.number = j

    def log_sums(self, part: slice, odds: Floats) -> Floats:
        """ln sum over sets of absent entries of odds^size x evidence ratio ``(B, G)`` of a block of rows."""
        out = np.empty(odds.shape)
        for g in range(odds.shape[1]):
            x = self.base[part] + self.number * odds[:, g, None]
            top = x.max(axis=1)
            out[:, g] = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
        return out

    def absent(self, odds: Floats) -> Floats:
        """Probability that any one of the unseen entries is absent ``(M,)``, given the log odds of the rate of each table."""
        out = np.zeros(len(self.first))
        for part in parts(len(self.number), len(out)):
            x = self.base[part] + self.number * odds[self.table[part], None]
            weight = np.exp(x - x.max(axis=1, keepdims=True))
            out[part] = weight @ self.number / (weight.sum(axis=1) * np.maximum(self.unseen[part], 1))
        return out[self.inverse]


class Integral:
    """Columns in general: the sum over supports as an integral of t^(C - 1) (1 - t)^(N - 1) prod_k (odds_k + t^gap_k) over t.

    Expanded, it is a sum of beta functions B(a, N) with C <= a <= P, all positive. The trapezoidal rule is exact to about 1e-8
    for each of them: in z, with t / (1 - t) = sinh(softplus(y) / sqrt(N + 1))^2, they are bell-shaped with a deviation of about
    1/2 whatever a and N are, and y - z grows exponentially where tails (of a small C or N) are long.
    """

    def __init__(self, fit: Statistics, where: Ints) -> None:
        self.gap, own = fit.gaps(where)
        self.own = np.where(self.gap > 0, 0.0 if own is None else own, -np.inf)
        fixed, before, seen = fit.fixed[where], fit.before[where], fit.seen[where]
        low, high, center = self._range(fixed, before, seen)
        n = self.nodes(fixed, before, seen)
        root = np.sqrt(seen + 1)[:, None]
        z = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, n)
        left, right = np.exp(-_STRETCH * (z - _LEFT)), np.exp(_STRETCH * (z - center[:, None] - _RIGHT))
        y = z + (right - left) / _STRETCH
        log_eta = np.where(y < -30, y, np.log(np.logaddexp(0.0, np.maximum(y, -30))))
        x = np.exp(log_eta) / root
        half = np.where(x < 1e-8, log_eta - np.log(root), x + np.log(-np.expm1(-2 * np.maximum(x, 1e-8))) - np.log(2.0))
        step = 2 / np.tanh(np.maximum(x, 1e-8)) / root  # ds / d eta, with s = ln t - ln(1 - t)
        log_step = np.where(x < 1e-8, np.log(2.0) - log_eta, np.log(step)) - np.logaddexp(0.0, -y) + np.log1p(left + right)
        self.log_t = -np.logaddexp(0.0, -2 * half)
        beta = log_beta(np.stack([before, seen]))
        self.log_weight = fixed[:, None] * self.log_t - seen[:, None] * np.logaddexp(0.0, 2 * half) + log_step
        self.log_weight += (np.log((high - low) / (n - 1)) - beta)[:, None]
        self.power = np.exp(self.gap[:, :, None] * self.log_t)  # (K, B, nodes)

    @staticmethod
    def _range(fixed: Floats, before: Floats, seen: Floats) -> tuple[Floats, Floats, Floats]:
        root = np.sqrt(seen + 1)
        center = root * np.arcsinh(np.sqrt(before / seen))
        tail = _LEFT - np.log1p(_STRETCH * _DEPTH / (2 * fixed)) / _STRETCH
        low = np.where(fixed > 5, np.maximum(root * np.arcsinh(np.sqrt(fixed / seen)) - 5, tail), tail)
        return low, center + _RIGHT + np.log1p(_STRETCH * _DEPTH * root / (2 * seen)) / _STRETCH, center

    @classmethod
    def nodes(cls, fixed: Floats, before: Floats, seen: Floats) -> int:
        low, high, _ = cls._range(fixed, before, seen)
        return int(np.ceil((high - low).max() / _STEP)) + 1

    def _log_integrand(self, odds: Floats) -> tuple[Floats, Floats]:
        odds_k = np.exp(odds + self.own)[:, :, None]
        factors = odds_k + self.power
        few = factors
        for _ in range(2):  # logarithms are what takes time
            half = len(few) // 2
            pairs = few[:half] * few[half : 2 * half]
            few = pairs if 2 * half == len(few) else np.concatenate([pairs, few[-1:]])
        with np.errstate(divide="ignore"):
            return odds_k, self.log_weight + np.log(few if few.all() else factors).sum(axis=0)

    def log_sums(self, odds: Floats) -> Floats:
        """See `Series.log_sums`."""
        out = np.empty(odds.shape)
        for g in range(odds.shape[1]):
            _, x = self._log_integrand(odds[:, g])
            top = x.max(axis=1)
            out[:, g] = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
        return out

    def absent(self, odds: Floats) -> Floats:
        """Probability that each entry is absent ``(K, B)``."""
        odds_k, x = self._log_integrand(odds)
        weight = np.exp(x - x.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        share = odds_k / np.maximum(odds_k + self.power, 1e-300)
        return np.asarray(np.einsum("bt,kbt->kb", weight, share))


def mean_rate(log_density: Callable[[Floats, Bools], Floats], n: int) -> tuple[Floats, Floats]:
    """Mean rate of n tables and log integral of a density of its log odds: zoom in on the mode, then integrate."""
    odds, step = np.tile(2.0 * np.arange(-7.0, 5.0), (n, 1)), np.full(n, 2.0)
    mean, log_total, rows, open_ = np.zeros(n), np.zeros(n), np.arange(n), np.ones(n, dtype=bool)
    for _ in range(12):
        height = log_density(odds, open_)
        top = height.max(axis=1)
        weight = np.exp(height - top[:, None])
        total = weight.sum(axis=1)
        mean[open_] = ((weight * expit(odds)).sum(axis=1) / total)[open_]
        log_total[open_] = (top + np.log(total * step))[open_]
        best = np.clip(height.argmax(axis=1), 1, height.shape[1] - 2)
        a, b, c = (height[rows, best + i] for i in (-1, 0, 1))
        bend = np.maximum(2 * b - a - c, 1e-300)
        open_ &= bend > 1.0  # a step is longer than a standard deviation
        if not open_.any():
            break
        # the vertex of the parabola through the best three
        middle = odds[rows, best] + step * np.clip((c - a) / (2 * bend), -1.0, 1.0)
        step = np.maximum(step / 6, 0.7 * step / np.sqrt(bend))
        odds = middle[:, None] + step[:, None] * np.arange(-8.0, 7.0)
    return mean, log_total


def gain(stay: Floats, before: Floats, seen: Floats) -> Floats:
    """ln B(stay, seen) - ln B(before, seen): the log evidence ratio of a column in which so many prior counts stay."""
    return log_rise_difference(before, seen, stay)


def distinct(*columns: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    """First of each distinct combination of values ``(n,)``, which of them each place has ``(m,)``, and how often ``(n,)``."""
    order = np.lexsort(columns)
    fresh = np.zeros(len(order), dtype=bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= np.diff(column[order]) != 0
    inverse = np.empty(len(order), dtype=np.intp)
    inverse[order] = np.cumsum(fresh) - 1
    return order[fresh], inverse, np.bincount(inverse)


def parts(height: int, width: int) -> list[slice]:
    """Blocks of columns that fit into the processor's cache."""
    size = max(1, BLOCK // max(height, 1))
    return [slice(i, min(i + size, width)) for i in range(0, width, size)]
