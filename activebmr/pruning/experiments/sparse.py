"""The experiment of ``activebmr prune sparse``: image classifiers made sparse by model reduction, and what they compare with.

``map``: the network itself, with dropout 0.2 and Adam; ``flat``: a Gaussian posterior under the flat prior, never pruned;
``horseshoe``: a mean-field posterior under a regularised horseshoe; ``bmr-ss`` and ``bmr-rhs``: posteriors pruned after every
epoch, by spike-and-slab or horseshoe hyper-priors (Markovic, Friston & Kiebel 2023). ``flat``, ``bmr-ss`` and ``bmr-rhs`` are
found by natural gradients, or by those of samples as in the paper (``inference="bbb-local"``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.images import IMAGE_SHAPES, ImageData, load_images
from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.experiments.keeping import keep_json, kept_json
from activebmr.pruning.experiments.metrics import classification_metrics, removable_structures, sparsity_by_layer
from activebmr.pruning.experiments.runs import Tell, epoch_seconds, run_all, saying
from activebmr.pruning.networks.for_weights import DENSE_NETWORKS, dense_network_named
from activebmr.pruning.structures.training import Training, fit
from activebmr.pruning.weights.bayes import INFERENCES, BayesianModule, attach_posterior
from activebmr.pruning.weights.compacting import compact_weights
from activebmr.pruning.weights.criteria import WeightCriterion
from activebmr.pruning.weights.horseshoe import HorseshoeModule
from activebmr.pruning.weights.likelihoods import Categorical
from activebmr.pruning.weights.settings import WeightFit, WeightTraining
from activebmr.pruning.weights.sparsify import SPARSE_CRITERIA, first_hessian, first_rate, sparse_training
from activebmr.pruning.weights.training import prune_weights

__all__ = ["SPARSE_METHODS", "SparseExperiment", "run_sparse", "run_sparse_seed", "sparse_preset"]

SPARSE_METHODS = ("map", "flat", "horseshoe", "bmr-ss", "bmr-rhs")
SAMPLES = 100
"""Draws of the weights for what a row says of the test images."""
TRACE_SAMPLES, TRACE_IMAGES = 5, 1000
"""Draws and test images for what is drawn by epoch."""
DROPOUT = 0.2


@dataclass(frozen=True)
class SparsePreset:
    """Settings of a data set and a network.

    Attributes:
        epochs: of training.
        start: epochs before the first removal.
        batch: images a step.
        lr_map: learning rate of Adam for the network itself.
        lr: of posteriors; None for `first_rate`.
        prior_variance: first, of every weight.
        memory: epochs over which IVON averages curvature.
        learn_scales: whether each layer's prior variance follows its weights once pruning has begun.
    """

    epochs: int = 25
    start: int = 4
    batch: int = 120
    lr_map: float = 1e-3
    lr: float | None = None
    prior_variance: float = 0.1
    memory: float = 5.0
    learn_scales: bool = False


_PRESETS = {
    "mlp": SparsePreset(),
    "lenet": SparsePreset(epochs=30, prior_variance=0.3, memory=10.0, learn_scales=True),
}


def sparse_preset(data: str, model: str) -> SparsePreset:
    """Settings that go with a data set and a network; those of the MLP for networks that were not measured."""
    if data == "digits":  # so few images say little of a layer's scale: learned scales shrink everything
        return SparsePreset(epochs=100, start=30, batch=32, prior_variance=0.3)
    return _PRESETS.get(model, SparsePreset())


@dataclass(frozen=True)
class SparseExperiment:
    """What to run.

    Attributes:
        data: name of a data set of images.
        model: name of a network (`activebmr.pruning.networks.for_weights`).
        methods: names of methods, in the order of the report.
        inference: of ``flat``, ``bmr-ss`` and ``bmr-rhs``.
        settings: of training.
        data_dir: folder of the data, or None.
    """

    data: str = "digits"
    model: str = "mlp"
    methods: tuple[str, ...] = SPARSE_METHODS
    inference: str = "ivon"
    settings: SparsePreset = SparsePreset()
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("data", self.data, list(IMAGE_SHAPES)),
            ("model", self.model, list(DENSE_NETWORKS)),
            ("inference", self.inference, [i for i in INFERENCES if i != "vbp"]),
            *(("method", name, list(SPARSE_METHODS)) for name in self.methods),
        ):
            checks.choice(value, what, known)
        if not 1 <= self.settings.start <= self.settings.epochs:
            raise ValueError(f"start must lie in 1..epochs; got {self.settings.start} and {self.settings.epochs}")


def run_sparse(
    experiment: SparseExperiment,
    seeds: int,
    folder: Path | None = None,
    *,
    jobs: int = 1,
    tell: Tell | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, NDArray[Any]]]]:
    """All seeds: rows of the report, and by seed what figures need; arguments as for `run_experiment`."""
    runs = [(f"seed-{seed}", seed) for seed in range(seeds)]
    return run_all(run_sparse_seed, experiment, "methods", "method", runs, folder, load=_load, jobs=jobs, tell=tell)


def run_sparse_seed(
    experiment: SparseExperiment,
    seed: int,
    folder: Path | None = None,
    tell: Tell | None = None,
    data: ImageData | None = None,
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Rows and arrays of one seed. Data are read by default."""
    data = _load(experiment, seed) if data is None else data
    rows, arrays = [], {}
    for name in experiment.methods:
        one = _OneMethod(experiment, name, seed, data, folder, tell)
        rows.append(one.row())
        arrays |= {f"{name}_{k}": np.array(v) for k, v in one.trace_arrays().items()}
    return rows, arrays


def _load(experiment: SparseExperiment, seed: int) -> ImageData:
    return load_images(experiment.data, experiment.data_dir, validation=0.0, seed=seed)


class _OneMethod:
    """One method and seed."""

    def __init__(
        self,
        experiment: SparseExperiment,
        name: str,
        seed: int,
        data: ImageData,
        folder: Path | None,
        tell: Tell | None,
    ) -> None:
        self.experiment, self.name, self.seed, self.data, self.folder, self.tell = experiment, name, seed, data, folder, tell
        self.settings = experiment.settings
        path = self._path("trace.json")
        self.trace: dict[str, dict[str, float]] = {} if path is None else kept_json(path)

    def _path(self, kind: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.name}-{kind}"

    def _network(self, dropout: float = 0.0) -> nn.Module:
        torch.manual_seed(self.seed)
        return dense_network_named(self.experiment.model, self.data, dropout)

    def _say(self) -> Any:
        return saying(self.tell, f"seed {self.seed}", self.name)

    # --- training --------------------------------------------------------------------------------------------------------
    def row(self) -> dict[str, Any]:
        return self._map_row() if self.name == "map" else self._bayes_row()

    def _map_row(self) -> dict[str, Any]:
        s, net = self.settings, self._network(DROPOUT)
        training = Training(
            epochs=s.epochs, fine_tune=0, batch=s.batch, lr=s.lr_map, weight=0.0, schedule="cosine", seed=self.seed
        )

        def watch(epoch: int, model: nn.Module) -> None:
            x, y = self._some()
            self._keep(epoch + 1, classification_metrics(_log_probabilities(model, x), y), 0.0)

        pair = self.data.x_train, self.data.y_train
        found = fit(net, pair, training, checkpoint=self._path("run.pt"), progress=self._say(), watch=watch)
        if found.interrupted:
            raise KeyboardInterrupt
        scores = classification_metrics(_log_probabilities(net, self.data.x_test), self.data.y_test)
        n = sum(p.numel() for p in net.parameters())
        return self._row(scores, found.seconds) | {"removed": 0.0, "parameters": n, "compact_parameters": n}

    def _posterior(self) -> tuple[BayesianModule, WeightCriterion | None, WeightTraining]:
        s, inference = self.settings, self.experiment.inference
        if self.name == "horseshoe":
            bayes: BayesianModule = HorseshoeModule(self._network())
            return bayes, None, replace(self._schedule("bbb-local"), epochs=s.epochs, rounds=0, scale_prior=None)
        first = None if inference == "ivon" else 0.05 * s.prior_variance**0.5
        n = len(self.data.x_train)
        bayes = attach_posterior(
            self._network(), inference, prior_variance=s.prior_variance, sd=first, n_examples=n, hessian=first_hessian(n)
        )
        if self.name == "flat":
            return bayes, None, replace(self._schedule(inference), epochs=s.epochs, rounds=0, scale_prior=None)
        return bayes, SPARSE_CRITERIA[self.name], self._schedule(inference)

    def _schedule(self, inference: str) -> WeightTraining:
        s = self.settings
        lr = first_rate(len(self.data.x_train), inference) if s.lr is None else s.lr
        return sparse_training(s.epochs, s.start, s.batch, inference, lr, s.learn_scales, s.memory, self.seed)

    def _bayes_row(self) -> dict[str, Any]:
        bayes, criterion, training = self._posterior()

        def watch(epoch: int, model: BayesianModule, fit: WeightFit) -> None:
            x, y = self._some()
            q = model.posterior
            scores = classification_metrics(model.predict(x, TRACE_SAMPLES).log_softmax(dim=-1), y)
            self._keep(epoch, scores, q.n_removed / q.n)

        found = prune_weights(
            bayes,
            Categorical(),
            (self.data.x_train, self.data.y_train),
            training,
            criterion=criterion,
            checkpoint=self._path("run.pt"),
            progress=self._say(),
            watch=watch,
        )
        if found.interrupted:
            raise KeyboardInterrupt
        scores = self._scores(bayes)
        alive = bayes.alive()
        counts = removable_structures(alive)
        smaller = compact_weights(bayes, self.data.x_test[:2]) if self.name.startswith("bmr") else bayes.net
        return self._row(scores, found.seconds) | {
            "removed": bayes.posterior.n_removed / bayes.posterior.n,
            "removed_by_layer": sparsity_by_layer(alive),
            "sizes_by_layer": {name: mask.numel() for name, mask in alive.items()},
            "parameters": int(bayes.posterior.alive.sum()),
            "compact_parameters": sum(p.numel() for p in smaller.parameters()),
            "structures": sum(c["n_rows"] for c in counts.values()),
            "dead_structures": sum(c["rows"] for c in counts.values()),
            "outcome": found.outcome,
        }

    # --- scores ----------------------------------------------------------------------------------------------------------
    def _scores(self, bayes: BayesianModule) -> dict[str, float]:
        """Of all test images, in parts, because samples take memory."""
        x, y = self.data.x_test, self.data.y_test
        parts = [bayes.predict(x[i : i + 2000], SAMPLES).log_softmax(dim=-1) for i in range(0, len(x), 2000)]
        return classification_metrics(torch.cat(parts, dim=1), y)

    def _some(self) -> tuple[Tensor, Tensor]:
        return self.data.x_test[:TRACE_IMAGES], self.data.y_test[:TRACE_IMAGES]

    def _keep(self, epoch: int, scores: dict[str, float], removed: float) -> None:
        self.trace[str(epoch)] = scores | {"removed": removed}
        path = self._path("trace.json")
        if path is not None:
            keep_json(path, self.trace)

    def trace_arrays(self) -> dict[str, list[float]]:
        epochs = sorted(map(int, self.trace))
        found: dict[str, list[float]] = {"epoch": [float(e) for e in epochs]}
        for key in ("accuracy", "nll", "ece", "removed"):
            found[key] = [self.trace[str(e)][key] for e in epochs]
        return found

    def _row(self, scores: dict[str, float], seconds: list[float]) -> dict[str, Any]:
        inference = {"map": "adam", "horseshoe": "bbb-local"}.get(self.name, self.experiment.inference)
        row = {"method": self.name, "seed": self.seed, "inference": inference, **scores}
        return row | {"epoch_seconds": epoch_seconds(seconds)}


@torch.no_grad()
def _log_probabilities(net: nn.Module, x: Tensor) -> Tensor:
    with evaluating(net):
        return torch.cat([net(x[i : i + 2000]) for i in range(0, len(x), 2000)]).double().log_softmax(dim=-1)
