"""Scores of one reduced column over another one, as functions of the evidence counts in that column.

The difference of two reduced priors r0 and r1 is lnG(n + r1) - lnG(r1) - lnG(n + r0) + lnG(r0) summed over outcomes, less the
same of the columns' totals. `PairByPair` goes through a few pairs one by one, and takes the logarithm of a product where
r1 - r0 is a small whole number: no gamma function at all. `PairsTogether` does many pairs in one array. Both give 0 for no
evidence.
"""

from __future__ import annotations

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.log_gamma import log_rise_difference

__all__ = ["PairByPair", "PairsTogether", "row_sums"]

_LONGEST_PRODUCT = 16
_ROUNDING = 8 * np.finfo(np.float64).eps
_BLOCK = 2**17  # numbers held at a time


class _Pair:
    """One pair of columns ``(n_outcomes,)`` each; the offset is added to both."""

    def __init__(self, base: Floats, alternative: Floats, offset: float) -> None:
        self.base, self.alternative = base + offset, alternative + offset
        self.total_base, self.total_alternative = self.base.sum(), self.alternative.sum()
        steps, scale = alternative - base, np.maximum(base, alternative)
        self.same_total = bool(abs(steps.sum()) <= _ROUNDING * max(self.total_base, self.total_alternative))
        whole = np.rint(steps)
        ends = max(whole[whole > 0].sum(), -whole[whole < 0].sum())
        self.whole = bool((np.abs(steps - whole) <= _ROUNDING * scale).all() and ends <= _LONGEST_PRODUCT)
        self.steps = whole.astype(int) if self.whole else np.zeros(len(base), dtype=int)
        # columns that differ by rounding alone say the same
        self.outcomes = np.flatnonzero(self.steps if self.whole else np.abs(steps) > _ROUNDING * scale)
        self.constant = float(np.log(self._ratio(np.zeros((1, len(base)))))[0]) if self.whole and len(self.outcomes) else 0.0

    def difference(self, evidence: Floats) -> Floats:
        """Log evidence of the alternative minus that of the base for evidence counts (entries, outcomes)."""
        if len(self.outcomes) == 0:
            score = np.zeros(len(evidence))
        elif self.whole:
            score = np.log(self._ratio(evidence))
            score -= self.constant
        else:
            score = np.zeros(len(evidence))
            for o in self.outcomes:
                score += log_rise_difference(self.alternative[o], evidence[:, o], self.base[o])
        if not self.same_total:
            score -= log_rise_difference(self.total_alternative, evidence.sum(axis=1), self.total_base)
        return score

    def _ratio(self, evidence: Floats) -> Floats:
        """Product of G(n + r1) / G(n + r0) over outcomes."""
        up, down = None, None
        for o in self.outcomes:
            low = evidence[:, o] + min(self.base[o], self.alternative[o])
            product = low.copy()
            for i in range(1, abs(int(self.steps[o]))):
                product *= low + i
            if self.steps[o] > 0:
                up = product if up is None else up * product
            else:
                down = product if down is None else down * product
        return up if down is None else (1.0 / down if up is None else up / down)  # type: ignore[return-value]


class PairByPair:
    """A few pairs of columns ``(n_pairs, n_outcomes)``, each with the entries that have it.

    The methods of both classes take evidence counts ``(entries, n_outcomes)`` and the pair of each alternative of each entry
    ``(entries, n_alternatives)``, -1 for none.
    """

    def __init__(self, base: Floats, alternative: Floats, offset: float) -> None:
        self.pairs = [_Pair(a, b, offset) for a, b in zip(base, alternative, strict=True)]

    def differences(self, evidence: Floats, pair: Ints) -> Floats:
        """Score of each alternative over the base ``(entries, n_alternatives)``; 0 where there is none."""
        out = np.zeros(pair.shape)
        for j, g, entries in self._places(pair):
            if entries is None:
                out[:, j] = self.pairs[g].difference(evidence)
            else:
                out[entries, j] = self.pairs[g].difference(evidence[entries])
        return out

    def changes(self, evidence: Floats, base: Floats, pair: Ints) -> Floats:
        """How each alternative's predictions differ from ``base`` ``(entries, n_outcomes)``: ``(entries, n_alternatives,
        n_outcomes)``.
        """
        change = np.zeros((*pair.shape, evidence.shape[1]))
        for j, g, entries in self._places(pair):
            held = slice(None) if entries is None else entries
            other = evidence[held] + self.pairs[g].alternative
            other /= row_sums(other)
            change[held, j] = other - base[held]
        return change

    def _places(self, pair: Ints) -> list[tuple[int, int, Ints | None]]:
        """Alternative, pair and the entries that have it; None for all of them."""
        found: list[tuple[int, int, Ints | None]] = []
        for j in range(pair.shape[1]):
            for g in range(len(self.pairs)):
                held: Bools = pair[:, j] == g
                count = np.count_nonzero(held)
                if count:
                    found.append((j, g, None if count == len(held) else np.flatnonzero(held)))
        return found


class PairsTogether:
    """Many pairs of columns, all at once; see `PairByPair`."""

    def __init__(self, base: Floats, alternative: Floats, offset: float) -> None:
        scale = np.maximum(base, alternative)
        self.differ = np.abs(alternative - base) > _ROUNDING * scale
        self.base, self.alternative = base + offset, alternative + offset
        self.total_base, self.total_alternative = row_sums(self.base)[:, 0], row_sums(self.alternative)[:, 0]

    def differences(self, evidence: Floats, pair: Ints) -> Floats:
        out = np.zeros(pair.shape)
        entry, alternative = np.nonzero(pair >= 0)
        total = row_sums(evidence)[:, 0]
        size = max(1, _BLOCK // evidence.shape[1])
        for at in range(0, len(entry), size):
            e, j = entry[at : at + size], alternative[at : at + size]
            g = pair[e, j]
            n = evidence[e]
            row, o = np.nonzero((n != 0) & self.differ[g])  # what has seen nothing tells nothing
            each = np.zeros(n.shape)
            each[row, o] = log_rise_difference(self.alternative[g[row], o], n[row, o], self.base[g[row], o])
            seen = log_rise_difference(self.total_alternative[g], total[e], self.total_base[g])
            out[e, j] = row_sums(each)[:, 0] - seen
        return out

    def changes(self, evidence: Floats, base: Floats, pair: Ints) -> Floats:
        change = np.zeros((*pair.shape, evidence.shape[1]))
        entry, alternative = np.nonzero(pair >= 0)
        other = evidence[entry] + self.alternative[pair[entry, alternative]]
        other /= row_sums(other)
        change[entry, alternative] = other - base[entry]
        return change


def row_sums(array: Floats) -> Floats:
    """Sums over the (short) last axis, kept as an axis."""
    total = array[:, 0].copy()
    for k in range(1, array.shape[1]):
        total += array[:, k]
    return total[:, None]
