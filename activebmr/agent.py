"""`Agent`: a batch of active-inference agents that share a model and differ in what they believe, have learned and adopted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from activebmr import conclusion, deliberation, introspection
from activebmr.beliefs import Belief
from activebmr.hypotheses import HypothesisSpace
from activebmr.inference import INFERENCE
from activebmr.introspection import Introspection, Sleep
from activebmr.joint import Reasoning, joint_size
from activebmr.layout import dynamics_of, layouts_of
from activebmr.message_passing import PathInference, Paths
from activebmr.models import POMDP
from activebmr.observations import controls_of, outcomes_of, policy_of
from activebmr.planning import Evaluation, Planner, View, log_preferences
from activebmr.reduction import softmax
from activebmr.scoring import ModelScorer
from activebmr.settings import Learning, Selection
from activebmr.sparse import Floats, Ints
from activebmr.states import AgentState, StepInfo, TrialInfo
from activebmr.structure import Alternatives, Reduction
from activebmr.tables import CountTable, KnownTable
from activebmr.thinking import Thinker

__all__ = ["Agent", "AgentState", "Learning", "Selection", "StepInfo", "TrialInfo"]


class Agent:
    """A batch of agents: filtering, planning, learning and selection among hypotheses, for any `POMDP`.

    Args:
        model: the generative model that the agents start with.
        hypotheses: alternative reduced priors over its counts; None for agents that do not reason about structure.
        planner: how policies are evaluated and chosen.
        inference: ``"joint"``, ``"sequential"`` or ``"mean-field"``, see `activebmr.inference`; or ``"message-passing"``, the
            scheme of 2017 with its own way to judge policies, see `activebmr.message_passing`.
        learning: rate and retention of counts.
        selection: how hypotheses are scored and adopted; ignored without hypotheses.
        reasoning: settings of joint reasoning about hypotheses and states (exact beliefs and gains); None for factor
            marginals and one-step gains, as in the paper. It needs hypotheses about one modality, the only learned one, certain
            initial states of the factors that actions set, and policies of one step. Until an agent has adopted a hypothesis
            it looks ahead by ``Reasoning.lookahead``; the planner's depth counts afterwards.
        introspection: settings of model reduction between trials ("sleep"); None for agents that never sleep. It speaks about
            modalities that no hypothesis speaks about.
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
        reasoning: Reasoning | None = None,
        introspection: Introspection | None = None,
        trial_length: int | None = None,
    ) -> None:
        for name, value, kind in (
            ("model", model, POMDP),
            ("hypotheses", hypotheses, HypothesisSpace),
            ("planner", planner, Planner),
            ("learning", learning, Learning),
            ("selection", selection, Selection),
            ("reasoning", reasoning, Reasoning),
            ("introspection", introspection, Introspection),
        ):
            if not isinstance(value, kind) and (value is not None or name == "model"):
                raise TypeError(f"{name} of Agent must be a {kind.__name__}; got {type(value).__name__}")
        if inference not in (*INFERENCE, "message-passing"):
            raise ValueError(f"inference of Agent must be one of {[*INFERENCE, 'message-passing']}; got {inference!r}")
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
        self.reasoning = reasoning
        self._thinker = self._make_thinker(reasoning)
        self._curious = replace(self.planner, depth=0)
        self._flat = [np.full(n, -np.log(n)) for n in model.num_outcomes]
        self._preferences: dict[int, list[Floats]] = {}
        self.introspection = introspection
        self.spaces = {} if introspection is None else introspection.of(model)
        shared = sorted(set(self.spaces) & set(self._scorers))
        if shared:
            raise ValueError(
                f"introspection must speak about modalities that no hypothesis speaks about; both do about {shared}"
            )
        self.path_inference = self._make_path_inference() if inference == "message-passing" else None

    def _make_path_inference(self) -> PathInference:
        planner = self.planner
        if planner.depth > 0:
            raise ValueError(f"depth of Planner must be 0 for message passing, which looks one step ahead; got {planner.depth}")
        if self.reasoning is not None or (self.hypotheses is not None and "model" in planner.gains):
            raise ValueError("message passing must go without reasoning and without the gain about models: it knows neither")
        if self.selection.curious:
            raise ValueError("curious of Selection must be False for message passing: its preferences are always in force")
        gains = [g for g in planner.gains if g != "model"]
        return PathInference(self.model, self.trial_length, gains, planner.gamma, self._wants)

    def _make_thinker(self, reasoning: Reasoning | None) -> Thinker | None:
        if reasoning is None:
            return None
        if self.hypotheses is None:
            raise ValueError("reasoning of Agent needs hypotheses to reason about; got None")
        size = joint_size(self.model, len(self.hypotheses.distinct()[0]))
        if size > reasoning.max_size:
            warnings.warn(
                f"the joint posterior of {len(self.hypotheses)} hypotheses and the states would hold {size} numbers per agent, "
                f"more than max_size={reasoning.max_size}: beliefs are kept as factor marginals instead",
                stacklevel=3,
            )
            return None
        return Thinker(self.model, self.hypotheses, self.selection.offset, reasoning, self.learning.rate)

    @cached_property
    def dreamer(self) -> Agent:
        """The same agents without hypotheses and without sleep: who they are in a dream."""
        return Agent(
            self.model,
            planner=self.planner,
            inference=self.inference,
            learning=self.learning,
            trial_length=self.trial_length,
        )

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models that reports hold a posterior over: the hypotheses, or the list that introspection searches."""
        if self.hypotheses is not None:
            return self.hypotheses.names
        return () if self.listed is None else self.spaces[self.listed].names  # type: ignore[attr-defined,no-any-return]

    @property
    def listed(self) -> int | None:
        """The modality about which introspection searches a list of models, if there is one."""
        return next((m for m, space in self.spaces.items() if isinstance(space, Alternatives)), None)

    @property
    def reasons_jointly(self) -> bool:
        """Whether agents keep a joint posterior over hypotheses and states."""
        return self._thinker is not None

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
                # joint reasoning scores hypotheses from its own evidence; only the plug-in gain needs the table's scores then
                scored = self._thinker is None or self.planner.model_gain == "plug-in"
                scorer, cutoff = self._scorers.get(m) if scored else None, self.planner.novelty_cutoff
                tables.append(CountTable.start(self.model.pA[m], layouts_of(self.model)[m], count, scorer, cutoff))  # type: ignore[index]
        scores = None
        thoughts = None if self._thinker is None else self._thinker.start(count)
        posterior = None if thoughts is None or self._thinker is None else self._thinker.spread(thoughts.posterior)
        if self.hypotheses is not None and thoughts is None:
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
            model_posterior=posterior if scores is None else softmax(scores),
            adopted=np.full(count, -1),
            thoughts=thoughts,
            paths=None if self.path_inference is None else Paths(),
            sleep=Sleep.start(self, count) if self.spaces else None,
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

    def end_trial(self, state: AgentState, rng: np.random.Generator | None = None) -> tuple[AgentState, TrialInfo]:
        """Forget, adopt a hypothesis whose log odds pass Occam's window, sleep, and begin a new trial with fresh beliefs.

        Args:
            state: after any step of a trial.
            rng: for agents that make up dreams.
        """
        state = state.copy()
        info = self._conclude(state, None if rng is None else rng.spawn(state.n_agents))
        return state, info

    def sleep(self, state: AgentState, rng: np.random.Generator | None = None) -> tuple[AgentState, dict[int, Reduction]]:
        """Introspect now, between trials, whether or not it is time to: the new state and, by modality, what was found.

        Before the first trial there is no evidence, all ratios are 0, and nothing changes (unless Occam's window is 0 or less).

        Raises:
            ValueError: for agents without introspection, or in the middle of a trial.
        """
        if not self.spaces:
            raise ValueError("sleep needs agents that introspect (Agent(..., introspection=...))")
        if state.t != 0:
            raise ValueError(f"agents can sleep between trials; this one is at time {state.t}")
        state = state.copy()
        return state, introspection.introspect(self, state, None if rng is None else rng.spawn(state.n_agents))

    def instruct(self, state: AgentState, taught: Mapping[int | str, Any]) -> AgentState:
        """Hand agents another prior over learned likelihoods, such as the reduced one of an agent that has slept.

        They go on with it and with all that they have seen so far (where it leaves that possible).

        Args:
            state: between trials.
            taught: per modality counts ``(n_outcomes, n_states_0, ...)``, or of each agent ``(n_agents, ...)``; zero where the
                model's prior is.

        Raises:
            ValueError: if shapes, signs or structural zeros do not fit, or in the middle of a trial.
        """
        state = state.copy()
        introspection.instruct(self, state, taught)
        return state

    def tell(self, state: AgentState, states: Ints) -> AgentState:
        """Before a trial, let agents that reason jointly know the states that no action sets.

        Args:
            state: at the beginning of a trial.
            states: ``(n_agents, n_factors)`` integers; agents with a -1 among the factors that no action sets are not told
                anything. Set factors are ignored.
        """
        state = state.copy()
        deliberation.tell(self, state, np.asarray(states))
        return state

    def experiments(self, state: AgentState) -> Ints:
        """For agents that reason jointly, the states ``(n_agents, n_factors)`` from which a trial would teach most about
        hypotheses.

        -1 for agents who have adopted one or have nothing left to learn, and for factors that actions set.
        """
        return deliberation.experiments(self, state)

    def prior_counts(self, state: AgentState, modality: int | str) -> Floats:
        """Counts that agents go on from, as if before any data: the reduced ones of agents that have slept; tensors
        ``(n_agents, n_outcomes, n_states_0, ...)``.
        """
        m = self.model.modality(modality)
        if m not in self.model.learned_modalities:
            raise ValueError(f"modality {m} is known to the agent (its pA is None): it has no counts")
        if state.sleep is None or m not in state.sleep.prior:
            return np.repeat(self.model.pA[m][None], state.n_agents, axis=0)  # type: ignore[index]
        return layouts_of(self.model)[m].tensor(state.sleep.prior[m])

    def posterior_counts(self, state: AgentState, modality: int | str) -> Floats:
        """Counts of a learned modality as tensors ``(n_agents, n_outcomes, n_states_0, ...)``."""
        m = self.model.modality(modality)
        return state.counts(m)

    # --- the same in place, for simulations ------------------------------------------------------------------------------
    def _advance(self, state: AgentState, outcomes: list[np.ndarray], uniform: Floats, controls: Ints | None) -> StepInfo:
        if self.path_inference is not None:
            assert state.paths is not None
            state.qs, free_energy, evaluation = self.path_inference.advance(state.paths, state.tables, state.controls, outcomes)
            policy = self.planner.act(evaluation, uniform)
        else:
            if state.thoughts is None:
                free_energy = -self._perceive(state, outcomes)
            else:
                free_energy = -deliberation.perceive(self, state, outcomes)
            evaluation, policy = self._plan(state, uniform)
        if controls is None:
            controls = self.model.policies[policy, 0]
        else:
            policy = policy_of(self.model, controls)
        conclusion.take_in(self, state, outcomes)
        state.controls = controls
        state.t += 1
        terms = evaluation.terms
        return StepInfo(
            qs=state.qs,
            free_energy=free_energy,
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

    def _perceive(self, state: AgentState, outcomes: list[np.ndarray]) -> Floats:
        """Filter: new factor marginals; returns the log evidence of each agent's observation."""
        prior = state.qs if state.controls is None else state.qs.predict(dynamics_of(self.model), state.controls)
        infer = INFERENCE[self.inference]
        state.qs, evidence = infer(self.model, state.tables, np.arange(state.n_agents), prior, outcomes)
        if state.scores is not None:
            state.model_posterior = softmax(state.scores)
        return evidence

    def _plan(self, state: AgentState, uniform: Floats) -> tuple[Evaluation, Ints]:
        curious = np.zeros(state.n_agents, dtype=bool)
        searching = self.hypotheses is not None or self.listed is not None
        if searching and (self.selection.curious or state.thoughts is not None):
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
        if curious and state.thoughts is not None and planner.model_gain == "exact":
            evaluation = deliberation.think(self, state, planner)
            return evaluation, planner.act(evaluation, uniform)
        view = View(
            self.model,
            state.tables,
            self.inference,
            self._wants_nothing if curious and self.selection.curious else self._wants,
            self.trial_length,
        )
        whole = len(agents) == state.n_agents
        qs = state.qs if whole else state.qs.take(agents)
        if state.thoughts is not None and state.thoughts.acting is not None and not curious:
            qs = state.thoughts.acting
        wondering = state.model_posterior is not None and (curious or state.thoughts is None)
        posterior = state.model_posterior[agents] if wondering else None  # type: ignore[index]
        evaluation = planner.evaluate(view, agents, qs, state.t, posterior)
        return evaluation, planner.act(evaluation, uniform)

    def _wants(self, t: int) -> list[Floats]:
        if t not in self._preferences:
            self._preferences[t] = log_preferences(self.model, t)
        return self._preferences[t]

    def _wants_nothing(self, t: int) -> list[Floats]:
        return self._flat

    def _conclude(self, state: AgentState, streams: Sequence[np.random.Generator] | None = None) -> TrialInfo:
        return conclusion.conclude(self, state, streams)
