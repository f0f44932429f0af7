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
from activebmr.simulation.paradigm import Paradigm
from activebmr.simulation.result import Result
from activebmr.simulation.simulate import simulate
from activebmr.simulation.worlds import GymnasiumProcess, ModelProcess
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
