"""Expected free energy of policies, one step ahead: utility and the gains in information about states, parameters and models.

Values are *negative* expected free energies, so that more is better; every gain is >= 0 (Friston et al. 2025). Policies that
do the same to the factors that a modality depends on share the work for it: each modality is evaluated per *cell*, a
combination of where its set factors end (a column of its slab) and how its other controlled factors move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.beliefs import SUPPORT, Belief
from activebmr.inference.looking_up import Tables, columns_of, unknown_factors
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.layout import Layout, dynamics_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.evaluation import Terms
from activebmr.ragged import Ragged, chosen_rows, cross, from_marginals, repeat_rows

__all__ = ["Given", "Prediction", "one_step_terms"]

_FLOOR = float(np.exp(LOG_FLOOR))
_TAME = 1 / 256  # a count changes a score by at most about 1 / offset
_CERTAIN = 1e-14  # a model with all but this of the probability leaves no gain that float64 could show


@dataclass(eq=False)
class Cells:
    """Predicted joint states of one modality's factors, for all distinct things that policies do to them.

    Attributes:
        joint: lists with rows ``(row, movement)``: states of the factors that are not set (indices into columns / slab width).
        n_moves: distinct movements of general factors.
        n_slab: width of a slab, the number of joint states of set factors.
        cell: cell ``movement * n_slab + slab column`` of every policy ``(n_policies,)``.
    """

    joint: Ragged
    n_moves: int
    n_slab: int
    cell: Ints

    def spread(self, values: Floats) -> Floats:
        """Per-cell values ``(rows * n_moves * n_slab,)`` to policies ``(rows, n_policies)``."""
        # not values[:, cell]: that is laid out by columns, and sums over policies would then depend on the number of rows
        return np.take(values.reshape(-1, self.n_moves * self.n_slab), self.cell, axis=1)


class Prediction:
    """Predicted beliefs one step ahead under one-step policies ``(n_policies, n_factors)`` that all rows share."""

    def __init__(self, model: POMDP, beliefs: Belief | Sequence[Floats], policies: Ints) -> None:
        self.model, self.policies = model, policies
        self.belief = Belief.of(beliefs)
        self.rows = self.belief.rows
        self._dynamics = dynamics_of(model)

    @cached_property
    def _after(self) -> dict[int, Floats]:
        """Marginals of the general factors under each of their controls ``(rows, U_f, S_f)``."""
        kinds = self._dynamics.kind
        now = list(self.belief) if "general" in kinds else []
        return {f: self._dynamics.after(now, f) for f, kind in enumerate(kinds) if kind == "general"}

    def under(self, rows: Ints, policies: Ints) -> Belief:
        """Predicted beliefs for chosen pairs of row and policy."""
        belief, kinds = self.belief, self._dynamics.kind
        controls = self.policies[policies]
        marginals: list[Floats | None] = []
        known: list[Ints | None] = []
        for f, kind in enumerate(kinds):
            target = self._dynamics.target[f]
            state = belief.known[f]
            if kind == "set" and target is not None:
                state, q = target[controls[:, f]], None
            elif kind == "general":
                state, q = None, self._after[f][rows, controls[:, f]]
            else:
                state, q = (None, belief[f][rows]) if state is None else (state[rows], None)
            marginals.append(q)
            known.append(state)
        return Belief(marginals, known, belief.sizes)

    def cells(self, layout: Layout) -> Cells:
        """The distinct predictions about the factors of one modality."""
        kinds = self._dynamics.kind
        fixed = tuple(f for f in layout.still if kinds[f] == "fixed")
        general = tuple(f for f in layout.still if kinds[f] == "general")
        slab = layout.policy_columns(self.policies)
        if not general:
            return Cells(self.belief.joint(fixed), 1, layout.n_slab, slab)
        moved = [f for f in general if self.model.num_controls[f] > 1]
        moves, move = np.unique(self.policies[:, moved], axis=0, return_inverse=True)
        joint = repeat_rows(self.belief.joint(()), len(moves))
        for f in layout.still:
            if kinds[f] == "fixed":
                support = repeat_rows(self.belief.support(f), len(moves))
            else:
                control = moves[:, moved.index(f)] if f in moved else np.zeros(len(moves), dtype=np.intp)
                support = from_marginals(self._after[f][:, control].reshape(-1, self.belief.sizes[f]), SUPPORT)
            joint = cross(joint, support, stride_a=self.belief.sizes[f])
        return Cells(joint, len(moves), layout.n_slab, move.reshape(-1) * layout.n_slab + slab)


class Given:
    """Beliefs that are predictions already, as those of the later steps of a policy: one nameless policy per row."""

    def __init__(self, belief: Belief) -> None:
        self.belief, self.rows = belief, belief.rows
        self.policies = np.zeros((1, len(belief)), dtype=np.intp)

    def cells(self, layout: Layout) -> Cells:
        factors = unknown_factors(layout, self.belief)
        joint = self.belief.joint(factors)
        columns = columns_of(layout, self.belief, factors, joint)
        return Cells(Ragged(joint.start, columns, joint.weight), 1, 1, np.zeros(1, dtype=np.intp))


def one_step_terms(
    prediction: Prediction | Given,
    tables: Tables,
    agents: Ints,
    log_preferences: Sequence[Floats],
    gains: Sequence[str],
    model_posterior: Floats | None = None,
    model_gain: str = "exact",
) -> Terms:
    """Utility and gains of every policy for the predicted beliefs of a batch of rows.

    Args:
        prediction: predicted beliefs.
        tables: what the agents know about each modality.
        agents: agent of each row (rows of deeper search levels share agents).
        log_preferences: log C per modality ``(O_m,)``.
        gains: which of ``"state"``, ``"param"`` and ``"model"`` are wanted.
        model_posterior: probability of each hypothesis per row ``(rows, n_hypotheses)``; without it no model gain.
        model_gain: ``"exact"`` (mutual information of model and outcome) or ``"plug-in"`` (SPM).
    """
    shape = (prediction.rows, len(prediction.policies))
    terms = Terms(*(np.zeros(shape) for _ in range(4)))
    wondering = None
    if "model" in gains and model_posterior is not None:
        wondering = np.flatnonzero(model_posterior.max(axis=1) < 1.0 - _CERTAIN)
    for m, table in enumerate(tables):
        cells = prediction.cells(table.layout)
        expected = _expect(table, table.likelihood, cells, agents)
        outcome = expected[:, :-1]
        if _matters(log_preferences[m]):
            terms.utility += cells.spread(_dot(outcome, log_preferences[m]))
        elif len(log_preferences[m]):
            terms.utility += log_preferences[m][0]
        if "state" in gains:
            gain = -_dot(outcome, np.log(np.maximum(outcome, _FLOOR)))
            if table.ambiguous:
                gain += expected[:, -1]
            terms.state += cells.spread(np.maximum(gain, 0.0))
        if not isinstance(table, CountTable):
            continue
        novel = table.novel[agents]
        if "param" in gains and novel.any():
            novelty = cells.spread(_dot(outcome, _expect(table, table.novelty, cells, agents)))
            terms.param += np.where(novel[:, None], novelty, 0.0)
        if wondering is not None and len(wondering) and model_posterior is not None and table.scorer is not None:
            doubt = _Doubt.about(table, cells, agents, wondering, model_posterior)
            information = np.zeros((prediction.rows, cells.n_moves * cells.n_slab))
            if doubt is not None:
                doubt.write(_MODEL_GAINS[model_gain](table, doubt, outcome), information)
            terms.model += cells.spread(information)
    return terms


def _matters(log_preference: Floats) -> bool:
    return bool((log_preference != log_preference[0]).any())


def _expect(table: KnownTable | CountTable, values: Floats, cells: Cells, agents: Ints) -> Floats:
    """Expectation of a table's columns ``(n * n_states, K)`` under each cell: ``(rows * n_moves * n_slab, K)``."""
    slabs = values.reshape(-1, cells.n_slab * values.shape[1])
    offset = None
    if table.learned:
        offset = np.repeat(agents * (table.n_states // cells.n_slab), cells.n_moves)
    return cells.joint.expect(slabs, offset).reshape(-1, values.shape[1])


def _dot(a: Floats, b: Floats) -> Floats:
    """Sum over the last axis of a * b, column by column (few columns, many rows)."""
    total = a[:, 0] * b[..., 0]
    for o in range(1, a.shape[1]):
        total += a[:, o] * b[..., o]
    return total


@dataclass(eq=False)
class _Doubt:
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
    def about(cls, table: CountTable, cells: Cells, agents: Ints, wondering: Ints, model_posterior: Floats) -> _Doubt | None:
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


def plug_in_model_gain(table: CountTable, doubt: _Doubt, outcome: Floats) -> Floats:
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


def exact_model_gain(table: CountTable, doubt: _Doubt, outcome: Floats) -> Floats:
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


_MODEL_GAINS = {"exact": exact_model_gain, "plug-in": plug_in_model_gain}
