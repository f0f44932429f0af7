"""The experiments of the command ``activebmr prune bmrs``: train, prune by several criteria, compact, and report.

For every seed a network is trained without noise (``none``) and one with it. Schedule ``"after"``: the noisy one is trained
once, and every criterion prunes a copy of it, which is then fine-tuned. ``"continuous"``: each criterion has a training of its
own, in which it prunes after every epoch (Wright et al. 2024). ``"ranked"``: as after, but structures go a few at a time with
fine-tuning in between. `L2Norm` and `RandomRank` only rank: they remove as many structures as ``bmrs-n`` does.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from activebmr import checks
from activebmr.pruning.data.images import ImageData, load_images
from activebmr.pruning.experiments.keeping import keep_json, kept_json
from activebmr.pruning.experiments.measuring import compare
from activebmr.pruning.experiments.runs import Tell, epoch_seconds, run_all, saying
from activebmr.pruning.networks.for_structures import network_named
from activebmr.pruning.structures.attach import attach_noise
from activebmr.pruning.structures.compaction import compact
from activebmr.pruning.structures.criteria import Criterion, criterion_named
from activebmr.pruning.structures.noisy import NoisyModule
from activebmr.pruning.structures.schedules import compression, prune, prune_ranked, prune_share
from activebmr.pruning.structures.training import Training, accuracy, fit

__all__ = ["CRITERIA", "SCHEDULES", "Experiment", "preset", "run_experiment", "run_seed"]

CRITERIA = ("none", "l2", "mean", "snr", "bmrs-n", "bmrs-u8", "bmrs-u4")
"""Criteria of the reports. ``none`` is the network without noise; ``bmrs-n`` the released rule, see `RELEASED_ODDS`."""
SCHEDULES = ("after", "continuous", "ranked")
MEASURED_EXAMPLES = 100
"""Examples in the batch whose latency is measured."""

_SMALL = Training(epochs=100, fine_tune=20, batch=32, lr=5e-3, noise_lr=5e-2, weight=1.4, warm_up=10, prune_from=20)
_LENET = Training(epochs=16, fine_tune=4, lr=1e-3, noise_lr=1e-2, weight=100.0, warm_up=4, prune_from=6)
_MLP = Training(epochs=25, fine_tune=4, lr=1e-3, noise_lr=1e-2, weight=20.0, warm_up=5, prune_from=8)
_PRESETS = {
    ("digits", "mlp"): _SMALL,
    ("digits", "lenet5"): replace(_SMALL, epochs=60, lr=2e-3, noise_lr=2e-2),
    ("mnist", "mlp"): _MLP,
    ("mnist", "lenet5"): replace(_LENET, weight=80.0, fine_tune=8),
    ("fashion-mnist", "mlp"): replace(_MLP, lr=1.5e-3, noise_lr=1.5e-2),
    ("fashion-mnist", "lenet5"): replace(_LENET, weight=75.0),
}


def preset(data: str, model: str) -> Training:
    """Settings of training that go with a data set and a network; others than the measured ones begin with those of LeNet-5."""
    return replace(_PRESETS.get((data, model), Training(epochs=20, fine_tune=5, weight=10.0)), schedule="cosine")


@dataclass(frozen=True)
class Experiment:
    """What to run.

    Attributes:
        data: name of a data set.
        model: name of a network.
        criteria: names of criteria, in the order of the report.
        schedule: see the module.
        training: settings of training; the seed is set for each run.
        data_dir: folder of the data, or None.
    """

    data: str = "digits"
    model: str = "mlp"
    criteria: tuple[str, ...] = CRITERIA
    schedule: str = "after"
    training: Training = field(default_factory=Training)
    data_dir: str | None = None

    def __post_init__(self) -> None:
        for name in self.criteria:
            if name != "none":
                criterion_named(name)
        checks.choice(self.schedule, "schedule", SCHEDULES)


def run_seed(
    experiment: Experiment, seed: int, folder: Path | None = None, tell: Tell | None = None, data: ImageData | None = None
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Rows of the report for one seed, and what its figures need.

    Args:
        experiment: what to run.
        seed: of the split, of weights, batches and noise.
        folder: where epochs are kept, so that an interrupted run goes on; None keeps nothing.
        tell: called with a line after every epoch.
        data: images; by default they are read.
    """
    run = _Run(experiment, seed, _load(experiment, seed) if data is None else data, folder, tell)
    rows = []
    for name in _with_rates_first(experiment.criteria):
        rows.append(run.dense_row() if name == "none" else run.row(name))
    order = {name: i for i, name in enumerate(experiment.criteria)}
    return sorted(rows, key=lambda r: order[r["criterion"]]), run.kept


def _load(experiment: Experiment, seed: int) -> ImageData:
    return load_images(experiment.data, experiment.data_dir, seed=seed)


def _with_rates_first(criteria: Sequence[str]) -> list[str]:
    """``bmrs-n`` before what only ranks and needs its rate."""
    return sorted(criteria, key=lambda name: name != "none" and not criterion_named(name).decides)


class _Run:
    """One seed of an experiment."""

    def __init__(self, experiment: Experiment, seed: int, data: ImageData, folder: Path | None, tell: Tell | None) -> None:
        self.experiment, self.seed, self.data, self.folder, self.tell = experiment, seed, data, folder, tell
        self.training = replace(experiment.training, seed=seed)
        self.kept: dict[str, NDArray[Any]] = {}
        self._rate: float | None = None
        self.dense = self._network()
        self.dense_seconds = self._fit(self.dense, "dense", self.training)
        self.accuracy_dense = accuracy(self.dense, data.x_test, data.y_test)
        self._noisy: NoisyModule | None = None
        self._noisy_seconds: float | None = None
        self._tuned: dict[bytes, NoisyModule] = {}

    def _network(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return network_named(self.experiment.model, self.data)

    def _fit(
        self, net: NoisyModule | nn.Module, name: str, training: Training, criterion: Criterion | None = None, watch: Any = None
    ) -> float | None:
        """Train; median seconds of an epoch."""
        checkpoint = None if self.folder is None else self.folder / f"{name}.pt"
        result = fit(
            net,
            (self.data.x_train, self.data.y_train),
            training,
            criterion=criterion,
            validation=(self.data.x_val, self.data.y_val),
            checkpoint=checkpoint,
            progress=saying(self.tell, f"seed {self.seed}", name),
            watch=watch,
        )
        if result.interrupted:
            raise KeyboardInterrupt
        return epoch_seconds(result.seconds)

    @property
    def noisy(self) -> NoisyModule:
        """The noisy network after training, unpruned."""
        if self._noisy is None:
            self._noisy = attach_noise(self._network())
            path = None if self.folder is None else self.folder / "noisy-left.json"
            known = {} if path is None else kept_json(path)
            rule = criterion_named("bmrs-u4")

            def watch(epoch: int, net: Any) -> None:
                known[str(epoch)] = [int((score < 0).sum()) for score in net.scores(rule).values()]
                if path is not None:
                    keep_json(path, known)

            self._noisy_seconds = self._fit(self._noisy, "noisy", replace(self.training, fine_tune=0), watch=watch)
            epochs = [str(epoch) for epoch in range(self.training.epochs)]
            self._keep(self._noisy, [known[epoch] for epoch in epochs] if all(epoch in known for epoch in epochs) else [])
        return self._noisy

    def _keep(self, noisy: NoisyModule, history: list[list[int]]) -> None:
        """What figures need: spectra of E[theta] and of the evidence, structures wanted per layer and epoch."""
        with torch.no_grad():
            self.kept["mean"] = torch.cat([noisy.of(n).posterior.mean() for n in noisy.sites]).numpy()
            for name in ("bmrs-n", "bmrs-u8", "bmrs-u4"):
                self.kept[name] = torch.cat(list(noisy.scores(criterion_named(name)).values())).numpy()
        self.kept["layer"] = np.repeat(np.arange(len(noisy.sites)), [s.n for s in noisy.sites.values()])
        self.kept["layers"] = np.array(list(noisy.sites))
        if history:
            self.kept["left"] = np.array(history)

    # --- rows ----------------------------------------------------------------------------------------------------------
    def dense_row(self) -> dict[str, Any]:
        """The network without noise."""
        found = compare(self.dense, self.dense, self.data.x_test[:MEASURED_EXAMPLES])
        return self._row("none", self.accuracy_dense, 0.0, 0.0, found.before, self.dense_seconds)

    def row(self, name: str) -> dict[str, Any]:
        """Prune by one criterion, fine-tune, compact and measure."""
        criterion = criterion_named(name)
        if self.experiment.schedule == "continuous" and criterion.decides:
            noisy = attach_noise(self._network())
            seconds = self._fit(noisy, name, self.training, criterion)
        else:
            noisy, seconds = self._pruned_after(criterion)
        small = compact(noisy, self.data.x_test[:2])
        found = compare(self.dense, small, self.data.x_test[:MEASURED_EXAMPLES])
        right = accuracy(small, self.data.x_test, self.data.y_test)
        row = self._row(name, right, noisy.n_removed / noisy.n_structures, compression(noisy), found.after, seconds)
        return row | {
            "latency_ratio": found.latency_ratio,
            "accuracy_masked": accuracy(noisy, self.data.x_test, self.data.y_test),
            "structures_left": {n: int(noisy.of(n).alive.sum()) for n in noisy.sites},
        }

    def _pruned_after(self, criterion: Criterion) -> tuple[NoisyModule, float | None]:
        noisy = copy.deepcopy(self.noisy)
        name = criterion.name
        tuning = replace(self.training, epochs=1, weight=min(1.0, self.training.weight), warm_up=0)
        if tuning.fine_tune:
            tuning = replace(tuning, epochs=tuning.fine_tune, fine_tune=0)
        if self.experiment.schedule == "ranked" and criterion.decides:
            once = replace(tuning, epochs=1)
            for _ in prune_ranked(noisy, criterion, lambda net: self._fit(net, f"{name}-{net.n_removed}", once)):
                pass
        elif criterion.decides:
            prune(noisy, criterion)
        else:
            prune_share(noisy, criterion, self._released_rate())
        # criteria that remove the same structures lead to the same network: it is trained once
        masks = torch.cat([noisy.of(n).alive for n in noisy.sites]).numpy().tobytes()
        if masks not in self._tuned:
            if self.training.fine_tune:
                self._fit(noisy, name, tuning)
            self._tuned[masks] = noisy
        return self._tuned[masks], self._noisy_seconds

    def _released_rate(self) -> float:
        """Share of structures that ``bmrs-n`` removes from the trained network (one stays in each layer)."""
        scores = self.noisy.scores(criterion_named("bmrs-n")).values()
        return sum(min(int((score >= 0).sum()), len(score) - 1) for score in scores) / self.noisy.n_structures

    def _row(
        self, criterion: str, right: float, removed: float, share: float, measured: Any, seconds: float | None
    ) -> dict[str, Any]:
        return {
            "criterion": criterion,
            "seed": self.seed,
            "accuracy": right,
            "accuracy_dense": self.accuracy_dense,
            "structures_removed": removed,
            "compression": share,
            "parameters": measured.parameters,
            "flops": measured.flops,
            "latency_ms": measured.latency_ms,
            "epoch_seconds": seconds,
        }


def run_experiment(
    experiment: Experiment,
    seeds: int,
    folder: Path | None = None,
    *,
    jobs: int = 1,
    tell: Tell | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, NDArray[Any]]]]:
    """All seeds: rows of the report, and by seed what its figures need.

    Args:
        experiment: what to run.
        seeds: how many, >= 1.
        folder: where finished seeds and epochs are kept, in a folder of their own for each experiment, so that an interrupted
            run goes on from there.
        jobs: processes; numbers do not depend on it, but times and latencies do.
        tell: called with a line after every epoch (with one job).
    """
    runs = [(f"seed-{seed}", seed) for seed in range(seeds)]
    return run_all(run_seed, experiment, "criteria", "criterion", runs, folder, load=_load, jobs=jobs, tell=tell)
