"""Structure learning without a list of models: a structural prior that favours mappings of high mutual information.

A likelihood is worth having if outcomes tell states apart, and transitions if where one gets to depends on what one does.
`InformativeMappings` moves the prior counts of each column a little way up the gradient of the mutual information between
outcomes and columns and keeps the columns whose evidence approves.
Sources: Friston et al. (2017), "Active inference, curiosity and insight"; Friston et al. (2025); SPM's ``spm_MDP_VB_prune``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from activebmr import checks
from activebmr.arrays import Bools, Floats, softmax
from activebmr.counts import expected_log
from activebmr.dirichlet import mutual_information_gradient
from activebmr.reduction.ratios import log_evidence_ratio
from activebmr.reduction.search.protocol import Reduction, checked_tables, checked_threshold

__all__ = ["InformativeMappings"]


SPM_PRECISION = 32.0
"""What SPM multiplies log evidence ratios with before it averages over models."""

ROUNDING = 1e-12
"""Share of a column's mass by which a reduced prior may differ from the prior and still count as the same."""


class InformativeMappings:
    """Mappings made more informative, column by column.

    ``method="information"``: the reduced prior of a column is r = p exp(x), rescaled to the mass of p, with x the slope of E by
    the logarithm of the counts. E is the mutual information (nats) between outcomes (axis 0) and columns, of the joint
    distribution A = counts / sum(counts), plus the expected log preference; dE/dA = log(A / (row sum x column sum)) - 1, plus
    C less its mean.

    - ``at="posterior"``: the slope at the posterior counts, along changes that keep the masses of all columns, per unit of
      that mass: x = rate a (dE/dA - sum a dE/dA), sums over outcomes, a = A / column sum. It vanishes where the column already
      is certain or tells nothing, and the number of columns does not matter. The model is chosen by the data that then score
      it, so that ratios flatter it: chance differences are sharpened too, but only as far as one step goes.
    - ``at="prior"``: SPM's: x = rate A (1 - A) dE/dA = rate p dE/dp, at the prior counts and with the diagonal alone of the
      derivative of p / sum(p). Without preferences nothing happens to a flat prior, whose information is least. For lack of
      the rest of the derivative it blunts a near-deterministic mapping of two columns, where log(A / ...) is less than 1.

    A table of one column, such as initial states, tells nothing: it stays as it is unless there are preferences.

    ``method="suppress"``: outcomes whose expected log probability (posterior) is more than ``cutoff`` nats below that of the
    column's likeliest outcome are given up, and their prior counts go to the others in proportion (SPM's option SIMPLE).
    What little was observed of them is discarded with them, if the evidence accepts that.

    Args:
        method: ``"information"`` or ``"suppress"``.
        at: where the slope is taken, ``"posterior"`` or ``"prior"``; does not matter for ``"suppress"``.
        combine: what becomes of a column. ``"reduce"``: it goes on with r and r + (q - p) if its log evidence ratio is at least
            ``threshold``. ``"average"``: Bayesian model average, p + w (r - p) with w the probability of r if r and p were
            equally likely before, 1 / (1 + exp(-ratio)). ``"spm-average"``: SPM's average at threshold 0, with
            w = 1 / (1 + exp(32 ratio)), which favours the *worse* of both: only to reproduce SPM. Averages do without
            ``threshold``.
        threshold: nats by which a column's log evidence must exceed the parent's. A step is short: with ``rate=1`` and a flat
            prior of 1 count, a near-deterministic mapping of 4 or 8 columns gains 0.7 to 2 nats a column, and an Occam's
            window of 3 never opens; of the columns of a mapping that tells nothing, about 1 in 100 gains 0.5.
        preferences: log preferences over outcomes ``(n_outcomes,)``, nats; a constant does not matter, and what is 32 nats
            below the whole is no worse than that. Only for ``"information"``.
        contract: hidden factors (0 is the first axis after the outcomes) on which the mapping is taken not to depend: their
            counts are summed before anything else, and what results is spread evenly over the entries that are possible.
            That is an assumption, not scored: the parent is the summed table, and columns that are not accepted come back
            spread too.
        rate: length of the step along the slope, > 0 (SPM: 1).
        cutoff: see ``"suppress"``, nats, > 0. SPM's own is not known: its recorded numbers fit anything from 2.83 to 4.
        offset: added to all counts when columns are scored (SPM: 1/32).

    Raises:
        ValueError: if an argument is out of range.
        TypeError: if a factor to contract is not a whole number.

    Example:
        >>> before, seen = np.ones((2, 2)), np.array([[20.0, 0.0], [1.0, 9.0]])
        >>> found = InformativeMappings().reduce((before + seen)[None], before)
        >>> found.accepted, found.log_evidence_ratio > 0
        (array([ True]), array([ True]))
    """

    def __init__(
        self,
        *,
        method: str = "information",
        at: str = "posterior",
        combine: str = "reduce",
        threshold: float = 0.5,
        preferences: ArrayLike | None = None,
        contract: Iterable[int] = (),
        rate: float = 1.0,
        cutoff: float = 3.0,
        offset: float = 1 / 32,
    ) -> None:
        owner = "of InformativeMappings"
        checks.choice(method, f"method {owner}", ("information", "suppress"))
        checks.choice(at, f"at {owner}", ("posterior", "prior"))
        checks.choice(combine, f"combine {owner}", ("reduce", "average", "spm-average"))
        self.method, self.at, self.combine = method, at, combine
        self.threshold = checked_threshold(threshold, "InformativeMappings")
        self.preferences = None if preferences is None else self._checked_preferences(preferences)
        factors = tuple(contract) if isinstance(contract, Iterable) and not isinstance(contract, (str, bytes)) else (None,)
        if not all(checks.is_whole(f) for f in factors):
            raise TypeError(f"contract {owner} must hold whole numbers; got {contract!r}")
        self.contract = tuple(int(f) for f in factors)  # type: ignore[arg-type]
        if len(set(self.contract)) < len(self.contract) or min(self.contract, default=0) < 0:
            raise ValueError(f"contract of InformativeMappings must hold different factors, >= 0; got {self.contract}")
        self.rate = checks.number(rate, f"rate {owner}", checks.POSITIVE)
        self.cutoff = checks.number(cutoff, f"cutoff {owner}", checks.POSITIVE)
        self.offset = checks.number(offset, f"offset {owner}", checks.NOT_NEGATIVE)

    def _checked_preferences(self, preferences: ArrayLike) -> Floats:
        if self.method == "suppress":
            raise ValueError(
                "preferences of InformativeMappings must be None with method='suppress', which has no use for them"
            )
        log_preferences = checks.float_array(preferences, "preferences of InformativeMappings")
        if log_preferences.ndim != 1 or not np.isfinite(log_preferences).all():
            raise ValueError(
                f"preferences of InformativeMappings must be finite log preferences (n_outcomes,); got {log_preferences}"
            )
        return log_preferences

    def candidate(self, posterior: ArrayLike, prior: ArrayLike) -> Floats:
        """The reduced prior of each table, whatever its evidence: a table like the prior, contracted axes of length 1."""
        q, p = self._contracted(*checked_tables(posterior, prior))
        return self._candidate(*_columns(q, p)).reshape(p.shape)

    def reduce(self, posterior: ArrayLike, prior: ArrayLike) -> Reduction:
        """See `ModelSpace.reduce`."""
        full_q, full_p = checked_tables(posterior, prior)
        q, p = self._contracted(full_q, full_p)
        n, tied = len(q), q.shape
        q, p = _columns(q, p)
        r = self._candidate(q, p)
        same = (np.abs(r - p) <= ROUNDING * p.sum(axis=1, keepdims=True)).all(axis=1)
        # forgetting may have taken more from an entry than the reduced prior would have put there: no model of those counts
        overdrawn = (r + (q - p) + self.offset < 0).any(axis=1)
        eligible = ~(same | overdrawn)
        ratio = self._ratio(q, p, np.where(eligible[:, None], r, p))
        if self.combine == "reduce":
            taken = eligible & (ratio >= self.threshold)
            fresh_p = np.where(taken[:, None], r, p)
        else:
            weight = expit(ratio if self.combine == "average" else -SPM_PRECISION * ratio)
            taken = eligible & (weight > 0)
            fresh_p = np.where(taken[:, None], p + weight[:, None] * (r - p), p)
            ratio = self._ratio(q, p, fresh_p)
        removed = taken[:, None] & (p > 0) & (fresh_p == 0) if self.method == "suppress" else None
        fresh_q = np.where(taken[:, None], np.maximum(fresh_p + (q - p), 0.0), q)
        if removed is not None:
            fresh_q[removed] = 0.0
        return Reduction(
            prior=self._spread(fresh_p.reshape(tied), full_p),
            posterior=self._spread(fresh_q.reshape(tied), full_p),
            log_evidence_ratio=np.where(taken, ratio, 0.0).sum(axis=1),
            accepted=taken.any(axis=1),
            model=np.full(n, -1, dtype=np.intp),
            removed=None if removed is None else removed.reshape(tied) & (full_p > 0),
        )

    def _ratio(self, q: Floats, p: Floats, r: Floats) -> Floats:
        return log_evidence_ratio(*(np.moveaxis(x, 1, 0) for x in (q, p, r)), self.offset)

    def _candidate(self, q: Floats, p: Floats) -> Floats:
        """Reduced prior counts ``(n, n_outcomes, n_columns)``; each column has the mass that it had."""
        r = np.where(self._implausible(q), 0.0, p) if self.method == "suppress" else p * np.exp(self._step(q, p))
        before, after = p.sum(axis=1, keepdims=True), r.sum(axis=1, keepdims=True)
        return np.where(after > 0, r * np.divide(before, after, out=np.ones_like(before), where=after > 0), p)

    def _implausible(self, q: Floats) -> Bools:
        logs = np.moveaxis(expected_log(np.moveaxis(q, 1, 0)), 0, 1)
        return np.asarray(logs < logs.max(axis=1, keepdims=True) - self.cutoff)

    def _step(self, q: Floats, p: Floats) -> Floats:
        """The exponent x, less its largest value in the column, which the rescaling takes out again."""
        counts = p if self.at == "prior" else q
        slope = self._slope(counts)
        if self.at == "prior":
            total = counts.sum(axis=(1, 2), keepdims=True)
            joint = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
            step = joint * (1.0 - joint) * slope
        else:
            mass = counts.sum(axis=1, keepdims=True)
            share = np.divide(counts, mass, out=np.zeros_like(counts), where=mass > 0)
            step = share * (slope - (share * slope).sum(axis=1, keepdims=True))
        step = self.rate * step
        return np.asarray(np.where(p > 0, step - step.max(axis=1, keepdims=True, initial=-np.inf, where=p > 0), -np.inf))

    def _slope(self, counts: Floats) -> Floats:
        """dE/dA of each table ``(n, n_outcomes, n_columns)``; zero for tables without counts."""
        preferred = None if self.preferences is None else softmax(self.preferences)
        if preferred is not None and len(preferred) != counts.shape[1]:
            raise ValueError(
                f"preferences of InformativeMappings must hold {counts.shape[1]} numbers, one per outcome of the tables; "
                f"got {len(preferred)}"
            )
        slope = np.zeros_like(counts)
        for i in np.flatnonzero(counts.any(axis=(1, 2))):
            slope[i] = mutual_information_gradient(counts[i], preferred)
        return slope

    def _axes(self, n_factors: int) -> tuple[int, ...]:
        if max(self.contract, default=-1) >= n_factors:
            raise ValueError(
                f"contract of InformativeMappings must name factors of the tables, 0 to {n_factors - 1}; got {self.contract}"
            )
        return tuple(f + 2 for f in self.contract)

    def _contracted(self, q: Floats, p: Floats) -> tuple[Floats, Floats]:
        axes = self._axes(q.ndim - 2)
        return (q.sum(axis=axes, keepdims=True), p.sum(axis=axes, keepdims=True)) if axes else (q, p)

    def _spread(self, tied: Floats, full_prior: Floats) -> Floats:
        """Sums over contracted factors divided evenly between the entries that the prior holds possible."""
        axes = self._axes(full_prior.ndim - 2)
        if not axes:
            return tied
        possible = full_prior > 0
        sharing = np.maximum(possible.sum(axis=axes, keepdims=True), 1)
        return np.where(possible, tied / sharing, 0.0)


def _columns(*tables: Floats) -> tuple[Floats, ...]:
    return tuple(x.reshape(*x.shape[:2], -1) for x in tables)
