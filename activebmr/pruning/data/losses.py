"""What `fit` minimises beside the divergence, in nats per example, and the share of targets that a network gets right.

By default outputs are logits and targets class numbers: one for each example, or one for each token or pixel of it. The nats of
an example are those of all its targets together, because they are what its evidence is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader

from activebmr import checks
from activebmr.pruning.data.batches import Batches, call, device_of, length_of_batch, tried
from activebmr.pruning.data.checks import runnable
from activebmr.pruning.data.digests import digest_of_function
from activebmr.pruning.data.modes import evaluating

__all__ = ["IGNORED", "Loss", "Objective", "accuracy", "batches_without_number", "class_axis", "counted", "share_right"]

Loss = Callable[[Any, Any], Tensor]
"""Of outputs and targets: a mean over the examples of a batch (a scalar), or nats of each example ``(n,)`` or ``(n, ...)``."""
IGNORED = -100
"""Class number of tokens and pixels that do not count, as torch has it."""


def counted(targets: Tensor, ignore: int | None = IGNORED) -> Tensor:
    """Which labels count, in the shape of ``targets``; in any type of whole numbers, of which some would wrap -100 to 156."""
    return torch.ones_like(targets, dtype=torch.bool) if ignore is None else targets.long() != ignore


def class_axis(outputs: Any, targets: Any, name: str = "data") -> int:
    """Axis of logits that holds the classes: the last of ``(n, ..., classes)``, or the first after the examples of
    ``(n, classes, ...)``, whichever fits targets ``(n, ...)``.

    Raises:
        TypeError: if outputs or targets are no tensors.
        ValueError: if none of them fits, or both.
    """
    _need_tensor(outputs, "outputs of the network")
    _need_tensor(targets, f"targets of {name}")
    shape = tuple(outputs.shape)
    axes = sorted({1, len(shape) - 1}) if len(shape) > 1 else []
    fits = [axis for axis in axes if shape[:axis] + shape[axis + 1 :] == tuple(targets.shape)]
    if not fits:
        raise ValueError(
            f"{name} must hold as many labels as there are rows of logits, (n,) for outputs (n, classes), (n, ...) for "
            f"(n, ..., classes) or (n, classes, ...), or `loss` must be given; got {tuple(targets.shape)} for outputs {shape}"
        )
    if len(fits) > 1:
        raise ValueError(
            f"outputs {shape} and labels {tuple(targets.shape)} of {name} do not say which axis holds the classes: give `loss`"
        )
    return fits[0]


def _need_tensor(value: Any, what: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{what} must be a tensor, unless a `loss` is given that knows them; got {type(value).__name__}")


class Objective:
    """The loss of a training run.

    Args:
        loss: the user's own, see `Loss`; None is the cross-entropy of logits and class numbers.

    Attributes:
        classifies: whether targets are classes, so that there is an accuracy.

    Raises:
        TypeError: if it cannot be called.
    """

    def __init__(self, loss: Loss | None = None) -> None:
        if loss is not None and not callable(loss):
            raise TypeError(f"loss must be a function of outputs and targets, or None; got {type(loss).__name__}")
        self.own = loss
        self.classifies = loss is None or loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss)
        self._axis: int | None = None

    @property
    def name(self) -> str | None:
        """What tells it from others in a checkpoint."""
        return None if self.own is None else digest_of_function(self.own)

    def check(self, outputs: Any, targets: Any, name: str) -> None:
        """Whether the outputs of a first batch fit its targets; of classes it remembers where they are.

        Raises:
            TypeError: if outputs or targets are no tensors, and the loss is not the user's own.
            ValueError: if shapes do not fit or labels are no class numbers of the network.
        """
        if self.own is None:
            self._axis = class_axis(outputs, targets, name)
            self.check_labels(targets, name, outputs.shape[self._axis])
        elif self.classifies:
            try:
                class_axis(outputs, targets, name)
            except (TypeError, ValueError):  # cross-entropy with probabilities, or another shape that torch knows
                self.classifies = False

    def classes(self, outputs: Any) -> int | None:
        """How many classes the logits are of; None with the user's own loss."""
        return None if self._axis is None else int(outputs.shape[self._axis])

    def check_labels(self, targets: Any, name: str, classes: int | None = None) -> None:
        """Whether targets are class numbers, where that is what they have to be."""
        if self.own is not None:
            return
        _need_tensor(targets, f"targets of {name}")
        labels = targets if targets.dim() == 1 else targets[counted(targets)]
        if targets.dtype not in (torch.int64, torch.uint8) or (labels.numel() and int(labels.min()) < 0):
            least = labels.min().item() if labels.numel() else None
            raise ValueError(
                f"labels of {name} must be class numbers >= 0 (int64), or `loss` be given; got {targets.dtype}, least {least}"
            )
        if classes is not None and labels.numel() and int(labels.max()) >= classes:
            raise ValueError(
                f"labels of {name} must lie in 0..{classes - 1}, one for each output of the network; got {int(labels.max())}"
            )

    def nats(self, outputs: Any, targets: Any) -> Tensor:
        """Mean over the examples of a batch, a scalar: nats of all targets of an example, or what the user's loss says."""
        if self.own is not None:
            return self._own_nats(self._own_loss(outputs, targets), length_of_batch(outputs, targets))
        assert self._axis is not None
        if outputs.dim() == 2:
            return F.cross_entropy(outputs, targets.long())
        return _per_example(F.cross_entropy(outputs.movedim(self._axis, 1), targets.long(), reduction="none")).mean()

    def _own_loss(self, outputs: Any, targets: Any) -> Any:
        """What the user's loss says; torch's errors about shapes and types are said of both."""
        assert self.own is not None
        try:
            return self.own(outputs, targets)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, TypeError, IndexError) as error:
            got = " and ".join(str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in (outputs, targets))
            said = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"loss must take outputs of the network and targets of data, here {got}; it raises {said}"
            ) from error

    @staticmethod
    def _own_nats(found: Any, n: int) -> Tensor:
        if not isinstance(found, Tensor):
            raise TypeError(f"loss must return a tensor, a mean or nats of each example (n, ...); got {type(found).__name__}")
        if found.dim() == 0:
            return found
        if len(found) != n and found.numel() != 1:
            raise ValueError(f"loss must return a mean or nats of each of the {n} examples (n, ...); got {tuple(found.shape)}")
        return _per_example(found).mean()

    @torch.no_grad()
    def mean(self, model: nn.Module, batches: Batches, size: int = 1000) -> float:
        """Nats per example over data, of the model in evaluation mode."""
        total, n = 0.0, 0
        with evaluating(model):
            for inputs, targets in batches.in_order(size):
                count = length_of_batch(inputs, targets)
                total += float(self.nats(call(model, inputs), targets)) * count
                n += count
        return total / n


def _per_example(nats: Tensor) -> Tensor:
    return nats.flatten(1).sum(dim=1) if nats.dim() > 1 else nats


def batches_without_number(data: Any, batch_to: Any, device: torch.device, name: str) -> Batches:
    """Batches whose number of examples does not matter and need not be known."""
    return Batches(data, n_examples=1 if isinstance(data, DataLoader) else None, batch_to=batch_to, device=device, name=name)


@torch.no_grad()
def accuracy(
    model: nn.Module, x: Any, y: Any = None, batch: int = 1000, *, batch_to: Callable[[Any], tuple[Any, Any]] | None = None
) -> float:
    """Share of targets that a model (in evaluation mode for the time, all its parts as they were afterwards) gets right.

    Args:
        model: returns logits ``(n, classes)``, or for each token or pixel ``(n, ..., classes)`` or ``(n, classes, ...)``.
        x: inputs ``(n, ...)``, or a tuple, list or dict of them, or a loader of pairs.
        y: class numbers ``(n,)`` or ``(n, ...)``, of which -100 does not count; None with a loader.
        batch: examples at once (a loader has its own).
        batch_to: makes pairs of the batches of a loader, see `activebmr.pruning.data.batches.Batches`.

    Raises:
        TypeError: if data are no pairs of tensors, or outputs no tensor.
        ValueError: if shapes do not fit, or there is nothing to count.

    Example:
        >>> accuracy(nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
        0.75
    """
    if isinstance(x, DataLoader) and y is not None:
        raise ValueError("y must be None where x is a loader: its batches hold the targets")
    runnable(model, "model")
    batch = checks.whole_from(batch, "batch", 1)
    data = x if isinstance(x, DataLoader) else (x, y)
    return share_right(model, batches_without_number(data, batch_to, device_of(model), "data"), batch)


@torch.no_grad()
def share_right(model: nn.Module, batches: Batches, batch: int) -> float:
    """`accuracy` of batches."""
    right, n, axis = 0, 0, None
    with evaluating(model):
        for inputs, targets in batches.in_order(batch):
            outputs = tried(model, inputs, batches.name) if axis is None else call(model, inputs)
            axis = class_axis(outputs, targets, batches.name) if axis is None else axis
            if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
                raise TypeError(f"labels of {batches.name} must be class numbers (int64); got {targets.dtype}")
            counts = counted(targets)
            right += int(((outputs.argmax(dim=axis) == targets) & counts).sum())
            n += int(counts.sum())
    if not n:
        raise ValueError(f"targets of {batches.name} must hold some class numbers that count; all are {IGNORED}")
    return right / n
