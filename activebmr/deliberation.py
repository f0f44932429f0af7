"""The life of agents that reason jointly: what `Agent` does differently for them, in place on their state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from activebmr.beliefs import Belief
from activebmr.inference import INFERENCE
from activebmr.layout import dynamics_of
from activebmr.planning import Evaluation, Planner
from activebmr.reduction import log_odds, softmax
from activebmr.sparse import Floats, Ints
from activebmr.states import AgentState, TrialInfo
from activebmr.tables import CountTable
from activebmr.thinking import merge_beliefs

if TYPE_CHECKING:
    from activebmr.agent import Agent

__all__ = ["conclude", "experiments", "perceive", "tell", "think"]


def perceive(agent: Agent, state: AgentState, outcomes: list[np.ndarray]) -> Floats:
    """Take in an observation: thinkers update their joint posterior, actors filter as all other agents do.

    Returns:
        log evidence of each agent's observation ``(n_agents,)``.
    """
    thinker, thoughts = agent._thinker, state.thoughts
    assert thinker is not None and thoughts is not None
    evidence = np.empty(state.n_agents)
    parts: list[tuple[Ints, Belief]] = []
    posterior = thoughts.posterior
    if len(thoughts.thinkers):
        belief, evidence[thoughts.thinkers] = thinker.perceive(thoughts, state.controls, outcomes)
        parts.append((thoughts.thinkers, belief))
        posterior = posterior.copy()
        posterior[thoughts.thinkers] = thoughts.joint.sum(axis=1)
    actors = np.flatnonzero(state.adopted >= 0)
    if len(actors):
        prior = thoughts.acting if thoughts.acting is not None else Belief.start(agent.model.D, len(actors))  # type: ignore[arg-type]
        if state.controls is not None:
            prior = prior.predict(dynamics_of(agent.model), state.controls[actors])
        infer, seen = INFERENCE[agent.inference], [o[actors] for o in outcomes]
        belief, evidence[actors] = infer(agent.model, state.tables, actors, prior, seen)
        thoughts.acting = belief
        parts.append((actors, belief))
    state.qs = merge_beliefs(parts, state.n_agents, agent.model.num_states)
    state.model_posterior = thinker.spread(posterior)
    return evidence


def think(agent: Agent, state: AgentState, planner: Planner) -> Evaluation:
    """Worth of the policies to the thinkers: exact gains about hypotheses and states together."""
    thinker, thoughts = agent._thinker, state.thoughts
    assert thinker is not None and thoughts is not None
    wants = lambda t: agent._flat if agent.selection.curious else agent._wants(t)  # noqa: E731
    wanted = wants(state.t + 1)
    table = state.tables[thinker.modality]
    novelty = None
    if "param" in planner.gains and isinstance(table, CountTable):
        novelty = table.novelty.reshape(table.counts.shape)[thoughts.thinkers]
    reasoner = thinker.reasoner
    terms = reasoner.terms(thoughts.joint, thoughts.expected, wanted, novelty)
    value = terms.value(planner.gains)
    settings = thinker.settings
    left = settings.lookahead if agent.trial_length is None else min(settings.lookahead, agent.trial_length - state.t - 2)
    if left > 0:
        gains = [g for g in planner.gains if g != "param"]
        worth = lambda joint, expected, k: reasoner.terms(joint, expected, wants(state.t + 1 + k)).value(gains)  # noqa: E731
        value = reasoner.look_ahead(thoughts.joint, thoughts.expected, value, replace(settings, lookahead=left), worth)
    first = state.t == 0 or planner.habit == "always"
    log_prior = agent.model.log_policy_prior if first else np.zeros(len(agent.model.policies))
    return Evaluation(terms, value, softmax(planner.gamma * value + log_prior), log_prior)


def conclude(agent: Agent, state: AgentState) -> TrialInfo:
    """End a trial: learn from it, carry the posterior over hypotheses on, adopt the best one or revise an adoption."""
    thinker, thoughts = agent._thinker, state.thoughts
    assert thinker is not None and thoughts is not None and agent.hypotheses is not None
    lessons = agent.learning.rate * thinker.lessons(thoughts, agent.learning.smooth)
    evidence = (thoughts.evidence + lessons) * agent.learning.retention
    table = state.tables[thinker.modality]
    assert isinstance(table, CountTable)
    agents, columns = np.nonzero((lessons > 0).any(axis=2))
    if len(agents):
        table.observe(agents, columns, lessons[agents, columns])
    if agent.learning.retention < 1.0:
        table.retain(agent.learning.retention)
        table.renew(np.arange(state.n_agents))
    log_posterior = thinker.carry_over(thoughts, evidence, agent.learning.retention)
    posterior = softmax(log_posterior)
    odds, best = log_odds(posterior), thinker.first[posterior.argmax(axis=1)]
    adopted_now = odds > agent.selection.threshold
    counts = {thinker.modality: table.counts.copy() if adopted_now.any() else table.counts}
    changed = np.flatnonzero(adopted_now & (state.adopted != best))
    if len(changed):
        reduced = agent.hypotheses.tables[thinker.modality]
        average = reduced.class_mixture(thinker.spread(posterior[changed]))
        average *= agent.selection.concentration / average.sum(axis=2, keepdims=True)
        table.replace(changed, average, reduced.column_classes[1][table.layout.order])
    state.adopted = np.where(adopted_now, best, state.adopted)
    state.model_posterior = thinker.spread(posterior)
    state.thoughts = thinker.begin(evidence, state.adopted, log_posterior)
    info = TrialInfo(state.model_posterior, odds, best, adopted_now, counts)
    state.qs = Belief.start(agent.model.D, state.n_agents)  # type: ignore[arg-type]
    state.controls, state.t = None, 0
    state.trial += 1
    return info


def tell(agent: Agent, state: AgentState, states: Ints) -> None:
    """Let agents know the states ``(n_agents, n_factors)`` that no action sets; rows with any -1 among them are not told."""
    if agent._thinker is None or state.thoughts is None:
        raise ValueError("states can be told to agents that reason jointly (Agent(..., reasoning=...))")
    if state.t != 0:
        raise ValueError(f"states can be told before a trial; this one is at time {state.t}")
    states = np.atleast_2d(np.asarray(states))
    wanted = (state.n_agents, agent.model.num_factors)
    if states.shape != wanted or not np.issubdtype(states.dtype, np.integer):
        raise ValueError(
            f"states must be integers of shape {wanted} (agents, factors); got {states.dtype} of shape {states.shape}"
        )
    too_large = states >= np.array(agent.model.num_states)
    if too_large.any():
        k, f = (int(i) for i in np.argwhere(too_large)[0])
        raise ValueError(f"states[{k}, {f}] must lie in 0..{agent.model.num_states[f] - 1}, or be -1; got {int(states[k, f])}")
    reasoner = agent._thinker.reasoner
    told = (states[:, list(reasoner.still)] >= 0).all(axis=1)
    if not reasoner.still or not told.any():
        return
    flat = np.full(state.n_agents, -1)
    columns = [states[told, f] for f in reasoner.still]
    flat[told] = np.ravel_multi_index(columns, reasoner.still_sizes)
    agent._thinker.tell(state.thoughts, flat)
    marginals = []
    for f in reasoner.still:
        q = state.qs[f].copy()
        q[told] = np.eye(q.shape[1])[states[told, f]]
        marginals.append(q)
    state.qs = state.qs.replaced(reasoner.still, marginals)
    state.thoughts.acting = state.qs.take(np.flatnonzero(state.adopted >= 0)) if (state.adopted >= 0).any() else None


def experiments(agent: Agent, state: AgentState) -> Ints:
    """For agents that reason jointly, the states ``(n_agents, n_factors)`` from which a trial would teach most about
    hypotheses.

    -1 for agents who have adopted one or have nothing left to learn, and for factors that actions set.
    """
    if agent._thinker is None or state.thoughts is None:
        raise ValueError("experiments need agents that reason jointly (Agent(..., reasoning=...))")
    best = agent._thinker.choose_states(state.thoughts)
    out = np.full((state.n_agents, agent.model.num_factors), -1)
    chosen = np.flatnonzero(best >= 0)
    reasoner = agent._thinker.reasoner
    for f, value in zip(reasoner.still, np.unravel_index(best[chosen], reasoner.still_sizes), strict=True):
        out[chosen, f] = value
    return out
