"""The order in which agents live: an observation is perceived once and then learned from once; in between they plan and act."""

from __future__ import annotations

from typing import Any

from activebmr import checks
from activebmr.agent.state import AgentState
from activebmr.inference.tables import KnownTable

__all__ = ["check_between", "check_seen", "check_state", "check_unseen", "kind_of"]


def kind_of(state: AgentState) -> Any:
    """What states of agents with one model and one way of believing have in common."""
    tables = [
        (t.learned, t.layout.n_states, t.n_outcomes if isinstance(t, KnownTable) else t.counts.shape[2]) for t in state.tables
    ]
    return type(state.belief), [q.shape[1:] for q in state.qs], tables


def check_state(state: Any) -> None:
    """TypeError unless it is the state of some agents."""
    if not isinstance(state, AgentState):
        raise TypeError(f"state must be an AgentState, from init or the step before; got {checks.brief(state)}")


def check_unseen(state: AgentState, what: str) -> None:
    """ValueError if the observation of the state's time was perceived and not learned from."""
    if state.perceived:
        raise ValueError(
            f"{what} needs a state that no observation was perceived in since `learn`; this one has perceived that of time "
            f"{state.t}: call learn first, with it and what was done"
        )


def check_seen(state: AgentState, what: str) -> None:
    """ValueError unless the observation of the state's time was perceived."""
    if not state.perceived:
        raise ValueError(f"{what} needs a state from `perceive`; this one has not perceived the observation of time {state.t}")


def check_between(state: AgentState, rule: str) -> None:
    """ValueError, beginning with the rule, in the middle of a trial."""
    if state.t != 0 or state.perceived:
        seen = ", which it has perceived" if state.perceived else ""
        raise ValueError(f"{rule}; this one is at time {state.t}{seen}")
