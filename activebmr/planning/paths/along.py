"""The scheme of 2016 and 2017 as agents use it: believing and planning in one, since beliefs are averaged over policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Floats, Ints
from activebmr.inference.beliefs import Belief
from activebmr.inference.knowledge import Knowledge, Memory, Percept
from activebmr.inference.looking_up import columns_of, unknown_factors
from activebmr.inference.paths import PathCounts, Paths
from activebmr.model.layout import layout_of, layouts_of
from activebmr.model.naming import Table
from activebmr.model.pomdp import POMDP
from activebmr.planning.evaluation import Evaluation
from activebmr.planning.paths.inference import PathInference
from activebmr.planning.planner import Planner
from activebmr.planning.settings import habits

__all__ = ["AlongPaths", "AlongTrials", "Journey", "PathPlanning"]


@dataclass(frozen=True, eq=False)
class Journey:
    """Beliefs along paths.

    Attributes:
        paths: the trial so far.
        now: marginals of the present, or of time t.
        t: the time that ``now`` is about.
        evaluation: what the policies are worth, which the beliefs are averaged by; None before the first outcome.
    """

    paths: Paths
    now: Belief
    evaluation: Evaluation | None = None
    t: int = 0

    def copy(self) -> Journey:
        return self


class AlongPaths:
    """See `activebmr.inference.protocol.Believing`. What agents know when a trial begins holds until it is over."""

    at_once, in_hindsight = False, True

    def __init__(self, model: POMDP, inference: PathInference) -> None:
        self.model, self.inference = model, inference

    def begin(self, knowledge: Knowledge) -> Journey:
        initial: list[Floats] = list(self.model.D)  # type: ignore[arg-type]
        for table, counts in knowledge.others.items():
            if table.kind == "D":
                initial[int(table.index)] = counts.likelihood[:, :-1]
        return Journey(Paths(), Belief.start(initial, knowledge.n_agents))

    def perceive(self, belief: Journey, knowledge: Knowledge, controls: Ints | None, outcomes: Sequence[np.ndarray]) -> Percept:
        paths = belief.paths.copy()
        if paths.now < 0:
            self._know(paths, knowledge)
        now, free_energy, evaluation = self.inference.advance(paths, knowledge.tables, controls, list(outcomes))
        impossible = np.zeros(knowledge.n_agents, dtype=bool) if paths.impossible is None else paths.impossible
        return Percept(Journey(paths, now, evaluation, paths.now), -free_energy, impossible)

    def _know(self, paths: Paths, knowledge: Knowledge) -> None:
        paths.counts = PathCounts.of(self.model, knowledge)
        if any(table.kind == "E" for table in knowledge.others):
            paths.log_prior = habits(self.model, knowledge, np.arange(knowledge.n_agents))

    def marginals(self, belief: Journey) -> Sequence[Floats]:
        return belief.now

    def places(self, belief: Journey, modality: int) -> tuple[Ints, Ints, Floats]:
        layout, now = layouts_of(self.model)[modality], belief.now
        factors = unknown_factors(layout, now)
        joint = now.joint(factors)
        return joint.row, columns_of(layout, now, factors, joint), joint.weight

    def moves(self, belief: Journey, factor: int, controls: Ints) -> tuple[Ints, Ints, Floats]:
        """See `activebmr.inference.protocol.Moving`: the product of what is believed about two moments, policy by policy."""
        found = self.inference.moved(belief.paths, factor, belief.t)
        amounts = layout_of(self.model, Table("B", factor)).columns(found)
        agents, columns = np.nonzero(amounts.any(axis=2))
        return agents, columns, amounts[agents, columns]

    def hindsight(self, memory: Memory, knowledge: Knowledge) -> Sequence[Journey]:
        last: Journey = memory.moments[-1].belief
        # in a trial that ends early, beliefs reach beyond its end
        return self._moments(last, [b[:, : len(memory.moments)] for b in last.paths.beliefs])

    def recall(self, memory: Memory, knowledge: Knowledge) -> Sequence[Journey]:
        controls = [m.controls for m in memory.moments[1:] if m.controls is not None]
        paths = Paths([m.outcomes for m in memory.moments], controls)
        self._know(paths, knowledge)
        paths.beliefs = self.inference.recall(paths, knowledge.tables)
        paths.x = [b[:, None] for b in paths.beliefs]
        return self._moments(replace(self.begin(knowledge), paths=paths), paths.beliefs)

    def _moments(self, at: Journey, beliefs: Sequence[Floats]) -> list[Journey]:
        return [
            replace(at, now=Belief([np.ascontiguousarray(b[:, t]) for b in beliefs], None, self.model.num_states), t=t)
            for t in range(beliefs[0].shape[1])
        ]


class AlongTrials(AlongPaths):
    """The same where policies are those of whole trials, and may become habits."""

    def habits(self, belief: Journey) -> Floats | None:
        """What a trial adds to counts of policies ``(n_agents, n_policies)``: their posterior when it is over; None at the
        times before.
        """
        policies = belief.paths.policies
        assert policies is not None
        return policies.q_pi if belief.t == belief.paths.now else None


class PathPlanning:
    """See `activebmr.planning.protocol.Planning`; policies have been judged when beliefs were."""

    def __init__(self, inference: PathInference, planner: Planner) -> None:
        self._inference, self._planner = inference, planner

    def evaluate(
        self, belief: Journey, knowledge: Knowledge, agents: Ints, t: int, model_posterior: Any, curious: bool
    ) -> Evaluation:
        evaluation = belief.evaluation
        if evaluation is None:
            raise ValueError("agents that believe along paths must perceive before they plan")
        if self._inference.settings.policies == "trial":
            alpha = self._planner.alpha
            if alpha is not None and np.ndim(alpha):
                alpha = checks.each_agent(alpha, knowledge.n_agents, "alpha of Planner")
            acts = self._inference.action_probabilities(belief.paths, alpha)
            evaluation = replace(evaluation, acts=acts, moves=self._inference.moves(belief.paths))
        return evaluation
