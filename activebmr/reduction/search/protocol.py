"""One interface for every space of reduced models: `ModelSpace.reduce` takes counts after and before the data and returns a
`Reduction`, which says what the best model is, by how much, and which counts to go on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from activebmr import checks
from activebmr.arrays import Bools, Floats, Ints
from activebmr.dirichlet import as_counts

__all__ = ["NATS", "ModelSpace", "Reduction", "checked_tables", "checked_threshold"]

NATS = checks.Rule("be a number of nats", checks.ANY_NUMBER.holds)
_WINDOW = checks.Rule("be a number of nats, or inf for never", checks.ANY_NUMBER.holds)


@dataclass(frozen=True, eq=False)
class Reduction:
    """What a search over reduced models found, for a batch of n tables ``(n_outcomes, n_states_0, ...)``.

    Attributes:
        prior: counts to go on with, as if before any data: the reduced ones where they were accepted, else the parent's
            ``(n, n_outcomes, n_states_0, ...)``.
        posterior: counts to go on with now, of the same shape.
        log_evidence_ratio: ln p(o | best reduced model) - ln p(o | parent) of the whole table, nats ``(n,)``; 0 where nothing
            but the parent itself was worth considering.
        accepted: whether anything was reduced ``(n,)``.
        model: index of the best model of a list ``(n,)``; -1 in spaces that are no lists.
        ratios: log evidence ratio of every model of a list ``(n, n_models)``, or None.
        held: model of a list that the counts to go on with belong to ``(n,)``, -1 for the parent; None in other spaces.
        removed: entries that were given up ``(n, n_outcomes, n_states_0, ...)``, or None in spaces that give up none.

    Example:
        >>> before, seen = np.ones((2, 1)), np.array([[100.0], [0.0]])
        >>> found = SingleParameters().reduce((before + seen)[None], before)
        >>> found.accepted, found.removed.ravel()
        (array([ True]), array([False,  True]))
    """

    prior: Floats
    posterior: Floats
    log_evidence_ratio: Floats
    accepted: Bools
    model: Ints
    ratios: Floats | None = None
    held: Ints | None = None
    removed: Bools | None = None

    @property
    def probabilities(self) -> Floats | None:
        """Posterior probabilities of a list's models ``(n, n_models)`` if the parent and all of them were equally likely
        before; what they lack to 1 is the parent's. None in spaces that are no lists.
        """
        if self.ratios is None:
            return None
        best = np.maximum(self.ratios.max(axis=1, keepdims=True), 0.0)
        weight = np.exp(self.ratios - best)
        return np.asarray(weight / (weight.sum(axis=1, keepdims=True) + np.exp(-best)))


class ModelSpace(Protocol):
    """A space of reduced models of a table of counts."""

    def reduce(self, posterior: ArrayLike, prior: ArrayLike) -> Reduction:
        """Find the best reduced model of each table of a batch.

        Args:
            posterior: counts after the data ``(n, n_outcomes, n_states_0, ...)``, >= 0.
            prior: counts before them, of the same shape, or of one table ``(n_outcomes, n_states_0, ...)`` that all share. A
                zero is structural: that outcome is impossible. A column of zeros is left as it is.

        Raises:
            ValueError: if a count is negative or not finite, shapes do not fit, or there are no counts at all.
        """
        ...


def checked_tables(posterior: ArrayLike, prior: ArrayLike) -> tuple[Floats, Floats]:
    """Counts after and before the data as arrays of one shape ``(n, n_outcomes, n_states_0, ...)``.

    Raises:
        ValueError: see `ModelSpace.reduce`.
    """
    q, p = as_counts(posterior, "posterior"), as_counts(prior, "prior")
    if q.ndim < 2 or q.size == 0:
        raise ValueError(
            f"posterior must be a batch of tables (n, outcomes, states, ...) with some counts; got shape {q.shape}"
        )
    if p.shape not in (q.shape, q.shape[1:]):
        raise ValueError(f"prior must have the shape of posterior, {q.shape}, or of one of its tables; got {p.shape}")
    if not p.any():
        raise ValueError("prior must hold some counts; all of them are zero")
    p = np.broadcast_to(p, q.shape)
    unforeseen = (p == 0) & (q > 0)
    if unforeseen.any():
        at = tuple(int(i) for i in np.argwhere(unforeseen)[0])
        raise ValueError(f"posterior must be zero where prior is, a structural zero; entry {at} is {q[at]:.6g}")
    return q, p


def checked_threshold(value: float, owner: str) -> float:
    """Occam's window in nats: any number, or inf for never.

    Raises:
        ValueError: if it is nan.
    """
    return checks.number(value, f"threshold of {owner}", _WINDOW)
