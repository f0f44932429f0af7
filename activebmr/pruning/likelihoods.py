"""What a network's outputs say about targets: categorical for classes, Gaussian with a learned precision for numbers.

Expected negative log likelihoods per example, and for the noise precision a Gamma posterior of its own (Beckers et al. 2024,
eq. 9 to 12): tau ~ Gamma(alpha, beta) for each output, prior Gamma(1, 1).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["Categorical", "GaussianNoise", "Likelihood", "likelihood_named"]


class Likelihood(nn.Module):
    """Base of likelihoods."""

    def check(self, y: Tensor, outputs: Tensor) -> None:
        """Whether targets fit the outputs.

        Raises:
            ValueError: if they do not.
        """
        raise NotImplementedError

    def nll(self, outputs: Tensor, y: Tensor, variance: Tensor | None = None) -> Tensor:
        """Expected negative log likelihood of each example ``(n,)``, nats.

        Args:
            outputs: of the network ``(n, n_out)``.
            y: targets.
            variance: of the outputs ``(n, n_out)``, if they are not draws but means.
        """
        raise NotImplementedError

    def kl(self) -> Tensor:
        """Divergence of what the likelihood itself has learned from its prior, nats."""
        return torch.zeros(())


class Categorical(Likelihood):
    """Classes 0..n_classes - 1: cross-entropy of logits ``(n, n_classes)`` with labels ``(n,)``."""

    def check(self, y: Tensor, outputs: Tensor) -> None:
        if y.dim() != 1 or y.dtype not in (torch.int64, torch.uint8, torch.int32):
            raise ValueError(f"targets must be class numbers (n,), int64; got {y.dtype} of shape {tuple(y.shape)}")
        if outputs.dim() != 2 or len(outputs) != len(y):
            raise ValueError(
                f"outputs must be logits (n, n_classes), one row for each of {len(y)} targets; got {tuple(outputs.shape)}"
            )
        if len(y) and not (int(y.min()) >= 0 and int(y.max()) < outputs.shape[1]):
            raise ValueError(f"targets must lie in 0..{outputs.shape[1] - 1}; got {int(y.min())} to {int(y.max())}")

    def nll(self, outputs: Tensor, y: Tensor, variance: Tensor | None = None) -> Tensor:
        if variance is not None:
            outputs = outputs + variance.clamp_min(1e-12).sqrt() * torch.randn_like(outputs)
        return F.cross_entropy(outputs, y.long(), reduction="none")


class GaussianNoise(Likelihood):
    """Numbers ``(n, n_out)`` around the outputs, with precisions tau ~ Gamma(alpha, beta), one for each output.

    alpha has its exact value from the start, a0 + n_examples / 2; beta is learned.

    Args:
        n_out: outputs.
        n_examples: training examples.
        shape, rate: a0 and b0 of the prior Gamma(a0, b0), > 0.
    """

    def __init__(self, n_out: int, n_examples: int, shape: float = 1.0, rate: float = 1.0) -> None:
        super().__init__()
        for name, value in (("n_out", n_out), ("n_examples", n_examples)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1; got {value!r}")
        if not (shape > 0 and rate > 0):
            raise ValueError(f"shape and rate must be > 0; got {shape} and {rate}")
        alpha = shape + 0.5 * n_examples
        # the noise begins with a variance of rate / shape
        self.log_beta = nn.Parameter(torch.full((n_out,), math.log(alpha * rate / shape)))
        self.n_out, self.shape, self.rate, self.alpha = n_out, shape, rate, alpha
        self._constant = math.log(2 * math.pi) - float(torch.digamma(torch.tensor(alpha, dtype=torch.float64)))

    @property
    def beta(self) -> Tensor:
        """Rates ``(n_out,)`` of the posterior."""
        return self.log_beta.exp()

    def check(self, y: Tensor, outputs: Tensor) -> None:
        if y.shape != outputs.shape or not y.is_floating_point() or y.dim() != 2 or y.shape[1] != self.n_out:
            raise ValueError(
                f"targets must be floats of shape (n, {self.n_out}), as outputs; got {y.dtype} {tuple(y.shape)} and "
                f"{tuple(outputs.shape)}"
            )

    def nll(self, outputs: Tensor, y: Tensor, variance: Tensor | None = None) -> Tensor:
        apart = (y - outputs).square()
        if variance is not None:
            apart = apart + variance
        return 0.5 * (apart * (self.alpha * (-self.log_beta).exp()) + (self.log_beta + self._constant)).sum(dim=-1)

    def kl(self) -> Tensor:
        a0, b0, a = self.shape, self.rate, self.alpha
        digamma = float(torch.digamma(torch.tensor(a, dtype=torch.float64)))
        known = (a - a0) * digamma - math.lgamma(a) + math.lgamma(a0) - a0 * math.log(b0) - a
        return (a0 * self.log_beta + a * b0 * (-self.log_beta).exp() + known).sum()


def likelihood_named(name: str, n_out: int = 1, n_examples: int = 1) -> Likelihood:
    """``"categorical"`` or ``"gaussian"`` (which needs to know the number of outputs and training examples).

    Raises:
        ValueError: if there is none of that name.
    """
    if name == "categorical":
        return Categorical()
    if name == "gaussian":
        return GaussianNoise(n_out, n_examples)
    raise ValueError(f"likelihood must be 'categorical' or 'gaussian'; got {name!r}")
