"""Mean-field beliefs: fixed-point iteration of one distribution per factor (pymdp's default)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from activebmr.arrays import Bools, Floats, Ints, softmax
from activebmr.inference.beliefs import Belief
from activebmr.inference.looking_up import Outcomes, Tables, unseen
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.pomdp import POMDP

__all__ = ["MEAN_FIELD_FLOOR", "ROUNDS", "infer_mean_field"]

ROUNDS = 16
"""Rounds of `infer_mean_field`, pymdp's default; where they have not converged the number is part of the result."""

MEAN_FIELD_FLOOR = float(np.finfo(np.float64).eps)
"""Smallest probability whose logarithm `infer_mean_field` sees: pymdp's 2.2e-16, where the other schemes have SPM's e^-32."""
_LOG_FLOOR = float(np.log(MEAN_FIELD_FLOOR)) + 1e-9  # with room for rounding


def infer_mean_field(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes, rounds: int = ROUNDS
) -> tuple[Belief, Floats, Bools]:
    """Factorised beliefs by fixed-point iteration, number for number those of pymdp 1.0.4's default scheme.

    Each of the ``rounds`` sets all factors at once to softmax(log prior + expected log likelihood under what the others
    believed the round before), starting from uniform beliefs; convergence is not asked for. A soft outcome counts with its
    expected log likelihood. With one factor this is exact; with several it is an approximation that can be far off where
    outcomes are impossible (a likelihood of 0), since it then depends on the floor of the logarithm. Other arguments as in
    `sequential.infer_sequential`.

    Returns:
        posterior beliefs; per row minus the variational free energy of the result ``(rows,)``, a lower bound of the log
        evidence if no floor was met; and whether it is as low as where the observation is impossible ``(rows,)``.
    """
    belief = Belief.of(beliefs)
    log_prior = [np.log(np.maximum(q, MEAN_FIELD_FLOOR)) for q in belief]
    logs = [_log_likelihoods(table, agents, outcome) for table, outcome in zip(tables, outcomes, strict=True)]
    of_modality = [(*table.layout.still, *table.layout.slab) for table in tables]
    updated = [np.zeros_like(p) for p in log_prior]
    for _ in range(rounds):
        marginals = [softmax(x) for x in updated]
        updated = [p.copy() for p in log_prior]
        for factors, log in zip(of_modality, logs, strict=True):
            for f, message in _messages(log, factors, marginals):
                updated[f] += message
    marginals = [softmax(x) for x in updated]
    bound = np.zeros(belief.rows)
    for q, p in zip(marginals, log_prior, strict=True):
        bound += _row_dot(q, p - np.log(np.maximum(q, MEAN_FIELD_FLOOR)))
    for factors, log in zip(of_modality, logs, strict=True):
        f, message = next(_messages(log, factors, marginals))
        bound += _row_dot(marginals[f], message)
    blind = _saw_nothing(outcomes, belief.rows)
    if blind.any():  # what they believed has passed through a logarithm with a floor
        bound[blind] = 0.0
        for q, before in zip(marginals, belief, strict=True):
            q[blind] = before[blind]
    # where an observation is impossible every joint state has a floor for its prior or for a likelihood, and the bound is the
    # average of that and an entropy
    floored = bound <= _LOG_FLOOR + np.log(belief.sizes).sum()
    if floored.any():
        floored &= np.any([(log <= _LOG_FLOOR).any(axis=1) for log in logs], axis=0)
    return belief.replaced(range(len(belief)), marginals), bound, floored


def _saw_nothing(outcomes: Outcomes, rows: int) -> Bools:
    """Rows without any outcome."""
    blind = np.ones(rows, dtype=bool)
    for outcome in outcomes:
        missing = unseen(outcome)
        if missing is None:
            return np.zeros(rows, dtype=bool)
        blind &= missing
    return blind


def _log_likelihoods(table: KnownTable | CountTable, agents: Ints, outcome: np.ndarray) -> Floats:
    """Log likelihood, expected under soft outcomes, of every column as kept: ``(rows, n_states)``; 0 where nothing was seen."""
    likelihood = table.likelihood[:, :-1].reshape(-1, table.n_states, table.n_outcomes)  # (agents or 1, states, outcomes)
    who = agents if table.learned else np.zeros_like(agents)
    if outcome.ndim == 1:
        log = np.log(np.maximum(likelihood[who, :, outcome], MEAN_FIELD_FLOOR))
        log[outcome < 0] = 0.0
        return log
    logs = np.log(np.maximum(likelihood, MEAN_FIELD_FLOOR))
    total = np.zeros((len(agents), table.n_states))
    for o in range(table.n_outcomes):
        total += outcome[:, o, None] * logs[who, :, o]
    return total


def _messages(table: Floats, factors: tuple[int, ...], marginals: Sequence[Floats]) -> Iterator[tuple[int, Floats]]:
    """Each factor, and the expectation ``(rows, S_f)`` of a table ``(rows, joint states of factors)`` over the others."""
    if len(factors) == 1:
        yield factors[0], table
        return
    halves = factors[: len(factors) // 2], factors[len(factors) // 2 :]
    a, b = (_outer([marginals[f] for f in half]) for half in halves)
    table = table.reshape(len(table), a.shape[1], b.shape[1])
    # a product per row: its rounding must not depend on how many rows there are
    yield from _messages(np.matmul(table, b[:, :, None])[:, :, 0], halves[0], marginals)
    yield from _messages(np.matmul(a[:, None, :], table)[:, 0], halves[1], marginals)


def _outer(marginals: Sequence[Floats]) -> Floats:
    """Product of independent marginals ``(rows, S_0 * S_1 * ...)``, the last factor fastest."""
    joint = marginals[0]
    for q in marginals[1:]:
        joint = (joint[:, :, None] * q[:, None, :]).reshape(len(q), -1)
    return joint


def _row_dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.matmul(a[:, None, :], b[:, :, None])[:, 0, 0])
