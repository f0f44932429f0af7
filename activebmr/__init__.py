"""Active inference with Bayesian model reduction: agents that reason about the structure of their world."""

from typing import TYPE_CHECKING

from activebmr.version import __version__

if TYPE_CHECKING:
    from activebmr.agent.agent import Agent, Learning, Selection
    from activebmr.agent.introspection import Introspection
    from activebmr.agent.state import AgentState, StepInfo, TrialInfo
    from activebmr.behaviour.recordings import load_recording
    from activebmr.behaviour.replay import replay
    from activebmr.inference.models.settings import Reasoning
    from activebmr.inference.paths import PathSettings
    from activebmr.model.hypotheses import ColumnTable, HypothesisSpace
    from activebmr.model.pomdp import POMDP
    from activebmr.model.rules import context_rules, depends, frozen, reachable_rules
    from activebmr.planning.planner import Planner
    from activebmr.reduction.search.alternatives import Alternatives
    from activebmr.reduction.search.informative import InformativeMappings
    from activebmr.reduction.search.protocol import Reduction
    from activebmr.reduction.search.single_parameters import SingleParameters
    from activebmr.simulation.environments import GymnasiumProcess
    from activebmr.simulation.measures import Measure
    from activebmr.simulation.paradigm import Paradigm
    from activebmr.simulation.result import Result
    from activebmr.simulation.simulate import simulate
    from activebmr.simulation.worlds import ModelProcess

__all__ = [
    "__version__",
    "POMDP",
    "Agent",
    "AgentState",
    "Alternatives",
    "ColumnTable",
    "GymnasiumProcess",
    "HypothesisSpace",
    "InformativeMappings",
    "Introspection",
    "Learning",
    "Measure",
    "ModelProcess",
    "Paradigm",
    "PathSettings",
    "Planner",
    "Reasoning",
    "Reduction",
    "Result",
    "Selection",
    "SingleParameters",
    "StepInfo",
    "TrialInfo",
    "context_rules",
    "depends",
    "frozen",
    "load_recording",
    "reachable_rules",
    "replay",
    "simulate",
]

_PLACES = {
    name: f"activebmr.{place}"
    for place, names in {
        "agent.agent": "Agent Learning Selection",
        "agent.introspection": "Introspection",
        "agent.state": "AgentState StepInfo TrialInfo",
        "behaviour.recordings": "load_recording",
        "behaviour.replay": "replay",
        "inference.models.settings": "Reasoning",
        "inference.paths": "PathSettings",
        "model.hypotheses": "ColumnTable HypothesisSpace",
        "model.pomdp": "POMDP",
        "model.rules": "context_rules depends frozen reachable_rules",
        "planning.planner": "Planner",
        "reduction.search.alternatives": "Alternatives",
        "reduction.search.informative": "InformativeMappings",
        "reduction.search.protocol": "Reduction",
        "reduction.search.single_parameters": "SingleParameters",
        "simulation.environments": "GymnasiumProcess",
        "simulation.measures": "Measure",
        "simulation.paradigm": "Paradigm",
        "simulation.result": "Result",
        "simulation.simulate": "simulate",
        "simulation.worlds": "ModelProcess",
    }.items()
    for name in names.split()
}
_PARTS = ("dirichlet", "gaussian", "interop", "page", "paradigms", "plots", "pruning", "reduction", "references", "teaching")


def __getattr__(name: str) -> object:
    """What is public is imported when it is first asked for, and so are modules: the command is there at once."""
    from importlib import import_module
    from importlib.util import find_spec

    if name in _PLACES:
        found = getattr(import_module(_PLACES[name]), name)
    elif not name.startswith("_") and find_spec(f"activebmr.{name}") is not None:
        found = import_module(f"activebmr.{name}")
    else:
        raise AttributeError(f"module 'activebmr' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
