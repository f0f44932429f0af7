"""Scores of a whole hypothesis space from per-agent counts: only what differs between hypotheses is ever computed.

Two hypotheses that put the same reduced prior on a column score that column alike, and what all hypotheses share cancels in
their posterior. So per column one reduced prior is the *baseline*, and every other one is a *feature*: a score difference that
counts for the hypotheses that have it. Features with the same set of hypotheses share a row of one small matrix.

The difference of two reduced priors is lnG(x + r1) - lnG(x + r0) summed over outcomes; where r1 - r0 is a whole
number it is the logarithm of a product, and no gamma function is evaluated at all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.special import gammaln

from activebmr.hypotheses import ColumnTable
from activebmr.sparse import Floats, Ints, weighted_rows

__all__ = ["ModelScorer"]

_LONGEST_PRODUCT = 16


class _Pair:
    """Score of one reduced column over another one, as a function of the evidence counts in that column."""

    def __init__(self, base: Floats, alternative: Floats, offset: float) -> None:
        self.base, self.alternative = base + offset, alternative + offset
        if (self.base <= 0).any() or (self.alternative <= 0).any():
            raise ValueError(
                "offset must be positive when hypotheses hold zeros: an outcome that a hypothesis calls impossible would "
                f"refute it for ever; got offset={offset}"
            )
        self.total_base, self.total_alternative = self.base.sum(), self.alternative.sum()
        self.same_total = bool(np.isclose(self.total_base, self.total_alternative, rtol=1e-14))
        steps = self.alternative - self.base
        self.steps = np.rint(steps).astype(int)
        self.whole = bool(np.all(np.abs(steps - self.steps) < 1e-12) and np.abs(self.steps).max() <= _LONGEST_PRODUCT)
        # columns that differ by rounding alone say the same
        self.outcomes = np.flatnonzero(self.steps != 0) if self.whole else np.flatnonzero(np.abs(steps) > 1e-12)
        self.constant = 0.0
        self.constant = float(self.difference(np.zeros((1, len(base))))[0])
        # outcomes that the two may predict differently, and so the only ones that tell models apart
        self.telling = np.arange(len(base)) if not self.same_total else self.outcomes

    def difference(self, evidence: Floats) -> Floats:
        """Log evidence of the alternative minus that of the base for evidence counts (entries, outcomes)."""
        outcomes = self.outcomes
        if len(outcomes) == 0:
            return np.zeros(len(evidence))
        if self.whole:
            up, down = None, None
            for o in outcomes:
                low = evidence[:, o] + min(self.base[o], self.alternative[o])
                product = low.copy()
                for i in range(1, abs(int(self.steps[o]))):
                    product *= low + i
                if self.steps[o] > 0:
                    up = product if up is None else up * product
                else:
                    down = product if down is None else down * product
            ratio = up if down is None else (1.0 / down if up is None else up / down)
            score = np.log(ratio)
        else:
            score = np.zeros(len(evidence))
            for o in outcomes:
                score += gammaln(evidence[:, o] + self.alternative[o]) - gammaln(evidence[:, o] + self.base[o])
        if not self.same_total:
            total = evidence.sum(axis=1)
            score -= gammaln(total + self.total_alternative) - gammaln(total + self.total_base)
        return score - self.constant


class ModelScorer:
    """Compiled hypotheses about one modality.

    Args:
        table: the reduced priors.
        prior: the full prior's counts ``(n_states, n_outcomes)``, columns in the order they are kept.
        offset: added to every reduced prior.
        order: for each column as kept, its position in the table; the table's own order by default.

    Attributes:
        features: which hypotheses have each distinct feature, ``(n_features, n_hypotheses)`` of 0 and 1.
        feature: row of ``features`` of the j-th alternative column at each state, ``(n_states, n_alternatives)``; -1 for none.
        pair: which pair of reduced columns that alternative is, same shape.
    """

    def __init__(self, table: ColumnTable, prior: Floats, offset: float, order: Ints | None = None) -> None:
        classes, of_state = table.column_classes
        if order is not None:
            of_state = of_state[order]
        self.prior, self.offset = prior, offset
        self.n_outcomes = table.columns.shape[1]
        rows: dict[bytes, int] = {}
        patterns: list[Floats] = []
        pairs: dict[tuple[int, int], int] = {}
        per_class: list[list[tuple[int, int]]] = []
        base_of_class = np.empty(len(classes), dtype=np.intp)
        for c, assigned in enumerate(classes):
            present = np.unique(assigned)
            base_of_class[c] = present[0]
            found = []
            for k in present[1:]:
                pattern = (assigned == k).astype(np.float64)
                row = rows.setdefault(pattern.tobytes(), len(rows))
                if row == len(patterns):
                    patterns.append(pattern)
                found.append((row, pairs.setdefault((int(present[0]), int(k)), len(pairs))))
            per_class.append(found)
        width = max((len(f) for f in per_class), default=0)
        feature = np.full((len(classes), width), -1, dtype=np.intp)
        pair = np.full((len(classes), width), -1, dtype=np.intp)
        for c, found in enumerate(per_class):
            for j, (row, which) in enumerate(found):
                feature[c, j], pair[c, j] = row, which
        self.features = np.array(patterns).reshape(len(patterns), len(table.assignment))
        self.feature, self.pair = feature[of_state], pair[of_state]
        self.pairs = [_Pair(table.columns[a], table.columns[b], offset) for a, b in pairs]
        self.base = table.columns[base_of_class[of_state]] + offset
        self.telling_states = (self.feature >= 0).any(axis=1)
        # sums differences over the columns that share a feature
        entries = np.flatnonzero(self.feature.ravel() >= 0)
        self._gather = csr_array(
            (np.ones(len(entries)), (self.feature.ravel()[entries], entries)), shape=(len(patterns), self.feature.size)
        )
        self.telling_outcomes = sorted({int(o) for p in self.pairs for o in p.telling})

    def evidence(self, counts: Floats, states: Ints) -> Floats:
        """Evidence counts n = counts - prior of columns ``states``; without the reduced prior and the offset.

        Forgetting, or adopting another hypothesis, may leave less in a column than its prior held. That is no evidence of
        minus an observation: n is kept above minus half the offset (SPM's own numbers stay far above that).
        """
        return np.maximum(counts - self.prior[states], -0.5 * self.offset)

    def differences(self, evidence: Floats, states: Ints) -> Floats:
        """Score of each alternative column over the baseline, ``(entries, n_alternatives)``; 0 where there is none."""
        out = np.zeros((len(states), self.feature.shape[1]))
        for j, g, entries in self._entries_by_pair(states):
            if entries is None:
                out[:, j] = self.pairs[g].difference(evidence)
            else:
                out[entries, j] = self.pairs[g].difference(evidence[entries])
        return out

    def _entries_by_pair(self, states: Ints) -> Iterator[tuple[int, int, Ints | None]]:
        """Alternative, pair and the entries that have it; None for all of them."""
        for j in range(self.feature.shape[1]):
            which = self.pair[states, j]
            for g in range(len(self.pairs)):
                held = which == g
                count = np.count_nonzero(held)
                if count:
                    yield j, g, None if count == len(held) else np.flatnonzero(held)

    def predictions(self, evidence: Floats, states: Ints) -> tuple[Floats, Floats]:
        """Predicted outcomes under the baseline ``(entries, outcomes)``, and how each alternative's differ ``(entries,
        alternatives, outcomes)``.
        """
        base = evidence + self.base[states]
        base /= _row_sums(base)
        change = np.zeros((len(states), self.feature.shape[1], self.n_outcomes))
        for j, g, entries in self._entries_by_pair(states):
            held = slice(None) if entries is None else entries
            other = evidence[held] + self.pairs[g].alternative
            other /= _row_sums(other)
            change[held, j] = other - base[held]
        return base, change

    def totals(self, differences: Floats) -> Floats:
        """Scores of hypotheses from the differences in all columns ``(n, n_states, n_alternatives)``: ``(n, n_hypotheses)``."""
        per_feature = (self._gather @ differences.reshape(len(differences), self.feature.size).T).T
        return np.asarray(np.matmul(np.ascontiguousarray(per_feature)[:, None, :], self.features)[:, 0])

    def collect(self, start: Ints, states: Ints, values: Floats) -> Floats:
        """Sum per-entry alternatives' values ``(entries, n_alternatives)`` over rows into scores of hypotheses ``(rows,
        n_hypotheses)``.
        """
        out = np.zeros((len(start) - 1, self.features.shape[1]))
        for j in range(self.feature.shape[1]):
            feature = self.feature[states, j]
            # where there is no alternative the value is 0, and it may count for any feature
            value = np.ascontiguousarray(values[:, j])
            score = weighted_rows(start, np.maximum(feature, 0), value, self.features)
            out = out + score if j else score
        return out


def _row_sums(array: Floats) -> Floats:
    """Sums over the (short) last axis, kept as an axis."""
    total = array[:, 0].copy()
    for k in range(1, array.shape[1]):
        total += array[:, k]
    return total[:, None]
