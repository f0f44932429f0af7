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
    columns_at,
    columns_of,
    coupled,
    likelihood_at,
    likelihood_of,
    marginals_at,
    marginals_of,
    unseen,
)
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.pomdp import POMDP
from activebmr.ragged import Ragged

__all__ = ["infer_factorised"]

_FEW = 64  # modalities whose likelihoods may be multiplied without much risk of underflow
_SMALL = -400.0  # log evidence below which products of likelihoods may have lost digits


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
        if len(modalities) <= _FEW:
            marginals, seen = _by_products(tables, agents, belief, factors, modalities, outcomes)
            rest = (seen < _SMALL).nonzero()[0]
            if len(rest):
                part = [o[rest] for o in outcomes]
                theirs, seen[rest], impossible[rest] = _by_logs(
                    tables, agents[rest], belief.take(rest), factors, modalities, part, impossible[rest]
                )
                for q, instead in zip(marginals, theirs, strict=True):
                    q[rest] = instead
        else:
            marginals, seen, impossible = _by_logs(tables, agents, belief, factors, modalities, outcomes, impossible)
        blind = _blind(modalities, outcomes, belief.rows)
        if blind is not None and blind.any():
            seen[blind] = 0.0
            for f, q in zip(factors, marginals, strict=True):
                q[blind] = belief[f][blind]
        after = after.replaced(factors, marginals)
        evidence += seen
    return after, evidence, impossible


def _by_products(
    tables: Tables,
    agents: Ints,
    belief: Belief,
    factors: tuple[int, ...],
    modalities: Sequence[int],
    outcomes: Outcomes,
) -> tuple[list[Floats], Floats]:
    """Posterior marginals, and log evidence, from products of likelihoods: good where the evidence is not too small."""
    joint = belief.joint(factors, 0.0)
    index, weight, row = joint.index, joint.weight, joint.row
    for m in sorted(modalities, key=lambda m: not _rules_out(tables[m], outcomes[m])):
        table, outcome = tables[m], outcomes[m]
        columns = columns_at(table.layout, belief, factors, index, row)
        missing = unseen(outcome)
        if isinstance(table, KnownTable) and table.certain is not None and outcome.ndim == 1:  # see `_rules_out`
            # what an outcome rules out need not be looked at any more
            possible = table.certain[columns] == outcome[row]
            if missing is not None:
                possible |= missing[row]
            kept = possible.nonzero()[0]
            if len(kept) < len(index):
                index, weight, row = index[kept], weight[kept], row[kept]
            continue
        if missing is not None and outcome.ndim == 1:
            outcome = np.maximum(outcome, 0)
        likelihood = likelihood_at(table, agents, row, columns, outcome)
        if missing is not None:
            likelihood[missing[row]] = 1.0
        weight = weight * likelihood
    total = np.bincount(row, weights=weight, minlength=joint.rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        marginals = marginals_at(joint.rows, row, index, weight, [belief.sizes[f] for f in factors])
        return [q / total[:, None] for q in marginals], np.log(total)


def _rules_out(table: KnownTable | CountTable, outcome: np.ndarray) -> bool:
    """Whether outcomes of a modality leave some states and say nothing more about them."""
    return isinstance(table, KnownTable) and table.certain is not None and outcome.ndim == 1


def _by_logs(
    tables: Tables,
    agents: Ints,
    belief: Belief,
    factors: tuple[int, ...],
    modalities: Sequence[int],
    outcomes: Outcomes,
    impossible: Bools,
) -> tuple[list[Floats], Floats, Bools]:
    """The same from sums of log likelihoods, and whether the observation had probability 0 (or had before)."""
    joint = belief.joint(factors, 0.0)
    lookup = tables, agents, belief, factors, joint, modalities, outcomes
    posterior, seen = _normalised(joint, _log_likelihood(*lookup, 0.0))
    bad = seen == -np.inf
    if bad.any():
        floored, instead = _normalised(joint, _log_likelihood(*lookup, FLOOR))
        posterior = np.where(bad[joint.row], floored, posterior)
        seen = np.where(bad, instead, seen)
    return marginals_of(joint, posterior, [belief.sizes[f] for f in factors]), seen, impossible | bad


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


def _blind(modalities: Sequence[int], outcomes: Outcomes, rows: int) -> Bools | None:
    """Rows that saw nothing of some modalities; None if there are none."""
    blind = np.ones(rows, dtype=bool)
    for m in modalities:
        missing = unseen(outcomes[m])
        if missing is None:
            return None
        blind &= missing
    return blind
