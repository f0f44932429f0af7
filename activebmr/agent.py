"""`Agent`: a batch of active-inference agents that share a model and differ in what they believe, have learned and adopted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.beliefs import Belief
from activebmr.hypotheses import HypothesisSpace
from activebmr.inference import INFERENCE, columns_of, unknown_factors
from activebmr.layout import dynamics_of, layouts_of
from activebmr.models import POMDP
from activebmr.planning import Evaluation, Planner, View, log_preferences
from activebmr.reduction import log_odds, softmax
from activebmr.scoring import ModelScorer
from activebmr.sparse import Floats, Ints
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


@dataclass(eq=False)
class AgentState:
    """What a batch of agents believes at one moment. Treat it as read-only: `Agent.step` returns a new one.

    Attributes:
        t: time step within the trial that the next observation belongs to, from 0.
        trial: trials finished.
        qs: per factor the posterior over its states after the last observation ``(n_agents, S_f)``; D before the first.
        controls: controls of the last action ``(n_agents, n_factors)``, None at the start of a trial.
        tables: per modality what the agents know about it; ``counts(m)`` gives the counts of a learned one.
        scores: log evidence of every hypothesis up to a constant per agent ``(n_agents, n_hypotheses)``, or None.
        model_posterior: posterior over hypotheses when policies were last evaluated, or None.
        adopted: hypothesis that each agent adopted ``(n_agents,)``, -1 for none yet.
        single: made by ``init()`` without a number: reports then come without an axis for agents.
    """

    t: int
    trial: int
    qs: Belief
    controls: Ints | None
    tables: list[KnownTable | CountTable]
    scores: Floats | None
    model_posterior: Floats | None
    adopted: Ints
    single: bool = False

    @property
    def n_agents(self) -> int:
        return len(self.adopted)

    def counts(self, modality: int) -> Floats:
        """Dirichlet counts of a learned modality as tensors ``(n_agents, n_outcomes, n_states_0, ...)``."""
        table = self.tables[modality]
        if not isinstance(table, CountTable):
            raise ValueError(f"modality {modality} is known to the agent (its pA is None): it has no counts")
        return table.tensor()

    def copy(self) -> AgentState:
        tables = [t.copy() if isinstance(t, CountTable) else t for t in self.tables]
        return replace(self, tables=tables, scores=_copy(self.scores), adopted=self.adopted.copy())


def _copy(array: Any) -> Any:
    return None if array is None else array.copy()


@dataclass(eq=False)
class StepInfo:
    """What happened in one step: every term that a figure needs. Arrays lead with agents, unless the state is single.

    Attributes:
        qs: per factor the posterior over states ``(n_agents, S_f)``.
        free_energy: variational free energy of the observation, minus its log evidence, nats ``(n_agents,)``.
        utility, state_info_gain, param_info_gain, model_info_gain: terms of every policy ``(n_agents, n_policies)``, nats.
        neg_efe: negative expected free energy, what policies are worth (with deeper search; without log E).
        q_pi: posterior over policies ``(n_agents, n_policies)``.
        policy: index of the policy chosen ``(n_agents,)``.
        controls: its first controls ``(n_agents, n_factors)``.
        action: the same for an environment: only controlled factors; a plain int if there is one and the state is single.
        model_posterior: posterior over hypotheses ``(n_agents, n_hypotheses)`` before this step's outcome is learned, or None.
    """

    qs: Sequence[Floats]
    free_energy: Floats
    utility: Floats
    state_info_gain: Floats
    param_info_gain: Floats
    model_info_gain: Floats
    neg_efe: Floats
    q_pi: Floats
    policy: Any
    controls: Ints
    action: Any
    model_posterior: Floats | None

    @property
    def confidence(self) -> Any:
        """Negative entropy of the posterior over policies, nats, <= 0 (summed over a trial, SPM's w)."""
        return (self.q_pi * np.log(np.maximum(self.q_pi, np.exp(-32.0)))).sum(axis=-1)

    def squeeze(self) -> StepInfo:
        """The report of a single agent, without the axis for agents."""
        held = {k: v for k, v in self.__dict__.items() if k not in ("qs", "action")}
        first = {k: None if v is None else v[0] for k, v in held.items()}
        action = self.action[0]
        return StepInfo(qs=[q[0] for q in self.qs], action=int(action[0]) if len(action) == 1 else action, **first)


@dataclass(eq=False)
class TrialInfo:
    """What a finished trial changed.

    Attributes:
        model_posterior: posterior over hypotheses at the last evaluation of policies ``(n_agents, n_hypotheses)``, or None.
        log_odds: log odds of the best hypothesis ``(n_agents,)``, nats, or None.
        best_model: the best hypothesis ``(n_agents,)``, or None.
        adopted_now: agents whose log odds passed Occam's window after this trial ``(n_agents,)``.
        counts: per learned modality the counts after forgetting and before any adoption ``(n_agents, n_states, n_outcomes)``,
            columns in the order of the table's layout.
    """

    model_posterior: Floats | None
    log_odds: Floats | None
    best_model: Ints | None
    adopted_now: NDArray[np.bool_]
    counts: dict[int, Floats] = field(default_factory=dict)


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
        outcomes = self._outcomes(observation, state.n_agents)
        controls = None if action is None else self._controls(action, state.n_agents)
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
            policy = self._policy_of(controls)
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

    # --- what users give -------------------------------------------------------------------------------------------------
    def _outcomes(self, observation: Any, n_agents: int) -> list[np.ndarray]:
        n_modalities = self.model.num_modalities
        if observation is None:
            raise TypeError("observation must hold outcomes; got None")
        if isinstance(observation, (int, np.integer)) or (isinstance(observation, np.ndarray) and observation.ndim < 2):
            flat = np.atleast_1d(observation)
            # one agent's outcomes, or many agents' outcome of the only modality
            observation = flat[None] if n_agents == 1 else flat[:, None]
        if isinstance(observation, np.ndarray):
            if observation.shape != (n_agents, n_modalities):
                raise ValueError(
                    f"observation must have shape ({n_agents}, {n_modalities}) (agents, modalities); got {observation.shape}"
                )
            observation = list(observation.T)
        if len(observation) != n_modalities:
            raise ValueError(f"observation must have one entry per modality ({n_modalities}); got {len(observation)}")
        return [self._outcome(m, o, n_agents) for m, o in enumerate(observation)]

    def _outcome(self, m: int, value: Any, n_agents: int) -> np.ndarray:
        n_outcomes, array = self.model.num_outcomes[m], np.asarray(value)
        if np.issubdtype(array.dtype, np.integer):
            array = array[None] if array.ndim == 0 and n_agents == 1 else array
            if array.shape != (n_agents,):
                raise ValueError(f"observation[{m}] must hold one outcome per agent ({n_agents}); got shape {array.shape}")
            if (array < 0).any() or (array >= n_outcomes).any():
                bad = array[(array < 0) | (array >= n_outcomes)][0]
                raise ValueError(f"observation[{m}] must lie in 0..{n_outcomes - 1}; got {int(bad)}")
            return array.astype(np.intp)
        if not np.issubdtype(array.dtype, np.floating):
            raise TypeError(f"observation[{m}] must hold integers, or probabilities of outcomes; got {array.dtype}")
        array = array[None] if array.ndim == 1 and n_agents == 1 else array
        wanted = (n_agents, n_outcomes)
        if array.shape != wanted or not (array >= 0).all() or (np.abs(array.sum(axis=1) - 1) > 1e-6).any():
            raise ValueError(
                f"observation[{m}] as probabilities must have shape {wanted} and rows that sum to 1; "
                f"got {array} of shape {array.shape}"
            )
        return array

    def _controls(self, action: Any, n_agents: int) -> Ints:
        array = np.asarray(action)
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"action must hold integers (indices of controls); got {array.dtype}")
        if array.ndim <= 1 and n_agents == 1:
            array = array.reshape(1, -1)
        if array.shape != (n_agents, self.model.num_factors):
            raise ValueError(
                f"action must have shape ({n_agents}, {self.model.num_factors}) (agents, factors); got {np.shape(action)}"
            )
        for f, n in enumerate(self.model.num_controls):
            if (array[:, f] < 0).any() or (array[:, f] >= n).any():
                raise ValueError(f"action of factor {f} must lie in 0..{n - 1}; got {array[:, f]}")
        return array.astype(np.intp)

    def _policy_of(self, controls: Ints) -> Ints:
        """First policy that starts with the given controls, -1 where there is none."""
        match = (self.model.policies[None, :, 0] == controls[:, None]).all(axis=2)
        return np.where(match.any(axis=1), match.argmax(axis=1), -1)
