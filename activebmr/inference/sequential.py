"""One modality after the other: the exact joint posterior over the factors that it depends on, of which only the marginals are
kept for the next one (SPM's ``spm_VBX``; what the paper uses).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.dirichlet import LOG_FLOOR
from activebmr.inference.beliefs import Belief
from activebmr.inference.looking_up import (
    FLOOR,
    Outcomes,
    Tables,
    columns_of,
    likelihood_of,
    marginals_of,
    unknown_factors,
    unseen,
)
from activebmr.model.pomdp import POMDP

__all__ = ["NEGLIGIBLE", "infer_sequential"]

NEGLIGIBLE = float(np.exp(-16.0))
"""States with marginal probabilities up to this are dropped (SPM)."""


def infer_sequential(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes, rounds: int = 16
) -> tuple[Belief, Floats, Bools]:
    """Filter one modality after the other; states with marginals up to e^-16 are dropped before each (SPM's ``spm_VBX``).

    Args:
        model: sizes and dependencies.
        tables: what the agents know about each modality.
        agents: agent of each row.
        beliefs: prior marginals ``(rows, S_f)`` of every factor.
        outcomes: see `looking_up.Outcomes`; what was not seen changes nothing.
        rounds: of no use here.

    Returns:
        posterior beliefs; log evidence ``(rows,)`` summed over modalities (nats; a likelihood of 0 counts as e^-32); and
        whether nothing but such likelihoods was left of some modality ``(rows,)``: wherever the observation is impossible to
        the beliefs, but also where states had been dropped that could explain it.
    """
    belief = Belief.of(beliefs)
    evidence, parts = np.zeros(belief.rows), []
    for table, outcome in zip(tables, outcomes, strict=True):
        factors = unknown_factors(table.layout, belief)
        joint = belief.joint(factors, NEGLIGIBLE)
        columns = columns_of(table.layout, belief, factors, joint)
        likelihood = np.maximum(likelihood_of(table, agents, joint, columns, outcome), FLOOR)
        missing = unseen(outcome)
        if joint.single:  # nothing left to infer about these factors
            posterior, seen = np.ones(joint.rows), np.log(likelihood)
        else:
            posterior = joint.weight * likelihood
            total = joint.sum(posterior)
            # where one joint state is left its prior weight is one up to rounding; SPM leaves it out
            seen = np.log(np.where(joint.count == 1, likelihood[joint.start[:-1]], total))
            posterior /= total[joint.row]
        if missing is not None:
            seen[missing] = 0.0
        evidence += seen
        parts.append(seen)
        if not factors:
            continue
        marginals = marginals_of(joint, posterior, [belief.sizes[f] for f in factors])
        if missing is not None:
            for f, q in zip(factors, marginals, strict=True):
                q[missing] = belief[f][missing]
        belief = belief.replaced(factors, marginals)
    floored = evidence <= LOG_FLOOR
    if floored.any():
        floored = np.any([seen <= LOG_FLOOR for seen in parts], axis=0)
    return belief, evidence, floored
