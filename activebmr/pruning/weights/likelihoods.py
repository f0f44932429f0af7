"""What a network's outputs say about targets: categorical for classes, Gaussian with a learned precision for numbers.

Expected negative log likelihoods per example, and for the noise precision a Gamma posterior of its own (Beckers et al. 2024,
eq. 9 to 12): tau ~ Gamma(alpha, beta) for each output, prior Gamma(1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.checks import POSITIVE, numbers
from activebmr.pruning.data.losses import IGNORED, counted

__all__ = ["Categorical", "GaussianNoise", "Likelihood", "check_likelihood", "likelihood_named"]


class Likelihood(nn.Module):
    """Base of likelihoods, also of those that users write, for outputs and targets of any kind.

    Example:
        >>> class Laplace(Likelihood):
        ...     def check(self, y, outputs):
        ...         if y.shape != outputs.shape:
        ...             raise ValueError(f"targets must have the shape of outputs; got {y.shape} and {outputs.shape}")
        ...
        ...     def nll(self, outputs, y, variance=None):
        ...         return ((y - outputs).abs() + math.log(2)).flatten(1).sum(dim=1)
    """

    def check(self, y: Tensor, outputs: Tensor) -> None:
        """Whether targets fit the outputs of some examples.

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


def _tensor(outputs: object) -> Tensor:
    """Outputs, if they are a tensor.

    Raises:
        TypeError: if they are not.
    """
    if isinstance(outputs, Tensor):
        return outputs
    keys = f" with the keys {list(outputs)}" if isinstance(outputs, Mapping) else ""
    raise TypeError(
        f"outputs of the network must be a tensor; got a {type(outputs).__name__}{keys}: wrap the network in a module that "
        "returns the tensor, or give a Likelihood of your own that takes them"
    )


def _numbers(outputs: object) -> Tensor:
    """Outputs, if they are a tensor of floating-point numbers.

    Raises:
        TypeError: if they are not.
    """
    found = _tensor(outputs)
    if not found.is_floating_point():
        raise TypeError(f"outputs of the network must be floating-point numbers; got {found.dtype}")
    checks.real_tensor(found, "outputs of the network")
    return found


def _single(outputs: Tensor) -> Tensor:
    """In single precision or better: sums over places and examples have no room in less."""
    return outputs.float() if outputs.element_size() < 4 else outputs


def check_likelihood(likelihood: Any) -> Likelihood:
    """``likelihood`` if it is one.

    Raises:
        TypeError: if it is none, such as a class or a name.
    """
    if not isinstance(likelihood, Likelihood):
        hint = f"; did you mean {likelihood.__name__}()?" if isinstance(likelihood, type) else ""
        raise TypeError(f"likelihood must be a Likelihood such as Categorical(); got {checks.brief(likelihood)}{hint}")
    return likelihood


class Categorical(Likelihood):
    """Classes 0..n_classes - 1: cross-entropy of logits with labels.

    Logits ``(n, n_classes)`` go with labels ``(n,)``. There may be one label for each of the places of an example: then logits
    ``(n, ..., n_classes)``, as of language models, or ``(n, n_classes, ...)``, as of segmentation, go with labels ``(n, ...)``,
    and the loss of an example is the sum over its places.

    Args:
        axis: of the classes in the logits, -1 or 1; by default the one that fits the shape of the labels, as `check` finds it.
            Where both fit, as for logits ``(n, 5, 5)``, it must be given.
        ignore: label of places that do not count, as those of padding; None counts all. An example ``(n,)`` always counts.

    Example:
        >>> Categorical(axis=-1).nll(torch.randn(8, 12, 50), torch.randint(50, (8, 12))).shape
        torch.Size([8])
    """

    def __init__(self, axis: int | None = None, ignore: int | None = IGNORED) -> None:
        super().__init__()
        if axis is not None and (not checks.is_whole(axis) or axis not in (1, -1)):
            raise ValueError(f"axis must be 1, -1 or None; got {checks.brief(axis)}")
        if ignore is not None and not checks.is_whole(ignore):
            raise ValueError(f"ignore must be a whole number or None; got {checks.brief(ignore)}")
        self.axis, self.ignore = axis, ignore
        self._found: int | None = None

    def check(self, y: Tensor, outputs: Tensor) -> None:
        if not isinstance(y, Tensor) or y.dim() < 1 or y.dtype not in (torch.int64, torch.uint8, torch.int32):
            got = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
            raise ValueError(f"targets must be class numbers (n,), int64; got {got}")
        checks.real_tensor(y, "targets")
        _numbers(outputs)
        self._found = self._axis(_tensor(outputs), y)
        classes, labels = outputs.shape[self._found], y if y.dim() == 1 else y[counted(y, self.ignore)]
        if labels.numel() and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
            raise ValueError(f"targets must lie in 0..{classes - 1}; got {int(labels.min())} to {int(labels.max())}")

    def nll(self, outputs: Tensor, y: Tensor, variance: Tensor | None = None) -> Tensor:
        outputs = _single(_tensor(outputs))
        if variance is not None:
            outputs = outputs + variance.clamp_min(1e-12).sqrt() * torch.randn_like(outputs)
        y = y.long()
        if y.dim() == 1 and outputs.dim() == 2:
            each = self._each(outputs, y)
        else:
            each = self._each(outputs.movedim(self._axis(outputs, y, self._found), 1), y)
        return each if each.dim() < 2 else each.flatten(1).sum(dim=1)

    def _each(self, logits: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(logits, y, reduction="none", ignore_index=IGNORED if self.ignore is None else self.ignore)

    def _axis(self, outputs: Tensor, y: Tensor, known: int | None = None) -> int:
        """Where classes are in the logits: 1 or -1.

        Raises:
            ValueError: if the shapes fit neither way, or both and nothing says which.
        """
        shape, places = tuple(outputs.shape), tuple(y.shape)
        fits = [i for i, rest in ((1, shape[:1] + shape[2:]), (-1, shape[:-1])) if len(shape) > 1 and rest == places]
        fits = fits[-1:] if len(shape) == 2 else fits
        if self.axis is not None and len(shape) > 2:
            fits = [i for i in fits if i == self.axis]
        if not fits and len(places) == 1:
            raise ValueError(f"outputs must be logits (n, n_classes), one row for each of {len(y)} targets; got {shape}")
        if not fits and len(shape) < 3:
            raise ValueError(
                f"targets must be class numbers (n,), int64; got {y.dtype} of shape {places}, where outputs are {shape}"
            )
        if not fits:
            raise ValueError(
                f"outputs must be logits (n, ..., n_classes) or (n, n_classes, ...) for targets {places}; got {shape}"
                + ("" if self.axis is None else f", with classes on axis {self.axis}")
            )
        if len(fits) > 1 and known is None:
            raise ValueError(
                f"outputs {shape} may have their classes on axis 1 or -1 for targets {places}: "
                "say it with Categorical(axis=1) or Categorical(axis=-1)"
            )
        return fits[0] if len(fits) == 1 else int(known or 0)


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

    Example:
        >>> noise = GaussianNoise(n_out=3, n_examples=24, variance=0.01)
        >>> found = sparsify(net, (x, torch.randn(24, 3)), noise, epochs=2, start=1)
        >>> variance = noise.beta / noise.alpha
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
        n_out, n_examples = checks.whole_from(n_out, "n_out", 1), checks.whole_from(n_examples, "n_examples", 1)
        shape = checks.number(shape, "shape", checks.POSITIVE)
        rates = numbers(rate, "rate", POSITIVE)
        if rates.dim() > 1 or (rates.dim() == 1 and len(rates) != n_out):
            raise ValueError(f"rate must be a number or one for each of the {n_out} outputs; got shape {tuple(rates.shape)}")
        variance = None if variance is None else checks.number(variance, "variance", checks.POSITIVE)
        alpha = shape + 0.5 * n_examples
        first = rates / shape if variance is None else torch.tensor(variance, dtype=torch.float64)
        self.log_beta = nn.Parameter((alpha * first).log().expand(n_out).to(torch.get_default_dtype()).contiguous())
        self.register_buffer("rate", rates.expand(n_out).clone(), persistent=False)
        self.n_out, self.n_examples, self.shape, self.alpha = n_out, n_examples, shape, alpha
        self._constant = math.log(2 * math.pi) - float(torch.digamma(torch.tensor(alpha, dtype=torch.float64)))

    @property
    def beta(self) -> Tensor:
        """Rates ``(n_out,)`` of the posterior."""
        return self.log_beta.exp()

    def check(self, y: Tensor, outputs: Tensor) -> None:
        outputs = _numbers(outputs)
        if not isinstance(y, Tensor):
            raise ValueError(f"targets must be floats of shape (n, {self.n_out}), as outputs; got {type(y).__name__}")
        if y.shape != outputs.shape or not y.is_floating_point() or y.dim() != 2 or y.shape[1] != self.n_out:
            raise ValueError(
                f"targets must be floats of shape (n, {self.n_out}), as outputs; got {y.dtype} {tuple(y.shape)} and "
                f"{tuple(outputs.shape)}"
            )
        checks.real_tensor(y, "targets")
        if not torch.isfinite(y).all():
            raise ValueError(f"targets must be finite; got {y[~torch.isfinite(y)][0].item()}")

    def nll(self, outputs: Tensor, y: Tensor, variance: Tensor | None = None) -> Tensor:
        apart = (y - _single(_tensor(outputs))).square()
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
    checks.choice(name, "likelihood", ("categorical", "gaussian"))
    if name == "categorical":
        return Categorical()
    return GaussianNoise(n_out, n_examples)
