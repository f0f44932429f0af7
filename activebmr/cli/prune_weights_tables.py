"""Tables that ``activebmr prune bnn`` and ``prune sparse`` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.arrays import standard_error
from activebmr.cli.prune_shared import mean_and_error
from activebmr.cli.report import console, print_table

__all__ = ["bnn_table", "sparse_table"]

_RANKINGS = {"evidence": "most evidence", "snr": "least |mean| / sd", "mean-sd": "least |mean| + sd"}
_SHARES = (10, 25, 50, 75, 85, 90)


def _of(rows: list[dict[str, Any]], method: str) -> list[dict[str, Any]]:
    return [r for r in rows if r["method"] == method]


def _apart(rows: list[dict[str, Any]], method: str, key: str) -> str:
    """Mean and standard error of a method's differences to the full network, run by run."""
    full = {(r["split"], r["seed"]): r[key] for r in _of(rows, "full")}
    mine = [r for r in _of(rows, method) if (r["split"], r["seed"]) in full]
    if method == "full" or len(mine) < 2:
        return "-"
    values = np.array([r[key] - full[r["split"], r["seed"]] for r in mine])
    return f"{values.mean():+.3f} +- {standard_error(values):.3f}"


def bnn_table(rows: list[dict[str, Any]], kept: Sequence[Mapping[str, NDArray[Any]]], data: str, inference: str) -> None:
    """Methods, one a line, and what removal at once costs at equal shares of the weights, by ranking."""
    columns = (
        ("removed", 1, 100.0),
        ("vfe", 1, 1.0),
        ("vfe_predicted", 1, 1.0),
        ("vfe_observed", 1, 1.0),
        ("rmse", 3, 1.0),
        ("nll", 3, 1.0),
    )
    names = list(dict.fromkeys(r["method"] for r in rows))
    table = [
        (
            n,
            *(mean_and_error(_of(rows, n), key, digits, scale) for key, digits, scale in columns),
            *(_apart(rows, n, k) for k in ("rmse", "nll")),
        )
        for n in names
    ]
    runs = len(_of(rows, names[0]))
    header = ("method", "removed %", "VFE", "predicted", "observed", "RMSE", "NLL", "RMSE - full", "NLL - full")
    screen = console()
    print_table(screen, f"{inference} on {data}: {runs} run{'s' * (runs > 1)}", header, table)
    where = "all rows" if rows[0]["split"] is None else "test rows"
    screen.print(
        "\nVFE: variational free energy of the training rows, nats; predicted and observed: right after the last removal"
    )
    screen.print(f"RMSE in units of the target, NLL in nats per row: {where}, 100 draws of the weights; differences run by run")

    curves = [k for k in kept if "curve_share" in k]
    if curves:
        print_table(screen, "VFE after removing a share of the weights at once", *_at_equal_shares(curves))


def _at_equal_shares(curves: Sequence[Mapping[str, NDArray[Any]]]) -> tuple[tuple[str, ...], list[Sequence[str]]]:
    """Header and rows: free energies, by the ranking that decides which weights go first; those that are known."""

    def cell(name: str, percent: int) -> str:
        values = [{"vfe": np.interp(percent / 100, k["curve_share"], k[f"curve_{name}"])} for k in curves]
        return mean_and_error(values, "vfe", 1)

    names = [name for name in _RANKINGS if all(f"curve_{name}" in k for k in curves)]
    return ("first go those with", *(f"{p}%" for p in _SHARES)), [(_RANKINGS[n], *(cell(n, p) for p in _SHARES)) for n in names]


def sparse_table(rows: list[dict[str, Any]], data: str, model: str) -> None:
    """Methods, one a line."""
    columns = (
        ("accuracy", 2, 100.0),
        ("nll", 3, 1.0),
        ("ece", 3, 1.0),
        ("removed", 1, 100.0),
        ("parameters", 0, 1.0),
        ("compact_parameters", 0, 1.0),
        ("epoch_seconds", 1, 1.0),
    )
    names = list(dict.fromkeys(r["method"] for r in rows))
    table = [(n, *(mean_and_error(_of(rows, n), key, digits, scale) for key, digits, scale in columns)) for n in names]
    runs = len(_of(rows, names[0]))
    header = ("method", "accuracy %", "NLL", "ECE", "removed %", "weights", "compacted", "s/epoch")
    screen = console()
    print_table(screen, f"{model} on {data}: {runs} seed{'s' * (runs > 1)}", header, table)
    screen.print("\nNLL in nats per image; ECE: expected calibration error, 20 equal-count bins; 100 draws of the weights")
    screen.print("weights: left; compacted: parameters once structures that were cut off are gone (compact_weights)")
