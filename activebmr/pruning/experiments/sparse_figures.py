"""Figures of ``activebmr prune sparse``: scores by epoch, and against the share of weights removed, also by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from activebmr import plots
from activebmr.arrays import standard_error
from activebmr.plots.style import many, number, tidy, whole_numbers
from activebmr.pruning.experiments.bnn_figures import settle

__all__ = ["by_epoch", "draw", "removed_by_layer", "score_by_removed", "sparsity", "training"]

_SCORES = {
    "accuracy": ("accuracy", "accuracy on test images (%)", 100.0, 2),
    "nll": ("NLL", "NLL (nats per image)", 1.0, 3),
    "ece": ("ECE", "expected calibration error (%)", 100.0, 2),
    "removed": ("removed", "weights removed (%)", 100.0, 1),
}
"""By key: its name, what an axis says, the factor to that unit, and digits."""
_LOOKS = {
    "map": ("black", "*"),
    "flat": ("grey", "D"),
    "horseshoe": ("orange", "s"),
    "bmr-ss": ("blue", "o"),
    "bmr-rhs": ("vermilion", "^"),
}
_MOST_LAYERS = 12


def _look(method: str) -> tuple[str, str]:
    colour, mark = _LOOKS.get(method, ("green", "P"))
    return plots.PALETTE[colour], mark


# --- training ----------------------------------------------------------------------------------------------------------------
def by_epoch(kept: Sequence[Mapping[str, NDArray[Any]]], key: str, ax: Axes | None = None) -> Axes:
    """A score of every method after each epoch: mean over seeds, and as a band its standard error.

    The scale is that of the epochs after the first tenth. A dotted line is at the first removal.

    Args:
        kept: arrays by seed.
        key: ``"accuracy"``, ``"nll"``, ``"ece"`` or ``"removed"``.
        ax: axes to draw on; without, new ones with a legend.

    Raises:
        ValueError: if no method has this score at an epoch that all seeds have.
    """
    own = ax is None
    _, label, scale, _ = _SCORES[key]
    traces = {n: _trace(kept, n, key) for n in _traced(kept)}
    traces = {n: t for n, t in traces.items() if len(t[0])}
    if not traces:
        raise ValueError(
            f"kept must hold METHOD_epoch and METHOD_{key} of a method, at epochs that all seeds have; there are none"
        )
    ax = Figure(figsize=(5.5, 3.2), layout="constrained").subplots() if ax is None else ax
    for name, (epochs, values) in traces.items():
        mean, colour = scale * values.mean(axis=0), _look(name)[0]
        ax.plot(epochs, mean, color=colour, linewidth=1.4, label=name)
        if len(values) > 1:
            error = scale * values.std(axis=0, ddof=1) / np.sqrt(len(values))
            ax.fill_between(epochs, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    first = _first_removal(kept)
    if first is not None:
        ax.axvline(first, color="#555555", linewidth=0.8, linestyle=":", zorder=1, label="first removal")
    if key == "removed":
        ax.set_ylim(-3, 103)
    else:
        late = [scale * v[:, e > e.min() + 0.1 * (e.max() - e.min())] for e, v in traces.values()]
        _zoom(ax, np.concatenate([v.ravel() for v in late]))
    tidy(ax)
    whole_numbers(ax.xaxis)
    ax.set_xlabel("epoch")
    ax.set_ylabel(label)
    if own:
        ax.legend(fontsize=7.5)
    plots.title(ax, _trace_title(traces, key))
    return ax


def training(kept: Sequence[Mapping[str, NDArray[Any]]]) -> Figure:
    """Accuracy, log score, calibration and share of weights removed after each epoch, of every method."""
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    for ax, key in zip(figure.subplots(2, 2).flat, _SCORES, strict=True):
        by_epoch(kept, key, ax)
    seeds = f"mean of {len(kept)} seeds, band: standard error" if len(kept) > 1 else "1 seed"
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, title=seeds, title_fontsize=8)
    return figure


def _traced(kept: Sequence[Mapping[str, NDArray[Any]]]) -> list[str]:
    """Methods that have been followed, in order."""
    return list(dict.fromkeys(k.removesuffix("_epoch") for run in kept for k in run if k.endswith("_epoch")))


def _trace(kept: Sequence[Mapping[str, NDArray[Any]]], method: str, key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Epochs that all seeds have ``(n,)``, and the values ``(seeds, n)``."""
    runs = [k for k in kept if f"{method}_epoch" in k and f"{method}_{key}" in k]
    if not runs:
        return np.empty(0), np.empty((0, 0))
    epochs = np.asarray(runs[0][f"{method}_epoch"])
    for run in runs[1:]:
        epochs = np.intersect1d(epochs, run[f"{method}_epoch"])
    return epochs, np.stack([run[f"{method}_{key}"][np.isin(run[f"{method}_epoch"], epochs)] for run in runs])


def _first_removal(kept: Sequence[Mapping[str, NDArray[Any]]]) -> float | None:
    traces = [_trace(kept, n, "removed") for n in _traced(kept)]
    found = [epochs[(values > 0).any(axis=0)] for epochs, values in traces if len(epochs)]
    return min((float(e[0]) for e in found if len(e)), default=None)


def _zoom(ax: Axes, values: NDArray[Any]) -> None:
    values = values[np.isfinite(values)]
    if len(values):
        margin = 0.06 * (values.max() - values.min()) + 1e-3 * abs(values).max() + 1e-9
        ax.set_ylim(values.min() - margin, values.max() + margin)


def _trace_title(traces: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], key: str) -> str:
    """Ends of the best method that is pruned, and of the best that is not."""
    called = _SCORES[key][0]
    ends = {n: values[:, -1] for n, (_, values) in traces.items()}
    last = max(epochs[-1] for epochs, _ in traces.values())
    parts = [f"{n} {_with_error(ends[n], key)}" for n in _two_best({n: e.mean() for n, e in ends.items()}, key)]
    return f"Epoch {last:.0f}: {called} {', '.join(parts)}"


def _two_best(means: Mapping[str, float], key: str) -> list[str]:
    """The best method that prunes, and the best that does not (of weights removed: all that prune)."""
    pruning = [n for n in means if n.startswith("bmr")]
    if key == "removed" and pruning:
        return pruning
    better = max if key in ("accuracy", "removed") else min
    return [better(group, key=lambda n: means[n]) for group in (pruning, [n for n in means if n not in pruning]) if group]


def _with_error(values: NDArray[Any], key: str, sign: str = "", unit: str | None = None) -> str:
    _, label, scale, digits = _SCORES[key]
    text = number(scale * np.mean(values), f"{sign}.{digits}f")
    if len(values) > 1:
        text += f" ± {number(scale * standard_error(values), f'.{digits}f')}"
    return text + (("%" if "%" in label else "") if unit is None else unit)


# --- sparsity ----------------------------------------------------------------------------------------------------------------
def score_by_removed(rows: Sequence[Mapping[str, Any]], key: str, ax: Axes | None = None) -> Axes:
    """A score of every method in the end against the share of weights removed: seeds, and their mean with its standard error.

    Args:
        rows: of a report.
        key: ``"accuracy"``, ``"nll"`` or ``"ece"``.
        ax: axes to draw on; without, new ones with a legend.
    """
    own = ax is None
    ax = Figure(figsize=(5.5, 3.2), layout="constrained").subplots() if ax is None else ax
    _, label, scale, _ = _SCORES[key]
    names = list(dict.fromkeys(r["method"] for r in rows))
    if "map" in names:
        ax.axhline(scale * np.mean(_of(rows, "map", key)), color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for name in names:
        x, y = 100 * _of(rows, name, "removed"), scale * _of(rows, name, key)
        look = {"color": _look(name)[0], "marker": _look(name)[1], "linestyle": ""}
        errors: dict[str, Any] = {}
        if len(x) > 1:
            errors = {"xerr": standard_error(x), "yerr": standard_error(y), "capsize": 2}
            ax.plot(x, y, markersize=3.5, alpha=0.35, **look)
        ax.errorbar(x.mean(), y.mean(), markersize=9 if name == "map" else 6, label=name, zorder=4, **errors, **look)
    ax.set_xlim(-5, 105)
    tidy(ax)
    ax.set_xlabel("weights removed (%)")
    ax.set_ylabel(label)
    if own:
        ax.legend(fontsize=7.5)
    plots.title(ax, _score_title(rows, names, key))
    return ax


def removed_by_layer(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Share of each layer's weights that the pruned methods remove: mean over seeds, with its standard error.

    A layer is all parameters whose names differ only in the last part. Where rows have ``sizes_by_layer`` (weights by
    parameter), its share is of all its weights, and of more than 12 layers the largest are drawn; otherwise it is the mean over
    its parameters other than biases, and the first 12 are drawn.

    Args:
        rows: of a report; those of pruned methods have ``removed_by_layer``.
        ax: axes to draw on.

    Raises:
        ValueError: if there is no row of a pruned method.
    """
    rows = _layered(rows)
    if not rows:
        raise ValueError("rows must hold one of a method that prunes, with removed_by_layer; there is none")
    names = list(dict.fromkeys(r["method"] for r in rows))
    shares = [(r["method"], _shares(r)) for r in rows]
    sizes = {layer: size for layer, (_, size) in shares[0][1].items()}
    largest = sorted(sizes, key=lambda n: -sizes[n])[:_MOST_LAYERS]
    layers = [n for n in sizes if n in largest]
    ax = Figure(figsize=(6.0, _layers_height(rows)), layout="constrained").subplots() if ax is None else ax
    width = 0.8 / len(names)
    means: dict[str, list[float]] = {}
    for i, name in enumerate(names):
        values = np.array([[100 * found[n][0] for n in layers] for method, found in shares if method == name])
        y = np.arange(len(layers)) + (i - (len(names) - 1) / 2) * width
        errors = np.array([standard_error(v) for v in values.T]) if len(values) > 1 else np.zeros(len(layers))
        means[name] = list(values.mean(axis=0))
        bars = {"xerr": errors, "error_kw": {"elinewidth": 0.9, "capsize": 1.5}} if len(values) > 1 else {}
        ax.barh(y, values.mean(axis=0), 0.92 * width, color=_look(name)[0], label=name, **bars)
        for at, mean, error in zip(y, means[name], errors, strict=True):
            ax.text(mean + error + 0.8, at, f"{mean:.1f}", va="center", fontsize=6.5)
    ax.set_yticks(range(len(layers)), layers)
    ax.set_ylim(len(layers) - 0.45, -0.55)
    ax.set_xlim(0, 108)
    ax.set_xticks(range(0, 101, 20))
    tidy(ax)
    ax.set_xlabel("weights of the layer removed (%)")
    ax.set_ylabel("layer" if len(layers) == len(sizes) else f"layer ({len(layers)} of {len(sizes)})")
    best = names[0]
    most, least = (layers[int(pick(means[best]))] for pick in (np.argmax, np.argmin))
    text = f"{best} removes {max(means[best]):.1f}% of {most}, {min(means[best]):.1f}% of {least}"
    plots.title(ax, f"{text} ({many(len({r['seed'] for r in rows}), 'seed')})")
    return ax


def sparsity(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Every method's scores against the share of weights removed, and below, what the pruned methods remove of each layer."""
    below = _layers_height(rows) if _layered(rows) else 0.0
    figure = Figure(figsize=(9.0, 3.3 + below), layout="constrained")
    scores = [k for k in _SCORES if k != "removed"]
    grid = figure.add_gridspec(1 + bool(below), len(scores), height_ratios=(2.8, below) if below else (1,))
    for i, key in enumerate(scores):
        score_by_removed(rows, key, figure.add_subplot(grid[0, i]))
    if below:
        removed_by_layer(rows, figure.add_subplot(grid[1, :]))
    seeds = len({r["seed"] for r in rows})
    title = f"mean of {seeds} seeds, bars: standard errors; dashed: map" if seeds > 1 else "1 seed; dashed: map"
    handles, labels = figure.axes[0].get_legend_handles_labels()
    title = title if "map" in labels else title.partition(";")[0]
    figure.legend([h[0] for h in handles], labels, loc="outside lower center", ncols=6, title=title, title_fontsize=8)
    return figure


def _of(rows: Sequence[Mapping[str, Any]], method: str, key: str) -> NDArray[Any]:
    return np.array([float(r[key]) for r in rows if r["method"] == method])


def _score_title(rows: Sequence[Mapping[str, Any]], names: Sequence[str], key: str) -> str:
    """The best method that prunes against ``map``, seed by seed, or whatever is best."""
    called, label, _, _ = _SCORES[key]
    best = _two_best({n: float(np.mean(_of(rows, n, key))) for n in names}, key)[0]
    share = number(100 * float(np.mean(_of(rows, best, "removed"))), ".1f")
    if best.startswith("bmr"):
        there = {r["seed"]: r[key] for r in rows if r["method"] == "map"}
        change = np.array([r[key] - there[r["seed"]] for r in rows if r["method"] == best and r["seed"] in there])
        if len(change):
            unit = " points" if "%" in label else ""
            return f"{best}, {share}% removed: {called} {_with_error(change, key, '+', unit)} against map"
    return f"{best}, {share}% removed: {called} {_with_error(_of(rows, best, key), key)}"


def _layered(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [r for r in rows if r["method"].startswith("bmr") and r.get("removed_by_layer")]


def _layers_height(rows: Sequence[Mapping[str, Any]]) -> float:
    found = _layered(rows)
    bars = min(len(_shares(found[0])), _MOST_LAYERS) * len({r["method"] for r in found})
    return 1.0 + 0.15 * max(bars, 6)


def _shares(row: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By layer the share removed, and its size (without sizes: how many parameters other than biases it has)."""
    removed, sizes = row["removed_by_layer"], row.get("sizes_by_layer")
    groups: dict[str, list[str]] = {}
    for name in removed:
        groups.setdefault(name.rpartition(".")[0] or name, []).append(name)
    found = {}
    for layer, names in groups.items():
        counted = [n for n in names if "bias" not in n.rpartition(".")[2]] or names
        size = {n: float(sizes[n]) for n in names} if sizes else dict.fromkeys(counted, 1.0)
        total = sum(size.values())
        found[layer] = (sum(removed[n] * v for n, v in size.items()) / total, total)
    return found


# --- files -------------------------------------------------------------------------------------------------------------------
def draw(rows: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, NDArray[Any]]], folder: Path) -> list[Path]:
    """All figures of an experiment that its rows and arrays allow; the files written."""
    with plots.style():
        pages = {}
        if any(len(_trace(kept, n, "accuracy")[0]) for n in _traced(kept)):
            pages["training.png"] = training(kept)
        if rows:
            pages["sparsity.png"] = sparsity(rows)
        return [plots.save(settle(figure), folder / name) for name, figure in pages.items()]
