"""What a network's outputs say about targets: categorical for classes, Gaussian with a learned precision for numbers.

Expected negative log likelihoods per example, and for the noise precision a Gamma posterior of its own (Beckers et al. 2024,
eq. 9 to 12): tau ~ Gamma(alpha, beta) for each output, prior Gamma(1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
        shape, rate: a0 and b0 of the prior Gamma(a0, b0), > 0; rates in squared units of the targets, one for all outputs or
            one for each.
        variance: of the noise at first, > 0; by default rate / shape. A small one lets a network learn much before what it does
            not explain counts as noise.
    """

    rate: Tensor

    def __init__(
        self,
        n_out: int,
        n_examples: int,
        shape: float = 1.0,
        rate: float | Sequence[float] = 1.0,
        variance: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("n_out", n_out), ("n_examples", n_examples)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number >= 1; got {value!r}")
        rates = torch.as_tensor(rate, dtype=torch.float64)
        if rates.dim() > 1 or (rates.dim() == 1 and len(rates) != n_out):
            raise ValueError(f"rate must be a number or one for each of the {n_out} outputs; got shape {tuple(rates.shape)}")
        if not (shape > 0 and (rates > 0).all() and rates.isfinite().all()):
            raise ValueError(f"shape and rate must be finite and > 0; got {shape} and {rate}")
        if variance is not None and not 0 < variance < math.inf:
            raise ValueError(f"variance must be a finite number > 0; got {variance}")
        alpha = shape + 0.5 * n_examples
        first = rates / shape if variance is None else torch.tensor(variance, dtype=torch.float64)
        self.log_beta = nn.Parameter((alpha * first).log().expand(n_out).to(torch.get_default_dtype()).contiguous())
        self.register_buffer("rate", rates.expand(n_out).clone(), persistent=False)
        self.n_out, self.shape, self.alpha = n_out, shape, alpha
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
        a0, b0, a = self.shape, self.rate.to(self.log_beta.dtype), self.alpha
        digamma = float(torch.digamma(torch.tensor(a, dtype=torch.float64)))
        known = (a - a0) * digamma - math.lgamma(a) + math.lgamma(a0) - a0 * b0.log() - a
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
