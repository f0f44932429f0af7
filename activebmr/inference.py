"""Beliefs about hidden states: prediction, and filtering under three named schemes.

- ``"sequential"``: one modality after the other, the exact joint posterior over the factors that it depends on, of which only the
  marginals are kept for the next one (SPM's ``spm_VBX``; what the paper uses).
- ``"joint"``: the exact posterior over all factors given all modalities at once (prior: the product of the predicted marginals).
- ``"mean-field"``: fixed-point iteration of factorised beliefs (pymdp's default).

All take a batch of beliefs as a list of marginals ``(rows, S_f)`` and return the same with the log evidence per row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from activebmr.dirichlet import LOG_FLOOR
from activebmr.models import POMDP
from activebmr.sparse import Floats, Ints, Ragged, product_of_marginals
from activebmr.tables import CountTable, KnownTable

__all__ = ["INFERENCE", "Beliefs", "Outcomes", "infer_joint", "infer_mean_field", "infer_sequential", "predict"]

Beliefs = list[Floats]
Outcomes = Sequence[np.ndarray]
"""Per modality integer outcomes ``(rows,)``, or probabilities of outcomes ``(rows, O_m)``."""
Tables = Sequence[KnownTable | CountTable]

_NEGLIGIBLE = float(np.exp(-16.0))
_IMPOSSIBLE = float(np.exp(LOG_FLOOR))


def predict(model: POMDP, qs: Beliefs, factor: int) -> Floats:
    """Next-state marginals of one factor under each of its controls, ``(rows, U_f, S_f)``."""
    b = model.B[factor]
    deps = model.B_dependencies[factor]  # type: ignore[index]
    q = qs[deps[0]]
    for d in deps[1:]:
        q = (q[:, :, None] * qs[d][:, None, :]).reshape(len(q), -1)
    flat = b.reshape(b.shape[0], -1, b.shape[-1])
    # a matrix product per row: its rounding must not depend on how many rows there are
    return np.matmul(q[:, None, None, :], flat.transpose(2, 1, 0)[None])[:, :, 0, :]


def predict_under(model: POMDP, qs: Beliefs, controls: Ints) -> Beliefs:
    """Next-state marginals of every factor under controls ``(rows, n_factors)``."""
    rows = np.arange(len(controls))
    return [predict(model, qs, f)[rows, controls[:, f]] for f in range(model.num_factors)]


def _likelihood(table: KnownTable | CountTable, agents: Ints, joint: Ragged, outcome: np.ndarray) -> Floats:
    """Likelihood of each entry's joint state given its row's outcome (linear in soft outcomes, as in SPM)."""
    offset = table.offset(agents)
    index = joint.index if offset is None else joint.index + offset[joint.row]
    if outcome.ndim == 1:
        return np.asarray(table.likelihood[index, outcome[joint.row]])
    columns, soft = table.likelihood[index], outcome[joint.row]
    total = columns[:, 0] * soft[:, 0]
    for o in range(1, table.n_outcomes):
        total += columns[:, o] * soft[:, o]
    return np.asarray(total)


def _marginals(joint: Ragged, posterior: Floats, sizes: Sequence[int]) -> Beliefs:
    """Marginals of each factor of a joint distribution whose indices are flat in C order."""
    out, stride = [], 1
    for size in sizes[::-1]:
        state = joint.index // stride % size
        cell = joint.row * size + state
        out.append(np.bincount(cell, weights=posterior, minlength=joint.rows * size).reshape(joint.rows, size))
        stride *= size
    return out[::-1]


def infer_sequential(model: POMDP, tables: Tables, agents: Ints, qs: Beliefs, outcomes: Outcomes) -> tuple[Beliefs, Floats]:
    """Filter one modality after the other (SPM): see the module; states with marginals up to e^-16 are dropped before each."""
    qs = list(qs)
    evidence = np.zeros(len(agents))
    for m, table in enumerate(tables):
        deps = model.A_dependencies[m]  # type: ignore[index]
        joint = product_of_marginals([qs[f] for f in deps], _NEGLIGIBLE)
        likelihood = np.maximum(_likelihood(table, agents, joint, outcomes[m]), _IMPOSSIBLE)
        if joint.single:
            evidence += np.log(likelihood)
            posterior = np.ones(joint.rows)
        else:
            posterior = joint.weight * likelihood
            total = joint.sum(posterior)
            alone = np.diff(joint.start) == 1
            evidence += np.log(np.where(alone, likelihood[joint.start[:-1]], total))
            posterior /= total[joint.row]
        for f, q in zip(deps, _marginals(joint, posterior, [model.num_states[f] for f in deps]), strict=True):
            qs[f] = q
    return qs, evidence


def infer_joint(model: POMDP, tables: Tables, agents: Ints, qs: Beliefs, outcomes: Outcomes) -> tuple[Beliefs, Floats]:
    """Exact posterior over all factors at once, given every modality; marginals are returned."""
    joint = product_of_marginals(qs, 0.0)
    states = np.unravel_index(joint.index, model.num_states)
    posterior = joint.weight.copy()
    for m, table in enumerate(tables):
        deps = model.A_dependencies[m]  # type: ignore[index]
        column = np.ravel_multi_index([states[f] for f in deps], [model.num_states[f] for f in deps])
        posterior *= np.maximum(_likelihood(table, agents, Ragged(joint.start, column, joint.weight), outcomes[m]), _IMPOSSIBLE)
    total = joint.sum(posterior)
    posterior /= total[joint.row]
    return _marginals(joint, posterior, model.num_states), np.log(total)


def infer_mean_field(
    model: POMDP, tables: Tables, agents: Ints, qs: Beliefs, outcomes: Outcomes, iterations: int = 16
) -> tuple[Beliefs, Floats]:
    """Factorised beliefs by fixed-point iteration, all factors updated together (pymdp's ``run_vanilla_fpi``)."""
    raise NotImplementedError


INFERENCE: dict[str, Callable[[POMDP, Tables, Ints, Beliefs, Outcomes], tuple[Beliefs, Floats]]] = {
    "sequential": infer_sequential,
    "joint": infer_joint,
    "mean-field": infer_mean_field,
}
