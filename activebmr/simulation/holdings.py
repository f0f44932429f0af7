"""What a result may hold: settings that can be read, and numbers that some simulation can have written."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.simulation.measures import STANDARD
from activebmr.simulation.trace import labels_of

__all__ = ["check_trace", "check_values", "model_as_it_was", "read_settings", "sizes_of"]

_COUNTS = ("wins", "losses", "impossible", "unsure", "discovery_trials")
_PROBABILITIES = ("model_posterior", "true_model_posterior")


def read_settings(array: NDArray[Any]) -> dict[str, Any]:
    """The settings of a result, kept as JSON.

    Raises:
        ValueError: if it is no JSON of an object, or says of measures what cannot be.
    """
    try:
        settings = json.loads(str(np.asarray(array)))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"settings of Result must be JSON, not too deep; got {str(array)[:60]!r}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"settings of Result must be a JSON object; got {str(array)[:60]!r}")
    told = settings.get("measures")
    if told is not None and not (
        isinstance(told, dict) and all(isinstance(v, dict) and {"sentence", "unit", "axes"} <= set(v) for v in told.values())
    ):
        raise ValueError(f"settings of Result must say a sentence, a unit and axes of every measure; got {str(told)[:60]}")
    for name, about in (told or {}).items():
        axes = about["axes"]
        if not isinstance(axes, list) or not all(isinstance(a, str) for a in axes) or axes[:2] != ["scheme", "agent"]:
            raise ValueError(f"axes of {name} of Result must be names that begin with scheme, agent; got {str(axes)[:60]}")
    schemes = settings.get("schemes", {})
    if not isinstance(schemes, dict) or not all(isinstance(v, dict) for v in schemes.values()):
        raise ValueError(f"schemes in the settings of Result must map names to settings; got {str(schemes)[:60]!r}")
    for scheme, about in schemes.items():
        for key in ("selection", "introspection"):
            if not isinstance(about.get(key), (dict, type(None))):
                raise ValueError(f"{key} of scheme {scheme!r} of Result must be an object; got {str(about[key])[:60]!r}")
    _check_labels(settings.get("labels"))
    return settings


def _check_labels(labels: Any) -> None:
    """Refuse labels that are not lists of names, by factor and modality."""
    if labels is None:
        return
    names = lambda x: isinstance(x, list) and all(isinstance(n, str) for n in x)  # noqa: E731
    good = isinstance(labels, dict) and all(
        names(x) if kind in ("factor", "modality") else isinstance(x, dict) and all(names(y) for y in x.values())
        for kind, x in labels.items()
    )
    if not good:
        raise ValueError(f"labels in the settings of Result must be lists of names; got {str(labels)[:60]!r}")


def sizes_of(arrays: Mapping[str, NDArray[Any]], axes: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """The length of every axis, on which all measures must agree.

    Raises:
        ValueError: naming the measure that has other axes than it should, or another length.
    """
    sizes: dict[str, int] = {}
    for name in sorted(axes, key=lambda n: n not in STANDARD):
        dims, shape = axes[name], arrays[name].shape
        if len(shape) != len(dims):
            raise ValueError(f"{name} of Result must have axes {dims}; got shape {shape}")
        for dim, size in zip(dims, shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"{name} of Result must have {sizes[dim]} along {dim} like the other measures; got {size}")
    lacking = [dim for dim in ("scheme", "agent", "trial") if dim not in sizes]
    if lacking:
        raise ValueError(f"measures of Result must have a number for every {lacking[0]}; got {sorted(axes)}")
    return sizes


def check_values(arrays: Mapping[str, NDArray[Any]], axes: Mapping[str, tuple[str, ...]], sizes: Mapping[str, int]) -> None:
    """Refuse numbers that no simulation can have written, by the name of their array.

    Args:
        arrays: of a result.
        axes: of its measures.
        sizes: length of each axis.
    """
    for name in axes:
        if arrays[name].dtype.kind not in "biuf":
            raise ValueError(f"{name} of Result must hold numbers; got {arrays[name].dtype}")
    n_models, n_trials = len(arrays["model_class"]), sizes["trial"]
    if "model" in sizes and sizes["model"] > n_models:
        raise ValueError(
            f"model_posterior of Result must be about the {n_models} hypotheses of model_class; got {sizes['model']}"
        )
    _whole_within("true_model", arrays["true_model"], -1, n_models - 1)
    if arrays["true_model"].shape not in ((), (sizes["agent"],)):
        shape = arrays["true_model"].shape
        raise ValueError(
            f"true_model of Result must be one index, or one for each of {sizes['agent']} agents; got shape {shape}"
        )
    for name, last in (("adopted_model", n_models), ("best_model", n_models), ("adoption_trial", n_trials)):
        if name in axes:
            _whole_within(name, arrays[name], -1, last - 1)
    for name in _COUNTS:
        if name in axes and (arrays[name] < 0).any():
            raise ValueError(f"{name} of Result must be >= 0; got {arrays[name].min()}")
    for name in _PROBABILITIES:
        if name in axes:
            known = arrays[name][~np.isnan(arrays[name])]
            if known.size and (known.min() < -1e-9 or known.max() > 1 + 1e-9):
                raise ValueError(f"{name} of Result must hold probabilities; got {known.min():.6g} to {known.max():.6g}")
    if len(arrays["scheme"]) != sizes["scheme"]:
        raise ValueError(f"scheme of Result must name {sizes['scheme']} schemes; got {len(arrays['scheme'])}")


def check_trace(trace: Mapping[str, NDArray[Any]], sizes: Mapping[str, int]) -> None:
    """Refuse a trace of other schemes, agents or trials than the measures are of, or of policies that there are not.

    Args:
        trace: of a result.
        sizes: length of each axis of the measures.
    """
    wanted = tuple(sizes[axis] for axis in ("scheme", "agent", "trial"))
    for name, array in trace.items():
        if array.shape[:3] != wanted or array.dtype.kind not in "biuf":
            raise ValueError(
                f"trace of Result must hold numbers of {wanted} schemes, agents and trials; {name!r} has {array.dtype} "
                f"of shape {array.shape}"
            )
    policy, q_pi = trace.get("policy"), trace.get("q_pi")
    if policy is None or q_pi is None:
        return
    if policy.ndim != 4 or q_pi.ndim != 5 or q_pi.shape[:4] != policy.shape:
        raise ValueError(f"trace of Result must have a policy at every time of q_pi; got {policy.shape} and {q_pi.shape}")
    _whole_within("policy", policy, -1, q_pi.shape[-1] - 1)


def model_as_it_was(settings: Mapping[str, Any], model: Any, *worlds: Any) -> Any:
    """A model with the names that things had when a result was made, where the paradigm has come to name them otherwise.

    Settings have the names of the world. They are the agent's if it has the same names as the world, now.

    Args:
        settings: of the result.
        model: the agent's, as the paradigm makes it now.
        worlds: models of the world whose names the settings may have.

    Returns:
        the model itself, or one like it with other ``labels``.
    """
    told, now = settings.get("labels"), labels_of(model)["labels"]
    if not told or told == now or any(labels_of(world)["labels"] != now for world in worlds):
        return model
    if set(told) != set(now) or told["factor"] != now["factor"] or len(told["modality"]) != len(now["modality"]):
        return model
    kinds = {"states": "factor", "controls": "factor", "outcomes": "modality"}
    for kind, owner in kinds.items():
        for then, here in zip(told[owner], now[owner], strict=True):
            if len(told[kind].get(then, ())) != len(now[kind].get(here, ())):
                return model
    named = copy.copy(model)
    object.__setattr__(named, "labels", told)  # a copy, of which nothing but names is used
    return named


def _whole_within(name: str, array: NDArray[Any], low: int, high: int) -> None:
    if array.dtype.kind not in "biuf" or (array != np.rint(array)).any() or (array < low).any() or (array > high).any():
        span = "be -1 (none)" if high < 0 else f"hold indices in 0..{high}, or -1 for none"
        odd = array if array.dtype.kind not in "biuf" else array[(array < low) | (array > high) | (array != np.rint(array))]
        raise ValueError(f"{name} of Result must {span}; got {odd.flat[0]}")
