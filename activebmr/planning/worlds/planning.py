"""Planning of agents that believe in worlds: gains about models across all of them, and a search over outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.worlds.beliefs import WorldsBelief
from activebmr.inference.worlds.worlds import Worlds
from activebmr.planning.choice import policy_probabilities
from activebmr.planning.evaluation import Evaluation, Terms
from activebmr.planning.planner import Planner
from activebmr.planning.preferences import Preferences
from activebmr.planning.search import Search
from activebmr.planning.settings import gamma_of, later_prior, log_prior, steps_left
from activebmr.planning.worlds.comparison import Comparison
from activebmr.planning.worlds.foresight import Foresight
from activebmr.planning.worlds.prospects import Prospects
from activebmr.planning.worlds.thoughts import Columns, Thoughts, thoughts_of

__all__ = ["WorldsPlanning"]

_AT_ONCE = 2**22  # numbers held at a time


class WorldsPlanning:
    """See `activebmr.planning.protocol.Planning`.

    Agents who have adopted a hypothesis plan as if it were true. Those who have not look ahead by ``depth`` of the planner or,
    if that is more, by ``lookahead`` of `Reasoning`, which counts on the best of what may follow; those who are merely curious
    by the latter alone.

    Args:
        believing: whose beliefs they are.
        planner, settings: how to plan, and to reason.
        preferences: what agents want.
        trial_length: number of observations in a trial, or None.

    Raises:
        ValueError: if a search would have to branch over more joint outcomes than can be listed.
    """

    def __init__(
        self,
        believing: Worlds,
        planner: Planner,
        settings: Reasoning,
        preferences: Preferences,
        trial_length: int | None,
    ) -> None:
        self.model, self._believing, self._planner, self._settings = believing.model, believing, planner, settings
        self._preferences, self._trial_length = preferences, trial_length
        self._n_policies = len(self.model.policies)
        together, several = planner.modalities == "together", len(believing.worlds) > 1
        policies = self.model.policies
        of_worlds = [
            believing.of_world(i, policies.reshape(-1, policies.shape[2])).reshape(*policies.shape[:2], -1)
            for i in range(len(believing.worlds))
        ]
        make = lambda joint: [  # noqa: E731
            Prospects(w, p, planner.gains, joint, several) for w, p in zip(believing.worlds, of_worlds, strict=True)
        ]
        self.prospects = make(together)
        if together and not all(p.together for p in self.prospects):  # what one world cannot list is compared in none
            self.prospects = make(False)
        self.comparison = Comparison(self.prospects)
        self._foresight = None
        if planner.depth > 0 or settings.lookahead > 0:
            if self.model.policy_length > 1:
                raise ValueError(
                    "depth of Planner and lookahead of Reasoning must be 0 for policies of several steps; got policies of "
                    f"{self.model.policy_length} steps"
                )
            self._foresight = Foresight(self.prospects)

    def evaluate(
        self,
        belief: WorldsBelief,
        knowledge: Knowledge,
        agents: Ints,
        t: int,
        model_posterior: Floats | None,
        curious: bool,
    ) -> Evaluation:
        planner = self._planner
        prior = log_prior(self.model, planner, t, knowledge, agents)
        left = steps_left(planner, self._trial_length, t)
        if left == 0:
            terms = Terms.zeros(len(agents), self._n_policies)
            value = terms.value(())
            return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)
        columns = [Columns(w, b, knowledge) for w, b in zip(self._believing.worlds, belief.worlds, strict=True)]
        now = self._imagined(belief, knowledge, agents)
        wanted = [self._preferences.of(t + 1 + h, agents, curious) for h in range(min(self.model.policy_length, left))]
        terms = self.terms(now, columns, wanted, planner.gains)
        value = terms.value(planner.gains)
        value = self._ahead(now, columns, knowledge, agents, t, value, left - 1, curious)
        return Evaluation(terms, value, policy_probabilities(value, gamma_of(planner, agents), prior), prior)

    def _imagined(self, belief: WorldsBelief, knowledge: Knowledge, agents: Ints) -> list[Thoughts]:
        weights = np.exp(belief.weights[agents])
        adopted = knowledge.adopted[agents]
        if self._believing.space is not None and (adopted >= 0).any():
            sure = np.eye(self._believing.n_models)[self._believing.class_of[np.maximum(adopted, 0)]]
            weights = np.where((adopted >= 0)[:, None], sure, weights)
        return [
            thoughts_of(w, b, weights[:, part], agents)
            for w, b, part in zip(self._believing.worlds, belief.worlds, self._believing.slices, strict=True)
        ]

    def terms(
        self, now: list[Thoughts], columns: list[Columns], wanted: Sequence[Sequence[Floats]], gains: Sequence[str]
    ) -> Terms:
        """Terms of every policy, summed over as many steps as there are preferences for; of gains only those named."""
        rows = now[0].rows
        pairs = max(1, sum(len(x.row) for x in now) // max(rows, 1))
        size = max(1, _AT_ONCE // (pairs * max(p.width for p in self.prospects)))
        if rows <= size:
            return self._terms(now, columns, wanted, gains)
        parts = []
        for a in range(0, rows, size):
            some = np.arange(a, min(a + size, rows))
            mine = [x.take(some, p.world) for x, p in zip(now, self.prospects, strict=True)]
            parts.append(self._terms(mine, columns, [[c[some] if c.ndim == 2 else c for c in w] for w in wanted], gains))
        return Terms.merge(parts, np.arange(rows))

    def _terms(
        self, now: list[Thoughts], columns: list[Columns], wanted: Sequence[Sequence[Floats]], gains: Sequence[str]
    ) -> Terms:
        out = Terms.zeros(now[0].rows, self._n_policies)
        nodes = []
        for p, thoughts, held in zip(self.prospects, now, columns, strict=True):
            mine, expected = p.look(thoughts, held, wanted, self._n_policies, gains)
            for name in ("utility", "state", "param"):
                getattr(out, name)[:] += getattr(mine, name)
            nodes.append(expected)
        if "model" in gains and self._believing.n_models > 1:
            out.model += self.comparison.gain(now, nodes, len(wanted))
        return out

    # --- search ------------------------------------------------------------------------------------------------------------
    def _ahead(
        self,
        now: list[Thoughts],
        columns: list[Columns],
        knowledge: Knowledge,
        agents: Ints,
        t: int,
        value: Floats,
        most: int,
        curious: bool,
    ) -> Floats:
        """Values with what deeper search adds: agents who have adopted something, or have nothing to adopt, by the planner."""
        if self._foresight is None:
            return value
        planner, settings = self._planner, self._settings
        thinks = (knowledge.adopted[agents] < 0) & (self._believing.space is not None)
        out = value.copy()
        for thinking in (True, False):
            rows = np.flatnonzero(thinks == thinking)
            lookahead = settings.lookahead if thinking else 0
            depth = min(max(0 if curious else planner.depth, lookahead), most)
            if not len(rows) or depth == 0:
                continue
            by_best = thinking and lookahead > 0
            mine = [x.take(rows, p.world) for x, p in zip(now, self.prospects, strict=True)]
            cutoff = settings.outcome_cutoff if by_best else 0.0
            # what single outcomes teach about parameters is no help to those who look ahead to tell hypotheses apart
            gains = [g for g in planner.gains if g != "param" or not by_best]
            ahead = _Ahead(self, mine, columns, cutoff, curious, gains)
            prior = lambda who: later_prior(self.model, planner, knowledge, who)  # noqa: E731
            search = Search(
                ahead,
                planner.gamma,
                "best" if by_best else planner.backup,
                settings.discount if by_best else planner.discount,
                prior,
                planner.max_nodes,
            )
            out[rows] = search.look_ahead(mine, agents[rows], t, value[rows], depth)
        return out


class _Ahead:
    """Foresight (`activebmr.planning.search`) of thoughts about worlds; what is learned on the way is not imagined."""

    def __init__(
        self,
        planning: WorldsPlanning,
        now: list[Thoughts],
        columns: list[Columns],
        cutoff: float,
        curious: bool,
        gains: Sequence[str],
    ) -> None:
        self._planning, self._columns, self._cutoff, self._curious = planning, columns, cutoff, curious
        self._gains = gains
        assert planning._foresight is not None
        self._foresight = planning._foresight
        pairs = max(1, sum(len(x.row) for x in now) // max(now[0].rows, 1))
        self.numbers = pairs * self._foresight.width

    def worth(self, belief: list[Thoughts], agents: Ints, t: int) -> Floats:
        wanted = [self._planning._preferences.of(t + 1, agents, self._curious)]
        return self._planning.terms(belief, self._columns, wanted, self._gains).value(self._gains)

    def branches(self, belief: Any, agents: Ints, rows: Ints, policies: Ints) -> tuple[list[Thoughts], Ints, Floats]:
        return self._foresight.branches(belief, self._columns, rows, policies, self._cutoff)

    def distinct(self, belief: list[Thoughts], source: Ints) -> tuple[Ints, Ints]:
        return self._foresight.distinct(belief, source)

    def take(self, belief: list[Thoughts], rows: Ints) -> list[Thoughts]:
        return [x.take(rows, p.world) for x, p in zip(belief, self._planning.prospects, strict=True)]
