"""The experiment of ``activebmr prune bnn``: regression networks with Gaussian posteriors, pruned by evidence and by ranks.

For every split (or seed) one posterior is trained; every method prunes a copy of it. ``naive`` removes all weights with
evidence for it at once; ``iterative`` goes on in rounds of retraining (Beckers et al. 2024, algorithm 1). The baselines remove
as many weights, ranked otherwise: ``naive-snr`` and ``naive-mean-sd`` at once as many as ``naive``, ``snr`` and ``mean-sd`` in
as many rounds, with the same retraining, as ``iterative``. ``bmr-80`` (any share of 1 to 99 percent) is for networks of which
``iterative`` leaves more than is wanted: it goes on from there, and removes a tenth of the rest at a time, by evidence and with
retraining, until 80 % are gone.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from activebmr import checks
from activebmr.pruning.data.tables import WAVES, RegressionData, load_regression, standardise_targets
from activebmr.pruning.experiments.metrics import regression_metrics, removable_structures, student_t_log_density
from activebmr.pruning.experiments.runs import Tell, epoch_seconds, run_all, saying
from activebmr.pruning.networks.for_weights import gru_network, regression_mlp
from activebmr.pruning.weights.bayes import INFERENCES, BayesianModule, attach_posterior
from activebmr.pruning.weights.criteria import ByEvidence, ByRank, WeightCriterion, rank_scores
from activebmr.pruning.weights.free_energies import free_energy
from activebmr.pruning.weights.likelihoods import GaussianNoise
from activebmr.pruning.weights.settings import Round, WeightFit, WeightTraining
from activebmr.pruning.weights.training import prune_weights

__all__ = ["METHODS", "STARTS", "TARGETS", "BNNExperiment", "bnn_preset", "curve", "run_bnn", "run_bnn_seed"]

METHODS = ("full", "naive", "naive-snr", "naive-mean-sd", "iterative", "snr", "mean-sd", "bmr-80")
"""All that run where none are named; ``bmr-N`` is a method for every N from 1 to 99."""
SAMPLES = 100
"""Draws of the weights for predictions of test rows."""
_NEEDS = {"naive-snr": "naive", "naive-mean-sd": "naive", "snr": "iterative", "mean-sd": "iterative"}

# batches of Beckers et al. (2024); their epochs for boston and waves, elsewhere about as many steps (20,000 and 4,000)
_SIZES = {
    "diabetes": (16, 600, 120),
    "boston": (16, 750, 150),
    "energy": (16, 500, 100),
    "yacht": (16, 1000, 200),
    "concrete": (32, 750, 150),
    "wine": (32, 500, 100),
    "kin8nm": (64, 200, 40),
    "naval": (64, 120, 24),
    "power": (64, 150, 30),
    "protein": (64, 30, 6),
    **dict.fromkeys(WAVES, (64, 3000, 600)),
}
_SLOW = (*WAVES, "naval")
"""Data sets whose learning rate is 1e-3 instead of 1e-2."""
STARTS = ("he", "published")
TARGETS = ("standardised", "raw")
_PUBLISHED_SD = {"vbp": 0.01, "bbb-local": 0.1, "bbb-global": 0.1, "ivon": 0.1}
_HE_POSTERIOR_SD = 0.2
"""Small, so that units learn something before the noise of their weights switches them off."""


def bnn_preset(data: str, inference: str = "vbp") -> WeightTraining:
    """Settings that go with a data set and an inference."""
    batch, epochs, retrain = _SIZES[data]
    lr = 1e-3 if data in _SLOW else 1e-2
    if inference == "ivon":
        return WeightTraining(epochs, retrain, batch=batch, lr=0.01 if data in _SLOW else 0.03, likelihood_lr=lr, clip=0.1)
    return WeightTraining(epochs, retrain, batch=batch, lr=lr, likelihood_lr=lr)


@dataclass(frozen=True)
class BNNExperiment:
    """What to run.

    Attributes:
        data: name of a data set.
        inference: how posteriors are found (`activebmr.pruning.weights.bayes`).
        methods: names of methods, in the order of the report.
        training: settings; the seed is set for each run.
        tolerance: nats by which a weight may have evidence against its removal and yet go; see `ByEvidence`.
        all_rows: train (and test) on all rows, as published free energies do, instead of a split.
        hidden: units of the hidden layer; None is 50, or 16 in recurrent networks, as published.
        targets: ``"standardised"`` (see `standardise_targets`) or ``"raw"``, as published. None is ``"raw"`` for all rows and
            for waves, ``"standardised"`` otherwise. Reports are in the units of the data either way, free energies too.
        start: ``"he"``: means with variance 2 / inputs (He et al. 2015) and narrow posteriors; ``"published"``: small means and
            posteriors as wide as the prior (Beckers et al. 2024), which switches off most units before they have learned
            anything. None is ``"published"`` for recurrent networks and ``"he"`` for all others.
        data_dir: folder of the data, or None.
    """

    data: str = "diabetes"
    inference: str = "vbp"
    methods: tuple[str, ...] = METHODS
    training: WeightTraining = field(default_factory=WeightTraining)
    tolerance: float = 0.0
    all_rows: bool = False
    data_dir: str | None = None
    start: str | None = None
    targets: str | None = None
    hidden: int | None = None

    def __post_init__(self) -> None:
        if self.targets not in (None, *TARGETS):
            raise ValueError(f"targets must be None or one of {list(TARGETS)}; got {self.targets!r}")
        if self.start not in (None, *STARTS):
            raise ValueError(f"start must be None or one of {list(STARTS)}; got {self.start!r}")
        checks.choice(self.data, "data", _SIZES)
        checks.choice(self.inference, "inference", INFERENCES)
        for name in self.methods:
            if name not in METHODS and _percent(name) is None:
                raise ValueError(f"method must be one of {list(METHODS)}, or bmr-N with N in 1..99; got {name!r}")
        if self.hidden is not None and (isinstance(self.hidden, bool) or not isinstance(self.hidden, int) or self.hidden < 1):
            raise ValueError(f"hidden must be None or a whole number >= 1; got {self.hidden!r}")
        ByEvidence(self.tolerance)


def run_bnn(
    experiment: BNNExperiment,
    runs: list[tuple[int | None, int]],
    folder: Path | None = None,
    *,
    jobs: int = 1,
    tell: Tell | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, NDArray[Any]]]]:
    """All runs, each a pair of split (None with all rows) and seed: rows of the report, and by run what figures need.

    Args:
        experiment: what to run.
        runs: splits and seeds.
        folder: where finished runs and epochs are kept, so that an interrupted run goes on; None keeps nothing.
        jobs: processes; numbers do not depend on it, but times do.
        tell: called with lines of progress (with one job).
    """
    last = max((split for split, _ in runs if split is not None), default=None)
    load_regression(
        experiment.data, experiment.data_dir, split=last
    )  # whatever is wrong with the data is found before any work
    names = [f"{'all' if split is None else f'split-{split}'}-seed-{seed}" for split, seed in runs]
    return run_all(
        run_bnn_seed,
        experiment,
        "methods",
        "method",
        list(zip(names, runs, strict=True)),
        folder,
        load=_load,
        jobs=jobs,
        tell=tell,
    )


def run_bnn_seed(
    experiment: BNNExperiment,
    run: tuple[int | None, int],
    folder: Path | None = None,
    tell: Tell | None = None,
    data: RegressionData | None = None,
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Rows and arrays of one split and seed; see `run_bnn`. Data are read by default."""
    one = _OneRun(experiment, *run, folder, tell, data)
    rows = {name: one.row(name) for name in sorted(experiment.methods, key=_order)}
    return [rows[name] for name in experiment.methods], one.arrays()


def _load(experiment: BNNExperiment, run: tuple[int | None, int]) -> RegressionData:
    return load_regression(experiment.data, experiment.data_dir, split=run[0], seed=run[1])


class _OneRun:
    """One split and seed."""

    def __init__(
        self,
        experiment: BNNExperiment,
        split: int | None,
        seed: int,
        folder: Path | None,
        tell: Tell | None,
        data: RegressionData | None = None,
    ) -> None:
        self.experiment, self.split, self.seed, self.folder, self.tell = experiment, split, seed, folder, tell
        data = _load(experiment, (split, seed)) if data is None else data
        raw = experiment.targets == "raw" or (experiment.targets is None and (experiment.all_rows or data.is_sequence))
        self.data = data if raw else standardise_targets(data)
        self.shift = len(data.x_train) * float(self.data.y_sd.double().log().sum())
        """What free energies gain when densities are those of targets in their own units."""
        self.training = replace(experiment.training, seed=seed)
        self.fits: dict[str, tuple[BayesianModule, GaussianNoise, WeightFit]] = {}

    def fit(self, name: str) -> tuple[BayesianModule, GaussianNoise, WeightFit]:
        """The network as a method leaves it."""
        if name not in self.fits:
            self.fits[name] = self._trained() if name == "full" else self._pruned(name)
        return self.fits[name]

    def _trained(self) -> tuple[BayesianModule, GaussianNoise, WeightFit]:
        data = self.data
        torch.manual_seed(self.seed)
        hidden = self.experiment.hidden
        if data.is_sequence:
            net = gru_network(data.n_in, hidden or 16, data.n_out)
        else:
            net = regression_mlp(data.n_in, data.n_out, hidden or 50)
        inference, start = self.experiment.inference, self.experiment.start
        he = start == "he" or (start is None and not data.is_sequence)
        for p in net.parameters():
            nn.init.normal_(p, 0.0, _start_sd(p) if he else _PUBLISHED_SD[inference])
        sd = _HE_POSTERIOR_SD if he and inference != "ivon" else None
        bayes = attach_posterior(net, inference, sd=sd, n_examples=len(data.x_train), hessian=10.0)
        # the prior of noise is that of raw targets: Gamma(1, 1) of scaled ones would forbid a noise that is small beside them
        rates = (1 / data.y_sd.double() ** 2).tolist()
        rate = rates if len(rates) == data.n_out else rates[0]
        # and begins with 1 squared unit of them, small enough to learn much before the rest counts as noise
        noise = GaussianNoise(data.n_out, len(data.x_train), rate=rate)
        return bayes, noise, self._run(bayes, noise, self.training, None, "full")

    def _pruned(self, name: str) -> tuple[BayesianModule, GaussianNoise, WeightFit]:
        percent = _percent(name)
        bayes, noise = copy.deepcopy(self.fit("full" if percent is None else "iterative")[:2])
        settings, criterion = replace(self.training, epochs=0), ByEvidence(self.experiment.tolerance)
        once = replace(settings, retrain=0, rounds=1, step_back=False)
        if name == "naive":
            return bayes, noise, self._run(bayes, noise, once, criterion, name)
        if name == "iterative":
            return bayes, noise, self._run(bayes, noise, settings, criterion, name)
        if percent is not None:
            counts = _tenths(bayes.posterior.n_removed, -(-percent * bayes.posterior.n // 100), bayes.posterior.n)
            settings = replace(settings, rounds=len(counts), step_back=False)
            return bayes, noise, self._run(bayes, noise, settings, ByRank("evidence", counts), name)
        whole = [r for r in self.fit(_NEEDS[name])[2].rounds if not r.undone]
        counts = tuple(np.cumsum([r.removed for r in whole]).tolist())
        ranked = ByRank(name.removeprefix("naive-"), counts)
        settings = once if name.startswith("naive") else replace(settings, rounds=len(counts), step_back=False)
        return bayes, noise, self._run(bayes, noise, settings, ranked, name)

    def _run(
        self,
        bayes: BayesianModule,
        noise: GaussianNoise,
        settings: WeightTraining,
        criterion: WeightCriterion | None,
        name: str,
    ) -> WeightFit:
        where = "all rows" if self.split is None else f"split {self.split}"
        say = saying(self.tell, where, f"seed {self.seed}", name)
        path = None if self.folder is None else self.folder / f"{name}.pt"
        pair = self.data.x_train, self.data.y_train
        found = prune_weights(bayes, noise, pair, settings, criterion=criterion, checkpoint=path, progress=say)
        if found.interrupted:
            raise KeyboardInterrupt
        return found

    # --- reports ---------------------------------------------------------------------------------------------------------
    def row(self, name: str) -> dict[str, Any]:
        bayes, noise, fit = self.fit(name)
        stayed = [r for r in fit.rounds if not r.undone]
        last = stayed[-1] if stayed else Round(0, 0, 0.0, fit.vfe, fit.vfe, fit.vfe, 0)
        counts = removable_structures(bayes.alive())
        alive = bayes.posterior.alive
        return {
            "method": name,
            "split": self.split,
            "seed": self.seed,
            "vfe_trained": self.fit("full")[2].vfe + self.shift,
            "vfe": fit.vfe + self.shift,
            "vfe_predicted": last.vfe_predicted + self.shift,
            "vfe_observed": last.vfe_observed + self.shift,
            **held_out(bayes, noise, self.data),
            "removed": float((~alive).double().mean()),
            "removed_by_round": [r.removed_in_all for r in stayed],
            "near_ties": last.near_ties,
            "rounds": len(stayed),
            "undone": len(fit.rounds) - len(stayed),
            "dead_units": sum(c["rows"] for c in counts.values()),
            "idle_units": idle_units(bayes),
            "parameters": int(alive.sum()),
            "outcome": fit.outcome,
            "epoch_seconds": epoch_seconds(fit.seconds),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Free energy against the share removed at once, and of every round."""
        kept: dict[str, NDArray[Any]] = {}
        if self.training.samples or self.experiment.inference == "vbp":
            found = curve(*self.fit("full")[:2], self.data, self.training.samples)
            kept |= {f"curve_{name}": values + (name != "share") * self.shift for name, values in found.items()}
        for name in ("iterative", "snr", "mean-sd"):
            if name in self.fits:
                fit = self.fits[name][2]
                kept |= {f"{name}_{k}": np.array([getattr(r, k) for r in fit.rounds]) for k in ("removed_in_all", "undone")}
                for k in ("vfe", "vfe_predicted", "vfe_observed"):
                    kept[f"{name}_{k}"] = np.array([getattr(r, k) for r in fit.rounds]) + self.shift
                kept[f"{name}_end"] = np.array(fit.vfe + self.shift)
        return kept


def _start_sd(p: torch.Tensor) -> float:
    """Standard deviation of the first means of a weight matrix, or of biases."""
    return (2.0 / p.shape[1]) ** 0.5 if p.dim() > 1 else 0.01


def _percent(method: str) -> int | None:
    """Percent of the weights that a method ``bmr-N`` removes at least; None for other methods."""
    found = re.fullmatch(r"bmr-([1-9][0-9]?)", method)
    return None if found is None else int(found[1])


def _order(method: str) -> int:
    """Methods that others go on from come first."""
    return METHODS.index(method) if method in METHODS else len(METHODS)


def _tenths(removed: int, target: int, n: int) -> tuple[int, ...]:
    """Weights gone after each round that takes a tenth of those left, until the target is reached."""
    counts: list[int] = []
    while removed < target:
        removed = min(removed + -(-(n - removed) // 10), target)
        counts.append(removed)
    return tuple(counts)


@torch.no_grad()
def held_out(bayes: BayesianModule, noise: GaussianNoise, data: RegressionData, samples: int | None = None) -> dict[str, float]:
    """``rmse`` and ``nll`` (nats per row) of the test rows: mixture of so many draws of the weights (`SAMPLES` by
    default), noise integrated out; in the units of the data, also where targets are standardised.
    """
    mean, sd = data.y_mean.double(), data.y_sd.double()
    means, y = bayes.predict(data.x_test, samples or SAMPLES).double() * sd + mean, data.y_test.double() * sd + mean
    return regression_metrics(means, y, student_t_log_density(y, means, noise.alpha, noise.beta.double() * sd**2))


def idle_units(bayes: BayesianModule) -> int:
    """Units that inference itself has switched off: some weights are left on both sides, yet all those that leave them, less
    their prior's mean, are small against their noise (SNR below 1/2), so that pruning finds them collapsed already.
    """
    q = bayes.posterior
    weak = q.split((q.raw_mean().detach() - q.prior_mean).abs() < 0.5 * q.raw_variance().detach().sqrt())
    alive, n = bayes.alive(), 0
    matrices = [k for k, p in q.places.items() if len(p.shape) == 2]
    for into, out in zip(matrices, matrices[1:], strict=False):
        if alive[into].shape[0] == alive[out].shape[1]:
            has = alive[into].any(dim=1) & alive[out].any(dim=0)
            n += int((has & (weak[out] | ~alive[out]).all(dim=0)).sum())
    return n


@torch.no_grad()
def curve(
    bayes: BayesianModule, noise: GaussianNoise, data: RegressionData, samples: int = 50, points: int = 100
) -> dict[str, NDArray[Any]]:
    """Free energy after removing the first 0, 1, ... percent of the weights at once, by three rankings; the network stays as
    it is.

    Returns:
        ``share`` ``(points,)`` of weights removed, ``predicted`` by the evidence, and ``evidence``, ``snr`` and ``mean-sd``
        observed, nats.
    """
    q, pair = bayes.posterior, (data.x_train, data.y_train)
    counts = np.linspace(0, q.n, points, endpoint=False).round().astype(int)
    evidence = q.removal_evidence()
    start = free_energy(bayes, noise, pair, samples)
    out: dict[str, NDArray[Any]] = {"share": counts / q.n}
    for by in ("evidence", "snr", "mean-sd"):
        order = rank_scores(q, by).argsort(descending=True, stable=True)
        kept, values = q.alive.clone(), []
        for count in counts:
            q.alive.copy_(kept)
            q.alive[order[:count]] = False
            values.append(free_energy(bayes, noise, pair, samples))
        q.alive.copy_(kept)
        out[by] = np.array(values)
        if by == "evidence":
            total = torch.cat((torch.zeros(1, dtype=torch.float64), evidence[order].cumsum(0)))
            out["predicted"] = start - total[torch.from_numpy(counts)].numpy()
    return out
