"""Structure learning without a list: which entries of a table of counts are not there at all?

Every entry of a column may be absent, a structural zero that the data could only fail to refute. The model is a spike and slab:
an entry is absent with probability `rate`, each on its own (but a column keeps at least one), and the others have the counts
that they have. The evidence of a set of absent entries depends only on the sum a of the counts that stay,

    ln p(o | reduced) - ln p(o | full) = lnG(a) - lnG(a + N) - lnG(P) + lnG(P + N),

with P the prior counts of the column and N its observations (Savage-Dickey: the marginal of a Dirichlet is a beta
distribution). It is the logarithm of a ratio of beta functions, B(a, N) / B(P, N), and B(a, N) is an integral of t^(a - 1)
(1 - t)^(N - 1), under which a sum over all 2^K supports is a product over entries. So probabilities and evidence are exact: by
a short sum where the unseen entries of a column have equal prior counts, by one integral per column where they have not.
Source: Friston, Parr & Zeidman (2018) for the evidence; the sum over supports is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaln, logit

from activebmr.dirichlet import LOG_FLOOR, as_counts
from activebmr.structure import Reduction, checked_tables, checked_threshold

__all__ = ["SingleParameters", "absent_probability", "learned_rate", "single_ratios", "support_evidence"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ROUNDING = 1e-12
"""An outcome counts as seen if it has gained more than this, times the largest count of its column if that exceeds 1."""

_BLOCK = 2**17  # numbers held at a time
_SAMPLE = 2**16  # entries from which a rate is learned where every column needs an integral
_NEVER = 60.0  # nats against an entry's absence beyond which it is not considered
_ZERO = 1e30  # log odds against an entry's absence where the rate is 0
_FLOOR = float(np.exp(LOG_FLOOR))  # share of its prior count that an entry keeps at least when averaging
_STEP, _STRETCH, _LEFT, _RIGHT, _DEPTH = 0.32, 0.5, -3.0, 4.5, 36.0  # of quadrature, see _Integral
_SEARCHES, _ADOPTS = ("exact", "joint", "greedy"), ("average", "zero")


# --- public functions of one table ---------------------------------------------------------------------------------------
def single_ratios(posterior: ArrayLike, prior: ArrayLike, remainder: float = 0.0) -> Floats:
    """ln p(o | without entry k) - ln p(o | full) for every entry of a table alone, in closed form.

    Args:
        posterior: counts after the observations, outcomes on axis 0 ``(n_outcomes, ...)``; they may be fractional.
        prior: counts before them, of the same shape. Structural zeros are no entries.
        remainder: prior count that the entry keeps, >= 0 (or what it has, if that is less). With 0 the outcome would be
            impossible, so that any count gained beyond rounding (`ROUNDING`) refutes it, be it the 1e-9 that an agent
            attributes to a state it does not believe in. With 1/32, say, 0.01 counts cost 0.3 nats and one costs 3.5.

    Returns:
        nats, of the shape of ``posterior``; positive where the model without the entry is better. -inf where it is refuted, at
        structural zeros, and, with ``remainder`` 0, for the only entry of a column. Ratios of one column do not add.

    Raises:
        ValueError: on negative or non-finite counts, shapes that differ, counts that fell below the prior, counts where the
            prior has none, or a bad remainder.
    """
    q, p = _table(posterior, prior)
    c = _checked_remainder(remainder)
    shape, out = q.shape, np.full(q.reshape(len(q), -1).shape, -np.inf)
    q, p = q.reshape(out.shape), p.reshape(out.shape)
    for part in _parts(*out.shape):
        out[:, part] = _single(q[:, part], p[:, part], c)
    return out.reshape(shape)


def absent_probability(posterior: ArrayLike, prior: ArrayLike, rate: float | str = "learn", remainder: float = 0.0) -> Floats:
    """Posterior probability that each entry of a table is absent, given all its column has seen.

    Args:
        posterior, prior, remainder: see `single_ratios`.
        rate: probability that an entry is absent before any data, in [0, 1), or ``"learn"``: see `learned_rate`.

    Returns:
        probabilities of the shape of ``posterior``: 0 for outcomes that were seen (with ``remainder`` 0), 1 at structural
        zeros.

    Raises:
        ValueError: see `single_ratios`; or if the rate is out of range.
    """
    q, p = _table(posterior, prior)
    fit = _Fit(q[None], p[None], _checked_remainder(remainder))
    fit.set_rate(_checked_rate(rate))
    out = np.empty(fit.q.shape)
    for part in _parts(*out.shape):
        out[:, part] = fit.absent(part)
    return out.reshape(q.shape)


def learned_rate(posterior: ArrayLike, prior: ArrayLike, remainder: float = 0.0) -> float:
    """Probability that an entry is absent, learned from a whole table: its posterior mean, if uniform in [0, 1] before.

    It is 0.5 where nothing was observed. See `single_ratios` for the arguments and the errors. Of columns that need an integral
    (their unseen entries differ in prior counts, or there is a remainder) a large table's are sampled: evenly spaced ones, with
    about 65,000 entries.
    """
    q, p = _table(posterior, prior)
    fit = _Fit(q[None], p[None], _checked_remainder(remainder))
    return float(fit.learned()[0][0])


def support_evidence(posterior: ArrayLike, prior: ArrayLike, rate: float, remainder: float = 0.0) -> Floats:
    """ln p(o | any entry may be absent) - ln p(o | full) of each column: the evidence summed over all supports.

    Args:
        posterior, prior, remainder: see `single_ratios`.
        rate: see `absent_probability`; a number.

    Returns:
        nats, of the shape of ``posterior`` without axis 0; 0 where nothing was observed.
    """
    q, p = _table(posterior, prior)
    fit = _Fit(q[None], p[None], _checked_remainder(remainder))
    value = _checked_rate(rate)
    if isinstance(value, str):
        raise ValueError("rate of support_evidence must be a number in [0, 1); got 'learn'")
    fit.set_rate(value)
    return fit.evidence().reshape(q.shape[1:])


# --- the space of models -------------------------------------------------------------------------------------------------
class SingleParameters:
    """All models in which some entries of a table are absent.

    A table is reduced if the evidence that some of its entries are absent (summed over all supports, and over all rates if the
    rate is learned) is enough better than that of the parent. So nothing happens where the data need no zeros.

    Args:
        search: which entries are removed. ``"exact"``: those whose posterior log odds of being absent, all supports considered,
            reach ``log_odds``. ``"joint"``: the most probable set of each column, if its log odds against no removal reach
            it; with equal prior counts this is all that was not seen or nothing. ``"greedy"``: the best entry of each column,
            as long as its log odds, given those removed before, reach it.
        rate: probability that an entry is absent before any data, in [0, 1), or ``"learn"``: from each table, `learned_rate`.
        threshold: Occam's window: nats by which the evidence for absent entries must exceed the parent's, see `evidence`.
        log_odds: nats. With ``"exact"`` and 0, every entry that is more probably absent than not is removed, which makes the
            fewest errors of both kinds; with 3, on average 1 in 21 of those removed is there at most.
        adopt: what becomes of the counts. ``"average"``: every entry keeps the share of its prior count that is the
            probability that it is there, whatever was removed; so nothing becomes impossible by mistake. ``"zero"``: removed
            entries become structural zeros (or keep the remainder), and the agent cannot learn these outcomes again.
        remainder: prior count of an absent entry: 0 for impossible. Soft counts, of an agent in doubt about its state, refute
            a zero; use 1/32 or so for them (`single_ratios`).

    Columns that have seen nothing are left alone. In a `Reduction`, ``accepted`` says whether any counts changed, and the log
    evidence ratio is that of the adopted prior, which knows nothing of how many others there were: `evidence` does.

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if the rate is neither a number nor ``"learn"``.
    """

    def __init__(
        self,
        *,
        search: str = "exact",
        rate: float | str = "learn",
        threshold: float = 3.0,
        log_odds: float = 0.0,
        adopt: str = "average",
        remainder: float = 0.0,
    ) -> None:
        if search not in _SEARCHES:
            raise ValueError(f"search of SingleParameters must be one of {_SEARCHES}; got {search!r}")
        if adopt not in _ADOPTS:
            raise ValueError(f"adopt of SingleParameters must be one of {_ADOPTS}; got {adopt!r}")
        self.search, self.adopt, self.rate = search, adopt, _checked_rate(rate)
        if np.isnan(log_odds):
            raise ValueError("log_odds of SingleParameters must be a number of nats; got nan")
        self.log_odds = float(log_odds)
        self.threshold, self.remainder = checked_threshold(threshold, "SingleParameters"), _checked_remainder(remainder)

    def reduce(self, posterior: ArrayLike, prior: ArrayLike) -> Reduction:
        """See `activebmr.structure.ModelSpace.reduce`.

        Raises:
            ValueError: also if a posterior count is below the prior's, as after forgetting: what was observed is then unknown.
        """
        fit = self._fit(posterior, prior)
        shape = fit.shape
        fresh_p, fresh_q = fit.p.copy(), fit.q.copy()
        removed, changed = np.zeros(fit.q.shape, dtype=bool), np.zeros(len(fit.seen), dtype=bool)
        ratio = np.zeros(len(fit.seen))
        for part in _parts(*removed.shape):
            removed[:, part], changed[part], ratio[part] = self._reduce(fit, part, fresh_p[:, part], fresh_q[:, part])
        back = lambda x: np.ascontiguousarray(np.moveaxis(x.reshape(shape[1], shape[0], *shape[2:]), 1, 0))  # noqa: E731
        ratio, accepted = ratio.reshape(shape[0], -1).sum(axis=1), changed.reshape(shape[0], -1).any(axis=1)
        return Reduction(back(fresh_p), back(fresh_q), ratio, accepted, np.full(shape[0], -1), removed=back(removed))

    def evidence(self, posterior: ArrayLike, prior: ArrayLike) -> Floats:
        """ln p(o | some entries may be absent) - ln p(o | parent) of each table, which the threshold is for; nats ``(n,)``."""
        return self._fit(posterior, prior).worth

    def _fit(self, posterior: ArrayLike, prior: ArrayLike) -> _Fit:
        q, p = checked_tables(posterior, prior)
        _check_gained(q, p, outcomes=1)
        fit = _Fit(q, p, self.remainder)
        fit.set_rate(self.rate)
        return fit

    def _reduce(self, fit: _Fit, part: slice, fresh_p: Floats, fresh_q: Floats) -> tuple[Bools, Bools, Floats]:
        """Removed entries of a block of columns, whether each column changed, and its ratio; changes the fresh counts."""
        loose = (fit.gaps(part)[0] > 0) & (fit.worth >= self.threshold)[fit.table[part]]
        if not loose.any():
            return loose, loose.any(axis=0), np.zeros(loose.shape[1])
        absent = fit.absent(part) if self.search == "exact" or self.adopt == "average" else np.zeros(loose.shape)
        if self.search == "exact":
            removed = loose & (absent >= expit(self.log_odds)) & (self.log_odds < np.inf)
        else:
            removed = loose & getattr(fit, self.search)(part, self.log_odds)
        # at least a trace of an average is left, so that rounding makes nothing impossible
        changed, share = (removed, 0.0) if self.adopt == "zero" else (loose & (absent > 0), np.maximum(1 - absent, _FLOOR))
        p, gained = fit.p[:, part], fit.gained(part)
        least = np.minimum(fit.remainder, p)
        np.copyto(fresh_p, least + share * (p - least), where=changed)
        np.copyto(fresh_q, fresh_p + gained, where=changed)
        return removed, changed.any(axis=0), fit.ratio(part, fresh_p, gained, changed)


# --- what the counts say -------------------------------------------------------------------------------------------------
class _Fit:
    """A batch of tables as columns ``(K, M)``, with what the evidence of absent entries depends on, and a rate per table."""

    def __init__(self, q: Floats, p: Floats, remainder: float) -> None:
        self.remainder, self.n_tables, self.shape = remainder, len(q), q.shape
        self.q, self.p = (np.moveaxis(x, 1, 0).reshape(q.shape[1], -1) for x in (q, p))
        width = self.q.shape[1]
        self.table = np.repeat(np.arange(len(q)), width // len(q))
        self.before, self.seen, self.fixed, self.least, self.most = np.zeros((5, width))
        self.entries, self.unseen = np.zeros((2, width), dtype=np.intp)
        for part in _parts(*self.q.shape):
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
        self.series = _Series(self, self.plain)

    def gained(self, part: slice | NDArray[np.intp]) -> Floats:
        """What was observed, n = q - p, without rounding errors."""
        q = self.q[:, part]
        n = q - self.p[:, part]
        n[n <= _rounding(q)] = 0.0
        return n

    def gaps(self, part: slice | NDArray[np.intp]) -> tuple[Floats, Floats | None]:
        """Prior counts that absent entries would lose ``(K, B)``, 0 for those that cannot be absent; and the part of their log
        evidence ratios that is theirs alone, or None if that is 0."""
        p, n, c = self.p[:, part], self.gained(part), self.remainder
        gap = np.where((p > c) & (n.sum(axis=0) > 0), p - c, 0.0)
        if c == 0:
            gap[n > 0] = 0.0
            return gap, None
        own = _own(np.full_like(p, c), p, n, gap > 0)
        # whatever else is absent, these are there: no need to keep the books on them
        before = np.where(gap.any(axis=0), self.before[part], 1.0)
        others = _gain(np.maximum(before - gap.sum(axis=0), c), before, self.seen[part])
        gap[own + others < -_NEVER] = 0.0
        return gap, np.where(gap > 0, own, 0.0)

    # --- all supports ---
    def _evidence(self, odds: Floats, unequal: NDArray[np.intp]) -> Iterator[tuple[bool, Any, NDArray[np.intp], Floats]]:
        """ln p(o | any support) - ln p(o | full) of blocks of columns, given the log odds of the rate of each table ``(n, G)``.

        Yields:
            whether these are rows of the series or columns, which, their tables, and the evidence ``(B, G)``.
        """
        series = self.series
        for part in _parts(len(series.number), len(series.first)):
            of = odds[series.table[part]]
            yield True, part, series.table[part], series.log_sums(part, of) + self._log_prior(series.entries[part], of)
        for some in self._chunks(unequal):
            of = odds[self.table[some]]
            yield False, some, self.table[some], _Integral(self, some).log_sums(of) + self._log_prior(self.entries[some], of)

    def _log_prior(self, entries: NDArray[np.intp], odds: Floats) -> Floats:
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

        return _mean_rate(log_density, self.n_tables)

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
            out[:, some - part.start] = _Integral(self, some).absent(self.odds[self.table[some]])
        out[p == 0] = 1.0
        return out

    def _chunks(self, where: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        if not len(where):
            return []
        nodes = _Integral.nodes(self.fixed[where], self.before[where], self.seen[where])
        size = max(1, 4 * _BLOCK // (len(self.q) * nodes))
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
        score[at] = _gain(stay, self.before[column], self.seen[column]) + np.cumsum(gains, axis=0)[at]
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
            gain = lambda a: _gain(np.maximum(a, least[open_]), self.before[column], self.seen[column])  # noqa: B023, E731
            if own is None:
                best = mine.argmax(axis=0)
            else:
                best = np.where(mine > 0, gain(stay[open_] - mine) + own[:, open_], -np.inf).argmax(axis=0)
            after = stay[open_] - mine[best, np.arange(len(open_))]
            score = gain(after)
            step = score - so_far[open_] + self.odds[self.table[column]] + (0.0 if own is None else own[best, open_])
            good = (step >= threshold) & (mine.max(axis=0) > 0)
            open_, best = open_[good], best[good]
            stay[open_], so_far[open_] = after[good], score[good]
            removed[best, open_], gap[best, open_] = True, 0.0
        return removed

    def ratio(self, part: slice, reduced: Floats, gained: Floats, where: Bools) -> Floats:
        """Log evidence ratio of each column if some entries have the reduced counts."""
        own = _own(reduced, self.p[:, part], gained, where).sum(axis=0)
        changed = np.flatnonzero(where.any(axis=0))
        ratio = np.zeros(len(own))
        column = part.start + changed
        ratio[changed] = _gain(reduced[:, changed].sum(axis=0), self.before[column], self.seen[column]) + own[changed]
        return ratio


class _Series:
    """Columns whose unseen entries have equal counts: the sum over supports is a sum over how many entries are absent."""

    def __init__(self, fit: _Fit, where: NDArray[np.intp]) -> None:
        keys = (fit.before, fit.seen, fit.fixed, fit.most, fit.unseen, fit.entries, fit.table)
        first, self.inverse, self.times = _distinct(*(x[where] for x in keys))
        self.first = where[first]
        before, seen, fixed, gap, self.unseen, self.entries, self.table = (x[self.first] for x in keys)
        u, j = self.unseen[:, None], np.arange(self.unseen.max(initial=0) + 1)
        left = np.maximum(u - j, 0)
        self.base = gammaln(u + 1.0) - gammaln(j + 1.0) - gammaln(left + 1.0)
        self.base += _gain(fixed[:, None] + left * gap[:, None], before[:, None], seen[:, None])
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
        for part in _parts(len(self.number), len(out)):
            x = self.base[part] + self.number * odds[self.table[part], None]
            weight = np.exp(x - x.max(axis=1, keepdims=True))
            out[part] = weight @ self.number / (weight.sum(axis=1) * np.maximum(self.unseen[part], 1))
        return out[self.inverse]


class _Integral:
    """Columns in general: the sum over supports as an integral of t^(C - 1) (1 - t)^(N - 1) prod_k (odds_k + t^gap_k) over t.

    Expanded, it is a sum of beta functions B(a, N) with C <= a <= P, all positive. The trapezoidal rule is exact to about 1e-8
    for each of them: in z, with t / (1 - t) = sinh(softplus(y) / sqrt(N + 1))^2, they are bell-shaped with a deviation of about
    1/2 whatever a and N are, and y - z grows exponentially where tails (of a small C or N) are long.
    """

    def __init__(self, fit: _Fit, where: NDArray[np.intp]) -> None:
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
        beta = gammaln(before) + gammaln(seen) - gammaln(before + seen)
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
        """See `_Series.log_sums`."""
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


def _mean_rate(log_density: Callable[[Floats, Bools], Floats], n: int) -> tuple[Floats, Floats]:
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


def _gain(stay: Floats, before: Floats, seen: Floats) -> Floats:
    """ln B(stay, seen) - ln B(before, seen): the log evidence ratio of a column in which so many prior counts stay."""
    return np.asarray(gammaln(stay) - gammaln(stay + seen) - gammaln(before) + gammaln(before + seen))


def _own(reduced: Floats, prior: Floats, gained: Floats, where: Bools) -> Floats:
    """What entries add to the log evidence ratio by having seen something with a reduced count, 0 elsewhere."""
    out, where = np.zeros(where.shape), where & (gained > 0)
    r, p, n = reduced[where], prior[where], gained[where]
    out[where] = gammaln(r + n) - gammaln(r) - gammaln(p + n) + gammaln(p)
    return out


def _distinct(*columns: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """First of each distinct combination of values ``(n,)``, which of them each place has ``(m,)``, and how often ``(n,)``."""
    order = np.lexsort(columns)
    fresh = np.zeros(len(order), dtype=bool)
    fresh[:1] = True
    for column in columns:
        fresh[1:] |= np.diff(column[order]) != 0
    inverse = np.empty(len(order), dtype=np.intp)
    inverse[order] = np.cumsum(fresh) - 1
    return order[fresh], inverse, np.bincount(inverse)


def _parts(height: int, width: int) -> list[slice]:
    """Blocks of columns that fit into the processor's cache."""
    size = max(1, _BLOCK // max(height, 1))
    return [slice(i, min(i + size, width)) for i in range(0, width, size)]


def _rounding(q: Floats, outcomes: int = 0) -> Floats:
    return np.asarray(ROUNDING * np.maximum(q.max(axis=outcomes), 1.0))


def _table(posterior: ArrayLike, prior: ArrayLike) -> tuple[Floats, Floats]:
    q, p = as_counts(posterior, "posterior"), as_counts(prior, "prior")
    if q.shape != p.shape:
        raise ValueError(f"posterior and prior must have the same shape; got {q.shape} and {p.shape}")
    if not p.any():
        raise ValueError(f"prior must hold some counts; got {p.size} zeros")
    _check_gained(q, p)
    return q, p


def _check_gained(q: Floats, p: Floats, outcomes: int = 0) -> None:
    """An error unless the posterior is the prior and something observed, where the prior has counts."""
    lost = q - p < -np.expand_dims(_rounding(q, outcomes), outcomes)
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


def _checked_remainder(value: float) -> float:
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"remainder must be a finite number of counts >= 0; got {value}")
    return float(value)


def _checked_rate(value: float | str) -> float | str:
    if isinstance(value, str) and value == "learn":
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"rate must be a number in [0, 1) or 'learn'; got {value!r}")
    if not 0 <= value < 1:
        raise ValueError(f"rate must be in [0, 1); got {value}")
    return float(value)


def _single(q: Floats, p: Floats, c: float) -> Floats:
    """`single_ratios` of a block of columns."""
    n = q - p
    n[n <= _rounding(q)] = 0.0
    least = np.minimum(p, c)
    stay = p.sum(axis=0) - (p - least)
    # one entry may outweigh all others: do not lose what they have
    heavy, at = p.argmax(axis=0), np.arange(p.shape[1])
    others = p.copy()
    others[heavy, at] = least[heavy, at]
    stay[heavy, at] = others.sum(axis=0)
    possible = (p > 0) & (n == 0) & (stay > 0) if c == 0 else p > 0
    before, seen = (np.broadcast_to(x.sum(axis=0), p.shape)[possible] for x in (p, n))
    out = np.full(p.shape, -np.inf)
    out[possible] = _gain(stay[possible], before, seen)
    return out + _own(least, p, n, possible)
