"""`fit`: train a noisy network, prune it as it learns, and go on from where it was interrupted.

Loss: mean cross-entropy + weight x KL / N, N the number of training examples. With weight 1 it is the negative evidence lower
bound per example; a larger weight prunes more (see `NoisyModule.kl`). The weight rises linearly from 0 over the first epochs,
so that structures are not given up before they have learned anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from activebmr.pruning.data.checkpoints import load_checkpoint, save_checkpoint
from activebmr.pruning.structures.attach import NoisyModule
from activebmr.pruning.structures.criteria import Criterion
from activebmr.pruning.structures.schedules import Step, prune

__all__ = ["FitResult", "Training", "accuracy", "fit"]


@dataclass(frozen=True)
class Training:
    """Settings of `fit`.

    Attributes:
        epochs: epochs with noise.
        fine_tune: further epochs with masks as they are then, and with a weight of at most 1.
        batch: examples per step.
        lr: learning rate of Adam for the network.
        noise_lr: learning rate for the noise.
        weight: of the KL divergence, >= 0; 1 is the evidence lower bound's.
        warm_up: epochs over which the weight rises.
        prune_from: first epoch (from 0) after which structures may be removed, if a criterion is given.
        schedule: ``"cosine"`` lets both learning rates fall to 0 over the epochs of fine-tuning or, without them, over the last
            third; before that, and with ``"constant"``, they stay as they are.
        seed: of batches and noise.
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
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} of Training must be a whole number >= {least}; got {value!r}")
        for name in ("lr", "noise_lr"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} of Training must be a finite number > 0; got {getattr(self, name)}")
        if not (np.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight of Training must be a finite number >= 0; got {self.weight}")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule of Training must be 'constant' or 'cosine'; got {self.schedule!r}")


@dataclass
class FitResult:
    """What `fit` did.

    Attributes:
        steps: one report per epoch: structures left, evidence, parameters, accuracy (`activebmr.pruning.Step`).
        losses: mean training loss of each epoch, nats per example.
        seconds: time of each epoch.
        interrupted: whether it ended before its time (Ctrl-C); the checkpoint then holds all finished epochs.
    """

    steps: list[Step] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __str__(self) -> str:
        return "\n".join(str(s) for s in self.steps)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor, batch: int = 1000) -> float:
    """Share of examples that a model (in evaluation mode for the time) classifies right."""
    was = model.training
    model.eval()
    right = sum(int((model(x[i : i + batch]).argmax(dim=1) == y[i : i + batch]).sum()) for i in range(0, len(x), batch))
    model.train(was)
    return right / len(x)


def fit(
    model: NoisyModule | nn.Module,
    data: tuple[Tensor, Tensor],
    settings: Training | None = None,
    *,
    criterion: Criterion | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[int, str], None] = False,
    watch: Callable[[int, NoisyModule | nn.Module], None] | None = None,
) -> FitResult:
    """Train a classifier, and prune it every epoch if a criterion is given.

    Args:
        model: a noisy network, or any network (then there is no noise and nothing is pruned).
        data: examples ``(n, ...)`` and labels ``(n,)``.
        settings: see `Training`.
        criterion: what to remove after every epoch; masks only grow. None prunes nothing.
        validation: examples and labels whose accuracy every step reports.
        checkpoint: file in which every finished epoch is kept. If it is there and made with the same settings, training goes on
            from it, to the same result as without the interruption; it is left there.
        progress: print a line per epoch to standard error, or call this with the epoch and the line.
        watch: called after every epoch with its number and the network.

    Raises:
        TypeError: if examples or labels are no tensors.
        ValueError: if they do not fit, the loss is no longer finite, or the checkpoint belongs to something else.
    """
    settings = settings or Training()
    x, y = _checked(data, "data")
    trainer = _Trainer(model, x, y, settings, criterion, validation)
    trainer.check_labels()
    if checkpoint is not None:
        trainer.resume(Path(checkpoint))
    tell = progress if callable(progress) else _print if progress else None
    try:
        for epoch in range(trainer.epoch, settings.epochs + settings.fine_tune):
            line = trainer.run_epoch(epoch)
            if watch is not None:
                watch(epoch, model)
            if checkpoint is not None:
                trainer.save(Path(checkpoint))
            if tell is not None:
                tell(epoch, line)
    except KeyboardInterrupt:
        if checkpoint is None:
            raise
        trainer.result.interrupted = True
    model.eval()
    return trainer.result


def _print(epoch: int, line: str) -> None:
    import sys

    print(line, file=sys.stderr)


def _checked(data: Any, name: str) -> tuple[Tensor, Tensor]:
    if not (isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(t, Tensor) for t in data)):
        raise TypeError(f"{name} must be a pair of tensors (examples, labels); got {type(data).__name__}")
    x, y = data
    if len(x) != len(y) or len(x) == 0 or y.dim() != 1:
        raise ValueError(
            f"{name} must hold as many labels (n,) as examples (n, ...); got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if y.dtype not in (torch.int64, torch.uint8) or int(y.min()) < 0:
        raise ValueError(f"labels of {name} must be class numbers >= 0 (int64); got {y.dtype}, least {y.min().item()}")
    if not torch.isfinite(x).all():
        raise ValueError(f"examples of {name} must be finite; they hold nan or inf")
    return x, y


class _Trainer:
    """State of one training run."""

    def __init__(
        self,
        model: NoisyModule | nn.Module,
        x: Tensor,
        y: Tensor,
        settings: Training,
        criterion: Criterion | None,
        validation: tuple[Tensor, Tensor] | None,
    ) -> None:
        self.model, self.x, self.y, self.settings = model, x, y, settings
        self.noisy = model if isinstance(model, NoisyModule) else None
        if criterion is not None and (self.noisy is None or not criterion.decides):
            raise ValueError("criterion must decide by itself (not only rank), and needs a network with noise")
        self.criterion, self.validation = criterion, None if validation is None else _checked(validation, "validation")
        groups = (
            [{"params": list(model.parameters()), "lr": settings.lr}]
            if self.noisy is None
            else self.noisy.parameter_groups(settings.lr, settings.noise_lr)
        )
        self.optimizer = torch.optim.Adam(groups)
        self.rates = [g["lr"] for g in self.optimizer.param_groups]
        self.epoch = 0
        self.result = FitResult()

    @torch.no_grad()
    def check_labels(self) -> None:
        """Whether the network has an output for every label."""
        was = self.model.training
        self.model.eval()
        outputs = self.model(self.x[:1]).shape[-1]
        self.model.train(was)
        if int(self.y.max()) >= outputs:
            raise ValueError(
                f"labels of data must lie in 0..{outputs - 1}, one for each output of the network; got {int(self.y.max())}"
            )

    def run_epoch(self, epoch: int) -> str:
        """One epoch, with its own random numbers, so that a run that goes on draws what it would have drawn."""
        s = self.settings
        start = time.perf_counter()
        torch.manual_seed(int(np.random.SeedSequence([s.seed, epoch]).generate_state(1)[0]))
        order = torch.randperm(len(self.x))
        self.model.train()
        total = 0.0
        n_batches = -(-len(order) // s.batch)
        for i in range(n_batches):
            rows = order[i * s.batch : (i + 1) * s.batch]
            self._set_rates((epoch + i / n_batches) / (s.epochs + s.fine_tune))
            weight = s.weight * min(1.0, (epoch + (i + 1) / n_batches) / s.warm_up) if s.warm_up else s.weight
            weight = min(weight, 1.0) if epoch >= s.epochs else weight
            loss = F.cross_entropy(self.model(self.x[rows]), self.y[rows])
            if self.noisy is not None and weight > 0:
                loss = loss + weight * self.noisy.kl() / len(self.x)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            total += float(loss.detach()) * len(rows)
        if not np.isfinite(total):
            raise ValueError(f"the loss must stay finite; it is {total} after epoch {epoch} (a smaller learning rate may help)")
        if self.noisy is not None:
            for name in self.noisy.sites:
                self.noisy.of(name).keep_in_range()
        pruned = self.criterion if s.prune_from <= epoch < s.epochs else None
        self.result.losses.append(total / len(self.x))
        step = self._step(epoch, pruned)
        self.result.steps.append(step)
        self.result.seconds.append(time.perf_counter() - start)
        self.epoch = epoch + 1
        return f"epoch {epoch + 1}/{s.epochs + s.fine_tune}: loss {self.result.losses[-1]:.4f}, {step}"

    def _step(self, epoch: int, criterion: Criterion | None) -> Step:
        if self.noisy is not None:
            step = prune(self.noisy, criterion) if criterion is not None else Step.of(self.noisy)
        else:
            step = Step()
        found = None if self.validation is None else accuracy(self.model, *self.validation)
        return replace(step, accuracy=found, epoch=epoch)

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
            "data": [list(self.x.shape), float(self.x.double().sum()), int(self.y.sum())],
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
