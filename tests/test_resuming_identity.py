"""A checkpoint belongs to one prior, likelihood and loss: a run with another one must not go on as if nothing had changed."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from activebmr.pruning import accuracy, sparsify  # noqa: E402
from activebmr.pruning.data.digests import digest_of_function  # noqa: E402

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
LABELS = (X[:, 0] > 0).long()


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def test_another_prior_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    few = {"epochs": 2, "start": 1, "batch": 12, "checkpoint": path}
    first = sparsify(network(), (X, LABELS), prior_variance=0.1, **few)
    again = sparsify(network(), (X, LABELS), prior_variance=0.1, **few)
    assert torch.equal(first.bayes.posterior.mean, again.bayes.posterior.mean)
    with pytest.raises(ValueError, match="belongs to other settings, data or another network"):
        sparsify(network(), (X, LABELS), prior_variance=10.0, **few)


class Power:
    def __init__(self, power: float) -> None:
        self.power = power

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return ((outputs - targets).abs() ** self.power).mean()


def times(factor: float):
    return lambda outputs, targets: factor * (outputs - targets).square().mean()


LOSSES = {
    "squares": lambda: lambda outputs, targets: (outputs - targets).square().mean(),
    "distances": lambda: lambda outputs, targets: (outputs - targets).abs().mean(),
    "twice": lambda: times(2.0),
    "thrice": lambda: times(3.0),
    "square": lambda: Power(2),
    "cube": lambda: Power(3),
    "function": lambda: F.cross_entropy,
    "module": nn.CrossEntropyLoss,
    "smoothed": lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    "weighted": lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0])),
    "other weights": lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0])),
    "partial": lambda: functools.partial(F.cross_entropy, label_smoothing=0.1),
    "other partial": lambda: functools.partial(F.cross_entropy, label_smoothing=0.2),
}


def test_losses_are_told_apart_and_known_again() -> None:
    once, twice = ({name: digest_of_function(make()) for name, make in LOSSES.items()} for _ in range(2))
    assert once == twice and len(set(once.values())) == len(LOSSES)


def test_small_integers_do_not_wrap_into_labels_that_do_not_count() -> None:
    """-100 is 156 in eight bits."""
    logits = nn.Identity()
    outputs = torch.eye(200)[[7, 3]]
    for kind in (torch.uint8, torch.int64):
        assert accuracy(logits, outputs, torch.tensor([156, 3], dtype=kind)) == 0.5
