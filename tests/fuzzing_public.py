"""Which callables users may call by themselves: read from what modules announce, so that a new one cannot be forgotten."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["CORE", "PRUNING", "UNCALLED", "UNCALLED_PRUNING", "public_names"]

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
    "teaching.example_recording": "has no argument",
}
"""Callables of the core without an example, and why."""

_CALLS = "calls the user's network with whatever is handed over: what it says is the network's own"
_FORMULA = "a formula for draws that have been checked"
UNCALLED_PRUNING = {
    **dict.fromkeys(("CompactionReport", "Comparison", "FitResult", "Measurement", "Sparsified", "Step", "WeightFit"), _GIVEN),
    **dict.fromkeys(("ImageData", "RegressionData", "hyperpriors.HorseshoeFit", "metrics.Calibration"), _GIVEN),
    **{
        f"{kind}.{name}": _CALLS for kind in ("BayesianModule", "HorseshoeModule") for name in ("forward", "moments", "sampled")
    },
    **dict.fromkeys(("NoisyModule.forward", "NoisyModule.with_theta", "call", "moments"), _CALLS),
    **dict.fromkeys(("hyperpriors.log_gamma", "hyperpriors.log_half_cauchy", "hyperpriors.squared_scales"), _FORMULA),
    **{f"networks.{n}.forward": _CALLS for n in ("Attention", "GRU", "Mixer", "ResNet", "VisionTransformer")},
    **dict.fromkeys(("Likelihood", "Likelihood.check", "Likelihood.nll"), "is a base for those of users, and does nothing"),
    "NoisyModule": "is made by `attach_noise`",
    **dict.fromkeys(("Categorical.nll", "GaussianNoise.nll"), "works in every step, on what `check` has seen"),
    "hyperpriors.scale_evidence": "works in every step of `horseshoe_evidence`, on what that has checked",
    **dict.fromkeys(("check_data", "tried"), "is a check itself"),
    "networks.vit_base": "hands its arguments on to `VisionTransformer`, and takes a while to build",
    "to_device": "passes on whatever it does not know",
}
"""The same of the pruning API."""


def public_names(modules: dict[str, str]) -> set[str]:
    """Functions, classes and public methods of classes, as `Example` names them."""
    found: set[str] = set()
    seen: set[int] = set()  # what has several names counts under the first of them
    for path, prefix in modules.items():
        module = import_module(path)
        for name in module.__all__:
            value = getattr(module, name)
            if isinstance(value, ModuleType) or not callable(value) or not _ours(value) or id(value) in seen:
                continue
            seen.add(id(value))
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
