"""Which callables users may call by themselves: read from what modules announce, so that a new one cannot be forgotten."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["UNCALLED", "public_names"]

CORE = {
    "activebmr": "",
    "activebmr.reduction": "",
    "activebmr.dirichlet": "dirichlet.",
    "activebmr.gaussian": "gaussian.",
    "activebmr.plots": "plots.",
    "activebmr.page": "page.",
    "activebmr.references": "references.",
    "activebmr.simulation.neurons": "neurons.",
    "activebmr.interop.pymdp": "pymdp.",
    "activebmr.interop.gymnasium": "gymnasium.",
    "activebmr.teaching": "teaching.",
    "activebmr.teaching.check": "check.",
    "activebmr.teaching.draw": "draw.",
}
"""Modules of the public API and what begins the names of their callables."""

PRUNING = {
    "activebmr.pruning": "",
    "activebmr.pruning.data.batches": "",
    "activebmr.pruning.experiments.metrics": "metrics.",
    "activebmr.pruning.networks.families": "networks.",
    "activebmr.pruning.networks.for_structures": "networks.",
    "activebmr.pruning.networks.for_weights": "networks.",
    "activebmr.pruning.weights.free_energies": "",
    "activebmr.pruning.weights.hyperpriors": "hyperpriors.",
}

_GIVEN = "is given to users, who do not make it"
UNCALLED = {
    **dict.fromkeys(("AgentState", "StepInfo", "TrialInfo", "Reduction"), _GIVEN),
    **dict.fromkeys(("gaussian.GaussianReduction", "neurons.NeuronalResponses", "references.ObserverResult"), _GIVEN),
    "ColumnTable.clash": "is asked by the space alone, with a table of its model's shape",
    "gymnasium.register_paradigms": "has no argument",
    "teaching.example_recording": "has no argument",
}
"""Callables without an example, and why."""


def public_names(modules: dict[str, str]) -> set[str]:
    """Functions, classes and public methods of classes, as `Example` names them."""
    found: set[str] = set()
    for path, prefix in modules.items():
        module = import_module(path)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, ModuleType) or not callable(value) or not _ours(value):
                continue
            found.add(prefix + name)
            if inspect.isclass(value):
                found |= {f"{prefix}{name}.{method}" for method in _methods(value)}
    return found


def _ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).split(".")[0] == "activebmr"


def _methods(kind: type) -> list[str]:
    """Public methods that a class defines itself, or has from another class of ours, with an argument to spoil."""
    names = []
    for name in dir(kind):
        value = inspect.getattr_static(kind, name)
        owner = next(c for c in kind.__mro__ if name in vars(c))
        if name.startswith("_") or isinstance(value, property) or not owner.__module__.startswith("activebmr"):
            continue
        bound = getattr(kind, name)
        if not callable(bound) or isinstance(value, type) or not (inspect.isroutine(bound) or hasattr(bound, "__wrapped__")):
            continue
        arguments = [p for p in inspect.signature(bound).parameters if p != "self"]
        if arguments:
            names.append(name)
    return names
