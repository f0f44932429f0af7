"""What outcomes say about joint states, and what they would: likelihoods of all modalities over all joint states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Bools, Floats
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.layout import Layout
from activebmr.model.pomdp import POMDP

__all__ = ["everywhere", "expected_likelihood", "joint_likelihood", "neg_entropy", "shown", "state_likelihood"]

_SOFTENED = float(np.exp(-16.0))  # added by SPM to probabilities of outcomes before their logarithm is taken


def everywhere(model: POMDP, layout: Layout, columns: Floats) -> Floats:
    """A modality's columns as kept ``(n, n_states, O_m)`` in all joint states ``(n, O_m, all joint states)``."""
    tensor = layout.tensor(columns)
    shape = [model.num_states[f] if f in layout.deps else 1 for f in range(model.num_factors)]
    tensor = tensor.transpose(0, 1, *(2 + np.argsort(layout.deps))).reshape(*tensor.shape[:2], *shape)
    return np.broadcast_to(tensor, (*tensor.shape[:2], *model.num_states)).reshape(*tensor.shape[:2], -1)


def expected_likelihood(model: POMDP, table: KnownTable | CountTable) -> Floats:
    """E[A] of a modality ``(n_agents or 1, O_m, all joint states)``."""
    columns = table.likelihood[:, :-1].reshape(-1, table.n_states, table.n_outcomes)
    return everywhere(model, table.layout, columns)


def state_likelihood(model: POMDP, tables: Sequence[KnownTable | CountTable], outcomes: Sequence[np.ndarray]) -> Floats:
    """Likelihood of every joint state given one time's outcomes ``(n_agents, n_joint_states)``; what was not seen says
    nothing.
    """
    n = len(outcomes[0])
    total: Floats | float = 1.0
    for table, outcome in zip(tables, outcomes, strict=True):
        expected = expected_likelihood(model, table)
        soft, missing = shown(outcome, table.n_outcomes)
        likelihood = np.matmul(soft[:, None], np.broadcast_to(expected, (n, *expected.shape[1:])))[:, 0]
        total = total * np.where(missing[:, None], 1.0, likelihood)
    return np.asarray(total)


def joint_likelihood(model: POMDP, tables: Sequence[KnownTable | CountTable], softened: bool) -> tuple[Floats, Floats]:
    """Probability of all modalities' joint outcomes in every joint state ``(n or 1, n_joint_states, n_joint_outcomes)``, and
    minus its entropy ``(n or 1, n_joint_states)``.
    """
    joint = np.ones((1, int(np.prod(model.num_states)), 1))
    for table in tables:
        expected = np.moveaxis(expected_likelihood(model, table), 1, 2)
        joint = (joint[..., None] * expected[:, :, None]).reshape(max(len(joint), len(expected)), joint.shape[1], -1)
    return joint, neg_entropy(joint, softened)


def neg_entropy(p: Floats, softened: bool) -> Floats:
    """sum p log p over the last axis, or SPM's sum p log(p + exp(-16))."""
    if softened:
        return (p * np.log(p + _SOFTENED)).sum(axis=-1)
    return (p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1)


def shown(outcome: np.ndarray, n_outcomes: int) -> tuple[Floats, Bools]:
    """An outcome as probabilities ``(n_agents, O)``, zero where it was not seen (-1, nan, or zeros), and who did not see it."""
    if outcome.ndim == 2:
        missing = ~(outcome > 0).any(axis=1)
        return np.where(missing[:, None], 0.0, outcome), missing
    missing = outcome < 0
    return np.eye(n_outcomes)[outcome] * ~missing[:, None], missing
