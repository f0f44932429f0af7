"""Structure learning without a list: which entries of a table of counts are not there at all?

Every entry of a column may be absent, a structural zero that the data could only fail to refute: an outcome that a state never
shows or, in a table of transitions, a move that does not exist. The model is a spike and slab: an entry is absent with
probability `rate`, each on its own (but a column keeps at least one), and the others have the counts that they have. The
evidence of a set of absent entries depends only on the sum a of the counts that stay,

    ln p(o | reduced) - ln p(o | full) = lnG(a) - lnG(a + N) - lnG(P) + lnG(P + N),

with P the prior counts of the column and N its observations (Savage-Dickey: the marginal of a Dirichlet is a beta
distribution). It is the logarithm of a ratio of beta functions, B(a, N) / B(P, N), and B(a, N) is an integral of t^(a - 1)
(1 - t)^(N - 1), under which a sum over all 2^K supports is a product over entries. So probabilities and evidence are exact: by
a short sum where the unseen entries of a column have equal prior counts, by one integral per column where they have not.
Source: Friston, Parr & Zeidman (2018) for the evidence; the sum over supports is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from activebmr import checks
from activebmr.arrays import Bools, Floats
from activebmr.dirichlet import LOG_FLOOR, as_counts
from activebmr.reduction.search.protocol import NATS, Reduction, checked_tables, checked_threshold
from activebmr.reduction.search.support_sums import gain, parts
from activebmr.reduction.search.supports import Fit, check_gained, own_ratio, rounding

__all__ = ["SingleParameters", "absent_probability", "learned_rate", "single_ratios", "support_evidence"]


_FLOOR = float(np.exp(LOG_FLOOR))  # share of its prior count that an entry keeps at least when averaging
_COUNTS = checks.Rule("be a finite number of counts >= 0", checks.NOT_NEGATIVE.holds)
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
    for part in parts(*out.shape):
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
    fit = Fit(q[None], p[None], _checked_remainder(remainder))
    fit.set_rate(_checked_rate(rate))
    out = np.empty(fit.q.shape)
    for part in parts(*out.shape):
        out[:, part] = fit.absent(part)
    return out.reshape(q.shape)


def learned_rate(posterior: ArrayLike, prior: ArrayLike, remainder: float = 0.0) -> float:
    """Probability that an entry is absent, learned from a whole table: its posterior mean, if uniform in [0, 1] before.

    It is 0.5 where nothing was observed. See `single_ratios` for the arguments and the errors. Of columns that need an integral
    (their unseen entries differ in prior counts, or there is a remainder) a large table's are sampled: evenly spaced ones, with
    about 65,000 entries.
    """
    q, p = _table(posterior, prior)
    fit = Fit(q[None], p[None], _checked_remainder(remainder))
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
    fit = Fit(q[None], p[None], _checked_remainder(remainder))
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

    Example:
        >>> before, seen = np.ones((2, 1)), np.array([[100.0], [0.0]])
        >>> found = SingleParameters(adopt="zero").reduce((before + seen)[None], before)
        >>> found.posterior.ravel()
        array([101.,   0.])
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
        self.search = checks.choice(search, "search of SingleParameters", _SEARCHES)
        self.adopt, self.rate = checks.choice(adopt, "adopt of SingleParameters", _ADOPTS), _checked_rate(rate)
        self.log_odds = checks.number(log_odds, "log_odds of SingleParameters", NATS)
        self.threshold, self.remainder = checked_threshold(threshold, "SingleParameters"), _checked_remainder(remainder)

    def reduce(self, posterior: ArrayLike, prior: ArrayLike) -> Reduction:
        """See `activebmr.reduction.search.alternatives.ModelSpace.reduce`.

        Raises:
            ValueError: also if a posterior count is below the prior's, as after forgetting: what was observed is then unknown.
        """
        fit = self._fit(posterior, prior)
        shape = fit.shape
        fresh_p, fresh_q = fit.p.copy(), fit.q.copy()
        removed, changed = np.zeros(fit.q.shape, dtype=bool), np.zeros(len(fit.seen), dtype=bool)
        ratio = np.zeros(len(fit.seen))
        for part in parts(*removed.shape):
            removed[:, part], changed[part], ratio[part] = self._reduce(fit, part, fresh_p[:, part], fresh_q[:, part])
        back = lambda x: np.ascontiguousarray(np.moveaxis(x.reshape(shape[1], shape[0], *shape[2:]), 1, 0))  # noqa: E731
        ratio, accepted = ratio.reshape(shape[0], -1).sum(axis=1), changed.reshape(shape[0], -1).any(axis=1)
        return Reduction(back(fresh_p), back(fresh_q), ratio, accepted, np.full(shape[0], -1), removed=back(removed))

    def evidence(self, posterior: ArrayLike, prior: ArrayLike) -> Floats:
        """ln p(o | some entries may be absent) - ln p(o | parent) of each table, which the threshold is for; nats ``(n,)``."""
        return self._fit(posterior, prior).worth

    def _fit(self, posterior: ArrayLike, prior: ArrayLike) -> Fit:
        q, p = checked_tables(posterior, prior)
        check_gained(q, p, outcomes=1)
        fit = Fit(q, p, self.remainder)
        fit.set_rate(self.rate)
        return fit

    def _reduce(self, fit: Fit, part: slice, fresh_p: Floats, fresh_q: Floats) -> tuple[Bools, Bools, Floats]:
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


def _table(posterior: ArrayLike, prior: ArrayLike) -> tuple[Floats, Floats]:
    q, p = as_counts(posterior, "posterior"), as_counts(prior, "prior")
    if q.shape != p.shape:
        raise ValueError(f"posterior and prior must have the same shape; got {q.shape} and {p.shape}")
    if not p.any():
        raise ValueError(f"prior must hold some counts; got {p.size} zeros")
    check_gained(q, p)
    return q, p


def _checked_remainder(value: float) -> float:
    return checks.number(value, "remainder", _COUNTS)


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
    n[n <= rounding(q)] = 0.0
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
    out[possible] = gain(stay[possible], before, seen)
    return out + own_ratio(least, p, n, possible)
