"""`sparsify`: one call that gives any network a posterior, prunes it as it learns, and hands back the sparse network.

Markovic, Friston & Kiebel (2023), arXiv 2309.12095: train, prune, and go on in turns, each layer with a rate or scales of its
own. Their posterior is mean-field by gradients of its samples; ours is a natural-gradient one by default, which costs about as
much as Adam and learns as well (Shen et al. 2024).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from activebmr.pruning.data.batches import Batches, Data
from activebmr.pruning.structures.attach import attach_noise
from activebmr.pruning.structures.compaction import compact
from activebmr.pruning.weights.bayes import BayesianModule, attach_posterior
from activebmr.pruning.weights.criteria import ByEvidence, Horseshoe, SpikeAndSlab, WeightCriterion
from activebmr.pruning.weights.likelihoods import Likelihood, likelihood_named
from activebmr.pruning.weights.settings import WeightFit, WeightTraining
from activebmr.pruning.weights.training import prune_weights

__all__ = ["SPARSE_CRITERIA", "Sparsified", "compact_weights", "sparsify"]

SPARSE_CRITERIA: dict[str, WeightCriterion] = {"bmr": ByEvidence(), "bmr-ss": SpikeAndSlab(), "bmr-rhs": Horseshoe()}
"""Criteria by name: each weight for itself, spike-and-slab with a rate per layer, regularised horseshoe per row."""


@dataclass
class Sparsified:
    """What `sparsify` made.

    Attributes:
        net: the user's network, with the posterior's means as its weights and 0 where weights are removed.
        bayes: the network with its posterior: ``bayes.predict(x)`` draws from it.
        likelihood: what outputs say about targets, with what it has learned.
        fit: rounds, losses and how it ended.
    """

    net: nn.Module
    bayes: BayesianModule
    likelihood: Likelihood
    fit: WeightFit

    def __str__(self) -> str:
        q, shares = self.bayes.posterior, []
        for layer, slices in q.layers.items():
            alive = torch.cat([q.alive[slice(*s)] for s in slices])
            if len(alive) >= 0.01 * q.n:
                shares.append(f"{layer or 'net'} {1 - float(alive.double().mean()):.1%}")
        large = ", ".join(shares[:12]) + (", ..." if len(shares) > 12 else "")
        return f"{q.n_removed / q.n:.1%} of {q.n} weights removed ({large}); {self.fit.outcome}"


def sparsify(
    net: nn.Module,
    data: Data,
    likelihood: str = "categorical",
    *,
    method: str | WeightCriterion = "bmr-ss",
    inference: str = "ivon",
    epochs: int = 30,
    start: int = 5,
    batch: int = 120,
    lr: float | None = None,
    prior_variance: float = 0.1,
    learn_scales: bool = False,
    memory: float = 5.0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int, str], None] = False,
    watch: Callable[[int, BayesianModule, WeightFit], None] | None = None,
) -> Sparsified:
    """Train a network with a Gaussian posterior over its weights and remove weights after every epoch.

    Args:
        net: any module without tied weights and without running statistics; it is trained further from where it is.
        data: inputs and targets as tensors, or a DataLoader of them.
        likelihood: ``"categorical"`` (outputs are logits, targets class numbers) or ``"gaussian"`` (targets ``(n, n_out)``).
        method: one of `SPARSE_CRITERIA`, or a criterion.
        inference: ``"ivon"``, ``"bbb-local"``, ``"bbb-global"`` or ``"vbp"``; see `attach_posterior`.
        epochs: of training in all.
        start: epochs before the first removal, 1..epochs.
        batch: examples a step (a loader has its own).
        lr: learning rate, which falls to 0 as a cosine; by default see `first_rate`.
        prior_variance: of every weight, > 0.
        learn_scales: whether each layer's prior variance follows its weights once pruning has begun
            (`activebmr.pruning.weights.free_energies.learn_scales`).
        memory: epochs over which IVON averages curvature, > 0.
        seed: of batches and draws.
        checkpoint: file that keeps finished epochs; the same call goes on from there.
        progress: see `prune_weights`.
        watch: see `prune_weights`.

    Raises:
        TypeError, ValueError: see `attach_posterior` and `prune_weights`.

    Example:
        >>> found = sparsify(net, DataLoader(dataset, batch_size=120, shuffle=True))
        >>> print(found)
        >>> small = compact_weights(found.bayes, x[:2])
    """
    if isinstance(method, str):
        if method not in SPARSE_CRITERIA:
            raise ValueError(f"method must be one of {list(SPARSE_CRITERIA)} or a criterion; got {method!r}")
        method = SPARSE_CRITERIA[method]
    if not (isinstance(epochs, int) and isinstance(start, int) and 1 <= start <= epochs):
        raise ValueError(f"start must lie in 1..epochs; got {start!r} and {epochs!r}")
    if not 0 < prior_variance < math.inf:
        raise ValueError(f"prior_variance must be a finite number > 0; got {prior_variance}")
    batches = Batches(data)
    rate = first_rate(batches.n, inference) if lr is None else lr
    settings = sparse_training(epochs, start, batch, inference, rate, learn_scales, memory, seed)
    first = None if inference == "ivon" else math.sqrt(prior_variance) * 0.05
    bayes = attach_posterior(
        net, inference, prior_variance=prior_variance, n_examples=batches.n, sd=first, hessian=first_hessian(batches.n)
    )
    x, y = batches.first()
    with torch.no_grad():
        n_out = bayes.eval()(x[:1]).shape[-1]
    says = likelihood_named(likelihood, n_out, batches.n)
    says.to(x.device)
    fit = prune_weights(bayes, says, data, settings, criterion=method, checkpoint=checkpoint, progress=progress, watch=watch)
    return Sparsified(bayes.write_means(), bayes, says, fit)


def first_hessian(n_examples: int) -> float:
    """First Hessian of IVON with which weights begin with a standard deviation of about 0.013, whatever the number of examples:
    a wider one drowns the first weights of usual layers in noise.
    """
    return 6000.0 / n_examples


def first_rate(n_examples: int, inference: str) -> float:
    """Learning rate that goes with `first_hessian`: of IVON 0.1 for 60,000 examples and, by steps that are fewer and divided by
    larger Hessians, more for fewer; of Adam 5e-3.
    """
    return 0.1 * max(1.0, 60000 / n_examples) ** 0.5 if inference == "ivon" else 5e-3


def sparse_training(
    epochs: int, start: int, batch: int, inference: str, lr: float, learn_scales: bool, memory: float, seed: int
) -> WeightTraining:
    """Settings of a training that prunes after every epoch from ``start`` on."""
    return WeightTraining(
        epochs=start,
        retrain=1,
        rounds=epochs - start,
        batch=batch,
        lr=lr,
        schedule="cosine",
        stop=False,
        step_back=False,
        samples=0,
        scale_prior=(2.0, 2.0) if learn_scales else None,
        memory=memory,
        seed=seed,
    )


@torch.no_grad()
def compact_weights(bayes: BayesianModule, example_inputs: Any) -> nn.Module:
    """A really smaller network: without the units, channels and heads that removed weights have cut off.

    A structure can go if no weight that is left reads it, or if none feeds it and its output is always 0. Taking one away can
    cut off another, so this is repeated until nothing more can go. Sparse layers that keep all their structures stay as large
    as they are: 99 % of single weights may be gone without a single structure.

    Args:
        bayes: a network after pruning; it has the posterior's means as weights afterwards (`BayesianModule.write_means`).
        example_inputs: see `compact`.

    Raises:
        ValueError: if the network has no structure that could go (see `attach_noise`).
    """
    noisy = attach_noise(copy.deepcopy(bayes.write_means()))
    for name in noisy.sites:
        noise = noisy.of(name)
        noise.mu.fill_(0.0)  # theta is 1 to 9 digits
        noise.log_sigma.fill_(-20.0)
    modules = dict(noisy.net.named_modules())
    while True:
        gone, dead = noisy.gone(), {}
        for name, site in noisy.sites.items():
            noise = noisy.of(name)
            unread = _unread(site, modules, gone) if site.readers or site.kind == "heads" else torch.zeros_like(noise.alive)
            dead[name] = (unread | _unfed(noisy, name, modules)) & noise.alive
        if not any(noisy.remove(dead).values()):
            break
        for name, site in noisy.sites.items():  # what nobody reads is read no more by what is gone itself
            layer = modules[name]
            if site.kind != "heads" and isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                layer.weight[~noisy.of(name).alive] = 0
                if layer.bias is not None:
                    layer.bias[~noisy.of(name).alive] = 0
    noisy.eval()
    return compact(noisy, example_inputs)


def _unread(site: Any, modules: dict[str, nn.Module], gone: dict[str, Tensor]) -> Tensor:
    """Structures whose every reader has only zeros for them."""
    if site.kind == "heads":
        weight = modules[site.at].weight
        assert isinstance(weight, Tensor)
        return (weight == 0).all(dim=0).view(site.n, -1).all(dim=1)
    unread = torch.ones(site.n, dtype=torch.bool, device=gone[site.name].device)
    for reader, repeat in site.readers:
        weight = modules[reader].weight
        assert isinstance(weight, Tensor)
        unread &= (
            (weight == 0).flatten(2).all(dim=2).all(dim=0).view(site.n, repeat).all(dim=1)
            if weight.dim() > 2
            else ((weight == 0).all(dim=0).view(site.n, repeat).all(dim=1))
        )
    return unread


def _unfed(noisy: Any, name: str, modules: dict[str, nn.Module]) -> Tensor:
    """Structures whose weights and bias are all 0, where 0 stays 0 on the way out."""
    site, layer = noisy.sites[name], modules[name]
    if site.kind == "heads" or site.norm is not None or not isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
        return torch.zeros_like(noisy.of(name).alive)
    unfed = (layer.weight == 0).flatten(1).all(dim=1)
    if layer.bias is not None:
        unfed &= layer.bias == 0
    return unfed & _keeps_zero(noisy.net)


def _keeps_zero(net: nn.Module) -> bool:
    """Whether all activations of a network map 0 to 0."""
    odd = (nn.Sigmoid, nn.Softplus, nn.LogSigmoid, nn.Hardsigmoid, nn.Softmax)
    return not any(isinstance(m, odd) for m in net.modules())
