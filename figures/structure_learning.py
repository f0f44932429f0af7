"""Which zeros of sparse likelihoods are found, and what it is worth: ``python figures/structure_learning.py`` draws
``figures/structure_learning.png`` (about 20 s)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from activebmr import plots
from activebmr.arrays import standard_error
from activebmr.reduction.search.single_parameters import SingleParameters

SIZES = (20, 40, 60, 100, 200, 600, 2000)
SHARES = {0.1: ("orange", "o"), 0.25: ("blue", "s"), 0.5: ("green", "D"), 0.0: ("grey", "^")}
TABLES, SEED, FEW = 64, 0, 8

HERE = Path(__file__)
_spec = importlib.util.spec_from_file_location("structure_learning_benchmark", HERE.parents[1] / "benchmarks" / HERE.name)
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


def curves(ax: Axes, got: dict[float, np.ndarray], column: int) -> None:
    """Mean and standard error over tables against data size; a mean of a few tables only is left out."""
    for share, rows in got.items():
        colour, marker = SHARES[share]
        values = rows[:, :, column]
        defined = [v[~np.isnan(v)] for v in values]
        at = [j for j, v in enumerate(defined) if len(v) >= FEW]
        middle, error = ([f(defined[j]) for j in at] for f in (np.mean, standard_error))
        look = {"color": plots.PALETTE[colour], "marker": marker, "ms": 3.5, "lw": 1.1, "capsize": 2, "clip_on": False}
        ax.errorbar(np.array(SIZES)[at], middle, error, **look)
    ax.set_xscale("log")
    ax.set_xticks((20, 60, 200, 600, 2000), ["20", "60", "200", "600", "2000"])
    ax.minorticks_off()
    ax.grid(axis="y", lw=0.4, color="#DDDDDD")
    ax.spines[["top", "right"]].set_visible(False)


def heat(ax: Axes, probabilities: np.ndarray, title: str):
    image = ax.imshow(probabilities, cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")
    ax.set_xlabel("state")
    ax.set_xticks([0, 9, 19], ["1", "10", "20"])
    ax.set_yticks(range(len(probabilities)), [str(i + 1) for i in range(len(probabilities))])
    plots.title(ax, title)
    return image


def dots(ax: Axes, where: np.ndarray, marker: str, colour: str, size: float) -> None:
    rows, columns = np.nonzero(where)
    ax.scatter(columns, rows, s=size, marker=marker, c=plots.PALETTE[colour], linewidths=0.9)


def example(axes: list[Axes]) -> None:
    """A likelihood with 25 % zeros after 60 observations of each state."""
    rng = np.random.default_rng(1)
    truth, zero = benchmark.random_table(rng, 8, 20, 0.25)
    prior = np.ones(truth.shape)
    posterior = prior + benchmark.observations(rng, truth, 60, False)
    found = SingleParameters().reduce(posterior[None], prior)
    after, removed = found.posterior[0], found.removed[0]
    gain = benchmark.held_out(truth, after) - benchmark.held_out(truth, posterior)
    image = heat(axes[0], truth, "Truth: • entries that are zero")
    dots(axes[0], zero, "o", "black", 4)
    axes[0].set_ylabel("outcome")
    heat(axes[1], posterior / posterior.sum(axis=0), "Before: nothing is ruled out after 60 observations of each state")
    heat(
        axes[2],
        after / after.sum(axis=0),
        f"After: {(removed & zero).sum()} of {zero.sum()} zeros removed (•), {(removed & ~zero).sum()} by mistake (×); "
        f"{gain:.3f} nats gained",
    )
    dots(axes[2], removed & zero, "o", "black", 4)
    dots(axes[2], removed & ~zero, "x", "vermilion", 14)
    bar = axes[2].figure.colorbar(image, ax=axes[2], fraction=0.05, aspect=25, ticks=[0, 0.01, 0.1, 0.3, 1])
    bar.set_ticklabels(["0", "0.01", "0.1", "0.3", "1"])
    bar.set_label("probability of outcome")


def main() -> None:
    method = benchmark.by()
    state, table = (
        {
            share: np.stack([benchmark.recover(method, share, n, whole, TABLES, SEED) for n in SIZES])
            for share in sorted(SHARES, reverse=True)
        }
        for whole in (False, True)
    )
    with plots.style():
        figure = Figure(figsize=(9.0, 6.3), layout="constrained")
        figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06, hspace=0.04, wspace=0.03)
        upper, lower = figure.subfigures(2, 1, height_ratios=(1.05, 1))
        panels = upper.subplots(1, 4)
        sparse = {share: rows for share, rows in state.items() if share > 0}
        gain = "gain, nats per observation"
        drawn = ((sparse, 1, "recall"), (sparse, 0, "precision"), (state, 2, gain), (table, 2, gain))
        for ax, (got, column, name) in zip(panels, drawn, strict=True):
            curves(ax, got, column)
            ax.set_ylabel(name)
            ax.set_xlabel("observations of each state" if got is not table else "observations of all states")
        for ax in panels[:2]:
            ax.set_ylim(0, 1.02)
        for ax in panels[2:]:
            ax.axhline(0, color=plots.PALETTE["black"], lw=0.6, zorder=0)
        figure.draw_without_rendering()
        plots.title(panels[0], "Zeros that are found, of those there are")
        plots.title(panels[1], "Removed entries that are zeros")
        plots.title(panels[2], "Held-out observations become likelier ...")
        plots.title(panels[3], "... and no less likely where data are few")
        handles = [
            Line2D(
                [], [], color=plots.PALETTE[c], marker=m, ms=3.5, lw=1.1, label=f"{share:.0%} zeros" if share else "no zeros"
            )
            for share, (c, m) in SHARES.items()
        ]
        handles.append(Line2D([], [], ls="", label=f"mean ± standard error over {TABLES} random tables"))
        upper.legend(handles=handles, loc="outside lower center", ncols=5)
        images = lower.subplots(1, 3, width_ratios=(1, 1, 1.0))
        figure.draw_without_rendering()
        example(list(images))
        figure.suptitle(
            "Structure learning without a list: entries of sparse likelihoods that are not there",
            x=0.01, ha="left", fontsize=11, weight="bold",
        )  # fmt: skip
        figure.savefig(HERE.with_suffix(".png"), dpi=125, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
