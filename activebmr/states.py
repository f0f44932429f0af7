"""What a batch of agents believes (`AgentState`), and what a step and a trial report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.beliefs import Belief
from activebmr.introspection import Sleep
from activebmr.message_passing import Paths
from activebmr.sparse import Floats, Ints
from activebmr.structure import Reduction
from activebmr.tables import CountTable, KnownTable
from activebmr.thinking import Thoughts

__all__ = ["AgentState", "StepInfo", "TrialInfo"]


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
        adopted: hypothesis that each agent adopted ``(n_agents,)``, -1 for none yet; or the model of a list that introspection
            has found.
        paths: the trial so far, for message passing, or None.
        sleep: what agents that introspect keep, or None.
        thoughts: what agents that reason jointly hold in mind, or None.
        memory: observations of this trial and what was believed then, if they are learned from at its end.
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
    thoughts: Thoughts | None = None
    memory: tuple[tuple[list[np.ndarray], Belief], ...] = ()
    paths: Paths | None = None
    sleep: Sleep | None = None

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
        thoughts = None if self.thoughts is None else self.thoughts.copy()
        return replace(
            self,
            thoughts=thoughts,
            tables=tables,
            scores=_copy(self.scores),
            adopted=self.adopted.copy(),
            paths=_copy(self.paths),
            sleep=_copy(self.sleep),
        )


def _copy(held: Any) -> Any:
    return None if held is None else held.copy()


@dataclass(eq=False)
class StepInfo:
    """What happened in one step: every term that a figure needs. Arrays lead with agents, unless the state is single.

    Attributes:
        qs: per factor the posterior over states ``(n_agents, S_f)``.
        free_energy: variational free energy of the observation, minus its log evidence, nats ``(n_agents,)``.
        utility, state_info_gain, param_info_gain, model_info_gain: terms of every policy ``(n_agents, n_policies)``, nats; with
            joint reasoning the gains are I(S; O) about states and I(M; O | S) about models, which sum to I(M, S; O).
        neg_efe: negative expected free energy, what policies are worth (with deeper search; without log E).
        q_pi: posterior over policies ``(n_agents, n_policies)``.
        policy: index of the policy chosen ``(n_agents,)``.
        controls: its first controls ``(n_agents, n_factors)``.
        action: the same for an environment: only controlled factors; a plain int if there is one and the state is single.
        model_posterior: posterior over hypotheses ``(n_agents, n_hypotheses)``, or None: what policies were evaluated with,
            from the counts before this step's outcome is learned or, with joint reasoning, given the outcome.
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
    """What a finished trial changed; arrays always lead with agents, for a single one too.

    Attributes:
        model_posterior: posterior over hypotheses that decided about adoption ``(n_agents, n_hypotheses)``, or None. Of a list
            that introspection searches: what the probabilities lack to 1 is the model's that the agent was born with.
        log_odds: log odds of the best hypothesis ``(n_agents,)``, nats, or None. Of a list: its log evidence ratio against the
            model that the agent was born with. Between sleeps, what concerns a list is the last sleep's.
        best_model: the best hypothesis ``(n_agents,)``, or None.
        adopted_now: agents whose log odds are beyond Occam's window after this trial, whether or not they were before
            ``(n_agents,)``. Of a list: agents that hold one of its models.
        counts: per learned modality the counts after forgetting and before any adoption ``(n_agents, n_states, n_outcomes)``,
            columns in the order of the table's layout.
        reductions: per modality what introspection found, if it was due.
    """

    model_posterior: Floats | None
    log_odds: Floats | None
    best_model: Ints | None
    adopted_now: NDArray[np.bool_]
    counts: dict[int, Floats] = field(default_factory=dict)
    reductions: dict[int, Reduction] = field(default_factory=dict)
