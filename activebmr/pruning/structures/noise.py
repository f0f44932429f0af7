"""Multiplicative noise with a truncated log-normal posterior: divergence, moments, signal-to-noise ratio, samples.

A noise variable theta multiplies the output of a structure (a neuron, a channel, a head). Everything happens in x = log theta
on [a, b]: the posterior q(x) is N(mu, sigma^2) truncated to it, the prior is uniform. Sources: Neklyudov et al. (2017),
"Structured Bayesian pruning via log-normal multiplicative noise"; Wright, Igel & Selvan (2024), "BMRS: Bayesian model reduction
for structured pruning", arXiv 2406.01345.

All of it is computed in float64 and differentiable, over the whole range in which training may go (mu from -20 to 5, log sigma
from -20 to 5). The textbook forms are differences of numbers that grow like (mu / sigma)^2; here those have been taken out by
hand, and what is left is written with the hazard h(x) = phi(x) / Phi(x) and its excess g(x) = x + h(x), which have stable forms
in the tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.checks import numbers, torch_generator

__all__ = ["LOG_THETA", "TruncatedLogNormal", "log_mass", "log_scaled_mass"]

LOG_THETA = (-20.0, 0.0)
"""Interval of log theta: theta lies between e^-20, as good as nothing, and 1."""

_FINITE = checks.Rule("be a finite number", np.isfinite)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_TAIL = -4.0  # below it the continued fraction, above it erfcx
_TERMS = 22
_SMALL_VARIANCE = 1e-2  # of x: below it, log moments are integrated instead of subtracted
_NODES, _WEIGHTS = (torch.tensor(x) for x in np.polynomial.legendre.leggauss(12))


class _Hazard(torch.autograd.Function):
    """log h(x), the excess g(x) = x + h(x), and V(x) = 1 - h(x) g(x), the variance of a standard normal below x.

    In the tail by Laplace's continued fraction, h(-t) = t + 1 / (t + 2 / (t + 3 / ...)), which has no cancellation. Their
    derivatives are -g, V and h (g^2 - V).
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[no-untyped-def,override]
        log_h = -0.5 * x * x - _HALF_LOG_2PI - torch.special.log_ndtr(x)
        h = torch.exp(log_h)
        g = x + h
        v = 1.0 - h * g
        slope = h * (g * g - v)
        tail = x < _TAIL
        if tail.any():
            t = -x[tail]
            rest = t.clone()
            for k in range(_TERMS, 3, -1):
                rest.reciprocal_().mul_(k).add_(t)
            e = 3.0 / rest  # h(-t) = t + g, g = 1 / (t + c), c = 2 / (t + e)
            c = 2.0 / (t + e)
            gt = 1.0 / (t + c)
            log_h[tail], g[tail], v[tail] = torch.log(t + gt), gt, gt * (c - gt)
            slope[tail] = (t + gt) * gt * 2.0 * (e - c) / ((t + c) * (t + e))
        ctx.save_for_backward(g, v, slope)
        return log_h, g, v

    @staticmethod
    def backward(ctx, of_log_h: Tensor, of_g: Tensor, of_v: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        g, v, slope = ctx.saved_tensors
        return -of_log_h * g + of_g * v + of_v * slope


def _hazard(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _Hazard.apply(x)  # type: ignore[no-untyped-call,no-any-return]


class _LogNdtr(torch.autograd.Function):
    """log Phi(x); its derivative h(x) is finite everywhere, which that of torch's own is not."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        y = torch.special.log_ndtr(x)
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def,override]
        x, y = ctx.saved_tensors
        tail = x < _TAIL
        h = torch.exp(-0.5 * x * x - _HALF_LOG_2PI - y)
        if tail.any():
            h[tail] = torch.exp(_hazard(x[tail])[0])
        return grad * h


def _log_ndtr(x: Tensor) -> Tensor:
    return _LogNdtr.apply(x)  # type: ignore[no-untyped-call,no-any-return]


def log_mass(low: Tensor, high: Tensor) -> Tensor:
    """log(Phi(high) - Phi(low)) for low < high, float64, without loss in either tail."""
    flip = low > 0  # both in the upper tail: the mirror image has the same mass
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    upper = _log_ndtr(high)
    return upper + _log1mexp(upper - _log_ndtr(low))


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(-x)) for x > 0."""
    small = x < math.log(2)
    near = torch.where(small, x, torch.ones_like(x))
    far = torch.where(small, torch.ones_like(x), x)
    return torch.where(small, torch.log(-torch.expm1(-near)), torch.log1p(-torch.exp(-far)))


@dataclass(frozen=True, eq=False)
class TruncatedLogNormal:
    """Posterior over theta: x = log theta ~ N(mu, sigma^2) truncated to [low, high].

    Attributes:
        mu: location, any shape.
        log_sigma: log scale, of the same shape.
        low, high: the interval of x.

    Raises:
        TypeError: if they are no tensors of real numbers.
        ValueError: if shapes differ or the interval is empty.

    Example:
        >>> posterior = TruncatedLogNormal(mu=torch.tensor([-1.0]), log_sigma=torch.tensor([-9.0]))
        >>> posterior.mean()
        tensor([0.3679], dtype=torch.float64)
        >>> theta = posterior.sample(draws=100)
    """

    mu: Tensor
    log_sigma: Tensor
    low: float = LOG_THETA[0]
    high: float = LOG_THETA[1]

    def __post_init__(self) -> None:
        for name in ("mu", "log_sigma"):
            x = getattr(self, name)  # on "meta" too, where scores are asked for their device alone
            if not isinstance(x, Tensor) or not x.is_floating_point() or x.layout != torch.strided:
                got = f"{x.dtype}, {x.layout}" if isinstance(x, Tensor) else checks.brief(x)
                raise TypeError(f"{name} must be a dense tensor of floating-point numbers; got {got}")
        for name in ("low", "high"):
            checks.number(getattr(self, name), name, _FINITE)
        if self.mu.shape != self.log_sigma.shape:
            raise ValueError(
                f"mu and log_sigma must have the same shape; got {tuple(self.mu.shape)} and {tuple(self.log_sigma.shape)}"
            )
        if not self.low < self.high:
            raise ValueError(f"low must be less than high; got {self.low} and {self.high}")
        for name in ("mu", "log_sigma"):
            object.__setattr__(self, name, getattr(self, name).double())

    @property
    def sigma(self) -> Tensor:
        return torch.exp(self.log_sigma)

    @property
    def width(self) -> float:
        """Length of the interval of x."""
        return self.high - self.low

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """(low - mu) / sigma and (high - mu) / sigma."""
        return (self.low - self.mu) / self.sigma, (self.high - self.mu) / self.sigma

    @property
    def log_z(self) -> Tensor:
        """Log of the share of N(mu, sigma^2) that lies in the interval."""
        return log_mass(*self.bounds)

    def log_share(self, low: float, high: float) -> Tensor:
        """Log of the mass that q puts on an interval of x within its own.

        Raises:
            TypeError, ValueError: if the ends are no numbers, or do not lie within.
        """
        low, high = checks.number(low, "low", _FINITE), checks.number(high, "high", _FINITE)
        if not self.low <= low < high <= self.high:
            raise ValueError(f"low and high must lie within [{self.low}, {self.high}], low below high; got {low} and {high}")
        own, part = self.bounds, ((low - self.mu) / self.sigma, (high - self.mu) / self.sigma)
        flip = own[0] > 0  # mirrored where the mean lies below the interval, so that it never does
        (alpha, beta), (a, b) = (
            (torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)) for lower, upper in (own, part)
        )
        one, two = torch.ones_like(self.mu), torch.full_like(self.mu, -2.0)
        apart = torch.where(flip, (self.low - low) * one, (high - self.high) * one) / self.sigma  # b - beta
        outside = beta < 0  # (mu / sigma)^2 cancels
        tails = [
            log_scaled_mass(torch.where(outside, x, two), torch.where(outside, y, -one)) for x, y in ((a, b), (alpha, beta))
        ]
        masses = [log_mass(torch.where(outside, -one, x), torch.where(outside, one, y)) for x, y in ((a, b), (alpha, beta))]
        return torch.where(outside, tails[0] - tails[1] - 0.5 * apart * (b + beta), masses[0] - masses[1])

    def log_prob(self, x: Tensor | float) -> Tensor:
        """Log density of x = log theta within the interval."""
        inside = checks.Rule(f"lie within [{self.low}, {self.high}]", lambda x: (x >= self.low) & (x <= self.high))
        at = numbers(x, "x", inside).to(self.mu.device)
        try:
            torch.broadcast_shapes(at.shape, self.mu.shape)
        except RuntimeError:
            raise ValueError(f"x must broadcast to the shape of mu, {tuple(self.mu.shape)}; got {tuple(at.shape)}") from None
        z = (at - self.mu) / self.sigma
        return -0.5 * z * z - _HALF_LOG_2PI - self.log_sigma - self.log_z

    def kl(self) -> Tensor:
        """KL[q || uniform], nats, elementwise, >= 0 (Neklyudov et al. 2017, eq. 11)."""
        alpha, beta, _ = self._facing()
        outside = beta < 0
        base = math.log(self.width) - self.log_sigma
        # the mean lies in the interval
        a, b = torch.where(outside, -torch.ones_like(alpha), alpha), torch.where(outside, torch.ones_like(beta), beta)
        log_z = log_mass(a, b)
        edge = a * torch.exp(-0.5 * a * a - _HALF_LOG_2PI - log_z) - b * torch.exp(-0.5 * b * b - _HALF_LOG_2PI - log_z)
        inside_kl = base - log_z - _HALF_LOG_2PI - 0.5 - 0.5 * edge
        # it lies outside: beta^2 / 2 cancels
        a, b = torch.where(outside, alpha, -2.0 * torch.ones_like(alpha)), torch.where(outside, beta, -torch.ones_like(beta))
        (log_ha, _, _), (log_hb, gb, _) = _hazard(a), _hazard(b)
        log_r = 0.5 * (b - a) * (b + a) + log_hb - log_ha  # Phi(a) / Phi(b)
        log_left = _log1mexp(-log_r)
        odds = torch.exp(log_r - log_left)
        tail = odds * (b * torch.exp(log_hb) - a * torch.exp(log_ha))
        outside_kl = base - 0.5 + log_hb - log_left + 0.5 * b * gb + 0.5 * tail
        return torch.where(outside, outside_kl, inside_kl)

    def _facing(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bounds, mirrored where the mean lies below the interval, so that it never does; and where they were."""
        alpha, beta = self.bounds
        flip = alpha > 0
        return torch.where(flip, -beta, alpha), torch.where(flip, -alpha, beta), flip

    def log_moment(self, k: float) -> Tensor:
        """log E[theta^k], elementwise."""
        k = checks.number(k, "k", _FINITE)
        alpha, beta = self.bounds
        sigma = self.sigma
        above = beta < 0  # the mean lies above the interval: (mu / sigma)^2 cancels
        b = torch.where(above, beta, -torch.ones_like(beta))
        a = torch.where(above, alpha, -2.0 * torch.ones_like(alpha))
        shift = torch.where(above, k * sigma, torch.zeros_like(sigma))
        outside = k * self.high + log_scaled_mass(a - shift, b - shift) - log_scaled_mass(a, b)
        a, b = torch.where(above, -torch.ones_like(alpha), alpha), torch.where(above, torch.ones_like(beta), beta)
        s = torch.where(above, torch.zeros_like(sigma), sigma)
        inside = k * self.mu + 0.5 * (k * s) ** 2 + log_mass(a - k * s, b - k * s) - log_mass(a, b)
        return torch.where(above, outside, inside)

    def mean(self) -> Tensor:
        """E[theta]."""
        return torch.exp(self.log_moment(1))

    def snr(self) -> Tensor:
        """Signal-to-noise ratio E[theta] / sd(theta); it does not change if theta is scaled."""
        small = self._tilted_variance(torch.zeros((), dtype=torch.float64)) < _SMALL_VARIANCE
        direct = self.log_moment(2) - 2.0 * self.log_moment(1)
        # log E[theta^2] - 2 log E[theta] is a second difference of the cumulant generating function of x
        total = torch.zeros_like(self.mu)
        for start, slope in ((0.0, 1.0), (1.0, -1.0)):
            for node, weight in zip(_NODES, _WEIGHTS, strict=True):
                k = start + 0.5 * (node + 1.0)
                share = k if slope > 0 else 2.0 - k
                total = total + 0.5 * weight * share * self._tilted_variance(k)
        spread = torch.where(small, total, torch.where(small, torch.ones_like(direct), direct))
        return torch.rsqrt(torch.expm1(spread))

    def _tilted_variance(self, k: Tensor) -> Tensor:
        """Variance of x under q(x) exp(k x), normalised: N(mu + k sigma^2, sigma^2) truncated."""
        sigma = self.sigma
        alpha, beta = (bound - k * sigma for bound in self.bounds)
        flip = alpha > 0
        alpha, beta = torch.where(flip, -beta, alpha), torch.where(flip, -alpha, beta)
        outside = beta < _TAIL
        one_sided = _hazard(torch.where(outside, beta, torch.full_like(beta, _TAIL)))[2]
        a = torch.where(outside, -torch.ones_like(alpha), alpha)
        b = torch.where(outside, torch.ones_like(beta), beta)
        log_z = log_mass(a, b)
        pa, pb = (torch.exp(-0.5 * x * x - _HALF_LOG_2PI - log_z) for x in (a, b))
        both = 1.0 + torch.where(pa > 0, a * pa, torch.zeros_like(a)) - b * pb - (pa - pb) ** 2
        return sigma**2 * torch.where(outside, one_sided, both)

    def sample(self, draws: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Draws of theta, differentiable in mu and log sigma (implicit reparameterisation).

        Args:
            draws: how many, along a new first axis; one without that axis by default.
            generator: source of random numbers; torch's own by default.

        Raises:
            TypeError, ValueError: if there is no such number of draws, or the source is none.
        """
        draws = None if draws is None else checks.whole_number(draws, "draws", 1)
        generator = torch_generator(generator)
        shape = self.mu.shape if draws is None else (draws, *self.mu.shape)
        u = torch.rand(shape, dtype=torch.float64, device=self.mu.device, generator=generator).clamp_(1e-12, 1 - 1e-12)
        return torch.exp(_Quantile.apply(self.mu, self.log_sigma, u, self.low, self.high))  # type: ignore[no-untyped-call]


def log_scaled_mass(a: Tensor, b: Tensor) -> Tensor:
    """log[(Phi(b) - Phi(a)) / phi(b)] for a < b < 0, float64: what is left of `log_mass` when b^2 / 2 is taken out."""
    (log_ha, _, _), (log_hb, _, _) = _hazard(a), _hazard(b)
    log_r = 0.5 * (b - a) * (b + a) + log_hb - log_ha
    return _log1mexp(-log_r) - log_hb


class _Quantile(torch.autograd.Function):
    """x with F(x) = u, F the cumulative distribution of the truncated normal; its gradient is that of the implicit function.

    Worked out in a mirror image in which the mean never lies below the interval. Where it lies above, the distance from the
    upper end is what is solved for: x itself has not the digits.
    """

    @staticmethod
    def forward(ctx, mu: Tensor, log_sigma: Tensor, u: Tensor, low: float, high: float) -> Tensor:  # type: ignore[no-untyped-def,override]
        sigma = torch.exp(log_sigma)
        flip = mu < low
        mean = torch.where(flip, low + high - mu, mu)
        u = torch.where(flip, 1 - u, u) if flip.any() else u
        alpha, beta = (low - mean) / sigma, (high - mean) / sigma
        above = beta < _TAIL
        x, d_mu, d_scale = _inner_quantile(alpha, torch.where(above, torch.ones_like(beta), beta), u)
        x = mean + sigma * x
        if above.any():
            d, outer_mu, outer_scale = _outer_quantile(alpha[above], beta[above], u[..., above])
            x[..., above], d_mu[..., above], d_scale[..., above] = high - sigma[above] * d, outer_mu, outer_scale
        x.clamp_(low, high)
        d_scale *= torch.where(flip, -sigma, sigma)
        ctx.save_for_backward(d_mu, d_scale)
        ctx.draws = u.dim() > mu.dim()
        return torch.where(flip, low + high - x, x)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def,override]
        parts = [grad * d for d in ctx.saved_tensors]
        return (*(p.sum(dim=0) if ctx.draws else p for p in parts), None, None, None)


def _inner_quantile(alpha: Tensor, beta: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised quantile z for an interval that does not end far below the mean, dx / dmu, (dx / dlog sigma) / sigma."""
    mass = torch.exp(log_mass(alpha, beta))
    below, above = torch.special.ndtr(alpha) + u * mass, torch.special.ndtr(-beta) + (1 - u) * mass
    low = below < above
    z = torch.special.ndtri(torch.where(low, below, above))
    z = torch.minimum(torch.maximum(torch.where(low, z, -z), alpha), beta)
    # phi(alpha) / phi(z) and phi(beta) / phi(z)
    half = 0.5 * z * z
    wa = (1 - u) * torch.exp((half - 0.5 * alpha * alpha).clamp_(max=100.0))
    wb = u * torch.exp((half - 0.5 * beta * beta).clamp_(max=100.0))
    # far ends have no weight: 0 times their distance is 0
    return z, 1 - wa - wb, z - wa * alpha.clamp(min=-1e150) - wb * beta.clamp(max=1e150)


def _outer_quantile(alpha: Tensor, beta: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distance d = beta - z of the quantile from the upper end far below the mean, and the same derivatives."""
    log_h, g, _ = _hazard(beta)
    h = torch.exp(log_h)
    log_r = 0.5 * (beta - alpha) * (beta + alpha) + log_h - _hazard(alpha)[0]
    share = torch.logaddexp(torch.log(u), torch.log1p(-u) + log_r)  # log of Phi(z) / Phi(beta)
    d = -share / h
    for _ in range(12):  # Newton on the log of that share, which is concave in d
        _, gd, _ = _hazard(beta - d)
        rise = torch.log1p((d + gd - g) / h)
        step = (-d * (d - 2 * beta) / 2 - rise - share) / (d - beta + gd)
        d = (d + step).clamp(min=0.0)
        if (step.abs() <= 1e-9 * d).all():  # the next one would not be seen
            break
    _, gd, _ = _hazard(beta - d)
    rise = torch.log1p((d + gd - g) / h)
    kept = -torch.expm1(torch.log(u) - share - rise)  # 1 - u phi(beta) / phi(z)
    z = beta - d
    wa = (1 - u) * torch.exp((0.5 * (z - alpha) * (z + alpha)).clamp(max=100.0))
    edge = torch.where(wa > 0, wa * alpha, torch.zeros_like(wa))
    return d, kept - wa, beta * kept - d - edge
