"""Scores of a whole hypothesis space from per-agent counts: only what differs between hypotheses is ever computed.

Two hypotheses that put the same reduced prior on a column score that column alike, and what all hypotheses share cancels in
their posterior. So per column one reduced prior is the *baseline*, and every other one is a *feature*: a score difference that
counts for the hypotheses that have it. Features with the same set of hypotheses share a row of one small matrix.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from activebmr.arrays import Floats, Ints
from activebmr.model.columns import ColumnTable
from activebmr.ragged import weighted_rows
from activebmr.reduction.pairs import PairByPair, PairsTogether, row_sums

__all__ = ["ModelScorer"]

_FEW = 32  # pairs of columns up to which they are gone through one by one


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
            present, which = np.unique(assigned, return_inverse=True)
            base_of_class[c] = present[0]
            found = []
            for i, k in enumerate(present[1:], start=1):
                pattern = which == i
                row = rows.setdefault(np.packbits(pattern).tobytes(), len(rows))
                if row == len(patterns):
                    patterns.append(pattern.astype(np.float64))
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
        first, second = (table.columns[list(k)] for k in zip(*pairs, strict=True)) if pairs else (table.columns[:0],) * 2
        if (first + offset <= 0).any() or (second + offset <= 0).any():
            raise ValueError(
                "offset must be positive when hypotheses hold zeros: an outcome that a hypothesis calls impossible would "
                f"refute it for ever; got offset={offset}"
            )
        self.many = len(pairs) > _FEW
        self.pairs = (PairsTogether if self.many else PairByPair)(first, second, offset)
        self.base = table.columns[base_of_class[of_state]] + offset
        self.telling_states = (self.feature >= 0).any(axis=1)
        self.telling_outcomes = _telling(first, second)
        # sums differences over the columns that share a feature
        entries = np.flatnonzero(self.feature.ravel() >= 0)
        self._gather = csr_array(
            (np.ones(len(entries)), (self.feature.ravel()[entries], entries)), shape=(len(patterns), self.feature.size)
        )
        self._spread = csr_array(self.features.T) if self.many else None

    def evidence(self, counts: Floats, states: Ints) -> Floats:
        """Evidence counts n = counts - prior of columns ``states``; without the reduced prior and the offset.

        Forgetting, or adopting another hypothesis, may leave less in a column than its prior held. That is no evidence of
        minus an observation: n is kept above minus half the offset (SPM's own numbers stay far above that).
        """
        return np.maximum(counts - self.prior[states], -0.5 * self.offset)

    def differences(self, evidence: Floats, states: Ints) -> Floats:
        """Score of each alternative column over the baseline, ``(entries, n_alternatives)``; 0 where there is none."""
        return self.pairs.differences(evidence, self.pair[states])

    def predictions(self, evidence: Floats, states: Ints) -> tuple[Floats, Floats]:
        """Predicted outcomes under the baseline ``(entries, outcomes)``, and how each alternative's differ ``(entries,
        alternatives, outcomes)``.
        """
        base = evidence + self.base[states]
        base /= row_sums(base)
        return base, self.pairs.changes(evidence, base, self.pair[states])

    def totals(self, differences: Floats) -> Floats:
        """Scores of hypotheses from the differences in all columns ``(n, n_states, n_alternatives)``: ``(n, n_hypotheses)``."""
        per_feature = (self._gather @ differences.reshape(len(differences), self.feature.size).T).T
        return self._of_hypotheses(per_feature)

    def collect(self, start: Ints, states: Ints, values: Floats) -> Floats:
        """Sum per-entry alternatives' values ``(entries, n_alternatives)`` over rows into scores of hypotheses ``(rows,
        n_hypotheses)``.
        """
        n_rows = len(start) - 1
        if self.many:
            feature, row = self.feature[states], np.repeat(np.arange(n_rows), np.diff(start))[:, None]
            held, n_features = feature >= 0, len(self.features)
            sums = np.bincount((row * n_features + feature)[held], values[held], n_rows * n_features)
            return self._of_hypotheses(sums.reshape(n_rows, n_features))
        out = np.zeros((n_rows, self.features.shape[1]))
        for j in range(self.feature.shape[1]):
            feature = self.feature[states, j]
            # where there is no alternative the value is 0, and it may count for any feature
            value = np.ascontiguousarray(values[:, j])
            score = weighted_rows(start, np.maximum(feature, 0), value, self.features)
            out = out + score if j else score
        return out

    def _of_hypotheses(self, per_feature: Floats) -> Floats:
        """Scores of features ``(rows, n_features)`` as scores of hypotheses ``(rows, n_hypotheses)``."""
        if self._spread is not None:
            return np.ascontiguousarray((self._spread @ np.ascontiguousarray(per_feature.T)).T)
        return np.asarray(np.matmul(np.ascontiguousarray(per_feature)[:, None, :], self.features)[:, 0])


def _telling(base: Floats, alternative: Floats) -> list[int]:
    """Outcomes that some pair of columns may predict differently, and so the only ones that tell models apart.

    Where columns have different totals, all do.
    """
    rounding = 8 * np.finfo(np.float64).eps
    steps, total = alternative - base, np.maximum(base.sum(axis=1), alternative.sum(axis=1))
    differ = np.abs(steps) > rounding * np.maximum(base, alternative)
    differ |= (np.abs(steps.sum(axis=1)) > rounding * total)[:, None]
    return [int(o) for o in np.flatnonzero(differ.any(axis=0))]
