"""How the evidence of many weights is weighed together: spike-and-slab with a learned rate, and a regularised horseshoe.

Markovic, Friston & Kiebel (2023), arXiv 2309.12095, section 3. Both leave the data out: they work on the posterior of the
weights under its flat prior, and cost the same whatever the number of examples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.checks import FINITE, POSITIVE, bool_mask, numbers

__all__ = ["HorseshoeFit", "beta_bernoulli_odds", "horseshoe_evidence", "log_gamma", "log_half_cauchy", "scale_evidence"]
__all__ += ["squared_scales"]


def beta_bernoulli_odds(ratios: Tensor, a: float = 1.0, b: float = 1.0, sweeps: int = 4) -> Tensor:
    """Expected log odds of keeping a weight, zeta, after each sweep ``(sweeps,)``, nats; keep iff its ratio <= the last zeta.

    Spike and slab with a rate of kept weights ~ Beta(a, b). Coordinate ascent from zeta = 0: q_k = sigmoid(zeta - ratio_k),
    zeta = psi(a + sum q) - psi(b + sum (1 - q)) (Markovic et al. 2023, eq. 17 to 20).

    Args:
        ratios: log evidence ratios of removing each weight that is left ``(n,)``, nats.
        a, b: of the rate's prior, > 0.
        sweeps: of coordinate ascent, >= 1.
    """
    a, b = checks.number(a, "a", checks.POSITIVE), checks.number(b, "b", checks.POSITIVE)
    sweeps = checks.whole_number(sweeps, "sweeps", 1)
    ratios = numbers(ratios, "ratios").reshape(-1)
    zeta, found = torch.zeros((), dtype=torch.float64, device=ratios.device), []
    for _ in range(sweeps):
        kept = torch.sigmoid(zeta - ratios).sum()
        zeta = torch.digamma(a + kept) - torch.digamma(b + len(ratios) - kept)
        found.append(zeta)
    return torch.stack(found)


def scale_evidence(mean: Tensor, variance: Tensor, squared_scale: Tensor) -> Tensor:
    """Log evidence ratio of a prior N(0, gamma^2) against N(0, 1) (Markovic et al. 2023, eq. 12), nats.

    With pi = 1 / variance and M = 1 + gamma^2 (pi - 1): 1/2 ln pi - 1/2 ln M - 1/2 pi mean^2 + 1/2 (pi mean)^2 gamma^2 / M.
    gamma = 0 removes the weight.

    Args:
        mean, variance: of weights over their prior's standard deviation (and its square).
        squared_scale: gamma^2 >= 0; shapes broadcast.
    """
    precision = 1 / variance
    width = 1 + squared_scale * (precision - 1)
    pull = precision * mean
    return 0.5 * (precision.log() - width.log() - pull * mean + pull * pull * squared_scale / width)


@dataclass(frozen=True)
class HorseshoeFit:
    """What `horseshoe_evidence` found.

    Attributes:
        evidence: expected log evidence ratio of the reduced scales, summed over weights, less the divergence of the scales'
            posterior from their prior, at each step, nats.
        squared_scale: expected gamma^2 of each row ``(n_rows,)``.
        removal: log evidence ratio of removing each weight against the prior with its row's scale ``(n_rows, n_columns)``,
            nats; near 0 in rows whose scale is, because that prior says the same.
    """

    evidence: Tensor
    squared_scale: Tensor
    removal: Tensor


def horseshoe_evidence(
    mean: Tensor,
    variance: Tensor,
    alive: Tensor | None = None,
    *,
    tau0: float = 0.01,
    slab: tuple[float, float] = (2.0, 6.0),
    particles: int = 16,
    columns: int = 64,
    steps: int = 300,
    lr: float = 0.05,
    seed: int = 0,
) -> HorseshoeFit:
    """Fit regularised-horseshoe scales to the frozen posterior of a layer, row by row.

    gamma_i^2 = c^2 tau_i^2 / (c^2 + tau_i^2), tau_i = tau0 lambda x lambda_i with half-Cauchy lambdas, c^-2 ~ Gamma(slab).
    Their logarithms have Gaussian posteriors; E_q[sum ratio(gamma^2)] - KL is maximised by Adam on reparameterised draws.

    Args:
        mean, variance: of the weights over their prior's standard deviation (and its square) ``(n_rows, n_columns)``.
        alive: which weights are left; all by default.
        tau0: scale of the global half-Cauchy, > 0.
        slab: shape and rate of c^-2.
        particles: draws a step.
        columns: at most so many of each row's weights count in a step, drawn anew each time and weighed up: an estimate without
            bias, at a price that does not grow with the layer.
        steps: of Adam.
        lr: its learning rate.
        seed: of the draws.

    Raises:
        ValueError: if shapes do not fit, a variance is not positive, or an argument is out of range.
    """
    mean, variance = (numbers(x, n, None).detach() for n, x in (("mean", mean), ("variance", variance)))
    if mean.dim() != 2 or variance.shape != mean.shape:
        raise ValueError(
            f"mean, variance and alive must be tables of one shape; got {tuple(mean.shape)} and {tuple(variance.shape)}"
        )
    alive = None if alive is None else bool_mask(alive, "alive", tuple(mean.shape))
    for name, x, rule in (("mean", mean, FINITE), ("variance", variance, POSITIVE)):
        numbers(x if alive is None else x[alive], name, rule)  # what is gone may have any
    tau0, lr = checks.number(tau0, "tau0", checks.POSITIVE), checks.number(lr, "lr", checks.POSITIVE)
    slab = checks.pair(slab, "slab", checks.POSITIVE)
    particles, columns, steps = (
        checks.whole_number(x, n, 1) for n, x in (("particles", particles), ("columns", columns), ("steps", steps))
    )
    seed = checks.whole_number(seed, "seed", 0)
    left = torch.ones_like(mean, dtype=torch.bool) if alive is None else alive
    # where data took precision away, no wider prior is proper; as wide as the old one is as good as no data
    variance = torch.where(left, variance, torch.ones_like(variance)).clamp_max(1.0)
    n_rows = len(mean)
    # order: log of the local scales, of the global scale, of c^-2
    start = torch.cat((torch.zeros(n_rows + 1), torch.tensor([slab[0] / slab[1]]).log())).double().to(mean.device)
    location, log_sd = start.clone().requires_grad_(), torch.full_like(start, -2.0).requires_grad_()
    optimizer = torch.optim.Adam([location, log_sd], lr=lr)
    generator = torch.Generator(device=mean.device).manual_seed(seed)
    trace, entropy = [], 0.5 * math.log(2 * math.pi * math.e)
    for _ in range(steps):
        noise = torch.randn(particles, n_rows + 2, generator=generator, dtype=torch.float64, device=mean.device)
        draws = location + log_sd.exp() * noise
        squared = squared_scales(draws, tau0)
        some = slice(None)
        if mean.shape[1] > columns:
            some = torch.randperm(mean.shape[1], generator=generator, device=mean.device)[:columns]
        ratios = scale_evidence(mean[:, some], variance[:, some], squared[..., None])
        expected = (ratios * left[:, some]).sum(dim=(1, 2)) * (mean.shape[1] / ratios.shape[2])
        log_prior = log_half_cauchy(draws[:, :-1]).sum(dim=1) + log_gamma(draws[:, -1], *slab)
        bound = (expected + log_prior).mean() + (log_sd + entropy).sum()
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
        trace.append(bound.detach())
    with torch.no_grad():
        noise = torch.randn(256, n_rows + 2, generator=generator, dtype=torch.float64, device=mean.device)
        squared = squared_scales(location + log_sd.exp() * noise, tau0).mean(dim=0)
        removal = scale_evidence(mean, variance, torch.zeros((), dtype=torch.float64)) - scale_evidence(
            mean, variance, squared[:, None]
        )
    return HorseshoeFit(torch.stack(trace), squared, torch.where(left, removal, torch.full_like(removal, -torch.inf)))


def squared_scales(draws: Tensor, tau0: float) -> Tensor:
    """gamma^2 ``(particles, n_rows)`` of draws of log local scales, log global scale and log c^-2."""
    tau2 = tau0**2 * torch.exp(2 * (draws[:, :-2] + draws[:, -2:-1]))
    return tau2 / (1 + tau2 * torch.exp(draws[:, -1:]))


def log_half_cauchy(log_x: Tensor) -> Tensor:
    """Log density of ln x, x half-Cauchy with scale 1."""
    return math.log(2 / math.pi) + log_x - F.softplus(2 * log_x)


def log_gamma(log_x: Tensor, shape: float, rate: float) -> Tensor:
    """Log density of ln x, x Gamma(shape, rate)."""
    return shape * math.log(rate) - math.lgamma(shape) + shape * log_x - rate * torch.exp(log_x)
