"""Simulated neuronal responses: belief updating as firing rates, changes of policy precision as phasic dopamine.

Each unit stands for one state of one factor at one moment of the trial, and its rate is the probability that the agent gives
it. After every outcome rates move towards the new posterior, in iterations that stand for about 16 ms each, 256 ms an outcome
(SPM's drawing conventions). With message passing the iterations are the scheme's own; for agents that compute posteriors in one
stroke they are the gradient flow that leads there, with the same time constant. Sources: Friston et al. (2017), "Active
inference: a process theory", Neural Computation 29; Friston et al. (2017), "Active inference, curiosity and insight".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from activebmr import checks
from activebmr.agent.agent import Agent
from activebmr.agent.sequence import check_state, kind_of
from activebmr.agent.state import AgentState
from activebmr.arrays import Floats
from activebmr.inference.paths import ITERATIONS, TIME_CONSTANT
from activebmr.model.observations import controls_of, outcomes_of

__all__ = ["MS_PER_ITERATION", "NeuronalResponses", "neuronal_responses"]

MS_PER_ITERATION = 16.0
"""Milliseconds of simulated time that one iteration stands for."""

_TINY = 1e-16


@dataclass(frozen=True, eq=False)
class NeuronalResponses:
    """What the units of one agent do in one trial of T outcomes.

    Attributes:
        rates: per factor firing rates ``(T, iterations, T, S_f)`` in 0..1: after each outcome, in each iteration, the
            probability of each state at each moment of the trial; nan for moments that are not represented yet.
        policies: probabilities of the policies ``(T, iterations, n_policies)``.
        precision: confidence of the posterior over policies, its negative entropy, ``(T * iterations,)`` nats, <= 0: what the
            later schemes of SPM take for the (log) precision of policies, whose rate of change they call dopamine.
        dopamine: its change in each iteration ``(T * iterations,)``, nats: positive when it becomes clear what to do.
        labels: names of the factors, and of the states of each.

    Example:
        >>> responses = neuronal_responses(agent, agent.init(), [[1], [1]], [[0]])
        >>> responses.rates[0].shape  # times, iterations, moments, states
        (2, 16, 2, 2)
    """

    rates: list[Floats]
    policies: Floats
    precision: Floats
    dopamine: Floats
    labels: dict[str, Any]

    @property
    def seconds(self) -> Floats:
        """Simulated time of each iteration ``(T * iterations,)``, seconds."""
        return np.arange(1, len(self.precision) + 1) * MS_PER_ITERATION / 1000


def neuronal_responses(agent: Agent, state: AgentState, outcomes: Any, controls: Any) -> NeuronalResponses:
    """Let one agent live through a trial and report what its units do.

    Args:
        agent: any agents.
        state: of a single agent, between trials; it stays as it was.
        outcomes: what is observed ``(T, n_modalities)``, integers from 0.
        controls: what is done after each outcome but the last ``(T - 1, n_factors)`` or, the last row unused, ``(T,
            n_factors)``.

    Raises:
        ValueError, TypeError: if the state is not that of one agent between trials, or outcomes and controls do not fit.

    Example:
        >>> responses = neuronal_responses(agent, agent.init(), outcomes=[[1], [1]], controls=[[0]])
        >>> responses.rates[0][-1, -1, -1].round(2)  # in the end, about the last moment
        array([0., 1.])
    """
    checks.an(Agent)(agent, "agent")
    check_state(state)
    if kind_of(agent.init(state.n_agents)) != kind_of(state):
        raise ValueError(f"state must be that of agents with this model and this way of believing; got {state!r} of others")
    if state.n_agents != 1 or state.t != 0:
        raise ValueError(f"state must be of one agent between trials; got {state.n_agents} agents at time {state.t}")
    seen, done = _table(outcomes, "outcomes", agent.model.num_modalities), _table(controls, "controls", agent.model.num_factors)
    times = len(seen)
    if len(done) not in (times - 1, times):
        raise ValueError(f"controls must have {times - 1} or {times} rows for {times} outcomes; got {len(done)}")
    state, model, inference = state.copy(), agent.model, agent.path_inference
    rates: list[list[Floats]] = [[] for _ in model.num_states]
    policies: list[Floats] = []
    believed = [q[0] for q in state.qs]
    chosen = np.exp(model.log_policy_prior) / np.exp(model.log_policy_prior).sum()
    past: list[list[Floats]] = []
    for t in range(times):
        now = outcomes_of(model, seen[t][None], 1)
        action = controls_of(model, (done[t] if t < len(done) else np.zeros(model.num_factors, dtype=int))[None], 1)
        before = believed if state.controls is None else [q[0] for q in agent.foreseen(state)]
        info = agent.life.advance(state, now, np.zeros(1), action)
        if inference is not None:
            ascent = inference.ascend(state.belief.paths, record=True)
            steps = [inference.evaluate(state.belief.paths, state.tables, step)[0].q_pi[0] for step in ascent.steps]
            policies.append(np.array(steps))
            for f, held in enumerate(rates):
                moving = np.stack([np.tensordot(info.q_pi[0], step.x[f][0], 1) for step in ascent.steps])
                held.append(_padded(moving, times))
        else:
            believed = [q[0] for q in info.qs]
            policies.append(_flow(chosen, info.q_pi[0]))
            chosen = info.q_pi[0]
            flows = [_flow(p, q) for p, q in zip(before, believed, strict=True)]
            for f, held in enumerate(rates):
                old = [np.repeat(moment[f][None], ITERATIONS, axis=0) for moment in past]
                held.append(_padded(np.stack([*old, flows[f]], axis=1), times))
            past.append(believed)
    q = np.concatenate(policies)
    precision = (q * np.log(np.maximum(q, _TINY))).sum(axis=1)
    dopamine = np.diff(precision, prepend=precision[:1])
    return NeuronalResponses([np.stack(r) for r in rates], np.stack(policies), precision, dopamine, dict(model.labels))


def _table(value: Any, name: str, width: int) -> Any:
    """Rows of what was seen or done, one for each time ``(T, width)``; what is in them is seen to when it is their turn."""
    try:
        table = np.ma.asarray(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    except ValueError:  # lists of different lengths
        table = np.empty(0, dtype=object)
    if not table.size:
        return np.zeros((0, width), dtype=np.intp)
    table = np.atleast_2d(table)
    if table.ndim != 2:
        raise ValueError(f"{name} must have shape (T, {width}); got shape {table.shape}")
    return table


def _flow(start: Floats, end: Floats) -> Floats:
    """Beliefs on their way from one distribution to another by gradient descent on free energy ``(iterations, S)``."""
    log_end, x = np.log(end + _TINY), np.log(start + _TINY)
    out = []
    for _ in range(ITERATIONS):
        x = x + (log_end - x) / TIME_CONSTANT
        p = np.exp(x - x.max())
        out.append(p / p.sum())
    return np.array(out)


def _padded(moments: Floats, times: int) -> Floats:
    """``(iterations, moments, S)`` with nan for the moments up to ``times`` that are not represented."""
    moments = moments[:, :times]
    gap = np.full((moments.shape[0], times - moments.shape[1], moments.shape[2]), np.nan)
    return np.concatenate([moments, gap], axis=1)
