"""`Agent`: a batch of active-inference agents that share a model and differ in what they believe, have learned and adopted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.agent.acting import Acting
from activebmr.agent.arguments import check_kinds, trial_length_of, way_of
from activebmr.agent.assembly import WAYS, Order
from activebmr.agent.instruction import instruct
from activebmr.agent.introspection import Introspection
from activebmr.agent.learning import CountLearning
from activebmr.agent.life import Life
from activebmr.agent.own import Own
from activebmr.agent.sequence import check_between, check_seen, check_state, check_unseen, kind_of
from activebmr.agent.settings import Learning, Selection
from activebmr.agent.sleep import Awake, Sleeper, Sleeping
from activebmr.agent.state import AgentState, StepInfo, TrialInfo
from activebmr.agent.surprise import Surprise
from activebmr.agent.tables import Inheritance
from activebmr.arrays import Floats, Ints
from activebmr.inference.knowledge import Knowledge, Percept
from activebmr.inference.models.settings import Reasoning
from activebmr.inference.paths import PathSettings
from activebmr.model.hypotheses import HypothesisSpace
from activebmr.model.layout import layout_of
from activebmr.model.naming import Key, Table, key_of, table_of
from activebmr.model.observations import controls_of, outcomes_of
from activebmr.model.pomdp import POMDP
from activebmr.planning.evaluation import Evaluation
from activebmr.planning.planner import Planner
from activebmr.reduction.search.protocol import Reduction

__all__ = ["Agent", "AgentState", "Learning", "Selection", "StepInfo", "TrialInfo"]


class Agent:
    """A batch of agents: believing, planning, learning and selection among hypotheses, for any `POMDP`.

    Args:
        model: the generative model that the agents start with.
        hypotheses: alternative reduced priors over its counts, alternative values of its tables, or alternative models (one of
            which is ``model``: of its states agents report what they would believe if it were true); None for agents that do
            not reason about structure.
        planner: how policies are evaluated and chosen.
        inference: the way of believing. ``"exact"`` (the default): exact beliefs about factors that belong together, and exact
            smoothing. ``"models"`` (the default with hypotheses): exact beliefs about hypotheses and states together.
            ``"factorised"``: exact for each observation, but one distribution per factor in between; ``"sequential"``: the
            same, one modality after the other (SPM, the paper); ``"mean-field"``: fixed-point iteration (pymdp);
            ``"paths"``: message passing along policies' paths (SPM 2017), counts learned when the trial is over; ``"spm"``:
            SPM's ``spm_MDP_VB_XXX``, its numbers, with counts of A, B, D and E and without hypotheses
            (`activebmr.inference.spm`). The others but ``"models"`` score hypotheses by the counts that agents have (the
            paper). ``"joint"`` is a former name of ``"factorised"``, ``"message-passing"`` one of ``"paths"``.
        learning: rate and retention of counts.
        selection: when hypotheses are adopted; ignored without hypotheses.
        reasoning: settings of ``inference="models"``, which they imply; no other way can be asked for beside them. Until an
            agent has adopted a hypothesis it looks ahead by ``Reasoning.lookahead``; the planner's depth counts afterwards
            (where transitions are learned or in question, or hypotheses give values: from the start, if it is more).
        introspection: settings of model reduction between trials ("sleep"); None for agents that never sleep. It speaks about
            modalities that no hypothesis speaks about.
        trial_length: number of observations in a trial, >= 1, beyond which planning does not look; None if unknown.
        rounds: rounds of ``"mean-field"``, >= 1.
        paths: settings of ``inference="paths"``.
        remember: keep the beliefs of a trial for `hindsight`, also where nothing is learned from them.
        own: what agents of a batch do not share, by number or name of the modality or factor: ``"C[m]"`` log preferences
            ``(n_agents, O_m)``, ``"pA[m]"`` counts ``(n_agents, O_m, S_d0, ...)`` and, for exact beliefs, ``"A[m]"``,
            ``"B[f]"`` and ``"D[f]"`` with a leading axis for agents; and ``"prior"``, of hypotheses ``(n_agents,
            n_hypotheses)``.

    Raises:
        ValueError: if the parts do not fit together, or the model is too large for the way of believing, naming others.
        TypeError: if a part has the wrong type.

    Example:
        >>> model = POMDP(A=[np.eye(2)], B=[np.stack([np.eye(2), np.eye(2)[::-1]], axis=2)], C=[[0, 1]])
        >>> agent = Agent(model, planner=Planner(depth=1))
        >>> state, rng = agent.init(), np.random.default_rng(0)
        >>> state, info = agent.step(state, 0, rng)  # the first place is seen
        >>> info.action, info.q_pi

    Source: Friston et al. (2021), "Sophisticated inference", Neural Computation 33; Friston et al. (2025), on structure.
    """

    def __init__(
        self,
        model: POMDP,
        hypotheses: HypothesisSpace | None = None,
        planner: Planner | None = None,
        *,
        inference: str | None = None,
        learning: Learning | None = None,
        selection: Selection | None = None,
        reasoning: Reasoning | None = None,
        introspection: Introspection | None = None,
        trial_length: int | None = None,
        rounds: int = 16,
        paths: PathSettings | None = None,
        remember: bool = False,
        own: Mapping[str, Any] | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "hypotheses": hypotheses, "planner": planner, "learning": learning, "selection": selection, "reasoning": reasoning,
            "introspection": introspection, "paths": paths, "trial_length": trial_length, "remember": remember, "own": own,
        }  # fmt: skip
        check_kinds({"model": model, **given})
        self.model = model
        self.hypotheses = None if hypotheses is None else hypotheses.resolved(model)
        self.planner = planner or Planner()
        self.inference = way_of(inference, hypotheses, reasoning)
        self.learning = learning or Learning()
        self.selection = selection or Selection()
        self.introspection = introspection
        self.reasoning = reasoning
        self.trial_length = trial_length_of(trial_length)
        self.rounds = checks.whole_number(rounds, "rounds of Agent", 1)
        self._options: dict[str, Any] = {"inference": self.inference, "rounds": self.rounds, "paths": paths}
        self.given = {**given, "inference": None if inference is None else self.inference, "rounds": self.rounds}
        if self.planner.depth > 0 and model.policy_length > 1:
            raise ValueError(
                f"depth of Planner must be 0 for policies of several steps; got depth {self.planner.depth} and policies of "
                f"{model.policy_length} steps"
            )
        if self.hypotheses is not None:
            self.hypotheses.check_against(model)
        self._own = Own.of(model, {} if own is None else own, self.hypotheses)
        self._inheritance = Inheritance(model, self._own.counts, self.planner.novelty_cutoff)
        order = Order(
            model, self.hypotheses, self.planner, self.learning, self.selection, reasoning, paths, self.trial_length,
            self.rounds, self._inheritance.of(1), introspection is not None, self._own,
        )  # fmt: skip
        claimed = set(self._own.counts) & set(self.hypotheses.tables if self.hypotheses is not None else ())
        if self.hypotheses is not None and self.hypotheses.models:
            claimed = set(self._own.counts)  # models of their own learn all that they have counts of
        if claimed:
            raise ValueError(
                f"own pA of Agent must not speak about modalities that hypotheses speak about; both do about {sorted(claimed)}"
            )
        if self._own.tables and self.inference != "exact":
            raise ValueError(f"own A, B and D of Agent need inference='exact'; got {self.inference!r}")
        self._mind = mind = WAYS[self.inference](order)
        moving = [t for t in model.learned if t.kind in ("B", "D")]
        if moving and not hasattr(mind.believing, "moves"):
            raise ValueError(
                f"inference of Agent must not be {self.inference!r} to learn transitions or initial states, p{moving[0]}: "
                "'exact' does from exact pairs, 'factorised', 'sequential', 'mean-field', 'paths' and 'spm' from products of "
                "marginals"
            )
        models = self.hypotheses.models if self.hypotheses is not None else ()
        steps = [m.policy_length for m in (model, *models) if Table("E", -1) in m.learned]
        if steps and max(steps) > 1 and not hasattr(mind.believing, "habits"):
            raise ValueError(
                f"pE of POMDP must be per factor for policies of several steps (here {max(steps)}); whole policies become "
                "habits with inference='paths' and PathSettings(policies='trial') alone"
            )
        self._sleeping: Sleeping = Awake()
        if introspection is not None:
            self._check_dreamer(introspection)
            self._sleeping = Sleeper(model, introspection, self.learning, self._scored, self._who_dreams)
        learning, remembers = self.learning.among(model, models), checks.flag(remember, "remember of Agent")
        counting = CountLearning(model, learning, mind.believing, [mind.comparing, self._sleeping], remembers)
        self._acting = Acting(model, self.planner)
        self.life = Life(model, mind, mind.learner or counting, self._sleeping, self._acting)
        self._surprise = Surprise(model)

    def _check_dreamer(self, introspection: Introspection) -> None:
        """Who dreams for some agents of a batch, or sees with unbiased eyes, has the model that they share."""
        if introspection.dream is not None and self.differ:
            raise ValueError(f"dream of Introspection must be None for agents that differ; got {introspection.dream!r}")
        if introspection.evidence == "unbiased" and (self._own.counts or self._own.tables):
            raise ValueError("evidence of Introspection must be 'own' for agents with tables of their own; got 'unbiased'")

    def __repr__(self) -> str:
        about = f", {len(self.hypotheses)} hypotheses" if self.hypotheses is not None else ""
        sleeps = ", introspects" if self.introspection is not None else ""
        return f"Agent(inference={self.inference!r}, {self.model!r}{about}{sleeps})"[:280]

    def _repr_html_(self) -> str:
        """What a notebook shows: how the agents believe, plan, learn and compare hypotheses, and their model."""
        from activebmr.agent.showing import html_of_agent

        return html_of_agent(self)

    def with_(self, **changes: Any) -> Agent:
        """Agents like these, but for some arguments of `Agent`: ``agent.with_(planner=Planner(depth=2))``.

        Raises:
            TypeError: if there is no such argument.
            ValueError, TypeError: as `Agent` does.
        """
        checks.known_arguments(changes, ["model", *self.given], "Agent")
        return Agent(**{"model": self.model, **self.given, **changes})

    @property
    def _scored(self) -> list[Key]:
        """Tables that hypotheses speak about; models of their own do about all that is learned."""
        if self.hypotheses is None:
            return []
        return [key_of(t) for t in self.model.learned] if self.hypotheses.models else list(self.hypotheses.tables)

    @property
    def differ(self) -> bool:
        """Whether agents have settings of their own, one for each of a batch."""
        values = [v for part in (self.planner, self.learning, self.selection) for v in vars(part).values()]
        values += [v for value in values if isinstance(value, Mapping) for v in value.values()]
        return bool(self.given["own"]) or any(isinstance(v, np.ndarray) for v in values)

    @cached_property
    def dreamer(self) -> Agent:
        """The same agents without hypotheses and without sleep: who they are in a dream."""
        options = dict(self._options)
        if options["inference"] == "models":
            options["inference"] = "exact"
        return Agent(self.model, planner=self.planner, learning=self.learning, trial_length=self.trial_length, **options)

    def _who_dreams(self) -> Agent:
        return self.dreamer

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models that reports hold a posterior over: the hypotheses, or the list that introspection searches."""
        return self.hypotheses.names if self.hypotheses is not None else self._sleeping.names

    @property
    def spaces(self) -> Mapping[Key, Any]:
        """The spaces of reduced models that introspection searches: by index of the modality, or by `Table`."""
        return self._sleeping.spaces

    @property
    def path_inference(self) -> Any:
        """The scheme of agents that believe along paths, else None."""
        return self._mind.scheme

    @property
    def reasons_jointly(self) -> bool:
        """Whether agents keep a joint posterior over hypotheses and states, and so can be told states, or choose them."""
        return self._mind.experimenting is not None

    @property
    def sets_states(self) -> bool:
        """Whether agents can say which states would teach them most, see `experiments`."""
        return self._mind.experimenting is not None and self._mind.experimenting.sets_states

    # --- life of a batch -------------------------------------------------------------------------------------------------
    def init(self, n_agents: int | None = None) -> AgentState:
        """The state before the first observation; without a number, one agent whose reports have no axis for agents."""
        count = 1 if n_agents is None else n_agents
        if not checks.is_whole(count) or count < 1:
            raise ValueError(f"n_agents must be a whole number >= 1, or None for a single agent; got {n_agents}")
        count = int(count)
        self._own.check_size(count)
        for part in (self.planner, self.learning, self.selection):
            for name, value in vars(part).items():
                if isinstance(value, np.ndarray):
                    checks.each_agent(value, count, f"{name} of {type(part).__name__}")
        tables = self._inheritance.of(count, self._mind.comparing.scorers())
        knowledge = Knowledge(tables, np.full(count, -1), others=self._inheritance.others(count))
        return self.life.born(knowledge, single=n_agents is None)

    def step(
        self,
        state: AgentState,
        observation: Any,
        rng: np.random.Generator | int | None = None,
        *,
        action: Any = None,
    ) -> tuple[AgentState, StepInfo]:
        """Perceive an observation, evaluate policies, choose an action and learn: `perceive`, `plan`, `act`, `learn`.

        Args:
            state: from `init` or the step before.
            observation: outcomes as integers ``(n_agents, n_modalities)`` (for a single agent ``(n_modalities,)``, or an int if
                there is one modality), or a list with one array per modality: integers ``(n_agents,)`` or probabilities
                ``(n_agents, O_m)``. What was not seen is None, -1, nan or masked.
            rng: draws the action, a generator or a seed; not needed with ``action`` or a planner with ``alpha=None``.
            action: controls that were in fact taken ``(n_agents, n_factors)``, or of the controlled factors alone, as when
                recorded behaviour is replayed.

        Returns:
            the new state and a report. The old state stays as it was.

        Raises:
            ValueError: if observation or action do not fit, if the trial is over and `end_trial` was not called, or for a state
                from `perceive`.
            TypeError: if ``rng`` is no generator.
        """
        self._check_state(state)
        outcomes = outcomes_of(self.model, observation, state.n_agents)
        controls = None if action is None else controls_of(self.model, action, state.n_agents)
        uniform = self._chance(state, rng, controls is not None)
        check_unseen(state, "step")
        self._check_time(state)
        state = state.copy()
        info = self.life.advance(state, outcomes, uniform, controls)
        self._surprise.tell(state.t - 1, outcomes, info.impossible)
        return state, info.squeeze() if state.single else info

    def _check_state(self, state: Any) -> None:
        """TypeError or ValueError unless it is a state of such agents: of the same model, that believe in the same way."""
        check_state(state)
        if state.marginals == self._mind.believing.marginals:
            return
        own, other = kind_of(self.init(state.n_agents)), kind_of(state)
        if own != other:
            raise ValueError(f"state must be that of agents with this model and this way of believing; got {state!r} of others")

    def _chance(self, state: AgentState, rng: Any, given: bool) -> Floats:
        rng = checks.generator(rng, "rng")
        if not given and rng is None and self._acting.needs_chance:
            raise ValueError("rng must be given to draw an action (or give action, or a Planner with alpha=None)")
        return rng.random(state.n_agents) if rng is not None else np.zeros(state.n_agents)

    @staticmethod
    def _spawned(state: AgentState, rng: Any) -> Any:
        """Generators of the agents' own, or None."""
        generator = checks.generator(rng, "rng")
        return None if generator is None else generator.spawn(state.n_agents)

    def _check_time(self, state: AgentState) -> None:
        if self.trial_length is not None and state.t >= self.trial_length:
            raise ValueError(
                f"the trial is over: it has {self.trial_length} observations (trial_length of Agent), and this would be number "
                f"{state.t + 1}; call end_trial first"
            )

    # --- the parts of a step, one by one -----------------------------------------------------------------------------------
    def perceive(self, state: AgentState, observation: Any) -> tuple[AgentState, Percept]:
        """Take in an observation, given as to `step`: the new state and what it did to beliefs. Time goes on with `learn`.

        Raises:
            ValueError, TypeError: see `step`.
        """
        self._check_state(state)
        outcomes = outcomes_of(self.model, observation, state.n_agents)
        check_unseen(state, "perceive")
        self._check_time(state)
        state = state.copy()
        percept = self.life.perceive(state, outcomes)
        self._surprise.tell(state.t, outcomes, percept.impossible)
        return state, percept

    def plan(self, state: AgentState) -> Evaluation:
        """What every policy is worth to agents in a state that has perceived an observation: terms and values ``(n_agents,
        n_policies)`` in nats, also for a single agent.

        Raises:
            ValueError: if the state is not from `perceive`. (Who saw nothing has perceived None.)
        """
        self._check_state(state)
        check_seen(state, "plan")
        return self.life.plan(state)

    def act(self, evaluation: Evaluation, rng: np.random.Generator | int | None = None) -> tuple[Ints, Ints]:
        """Choose, with ``rng`` as in `step`: the policies ``(n_agents,)``, -1 for what begins none, and the controls
        ``(n_agents, n_factors)``.

        Raises:
            ValueError: if ``rng`` is needed and not given.
            TypeError: if it is no generator.
        """
        if not isinstance(evaluation, Evaluation):
            raise TypeError(f"evaluation must be an Evaluation, from plan; got {checks.brief(evaluation)}")
        generator, rows = checks.generator(rng, "rng"), len(evaluation.q_pi)
        if generator is None and self._acting.needs_chance:
            raise ValueError("rng must be given to draw an action (or a Planner with alpha=None)")
        return self._acting.choose(evaluation, np.zeros(rows) if generator is None else generator.random(rows))

    def learn(self, state: AgentState, observation: Any, action: Any) -> AgentState:
        """Learn from the observation that was perceived, remember what was done after it, and go on to the next time.

        Args:
            state: from `perceive`.
            observation, action: as to `step`.

        Raises:
            ValueError: if the state is not from `perceive`.
            ValueError, TypeError: see `step`.
        """
        self._check_state(state)
        outcomes = outcomes_of(self.model, observation, state.n_agents)
        controls = controls_of(self.model, action, state.n_agents)
        check_seen(state, "learn")
        state = state.copy()
        self.life.learn(state, outcomes, controls)
        return state

    # --- between trials --------------------------------------------------------------------------------------------------
    def end_trial(self, state: AgentState, rng: np.random.Generator | int | None = None) -> tuple[AgentState, TrialInfo]:
        """Learn what was kept for the end of a trial, forget, compare hypotheses, adopt one whose log odds pass Occam's
        window, sleep, and begin a new trial with fresh beliefs.

        Args:
            state: after any step of a trial.
            rng: for agents that make up dreams.

        Raises:
            ValueError: if an observation was perceived and not learned from.
        """
        self._check_state(state)
        check_unseen(state, "end_trial")
        state = state.copy()
        info = self.life.conclude(state, self._spawned(state, rng))
        return state, info

    def sleep(self, state: AgentState, rng: np.random.Generator | int | None = None) -> tuple[AgentState, dict[Key, Reduction]]:
        """Introspect now, between trials, whether or not it is time to: the new state and what was found, by index of the
        modality, or by `Table`.

        Before the first trial there is no evidence, all ratios are 0, and nothing changes (unless Occam's window is 0 or less).

        Raises:
            ValueError: for agents without introspection, or in the middle of a trial.
        """
        self._check_state(state)
        if self.introspection is None:
            raise ValueError("sleep needs agents that introspect (Agent(..., introspection=...))")
        check_between(state, "agents can sleep between trials")
        state = state.copy()
        found = self._sleeping.introspect(state.knowledge, self._spawned(state, rng))
        if self._sleeping.listed is not None and self.hypotheses is None:
            state.model_posterior = found[self._sleeping.listed].probabilities
        self.life.begin(state)
        return state, found

    def instruct(self, state: AgentState, taught: Mapping[Any, Any]) -> AgentState:
        """Hand agents another prior over learned tables, such as the reduced one of an agent that has slept.

        They go on with it and with all that they have seen so far (where it leaves that possible).

        Args:
            state: between trials.
            taught: per table (by its name, ``"pB[place]"``, or the index or name of a modality) counts of its shape, or of each
                agent ``(n_agents, ...)``; zero where the model's prior is.

        Raises:
            ValueError: if shapes, signs or structural zeros do not fit, or in the middle of a trial.
        """
        self._check_state(state)
        checks.mapping(taught, "taught")
        check_between(state, "agents can be instructed before a trial")
        state = state.copy()
        about = instruct(self.model, state.knowledge, taught, self._scored)
        if self._sleeping.listed in about and self.hypotheses is None:
            state.model_posterior, state.knowledge.adopted = None, np.full(state.n_agents, -1)
        if any(isinstance(key, Table) for key in about):
            self.life.begin(state)  # where a trial begins may have been among it
        return state

    def tell(self, state: AgentState, states: Ints) -> AgentState:
        """Before a trial, let agents that reason about hypotheses know the states that no action sets.

        Args:
            state: at the beginning of a trial.
            states: ``(n_agents, n_factors)`` integers; -1 tells nothing about that factor. Set factors are ignored.
        """
        self._check_state(state)
        told = self.told(state, states)
        state = state.copy()
        state.belief = told
        return state

    def told(self, state: AgentState, states: Ints) -> Any:
        """The beliefs of agents who are told states, see `tell`.

        Raises:
            ValueError: for agents that do not reason about hypotheses, in the middle of a trial, or if states do not fit.
        """
        self._check_state(state)
        experimenting = self._mind.experimenting
        if experimenting is None:
            raise ValueError("states can be told to agents that reason jointly (Agent(..., inference='models'))")
        check_between(state, "states can be told before a trial")
        told = checks.index_array(states, "states", -1)
        wanted = (state.n_agents, self.model.num_factors)
        states = checks.index_array(told[None] if told.ndim == 1 else told, "states", -1, None, wanted)
        too_large = states >= np.array(self.model.num_states)
        if too_large.any():
            k, f = (int(i) for i in np.argwhere(too_large)[0])
            limit = self.model.num_states[f] - 1
            raise ValueError(f"states[{k}, {f}] must lie in 0..{limit}, or be -1; got {int(states[k, f])}")
        return experimenting.told(state.belief, states)

    def experiments(self, state: AgentState) -> Ints:
        """For agents that reason about hypotheses, the states ``(n_agents, n_factors)`` from which a trial would teach most
        about them.

        -1 for agents who have adopted one or have nothing left to learn, and for factors that actions set.

        Raises:
            ValueError: for agents that do not reason about hypotheses.
        """
        self._check_state(state)
        if self._mind.experimenting is None:
            raise ValueError("experiments need agents that reason jointly (Agent(..., inference='models'))")
        return self._mind.experimenting.experiments(state.belief)

    def hindsight(self, state: AgentState) -> list[Sequence[Floats]]:
        """Beliefs about every time of the trial so far, given all of it: per time the marginals of every factor ``(n_agents,
        S_f)``.

        Raises:
            ValueError: if the agents do not remember the trial (``Agent(..., remember=True)``, or smooth learning).
        """
        self._check_state(state)
        if not state.memory.moments:
            raise ValueError("hindsight needs agents that remember the trial (Agent(..., remember=True)), and an observation")
        beliefs = self._mind.believing.hindsight(state.memory, state.knowledge)
        return [self._mind.believing.marginals(b) for b in beliefs]

    def foreseen(self, state: AgentState) -> Sequence[Floats]:
        """Marginals of every factor ``(n_agents, S_f)`` after what was done last, before the next observation.

        Raises:
            ValueError: for a state from `perceive`, in which that observation was made.
        """
        self._check_state(state)
        check_unseen(state, "foreseen")
        unseen = [np.full(state.n_agents, -1)] * self.model.num_modalities
        percept = self._mind.believing.perceive(state.belief.copy(), state.knowledge, state.controls, unseen)
        return self._mind.believing.marginals(percept.belief)

    def beliefs_under(self, state: AgentState, hypothesis: int | str) -> Sequence[Floats]:
        """Beliefs about states given that a hypothesis is true: marginals of every factor ``(n_agents, S_f)``, of the factors
        of its own model if it is one.

        Raises:
            ValueError: for agents that keep no such beliefs (those whose hypotheses give values, speak about other tables than
                likelihoods, or are models do), or if there is no such hypothesis.
        """
        self._check_state(state)
        under = getattr(self._mind.believing, "marginals_under", None)
        if self.hypotheses is None or under is None:
            raise ValueError(
                "beliefs_under needs agents with hypotheses that give values, speak about transitions or initial states, or "
                "are models of their own"
            )
        distinct = self._mind.believing.class_of[self.hypotheses.index(hypothesis)]  # type: ignore[attr-defined]
        return under(state.belief, int(distinct))  # type: ignore[no-any-return]

    def prior_counts(self, state: AgentState, table: int | str) -> Floats:
        """Counts that agents go on from, as if before any data: the reduced ones of agents that have slept; tensors
        ``(n_agents, n_outcomes, n_states_0, ...)``, of transitions ``(n_agents, S_f, S_d0, ..., U_f)``.

        Args:
            state: the agents.
            table: name of the table (``"pB[place]"``), or the index or name of a modality.

        Raises:
            ValueError: if there is no such table, or it is known.
        """
        self._check_state(state)
        key = self._counted(table)
        if state.sleep is None or key not in state.sleep.prior:
            own = self._own.counts.get(key) if not isinstance(key, Table) else None
            return np.repeat(self.model.counts_of(table_of(key))[None], state.n_agents, axis=0) if own is None else own.copy()  # type: ignore[index]
        return layout_of(self.model, key).tensor(state.sleep.prior[key])

    def posterior_counts(self, state: AgentState, table: int | str) -> Floats:
        """Counts of a learned table now; arguments and errors as in `prior_counts`."""
        self._check_state(state)
        return state.knowledge.counted(self._counted(table)).tensor()

    def _counted(self, name: int | str) -> Key:
        """What a learned table is kept by."""
        table = self.model.table(name)
        if table not in self.model.learned:
            owner = "modality" if table.kind == "A" else "factor"
            what = f"{owner} {table.index}" if table.kind == "A" else str(table)
            raise ValueError(f"{what} is known to the agent (its p{table.kind} is None): it has no counts")
        return key_of(table)
