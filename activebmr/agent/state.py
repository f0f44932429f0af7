"""What a batch of agents believes (`AgentState`), and what a step and a trial report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.arrays import Bools, Floats, Ints
from activebmr.inference.knowledge import Knowledge, Memory
from activebmr.inference.tables import CountTable, KnownTable
from activebmr.model.naming import Key
from activebmr.planning.choice import Actions
from activebmr.planning.evaluation import Terms
from activebmr.reduction.search.protocol import Reduction

__all__ = ["AgentState", "StepInfo", "TrialInfo"]


@dataclass(eq=False)
class AgentState:
    """What a batch of agents believes at one moment. Treat it as read-only: `Agent.step` returns a new one.

    Attributes:
        t: time step within the trial that the next observation belongs to, from 0.
        trial: trials finished.
        belief: beliefs after the last observation, as the agents' way of believing keeps them.
        qs: per factor the posterior over its states ``(n_agents, S_f)``; D before the first observation.
        controls: controls of the last action ``(n_agents, n_factors)``, None at the start of a trial.
        knowledge: what agents carry from trial to trial; ``counts(m)`` gives the counts of a learned modality.
        memory: the trial so far, if it is needed when it is over.
        model_posterior: posterior over hypotheses when policies were last evaluated, or None.
        marginals: turns beliefs into marginals, for ``qs``.
        perceived: whether the observation of time ``t`` was perceived, and not yet learned from.
        single: made by ``init()`` without a number: reports then come without an axis for agents.

    Example:
        >>> state = agent.init(3)
        >>> state.trial, state.t, state.n_agents, state.qs[0].shape
        (0, 0, 3, (3, 2))
    """

    t: int
    trial: int
    belief: Any
    controls: Ints | None
    knowledge: Knowledge
    memory: Memory
    model_posterior: Floats | None
    marginals: Any
    single: bool = False
    perceived: bool = False

    @property
    def qs(self) -> Sequence[Floats]:
        """Marginals of every factor."""
        return self.marginals(self.belief)  # type: ignore[no-any-return]

    @property
    def n_agents(self) -> int:
        return self.knowledge.n_agents

    @property
    def adopted(self) -> Ints:
        """Hypothesis that each agent adopted ``(n_agents,)``, -1 for none yet; or the model of a list that introspection has
        found.
        """
        return self.knowledge.adopted

    @property
    def tables(self) -> list[KnownTable | CountTable]:
        """Per modality what the agents know about it."""
        return self.knowledge.tables

    @property
    def sleep(self) -> Any:
        """What agents that introspect keep, or None."""
        return self.knowledge.sleep

    def counts(self, modality: int) -> Floats:
        """Dirichlet counts of a learned modality as tensors ``(n_agents, n_outcomes, n_states_0, ...)``."""
        table = self.tables[checks.whole_number(modality, "modality", 0, len(self.tables) - 1)]
        if not isinstance(table, CountTable):
            raise ValueError(f"modality {modality} is known to the agent (its pA is None): it has no counts")
        return table.tensor()

    def copy(self) -> AgentState:
        return replace(
            self,
            belief=self.belief.copy(),
            knowledge=self.knowledge.copy(),
            memory=self.memory.copy(),
        )

    def __repr__(self) -> str:
        who = "one agent" if self.single else f"{self.n_agents} agents"
        found = int((self.adopted >= 0).sum())
        return f"AgentState({who}, trial {self.trial}, time {self.t}; {found} adopted a model)"


@dataclass(eq=False)
class StepInfo:
    """What happened in one step: every term that a figure needs. Arrays lead with agents, unless the state is single.

    Attributes:
        qs: per factor the posterior over states ``(n_agents, S_f)``.
        free_energy: variational free energy of the observation, minus its log evidence, nats ``(n_agents,)``.
        impossible: whether the agent's model held the observation impossible ``(n_agents,)``; free energy then counts what
            cannot be as e^-32.
        utility, state_info_gain, param_info_gain, model_info_gain: terms of every policy ``(n_agents, n_policies)``, nats; with
            exact reasoning about hypotheses those about states and models sum to I(M, S; O): I(S; O) and I(M; O | S) where
            hypotheses are about likelihoods alone, as counts, else I(S; O | M) and I(M; O).
        neg_efe: negative expected free energy, what policies are worth (with deeper search; without log E).
        q_pi: posterior over policies ``(n_agents, n_policies)``.
        policy: index of the policy chosen ``(n_agents,)``; -1 if what was done begins no policy.
        controls: what was done ``(n_agents, n_factors)``.
        action: the same for an environment: only controlled factors; a plain int if there is one and the state is single.
        model_posterior: posterior over hypotheses ``(n_agents, n_hypotheses)``, or None: what policies were evaluated with;
            given the outcome or, where hypotheses are scored by counts, before the outcome is learned.
        policy_probabilities: with which policies were drawn ``(n_agents, n_policies)``.

    Example:
        >>> watcher = Agent(world, planner=Planner(alpha=None))
        >>> state, info = watcher.step(watcher.init(), 0)
        >>> info.qs[0].tolist(), round(float(info.free_energy), 4)
        ([1.0, 0.0], 0.6931)
    """

    qs: Sequence[Floats]
    free_energy: Floats
    impossible: Any
    terms: Terms = field(repr=False)
    neg_efe: Floats
    q_pi: Floats
    policy: Any
    controls: Ints
    action: Any
    model_posterior: Floats | None
    acting: Any = field(repr=False, default=None)

    @property
    def utility(self) -> Floats:
        return self._squeezed(self.terms.utility)

    @property
    def state_info_gain(self) -> Floats:
        return self._squeezed(self.terms.state)

    @property
    def param_info_gain(self) -> Floats:
        return self._squeezed(self.terms.param)

    @property
    def model_info_gain(self) -> Floats:
        return self._squeezed(self.terms.model)

    @property
    def confidence(self) -> Any:
        """Negative entropy of the posterior over policies, nats, <= 0 (summed over a trial, SPM's w)."""
        return (self.q_pi * np.log(np.maximum(self.q_pi, np.exp(-32.0)))).sum(axis=-1)

    @cached_property
    def action_probabilities(self) -> Floats:
        """Probability of doing each combination of controls that begins some policy ``(n_agents, n_actions)``, in the order of
        ``actions``: what agents act by, alpha included.
        """
        return self._squeezed(self.acting.probabilities)

    @cached_property
    def control_probabilities(self) -> list[Floats]:
        """The same for the controls of each factor ``(n_agents, U_f)``."""
        return [self._squeezed(p) for p in self.acting.per_factor]

    @property
    def actions(self) -> Ints:
        """Combinations of controls that begin some policy ``(n_actions, n_factors)``."""
        actions: Actions = self.acting.actions
        return actions.controls

    def _squeezed(self, p: Floats) -> Floats:
        return p[0] if np.ndim(self.free_energy) == 0 else p

    def squeeze(self) -> StepInfo:
        """The report of a single agent, without the axis for agents."""
        held = {k: v for k, v in self.__dict__.items() if k not in ("qs", "action", "acting", "terms")}
        first = {k: None if v is None else v[0] for k, v in held.items()}
        action = self.action[0]
        action = int(action[0]) if len(action) == 1 else action
        return StepInfo(qs=[q[0] for q in self.qs], action=action, acting=self.acting, terms=self.terms, **first)


@dataclass(eq=False)
class TrialInfo:
    """What a finished trial changed; arrays always lead with agents, for a single one too.

    Attributes:
        model_posterior: posterior over hypotheses that decided about adoption ``(n_agents, n_hypotheses)``, or None. Of a list
            that introspection searches: what the probabilities lack to 1 is the model's that the agent was born with.
        log_odds: log odds of the best hypothesis ``(n_agents,)``, nats, or None. Of a list: its log evidence ratio against the
            model that the agent was born with. Between sleeps, what concerns a list is the last sleep's.
        best_model: the best hypothesis ``(n_agents,)``, or None.
        adopted_now: agents whose log odds are beyond Occam's window after this trial, whether or not they were before
            ``(n_agents,)``. Of a list: agents that hold one of its models.
        counts: per learned table (likelihoods by index of the modality, others by `Table`) the counts after forgetting and
            before any adoption ``(n_agents, n_states, n_outcomes)``, columns in the order of the table's layout.
        reductions: likewise per table what introspection found, if it was due.

    Example:
        >>> lamp = POMDP(A=[None], B=[np.eye(2)[:, :, None]], pA=[np.ones((2, 2))])
        >>> learner = Agent(lamp, planner=Planner(alpha=None))
        >>> state, _ = learner.step(learner.init(), 0)
        >>> state, done = learner.end_trial(state)
        >>> done.counts[0][0].tolist()
        [[1.5, 1.0], [1.5, 1.0]]
    """

    model_posterior: Floats | None
    log_odds: Floats | None
    best_model: Ints | None
    adopted_now: Bools
    counts: dict[Key, Floats] = field(default_factory=dict)
    reductions: dict[Key, Reduction] = field(default_factory=dict)
