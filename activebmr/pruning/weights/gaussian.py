"""Gaussian families for torch: what `activebmr.gaussian` has, with tensors made of everything that comes in."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from activebmr import gaussian
from activebmr.gaussian import reduce_gaussian, remove_block
from activebmr.pruning.data.checks import numbers

__all__ = ["DenseGaussian", "Gaussian", "reduce_gaussian", "removal_evidence", "remove_block"]


def _tensor(x: Tensor | Sequence[float] | float, name: str = "mean") -> Tensor:
    return numbers(x, name, None)


class Gaussian(gaussian.Gaussian):
    __doc__ = gaussian.Gaussian.__doc__

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _tensor(self.mean))  # its variance then becomes one as well
        super().__post_init__()


class DenseGaussian(gaussian.DenseGaussian):
    __doc__ = gaussian.DenseGaussian.__doc__

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _tensor(self.mean))
        super().__post_init__()


def removal_evidence(
    mean: Tensor, variance: Tensor, prior_variance: Tensor | float, prior_mean: Tensor | float = 0.0
) -> Tensor:
    return gaussian.removal_evidence(_tensor(mean), variance, prior_variance, prior_mean)


removal_evidence.__doc__ = gaussian.removal_evidence.__doc__
