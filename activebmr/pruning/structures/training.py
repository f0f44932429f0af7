"""`fit`: train a noisy network, prune it as it learns, and go on from where it was interrupted.

Loss: mean nats of an example + weight x KL / N, N the number of training examples. Nats are the cross-entropy, or what the
user's own loss says (`activebmr.pruning.data.losses`). With weight 1 it is the negative evidence lower bound per example;
a larger weight prunes more (see `NoisyModule.kl`). The weight rises linearly from 0 over the first epochs, so that structures
are not given up before they have learned anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from activebmr import checks
from activebmr.pruning.data.batches import Batches, Data, call, device_of, length_of_batch, tried
from activebmr.pruning.data.checkpoints import load_checkpoint, save_checkpoint
from activebmr.pruning.data.checks import check_progress, runnable
from activebmr.pruning.data.losses import Loss, Objective, accuracy, batches_without_number, share_right
from activebmr.pruning.structures.criteria import Criterion, checked_criterion
from activebmr.pruning.structures.noisy import NoisyModule
from activebmr.pruning.structures.schedules import Step, prune

__all__ = ["FitResult", "Training", "accuracy", "fit"]


@dataclass(frozen=True)
class Training:
    """Settings of `fit`.

    Attributes:
        epochs: epochs with noise.
        fine_tune: further epochs with masks as they are then, and with a weight of at most 1.
        batch: examples per step (a loader has its own).
        lr: learning rate of Adam for the network.
        noise_lr: learning rate for the noise.
        weight: of the KL divergence, >= 0; 1 is the evidence lower bound's.
        warm_up: epochs over which the weight rises.
        prune_from: first epoch (from 0) after which structures may be removed, if a criterion is given.
        schedule: ``"cosine"`` lets both learning rates fall to 0 over the epochs of fine-tuning or, without them, over the last
            third; before that, and with ``"constant"``, they stay as they are.
        seed: of batches and noise.

    Example:
        >>> settings = Training(epochs=3, fine_tune=1, batch=8, prune_from=1)
        >>> found = fit(noisy, data, settings, criterion=BMRS_N.released())
        >>> len(found.steps)
        4
    """

    epochs: int = 20
    fine_tune: int = 5
    batch: int = 128
    lr: float = 1e-3
    noise_lr: float = 1e-2
    weight: float = 1.0
    warm_up: int = 5
    prune_from: int = 5
    schedule: str = "constant"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("fine_tune", 0), ("batch", 1), ("warm_up", 0), ("prune_from", 0), ("seed", 0)):
            checks.whole_from(getattr(self, name), f"{name} of Training", least)
        for name in ("lr", "noise_lr"):
            checks.number(getattr(self, name), f"{name} of Training", checks.POSITIVE)
        checks.number(self.weight, "weight of Training", checks.NOT_NEGATIVE)
        checks.choice(self.schedule, "schedule of Training", ("constant", "cosine"))


@dataclass
class FitResult:
    """What `fit` did.

    Attributes:
        steps: one report per epoch: structures left, evidence, parameters, accuracy (`activebmr.pruning.Step`).
        losses: mean training loss of each epoch, nats per example.
        seconds: time of each epoch.
        interrupted: whether it ended before its time (Ctrl-C); the checkpoint then holds all finished epochs.

    Example:
        >>> found = fit(noisy, data, Training(epochs=2, fine_tune=0))
        >>> len(found.losses), found.steps[-1].left
        (2, {'0': 32})
    """

    steps: list[Step] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __str__(self) -> str:
        return "\n".join(str(s) for s in self.steps)


def fit(
    model: NoisyModule | nn.Module,
    data: Data,
    settings: Training | None = None,
    *,
    loss: Loss | None = None,
    criterion: Criterion | None = None,
    validation: Data | None = None,
    batch_to: Callable[[Any], tuple[Any, Any]] | None = None,
    n_examples: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int, str], None] = False,
    watch: Callable[[int, NoisyModule | nn.Module], None] | None = None,
) -> FitResult:
    """Train a network, and prune it every epoch if a criterion is given.

    Batches go to the device of the network. Parts of a network in training mode that are in evaluation mode when this is called
    (a frozen BatchNorm, a dropout that is off) stay in it while it trains, also when it is called again; a network that is in
    evaluation mode as a whole is trained as a whole. Afterwards all of it is in evaluation mode.

    Args:
        model: a noisy network, or any network (then there is no noise and nothing is pruned).
        data: inputs ``(n, ...)`` and targets, or a `torch.utils.data.DataLoader` of such pairs; inputs may be a tuple, a list
            or a dict of tensors. Targets are class numbers ``(n,)``, or ``(n, ...)``, one for each token or pixel (-100 does
            not count), of logits ``(n, ..., classes)`` or ``(n, classes, ...)``; with a loss of your own anything.
        settings: see `Training`. A loader has batches and an order of its own; where it has generators of its own, these follow
            the seed too.
        loss: of outputs and targets: a mean over the examples of a batch (a scalar), or nats of each example ``(n,)`` or
            ``(n, ...)``, e.g. ``F.mse_loss``; by default the cross-entropy, summed over the targets of an example.
        criterion: what to remove after every epoch; masks only grow. None prunes nothing.
        validation: inputs and targets, or a loader, of which every step reports the accuracy and, with a loss of your own, the
            loss.
        batch_to: makes pairs (inputs, targets) of batches of loaders, where these are dicts, triples or anything else.
        n_examples: examples of an epoch, where a loader does not say it.
        checkpoint: file in which every finished epoch is kept. If it is there and made with the same settings, training goes on
            from it, to the same result as without the interruption; it is left there. If it cannot be written, there is a
            warning, and training goes on.
        progress: print a line per epoch to standard error, or call this with the epoch and the line.
        watch: called after every epoch with its number and the network.

    Raises:
        TypeError: if data are no pairs of tensors, or outputs no tensor, or the loss returns none.
        ValueError: if they do not fit, the loss is no longer finite, or the checkpoint belongs to something else.

    Example:
        >>> fit(noisy, DataLoader(dataset, 128, shuffle=True), Training(epochs=30), criterion=BMRS_N.released())
    """
    settings = Training() if settings is None else checks.an(Training)(settings, "settings")
    runnable(model, "model")
    path = None if checkpoint is None else Path(checks.path_like(checkpoint, "checkpoint"))
    tell = check_progress(progress, watch, _print)
    trainer = _Trainer(model, data, settings, Objective(loss), criterion, validation, batch_to, n_examples)
    trainer.check()
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("model must have parameters that learn; none of them requires a gradient")
    if path is not None:
        trainer.resume(path)
    try:
        for epoch in range(trainer.epoch, settings.epochs + settings.fine_tune):
            line = trainer.run_epoch(epoch)
            if watch is not None:
                watch(epoch, model)
            if path is not None:
                trainer.save(path)
            if tell is not None:
                tell(epoch, line)
    except KeyboardInterrupt:
        if path is None:
            raise
        trainer.result.interrupted = True
    model.eval()
    return trainer.result


def _print(epoch: int, line: str) -> None:
    import sys

    print(line, file=sys.stderr)


_FROZEN: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()
"""By network, parts that were in evaluation mode when `fit` last trained it: it leaves all of it in that mode."""


def _frozen(model: nn.Module) -> frozenset[str]:
    """Parts of a network that stay in evaluation mode while it trains. What wraps a network is no part of it."""
    if (model.net if isinstance(model, NoisyModule) else model).training:
        _FROZEN[model] = frozenset(name for name, part in model.named_modules() if not part.training)
    return _FROZEN.get(model, frozenset())


class _Trainer:
    """State of one training run."""

    def __init__(
        self,
        model: NoisyModule | nn.Module,
        data: Any,
        settings: Training,
        objective: Objective,
        criterion: Criterion | None,
        validation: Any,
        batch_to: Callable[[Any], tuple[Any, Any]] | None,
        n_examples: int | None,
    ) -> None:
        self.model, self.settings, self.objective = model, settings, objective
        self.noisy = model if isinstance(model, NoisyModule) else None
        if criterion is not None and (not checked_criterion(criterion).decides or self.noisy is None):
            raise ValueError("criterion must decide by itself (not only rank), and needs a network with noise")
        self.criterion, self.frozen = criterion, _frozen(model)
        device = device_of(model)
        self._check_pair(data, "data")
        own = batch_to if isinstance(data, DataLoader) or not isinstance(validation, DataLoader) else None
        self.data = Batches(data, n_examples=n_examples, batch_to=own, device=device)
        self.validation: Batches | None = None
        if validation is not None:
            self._check_pair(validation, "validation")
            own = batch_to if isinstance(validation, DataLoader) else None
            self.validation = batches_without_number(validation, own, device, "validation")
        groups = (
            [{"params": list(model.parameters()), "lr": settings.lr}]
            if self.noisy is None
            else self.noisy.parameter_groups(settings.lr, settings.noise_lr)
        )
        self.optimizer = torch.optim.Adam(groups)
        self.rates = [g["lr"] for g in self.optimizer.param_groups]
        self.epoch = 0
        self.result = FitResult()

    def _check_pair(self, pair: Any, name: str) -> None:
        """What can be said of two tensors before the network has seen them, in the words of classifiers."""
        if self.objective.own is not None or not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            return
        x, y = pair
        if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
            return
        if any(t.device.type == "meta" or t.layout != torch.strided for t in (x, y)):  # `Batches` says what it needs
            return
        if x.dim() == 0 or y.dim() == 0 or len(x) != len(y) or len(x) == 0:
            raise ValueError(
                f"{name} must hold as many labels (n,) as examples (n, ...); got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        self.objective.check_labels(y, name)
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError(f"examples of {name} must be finite; they hold nan or inf")

    @torch.no_grad()
    def check(self) -> None:
        """Whether the outputs of a first batch fit its targets, and all labels are classes of the network."""
        for name, batches in (("validation", self.validation), ("data", self.data)):
            if batches is None:
                continue
            inputs, targets = batches.first() if batches.loader is not None else next(batches.in_order(2))
            outputs = tried(self.model, inputs, name)
            self.objective.check(outputs, targets, name)
            if batches.loader is None:
                self.objective.check_labels(batches.y, name, self.objective.classes(outputs))

    def run_epoch(self, epoch: int) -> str:
        """One epoch, with its own random numbers, so that a run that goes on draws what it would have drawn."""
        s = self.settings
        start = time.perf_counter()
        seed = int(np.random.SeedSequence([s.seed, epoch]).generate_state(1)[0])
        torch.manual_seed(seed)  # of all devices
        self.data.new_epoch(epoch, seed)
        self._train_mode()
        total, seen, n_batches = 0.0, 0, self.data.n_batches(s.batch)
        for i, (inputs, targets) in enumerate(self.data.shuffled(s.batch)):
            self._set_rates((epoch + min(i / n_batches, 1.0)) / (s.epochs + s.fine_tune))
            count = length_of_batch(inputs, targets)
            total += self._step_of(inputs, targets, self._weight(epoch, min((i + 1) / n_batches, 1.0))) * count
            seen += count
        if not np.isfinite(total):
            raise ValueError(f"the loss must stay finite; it is {total} after epoch {epoch} (a smaller learning rate may help)")
        if self.noisy is not None:
            for name in self.noisy.sites:
                self.noisy.of(name).keep_in_range()
        pruned = self.criterion if s.prune_from <= epoch < s.epochs else None
        self.result.losses.append(total / seen)
        step = self._report(epoch, pruned)
        self.result.steps.append(step)
        self.result.seconds.append(time.perf_counter() - start)
        self.epoch = epoch + 1
        return f"epoch {epoch + 1}/{s.epochs + s.fine_tune}: loss {self.result.losses[-1]:.4f}, {step}"

    def _train_mode(self) -> None:
        self.model.train()
        for name, part in self.model.named_modules():
            if name in self.frozen:
                part.training = False

    def _weight(self, epoch: int, done: float) -> float:
        """Of the divergence, when so much of an epoch is done."""
        s = self.settings
        weight = s.weight * min(1.0, (epoch + done) / s.warm_up) if s.warm_up else s.weight
        return min(weight, 1.0) if epoch >= s.epochs else weight

    def _step_of(self, inputs: Any, targets: Any, weight: float) -> float:
        """One step of the optimiser; the loss before it."""
        outputs = call(self.model, inputs)
        if self.data.loader is not None:
            self.objective.check_labels(targets, "data", self.objective.classes(outputs))
        loss = self.objective.nats(outputs, targets)
        if self.noisy is not None and weight > 0:
            loss = loss + weight * self.noisy.kl() / self.data.n
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def _report(self, epoch: int, criterion: Criterion | None) -> Step:
        if self.noisy is not None:
            step = prune(self.noisy, criterion) if criterion is not None else Step.of(self.noisy)
        else:
            step = Step()
        right = loss = None
        if self.validation is not None:
            held = self.validation
            if self.objective.classifies:
                right = share_right(self.model, held, 1000)
            if self.objective.own is not None:
                loss = self.objective.mean(self.model, held)
        return replace(step, accuracy=right, loss=loss, epoch=epoch)

    def _set_rates(self, done: float) -> None:
        s = self.settings
        start = s.epochs / (s.epochs + s.fine_tune) if s.fine_tune else 2 / 3
        if s.schedule == "cosine" and done > start:
            done = (done - start) / (1.0 - start)
            for group, lr in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = float(lr * 0.5 * (1.0 + np.cos(np.pi * done)))  # checkpoints must hold no numpy scalars

    # --- checkpoints ---------------------------------------------------------------------------------------------------
    def _identity(self) -> dict[str, Any]:
        shapes = {k: list(v.shape) for k, v in self.model.state_dict().items()}
        return {
            "settings": asdict(self.settings),
            "criterion": None if self.criterion is None else repr(self.criterion),
            "shapes": shapes,
            "data": self.data.identity(),
            "loss": self.objective.name,
            "frozen": sorted(self.frozen),
        }

    def save(self, path: Path) -> None:
        held = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "steps": [asdict(step) for step in self.result.steps],
            "losses": self.result.losses,
            "seconds": self.result.seconds,
        }
        save_checkpoint(path, self._identity(), held)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one; see `load_checkpoint`."""
        held = load_checkpoint(path, self._identity())
        if held is None:
            return
        self.model.load_state_dict(held["model"])
        self.optimizer.load_state_dict(held["optimizer"])
        self.epoch = held["epoch"]
        self.result = FitResult([Step(**s) for s in held["steps"]], held["losses"], held["seconds"])
