"""All modalities at once: the exact posterior over all factors, of which the marginals are kept (prior: the product of predicted
marginals).
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
    coupled,
    impossible,
    likelihood_of,
    marginals_of,
    unseen,
)
from activebmr.model.pomdp import POMDP

__all__ = ["infer_factorised"]

_SLACK = 1e-9  # of a sum of logarithms


def infer_factorised(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes, rounds: int = 16
) -> tuple[Belief, Floats, Bools]:
    """Exact posterior given every modality, one group of coupled factors after the other; its marginals are returned. Arguments
    as in `sequential.infer_sequential`.

    Returns:
        posterior beliefs, log evidence ``(rows,)`` (nats; a likelihood of 0 counts as e^-32), and whether the observation had
        probability 0 ``(rows,)``.
    """
    belief = Belief.of(beliefs)
    unknown = tuple(f for f in range(len(belief)) if belief.known[f] is None)
    evidence, floored = np.zeros(belief.rows), np.zeros(belief.rows, dtype=bool)
    after = belief
    for factors, modalities in coupled(model, unknown):
        joint = belief.joint(factors, 0.0)
        log, saw = np.zeros(len(joint.index)), np.zeros(belief.rows, dtype=bool)
        for m in modalities:
            table, outcome = tables[m], outcomes[m]
            columns = columns_of(table.layout, belief, factors, joint)
            part = np.log(np.maximum(likelihood_of(table, agents, joint, columns, outcome), FLOOR))
            missing = unseen(outcome)
            if missing is None:
                saw[:] = True
            else:
                part[missing if joint.single else missing[joint.row]] = 0.0
                saw |= ~missing
            log += part
        with np.errstate(divide="ignore"):
            log += np.log(joint.weight)
        # products of many likelihoods underflow; their ratios to the best one's do not
        top = log if joint.single else np.maximum.reduceat(log, joint.start[:-1])
        posterior = np.exp(log - (top if joint.single else top[joint.row]))
        total = joint.sum(posterior)
        posterior /= total if joint.single else total[joint.row]
        seen = top + np.log(total)
        marginals = marginals_of(joint, posterior, [belief.sizes[f] for f in factors])
        if not saw.all():
            seen[~saw] = 0.0
            for f, q in zip(factors, marginals, strict=True):
                q[~saw] = belief[f][~saw]
        after = after.replaced(factors, marginals)
        evidence += seen
        floored |= seen <= LOG_FLOOR + _SLACK
    if floored.any():
        floored = impossible(model, tables, agents, belief, outcomes, floored)
    return after, evidence, floored
