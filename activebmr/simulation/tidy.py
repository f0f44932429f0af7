"""Results as tidy tables: one row per number, with what it is about in columns of its own. Trials and times count from 1."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.files import in_one_move, plain_cell
from activebmr.simulation.measures import STANDARD
from activebmr.simulation.trace import coordinates

__all__ = ["columns_of", "write_csv"]

_KEYS = ("scheme", "agent", "trial", "time")
_NAMED = ("factor", "modality")


def columns_of(result: Any, measures: str | Iterable[str] | None = None, trace: bool = False) -> dict[str, NDArray[Any]]:
    """The columns of a tidy table, by name; see `Result.to_dataframe`.

    Raises:
        ValueError: for a name that there is not, or if there is no trace.
    """
    if trace and not result.trace:
        raise ValueError("trace must be recorded to be tabulated: simulate(..., trace=True); this Result has none")
    pieces = list(_pieces(result, measures, trace))
    if not pieces:
        pieces = [("", np.zeros((0,) * 3), _KEYS[:3])]
    further = list(dict.fromkeys(axis for _, _, axes in pieces for axis in axes if axis not in _KEYS))
    names = {"scheme": result.schemes, "agent": result.arrays["agent"].tolist(), "model": result.arrays["model_names"].tolist()}
    measured = set(result.measures)  # a paradigm's own may be negative: in them -1 is a number like others
    timed = any("time" in axes for _, _, axes in pieces)
    columns: dict[str, list[NDArray[Any]]] = {k: [] for k in (*_KEYS, *further, "measure", "value") if timed or k != "time"}
    for name, array, axes in pieces:
        values, keep = np.asarray(array, dtype=float).ravel(), slice(None)
        if "time" in axes:
            keep = _lived(result, array, values, axes, name in measured)
        for column, held in columns.items():
            if column == "measure":
                held.append(np.full(array.size, name, dtype=object)[keep])
            elif column == "value":
                held.append(values[keep])
            elif column not in axes:
                held.append(np.full(array.size, np.nan if column in _KEYS else None, dtype=object)[keep])
            else:
                at = axes.index(column)
                along = coordinates(column, array.shape[at], result.settings, names)
                along = list(range(array.shape[at])) if along is None else along
                spread = np.array(along, dtype=object).reshape([-1 if k == at else 1 for k in range(array.ndim)])
                held.append(np.broadcast_to(spread, array.shape).ravel()[keep])
    return {name: _joined(name, parts) for name, parts in columns.items()}


def _joined(name: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
    column = np.concatenate(parts)
    if name in ("agent", "trial", "time"):
        missing = np.array([x != x for x in column], dtype=bool)
        return column.astype(float) if missing.any() else column.astype(np.int64)
    return column.astype(float) if name == "value" else column


def _lived(
    result: Any, array: NDArray[Any], values: NDArray[np.float64], axes: tuple[str, ...], measure: bool
) -> NDArray[np.bool_]:
    """Which numbers of a record are about times that there were; -1 and nan stand for nothing, -1 only in records."""
    steps = ("scheme", "agent", "trial", "time")
    if array.dtype.kind == "f":
        return ~np.isnan(values)
    lived = result.trace.get("free_energy")
    if lived is not None and (measure or array.dtype.kind == "b") and set(steps) <= set(axes):
        at = [axes.index(axis) for axis in steps]
        if at == sorted(at) and lived.shape == tuple(array.shape[k] for k in at):
            shape = [n if k in at else 1 for k, n in enumerate(array.shape)]
            return np.broadcast_to(~np.isnan(lived).reshape(shape), array.shape).ravel()
    if measure or array.dtype.kind == "b":
        return np.ones(values.shape, dtype=bool)
    return values >= 0


def _pieces(
    result: Any, wanted: str | Iterable[str] | None, trace: bool
) -> Iterable[tuple[str, NDArray[Any], tuple[str, ...]]]:
    """Arrays to tabulate, by name, with the names of their axes."""
    measures = result.measures
    if wanted is None:
        chosen = [n for n in measures if len(result.dims(n)) <= 3 and set(result.dims(n)) <= set(_KEYS)]
    else:
        chosen = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in chosen:
        if name in measures:
            yield name, _for_people(name, measures[name]), result.dims(name)
        elif name in result.trace:
            yield from _by_name(name, result)
        else:
            known = [*measures, *(n for n in result.trace if n not in measures)]
            raise ValueError(f"measures must be among {known}; got {name!r}")
    if trace:
        for name in result.trace:
            axes = result.trace_dims(name)
            if (
                (name not in chosen or name in measures)
                and "time" in axes
                and (len(axes) == 4 or axes[4:] in (("factor",), ("modality",)))
            ):
                yield from _by_name(name, result)


def _by_name(name: str, result: Any) -> Iterable[tuple[str, NDArray[Any], tuple[str, ...]]]:
    """A record; what is about factors or modalities in pieces, each with the name of one."""
    array, axes = result.trace[name], result.trace_dims(name)
    known = coordinates(axes[-1], array.shape[-1], result.settings, {}) if axes[-1] in _NAMED else None
    title = f"{name}_each_time" if name in result.measures else name
    if axes[-1] not in _NAMED:
        yield title, array, axes
        return
    for k in range(array.shape[-1]):
        yield f"{title}_{k if known is None else known[k]}", array[..., k], axes[:-1]


def _for_people(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Trials that are values count from 1 in tables, and none is empty."""
    if name == "adoption_trial" and STANDARD[name][1] == "index":
        return np.where(array < 0, np.nan, array + 1.0)
    return array


def write_csv(result: Any, path: str | os.PathLike[str], trace: bool = False) -> Path:
    """Write a tidy table as CSV (UTF-8, commas, empty where there is nothing), first beside the target and then in one move."""
    columns = columns_of(result, None, trace)
    with in_one_move(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([plain_cell(name) for name in columns])
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            writer.writerow([_cell(x) for x in row])
    return Path(path)


def _cell(x: Any) -> Any:
    if x is None or x != x:
        return ""
    return int(x) if isinstance(x, float) and x.is_integer() else plain_cell(x)
