"""Training data, as tensors or from a loader, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

__all__ = ["Batches", "Data"]

Data = tuple[Tensor, Tensor] | DataLoader[Any]


class Batches:
    """Pairs of inputs and targets.

    Args:
        data: a pair of tensors, or a loader of pairs.

    Attributes:
        n: number of examples.

    Raises:
        TypeError: if it is neither.
        ValueError: if lengths differ, there is nothing, or numbers are not finite.
    """

    def __init__(self, data: Data) -> None:
        self.loader: DataLoader[Any] | None = data if isinstance(data, DataLoader) else None
        if self.loader is not None:
            self.n = len(self.loader.dataset)  # type: ignore[arg-type]
            return
        if not (isinstance(data, (tuple, list)) and len(data) == 2 and all(isinstance(t, Tensor) for t in data)):
            raise TypeError(f"data must be a pair of tensors (inputs, targets) or a DataLoader; got {type(data).__name__}")
        self.x, self.y = data
        self.n = len(self.x)
        if self.n != len(self.y) or not self.n:
            raise ValueError(
                f"data must hold as many targets as inputs, and some; got {tuple(self.x.shape)} and {tuple(self.y.shape)}"
            )
        for name, t in (("inputs", self.x), ("targets", self.y)):
            if t.is_floating_point() and not torch.isfinite(t).all():
                raise ValueError(f"{name} of data must be finite; they hold {t[~torch.isfinite(t)][0].item()}")

    def first(self) -> tuple[Tensor, Tensor]:
        """All of the tensors, or the first batch of the loader."""
        if self.loader is None:
            return self.x, self.y
        for x, y in self.loader:
            return x, y
        raise ValueError("data must hold some examples; the loader has none")

    def shuffled(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch; torch's own random numbers decide the order."""
        if self.loader is not None:
            yield from self.loader
            return
        order = torch.randperm(self.n).to(self.x.device)
        for i in range(0, self.n, size):
            rows = order[i : i + size]
            yield self.x[rows], self.y[rows]

    def in_order(self, size: int = 2000) -> Iterator[tuple[Tensor, Tensor]]:
        """All examples once."""
        if self.loader is not None:
            yield from self.loader
            return
        for i in range(0, self.n, size):
            yield self.x[i : i + size], self.y[i : i + size]

    def n_batches(self, size: int) -> int:
        """Batches of an epoch."""
        return len(self.loader) if self.loader is not None else -(-self.n // size)

    def identity(self) -> list[Any]:
        """What tells data apart in a checkpoint."""
        if self.loader is not None:
            return ["loader", self.n]
        return [list(self.x.shape), float(self.x.double().sum()), float(self.y.double().sum())]
