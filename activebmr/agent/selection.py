"""Comparing hypotheses after a trial, and making the best one's counts one's own (Friston et al. 2025, eq. 12 and 13)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from activebmr import checks
from activebmr.agent.settings import Selection
from activebmr.arrays import Bools, Floats, Ints, softmax
from activebmr.inference.knowledge import Knowledge
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import layouts_of
from activebmr.model.pomdp import POMDP
from activebmr.reduction.evidence import log_odds_of_scores
from activebmr.reduction.scoring import ModelScorer

__all__ = ["Comparing", "NoHypotheses", "ScoredByCounts", "Verdict"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a comparison came to, per agent.

    Attributes:
        posterior: probabilities of all hypotheses ``(n_agents, n_hypotheses)``.
        log_odds: of the best one, nats ``(n_agents,)``.
        best: the best one ``(n_agents,)``.
        passing: whether its log odds exceed Occam's window ``(n_agents,)``.
    """

    posterior: Floats
    log_odds: Floats
    best: Ints
    passing: Bools


class Comparing(Protocol):
    """A way of comparing hypotheses; what it keeps is ``knowledge.models``."""

    def scorers(self) -> dict[int, ModelScorer]:
        """Per modality who scores its tables' columns, if tables should keep scores."""
        ...

    def start(self, knowledge: Knowledge) -> Floats | None:
        """Begin a life: the posterior over hypotheses, or None."""
        ...

    def posterior(self, knowledge: Knowledge, belief: Any) -> Floats | None:
        """Probabilities of hypotheses that policies are evaluated with, after an observation."""
        ...

    def curious(self, knowledge: Knowledge) -> Bools | None:
        """Agents without preferences, because they have not adopted a hypothesis yet ``(n_agents,)``; None for nobody."""
        ...

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        """See `activebmr.agent.learning.Listener`."""
        ...

    def judge(self, knowledge: Knowledge, belief: Any, posterior: Floats | None) -> Verdict | None:
        """After a trial: what the evidence says; ``posterior``: what policies were last evaluated with."""
        ...

    def adopt(self, knowledge: Knowledge, verdict: Verdict) -> Floats | None:
        """Give agents whose verdict passes the counts of their best hypothesis; the posterior they go on with."""
        ...


class NoHypotheses:
    """Nothing to compare."""

    def __init__(self, curious: bool = False) -> None:
        self._curious = curious

    def scorers(self) -> dict[int, ModelScorer]:
        return {}

    def start(self, knowledge: Knowledge) -> Floats | None:
        return None

    def posterior(self, knowledge: Knowledge, belief: Any) -> Floats | None:
        return None

    def curious(self, knowledge: Knowledge) -> Bools | None:
        return knowledge.adopted < 0 if self._curious else None

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        pass

    def judge(self, knowledge: Knowledge, belief: Any, posterior: Floats | None) -> Verdict | None:
        return None

    def adopt(self, knowledge: Knowledge, verdict: Verdict) -> Floats | None:
        return None


@dataclass(eq=False)
class _Scores:
    """Log evidence of every hypothesis, up to a constant per agent ``(n_agents, n_hypotheses)``."""

    values: Floats

    def copy(self) -> _Scores:
        return replace(self, values=self.values.copy())


class ScoredByCounts:
    """The paper's scheme: hypotheses are scored by model reduction of the counts that agents have, as they come in.

    Args:
        model: what the counts begin as.
        space: the hypotheses.
        settings: when one of them is adopted.
        prior: of each agent over hypotheses ``(n_agents, n_hypotheses)``; the space's by default.
    """

    def __init__(self, model: POMDP, space: HypothesisSpace, settings: Selection, prior: Floats | None = None) -> None:
        self._space, self._settings = space, settings
        self._log_prior = np.log(space.prior)[None] if prior is None else np.log(prior)
        layouts = layouts_of(model)
        self._scorers = {
            m: ModelScorer(table, layouts[m].keep(model.pA[m]), settings.offset, layouts[m].order)  # type: ignore[index]
            for m, table in space.tables.items()
        }

    def scorers(self) -> dict[int, ModelScorer]:
        return self._scorers

    def start(self, knowledge: Knowledge) -> Floats | None:
        self._score(knowledge)
        return softmax(knowledge.models.values)

    def _score(self, knowledge: Knowledge) -> None:
        everyone = np.arange(knowledge.n_agents)
        scores = np.repeat(self._log_prior, knowledge.n_agents // len(self._log_prior), axis=0)
        for m in self._scorers:
            scores = scores + knowledge.tables[m].scores(everyone)  # type: ignore[union-attr]
        knowledge.models = _Scores(scores)

    def posterior(self, knowledge: Knowledge, belief: Any) -> Floats | None:
        return softmax(knowledge.models.values)

    def curious(self, knowledge: Knowledge) -> Bools | None:
        return knowledge.adopted < 0 if self._settings.curious else None

    def counted(
        self, knowledge: Knowledge, modality: int, agents: Ints, columns: Ints, amounts: Floats, change: Floats | None
    ) -> None:
        if change is not None:
            knowledge.models.values += change

    def judge(self, knowledge: Knowledge, belief: Any, posterior: Floats | None) -> Verdict | None:
        if self._settings.last_outcome or posterior is None:
            scores = knowledge.models.values
            posterior = softmax(scores)
        else:
            with np.errstate(divide="ignore"):
                scores = np.log(posterior)
        odds, best = log_odds_of_scores(scores), posterior.argmax(axis=1)
        return Verdict(posterior, odds, best, odds > window(self._settings, knowledge))

    def adopt(self, knowledge: Knowledge, verdict: Verdict) -> Floats | None:
        adopters = np.flatnonzero(verdict.passing)
        for m in self._scorers:
            if len(adopters):
                take_over(knowledge, self._space, m, adopters, verdict.posterior[adopters], self._settings)
        self._score(knowledge)
        knowledge.adopted = np.where(verdict.passing & (knowledge.adopted < 0), verdict.best, knowledge.adopted)
        return verdict.posterior


def window(settings: Selection, knowledge: Knowledge) -> Floats:
    """Occam's window of each agent, nats ``(n_agents,)``."""
    return checks.each_agent(settings.threshold, knowledge.n_agents, "threshold of Selection")


def take_over(
    knowledge: Knowledge,
    space: HypothesisSpace,
    modality: int,
    agents: Ints,
    posterior: Floats,
    settings: Selection,
    per_column: bool = False,
) -> None:
    """Replace some agents' counts of a modality by the average of the hypotheses, times the concentration.

    ``per_column``: the concentration is the mass of every column, rather than what the hypotheses' own counts are multiplied
    with.
    """
    reduced, table = space.tables[modality], knowledge.tables[modality]
    average = reduced.class_mixture(posterior)
    mass = np.asarray(checks.each_agent(settings.concentration, knowledge.n_agents, "concentration of Selection"))[agents]
    mass = mass[:, None, None]
    average = average * (mass / average.sum(axis=2, keepdims=True)) if per_column else mass * average
    table.replace(agents, average, reduced.column_classes[1][table.layout.order])  # type: ignore[union-attr]
