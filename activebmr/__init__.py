"""Active inference with Bayesian model reduction: agents that reason about the structure of their world."""

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
from activebmr.version import __version__

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


def __getattr__(name: str) -> object:
    """``activebmr.plots`` without an import of its own; matplotlib is imported when it is first asked for."""
    if name == "plots":
        from importlib import import_module

        return import_module("activebmr.plots")
    raise AttributeError(f"module 'activebmr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "plots"})
