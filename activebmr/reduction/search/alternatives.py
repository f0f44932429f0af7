"""Structure learning offline: search a space of reduced models of a table of counts, and go on with the best if it is enough
better.

One interface for every space of models: `ModelSpace.reduce` takes the counts after and before the data and returns a
`Reduction`, which says what the best model is, by how much (log evidence ratio against the model that the agent has, the
*parent*; positive where the reduced one is better) and which counts to go on with. Spaces: `Alternatives` here, a given list;
`SingleParameters`, entries that may not be there; `InformativeMappings`, mappings made more informative. Source: Friston et al.
(2017), "Active inference, curiosity and insight", where this is sleep.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from activebmr import checks
from activebmr.arrays import Floats
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.naming import Table
from activebmr.reduction.ratios import log_evidence_ratio
from activebmr.reduction.search.protocol import Reduction, checked_tables, checked_threshold
from activebmr.reduction.spaces import key_in, shown

__all__ = ["Alternatives"]


class Alternatives:
    """A given list of reduced models: the best is adopted if its evidence exceeds the parent's by enough.

    Args:
        space: the models, as reduced priors (counts, not values) of one table.
        modality: the table they speak about: the index or name of a modality, or a name like ``"pB[0]"`` or ``"pD[context]"``,
            as the space has it; it can be left out if there is only one.
        threshold: Occam's window: nats by which the best model's log evidence must exceed the parent's.
        offset: added to all counts when models are scored (SPM: 1/32).
        adopt: what becomes of the counts. ``"reduced"``: prior r and posterior r + evidence (Friston et al. 2025, eq. 8).
            ``"claims"``: a model claims the outcomes to which it gives more counts than the parent does; in every column with
            a claimed outcome that is possible, all counts go there, those of the prior and those of the posterior, in
            proportion to what the model adds (SPM's rule-learning demo). What it does not claim stays as it was.
        check_support: whether a model that gives counts to an outcome which the prior excludes is an error. Otherwise the
            offset makes such a claim count against the model (SPM).

    Raises:
        ValueError: if an argument is out of range, the table is not one of the space's, or the models give values of it.

    Example:
        >>> stays, drifts = np.diag([9.0, 9.0])[:, :, None], np.array([[6.0, 3.0], [3.0, 6.0]])[:, :, None]
        >>> space = Alternatives(HypothesisSpace({"stays": {"pB[0]": stays}, "drifts": {"pB[0]": drifts}}))
    """

    def __init__(
        self,
        space: HypothesisSpace,
        modality: Any = None,
        *,
        threshold: float = 3.0,
        offset: float = 1 / 32,
        adopt: str = "reduced",
        check_support: bool = True,
    ) -> None:
        if not isinstance(space, HypothesisSpace):
            raise TypeError(f"space of Alternatives must be a HypothesisSpace; got {type(space).__name__}")
        if space.models:
            raise ValueError("space of Alternatives must speak about tables; its hypotheses are models of their own")
        several = any(isinstance(k, Table) for k in space.tables)
        owner, held = ("table", [shown(k) for k in space.tables]) if several else ("modality", list(space.tables))
        if modality is None and len(space.tables) != 1:
            raise ValueError(f"{owner} must be given, one of {held}: the models speak about several")
        m = next(iter(space.tables)) if modality is None else key_in(modality)
        if m not in space.tables:
            raise ValueError(f"{owner} must be one that the models speak about, {held}; got {modality}")
        if space.sharp[m].any():
            raise ValueError(
                f"models of Alternatives must give counts of {shown(m)}, on which agents go on learning; "
                f"{space.names[space.sharp[m].argmax()]!r} gives values"
            )
        checks.choice(adopt, "adopt of Alternatives", ("reduced", "claims"))
        self.space, self.table, self.adopt = space, space.tables[m], adopt
        self.threshold = checked_threshold(threshold, "Alternatives")
        self.offset = checks.number(offset, "offset of Alternatives", checks.NOT_NEGATIVE)
        self.check_support = checks.flag(check_support, "check_support of Alternatives")

    @property
    def key(self) -> Any:
        """What the space keeps the table by: the index (or name) of a modality, or a `Table`."""
        return next(k for k, table in self.space.tables.items() if table is self.table)

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
        state, column, pair = self.table.placed  # each distinct pair of a state and what some model puts there is scored once
        # where nothing was seen, or a model expects what the parent does, there is no evidence either way
        agent, place = np.nonzero((q != p).any(axis=1)[:, state])
        before, reduced = p[agent, :, state[place]], self.table.columns[column[place]]
        differs = (before != reduced).any(axis=1)
        agent, place, before, reduced = agent[differs], place[differs], before[differs].T, reduced[differs].T
        score = np.zeros((n, len(state)))
        score[agent, place] = log_evidence_ratio(q[agent, :, state[place]].T, before, reduced, self.offset)
        return np.stack([mine[pair].sum(axis=1) for mine in score])

    def adopted(self, model: int | str, posterior: ArrayLike, prior: ArrayLike) -> tuple[Floats, Floats]:
        """Prior and posterior counts of a batch if one model were adopted, whatever its evidence: also how to teach it."""
        q, p = self._checked(posterior, prior)
        r = self.table.dense(self._model(model))[None]
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

    def _model(self, model: int | str) -> int:
        """Index of a model given by name or index."""
        if isinstance(model, str):
            if model not in self.names:
                near = checks.meant(model, self.names)
                raise ValueError(f"model must be one of the {len(self)} names, such as {self.names[0]!r}; got {model!r}{near}")
            return self.names.index(model)
        return checks.whole_number(model, "model", 0, len(self) - 1)

    def reduce(self, posterior: ArrayLike, prior: ArrayLike, held: ArrayLike | None = None) -> Reduction:
        """See `ModelSpace.reduce`.

        Args:
            posterior, prior: counts under the parent.
            held: model that was adopted before ``(n,)``, -1 for the parent (the default). Occam's window is then the lead that
                the best model, or the parent, must have over that one to take its place.
        """
        q, p = self._checked(posterior, prior)
        before = np.full(len(q), -1) if held is None else checks.index_array(held, "held", -np.iinfo(np.intp).max)
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
        clash = self.table.clash((prior == 0).any(axis=0))
        if clash is not None:
            j, at, given = clash
            raise ValueError(
                f"model {self.names[j]!r} gives {given:.6g} counts to entry {at}, a structural zero of the prior: a "
                "reduced prior must lie within the full one (or set check_support=False, with an offset > 0)"
            )
