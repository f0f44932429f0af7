"""What notebooks show of agents, every word escaped."""

from __future__ import annotations

from typing import Any

from activebmr.display import html_table
from activebmr.model.showing import html_of_model

__all__ = ["html_of_agent"]


def html_of_agent(agent: Any) -> str:
    """How agents believe, plan, learn and compare hypotheses, and their model."""
    depth, gains = agent.planner.depth, ", ".join(agent.planner.gains)
    ahead = f"{depth} step{'s' * (depth != 1)} beyond the next" if depth else "the next step alone"
    rows: list[list[object]] = [
        ["believes", agent.inference],
        ["plans", f"{ahead}; gains that count: {gains or 'none, only preferences'}"],
        ["learns", ", ".join(f"p{table}" for table in agent.model.learned) or "nothing"],
    ]
    if agent.hypotheses is not None:
        n = len(agent.hypotheses)
        rows.append(["compares", f"{n} hypotheses; adopts one when its log odds are beyond {agent.selection.threshold} nats"])
    if agent.introspection is not None:
        after = agent.introspection.after
        rows.append(["sleeps", "after every trial" if after == 1 else f"after every {after} trials"])
    return html_table("Agent", ["", ""], rows) + html_of_model(agent.model)
