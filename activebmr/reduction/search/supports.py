"""`Fit`: a table of counts before and after the data, and what follows for which of its entries may be absent.

See `activebmr.reduction.search.single_parameters` for the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import logit

from activebmr.arrays import Bools, Floats, Ints
from activebmr.log_gamma import log_rise_difference
from activebmr.reduction.search.support_sums import BLOCK, Integral, Series, gain, mean_rate, parts

__all__ = ["ROUNDING", "Fit", "check_gained", "own_ratio", "rounding"]

ROUNDING = 1e-12
"""An outcome counts as seen if it has gained more than this, times the largest count of its column if that exceeds 1."""

_SAMPLE = 2**16  # entries from which a rate is learned where every column needs an integral
_NEVER = 60.0  # nats against an entry's absence beyond which it is not considered
_ZERO = 1e30  # log odds against an entry's absence where the rate is 0


class Fit:
    """A batch of tables as columns ``(K, M)``, with what the evidence of absent entries depends on, and a rate per table."""

    def __init__(self, q: Floats, p: Floats, remainder: float) -> None:
        self.remainder, self.n_tables, self.shape = remainder, len(q), q.shape
        self.q, self.p = (np.moveaxis(x, 1, 0).reshape(q.shape[1], -1) for x in (q, p))
        width = self.q.shape[1]
        self.table = np.repeat(np.arange(len(q)), width // len(q))
        self.before, self.seen, self.fixed, self.least, self.most = np.zeros((5, width))
        self.entries, self.unseen = np.zeros((2, width), dtype=np.intp)
        for part in parts(*self.q.shape):
            p, gained = self.p[:, part], self.gained(part)
            self.before[part], self.seen[part] = p.sum(axis=0), gained.sum(axis=0)
            self.entries[part] = (p > remainder).sum(axis=0)
            gap, _ = self.gaps(part)
            loose = gap > 0
            self.unseen[part] = loose.sum(axis=0)
            self.fixed[part] = np.where(loose, np.minimum(p, remainder), p).sum(axis=0)
            self.most[part] = gap.max(axis=0)
            self.least[part] = np.where(loose, gap, np.inf).min(axis=0)
        # seen entries of a remainder may be absent too, each with its own probability: no two columns are alike
        differ = (self.unseen > 0) & ((self.least != self.most) | (remainder > 0))
        self.plain, self.unequal = (np.flatnonzero((self.seen > 0) & x) for x in (~differ, differ))
        self.series = Series(self, self.plain)

    def gained(self, part: slice | Ints) -> Floats:
        """What was observed, n = q - p, without rounding errors."""
        q = self.q[:, part]
        n = q - self.p[:, part]
        n[n <= rounding(q)] = 0.0
        return n

    def gaps(self, part: slice | Ints) -> tuple[Floats, Floats | None]:
        """Prior counts that absent entries would lose ``(K, B)``, 0 for those that cannot be absent; and the part of their log
        evidence ratios that is theirs alone, or None if that is 0."""
        p, n, c = self.p[:, part], self.gained(part), self.remainder
        gap = np.where((p > c) & (n.sum(axis=0) > 0), p - c, 0.0)
        if c == 0:
            gap[n > 0] = 0.0
            return gap, None
        own = own_ratio(np.full_like(p, c), p, n, gap > 0)
        # whatever else is absent, these are there: no need to keep the books on them
        before = np.where(gap.any(axis=0), self.before[part], 1.0)
        others = gain(np.maximum(before - gap.sum(axis=0), c), before, self.seen[part])
        gap[own + others < -_NEVER] = 0.0
        return gap, np.where(gap > 0, own, 0.0)

    # --- all supports ---
    def _evidence(self, odds: Floats, unequal: Ints) -> Iterator[tuple[bool, Any, Ints, Floats]]:
        """ln p(o | any support) - ln p(o | full) of blocks of columns, given the log odds of the rate of each table ``(n, G)``.

        Yields:
            whether these are rows of the series or columns, which, their tables, and the evidence ``(B, G)``.
        """
        series = self.series
        for part in parts(len(series.number), len(series.first)):
            of = odds[series.table[part]]
            yield True, part, series.table[part], series.log_sums(part, of) + self._log_prior(series.entries[part], of)
        for some in self._chunks(unequal):
            of = odds[self.table[some]]
            yield False, some, self.table[some], Integral(self, some).log_sums(of) + self._log_prior(self.entries[some], of)

    def _log_prior(self, entries: Ints, odds: Floats) -> Floats:
        """Log prior probability that all entries are there, among the supports that are possible ``(B, G)``."""
        log_prior = -entries[:, None] * np.logaddexp(0.0, odds)
        if self.remainder == 0:  # a column without any entry is no model
            log_prior -= np.log(-np.expm1(-entries[:, None] * np.logaddexp(0.0, -odds)))
        return log_prior

    def evidence(self) -> Floats:
        """ln p(o | any support) - ln p(o | full) of each column ``(M,)`` at the rates that were set."""
        out, rows = np.zeros(len(self.seen)), np.zeros(len(self.series.first))
        if not self.rate.any():
            return out
        for row, where, _, values in self._evidence(self.odds[:, None], self.unequal):
            (rows if row else out)[where] = values[:, 0]
        out[self.plain] = rows[self.series.inverse]
        return out

    def learned(self) -> tuple[Floats, Floats]:
        """Posterior mean of the rate of each table ``(n,)``, uniform in [0, 1] before, and the log evidence for any rate."""
        unequal = self.unequal[:: -(-self.q.size // self.n_tables // _SAMPLE)]

        def log_density(odds: Floats, wanted: Bools) -> Floats:  # over log odds (n, G), of the tables wanted (n,)
            total = -np.logaddexp(0.0, odds) - np.logaddexp(0.0, -odds)
            for row, where, table, values in self._evidence(odds, unequal[wanted[self.table[unequal]]]):
                np.add.at(total, table, values * self.series.times[where, None] if row else values)
            return total

        return mean_rate(log_density, self.n_tables)

    def set_rate(self, rate: float | str) -> None:
        """Fix the rate of all tables or learn each one's own; and say what a table's evidence for it is, ``worth`` (n,)."""
        learn = isinstance(rate, str)
        self.rate, self.worth = self.learned() if learn else (np.full(self.n_tables, rate), np.zeros(self.n_tables))
        self.odds = np.maximum(logit(self.rate), -_ZERO)  # finite, so that 0 x -inf does not occur
        if not learn:
            self.worth = np.bincount(self.table, self.evidence(), self.n_tables)
        self.series_absent = np.zeros(len(self.seen))
        self.series_absent[self.plain] = self.series.absent(self.odds)

    def absent(self, part: slice) -> Floats:
        """Posterior probability that each entry is absent ``(K, B)``."""
        p, rate, entries = self.p[:, part], self.rate[self.table[part]], self.entries[part]
        nothing = rate
        if self.remainder == 0:
            nothing = rate * (1 - rate ** np.maximum(entries - 1, 0)) / (1 - rate ** np.maximum(entries, 1))
        gap, _ = self.gaps(part)
        out = np.where(gap > 0, self.series_absent[part], 0.0)
        out = np.where((self.seen[part] == 0) & (p > self.remainder), nothing, out)
        inside = self.unequal[(self.unequal >= part.start) & (self.unequal < part.stop)]
        for some in self._chunks(inside) if rate.any() else []:
            out[:, some - part.start] = Integral(self, some).absent(self.odds[self.table[some]])
        out[p == 0] = 1.0
        return out

    def _chunks(self, where: Ints) -> list[Ints]:
        if not len(where):
            return []
        nodes = Integral.nodes(self.fixed[where], self.before[where], self.seen[where])
        size = max(1, 4 * BLOCK // (len(self.q) * nodes))
        return [where[i : i + size] for i in range(0, len(where), size)]

    # --- one support ---
    def joint(self, part: slice, threshold: float) -> Bools:
        """The most probable set of absent entries of each column, if its log odds against none reach the threshold.

        The log evidence ratio is a convex function of the counts that are lost, so the best set maximises a sum over entries
        for some slope: it holds those entries that give most per count lost.
        """
        gap, own = self.gaps(part)
        odds = self.odds[self.table[part]] if own is None else self.odds[self.table[part]] + own
        loose = gap > 0
        worth = np.where(loose, odds / np.where(loose, gap, 1.0), -np.inf)
        order = np.argsort(-worth.T, axis=1, kind="stable").T
        gap, loose = (np.take_along_axis(x, order, axis=0) for x in (gap, loose))
        gains = np.where(loose, np.take_along_axis(np.broadcast_to(odds, gap.shape), order, axis=0), 0.0)
        later = np.cumsum(gap[::-1], axis=0)[::-1] - gap  # counts of the entries after this one
        score = np.full(gap.shape, -np.inf)
        at = np.nonzero(loose)
        stay = (self.fixed[part] + later)[at]
        column = part.start + at[1]
        score[at] = gain(stay, self.before[column], self.seen[column]) + np.cumsum(gains, axis=0)[at]
        best = score.argmax(axis=0)
        top = score[best, np.arange(len(best))]
        taken = (np.arange(len(gap))[:, None] <= best) & loose & (top > 0) & (top >= threshold)
        removed = np.zeros(gap.shape, dtype=bool)
        np.put_along_axis(removed, order, taken, axis=0)
        return removed

    def greedy(self, part: slice, threshold: float) -> Bools:
        """The best entry of each column is removed as long as its log odds, given those removed before, reach the threshold."""
        gap, own = self.gaps(part)
        removed = np.zeros(gap.shape, dtype=bool)
        open_ = np.flatnonzero(gap.any(axis=0))
        stay, so_far, least = self.before[part].copy(), np.zeros(gap.shape[1]), self.fixed[part]
        while len(open_):
            mine, column = gap[:, open_], part.start + open_
            # rounding must not take more than there is
            rise = lambda a: gain(np.maximum(a, least[open_]), self.before[column], self.seen[column])  # noqa: B023, E731
            if own is None:
                best = mine.argmax(axis=0)
            else:
                best = np.where(mine > 0, rise(stay[open_] - mine) + own[:, open_], -np.inf).argmax(axis=0)
            after = stay[open_] - mine[best, np.arange(len(open_))]
            score = rise(after)
            step = score - so_far[open_] + self.odds[self.table[column]] + (0.0 if own is None else own[best, open_])
            good = (step >= threshold) & (mine.max(axis=0) > 0)
            open_, best = open_[good], best[good]
            stay[open_], so_far[open_] = after[good], score[good]
            removed[best, open_], gap[best, open_] = True, 0.0
        return removed

    def ratio(self, part: slice, reduced: Floats, gained: Floats, where: Bools) -> Floats:
        """Log evidence ratio of each column if some entries have the reduced counts."""
        own = own_ratio(reduced, self.p[:, part], gained, where).sum(axis=0)
        changed = np.flatnonzero(where.any(axis=0))
        ratio = np.zeros(len(own))
        column = part.start + changed
        ratio[changed] = gain(reduced[:, changed].sum(axis=0), self.before[column], self.seen[column]) + own[changed]
        return ratio


def own_ratio(reduced: Floats, prior: Floats, gained: Floats, where: Bools) -> Floats:
    """What entries add to the log evidence ratio by having seen something with a reduced count, 0 elsewhere."""
    out, where = np.zeros(where.shape), where & (gained > 0)
    r, p, n = reduced[where], prior[where], gained[where]
    out[where] = log_rise_difference(r, n, p)
    return out


def rounding(q: Floats, outcomes: int = 0) -> Floats:
    return np.asarray(ROUNDING * np.maximum(q.max(axis=outcomes), 1.0))


def check_gained(q: Floats, p: Floats, outcomes: int = 0) -> None:
    """An error unless the posterior is the prior and something observed, where the prior has counts."""
    lost = q - p < -np.expand_dims(rounding(q, outcomes), outcomes)
    if lost.any():
        at = tuple(int(i) for i in np.argwhere(lost)[0])
        raise ValueError(
            f"posterior must not be below prior; entry {at} has {q[at]:.6g} counts after and {p[at]:.6g} before. After "
            "forgetting, take as the prior what is left of it"
        )
    unforeseen = (p == 0) & (q > 0)
    if unforeseen.any():
        at = tuple(int(i) for i in np.argwhere(unforeseen)[0])
        raise ValueError(f"posterior must be zero where prior is, a structural zero; entry {at} is {q[at]:.6g}")
