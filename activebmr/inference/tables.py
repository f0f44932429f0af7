"""What agents can look up about each modality: expected likelihoods, ambiguity, novelty and model scores, column by column.

Known likelihoods are one table for all agents. Learned ones are per agent, and renewed only where something changed: at the
columns that an outcome touched and, since forgetting changes all columns, once per trial for the columns that no outcome has
ever touched, which are the same for all agents. Columns are kept in the order of the modality's `Layout`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import Floats, Ints
from activebmr.dirichlet import column_information_gain
from activebmr.model.layout import Columns, Layout
from activebmr.reduction.scoring import ModelScorer

__all__ = ["CountTable", "KnownTable"]


def _likelihood_rows(counts: Floats) -> Floats:
    """E[A] and, last, sum_o A log A of columns of counts (entries, outcomes): ``(entries, outcomes + 1)``."""
    n_outcomes = counts.shape[1]
    out = np.empty((len(counts), n_outcomes + 1))
    total = counts[:, 0].copy()
    for o in range(1, n_outcomes):
        total += counts[:, o]
    p = counts / total[:, None]
    out[:, :n_outcomes] = p
    p *= np.log(np.where(p > 0, p, 1.0))
    out[:, n_outcomes] = p[:, 0]
    for o in range(1, n_outcomes):
        out[:, n_outcomes] += p[:, o]
    return out


class KnownTable:
    """Lookup of a likelihood that is known, and so the same for all agents."""

    learned = False

    def __init__(self, tensor: Floats, layout: Layout) -> None:
        self.layout = layout
        self.n_outcomes, self.n_states = tensor.shape[0], layout.n_states
        self.likelihood = _likelihood_rows(layout.keep(tensor))
        self.ambiguous = bool((self.likelihood[:, -1] < 0).any())
        outcomes = self.likelihood[:, :-1]
        self.certain = outcomes.argmax(axis=1) if (outcomes.max(axis=1) == 1.0).all() else None


@dataclass(eq=False)
class _Derived:
    """What follows from the counts of some columns."""

    likelihood: Floats | None
    novelty: Floats | None
    differences: Floats | None

    def put(self, table: CountTable, agents: Ints) -> None:
        """Write the same columns for all of some agents."""
        for name in ("likelihood", "novelty", "differences"):
            value, into = getattr(self, name), getattr(table, f"_{name}")
            if value is not None and into is not None:
                into.reshape(len(table.counts), *value.shape)[agents] = value


@dataclass(eq=False)
class CountTable:
    """Counts of one learned modality for a batch of agents, and what is derived from them.

    Attributes:
        layout: order of the columns.
        counts: Dirichlet counts ``(n_agents, n_states, n_outcomes)``.
        touched: columns that some outcome has changed ``(n_agents, n_states)``.
        fresh: counts of a column that nothing has touched ``(n_states, n_outcomes)``.
        likelihood: E[A] and, last, sum_o A log A of each column, ``(n_agents * n_states, n_outcomes + 1)``.
        novelty: W of each column, ``(n_agents * n_states, n_outcomes)``.
        unsettled: number of columns in which no count reaches the cut-off ``(n_agents,)``; agents with none gain nothing from
            seeing more (SPM).
        differences: scores of each column's alternative reduced priors ``(n_agents * n_states, n_alternatives)``, if any.
        stale: agents for whom this does not follow from their counts yet ``(n_agents,)``; None for nobody.

    What follows from the counts is worked out when it is looked at: agents whose counts have faded, and are replaced then, need
    it once.
    """

    layout: Layout | Columns
    counts: Floats
    touched: NDArray[np.bool_]
    fresh: Floats
    _likelihood: Floats
    _novelty: Floats
    _unsettled: Ints
    _differences: Floats | None
    scorer: ModelScorer | None
    novelty_cutoff: float
    stale: NDArray[np.bool_] | None = None

    learned = True
    ambiguous = True

    @property
    def likelihood(self) -> Floats:
        self._settle()
        return self._likelihood

    @property
    def novelty(self) -> Floats:
        self._settle()
        return self._novelty

    @property
    def unsettled(self) -> Ints:
        self._settle()
        return self._unsettled

    @property
    def differences(self) -> Floats | None:
        self._settle()
        return self._differences

    def _settle(self) -> None:
        """Derive what follows from counts that have faded."""
        if self.stale is not None:
            self.renew(np.flatnonzero(self.stale))

    @classmethod
    def start(
        cls, tensor: Floats, layout: Layout | Columns, n_agents: int, scorer: ModelScorer | None, novelty_cutoff: float
    ) -> CountTable:
        """The table of a batch that starts with the counts ``tensor``."""
        counts = layout.keep(tensor)
        n_states, n_outcomes = counts.shape
        width = 0 if scorer is None else scorer.feature.shape[1]
        table = cls(
            layout=layout,
            counts=np.repeat(counts[None], n_agents, axis=0),
            touched=np.zeros((n_agents, n_states), dtype=bool),
            fresh=counts.copy(),
            _likelihood=np.empty((n_agents * n_states, n_outcomes + 1)),
            _novelty=np.zeros((n_agents * n_states, n_outcomes)),
            _unsettled=np.zeros(n_agents, dtype=np.intp),
            _differences=None if scorer is None else np.zeros((n_agents * n_states, width)),
            scorer=scorer,
            novelty_cutoff=novelty_cutoff,
        )
        table.renew(np.arange(n_agents))
        return table

    @property
    def n_states(self) -> int:
        return int(self.counts.shape[1])

    @property
    def n_outcomes(self) -> int:
        return int(self.counts.shape[2])

    @property
    def novel(self) -> NDArray[np.bool_]:
        """Agents that may learn something about parameters ``(n_agents,)``."""
        return self.unsettled > 0

    def _open(self, counts: Floats) -> NDArray[np.bool_]:
        """Columns (entries, outcomes) in which no count reaches the cut-off."""
        largest = counts[:, 0]
        for o in range(1, counts.shape[1]):
            largest = np.maximum(largest, counts[:, o])
        return largest < self.novelty_cutoff

    def copy(self) -> CountTable:
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return CountTable(**{k: v.copy() if isinstance(v, np.ndarray) else v for k, v in held.items()})

    def tensor(self) -> Floats:
        """The counts as tensors in the model's own order of states ``(n_agents, n_outcomes, n_states_0, ...)``."""
        return self.layout.tensor(self.counts)

    def _derive(self, counts: Floats, states: Ints, novelty: bool) -> _Derived:
        scorer = self.scorer
        return _Derived(
            _likelihood_rows(counts),
            column_information_gain(counts, axis=1) if novelty else None,
            None if scorer is None else scorer.differences(scorer.evidence(counts, states), states),
        )

    def _put(self, flat: Ints, derived: _Derived) -> None:
        self._likelihood[flat] = derived.likelihood
        if derived.novelty is not None:
            self._novelty[flat] = derived.novelty
        if self._differences is not None and derived.differences is not None:
            self._differences[flat] = derived.differences

    def retain(self, share: float | Floats) -> None:
        """Forget: multiply all counts by ``share``, one for all agents or ``(n_agents,)``."""
        self.stale = np.ones(len(self.counts), dtype=bool)
        if np.ndim(share):
            self.counts *= np.asarray(share)[:, None, None]
            self.touched[:] = True  # columns that nothing has touched are no longer the same for all agents
            return
        self.counts *= share
        self.fresh *= share

    def renew(self, agents: Ints) -> None:
        """After a change of all counts of some agents, derive what follows: once for the columns that nothing has touched."""
        if len(agents) == 0:
            return
        self._is_settled(agents)
        part = slice(None) if len(agents) == len(self.counts) else agents
        untouched = ~self.touched[part]
        unsettled = (untouched & self._open(self.fresh)).sum(axis=1)
        some = untouched.any(axis=1)
        if some.any():
            self._derive(self.fresh, np.arange(self.n_states), novelty=True).put(self, agents[some])
        row, states = np.nonzero(self.touched[part])
        if len(row):
            flat = agents[row] * self.n_states + states
            counts = self.counts.reshape(-1, self.n_outcomes)[flat]
            unsettled += np.bincount(row[self._open(counts)], minlength=len(agents))
            self._put(flat, self._derive(counts, states, novelty=bool(unsettled.any())))
        self._unsettled[agents] = unsettled

    def _is_settled(self, agents: Ints) -> None:
        if self.stale is not None:
            self.stale[agents] = False
            if not self.stale.any():
                self.stale = None

    def replace(self, agents: Ints, counts: Floats, of_state: Ints) -> None:
        """Give some agents other counts in all columns, and derive what follows.

        Args:
            agents: their indices.
            counts: counts of each class of columns ``(agents, n_classes, n_outcomes)``.
            of_state: class of each column ``(n_states,)``.
        """
        self.counts[agents] = counts[:, of_state]
        self.touched[agents] = True
        self._is_settled(agents)
        representative = np.zeros(counts.shape[1], dtype=np.intp)
        representative[of_state] = np.arange(self.n_states)
        if self.scorer is not None and not np.array_equal(self.scorer.prior, self.scorer.prior[representative][of_state]):
            self.renew(agents)  # the prior tells columns apart that the new counts do not
            return
        of_class = np.bincount(of_state, minlength=counts.shape[1])
        still_open = self._open(counts.reshape(-1, self.n_outcomes)).reshape(len(agents), -1)
        self._unsettled[agents] = (still_open * of_class).sum(axis=1)
        states = np.tile(representative, len(agents))
        derived = self._derive(counts.reshape(-1, self.n_outcomes), states, novelty=bool(self._unsettled[agents].any()))
        spread = lambda x: x.reshape(len(agents), -1, x.shape[1])[:, of_state].reshape(-1, x.shape[1])  # noqa: E731
        whole = _Derived(
            *(None if x is None else spread(x) for x in (derived.likelihood, derived.novelty, derived.differences))
        )
        self._put((agents[:, None] * self.n_states + np.arange(self.n_states)).ravel(), whole)

    def scores(self, agents: Ints) -> Floats:
        """Log evidence of every hypothesis, up to a constant per agent, ``(len(agents), n_hypotheses)``."""
        assert self.scorer is not None and self.differences is not None
        per_agent = self.differences.reshape(len(self.counts), self.n_states, self.differences.shape[1])
        return self.scorer.totals(per_agent[agents])

    def observe(self, agents: Ints, states: Ints, amounts: Floats) -> Floats | None:
        """Add counts ``amounts`` (entries, outcomes) at columns ``states`` of ``agents`` (sorted); structural zeros stay.

        Returns the change of every hypothesis' score ``(n_agents, n_hypotheses)``, or None without hypotheses.
        """
        self._settle()
        flat = agents * self.n_states + states
        counts = self.counts.reshape(-1, self.n_outcomes)
        old = counts[flat]
        new = old + (old > 0) * amounts
        counts[flat] = new
        self.touched.reshape(-1)[flat] = True
        curious = bool(self.unsettled.any())
        if curious:
            closed = self._open(old) & ~self._open(new)
            self._unsettled -= np.bincount(agents[closed], minlength=len(self.counts))
        derived = self._derive(new, states, novelty=curious)
        change = None
        if self.scorer is not None and self.differences is not None and derived.differences is not None:
            start = np.searchsorted(agents, np.arange(len(self.counts) + 1))
            change = self.scorer.collect(start, states, derived.differences - self.differences[flat])
        self._put(flat, derived)
        return change
