"""Figures of ``activebmr prune bnn``: free energy against the share of weights removed, and each method's errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from activebmr import plots
from activebmr.arrays import standard_error
from activebmr.plots.style import many, number, tidy

__all__ = ["draw", "free_energy", "methods", "methods_on", "settle"]

_RANKS = {"evidence": "evidence", "snr": "SNR", "mean-sd": "|mean| + sd"}
_COLOURS = {"evidence": "blue", "snr": "purple", "mean-sd": "orange", "predicted": "black", "iterative": "vermilion"}
_LOOKS = {
    "full": ("black", "*"),
    "naive": ("blue", "s"),
    "naive-snr": ("purple", "s"),
    "naive-mean-sd": ("orange", "s"),
    "iterative": ("vermilion", "o"),
    "snr": ("purple", "o"),
    "mean-sd": ("orange", "o"),
}


# --- free energy -------------------------------------------------------------------------------------------------------------
def free_energy(kept: Sequence[Mapping[str, NDArray[Any]]], ax: Axes | None = None) -> Axes:
    """Free energy of the first run against the share of weights removed, predicted and observed, and the path of the rounds.

    Each round goes from a full mark (before it) to a hollow one (after the removal), and retraining leads straight on to the
    next full mark. Predictions of single rounds are bars across. Other runs are faint, moved to begin where the first begins.

    Args:
        kept: arrays by run.
        ax: axes to draw on.

    Raises:
        ValueError: if no run has a curve of finite free energies.
    """
    ax = Figure(figsize=(8.0, 4.4), layout="constrained").subplots() if ax is None else ax
    runs = [k for k in kept if _has_curve(k)]
    if not runs:
        raise ValueError(
            "kept must hold a run with curve_share, curve_predicted and curve_evidence, finite where nothing is gone"
        )
    first, others = runs[0], runs[1:]
    trained = float(first["curve_evidence"][0])
    lowest = []
    for i, other in enumerate(others):
        shift = trained - other["curve_evidence"][0]
        faint: dict[str, Any] = {"alpha": float(np.clip(2 / len(others), 0.12, 0.35)), "linewidth": 0.7, "zorder": 2}
        _curves(ax, other, {"evidence": f"{many(len(others), 'other run')}, faint"} if i == 0 else {}, faint, shift)
        x, y = _path(other)
        ax.plot(100 * x, y + shift, color=plots.PALETTE[_COLOURS["iterative"]], **faint)
        lowest += list(y[-1:] + shift)
    ax.axhline(trained, color="#555555", linewidth=0.8, zorder=1)
    says = {name: f"removed at once by {rank}" for name, rank in _RANKS.items()} | {"predicted": "predicted by the evidence"}
    _curves(ax, first, says, {"linewidth": 1.5, "zorder": 3})
    share, predicted = first["curve_share"], first["curve_predicted"]
    best = int(np.nanargmin(predicted))
    mark = f"predicted optimum: {100 * share[best]:.0f}% removed"
    ax.axvline(100 * share[best], color=plots.PALETTE["black"], linewidth=0.8, linestyle=":", zorder=1)
    look = {"color": plots.PALETTE["black"], "linestyle": "", "marker": "D", "markersize": 5}
    ax.plot(100 * share[best], predicted[best], zorder=5, label=mark, **look)
    _limits(ax, first, trained, _rounds(ax, first), lowest)
    tidy(ax)
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)
    ax.set_xlabel("weights removed (%)")
    ax.set_ylabel("free energy (nats)")
    legend = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5)
    for line in legend.legend_handles[: bool(others)]:
        line.set_alpha(0.5)  # type: ignore[union-attr]
    plots.title(ax, _free_energy_title(runs, best, trained))
    return ax


def _has_curve(kept: Mapping[str, NDArray[Any]]) -> bool:
    names = ("curve_share", "curve_predicted", "curve_evidence")
    return all(n in kept and len(kept[n]) and np.isfinite(kept[n][0]) for n in names)


def _curves(
    ax: Axes, run: Mapping[str, NDArray[Any]], labels: Mapping[str, str], look: Mapping[str, Any], shift: float = 0.0
) -> None:
    for name in (*_RANKS, "predicted"):
        if f"curve_{name}" in run:
            colour, dashes = plots.PALETTE[_COLOURS[name]], (0, (4, 2)) if name == "predicted" else "-"
            y = run[f"curve_{name}"] + shift
            ax.plot(100 * run["curve_share"], y, color=colour, linestyle=dashes, label=labels.get(name), **look)


def _undone(run: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the last round was taken back."""
    if "iterative_undone" in run:
        return bool(np.any(run["iterative_undone"]))
    before = run["iterative_vfe"]  # the free energy at the end is then that before it
    return len(before) > 0 and bool(np.isclose(before[-1], run["iterative_end"], rtol=1e-9, atol=1e-6))


def _path(run: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Shares and free energies before and after each round that stayed, and at the end; empty if there are none."""
    if "iterative_end" not in run:
        return np.empty(0), np.empty(0)
    stayed = len(run["iterative_vfe"]) - _undone(run)
    after = np.asarray(run["iterative_removed_in_all"], dtype=float)[:stayed]
    shares = np.repeat(np.concatenate(([0.0], after)), 2)[1:]
    values = np.stack((run["iterative_vfe"][:stayed], run["iterative_vfe_observed"][:stayed]), axis=1).ravel()
    return np.append(shares[:-1], shares[-1]), np.append(values, float(run["iterative_end"]))


def _rounds(ax: Axes, run: Mapping[str, NDArray[Any]]) -> list[float]:
    """The path of the rounds, and the ends of the rankings; the free energies drawn."""
    x, y = _path(run)
    drawn = list(y)
    colour = plots.PALETTE[_COLOURS["iterative"]]
    for name in ("snr", "mean-sd"):
        if f"{name}_end" in run and len(run[f"{name}_removed_in_all"]):
            end, place = float(run[f"{name}_end"]), 100 * run[f"{name}_removed_in_all"][-1]
            look = {"color": plots.PALETTE[_COLOURS[name]], "marker": "P", "markersize": 6, "linestyle": "", "zorder": 8}
            ax.plot(place, end, label=f"end of rounds by {_RANKS[name]}", **look)
            drawn.append(end)
    if not len(y):
        return drawn
    look = {"color": colour, "linestyle": "", "markersize": 5, "zorder": 7}
    rounds = len(y) // 2
    ax.plot(100 * x, y, color=colour, linewidth=1.0, zorder=4)
    if rounds:
        ax.plot(100 * x[:-1:2], y[:-1:2], marker="o", label="before a round", **look)
        ax.plot(100 * x[1::2], y[1::2], marker="o", markerfacecolor="white", label="right after it", **look)
        promised = run["iterative_vfe_predicted"][:rounds]
        bar = look | {"markersize": 9, "markeredgewidth": 1.3}
        ax.plot(100 * x[1::2], promised, marker="_", label="its prediction", **bar)
        drawn += list(promised)
    if _undone(run):
        back = [x[-1], run["iterative_removed_in_all"][-1]], [y[-1], run["iterative_vfe_observed"][-1]]
        line = {
            "color": colour,
            "linewidth": 1.0,
            "linestyle": ":",
            "marker": "x",
            "markevery": [1],
            "markersize": 5,
            "zorder": 4,
        }
        ax.plot(100 * np.array(back[0]), back[1], label="round taken back", **line)
        drawn.append(float(back[1][1]))
    ax.plot(100 * x[-1], y[-1], **look | {"marker": "*", "markersize": 11, "label": f"end of {many(rounds, 'round')}"})
    return drawn


def _limits(ax: Axes, run: Mapping[str, NDArray[Any]], trained: float, drawn: Sequence[float], others: Sequence[float]) -> None:
    """From the lowest value to as far above the trained network, more for rounds; the share ends where all curves are above.

    Ends of other runs count as far as they fall at most twice as far as this run.
    """
    curves = [run[f"curve_{n}"] for n in (*_RANKS, "predicted") if f"curve_{n}" in run]
    low = min(v for v in (*np.concatenate(curves), *drawn) if np.isfinite(v))
    fall = max(trained - low, 1e-3 * abs(trained), 1.0)
    low = min(low, *(v for v in others if v >= trained - 2 * fall), trained)
    high = max(trained + fall, *(v for v in drawn if np.isfinite(v) and v < trained + 3 * fall), trained)
    ax.set_ylim(low - 0.06 * (high - low), high + 0.04 * (high - low))
    inside = [run["curve_share"][c <= high].max(initial=0.0) for c in curves]
    ends = [run[k][-1] for k in run if k.endswith("_removed_in_all") and len(run[k])]
    right = min(100 * max(*inside, *ends, 0.05) + 4, 100.0)
    ax.set_xlim(-0.015 * right, right)


def _free_energy_title(runs: Sequence[Mapping[str, NDArray[Any]]], best: int, trained: float) -> str:
    first = runs[0]
    fall, seen = (float(first[f"curve_{n}"][best]) - trained for n in ("predicted", "evidence"))
    text = f"Removing {100 * first['curve_share'][best]:.0f}% at once: {_nats(fall)} nats predicted, {_nats(seen)} observed"
    x, y = _path(first)
    if len(y) and np.isfinite(y[-1]):
        text += f"; {many(len(y) // 2, 'round')}: {100 * x[-1]:.0f}% removed, {_nats(y[-1] - trained)} nats"
    if len(runs) == 1:
        return f"{text} (1 run)"
    falls = np.array([_path(r)[1][-1] - float(r["curve_evidence"][0]) for r in runs if len(_path(r)[1])])
    if len(falls) < 2 or not np.isfinite(falls).all():
        return f"{text} (first of {len(runs)} runs)"
    return f"{text} (first of {len(runs)} runs; rounds of all: {_nats(falls.mean())} ± {_nats(standard_error(falls), '')} nats)"


def _nats(value: float, sign: str = "+") -> str:
    return number(value, f"{sign}.1f" if abs(value) < 1000 else f"{sign}.0f")


# --- methods -----------------------------------------------------------------------------------------------------------------
def methods(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Error and log score of every method: runs, their mean and its standard error, differences to ``full`` run by run."""
    names = {r["method"] for r in rows}
    figure = Figure(figsize=(9.0, 1.1 + 0.44 * max(len(names), 4)), layout="constrained")
    figure.get_layout_engine().set(wspace=0.03)  # type: ignore[union-attr]
    left, right = figure.subplots(1, 2, sharey=True)
    methods_on(left, right, rows)
    right.tick_params(labelleft=False)
    return figure


def methods_on(left: Axes, right: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """`methods` on axes of another figure: errors on the left, log scores on the right."""
    names = list(dict.fromkeys(r["method"] for r in rows))
    whole = all(r["split"] is None for r in rows)
    rows_are = "training" if whole else "held-out"
    for ax, key, label in (
        (left, "rmse", f"RMSE of {rows_are} rows (units of the target)"),
        (right, "nll", f"negative log likelihood (nats per {rows_are} row)"),
    ):
        _measure(ax, rows, names, key)
        tidy(ax)
        ax.set_xlabel(label)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), [_with_share(rows, n) for n in names])
        plots.title(ax, _methods_title(rows, names, key, whole))
    left.set_ylabel("method, weights removed")


def _values(rows: Sequence[Mapping[str, Any]], method: str, key: str) -> dict[tuple[Any, Any], float]:
    return {(r["split"], r["seed"]): float(r[key]) for r in rows if r["method"] == method}


def _paired(rows: Sequence[Mapping[str, Any]], method: str, key: str) -> NDArray[Any]:
    """Differences to ``full``, by run."""
    full, mine = _values(rows, "full", key), _values(rows, method, key)
    return np.array([mine[run] - full[run] for run in mine if run in full])


def _with_share(rows: Sequence[Mapping[str, Any]], method: str) -> str:
    return f"{method}\n{100 * np.mean(list(_values(rows, method, 'removed').values())):.1f}% removed"


def _measure(ax: Axes, rows: Sequence[Mapping[str, Any]], names: Sequence[str], key: str) -> None:
    values = {n: np.array(list(_values(rows, n, key).values())) for n in names}
    low, high = _fences(np.concatenate(list(values.values())))
    digits = _digits(values)
    beside: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 7.5, "parse_math": False}
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    head = "mean ± s.e." if max(map(len, values.values())) > 1 else "value"
    ax.text(1.03, 1.0, head + "\n(less full)" * ("full" in values), **beside, va="bottom", color="#444444")
    if "full" in values:
        ax.axvline(values["full"].mean(), color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for i, name in enumerate(names):
        colour, mark = _LOOKS.get(name, ("green", "P"))
        look = {"color": plots.PALETTE[colour], "linestyle": ""}
        mean, error = values[name].mean(), standard_error(values[name])
        if len(values[name]) > 1:
            ax.plot(values[name], np.full(len(values[name]), i), marker=mark, markersize=3.5, alpha=0.35, **look)
        if mean <= high:
            bar = {"xerr": error, "capsize": 2} if len(values[name]) > 1 else {}
            ax.errorbar(mean, i, marker=mark, markersize=8 if mark == "*" else 6, zorder=4, **bar, **look)
        else:
            ax.plot(high, i, marker=">", markersize=7, clip_on=False, zorder=4, **look)
        text = _plus_minus(mean, error, digits)
        if name != "full" and len(change := _paired(rows, name, key)):
            text += f"\n({_plus_minus(change.mean(), standard_error(change), digits, '+')})"
        ax.text(1.03, i, text, **beside | {"transform": ax.get_yaxis_transform()}, va="center")


def _fences(values: NDArray[Any]) -> tuple[float, float]:
    """Range that shows all values but those far above the others."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    first, third = np.quantile(values, (0.25, 0.75))
    reach = 3 * (third - first) + 0.02 * max(abs(first), abs(third)) + 1e-12
    inside = values[values <= third + reach]
    margin = 0.06 * (inside.max() - inside.min()) + 0.002 * abs(inside).max() + 1e-12
    return inside.min() - margin, inside.max() + margin


def _digits(values: Mapping[str, NDArray[Any]]) -> int:
    """Digits after the point that show two of a typical standard error."""
    errors = [standard_error(v) for v in values.values()]
    errors = [e for e in errors if np.isfinite(e) and e > 0]
    middle = np.median([abs(v.mean()) for v in values.values()])
    size = np.median(errors) if errors else 0.01 * middle
    return int(np.clip(1 - np.floor(np.log10(size)), 0, 8)) if np.isfinite(size) and size > 0 else 2


def _plus_minus(mean: float, error: float, digits: int, sign: str = "") -> str:
    text = number(mean, f"{sign}.{digits}f")
    return f"{text} ± {number(error, f'.{digits}f')}" if np.isfinite(error) else text


def _methods_title(rows: Sequence[Mapping[str, Any]], names: Sequence[str], key: str, whole: bool) -> str:
    short = key.upper()
    runs = len({(r["split"], r["seed"]) for r in rows})
    kind = "seed" if whole else "split" if len({r["split"] for r in rows}) == runs else "run"
    digits = _digits({n: np.array(list(_values(rows, n, key).values())) for n in names})
    pruned = [n for n in names if n != "full"]
    mean = {n: np.mean(list(_values(rows, n, key).values())) for n in names}
    best = "iterative" if "iterative" in pruned else min(pruned or names, key=lambda n: mean[n])
    share = 100 * np.mean(list(_values(rows, best, "removed").values()))
    change = _paired(rows, best, key) if pruned else np.empty(0)
    if len(change):
        finding = f"{short} {_plus_minus(change.mean(), standard_error(change), digits, '+')} against full"
    else:
        finding = (
            f"{short} {_plus_minus(mean[best], standard_error(np.array(list(_values(rows, best, key).values()))), digits)}"
        )
    return f"{best}, {share:.1f}% removed: {finding} ({many(runs, kind)})"


# --- files -------------------------------------------------------------------------------------------------------------------
def settle(figure: Figure) -> Figure:
    """Lay a figure out, and break its titles anew: to the width that axes then have."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        plots.title(ax, ax.get_title(loc="left"))
    return figure


def draw(rows: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, NDArray[Any]]], folder: Path) -> list[Path]:
    """All figures of an experiment that its rows and arrays allow; the files written."""
    with plots.style():
        pages = {}
        if any(_has_curve(k) for k in kept):
            pages["free_energy.png"] = free_energy(kept).figure
        if rows:
            pages["methods.png"] = methods(rows)
        return [plots.save(settle(figure), folder / name) for name, figure in pages.items()]
