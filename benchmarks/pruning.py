"""The frontier of structured pruning: accuracy against compression over weights of the KL divergence.

    python benchmarks/pruning.py [--data-dir DIR] [--data mnist fashion-mnist] [--weights 10 30 200] [--seeds 3]
        [--out FILE.json] [--with REPORT.json ...] [--figure FILE.png]

LeNet-5 as in ``activebmr prune bmrs``, with other weights: trained with noise, pruned by bmrs-u4 once trained, fine-tuned with
the masks it has then. The weight of the preset itself is left to that command, which also compares the criteria; give its
``report.json`` with ``--with`` to have it in the table. Finished runs are kept in ``--out``, and not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from activebmr import plots
from activebmr.arrays import standard_error
from activebmr.pruning import (
    accuracy,
    attach_noise,
    compact,
    compare,
    compression,
    criterion_named,
    fit,
    load_images,
    network_named,
    prune,
)
from activebmr.pruning.experiments.bmrs import preset

PUBLISHED = {
    "mnist": {
        "none": (0.0, 0.9907),
        "mean": (0.883, 0.5130),
        "snr": (0.927, 0.6270),
        "bmrs-n": (0.869, 0.9559),
        "bmrs-u8": (0.861, 0.9527),
        "bmrs-u4": (0.876, 0.9666),
    },
    "fashion-mnist": {
        "none": (0.0, 0.8916),
        "mean": (0.897, 0.5093),
        "snr": (0.985, 0.1701),
        "bmrs-n": (0.880, 0.7790),
        "bmrs-u8": (0.876, 0.7723),
        "bmrs-u4": (0.887, 0.8110),
    },
}
"""Wright et al. (2024), table 1, LeNet-5: compression and accuracy by criterion, mean of 10 runs."""


def one_run(data: str, folder: str | None, weight: float, seed: int) -> dict[str, Any]:
    """Train, prune, fine-tune and measure one network."""
    torch.set_num_threads(1)
    images = load_images(data, folder, seed=seed)
    settings = replace(preset(data, "lenet5"), weight=weight, seed=seed)
    torch.manual_seed(seed)
    noisy = attach_noise(network_named("lenet5", images))
    pairs = (images.x_train, images.y_train), (images.x_val, images.y_val)
    fit(noisy, pairs[0], replace(settings, fine_tune=0), validation=pairs[1])
    prune(noisy, criterion_named("bmrs-u4"))
    fit(noisy, pairs[0], replace(settings, epochs=settings.fine_tune, fine_tune=0, weight=1.0, warm_up=0), validation=pairs[1])
    small = compact(noisy, images.x_test[:2])
    found = compare(noisy.net, small, images.x_test[:100])
    return {
        "data": data,
        "weight": weight,
        "seed": seed,
        "accuracy": accuracy(small, images.x_test, images.y_test),
        "compression": compression(noisy),
        "parameters": found.after.parameters,
        "latency_ratio": found.latency_ratio,
        "structures_left": {n: int(noisy.of(n).alive.sum()) for n in noisy.sites},
    }


def missing(options: argparse.Namespace, rows: list[dict[str, Any]]) -> Iterator[tuple[str, float, int]]:
    done = {(r["data"], r["weight"], r["seed"]) for r in rows}
    for weight in options.weights:
        for data in options.data:
            for seed in range(options.seeds):
                if (data, weight, seed) not in done:
                    yield data, weight, seed


def table(rows: list[dict[str, Any]], data: str) -> None:
    share, right = PUBLISHED[data]["bmrs-u4"]
    print(f"\nLeNet-5, {data}\n")
    print("| KL weight | n | compression, % | accuracy, % | parameters | latency ratio |\n|---|---|---|---|---|---|")
    print(f"| published, bmrs-u4 | 10 | {100 * share:.1f} | {100 * right:.2f} | - | - |")
    mine = [r for r in rows if r["data"] == data]
    for weight in sorted({r["weight"] for r in mine}):
        here = [r for r in mine if r["weight"] == weight]
        cells = [
            f"{scale * np.mean([r[k] for r in here]):.{d}f} +- {scale * standard_error(np.array([r[k] for r in here])):.{d}f}"
            for k, scale, d in (("compression", 100, 1), ("accuracy", 100, 2), ("parameters", 1, 0), ("latency_ratio", 1, 2))
        ]
        print(f"| {weight:g} | {len(here)} | {' | '.join(cells)} |")


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against compression, and what was published."""
    with plots.style():
        names = [d for d in PUBLISHED if any(r["data"] == d for r in rows)]
        page = Figure(figsize=(4.5 * len(names), 3.8), layout="constrained")
        for ax, data in zip(page.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            _panel(ax, [r for r in rows if r["data"] == data], data)
        plots.save(page, path)


def _panel(ax: Axes, rows: list[dict[str, Any]], data: str) -> None:
    weights = sorted({r["weight"] for r in rows})
    points = []
    for weight in weights:
        here = [r for r in rows if r["weight"] == weight]
        x, y = (100 * np.array([r[k] for r in here]) for k in ("compression", "accuracy"))
        ax.plot(x, y, "o", color=plots.PALETTE["blue"], alpha=0.3, markersize=3.5)
        points.append((x.mean(), y.mean(), standard_error(x), standard_error(y)))
        ax.annotate(f"{weight:g}", (x.mean(), y.mean()), xytext=(4, 5), textcoords="offset points", fontsize=7.5)
    x, y, dx, dy = np.array(points).T
    label = "ours, bmrs-u4, by KL weight"
    ax.errorbar(x, y, dy, dx, "o-", color=plots.PALETTE["blue"], capsize=2, markersize=5, linewidth=1.2, label=label)
    shown = {n: (100 * c, 100 * a) for n, (c, a) in PUBLISHED[data].items() if n.startswith("bmrs") or n == "none"}
    ax.plot(*np.array(list(shown.values())).T, "D", color=plots.PALETTE["vermilion"], markersize=4.5, label="published")
    ax.annotate("dense", shown["none"], xytext=(5, -3), textcoords="offset points", fontsize=7.5)
    below = {n: 100 * PUBLISHED[data][n][1] for n in ("mean", "snr")}
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xlabel("compression (% of parameters)")
    ax.set_ylabel("accuracy on test images (%)")
    ax.legend(loc="lower left", fontsize=7.5)
    best = max((p for p in points if p[0] >= shown["bmrs-u4"][0]), key=lambda p: p[1], default=points[-1])
    rest = ", ".join(f"{n} {v:.0f}%" for n, v in below.items())
    plots.title(
        ax,
        f"LeNet-5, {data}: {best[1]:.2f}% right with {best[0]:.1f}% removed (published: {shown['bmrs-u4'][1]:.1f}% "
        f"with {shown['bmrs-u4'][0]:.1f}%; not shown: {rest})",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="folder of the images; without it they are downloaded once")
    parser.add_argument("--data", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--weights", nargs="+", type=float, default=[30.0, 200.0, 10.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/pruning-frontier.json"))
    parser.add_argument("--with", dest="reports", nargs="*", type=Path, default=[], help="report.json of the command")
    parser.add_argument("--figure", type=Path, help="draw it, too")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = json.loads(options.out.read_text()) if options.out.exists() else []
    for data, weight, seed in missing(options, rows):
        rows.append(one_run(data, options.data_dir, weight, seed))
        options.out.write_text(json.dumps(rows, indent=1))
        print({k: v for k, v in rows[-1].items() if k != "structures_left"}, flush=True)
    for path in options.reports:
        report = json.loads(path.read_text())
        settings = {"data": report["settings"]["data"], "weight": report["settings"]["training"]["weight"]}
        rows += [r | settings for r in report["rows"] if r["criterion"] == "bmrs-u4"]
    for data in options.data:
        table(rows, data)
    if options.figure is not None:
        figure(rows, options.figure)


if __name__ == "__main__":
    main()
