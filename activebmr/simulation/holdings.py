"""What a result may hold: settings that can be read, and numbers that some simulation can have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.simulation.measures import STANDARD

__all__ = ["check_values", "read_settings", "sizes_of"]

_COUNTS = ("wins", "losses", "impossible", "unsure", "discovery_trials")
_PROBABILITIES = ("model_posterior", "true_model_posterior")


def read_settings(array: NDArray[Any]) -> dict[str, Any]:
    """The settings of a result, kept as JSON.

    Raises:
        ValueError: if it is no JSON of an object, or says of measures what cannot be.
    """
    try:
        settings = json.loads(str(np.asarray(array)))
    except ValueError as error:
        raise ValueError(f"settings of Result must be JSON; got {str(array)[:60]!r}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"settings of Result must be a JSON object; got {str(array)[:60]!r}")
    told = settings.get("measures")
    if told is not None and not (
        isinstance(told, dict) and all(isinstance(v, dict) and {"sentence", "unit", "axes"} <= set(v) for v in told.values())
    ):
        raise ValueError(f"settings of Result must say a sentence, a unit and axes of every measure; got {str(told)[:60]}")
    return settings


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


def _whole_within(name: str, array: NDArray[Any], low: int, high: int) -> None:
    if array.dtype.kind not in "biuf" or (array != np.rint(array)).any() or (array < low).any() or (array > high).any():
        span = "be -1 (none)" if high < 0 else f"hold indices in 0..{high}, or -1 for none"
        odd = array if array.dtype.kind not in "biuf" else array[(array < low) | (array > high) | (array != np.rint(array))]
        raise ValueError(f"{name} of Result must {span}; got {odd.flat[0]}")
