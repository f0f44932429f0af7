"""Mean-field posterior under a regularised horseshoe prior: what sparsification by model reduction is compared with.

Markovic, Friston & Kiebel (2023), arXiv 2309.12095 ("Tiered-FF"): w = gamma_i z in row i of a layer, z ~ N(0, 1), and
gamma_i^2 = c^2 tau_i^2 / (c^2 + tau_i^2), tau_i = tau0 lambda lambda_i with half-Cauchy lambdas, c^-2 ~ Gamma(2, 6).
Posteriors of the z are Gaussian, those of the scales log-normal; scales are drawn once a batch, outputs of layers one by one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.checks import torch_generator
from activebmr.pruning.weights.bayes import BayesianModule
from activebmr.pruning.weights.hyperpriors import log_gamma, log_half_cauchy, squared_scales
from activebmr.pruning.weights.posterior import MeanField, SinglePrecision, parameters_of

__all__ = ["HorseshoeModule"]


class _Scales(SinglePrecision, nn.ParameterDict):
    """Logarithms by layer."""


class HorseshoeModule(BayesianModule):
    """A network whose weights have row-wise horseshoe scales.

    Args:
        net: any module; matrices and convolutions get scales, shared with their bias; other parameters a prior N(0, 1).
        tau0: scale of the global half-Cauchy of each layer, > 0.
        slab: shape and rate of c^-2.
        sd: first standard deviation of every z, > 0.

    Raises:
        TypeError, ValueError: if the network has no weights that learn, or a number is out of range.

    Example:
        >>> bayes = HorseshoeModule(net)
        >>> loss = F.cross_entropy(bayes(x), y) + bayes.kl() / len(x)
    """

    def __init__(self, net: nn.Module, tau0: float = 0.01, slab: tuple[float, float] = (2.0, 6.0), sd: float = 0.1) -> None:
        tau0, sd = checks.number(tau0, "tau0", checks.POSITIVE), checks.number(sd, "sd", checks.POSITIVE)
        slab = checks.pair(slab, "slab", checks.POSITIVE)
        parameters = parameters_of(net)
        variance = torch.full((sum(p.numel() for p in parameters.values()),), float(sd) ** 2, dtype=torch.float64)
        super().__init__(net, MeanField(parameters, variance=variance), "bbb-local")
        first = self.posterior.prior_mean  # its type and device
        self.tau0, self.slab = tau0, slab
        self.rows = {p.layer: p.shape[0] for p in self.posterior.places.values() if len(p.shape) > 1}
        # logs of local scales, the global one and c^-2: rows begin with a scale of about 1, so that z begin at the weights
        self.scale_location = _Scales()
        self.scale_log_sd = _Scales()
        for layer, n in self.rows.items():
            start = torch.zeros(n + 2, dtype=first.dtype, device=first.device)
            start[:n] = start[n] = 0.5 * torch.log(torch.tensor(1.0 / tau0))
            start[-1] = torch.log(torch.tensor(slab[0] / slab[1]))
            self.scale_location[_key(layer)] = nn.Parameter(start)
            self.scale_log_sd[_key(layer)] = nn.Parameter(torch.full_like(start, -3.0))
        self._divergence: Tensor | None = None

    def _scales(self, generator: torch.Generator | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """One draw of gamma by layer ``(n_rows,)``, and its estimate of the scales' divergence from their prior."""
        scales, divergence = {}, torch.zeros((), device=self.posterior.alive.device)
        for layer in self.rows:
            location, log_sd = self.scale_location[_key(layer)], self.scale_log_sd[_key(layer)]
            noise = torch.randn(location.shape, generator=generator, dtype=location.dtype, device=location.device)
            draw = (location + log_sd.exp() * noise)[None]
            scales[layer] = squared_scales(draw, self.tau0)[0].sqrt()
            log_prior = log_half_cauchy(draw[:, :-1]).sum() + log_gamma(draw[:, -1], *self.slab).sum()
            divergence = divergence - (log_sd + 0.5 * math.log(2 * math.pi * math.e)).sum() - log_prior
        return scales, divergence

    def _scaled(self, means: dict[str, Tensor], scales: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {}
        for name, value in means.items():
            scale = scales.get(self.posterior.places[name].layer)
            if scale is not None and len(scale) == value.shape[0]:
                value = value * scale.to(value.dtype).view(-1, *[1] * (value.dim() - 1))
            found[name] = value
        return found

    def _moments_of_weights(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        means, sds = super()._moments_of_weights()
        scales, self._divergence = self._scales()
        return self._scaled(means, scales), self._scaled(sds, scales)

    def mean_weights(self) -> Tensor:
        # evaluation: scales at their typical value
        typical = {layer: squared_scales(self.scale_location[_key(layer)][None], self.tau0)[0].sqrt() for layer in self.rows}
        return torch.cat([t.reshape(-1) for t in self._scaled(self.posterior.split(self.posterior.mean), typical).values()])

    def draw_weights(self, generator: torch.Generator | None = None) -> Tensor:
        generator = torch_generator(generator)
        scales, _ = self._scales(generator)
        drawn = self.posterior.split(self.posterior.sample(generator))
        return torch.cat([t.reshape(-1) for t in self._scaled(drawn, scales).values()])

    def kl(self) -> Tensor:
        """Divergence of the z, plus an estimate of the scales' from the draws of the last forward pass."""
        divergence = self._scales()[1] if self._divergence is None else self._divergence
        self._divergence = None
        return self.posterior.kl() + divergence


def _key(layer: str) -> str:
    return layer.replace(".", "/") or "net"
