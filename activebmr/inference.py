"""Filtering: beliefs about hidden states after an observation, under three named schemes.

- ``"sequential"``: one modality after the other, the exact joint posterior over the factors that it depends on, of which only
  the marginals are kept for the next one (SPM's ``spm_VBX``; what the paper uses).
- ``"joint"``: the exact posterior over all factors given all modalities at once (prior: the product of predicted marginals).
- ``"mean-field"``: fixed-point iteration of factorised beliefs (pymdp's default).

All take a batch of beliefs and return the new ones with the log evidence of the observation in each row, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np

from activebmr.beliefs import Belief
from activebmr.dirichlet import LOG_FLOOR
from activebmr.layout import Layout
from activebmr.models import POMDP
from activebmr.reduction import softmax
from activebmr.sparse import Floats, Ints, Ragged
from activebmr.tables import CountTable, KnownTable

__all__ = ["CERTAINTY", "INFERENCE", "Outcomes", "Tables", "columns_of", "infer_joint", "infer_mean_field", "infer_sequential"]

Outcomes = Sequence[np.ndarray]
"""Per modality integer outcomes ``(rows,)``, or probabilities of outcomes ``(rows, O_m)``."""
Tables = Sequence[KnownTable | CountTable]

_NEGLIGIBLE = float(np.exp(-16.0))
_IMPOSSIBLE = float(np.exp(LOG_FLOOR))

ITERATIONS = 16
"""Rounds of `infer_mean_field`, pymdp's default; where they have not converged the number is part of the result."""

MEAN_FIELD_FLOOR = float(np.finfo(np.float64).eps)
"""Smallest probability whose logarithm `infer_mean_field` sees: pymdp's 2.2e-16, where the other schemes have SPM's e^-32."""


def columns_of(layout: Layout, belief: Belief, factors: tuple[int, ...], joint: Ragged) -> Ints:
    """Columns (as kept by a layout) of the entries of a joint over ``factors``; the layout's other factors must be known."""
    index: Ints
    if factors == layout.still:
        index = joint.index * layout.n_slab
    else:
        index = np.zeros(len(joint.index), dtype=np.intp)
        states = np.unravel_index(joint.index, [belief.sizes[f] for f in factors]) if factors else ()
        for f, state in zip(factors, states, strict=True):
            if f in layout.strides:
                index += state * layout.strides[f]
    for f, stride in layout.strides.items():
        if f not in factors:
            known = belief.known[f]
            assert known is not None
            index = index + (known if joint.single else known[joint.row]) * stride
    return index


def unknown_factors(layout: Layout, belief: Belief) -> tuple[int, ...]:
    """Factors of a layout whose state is not certain in every row, in the order kept."""
    return tuple(f for f in layout.strides if belief.known[f] is None)


def _likelihood(table: KnownTable | CountTable, agents: Ints, joint: Ragged, columns: Ints, outcome: np.ndarray) -> Floats:
    """Likelihood of each entry's joint state given its row's outcome (linear in soft outcomes, as in SPM), floored at e^-32."""
    index = columns if not table.learned else columns + (agents if joint.single else agents[joint.row]) * table.n_states
    if outcome.ndim == 1:
        width = table.n_outcomes + 1
        seen = outcome if joint.single else outcome[joint.row]
        return np.maximum(table.likelihood.reshape(-1)[index * width + seen], _IMPOSSIBLE)
    rows, soft = table.likelihood[index], outcome[joint.row]
    total = rows[:, 0] * soft[:, 0]
    for o in range(1, table.n_outcomes):
        total += rows[:, o] * soft[:, o]
    return np.maximum(total, _IMPOSSIBLE)


def _marginals(joint: Ragged, posterior: Floats, sizes: Sequence[int]) -> list[Floats]:
    """Marginals of each factor of a joint distribution whose indices are flat in C order."""
    out, stride, total = [], 1, prod(sizes)
    for size in sizes[::-1]:
        state = joint.index if stride == 1 else joint.index // stride
        if stride * size != total:
            state = state % size
        cell = state + joint.row * size
        out.append(np.bincount(cell, weights=posterior, minlength=joint.rows * size).reshape(joint.rows, size))
        stride *= size
    return out[::-1]


def infer_sequential(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes
) -> tuple[Belief, Floats]:
    """Filter one modality after the other; states with marginals up to e^-16 are dropped before each (SPM's ``spm_VBX``).

    Args:
        model: sizes and dependencies.
        tables: what the agents know about each modality.
        agents: agent of each row.
        beliefs: prior marginals ``(rows, S_f)`` of every factor.
        outcomes: see `Outcomes`.

    Returns:
        posterior beliefs, and log evidence ``(rows,)`` summed over modalities.
    """
    belief = Belief.of(beliefs)
    evidence = np.zeros(belief.rows)
    for table, outcome in zip(tables, outcomes, strict=True):
        factors = unknown_factors(table.layout, belief)
        joint = belief.joint(factors, _NEGLIGIBLE)
        likelihood = _likelihood(table, agents, joint, columns_of(table.layout, belief, factors, joint), outcome)
        if joint.single:  # nothing left to infer about these factors
            evidence += np.log(likelihood)
            if not factors:
                continue
            posterior = np.ones(joint.rows)
        else:
            posterior = joint.weight * likelihood
            total = joint.sum(posterior)
            # where one joint state is left its prior weight is one up to rounding; SPM leaves it out
            alone = joint.count == 1
            evidence += np.log(np.where(alone, likelihood[joint.start[:-1]], total))
            posterior /= total[joint.row]
        belief = belief.replaced(factors, _marginals(joint, posterior, [belief.sizes[f] for f in factors]))
    return belief, evidence


def infer_joint(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes
) -> tuple[Belief, Floats]:
    """Exact posterior over all factors at once, given every modality; its marginals are returned. Arguments as above."""
    belief = Belief.of(beliefs)
    factors = tuple(f for f in range(len(belief)) if belief.known[f] is None)
    joint = belief.joint(factors, 0.0)
    posterior = joint.weight.copy()
    for table, outcome in zip(tables, outcomes, strict=True):
        posterior *= _likelihood(table, agents, joint, columns_of(table.layout, belief, factors, joint), outcome)
    total = joint.sum(posterior)
    posterior = posterior / total[joint.row]
    return belief.replaced(factors, _marginals(joint, posterior, [belief.sizes[f] for f in factors])), np.log(total)


def infer_mean_field(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes
) -> tuple[Belief, Floats]:
    """Factorised beliefs by fixed-point iteration, number for number those of pymdp 1.0.4's default scheme.

    Each of `ITERATIONS` rounds sets all factors at once to softmax(log prior + expected log likelihood under what the others
    believed the round before), starting from uniform beliefs; convergence is not asked for. A soft outcome counts with its
    expected log likelihood. With one factor this is exact; with several it is an approximation that can be far off where
    outcomes are impossible (a likelihood of 0), since it then depends on the floor of the logarithm. Arguments as above.

    Returns:
        posterior beliefs, and per row minus the variational free energy of the result ``(rows,)``: a lower bound of the log
        evidence if no floor was met.
    """
    belief = Belief.of(beliefs)
    log_prior = [np.log(np.maximum(q, MEAN_FIELD_FLOOR)) for q in belief]
    logs = [_log_likelihoods(table, agents, outcome) for table, outcome in zip(tables, outcomes, strict=True)]
    of_modality = [(*table.layout.still, *table.layout.slab) for table in tables]
    updated = [np.zeros_like(p) for p in log_prior]
    for _ in range(ITERATIONS):
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
    return belief.replaced(range(len(belief)), marginals), bound


def _log_likelihoods(table: KnownTable | CountTable, agents: Ints, outcome: np.ndarray) -> Floats:
    """Log likelihood, expected under soft outcomes, of every column as kept: ``(rows, n_states)``."""
    likelihood = table.likelihood[:, :-1].reshape(-1, table.n_states, table.n_outcomes)  # (agents or 1, states, outcomes)
    who = agents if table.learned else np.zeros_like(agents)
    if outcome.ndim == 1:
        return np.log(np.maximum(likelihood[who, :, outcome], MEAN_FIELD_FLOOR))
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


INFERENCE: dict[str, Callable[[POMDP, Tables, Ints, Belief | Sequence[Floats], Outcomes], tuple[Belief, Floats]]] = {
    "sequential": infer_sequential,
    "joint": infer_joint,
    "mean-field": infer_mean_field,
}

CERTAINTY = {"sequential": _NEGLIGIBLE, "joint": 0.0}
"""Where only one joint state exceeds this (factor by factor), a scheme's posterior is that state whatever is observed."""
