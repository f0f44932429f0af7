"""Gaussian posteriors over the weights of a network: one flat vector of means, one of variances, one of priors.

Whatever hands over (mean, variance, prior variance) can be pruned: `MeanField` has them as parameters for an optimiser,
`NaturalGaussian` as IVON keeps them, `WeightPosterior` itself takes them from anywhere (a Laplace approximation, an ensemble).
Removed weights are fixed at their prior's mean (0; for the gains of normalisation layers 1), and stay there: their gradients
are cut, and they are in no sum any more. All is kept in single precision or better, whatever the network's own type is and
becomes: a logarithm of a deviation in bfloat16 would not move by a step of an optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.gaussian import removal_evidence_of
from activebmr.pruning.data.checks import bool_mask, numbers, torch_generator
from activebmr.pruning.data.parameters import parameters_of, set_frozen

__all__ = ["MeanField", "NaturalGaussian", "SinglePrecision", "WeightPosterior", "parameters_of", "set_frozen"]


_FINITE = checks.Rule("be a finite number", math.isfinite)


@dataclass(frozen=True)
class Place:
    """Where a parameter lies in the flat vector."""

    start: int
    stop: int
    shape: tuple[int, ...]
    layer: str


def _check_parameters(parameters: Any) -> None:
    """Refuse what has no weights that a posterior can go on."""
    for name, p in checks.mapping(parameters, "parameters").items():
        if not checks.real_tensor(p, f"parameters[{name!r}]").is_floating_point():
            raise TypeError(f"parameters must be of floating-point numbers; {name!r} is of {p.dtype}")
        if not torch.isfinite(p).all():
            raise ValueError(f"parameters must be finite; {name!r} holds {p[~torch.isfinite(p)][0].item()}")
    if not sum(p.numel() for p in parameters.values()):
        raise ValueError("parameters must hold at least one weight; they hold none")


def _variance(value: Any, name: str) -> float:
    """The variance of a prior of one parameter."""
    try:
        return checks.number(value, "prior_variance", checks.POSITIVE)
    except ValueError as error:
        raise ValueError(f"{error} for {name!r}") from None


class _GaussianKL(torch.autograd.Function):
    """Divergence of N(mean, sd^2) from N(prior mean, 1 / precision), summed, with its gradients in closed form.

    ``precision`` and ``left`` are 0 for weights that are gone; ``logs`` is the sum of log prior variances less 1.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_sd: Tensor, prior_mean: Tensor, precision: Tensor, left: Tensor, logs: Tensor
    ) -> Tensor:
        variance = torch.exp(2 * log_sd).mul_(precision)
        apart = mean - prior_mean
        pull = apart * precision
        ctx.save_for_backward(pull, variance, left)
        return 0.5 * (variance.sum() + torch.dot(apart, pull) + logs) - torch.dot(log_sd, left)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        pull, variance, left = ctx.saved_tensors
        return pull * grads[0], (variance - left) * grads[0], None, None, None, None


class SinglePrecision(nn.Module):
    """A module whose numbers stay in single precision or better when the network that it is in is cast to less."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def kept(t: Tensor) -> Tensor:
            found = fn(t)
            return t.to(found.device) if found.is_floating_point() and found.element_size() < 4 else found

        return super()._apply(kept, recurse)


class WeightPosterior(SinglePrecision):
    """Independent Gaussians over n weights, with the means and variances given.

    Args:
        parameters: by name, whose shapes count and whose values are the first means.
        prior_variance: of every weight, > 0: a number, or by parameter name.
        prior_mean: by parameter name; 0 for those that are missing.
        variance: ``(n,)`` > 0, if it is known.

    Attributes:
        places: by parameter name its slice of the flat vectors, its shape, and its layer (its name without the last part).
        mean, variance: of the posterior ``(n,)``; removed weights are at their prior's mean, with variance 0.
        prior_mean, prior_variance: ``(n,)``.
        alive: which weights are left ``(n,)``.

    Example:
        >>> posterior = WeightPosterior({"w": torch.tensor([0.0, 1.0])}, variance=torch.tensor([0.25, 0.25]))
        >>> posterior.removal_evidence()
        tensor([ 0.6931, -1.3069], dtype=torch.float64)
    """

    prior_mean: Tensor
    prior_variance: Tensor
    alive: Tensor

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        prior_variance: float | Mapping[str, float] = 1.0,
        prior_mean: Mapping[str, float] | None = None,
        variance: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check_parameters(parameters)
        self.places: dict[str, Place] = {}
        self._memory: dict[str, Any] = {}
        n = 0
        for name, p in parameters.items():
            self.places[name] = Place(n, n + p.numel(), tuple(p.shape), name.rpartition(".")[0])
            n += p.numel()
        start = torch.cat([p.detach().reshape(-1) for p in parameters.values()])
        start = start.to(torch.promote_types(start.dtype, torch.float32))
        self.register_buffer("prior_mean", torch.zeros_like(start))
        self.register_buffer("prior_variance", torch.ones_like(start))
        self.register_buffer("alive", torch.ones(n, dtype=torch.bool, device=start.device))
        means = {} if prior_mean is None else checks.mapping(prior_mean, "prior_mean")
        for name in prior_variance if isinstance(prior_variance, Mapping) else ():
            if name not in self.places:
                near = checks.meant(name, self.places)
                raise ValueError(f"prior_variance must name parameters of {list(self.places)}; got {name!r}{near}")
        for name, place in self.places.items():
            value = prior_variance.get(name, 1.0) if isinstance(prior_variance, Mapping) else prior_variance
            self.prior_variance[place.start : place.stop] = _variance(value, name)
            mean = checks.number(means.get(name, 0.0), f"prior_mean of {name!r}", _FINITE)
            self.prior_mean[place.start : place.stop] = mean
        self._start(start, variance)

    def _start(self, mean: Tensor, variance: Tensor | None) -> None:
        self.register_buffer("_mean", mean.clone())
        self.register_buffer("_variance", self._checked_variance(mean, variance))

    def _checked_variance(self, mean: Tensor, variance: Tensor | None) -> Tensor:
        given = self.prior_variance.clone() if variance is None else numbers(variance, "variance", None).to(mean)
        if given.shape != mean.shape or not bool((given > 0).all()) or not bool(torch.isfinite(given).all()):
            raise ValueError(f"variance must hold {len(mean)} finite numbers > 0; got shape {tuple(given.shape)}")
        return given

    # --- what subclasses may keep elsewhere ------------------------------------------------------------------------------
    def raw_mean(self) -> Tensor:
        """Means ``(n,)``, whatever is removed."""
        return self._mean  # type: ignore[return-value]

    def raw_variance(self) -> Tensor:
        """Variances ``(n,)``, whatever is removed."""
        return self._variance  # type: ignore[return-value]

    def raw_sd(self) -> Tensor:
        """Standard deviations ``(n,)``, whatever is removed."""
        return self.raw_variance().sqrt()

    # --- as others see it ------------------------------------------------------------------------------------------------
    @property
    def mean(self) -> Tensor:
        return self.raw_mean() if self.is_whole else torch.where(self.alive, self.raw_mean(), self.prior_mean)

    @property
    def variance(self) -> Tensor:
        return self.raw_variance() if self.is_whole else self.raw_variance() * self.alive

    @property
    def sd(self) -> Tensor:
        """Standard deviations ``(n,)``, 0 for what is removed."""
        return self.raw_sd() if self.is_whole else torch.where(self.alive, self.raw_sd(), 0)

    @property
    def is_whole(self) -> bool:
        """Whether nothing has been removed."""
        return self._remembered("whole", lambda: bool(self.alive.all()))

    def _remembered(self, key: str, find: Callable[[], Any]) -> Any:
        """What depends on priors and on what is left alone, found anew only when one of them has been written to."""
        p = self.prior_variance
        versions = self.alive._version, p._version, p.dtype, p.device
        if self._memory.get("versions") != versions:
            self._memory = {"versions": versions}
        if key not in self._memory:
            self._memory[key] = find()
        return self._memory[key]

    @property
    def n(self) -> int:
        return len(self.alive)

    @property
    def n_removed(self) -> int:
        return int(self.n - self.alive.sum())

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a flat vector ``(n,)`` by parameter name, in their shapes.

        Raises:
            TypeError, ValueError: if it is no tensor of real numbers of that shape.
        """
        if not isinstance(flat, Tensor) or flat.shape != self.alive.shape:
            got = tuple(flat.shape) if isinstance(flat, Tensor) else checks.brief(flat)
            raise ValueError(f"flat must be a tensor of shape {tuple(self.alive.shape)}; got {got}")
        if flat.is_complex() or flat.is_meta or flat.layout != torch.strided:  # every step comes here
            checks.real_tensor(flat, "flat")
        parts = flat.split([p.stop - p.start for p in self.places.values()])
        return {name: part.view(p.shape) for (name, p), part in zip(self.places.items(), parts, strict=True)}

    @property
    def layers(self) -> dict[str, list[tuple[int, int]]]:
        """By layer the slices of the flat vector that belong to it."""
        found: dict[str, list[tuple[int, int]]] = {}
        for place in self.places.values():
            found.setdefault(place.layer, []).append((place.start, place.stop))
        return found

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of all weights ``(n,)``.

        Raises:
            TypeError: if ``generator`` is none of torch's.
        """
        generator = torch_generator(generator)
        mean = self.mean.detach()
        noise = torch.randn(self.n, generator=generator, dtype=mean.dtype, device=mean.device)
        return mean + noise * self.variance.detach().sqrt()

    def kl(self) -> Tensor:
        """Divergence from the prior of the weights that are left, nats (a scalar, in the weights' type)."""
        return self._kl(self.raw_mean(), 0.5 * self.raw_variance().log())

    def _kl(self, mean: Tensor, log_sd: Tensor) -> Tensor:
        precision = self._remembered("precision", lambda: self.alive / self.prior_variance)
        left, logs = self._remembered(
            "logs",
            lambda: (self.alive.to(mean.dtype), (self.prior_variance.double().log() - 1)[self.alive].sum().to(mean.dtype)),
        )
        return _GaussianKL.apply(mean, log_sd, self.prior_mean, precision, left, logs)

    @torch.no_grad()
    def removal_evidence(self) -> Tensor:
        """Log evidence ratio of removing each weight ``(n,)``, nats, float64; -inf for those that are gone."""
        found = removal_evidence_of(self.raw_mean() - self.prior_mean, self.raw_variance(), self.prior_variance)
        if not torch.isfinite(found[self.alive]).all():
            at = int((self.alive & ~torch.isfinite(found)).nonzero()[0])
            values = self.raw_mean()[at].item(), self.raw_variance()[at].item()
            raise ValueError(f"evidence must be finite; weight {at} has mean {values[0]}, variance {values[1]}: diverged?")
        return torch.where(self.alive, found, torch.full_like(found, -torch.inf))

    @torch.no_grad()
    def remove(self, mask: Tensor) -> int:
        """Fix weights ``(n,)`` at their prior's mean for good; returns how many were new."""
        mask = bool_mask(mask, "mask", tuple(self.alive.shape)).to(self.alive.device)
        new = int((mask & self.alive).sum())
        self.alive &= ~mask
        return new


class MeanField(WeightPosterior):
    """Means and log standard deviations as parameters, for any optimiser (Blundell et al. 2015).

    Example:
        >>> posterior = MeanField(dict(net.named_parameters()), prior_variance=0.1)
        >>> bayes = BayesianModule(net, posterior, "bbb-local")
    """

    def _start(self, mean: Tensor, variance: Tensor | None) -> None:
        given = self._checked_variance(mean, variance)
        self.location = nn.Parameter(mean.clone())
        self.log_sd = nn.Parameter(0.5 * given.clone().log())

    def raw_mean(self) -> Tensor:
        return self.location

    def raw_variance(self) -> Tensor:
        return (2 * self.log_sd).exp()

    def raw_sd(self) -> Tensor:
        return self.log_sd.exp()

    def kl(self) -> Tensor:
        return self._kl(self.location, self.log_sd)


class _Drawn(torch.autograd.Function):
    """Weights at ``location + noise``. Besides its own gradient g, it gives ``curvature`` the product g x noise."""

    @staticmethod
    def forward(ctx: Any, location: Tensor, curvature: Tensor, noise: Tensor, removed: Tensor | None, at: Tensor) -> Tensor:
        ctx.save_for_backward(noise)
        ctx.removed = removed
        weights = location + noise
        return weights if removed is None else torch.where(removed, at, weights)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (noise,) = ctx.saved_tensors
        g = grads[0] if ctx.removed is None else grads[0].masked_fill(ctx.removed, 0)
        return g, g * noise, None, None, None


class NaturalGaussian(WeightPosterior):
    """The posterior that IVON keeps: N(mean, 1 / (n_examples (hessian + delta))), delta = 1 / (n_examples x prior variance).

    Args:
        parameters, prior_variance, prior_mean: see `WeightPosterior`.
        n_examples: training examples: how many times the mean loss counts.
        hessian: first value of the diagonal Hessian of the mean loss, > 0.

    Attributes:
        location: means ``(n,)``; its gradient is that of the losses of all draws since the last step, summed.
        curvature: zeros ``(n,)``, in no state, a parameter for its gradient alone: the sum over draws of gradient x (weight -
            mean), from which IVON estimates the Hessian. What is done to gradients (accumulated, scaled, clipped, reduced over
            machines, dropped) is done to both.

    Example:
        >>> posterior = NaturalGaussian({"w": torch.zeros(2)}, n_examples=10, hessian=0.9)
        >>> posterior.variance
        tensor([0.1000, 0.1000])
    """

    hessian: Tensor

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        prior_variance: float | Mapping[str, float] = 1.0,
        prior_mean: Mapping[str, float] | None = None,
        *,
        n_examples: int,
        hessian: float = 0.1,
    ) -> None:
        n_examples = checks.whole_from(n_examples, "n_examples", 1)
        self._first = checks.number(hessian, "hessian", checks.POSITIVE)
        super().__init__(parameters, prior_variance, prior_mean)
        self.n_examples = n_examples

    def _start(self, mean: Tensor, variance: Tensor | None) -> None:
        self.location = nn.Parameter(mean.clone())
        self.curvature = nn.Parameter(torch.zeros_like(mean))
        self.register_buffer("hessian", torch.full_like(mean, self._first))

    def raw_mean(self) -> Tensor:
        return self.location.detach()

    def precision(self) -> Tensor:
        """Of the posterior, per example ``(n,)``: hessian + delta."""
        return self.hessian + 1 / (self.n_examples * self.prior_variance)

    def raw_variance(self) -> Tensor:
        return 1 / (self.n_examples * self.precision())

    def drawn(self) -> Tensor:
        """One draw of all weights ``(n,)``, whose gradient goes to the parameters."""
        with torch.no_grad():
            noise = (self.n_examples * self.precision()).rsqrt_().mul_(torch.randn_like(self.location))
            removed = None if self.is_whole else ~self.alive
        return _Drawn.apply(self.location, self.curvature, noise, removed, self.prior_mean)  # type: ignore[no-any-return]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}curvature"]

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict[f"{prefix}curvature"] = self.curvature.detach()
        super()._load_from_state_dict(state_dict, prefix, *rest)
