"""Figures of pruning experiments: accuracy against compression, spectra of the noise and its evidence, structures by epoch."""

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
from activebmr.plots.style import number, tidy, whole_numbers

__all__ = ["accuracy_against_compression", "draw", "spectra", "spectra_on", "structures_by_epoch"]

_COLOURS = {
    "none": "black",
    "l2": "grey",
    "random": "grey",
    "mean": "orange",
    "snr": "purple",
    "bmrs-n": "vermilion",
    "bmrs-n-exact": "vermilion",
    "bmrs-u8": "sky",
    "bmrs-u4": "blue",
}
_MARKS = {"none": "*", "l2": "x", "mean": "s", "snr": "D", "bmrs-n": "^", "bmrs-u8": "v", "bmrs-u4": "o"}


def accuracy_against_compression(
    rows: Sequence[Mapping[str, Any]], published: Mapping[str, tuple[float, float]] | None = None, ax: Axes | None = None
) -> Axes:
    """Each criterion's accuracy against its compression: seeds, and their mean with its standard error.

    Args:
        rows: of a report.
        published: by criterion compression and accuracy of a paper, as fractions, drawn hollow.
        ax: axes to draw on.
    """
    ax = Figure(figsize=(6.0, 4.0), layout="constrained").subplots() if ax is None else ax
    names = list(dict.fromkeys(r["criterion"] for r in rows))
    pruned = [n for n in names if n != "none" and _mean(rows, n, "compression") > 0.01]
    near = [n for n in pruned if n not in ("l2", "random")] or pruned or names
    inside = [100 * r["accuracy"] for r in rows if r["criterion"] in near]
    dense = 100 * float(np.mean([r["accuracy_dense"] for r in rows]))
    margin = 0.15 * (max(*inside, dense) - min(*inside, dense)) + 0.1
    low, high = min(*inside, dense) - margin, max(*inside, dense) + margin
    ax.axhline(dense, color=plots.PALETTE["black"], linewidth=1.0, linestyle=(0, (4, 3)), label=f"dense {dense:.2f}%")
    for name in pruned:
        x, y = (np.array([100 * r[key] for r in rows if r["criterion"] == name]) for key in ("compression", "accuracy"))
        look = {"color": plots.PALETTE[_COLOURS.get(name, "green")], "marker": _MARKS.get(name, "P")}
        label = f"{name} {y.mean():.2f}%" + (" (below)" if y.mean() < low else "")
        ax.plot(x, y, linestyle="", alpha=0.35, markersize=3.5, **look)
        errors = {"xerr": standard_error(x), "yerr": standard_error(y)} if len(x) > 1 else {}
        ax.errorbar(x.mean(), y.mean(), linestyle="", capsize=2, markersize=6, label=label, **errors, **look)
        if published and name in published:
            there = [100 * v for v in published[name]]
            ax.plot(*there, linestyle="", markersize=6, markerfacecolor="none", **look)
    across = [100 * r["compression"] for r in rows if r["criterion"] in near]
    ax.set_xlim(min(across) - 0.5, max(across) + 0.5)
    ax.set_ylim(low, high)
    tidy(ax)
    ax.set_xlabel("compression (% of parameters)")
    ax.set_ylabel("accuracy on test images (%)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7.5)
    if pruned:
        best = max(near, key=lambda n: _mean(rows, n, "accuracy"))
        gap = 100 * (_mean(rows, best, "accuracy") - _mean(rows, best, "accuracy_dense"))
        many = len({r["seed"] for r in rows})
        text = f"{best}: {100 * _mean(rows, best, 'compression'):.1f}% removed, accuracy {number(gap, '+.2f')} points"
        plots.title(ax, f"{text} ({many} seed{'s' * (many > 1)})")
    else:
        plots.title(ax, f"Nothing was pruned: {dense:.2f}% right")
    return ax


def _mean(rows: Sequence[Mapping[str, Any]], criterion: str, key: str) -> float:
    return float(np.mean([r[key] for r in rows if r["criterion"] == criterion]))


def spectra(kept: Mapping[str, NDArray[Any]]) -> Figure:
    """Of one trained network before pruning: E[theta] of every structure, and its evidence by three rules."""
    figure = Figure(figsize=(9.0, 3.3), layout="constrained")
    spectra_on(*figure.subplots(1, 2), kept)
    return figure


def spectra_on(left: Axes, right: Axes, kept: Mapping[str, NDArray[Any]]) -> None:
    """`spectra` on axes of another figure."""
    layers, layer = [str(n) for n in kept["layers"]], kept["layer"]
    edges = np.linspace(np.log10(max(kept["mean"].min(), 1e-9)) - 0.1, 0.05, 40)
    for i, name in enumerate(layers):
        values = np.log10(np.maximum(kept["mean"][layer == i], 1e-9))
        left.hist(values, edges, histtype="step", linewidth=1.4, color=plots.colour(i), label=name)
    tidy(left)
    left.set_xlabel("mean of the noise, log10 E[theta]")
    left.set_ylabel("structures")
    left.legend(fontsize=7.5)
    low = np.mean(kept["mean"] < 0.1)
    plots.title(left, f"{low:.0%} of the structures have a mean below 0.1")
    for name in ("bmrs-n", "bmrs-u8", "bmrs-u4"):
        values = np.sort(kept[name])[::-1]
        shown = np.sign(values) * np.log10(1 + np.abs(values))
        right.plot(np.arange(1, len(values) + 1), shown, color=plots.PALETTE[_COLOURS[name]], label=name, linewidth=1.5)
    ticks = np.array([-1e4, -100, -10, -1, 0, 1, 10])
    ticks = ticks[(ticks >= min(kept[n].min() for n in ("bmrs-n", "bmrs-u8", "bmrs-u4")) * 3)]
    right.set_yticks(np.sign(ticks) * np.log10(1 + np.abs(ticks)), [f"{t:g}" for t in ticks])
    right.axhline(0, color="#555555", linewidth=0.8)
    tidy(right)
    right.set_xlabel("structures, by evidence")
    right.set_ylabel("log evidence ratio + prior odds (nats)")
    right.legend(fontsize=7.5)
    shares = ", ".join(f"{n} {np.mean(kept[n] >= 0):.0%}" for n in ("bmrs-n", "bmrs-u8", "bmrs-u4"))
    plots.title(right, f"Removed, at 0 nats or more: {shares}")


def structures_by_epoch(kept: Mapping[str, NDArray[Any]], ax: Axes | None = None) -> Axes:
    """Structures that bmrs-u4 would keep after each epoch of training, by layer, as shares of the layer."""
    ax = Figure(figsize=(6.0, 3.4), layout="constrained").subplots() if ax is None else ax
    left, layers = kept["left"], [str(n) for n in kept["layers"]]
    total = np.bincount(kept["layer"], minlength=len(layers))
    for i, name in enumerate(layers):
        share = 100 * left[:, i] / total[i]
        ax.plot(np.arange(1, len(left) + 1), share, color=plots.colour(i), label=f"{name} ({left[-1, i]} of {total[i]})")
    tidy(ax)
    whole_numbers(ax.xaxis)
    ax.set_ylim(0, 103)
    ax.set_xlabel("epoch")
    ax.set_ylabel("structures kept (%)")
    ax.legend(fontsize=7.5)
    plots.title(ax, f"bmrs-u4 would keep {left[-1].sum()} of {total.sum()} structures in the end")
    return ax


def draw(rows: Sequence[Mapping[str, Any]], kept: Sequence[Mapping[str, NDArray[Any]]], folder: Path) -> list[Path]:
    """All figures of an experiment, of the first seed where one must do; the files written."""
    with plots.style():
        pages = {"accuracy.png": accuracy_against_compression(rows).figure}
        first = next((k for k in kept if "mean" in k), None)
        if first is not None:
            pages["spectra.png"] = spectra(first)
            if "left" in first:
                pages["structures.png"] = structures_by_epoch(first).figure
        return [plots.save(figure, folder / name) for name, figure in pages.items()]
