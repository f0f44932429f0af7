"""Expected free energy of policies, one step ahead: utility and the gains in information about states, parameters and models.

Values are *negative* expected free energies, so that more is better; every gain is >= 0 (Friston et al. 2025). Policies that do the same to the factors that a modality depends on share the work for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference import Beliefs, Tables, predict
from activebmr.models import POMDP
from activebmr.scoring import ModelScorer
from activebmr.sparse import Floats, Ints, Ragged, cross, from_marginals, repeat_rows
from activebmr.tables import CountTable

__all__ = ["Prediction", "Terms", "entropy", "one_step_terms"]

_SUPPORT = 1e-16  # joint states with smaller marginal probabilities cannot move a float64 sum
_FLOOR = float(np.exp(LOG_FLOOR))
_CERTAIN = 1e-14  # a model with all but this of the probability leaves no gain that float64 could show


@dataclass(eq=False)
class Terms:
    """What each policy is worth and why, arrays ``(rows, n_policies)`` in nats; ``model`` is 0 where it was not asked for."""

    utility: Floats
    state: Floats
    param: Floats
    model: Floats

    def value(self, gains: Sequence[str]) -> Floats:
        """Negative expected free energy: utility plus the gains named."""
        total = self.utility.copy()
        for gain in gains:
            total += getattr(self, gain)
        return total


def entropy(p: Floats) -> Floats:
    """Entropy over the last axis, nats, logs floored at -32."""
    return -(p * np.log(np.maximum(p, _FLOOR))).sum(axis=-1)


class Prediction:
    """Predicted marginals one step ahead, for one-step policies that all rows share.

    Factors with a single control are predicted once per row; the others once per row and control.
    """

    def __init__(self, model: POMDP, qs: Beliefs, policies: Ints) -> None:
        self.model, self.policies = model, policies
        self.after = [predict(model, qs, f) for f in range(model.num_factors)]
        self.rows = len(qs[0])

    @classmethod
    def given(cls, model: POMDP, beliefs: Beliefs) -> Prediction:
        """Beliefs that are predictions already: one nameless policy per row."""
        prediction = cls.__new__(cls)
        prediction.model, prediction.rows = model, len(beliefs[0])
        prediction.policies = np.zeros((1, model.num_factors), dtype=np.intp)
        prediction.after = [q[:, None, :] for q in beliefs]
        return prediction

    def marginals(self, rows: Ints, policies: Ints) -> Beliefs:
        """Predicted marginals for chosen pairs of row and policy."""
        return [after[rows, self.policies[policies, f]] for f, after in enumerate(self.after)]

    def joint(self, modality: int) -> tuple[Ragged, Ints]:
        """Predicted joint states of the factors that a modality depends on.

        Returns:
            lists with rows ``(row, distinct policy)``, and for every policy which distinct one it is.
        """
        model = self.model
        deps = model.A_dependencies[modality]  # type: ignore[index]
        moved = [f for f in deps if model.num_controls[f] > 1]
        distinct, which = _distinct_rows(self.policies[:, moved]) if moved else (np.zeros((1, 0), dtype=np.intp), None)
        which = np.zeros(len(self.policies), dtype=np.intp) if which is None else which
        strides = dict(zip(deps, _strides([model.num_states[f] for f in deps]), strict=True))
        still = [f for f in deps if model.num_controls[f] == 1]
        joint: Ragged | None = None
        for f in still:
            support = from_marginals(self.after[f][:, 0], _SUPPORT)
            if joint is None:
                joint = Ragged(support.start, support.index * strides[f], support.weight)
            else:
                joint = cross(joint, support, 1, strides[f])
        if joint is not None:
            joint = repeat_rows(joint, len(distinct))
        for k, f in enumerate(moved):
            q = self.after[f][:, distinct[:, k]].reshape(-1, model.num_states[f])
            support = from_marginals(q, _SUPPORT)
            if joint is None:
                joint = Ragged(support.start, support.index * strides[f], support.weight)
            else:
                joint = cross(joint, support, 1, strides[f])
        assert joint is not None
        return joint, which


def _strides(sizes: Sequence[int]) -> list[int]:
    return [int(np.prod(sizes[i + 1 :])) for i in range(len(sizes))]


def _distinct_rows(array: Ints) -> tuple[Ints, Ints]:
    distinct, which = np.unique(array, axis=0, return_inverse=True)
    return distinct, which.reshape(-1)


def one_step_terms(
    prediction: Prediction,
    tables: Tables,
    agents: Ints,
    log_preferences: Sequence[Floats],
    gains: Sequence[str],
    model_posterior: Floats | None = None,
    model_gain: str = "exact",
) -> Terms:
    """Utility and gains of every policy for beliefs ``prediction`` of a batch of rows.

    Args:
        prediction: predicted beliefs.
        tables: what the agents know about each modality.
        agents: agent of each row (rows of deeper search levels share agents).
        log_preferences: log C per modality ``(O_m,)``.
        gains: which of ``"state"``, ``"param"`` and ``"model"`` are wanted; others stay zero.
        model_posterior: probability of each hypothesis per row ``(rows, n_hypotheses)``; without it no model gain.
        model_gain: ``"exact"`` (mutual information of model and outcome) or ``"plug-in"`` (SPM).
    """
    shape = (prediction.rows, len(prediction.policies))
    terms = Terms(*(np.zeros(shape) for _ in range(4)))
    for m, table in enumerate(tables):
        joint, which = prediction.joint(m)
        n_distinct = joint.rows // prediction.rows
        who = np.repeat(agents, n_distinct)
        offset = table.offset(who)
        expected = joint.expect(table.likelihood, offset)
        outcome = np.ascontiguousarray(expected[:, :-1])
        spread = lambda x, n=n_distinct, w=which: x.reshape(-1, n)[:, w]  # noqa: E731
        preference = log_preferences[m]
        if preference.any():
            terms.utility += spread(_dot(outcome, preference))
        if "state" in gains:
            gain = -_dot(outcome, np.log(np.maximum(outcome, _FLOOR)))
            if table.ambiguous:
                gain += expected[:, -1]
            terms.state += spread(np.maximum(gain, 0.0))
        if not isinstance(table, CountTable):
            continue
        if "param" in gains and table.novel[agents].any():
            novelty = _dot(outcome, joint.expect(table.novelty, offset))
            terms.param += spread(np.where(table.novel[who], novelty, 0.0))
        if "model" in gains and model_posterior is not None and table.scorer is not None:
            information = _MODEL_GAINS[model_gain](table, joint, who, outcome, _Wondering(model_posterior, n_distinct))
            terms.model += spread(information)
    return terms


def _dot(a: Floats, b: Floats) -> Floats:
    """Sum over the last axis of a * b, column by column (few columns, many rows)."""
    total = a[:, 0] * b[..., 0]
    for o in range(1, a.shape[1]):
        total += a[:, o] * b[..., o]
    return total


@dataclass(eq=False)
class _Wondering:
    """Beliefs over models of each row's agent; those who are certain have nothing to gain and are left out."""

    posterior: Floats
    n_policies: int

    def open(self) -> NDArray[np.bool_]:
        """Rows ``(row, distinct policy)`` whose agent still wonders."""
        return np.repeat(self.posterior.max(axis=1) < 1.0 - _CERTAIN, self.n_policies)

    def of(self, rows: Ints) -> Floats:
        return self.posterior[rows // self.n_policies]


@dataclass(eq=False)
class _Telling:
    """Entries of a `Ragged` that matter to hypotheses: rows with any, and their entries with rows renumbered without gaps."""

    rows: Ints
    start: Ints
    entry_row: Ints
    states: Ints
    weight: Floats

    @classmethod
    def find(cls, scorer: ModelScorer, joint: Ragged, wondering: _Wondering, whole_rows: bool) -> _Telling | None:
        """``whole_rows`` keeps every entry of a row in which any entry tells hypotheses apart."""
        told = scorer.telling_states[joint.index] & wondering.open()[joint.row]
        if whole_rows and not told.all():
            told = (joint.sum(told.astype(np.float64)) > 0)[joint.row]
        if told.all():
            return cls(np.arange(joint.rows), joint.start, joint.row, joint.index, joint.weight)
        held = np.flatnonzero(told)
        if len(held) == 0:
            return None
        row = joint.row[held]
        fresh = np.ones(len(row), dtype=bool)
        fresh[1:] = row[1:] != row[:-1]
        entry_row = np.cumsum(fresh) - 1
        start = np.append(np.flatnonzero(fresh), len(row))
        return cls(row[fresh], start, entry_row, joint.index[held], joint.weight[held])


def plug_in_model_gain(table: CountTable, joint: Ragged, agents: Ints, outcome: Floats, wondering: _Wondering) -> Floats:
    """KL[q(m | a + da) || q(m | a)], da = q(o) x q(s): one update with the *expected* counts (SPM; Friston et al. 2025).

    Reproduces the paper. It is not an expectation over outcomes: it can exceed the information there is, and miss what there is.
    """
    gain = np.zeros(joint.rows)
    scorer = table.scorer
    found = None if scorer is None else _Telling.find(scorer, joint, wondering, whole_rows=False)
    if scorer is None or found is None or table.differences is None:
        return gain
    rows, states = found.rows, found.states
    who = agents[rows][found.entry_row]
    counts = table.counts[who, states]
    fictive = counts + (counts > 0) * outcome[rows][found.entry_row] * found.weight[:, None]
    change = scorer.differences(scorer.evidence(fictive, states), states) - table.differences[who, states]
    shift = scorer.collect(found.start, states, change)
    shift -= shift.max(axis=1, keepdims=True)
    after = wondering.of(rows) * np.exp(shift)
    total = after.sum(axis=1)
    gain[rows] = np.maximum((after * shift).sum(axis=1) / total - np.log(total), 0.0)
    return gain


def exact_model_gain(table: CountTable, joint: Ragged, agents: Ints, outcome: Floats, wondering: _Wondering) -> Floats:
    """I(M; o | policy) = H[sum_m q(m) P(o|m)] - sum_m q(m) H[P(o|m)], outcomes enumerated.

    P(o|m) = sum_s q(s) E[A_m][o, s] with the counts that model m would have by now (its reduced prior, offset included, plus
    the evidence). Bounded by H[q(m)] and by the log of the number of outcomes.
    """
    gain = np.zeros(joint.rows)
    scorer = table.scorer
    found = None if scorer is None else _Telling.find(scorer, joint, wondering, whole_rows=True)
    if scorer is None or found is None:
        return gain
    who = agents[found.rows][found.entry_row]
    # forgetting may leave less in a column than its prior held: no evidence, not negative evidence
    evidence = np.maximum(scorer.evidence(table.counts[who, found.states], found.states), 0.0)
    base, change = scorer.predictions(evidence, found.states)
    q = wondering.of(found.rows)
    information = np.zeros(len(found.rows))
    for o in scorer.telling_outcomes:
        p = scorer.collect(found.start, found.states, change[:, :, o] * found.weight[:, None])
        p += np.add.reduceat(base[:, o] * found.weight, found.start[:-1])[:, None]
        average = (q * p).sum(axis=1)
        information += (q * p * np.log(np.maximum(p, _FLOOR))).sum(axis=1) - average * np.log(np.maximum(average, _FLOOR))
    gain[found.rows] = np.maximum(information, 0.0)
    return gain


_MODEL_GAINS = {"exact": exact_model_gain, "plug-in": plug_in_model_gain}
