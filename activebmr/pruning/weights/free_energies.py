"""Variational free energy of a network with a posterior, scales of priors that lower it, and statistics of normalisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.batches import Batches, Data, call, length_of_batch, tried
from activebmr.pruning.data.modes import Modes, evaluating
from activebmr.pruning.weights.bayes import BayesianModule, rows_of
from activebmr.pruning.weights.likelihoods import Likelihood, check_likelihood

__all__ = ["batches_for", "check_data", "free_energy", "learn_scales", "moments", "refresh_statistics"]


def batches_for(
    bayes: BayesianModule,
    data: Data | Batches,
    n_examples: int | None = None,
    batch_to: Callable[[Any], tuple[Any, Any]] | None = None,
) -> Batches:
    """Data in batches on the device of a posterior; `Batches` are taken as they are."""
    checks.an(BayesianModule)(bayes, "bayes")
    if not isinstance(data, Batches):
        return Batches(data, n_examples=n_examples, batch_to=batch_to, device=bayes.posterior.alive.device)
    if n_examples is not None or batch_to is not None:
        raise ValueError("n_examples and batch_to are for tensors and loaders; data are Batches, which have their own")
    return data


@torch.no_grad()
def free_energy(
    bayes: BayesianModule,
    likelihood: Likelihood,
    data: Data | Batches,
    samples: int = 50,
    seed: int = 0,
    batch: int = 2000,
    *,
    n_examples: int | None = None,
    batch_to: Callable[[Any], tuple[Any, Any]] | None = None,
) -> float:
    """Variational free energy of all the data, nats: expected negative log likelihood + KL of weights + KL of the likelihood.

    Deterministic for variance back-propagation; otherwise the mean of so many draws (the same for the same seed). Draws of
    weights are those of training; all else is as in evaluation: no dropout, batch normalisation by its running statistics.

    Args:
        bayes: network with a posterior; every module keeps its mode.
        likelihood: what its outputs say about targets.
        data: inputs and targets, or a loader of any form (see `activebmr.pruning.data.batches.Batches`).
        samples: draws, >= 1 (not needed for variance back-propagation).
        seed: of the draws.
        batch: examples at a time (a loader has its own).
        n_examples, batch_to: see `activebmr.pruning.data.batches.Batches`.

    Raises:
        TypeError: if ``bayes`` or the likelihood is none, or data are no pairs.
        ValueError: if ``samples`` is below 1, or data do not fit.

    Example:
        >>> free_energy(bayes, Categorical(), (x, y), samples=20)
    """
    checks.an(BayesianModule)(bayes, "bayes")
    check_likelihood(likelihood)
    samples, seed = checks.whole_number(samples, "samples"), checks.whole_number(seed, "seed", 0)
    if samples < 1 and bayes.inference != "vbp":
        raise ValueError(f"samples must be 1 or more for inference {bayes.inference!r}; got {samples}")
    batch = checks.whole_number(batch, "batch", 1)
    batches = batches_for(bayes, data, n_examples, batch_to)
    with evaluating(bayes), _own_numbers(bayes, seed):
        total, seen = 0.0, isinstance(data, Batches)  # training has seen to those
        if batches.loader is None and not seen:
            check_data(bayes, likelihood, *batches.first())
            seen = True
        for x, y in batches.in_order(batch):
            if not seen:
                check_data(bayes, likelihood, x, y)
                seen = True
            total += float(_nll(bayes, likelihood, x, y, samples))
    return total + float(bayes.kl()) + float(likelihood.kl())


@torch.no_grad()
def check_data(bayes: BayesianModule, likelihood: Likelihood, x: Any, y: Any) -> None:
    """Whether a network takes inputs, and targets fit what it gives out.

    Args:
        bayes: network with a posterior; every module keeps its mode.
        likelihood: what its outputs say about targets.
        x, y: a batch, of which the inputs of two examples are tried.

    Raises:
        TypeError, ValueError: if they do not fit; the message says what.
    """
    n = length_of_batch(x, y)
    few_x, few_y = rows_of(x, n, slice(2)), rows_of(y, n, slice(2))
    outputs, device = tried(bayes, few_x, "data"), bayes.posterior.alive.device
    with evaluating(bayes):
        if isinstance(outputs, Tensor) and isinstance(y, Tensor):
            if len(few_y) < n and (not outputs.dim() or len(outputs) != len(few_y)):
                raise ValueError(f"outputs must have a row for each of {len(few_y)} examples; got {tuple(outputs.shape)}")
            likelihood.check(y, outputs[:1].expand(len(y), *outputs.shape[1:]) if outputs.dim() else outputs)
        else:
            likelihood.check(few_y, outputs)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            loss = likelihood.nll(outputs, few_y)
    if not isinstance(loss, Tensor) or loss.shape != (length_of_batch(few_x, few_y),):
        got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"nll of the likelihood must have one number for each example (n,); got {got}")


@contextmanager
def _own_numbers(bayes: BayesianModule, seed: int) -> Iterator[None]:
    """Random numbers of this seed inside the block, on the posterior's device as well; afterwards those of before."""
    device = bayes.posterior.alive.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _nll(bayes: BayesianModule, likelihood: Likelihood, x: Any, y: Any, samples: int) -> Tensor:
    if bayes.inference == "vbp":
        return likelihood.nll(*moments(bayes, x, y)).double().sum()
    sampled: Any = bayes.sampled
    return sum(likelihood.nll(call(sampled, x), y).double().sum() for _ in range(samples)) / samples  # type: ignore[return-value]


@torch.no_grad()
def refresh_statistics(bayes: BayesianModule, data: Data | Batches, batch: int = 2000, seed: int = 0) -> int:
    """Take running statistics of normalisation anew, with the posterior's means as weights; returns of how many layers.

    In training they are averages over draws and over weights that have changed since; a network with the means needs its own.
    They become the mean over the batches of one epoch. Layers in evaluation mode, whose statistics are frozen, keep theirs.

    Args:
        bayes: network with a posterior; every module keeps its mode.
        data: see `free_energy`.
        batch: examples at a time, > 1 (a loader has its own).
        seed: of the order.

    Raises:
        TypeError, ValueError: as `free_energy` does.

    Example:
        >>> bayes = attach_posterior(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)))
        >>> refresh_statistics(bayes, data)
        1
    """
    batch, seed = checks.whole_from(batch, "batch", 2), checks.whole_number(seed, "seed", 0)
    batches = batches_for(bayes, data)
    kind = nn.modules.batchnorm._NormBase
    norms = [m for m in bayes.net.modules() if isinstance(m, kind) and m.training and m.running_mean is not None]
    if not norms:
        return 0
    modes, momenta, means = Modes(bayes), [m.momentum for m in norms], bayes.mean_weights()
    net: Any = lambda *args, **kwargs: bayes.with_weights(means, *args, **kwargs)  # noqa: E731
    bayes.eval()
    try:
        for m in norms:
            m.train()
            m.reset_running_stats()
        with _own_numbers(bayes, seed):
            for k, (x, _) in enumerate(batches.shuffled(batch)):
                if k == 0 and not isinstance(data, Batches):
                    tried(bayes, rows_of(x, length_of_batch(x), slice(2)), "data")
                if k and length_of_batch(x) == 1:  # there is no variance of one
                    continue
                for m in norms:
                    m.momentum = 1 / (k + 1)
                call(net, x)
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        modes.restore()
    return len(norms)


def moments(bayes: BayesianModule, x: Any, y: Any) -> tuple[Tensor, Any, Tensor]:
    """Mean of the outputs, targets, variance of the outputs, in the order in which likelihoods take them."""
    net: Any = bayes.moments
    mean, variance = call(net, x)
    return mean, y, variance


@torch.no_grad()
def learn_scales(bayes: BayesianModule, shape: float = 2.0, rate: float = 2.0) -> dict[str, float]:
    """Set each layer's prior variance by its own weights, and return it: precision ~ Gamma(shape, rate), a conjugate update.

    (shape + n / 2) / (rate + sum of (variance + (mean - prior mean)^2) / 2) over the n weights of the layer that are left,
    after Markovic et al. (2023), whose c^-2 ~ Gamma(2, 2) has a log-normal posterior instead.

    Raises:
        TypeError, ValueError: if ``bayes`` is none, or shape or rate is no finite number > 0.
    """
    checks.an(BayesianModule)(bayes, "bayes")
    shape, rate = checks.number(shape, "shape", checks.POSITIVE), checks.number(rate, "rate", checks.POSITIVE)
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
