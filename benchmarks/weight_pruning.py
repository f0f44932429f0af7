"""What a posterior over weights costs: seconds a training step against plain Adam, and of model reduction itself.

    python benchmarks/weight_pruning.py [--model lenet] [--steps 30] [--rounds 5]

Images are random numbers of the size of Fashion-MNIST's, in batches of 120. Every round times Adam and all posteriors one
after the other, one thread, processor time; ratios are taken within a round. Then the evidence of a million weights is scored
and weighed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from activebmr.arrays import standard_error
from activebmr.pruning.data.images import ImageData
from activebmr.pruning.networks.for_weights import DENSE_NETWORKS, dense_network_named
from activebmr.pruning.weights.bayes import attach_posterior
from activebmr.pruning.weights.criteria import ByEvidence, SpikeAndSlab
from activebmr.pruning.weights.posterior import WeightPosterior

N = 60000
WAYS = ("adam", "ivon", "bbb-local", "bbb-global")


def stepper(way: str, model: str, data: ImageData) -> Callable[[], None]:
    """A function that makes one step of training."""
    x, y = data.x_train, data.y_train
    torch.manual_seed(0)
    net: nn.Module = dense_network_named(model, data)
    if way == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    elif way == "ivon":
        net = attach_posterior(net, way, n_examples=N)
        optimizer = net.optimizer()
    else:
        net = attach_posterior(net, way, sd=0.01)
        optimizer = net.optimizer()
    net.train()

    def step() -> None:
        loss = F.cross_entropy(net(x), y)
        if way.startswith("bbb"):
            loss = loss + net.kl() / N
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], steps: int) -> float:
    """Median processor time of a step."""
    for _ in range(3):
        step()
    found = []
    for _ in range(steps):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return float(np.median(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet", choices=DENSE_NETWORKS)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 1, 28, 28, generator=generator)
    y = torch.randint(10, (120,), generator=generator)
    data = ImageData("random", 10, x, y, x, y, x, y)
    rounds = [{way: seconds(stepper(way, options.model, data), options.steps) for way in WAYS} for _ in range(options.rounds)]
    print(f"{options.model}, batch of 120, one thread, median of {options.steps} steps, {options.rounds} rounds\n")
    print("| posterior | ms a step | ratio to Adam |\n|---|---|---|")
    for way in WAYS:
        ms = 1e3 * np.array([r[way] for r in rounds])
        ratio = np.array([r[way] / r["adam"] for r in rounds])
        print(f"| {way} | {ms.mean():.2f} +- {standard_error(ms):.2f} | {ratio.mean():.2f} +- {standard_error(ratio):.2f} |")
    million = torch.randn(1000, 1000, generator=generator)
    posterior = WeightPosterior({"a.weight": million, "b.weight": torch.randn(10, 1000)}, variance=torch.rand(1_010_000) + 1e-3)
    print("\nModel reduction of 1,010,000 weights, milliseconds\n\n| criterion | time |\n|---|---|")
    for criterion in (ByEvidence(), SpikeAndSlab()):
        times = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            criterion.select(posterior, 0)
            times.append(1e3 * (time.perf_counter() - start))
        print(f"| {criterion.name} | {np.mean(times):.0f} +- {standard_error(np.array(times)):.0f} |")


if __name__ == "__main__":
    main()
