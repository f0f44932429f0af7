"""Variational free energy of a network with a posterior, and scales of priors that lower it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from activebmr.pruning.data.batches import Batches, Data
from activebmr.pruning.weights.bayes import BayesianModule
from activebmr.pruning.weights.likelihoods import Likelihood

__all__ = ["free_energy", "learn_scales", "moments"]


@torch.no_grad()
def free_energy(
    bayes: BayesianModule,
    likelihood: Likelihood,
    data: Data | Batches,
    samples: int = 50,
    seed: int = 0,
    batch: int = 2000,
) -> float:
    """Variational free energy of all the data, nats: expected negative log likelihood + KL of weights + KL of the likelihood.

    Deterministic for variance back-propagation; otherwise the mean of so many draws (the same for the same seed).
    """
    if samples < 1 and bayes.inference != "vbp":
        raise ValueError(f"samples must be 1 or more for inference {bayes.inference!r}; got {samples}")
    batches = data if isinstance(data, Batches) else Batches(data)
    was = bayes.training
    bayes.train()
    for m in bayes.net.modules():  # draws of weights are those of training, dropout is no part of the posterior
        if isinstance(m, nn.modules.dropout._DropoutNd):
            m.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        total = sum(float(_nll(bayes, likelihood, x, y, samples)) for x, y in batches.in_order(batch))
    bayes.train(was)
    _drop_draw(bayes)
    return total + float(bayes.kl()) + float(likelihood.kl())


def _nll(bayes: BayesianModule, likelihood: Likelihood, x: Tensor, y: Tensor, samples: int) -> Tensor:
    if bayes.inference == "vbp":
        return likelihood.nll(*moments(bayes, x, y)).double().sum()
    return sum(likelihood.nll(bayes(x), y).double().sum() for _ in range(samples)) / samples  # type: ignore[return-value]


def moments(bayes: BayesianModule, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean of the outputs, targets, variance of the outputs, in the order in which likelihoods take them."""
    mean, variance = bayes.moments(x)
    return mean, y, variance


def _drop_draw(bayes: BayesianModule) -> None:
    if hasattr(bayes.posterior, "draw"):
        bayes.posterior.draw = None  # type: ignore[assignment]


@torch.no_grad()
def learn_scales(bayes: BayesianModule, shape: float = 2.0, rate: float = 2.0) -> dict[str, float]:
    """Set each layer's prior variance by its own weights, and return it: precision ~ Gamma(shape, rate), a conjugate update.

    (shape + n / 2) / (rate + sum of (variance + (mean - prior mean)^2) / 2) over the n weights of the layer that are left,
    after Markovic et al. (2023), whose c^-2 ~ Gamma(2, 2) has a log-normal posterior instead.
    """
    q, found = bayes.posterior, {}
    square = (q.raw_mean() - q.prior_mean) ** 2 + q.raw_variance()
    for layer, slices in q.layers.items():
        left = torch.cat([q.alive[slice(*s)] for s in slices])
        spread = torch.cat([square[slice(*s)] for s in slices])[left].double().sum()
        precision = (shape + 0.5 * float(left.sum())) / (rate + 0.5 * float(spread))
        for s in slices:
            q.prior_variance[slice(*s)] = 1 / precision
        found[layer] = 1 / precision
    return found
