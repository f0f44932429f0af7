"""`sparsify`: one call that gives any network a posterior, prunes it as it learns, and hands back the sparse network.

Markovic, Friston & Kiebel (2023), arXiv 2309.12095: train, prune, and go on in turns, each layer with a rate or scales of its
own. Their posterior is mean-field by gradients of its samples; ours is a natural-gradient one by default, which costs about as
much as Adam and learns as well (Shen et al. 2024).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.batches import Batches, Data, device_of, length_of_batch, tried
from activebmr.pruning.data.checks import runnable
from activebmr.pruning.weights.bayes import INFERENCES, BayesianModule, attach_posterior, rows_of
from activebmr.pruning.weights.criteria import ByEvidence, Horseshoe, SpikeAndSlab, WeightCriterion, check_criterion
from activebmr.pruning.weights.likelihoods import Likelihood, check_likelihood, likelihood_named
from activebmr.pruning.weights.settings import WeightFit, WeightTraining
from activebmr.pruning.weights.training import prune_weights

__all__ = ["SPARSE_CRITERIA", "Sparsified", "sparsify"]

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

    Example:
        >>> found = sparsify(net, data, epochs=6)
        >>> print(found.fit.outcome)
        >>> logits, samples = found.net(x), found.bayes.predict(x, samples=20)
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
    likelihood: str | Likelihood = "categorical",
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
    n_examples: int | None = None,
    batch_to: Callable[[Any], tuple[Any, Any]] | None = None,
) -> Sparsified:
    """Train a network with a Gaussian posterior over its weights and remove weights after every epoch.

    Args:
        net: any module; it is trained further from where it is. Running statistics of normalisation follow its training, under
            draws of the weights, and are taken anew at the end with the means (`refresh_statistics`). If it is in training
            mode, parts of it in evaluation mode stay so in training.
        data: inputs and targets as tensors, or a DataLoader of them (see `activebmr.pruning.data.batches.Batches`).
        likelihood: ``"categorical"`` (outputs are logits, targets class numbers, one for each example or for each of its
            places: see `Categorical`), ``"gaussian"`` (targets ``(n, n_out)``), or a likelihood.
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
        n_examples, batch_to: see `prune_weights`.

    Raises:
        TypeError, ValueError: see `attach_posterior` and `prune_weights`.

    Example:
        >>> found = sparsify(net, DataLoader(dataset, batch_size=120, shuffle=True))
        >>> print(found)
        >>> small = compact_weights(found.bayes, x[:2])
    """
    if isinstance(method, str):
        if method not in SPARSE_CRITERIA:
            near = checks.meant(method, SPARSE_CRITERIA)
            raise ValueError(f"method must be one of {list(SPARSE_CRITERIA)} or a criterion; got {method!r}{near}")
        method = SPARSE_CRITERIA[method]
    check_criterion(method, "method")
    runnable(net)
    checks.choice(inference, "inference", INFERENCES)
    epochs = checks.whole_from(epochs, "epochs", 1)
    if not (checks.is_whole(start) and 1 <= start <= epochs):
        raise ValueError(f"start must lie in 1..epochs; got {checks.brief(start)} and {epochs!r}")
    prior_variance = checks.number(prior_variance, "prior_variance", checks.POSITIVE)
    batch, seed = checks.whole_from(batch, "batch", 1), checks.whole_from(seed, "seed", 0)
    lr = None if lr is None else checks.number(lr, "lr", checks.POSITIVE)
    memory, learn_scales = checks.number(memory, "memory", checks.POSITIVE), checks.flag(learn_scales, "learn_scales")
    if not isinstance(likelihood, str):
        check_likelihood(likelihood)
    batches = Batches(data, n_examples=n_examples, batch_to=batch_to, device=device_of(net))
    rate = first_rate(batches.n, inference) if lr is None else lr
    settings = sparse_training(epochs, start, batch, inference, rate, learn_scales, memory, seed)
    first = None if inference == "ivon" else math.sqrt(prior_variance) * 0.05
    bayes = attach_posterior(
        net, inference, prior_variance=prior_variance, n_examples=batches.n, sd=first, hessian=first_hessian(batches.n)
    )
    if isinstance(likelihood, Likelihood):
        says = likelihood
    else:
        says = likelihood_named(likelihood, _n_out(bayes, batches) if likelihood == "gaussian" else 1, batches.n)
    fit = prune_weights(bayes, says, batches, settings, criterion=method, checkpoint=checkpoint, progress=progress, watch=watch)
    return Sparsified(bayes.write_means(), bayes, says, fit)


@torch.no_grad()
def _n_out(bayes: BayesianModule, batches: Batches) -> int:
    x, y = batches.first()
    outputs = tried(bayes, rows_of(x, length_of_batch(x, y), slice(2)), "data")
    return outputs.shape[-1] if isinstance(outputs, Tensor) and outputs.dim() > 1 else 1  # the likelihood refuses the rest


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
