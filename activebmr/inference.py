"""Filtering: beliefs about hidden states after an observation, under three named schemes.

- ``"sequential"``: one modality after the other, the exact joint posterior over the factors that it depends on, of which only the
  marginals are kept for the next one (SPM's ``spm_VBX``; what the paper uses).
- ``"joint"``: the exact posterior over all factors given all modalities at once (prior: the product of the predicted marginals).
- ``"mean-field"``: fixed-point iteration of factorised beliefs (pymdp's default).

All take a batch of beliefs and return the new ones with the log evidence of the observation in each row, in nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from activebmr.beliefs import Belief
from activebmr.dirichlet import LOG_FLOOR
from activebmr.layout import Layout
from activebmr.models import POMDP
from activebmr.sparse import Floats, Ints, Ragged
from activebmr.tables import CountTable, KnownTable

__all__ = ["CERTAINTY", "INFERENCE", "Outcomes", "Tables", "columns_of", "infer_joint", "infer_mean_field", "infer_sequential"]

Outcomes = Sequence[np.ndarray]
"""Per modality integer outcomes ``(rows,)``, or probabilities of outcomes ``(rows, O_m)``."""
Tables = Sequence[KnownTable | CountTable]

_NEGLIGIBLE = float(np.exp(-16.0))
_IMPOSSIBLE = float(np.exp(LOG_FLOOR))


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
    """Factorised beliefs by fixed-point iteration, all factors updated together (pymdp's ``run_vanilla_fpi``)."""
    raise NotImplementedError


INFERENCE: dict[str, Callable[[POMDP, Tables, Ints, Belief | Sequence[Floats], Outcomes], tuple[Belief, Floats]]] = {
    "sequential": infer_sequential,
    "joint": infer_joint,
    "mean-field": infer_mean_field,
}

CERTAINTY = {"sequential": _NEGLIGIBLE, "joint": 0.0}
"""Where only one joint state exceeds this (factor by factor), a scheme's posterior is that state whatever is observed."""
