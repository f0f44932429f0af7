"""What agents make of a trial: counts, forgetting, adoption of hypotheses, sleep; in place on their state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from activebmr import deliberation, introspection
from activebmr.beliefs import Belief
from activebmr.inference import columns_of, unknown_factors
from activebmr.layout import dynamics_of, layouts_of
from activebmr.message_passing import Paths
from activebmr.reduction import log_odds, softmax
from activebmr.sparse import Floats, Ints
from activebmr.states import AgentState, TrialInfo
from activebmr.tables import CountTable

if TYPE_CHECKING:
    from activebmr.agent import Agent

__all__ = ["conclude", "take_in"]


def take_in(agent: Agent, state: AgentState, outcomes: list[np.ndarray]) -> None:
    """Learn from an observation now, or keep it for the end of the trial."""
    if state.sleep is not None:
        state.sleep.trials[-1].add(state.controls, outcomes)
    if state.paths is not None:
        return  # the trial's paths hold it
    if state.thoughts is not None and agent._thinker is not None:
        agent._thinker.remember(state.thoughts, state.controls, outcomes, state.qs)
    elif agent.learning.smooth:
        state.memory = (*state.memory, (outcomes, state.qs))
    else:
        _learn(agent, state, outcomes, state.qs)


def conclude(agent: Agent, state: AgentState, streams: Sequence[np.random.Generator] | None = None) -> TrialInfo:
    """End a trial: learn what was kept for its end, forget, adopt a hypothesis, sleep, and begin a new one.

    Args:
        agent: the agents.
        state: changed in place.
        streams: one generator per agent, for those who make up dreams.
    """
    if state.thoughts is not None:
        return deliberation.conclude(agent, state)
    _learn_in_hindsight(agent, state)
    if agent.selection.last_outcome and state.scores is not None:
        state.model_posterior = softmax(state.scores)
    adopted_now = np.zeros(state.n_agents, dtype=bool)
    odds = best = None
    if agent.hypotheses is not None and state.model_posterior is not None:
        odds, best = log_odds(state.model_posterior), state.model_posterior.argmax(axis=1)
        adopted_now = odds > agent.selection.threshold
    counts = _forget_and_adopt(agent, state, adopted_now)
    if state.scores is not None:
        state.adopted = np.where(adopted_now & (state.adopted < 0), best, state.adopted)
    reductions = introspection.fall_asleep(agent, state, streams)
    if state.sleep is not None and agent.listed in state.sleep.found and agent.hypotheses is None:
        found = state.sleep.found[agent.listed]
        odds, best, adopted_now = found.log_evidence_ratio, found.model, found.accepted
    info = TrialInfo(state.model_posterior, odds, best, adopted_now, counts, reductions)
    state.qs = Belief.start(agent.model.D, state.n_agents)  # type: ignore[arg-type]
    state.controls, state.t = None, 0
    state.trial += 1
    return info


def _learn(agent: Agent, state: AgentState, outcomes: list[np.ndarray], belief: Belief) -> None:
    for m in agent.model.learned_modalities:
        table = state.tables[m]
        assert isinstance(table, CountTable)
        layout = table.layout
        factors = unknown_factors(layout, belief)
        joint = belief.joint(factors)
        columns = columns_of(layout, belief, factors, joint)
        outcome = outcomes[m] if outcomes[m].ndim == 2 else np.eye(table.n_outcomes)[outcomes[m]]
        amounts = outcome[joint.row] * (agent.learning.rate * joint.weight)[:, None]
        _count(state, m, joint.row, columns, amounts)


def _count(state: AgentState, modality: int, agents: Ints, columns: Ints, amounts: Floats) -> None:
    """Add counts (entries, outcomes) at columns of agents (sorted) to a table."""
    change = state.tables[modality].observe(agents, columns, amounts)  # type: ignore[union-attr]
    if change is not None and state.scores is not None:
        state.scores += change
    if state.sleep is not None:
        state.sleep.witness(modality, agents, columns, amounts)


def _learn_in_hindsight(agent: Agent, state: AgentState) -> None:
    """Learn what was kept for the end of the trial, from beliefs about each of its moments."""
    for outcomes, then in state.memory:
        _learn(agent, state, outcomes, state.qs.in_hindsight(then, dynamics_of(agent.model)))
    state.memory = ()
    if state.paths is not None and agent.path_inference is not None and state.paths.outcomes:
        for m in agent.model.learned_modalities:
            lessons = agent.learning.rate * agent.path_inference.lessons(state.paths, state.paths.beliefs, m)
            rows = layouts_of(agent.model)[m].columns(lessons)
            agents, columns = np.nonzero((rows > 0).any(axis=2))
            _count(state, m, agents, columns, rows[agents, columns])
        state.paths = Paths()


def _forget_and_adopt(agent: Agent, state: AgentState, adopted_now: np.ndarray) -> dict[int, Floats]:
    """Forget, give adopters the average of the hypotheses, score all anew; the counts after forgetting, before adoption."""
    everyone = np.arange(state.n_agents)
    forgets = agent.learning.retention < 1.0
    counts: dict[int, Floats] = {}
    for m in agent.model.learned_modalities:
        table = state.tables[m]
        assert isinstance(table, CountTable)
        if forgets:
            table.retain(agent.learning.retention)
        adopters = np.flatnonzero(adopted_now) if m in agent._scorers else everyone[:0]
        # what follows changes counts in place
        counts[m] = table.counts.copy() if len(adopters) or m in agent.spaces else table.counts
        if forgets:
            table.renew(everyone if len(adopters) == 0 else np.flatnonzero(~adopted_now))
        if len(adopters):
            assert agent.hypotheses is not None and state.model_posterior is not None
            reduced = agent.hypotheses.tables[m]
            average = agent.selection.concentration * reduced.class_mixture(state.model_posterior[adopters])
            table.replace(adopters, average, reduced.column_classes[1][table.layout.order])
    if state.scores is not None:
        assert agent.hypotheses is not None
        state.scores = np.repeat(np.log(agent.hypotheses.prior)[None], state.n_agents, axis=0)
        for m in agent._scorers:
            state.scores += state.tables[m].scores(everyone)  # type: ignore[union-attr]
    return counts
