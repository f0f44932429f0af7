"""Results as ``xarray.Dataset``, of nothing but what netCDF files hold (needs xarray)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.simulation.trace import coordinates

__all__ = ["dataset_of"]


def dataset_of(result: Any, trace: bool = False) -> Any:
    """The measures of a result, and its trace; see `Result.to_xarray`.

    Raises:
        ValueError: if there is no trace.
        ImportError: if xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError("to_xarray needs xarray: pip install -e '.[xarray]'") from error
    if trace and not result.trace:
        raise ValueError("trace must be recorded to be handed out: simulate(..., trace=True); this Result has none")
    data: dict[str, Any] = {}
    for name, array in result.measures.items():
        sentence, unit = result.about(name)
        data[name] = (result.dims(name), array, {"description": sentence, "units": unit})
    axis_names: dict[str, str] = {axis: axis for name in result.measures for axis in result.dims(name)}
    for name, array in result.trace.items() if trace else ():
        if name in result.measures and "time" not in result.trace_dims(name):
            continue  # the measure itself
        title = f"{name}_each_time" if name in result.measures else "policy_chosen" if name == "policy" else name
        told = result.trace_dims(name)
        for axis in told:
            axis_names.setdefault(axis, _free(_plain(axis), axis_names.values()))
        data[_free(_plain(title), data)] = (_distinct(tuple(axis_names[axis] for axis in told)), array)
    settings = result.settings
    names = {
        "scheme": result.schemes,
        "agent": result.arrays["agent"].tolist(),
        "model": [str(n) for n in result.arrays["model_names"]],
    }
    coords: dict[str, Any] = {}
    original = {plain: axis for axis, plain in axis_names.items()}
    for axes, array, *_ in data.values():
        for axis, size in zip(axes, array.shape, strict=True):
            along = coordinates(original.get(axis, axis), size, settings, names)
            if along is not None and size:
                coords[axis] = np.array(along)
    true = result.arrays["true_model"]
    if (true >= 0).all() and "agent" in coords:
        data["true_model"] = (("agent",), np.broadcast_to(true, (result.sizes["agent"],)).copy())
    attributes = {
        "paradigm": str(settings.get("paradigm", "")),
        "seed": _number(int(result.arrays["seed"])),
        "version": str(result.arrays["version"]),
        "settings": json.dumps(settings),
        "note": "trials and times count from 1 along their axes; indices (adoption_trial among them) from 0, -1 for none",
    }
    return xarray.Dataset({name: _variable(*held) for name, held in data.items()}, coords=coords, attrs=attributes)


def _variable(axes: tuple[str, ...], array: NDArray[Any], about: dict[str, str] | None = None) -> tuple[Any, ...]:
    return (axes, array, {k: v for k, v in (about or {}).items() if v})


def _number(value: int) -> int | str:
    """A whole number as netCDF 3 holds it."""
    return value if abs(value) < 2**31 else str(value)


def _distinct(axes: tuple[str, ...]) -> tuple[str, ...]:
    """Axes of different names."""
    seen: dict[str, int] = {}
    out = []
    for axis in axes:
        seen[axis] = seen.get(axis, 0) + 1
        out.append(axis if seen[axis] == 1 else f"{axis}_{seen[axis]}")
    return tuple(out)


def _plain(name: str) -> str:
    """A name that netCDF takes."""
    return name.replace("/", "_").strip()


def _free(name: str, taken: Iterable[str]) -> str:
    """A name that nothing else has: with ``_2`` after it, and so on, where ``a/b`` and ``a_b`` would be one."""
    held, number, free = set(taken), 2, name
    while free in held:
        free, number = f"{name}_{number}", number + 1
    return free
