"""The frontier of structured pruning: accuracy against compression over weights of the KL divergence, beside the published points.

    python benchmarks/pruning.py --data-dir DIR [--data mnist fashion-mnist] [--weights 10 30 200] [--seeds 3] [--out FILE.json]

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
from activebmr.pruning.experiment import preset
from activebmr.results import standard_error

PUBLISHED = {"mnist": ("BMRS_U-4", 0.876, 0.9666), "fashion-mnist": ("BMRS_U-4", 0.887, 0.8110)}
"""Wright et al. (2024), table 1, LeNet-5: compression and accuracy, mean of 10 runs."""


def one_run(data: str, folder: str, weight: float, seed: int) -> dict[str, Any]:
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
    name, share, right = PUBLISHED[data]
    print(f"\nLeNet-5, {data}\n")
    print("| KL weight | n | compression, % | accuracy, % | parameters | latency ratio |\n|---|---|---|---|---|---|")
    print(f"| published, {name} | 10 | {100 * share:.1f} | {100 * right:.2f} | - | - |")
    mine = [r for r in rows if r["data"] == data]
    for weight in sorted({r["weight"] for r in mine}):
        here = [r for r in mine if r["weight"] == weight]
        cells = [
            f"{scale * np.mean([r[k] for r in here]):.{d}f} +- {scale * standard_error(np.array([r[k] for r in here])):.{d}f}"
            for k, scale, d in (("compression", 100, 1), ("accuracy", 100, 2), ("parameters", 1, 0), ("latency_ratio", 1, 2))
        ]
        print(f"| {weight:g} | {len(here)} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--data", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--weights", nargs="+", type=float, default=[30.0, 200.0, 10.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/pruning-frontier.json"))
    parser.add_argument("--with", dest="reports", nargs="*", type=Path, default=[], help="report.json of the command")
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


if __name__ == "__main__":
    main()
