"""All modalities at once: the exact posterior over all factors, of which the marginals are kept.

The prior is the product of predicted marginals. Factors that no observation couples are independent given it, so that each
group of coupled factors has a joint posterior of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.beliefs import Belief
from activebmr.inference.looking_up import (
    FLOOR,
    Outcomes,
    Tables,
    columns_of,
    coupled,
    likelihood_of,
    marginals_of,
    unseen,
)
from activebmr.model.pomdp import POMDP
from activebmr.ragged import Ragged

__all__ = ["infer_factorised"]


def infer_factorised(
    model: POMDP, tables: Tables, agents: Ints, beliefs: Belief | Sequence[Floats], outcomes: Outcomes, rounds: int = 16
) -> tuple[Belief, Floats, Bools]:
    """Exact posterior given every modality; its marginals are returned. Arguments as in `sequential.infer_sequential`.

    Returns:
        posterior beliefs; log evidence ``(rows,)``, nats; and whether the observation had probability 0 ``(rows,)``: there
        likelihoods of 0 count as e^-32, and the states that it contradicts least remain.
    """
    belief = Belief.of(beliefs)
    unknown = tuple(f for f in range(len(belief)) if belief.known[f] is None)
    after, evidence, impossible = belief, np.zeros(belief.rows), np.zeros(belief.rows, dtype=bool)
    for factors, modalities in coupled(model, unknown):
        joint = belief.joint(factors, 0.0)
        lookup = tables, agents, belief, factors, joint, modalities, outcomes
        posterior, seen = _normalised(joint, _log_likelihood(*lookup, 0.0))
        bad = seen == -np.inf
        if bad.any():
            floored, instead = _normalised(joint, _log_likelihood(*lookup, FLOOR))
            posterior = np.where(bad[joint.row], floored, posterior)
            seen = np.where(bad, instead, seen)
            impossible |= bad
        marginals = marginals_of(joint, posterior, [belief.sizes[f] for f in factors])
        blind = _blind(modalities, outcomes, belief.rows)
        if blind.any():
            seen[blind] = 0.0
            for f, q in zip(factors, marginals, strict=True):
                q[blind] = belief[f][blind]
        after = after.replaced(factors, marginals)
        evidence += seen
    return after, evidence, impossible


def _log_likelihood(
    tables: Tables,
    agents: Ints,
    belief: Belief,
    factors: tuple[int, ...],
    joint: Ragged,
    modalities: Sequence[int],
    outcomes: Outcomes,
    floor: float,
) -> Floats:
    """Log likelihood of each entry's joint state given all of some modalities."""
    total = np.zeros(len(joint.index))
    for m in modalities:
        columns = columns_of(tables[m].layout, belief, factors, joint)
        missing = unseen(outcomes[m])
        outcome = outcomes[m]
        if missing is not None and outcome.ndim == 1:
            outcome = np.maximum(outcome, 0)
        likelihood = likelihood_of(tables[m], agents, joint, columns, outcome)
        with np.errstate(divide="ignore"):
            log = np.log(np.maximum(likelihood, floor) if floor else likelihood)
        if missing is not None:
            log[missing[joint.row]] = 0.0
        total += log
    return total


def _normalised(joint: Ragged, log_likelihood: Floats) -> tuple[Floats, Floats]:
    """Posterior of each entry, and log evidence of each row (-inf where nothing is possible)."""
    with np.errstate(divide="ignore"):
        log = np.log(joint.weight) + log_likelihood
    # products of many likelihoods underflow; their ratios to the best one's do not
    top = log if joint.single else np.maximum.reduceat(log, joint.start[:-1])
    shift = np.where(top == -np.inf, 0.0, top)
    posterior = np.exp(log - shift[joint.row])
    total = joint.sum(posterior)
    with np.errstate(divide="ignore", invalid="ignore"):
        return posterior / total[joint.row], shift + np.log(total)


def _blind(modalities: Sequence[int], outcomes: Outcomes, rows: int) -> Bools:
    """Rows that saw nothing of some modalities."""
    blind = np.ones(rows, dtype=bool)
    for m in modalities:
        missing = unseen(outcomes[m])
        if missing is None:
            return np.zeros(rows, dtype=bool)
        blind &= missing
    return blind
