"""Expected free energy of policies one step ahead, from factor marginals: utility, and the gains in information about states,
parameters and models, modality by modality.

Values are *negative* expected free energies, so that more is better; every gain is >= 0 (Friston et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.looking_up import Tables
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.planning.evaluation import Terms
from activebmr.planning.marginal_model_gains import MODEL_GAINS, Doubt
from activebmr.planning.marginal_predictions import Cells, Given, Prediction

__all__ = ["one_step_terms"]

_FLOOR = float(np.exp(LOG_FLOOR))
_CERTAIN = 1e-14  # a model with all but this of the probability leaves no gain that float64 could show


def one_step_terms(
    prediction: Prediction | Given,
    tables: Tables,
    agents: Ints,
    log_preferences: Sequence[Floats] | None,
    gains: Sequence[str],
    model_posterior: Floats | None = None,
    model_gain: str = "exact",
) -> Terms:
    """Utility and gains of every policy for the predicted beliefs of a batch of rows.

    Args:
        prediction: predicted beliefs.
        tables: what the agents know about each modality.
        agents: agent of each row (rows of deeper search levels share agents).
        log_preferences: log C per modality ``(O_m,)``, or of each agent of the batch ``(n_agents, O_m)``; None
            where utility is not wanted.
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
        if log_preferences is None and not table.learned and "state" not in gains:
            continue
        wanted = None if log_preferences is None else log_preferences[m]
        if wanted is not None and wanted.ndim == 1 and (wanted == wanted[0]).all():
            terms.utility += float(wanted[0])
            wanted = None
        telling = "state" in gains and (bool(table.layout.still) or isinstance(prediction, Given))
        if wanted is None and not telling and not table.learned:
            continue  # all its outcomes are worth the same, and it tells where actions lead, which is known
        cells = prediction.cells(table.layout)
        expected = _expect(table, table.likelihood, cells, agents)
        outcome = expected[:, :-1]
        if wanted is not None:
            terms.utility += _utility(wanted, cells, outcome, agents)
        if telling:
            gain = -_negentropy(outcome)
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
            doubt = Doubt.about(table, cells, agents, wondering, model_posterior)
            information = np.zeros((prediction.rows, cells.n_moves * cells.n_slab))
            if doubt is not None:
                doubt.write(MODEL_GAINS[model_gain](table, doubt, outcome), information)
            terms.model += cells.spread(information)
    return terms


def _utility(log_preference: Floats, cells: Cells, outcome: Floats, agents: Ints) -> Floats:
    """Expected log preference of a modality's outcomes ``(rows, n_policies)``."""
    if log_preference.ndim == 2:
        log_preference = np.repeat(log_preference[agents], cells.n_moves * cells.n_slab, axis=0)
    if log_preference.min() == -np.inf:  # what never happens may be as bad as can be
        log_preference = np.where(outcome > 0, log_preference, 0.0)
    return cells.spread(_dot(outcome, log_preference))


def _expect(table: KnownTable | CountTable, values: Floats, cells: Cells, agents: Ints) -> Floats:
    """Expectation of a table's columns ``(n * n_states, K)`` under each cell: ``(rows * n_moves * n_slab, K)``."""
    slabs = values.reshape(-1, cells.n_slab * values.shape[1])
    offset = None
    if table.learned:
        offset = np.repeat(agents * (table.n_states // cells.n_slab), cells.n_moves)
    return cells.joint.expect(slabs, offset).reshape(-1, values.shape[1])


def _negentropy(p: Floats) -> Floats:
    """Sum over the last axis of p log p, column by column (few columns, many rows)."""
    total = p[:, 0] * np.log(np.maximum(p[:, 0], _FLOOR))
    for o in range(1, p.shape[1]):
        total += p[:, o] * np.log(np.maximum(p[:, o], _FLOOR))
    return total


def _dot(a: Floats, b: Floats) -> Floats:
    """Sum over the last axis of a * b, column by column (few columns, many rows)."""
    total = a[:, 0] * b[..., 0]
    for o in range(1, a.shape[1]):
        total += a[:, o] * b[..., o]
    return total
