"""What an outcome would tell about hypotheses that are scored by their counts, from factor marginals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.tables import CountTable
from activebmr.planning.marginal_predictions import Cells
from activebmr.ragged import chosen_rows, repeat_rows

__all__ = ["MODEL_GAINS", "Doubt", "exact_model_gain", "plug_in_model_gain"]

_FLOOR = float(np.exp(LOG_FLOOR))
_TAME = 1 / 256  # a count changes a score by at most about 1 / offset


@dataclass(eq=False)
class Doubt:
    """Entries that matter to hypotheses, cell by cell: for every row in doubt, movement and slab column that tells.

    Attributes:
        rows: rows in doubt.
        slab: columns of the slab that tell hypotheses apart in some state.
        start: entries of each cell ``(rows, moves, slab)``, with the entries of a cell one after the other.
        states, weight: column and probability of each entry.
        flat: position of each entry's column in the tables.
        entry: cell of each entry; ``cell``: that cell among all of the batch's, tellings and others.
        posterior: beliefs over hypotheses of each row ``(rows, 1, n_hypotheses)``.
    """

    rows: Ints
    slab: Ints
    n_moves: int
    start: Ints
    states: Ints
    weight: Floats
    flat: Ints
    entry: Ints
    cell: Ints
    posterior: Floats

    @classmethod
    def about(cls, table: CountTable, cells: Cells, agents: Ints, wondering: Ints, model_posterior: Floats) -> Doubt | None:
        scorer = table.scorer
        assert scorer is not None
        telling = scorer.telling_states.reshape(-1, cells.n_slab)
        slab = np.flatnonzero(telling.any(axis=0))
        if len(slab) == 0:
            return None
        lists = (wondering[:, None] * cells.n_moves + np.arange(cells.n_moves)).ravel()
        joint = cells.joint if len(wondering) == len(agents) else chosen_rows(cells.joint, lists)
        joint = repeat_rows(joint, len(slab))
        entry = joint.row
        states = joint.index * cells.n_slab + np.tile(slab, len(lists))[entry]
        owner = np.repeat(agents[wondering], cells.n_moves * len(slab))
        return cls(
            rows=wondering,
            slab=slab,
            n_moves=cells.n_moves,
            start=joint.start,
            states=states,
            weight=joint.weight,
            flat=owner[entry] * table.n_states + states,
            entry=entry,
            cell=(lists[:, None] * cells.n_slab + slab).ravel(),
            posterior=model_posterior[wondering][:, None],
        )

    def write(self, gain: Floats, into: Floats) -> None:
        """Put the cells' gains where they belong in ``(rows, moves * slab)``."""
        into.reshape(-1)[self.cell] = gain


def plug_in_model_gain(table: CountTable, doubt: Doubt, outcome: Floats) -> Floats:
    """KL[q(m | a + da) || q(m | a)], da = q(o) x q(s): one update with the *expected* counts (SPM; Friston et al. 2025).

    Reproduces the paper. It is not an expectation over outcomes: it can exceed the information there is, and miss what there
    is.
    """
    scorer = table.scorer
    assert scorer is not None and table.differences is not None
    counts = table.counts.reshape(-1, table.n_outcomes)[doubt.flat]
    fictive = counts + (counts > 0) * (outcome[doubt.cell][doubt.entry] * doubt.weight[:, None])
    change = scorer.differences(scorer.evidence(fictive, doubt.states), doubt.states) - table.differences[doubt.flat]
    shift = scorer.collect(doubt.start, doubt.states, change)
    shift = shift.reshape(len(doubt.rows), -1, shift.shape[1])
    if scorer.offset < _TAME:  # else one count shifts no score by more than exp can bear
        shift -= shift.max(axis=2, keepdims=True)
    q = np.ascontiguousarray(doubt.posterior.transpose(0, 2, 1))
    odds = np.exp(shift)
    total = np.matmul(odds, q)[:, :, 0]
    odds *= shift
    return np.maximum(np.matmul(odds, q)[:, :, 0] / total - np.log(total), 0.0).ravel()


def exact_model_gain(table: CountTable, doubt: Doubt, outcome: Floats) -> Floats:
    """I(M; o | policy) = H[sum_m q(m) P(o|m)] - sum_m q(m) H[P(o|m)], outcomes enumerated.

    P(o|m) = sum_s q(s) E[A_m][o, s] with the counts that model m would have by now (its reduced prior, offset included, plus
    the evidence). Bounded by H[q(m)] and by the log of the number of outcomes.
    """
    scorer = table.scorer
    assert scorer is not None
    # forgetting may leave less in a column than its prior held: no evidence, not negative evidence
    evidence = np.maximum(scorer.evidence(table.counts.reshape(-1, table.n_outcomes)[doubt.flat], doubt.states), 0.0)
    base, change = scorer.predictions(evidence, doubt.states)
    q = np.ascontiguousarray(doubt.posterior.transpose(0, 2, 1))
    information, rest = 0.0, 0.0
    for k, o in enumerate(scorer.telling_outcomes):
        common = np.add.reduceat(base[:, o] * doubt.weight, doubt.start[:-1])[:, None]
        if k + 1 < len(scorer.telling_outcomes):
            differs = scorer.collect(doubt.start, doubt.states, change[:, :, o] * doubt.weight[:, None])
            rest = rest - differs
            p = differs
            p += common
        else:  # what models predict sums to one, so the last outcome differs by what the others leave
            p = rest + common
        p = np.maximum(p, _FLOOR, out=p).reshape(len(doubt.rows), -1, q.shape[1])
        average = np.matmul(p, q)[:, :, 0]
        p *= np.log(p)
        information = information + np.matmul(p, q)[:, :, 0] - average * np.log(average)
    return np.maximum(information, 0.0).ravel()


MODEL_GAINS = {"exact": exact_model_gain, "plug-in": plug_in_model_gain}
"""Gains about models by name of the planner's setting."""
