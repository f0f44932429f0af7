"""Active inference with Bayesian model reduction: agents that reason about the structure of their world."""

__version__ = "0.1.0"

from activebmr.agent import Agent, Learning, Selection
from activebmr.hypotheses import ColumnTable, HypothesisSpace, context_rules
from activebmr.informative import InformativeMappings
from activebmr.introspection import Introspection
from activebmr.joint import Reasoning
from activebmr.models import POMDP
from activebmr.paradigm import Paradigm
from activebmr.planning import Planner
from activebmr.processes import GymnasiumProcess, ModelProcess
from activebmr.replay import load_recording, replay
from activebmr.results import Result
from activebmr.simulate import simulate
from activebmr.sparsity import SingleParameters
from activebmr.states import AgentState, StepInfo, TrialInfo
from activebmr.structure import Alternatives, Reduction

__all__ = [
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
    "Planner",
    "Reasoning",
    "Reduction",
    "Result",
    "Selection",
    "SingleParameters",
    "StepInfo",
    "TrialInfo",
    "context_rules",
    "load_recording",
    "replay",
    "simulate",
]
