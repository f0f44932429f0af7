"""Structure learning offline: search a space of reduced models of a table of counts, and go on with the best if it is enough
better.

One interface for every space of models: `ModelSpace.reduce` takes the counts after and before the data and returns a
`Reduction`, which says what the best model is, by how much (log evidence ratio against the model that the agent has, the
*parent*; positive where the reduced one is better) and which counts to go on with. Spaces: `Alternatives` here, a given list;
`activebmr.sparsity.SingleParameters`, entries that may not be there; `activebmr.informative.InformativeMappings`, mappings
made more informative. Source: Friston et al. (2017), "Active inference, curiosity and insight", where this is sleep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from activebmr.dirichlet import as_counts
from activebmr.hypotheses import HypothesisSpace
from activebmr.reduction import log_evidence_ratio

__all__ = ["Alternatives", "ModelSpace", "Reduction", "checked_tables", "checked_threshold"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


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
    """

    prior: Floats
    posterior: Floats
    log_evidence_ratio: Floats
    accepted: NDArray[np.bool_]
    model: Ints
    ratios: Floats | None = None
    held: Ints | None = None
    removed: NDArray[np.bool_] | None = None

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
    if np.isnan(value):
        raise ValueError(f"threshold of {owner} must be a number of nats, or inf for never; got nan")
    return float(value)


class Alternatives:
    """A given list of reduced models: the best is adopted if its evidence exceeds the parent's by enough.

    Args:
        space: the models, as reduced priors of one modality.
        modality: the modality they speak about; it can be left out if there is only one.
        threshold: Occam's window: nats by which the best model's log evidence must exceed the parent's.
        offset: added to all counts when models are scored (SPM: 1/32).
        adopt: what becomes of the counts. ``"reduced"``: prior r and posterior r + evidence (Friston et al. 2025, eq. 8).
            ``"claims"``: a model claims the outcomes to which it gives more counts than the parent does; in every column with
            a claimed outcome that is possible, all counts go there, those of the prior and those of the posterior, in
            proportion to what the model adds (SPM's rule-learning demo). What it does not claim stays as it was.
        check_support: whether a model that gives counts to an outcome which the prior excludes is an error. Otherwise the
            offset makes such a claim count against the model (SPM).

    Raises:
        ValueError: if an argument is out of range, or the modality is not one of the space's.
    """

    def __init__(
        self,
        space: HypothesisSpace,
        modality: int | None = None,
        *,
        threshold: float = 3.0,
        offset: float = 1 / 32,
        adopt: str = "reduced",
        check_support: bool = True,
    ) -> None:
        if modality is None and len(space.tables) != 1:
            raise ValueError(f"modality must be given, one of {sorted(space.tables)}: the models speak about several")
        m = next(iter(space.tables)) if modality is None else modality
        if m not in space.tables:
            raise ValueError(f"modality must be one that the models speak about, {sorted(space.tables)}; got {m}")
        if not (np.isfinite(offset) and offset >= 0):
            raise ValueError(f"offset of Alternatives must be a finite number >= 0; got {offset}")
        if adopt not in ("reduced", "claims"):
            raise ValueError(f"adopt of Alternatives must be 'reduced' or 'claims'; got {adopt!r}")
        self.space, self.table, self.adopt = space, space.tables[m], adopt
        self.threshold, self.offset = checked_threshold(threshold, "Alternatives"), float(offset)
        self.check_support = check_support

    @property
    def names(self) -> tuple[str, ...]:
        return self.space.names

    def __len__(self) -> int:
        return len(self.space)

    def ratios(self, posterior: ArrayLike, prior: ArrayLike) -> Floats:
        """Log evidence ratio of every model against the parent, nats ``(n, n_models)``."""
        q, p = self._checked(posterior, prior)
        n, n_outcomes = q.shape[:2]
        q, p = q.reshape(n, n_outcomes, -1), p.reshape(n, n_outcomes, -1)
        # each distinct pair of a state and what some model puts there is scored once
        states = np.arange(q.shape[2])
        total = np.zeros((n, len(self)))
        for k, column in enumerate(self.table.columns):
            where = np.flatnonzero((self.table.assignment == k).any(axis=0))
            reduced = np.broadcast_to(column[:, None, None], (n_outcomes, n, len(where)))
            seen, before = (np.moveaxis(x[:, :, where], 1, 0) for x in (q, p))
            score = np.zeros((n, len(where)))
            differs = (before != reduced).any(axis=0)
            score[differs] = log_evidence_ratio(seen[:, differs], before[:, differs], reduced[:, differs], self.offset)
            mine = np.zeros((len(states), len(self)))
            mine[where] = (self.table.assignment[:, where] == k).T
            impossible = np.isneginf(score)
            total += np.matmul(np.where(impossible, 0.0, score)[:, None], mine[where])[:, 0]
            if impossible.any():
                total[np.matmul(impossible[:, None].astype(np.float64), mine[where])[:, 0] > 0] = -np.inf
        return total

    def adopted(self, model: int, posterior: ArrayLike, prior: ArrayLike) -> tuple[Floats, Floats]:
        """Prior and posterior counts of a batch if one model were adopted, whatever its evidence: also how to teach it."""
        q, p = self._checked(posterior, prior)
        r = self.table.dense(self.space.index(model))[None]
        if self.adopt == "reduced":
            r = np.where(p > 0, r, 0.0)  # what the prior excludes stays impossible, whatever a model claims
            r = np.where(r.any(axis=1, keepdims=True), r, p)
            return r, np.where(p > 0, np.maximum(r + (q - p), 0.0), 0.0)
        claim = np.where(p > 0, np.maximum(r - p, 0.0), 0.0)
        whole = claim.sum(axis=1, keepdims=True)
        claimed = whole > 0
        share = np.divide(claim, whole, out=np.zeros_like(claim), where=claimed)
        fresh_p, fresh_q = (np.where(claimed, share * x.sum(axis=1, keepdims=True), x) for x in (p, q))
        return fresh_p, fresh_q

    def reduce(self, posterior: ArrayLike, prior: ArrayLike, held: ArrayLike | None = None) -> Reduction:
        """See `ModelSpace.reduce`.

        Args:
            posterior, prior: counts under the parent.
            held: model that was adopted before ``(n,)``, -1 for the parent (the default). Occam's window is then the lead that
                the best model, or the parent, must have over that one to take its place.
        """
        q, p = self._checked(posterior, prior)
        before = np.full(len(q), -1) if held is None else np.asarray(held)
        if before.shape != (len(q),) or ((before < -1) | (before >= len(self))).any():
            raise ValueError(f"held must hold {len(q)} numbers in -1..{len(self) - 1}, one per table; got {held}")
        ratios = self.ratios(q, p)
        rows, model = np.arange(len(q)), ratios.argmax(axis=1)
        best = ratios[rows, model]
        mine = np.where(before >= 0, ratios[rows, before], 0.0)
        after = np.where(-mine >= self.threshold, -1, before)
        with np.errstate(invalid="ignore"):  # a model that has become impossible has no lead over itself
            after = np.where((best >= 0) & (best - mine >= self.threshold), model, after)
        fresh_p, fresh_q = p.copy(), q.copy()
        for j in np.unique(after[after >= 0]):
            these = np.flatnonzero(after == j)
            fresh_p[these], fresh_q[these] = self.adopted(int(j), q[these], p[these])
        return Reduction(fresh_p, fresh_q, best, after >= 0, model, ratios, after)

    def _checked(self, posterior: ArrayLike, prior: ArrayLike) -> tuple[Floats, Floats]:
        q, p = checked_tables(posterior, prior)
        if q.shape[1:] != self.table.shape:
            raise ValueError(f"posterior must hold tables of shape {self.table.shape}, the models'; got {q.shape[1:]}")
        if self.check_support:
            self._check_support(p)
        return q, p

    def _check_support(self, prior: Floats) -> None:
        impossible = (prior == 0).any(axis=0).reshape(prior.shape[1], -1).T
        for k, column in enumerate(self.table.columns):
            clash = (self.table.assignment == k)[:, :, None] & impossible & (column > 0)
            if clash.any():
                j, s, o = (int(i) for i in np.argwhere(clash)[0])
                at = (o, *(int(i) for i in np.unravel_index(s, prior.shape[2:])))
                raise ValueError(
                    f"model {self.names[j]!r} gives {column[o]:.6g} counts to entry {at}, a structural zero of the prior: a "
                    "reduced prior must lie within the full one (or set check_support=False, with an offset > 0)"
                )
