"""`Agent`: a batch of active-inference agents that share a model and differ in what they believe, have learned and adopted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from activebmr.beliefs import Belief
from activebmr.hypotheses import HypothesisSpace
from activebmr.inference import INFERENCE, columns_of, unknown_factors
from activebmr.layout import dynamics_of, layouts_of
from activebmr.models import POMDP
from activebmr.observations import controls_of, outcomes_of, policy_of
from activebmr.planning import Evaluation, Planner, View, log_preferences
from activebmr.reduction import log_odds, softmax
from activebmr.scoring import ModelScorer
from activebmr.sparse import Floats, Ints
from activebmr.states import AgentState, StepInfo, TrialInfo
from activebmr.tables import CountTable, KnownTable

__all__ = ["Agent", "AgentState", "Learning", "Selection", "StepInfo", "TrialInfo"]


@dataclass(frozen=True)
class Learning:
    """How counts change.

    Attributes:
        rate: counts that one outcome adds, > 0.
        retention: what counts are multiplied with after every trial, in (0, 1]; 1 forgets nothing (SPM: 512/513).
    """

    rate: float = 1.0
    retention: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate of Learning must be a finite number > 0; got {self.rate}")
        if not 0 < self.retention <= 1:
            raise ValueError(f"retention of Learning must lie in (0, 1]; got {self.retention}")


@dataclass(frozen=True)
class Selection:
    """When an agent makes one of its hypotheses its own (Friston et al. 2025, eq. 12 and 13).

    Attributes:
        threshold: Occam's window in nats: log odds of the best hypothesis above which it is adopted; ``inf`` for never.
        concentration: counts that the adopted average of hypotheses carries per column (SPM: 512).
        offset: added to all counts when hypotheses are scored (SPM: 1/32); see `reduction.log_evidence_ratio`.
        curious: whether, until a hypothesis is adopted, preferences are flat and the planner looks one step ahead only.
    """

    threshold: float = 16.0
    concentration: float = 512.0
    offset: float = 1 / 32
    curious: bool = False

    def __post_init__(self) -> None:
        if np.isnan(self.threshold):
            raise ValueError("threshold of Selection must be a number of nats, or inf for never; got nan")
        for name in ("concentration", "offset"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} of Selection must be a finite number > 0; got {value}")


class Agent:
    """A batch of agents: filtering, planning, learning and selection among hypotheses, for any `POMDP`.

    Args:
        model: the generative model that the agents start with.
        hypotheses: alternative reduced priors over its counts; None for agents that do not reason about structure.
        planner: how policies are evaluated and chosen.
        inference: ``"joint"``, ``"sequential"`` or ``"mean-field"``, see `activebmr.inference`.
        learning: rate and retention of counts.
        selection: how hypotheses are scored and adopted; ignored without hypotheses.
        trial_length: number of observations in a trial, beyond which the planner does not look; None if unknown.

    Raises:
        ValueError: if the parts do not fit together.
        TypeError: if a part has the wrong type.

    Example:
        >>> state = agent.init()
        >>> state, info = agent.step(state, observation, rng)
        >>> info.action, info.q_pi
    """

    def __init__(
        self,
        model: POMDP,
        hypotheses: HypothesisSpace | None = None,
        planner: Planner | None = None,
        *,
        inference: str = "joint",
        learning: Learning | None = None,
        selection: Selection | None = None,
        trial_length: int | None = None,
    ) -> None:
        for name, value, kind in (
            ("model", model, POMDP),
            ("hypotheses", hypotheses, HypothesisSpace),
            ("planner", planner, Planner),
            ("learning", learning, Learning),
            ("selection", selection, Selection),
        ):
            if not isinstance(value, kind) and (value is not None or name == "model"):
                raise TypeError(f"{name} of Agent must be a {kind.__name__}; got {type(value).__name__}")
        if inference not in INFERENCE:
            raise ValueError(f"inference of Agent must be one of {list(INFERENCE)}; got {inference!r}")
        if trial_length is not None and not (int(trial_length) == trial_length and trial_length >= 1):
            raise ValueError(f"trial_length of Agent must be a whole number >= 1, or None; got {trial_length}")
        self.model = model
        self.hypotheses = hypotheses
        self.planner = planner or Planner()
        self.inference = inference
        self.learning = learning or Learning()
        self.selection = selection or Selection()
        self.trial_length = None if trial_length is None else int(trial_length)
        if self.planner.depth > 0 and model.policy_length > 1:
            raise ValueError(
                f"depth of Planner must be 0 for policies of several steps; got depth {self.planner.depth} and policies of "
                f"{model.policy_length} steps"
            )
        if hypotheses is not None:
            hypotheses.check_against(model)
        layouts = layouts_of(model)
        learned = model.learned_modalities
        self._known = [None if m in learned else KnownTable(a, layouts[m]) for m, a in enumerate(model.A)]
        self._scorers = {
            m: ModelScorer(table, layouts[m].keep(model.pA[m]), self.selection.offset, layouts[m].order)  # type: ignore[index]
            for m, table in (hypotheses.tables.items() if hypotheses is not None else ())
        }
        self._curious = replace(self.planner, depth=0)
        self._flat = [np.full(n, -np.log(n)) for n in model.num_outcomes]
        self._preferences: dict[int, list[Floats]] = {}

    # --- life of a batch -------------------------------------------------------------------------------------------------
    def init(self, n_agents: int | None = None) -> AgentState:
        """The state before the first observation; without a number, one agent whose reports have no axis for agents."""
        count = 1 if n_agents is None else n_agents
        if int(count) != count or count < 1:
            raise ValueError(f"n_agents must be a whole number >= 1, or None for a single agent; got {n_agents}")
        count = int(count)
        tables: list[KnownTable | CountTable] = []
        for m, known in enumerate(self._known):
            if known is not None:
                tables.append(known)
            else:
                scorer, cutoff = self._scorers.get(m), self.planner.novelty_cutoff
                tables.append(CountTable.start(self.model.pA[m], layouts_of(self.model)[m], count, scorer, cutoff))  # type: ignore[index]
        scores = None
        if self.hypotheses is not None:
            scores = np.repeat(np.log(self.hypotheses.prior)[None], count, axis=0)
            for m in self._scorers:
                scores = scores + tables[m].scores(np.arange(count))  # type: ignore[union-attr]
        return AgentState(
            t=0,
            trial=0,
            qs=Belief.start(self.model.D, count),  # type: ignore[arg-type]
            controls=None,
            tables=tables,
            scores=scores,
            model_posterior=None if scores is None else softmax(scores),
            adopted=np.full(count, -1),
            single=n_agents is None,
        )

    def step(
        self,
        state: AgentState,
        observation: Any,
        rng: np.random.Generator | None = None,
        *,
        action: Any = None,
    ) -> tuple[AgentState, StepInfo]:
        """Perceive an observation, evaluate policies, choose an action and learn.

        Args:
            state: from `init` or the step before.
            observation: outcomes as integers ``(n_agents, n_modalities)`` (for a single agent ``(n_modalities,)``, or an int if
                there is one modality), or a list with one array per modality: integers ``(n_agents,)`` or probabilities
                ``(n_agents, O_m)``.
            rng: draws the action; not needed with ``action`` or a planner with ``alpha=None``.
            action: controls that were in fact taken ``(n_agents, n_factors)``, as when recorded behaviour is replayed.

        Returns:
            the new state and a report. The old state stays as it was.
        """
        outcomes = outcomes_of(self.model, observation, state.n_agents)
        controls = None if action is None else controls_of(self.model, action, state.n_agents)
        if controls is None and rng is None and self.planner.alpha is not None:
            raise ValueError("rng must be given to draw an action (or give action, or a Planner with alpha=None)")
        uniform = rng.random(state.n_agents) if rng is not None else np.zeros(state.n_agents)
        state = state.copy()
        info = self._advance(state, outcomes, uniform, controls)
        return state, info.squeeze() if state.single else info

    def end_trial(self, state: AgentState) -> tuple[AgentState, TrialInfo]:
        """Forget, adopt a hypothesis whose log odds pass Occam's window, and begin a new trial with fresh beliefs."""
        state = state.copy()
        info = self._conclude(state)
        return state, info

    def posterior_counts(self, state: AgentState, modality: int | str) -> Floats:
        """Counts of a learned modality as tensors ``(n_agents, n_outcomes, n_states_0, ...)``."""
        m = self.model.modality(modality)
        return state.counts(m)

    # --- the same in place, for simulations ------------------------------------------------------------------------------
    def _advance(self, state: AgentState, outcomes: list[np.ndarray], uniform: Floats, controls: Ints | None) -> StepInfo:
        everyone = np.arange(state.n_agents)
        prior = state.qs if state.controls is None else state.qs.predict(dynamics_of(self.model), state.controls)
        state.qs, evidence = INFERENCE[self.inference](self.model, state.tables, everyone, prior, outcomes)
        if state.scores is not None:
            state.model_posterior = softmax(state.scores)
        evaluation, policy = self._plan(state, uniform)
        if controls is None:
            controls = self.model.policies[policy, 0]
        else:
            policy = policy_of(self.model, controls)
        state.controls = controls
        state.t += 1
        self._learn(state, outcomes)
        terms = evaluation.terms
        return StepInfo(
            qs=state.qs,
            free_energy=-evidence,
            utility=terms.utility,
            state_info_gain=terms.state,
            param_info_gain=terms.param,
            model_info_gain=terms.model,
            neg_efe=evaluation.neg_efe,
            q_pi=evaluation.q_pi,
            policy=policy,
            controls=controls,
            action=controls[:, list(self.model.controlled_factors)],
            model_posterior=state.model_posterior,
        )

    def _plan(self, state: AgentState, uniform: Floats) -> tuple[Evaluation, Ints]:
        curious = np.zeros(state.n_agents, dtype=bool)
        if self.hypotheses is not None and self.selection.curious:
            curious = state.adopted < 0
        if not curious.any():
            return self._plan_group(state, np.arange(state.n_agents), uniform, curious=False)
        if curious.all():
            return self._plan_group(state, np.arange(state.n_agents), uniform, curious=True)
        both = [
            (g, self._plan_group(state, g, uniform[g], c))
            for g, c in ((np.flatnonzero(curious), True), (np.flatnonzero(~curious), False))
        ]
        order = np.argsort(np.concatenate([g for g, _ in both]))
        merged = Evaluation.merge([e for _, (e, _) in both], order)
        return merged, np.concatenate([p for _, (_, p) in both])[order]

    def _plan_group(self, state: AgentState, agents: Ints, uniform: Floats, curious: bool) -> tuple[Evaluation, Ints]:
        planner = self._curious if curious else self.planner
        view = View(
            self.model, state.tables, self.inference, self._wants_nothing if curious else self._wants, self.trial_length
        )
        whole = len(agents) == state.n_agents
        qs = state.qs if whole else state.qs.take(agents)
        posterior = None if state.model_posterior is None else state.model_posterior[agents]
        evaluation = planner.evaluate(view, agents, qs, state.t, posterior)
        return evaluation, planner.act(evaluation, uniform)

    def _wants(self, t: int) -> list[Floats]:
        if t not in self._preferences:
            self._preferences[t] = log_preferences(self.model, t)
        return self._preferences[t]

    def _wants_nothing(self, t: int) -> list[Floats]:
        return self._flat

    def _learn(self, state: AgentState, outcomes: list[np.ndarray]) -> None:
        for m in self.model.learned_modalities:
            table = state.tables[m]
            assert isinstance(table, CountTable)
            layout, belief = table.layout, state.qs
            factors = unknown_factors(layout, belief)
            joint = belief.joint(factors)
            columns = columns_of(layout, belief, factors, joint)
            outcome = outcomes[m] if outcomes[m].ndim == 2 else np.eye(table.n_outcomes)[outcomes[m]]
            amounts = outcome[joint.row] * (self.learning.rate * joint.weight)[:, None]
            change = table.observe(joint.row, columns, amounts)
            if change is not None and state.scores is not None:
                state.scores += change

    def _conclude(self, state: AgentState) -> TrialInfo:
        everyone = np.arange(state.n_agents)
        adopted_now = np.zeros(state.n_agents, dtype=bool)
        odds = best = None
        if state.model_posterior is not None:
            odds, best = log_odds(state.model_posterior), state.model_posterior.argmax(axis=1)
            adopted_now = odds > self.selection.threshold
        counts: dict[int, Floats] = {}
        for m in self.model.learned_modalities:
            table = state.tables[m]
            assert isinstance(table, CountTable)
            if self.learning.retention < 1.0:
                table.retain(self.learning.retention)
            counts[m] = table.counts
            adopters = np.flatnonzero(adopted_now) if m in self._scorers else everyone[:0]
            if len(adopters):
                counts[m] = table.counts.copy()
            if self.learning.retention < 1.0:
                table.renew(everyone if len(adopters) == 0 else np.flatnonzero(~adopted_now))
            if len(adopters):
                assert self.hypotheses is not None and state.model_posterior is not None
                reduced = self.hypotheses.tables[m]
                average = self.selection.concentration * reduced.class_mixture(state.model_posterior[adopters])
                table.replace(adopters, average, reduced.column_classes[1][table.layout.order])
        if state.scores is not None:
            assert self.hypotheses is not None
            state.scores = np.repeat(np.log(self.hypotheses.prior)[None], state.n_agents, axis=0)
            for m in self._scorers:
                state.scores += state.tables[m].scores(everyone)  # type: ignore[union-attr]
            first = adopted_now & (state.adopted < 0)
            state.adopted = np.where(first, best, state.adopted)
        info = TrialInfo(state.model_posterior, odds, best, adopted_now, counts)
        state.qs = Belief.start(self.model.D, state.n_agents)  # type: ignore[arg-type]
        state.controls, state.t = None, 0
        state.trial += 1
        return info
