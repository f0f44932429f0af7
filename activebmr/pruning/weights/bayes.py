"""`attach_posterior`: a Gaussian posterior over the weights of any network, without touching it.

Four ways to the posterior, one interface. ``"bbb-global"``: one draw of the weights a batch (Blundell et al. 2015);
``"bbb-local"``: linear and convolutional layers draw their outputs instead, one by one, which makes gradients less noisy
(Kingma, Salimans & Welling 2015); ``"vbp"``: closed-form moments (`activebmr.pruning.weights.propagation`); ``"ivon"``: natural
gradients (`activebmr.pruning.weights.ivon`). In evaluation mode the network has the means as its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.func import functional_call

from activebmr.pruning.weights.ivon import IVON
from activebmr.pruning.weights.posterior import MeanField, NaturalGaussian, WeightPosterior, parameters_of, set_frozen
from activebmr.pruning.weights.propagation import propagate

__all__ = ["INFERENCES", "BayesianModule", "attach_posterior"]

INFERENCES = ("bbb-local", "bbb-global", "vbp", "ivon")
_LOCAL = (nn.Linear, nn.Conv1d, nn.Conv2d)
_TINY = 1e-16
"""Added to variances before their root, which has no gradient at 0, where all weights of a unit are removed."""


def _tiny(x: Tensor) -> float:
    return max(_TINY, torch.finfo(x.dtype).tiny)


class BayesianModule(nn.Module):
    """A network with a posterior over its weights; made by `attach_posterior`.

    Call it like the network: in training mode with weights (or outputs of layers) drawn from the posterior, in evaluation mode
    with their means. ``kl()`` is what the posterior adds to a loss; IVON needs no such term, it is in its steps.

    Attributes:
        net: the network; its own parameters stay as they are until `write_means`.
        posterior: over its weights.
        inference: one of `INFERENCES`.
    """

    def __init__(self, net: nn.Module, posterior: WeightPosterior, inference: str) -> None:
        super().__init__()
        if inference not in INFERENCES:
            raise ValueError(f"inference must be one of {list(INFERENCES)}; got {inference!r}")
        self.net, self.posterior, self.inference = net, posterior, inference
        set_frozen(net, posterior.places, True)  # until `write_means`
        inside_attention = {
            id(m) for a in net.modules() if isinstance(a, nn.MultiheadAttention) for m in a.modules()
        }  # it calls no layer of its own: its weights are drawn
        self._local = {
            name: module
            for name, module in net.named_modules()
            if isinstance(module, _LOCAL)
            and id(module) not in inside_attention
            and f"{name}.weight".lstrip(".") in posterior.places
        }

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not self.training:
            return self.with_weights(self.mean_weights(), *args, **kwargs)
        if self.inference == "bbb-local":
            return self._with_local_noise(*args, **kwargs)
        if self.inference == "vbp":
            mean, variance = self.moments(*args)
            return mean + (variance + _tiny(mean)).sqrt() * torch.randn_like(mean)
        return self.with_weights(self._draw(), *args, **kwargs)

    def mean_weights(self) -> Tensor:
        """Weights ``(n,)`` of the network in evaluation mode."""
        return self.posterior.mean

    def with_weights(self, flat: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Outputs of the network with these weights ``(n,)``."""
        return functional_call(self.net, self.posterior.split(flat), args, kwargs)

    def _draw(self) -> Tensor:
        q = self.posterior
        if isinstance(q, NaturalGaussian):
            noise = torch.randn_like(q.location)
            with torch.no_grad():
                weights = (q.n_examples * q.precision()).rsqrt_().mul_(noise).add_(q.location)
                if not q.is_whole:
                    weights = torch.where(q.alive, weights, q.prior_mean)
            q.draw = weights.requires_grad_(), noise
            return weights
        if isinstance(q, MeanField):
            drawn = torch.addcmul(q.location, q.log_sd.exp(), torch.randn_like(q.location))
            return drawn if q.is_whole else torch.where(q.alive, drawn, q.prior_mean)
        return q.sample()

    # --- local reparameterisation ----------------------------------------------------------------------------------------
    def _local_moments(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Means and variances of the weights by parameter name."""
        return self.posterior.split(self.posterior.mean), self.posterior.split(self.posterior.variance)

    def _with_local_noise(self, *args: Any, **kwargs: Any) -> Any:
        means, variances = self._local_moments()
        drawn = {}
        for name, mean in means.items():
            module, _, kind = name.rpartition(".")
            if module not in self._local or kind not in ("weight", "bias"):
                mean = mean + (variances[name] + _tiny(mean)).sqrt() * torch.randn_like(mean)
            drawn[name] = mean
        with self._noisy_layers(variances):
            return functional_call(self.net, drawn, args, kwargs)

    @contextmanager
    def _noisy_layers(self, variances: Mapping[str, Tensor]) -> Iterator[None]:
        handles = []
        try:
            for name, module in self._local.items():
                at = f"{name}." if name else ""
                noise = _add_noise(variances[at + "weight"], variances.get(at + "bias"))
                handles.append(module.register_forward_hook(noise, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    # --- what else is known of the outputs -------------------------------------------------------------------------------
    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the outputs by variance back-propagation.

        Raises:
            ValueError: if the network has modules that it does not go through.
        """
        q = self.posterior
        means, variances = q.split(q.mean), q.split(q.variance)
        weights = {n: (p, torch.zeros_like(p)) for n, p in self.net.named_parameters() if n not in means}
        return propagate(self.net, weights | {n: (means[n], variances[n]) for n in means}, x)

    @torch.no_grad()
    def predict(self, x: Tensor, samples: int = 100, seed: int = 0, batch: int = 2000) -> Tensor:
        """Outputs ``(samples, n, ...)`` under draws of all weights from the posterior, the same for the same seed."""
        if samples < 1:
            raise ValueError(f"samples must be 1 or more; got {samples}")
        was = self.training
        self.eval()
        generator = torch.Generator(device=self.posterior.alive.device).manual_seed(seed)
        out = []
        for _ in range(samples):
            weights = self.draw_weights(generator)
            out.append(torch.cat([self.with_weights(weights, x[i : i + batch]) for i in range(0, len(x), batch)]))
        self.train(was)
        return torch.stack(out)

    def draw_weights(self, generator: torch.Generator | None = None) -> Tensor:
        """One draw of all weights ``(n,)`` from the posterior."""
        return self.posterior.sample(generator)

    # --- training --------------------------------------------------------------------------------------------------------
    def kl(self) -> Tensor:
        """Divergence of the posterior from its prior, nats: loss = mean nll + kl() / n_examples. IVON adds it by itself."""
        return self.posterior.kl()

    def optimizer(self, lr: float | None = None, **options: Any) -> torch.optim.Optimizer:
        """Adam for means and log standard deviations (1e-2 by default), or IVON (0.1 by default).

        Parameters of the network that have no posterior are not in it.
        """
        if isinstance(self.posterior, NaturalGaussian):
            return IVON(self.posterior, **({} if lr is None else {"lr": lr}), **options)
        return torch.optim.Adam(self.posterior.parameters(), lr=1e-2 if lr is None else lr, **options)

    def remove(self, mask: Tensor, optimizer: torch.optim.Optimizer | None = None) -> int:
        """Remove weights ``(n,)``, also from the memory of an optimiser; returns how many were new."""
        new = self.posterior.remove(mask)
        if isinstance(optimizer, IVON):
            optimizer.forget(~self.posterior.alive)
        elif optimizer is not None:
            for p in self.posterior.parameters():
                for value in optimizer.state.get(p, {}).values():
                    if isinstance(value, Tensor) and value.shape == p.shape:
                        value.masked_fill_(~self.posterior.alive, 0)
        return new

    def alive(self) -> dict[str, Tensor]:
        """Which weights are left, by parameter name, in their shapes."""
        return self.posterior.split(self.posterior.alive)

    @torch.no_grad()
    def write_means(self) -> nn.Module:
        """Write the means (0 where weights are removed) into the network's own parameters, which learn again, and return it."""
        parameters = dict(self.net.named_parameters())
        for name, mean in self.posterior.split(self.mean_weights()).items():
            parameters[name].copy_(mean)
        set_frozen(self.net, self.posterior.places, False)
        return self.net


def _add_noise(weight: Tensor, bias: Tensor | None) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> Tensor:
        squares = (args[0] if args else kwargs["input"]).square()
        if isinstance(module, nn.Linear):
            variance = F.linear(squares, weight, bias)
        else:
            variance = module._conv_forward(squares, weight, bias)  # type: ignore[operator]
        return torch.addcmul(output, variance.add_(_tiny(variance)).sqrt(), torch.randn_like(output))

    return hook


def attach_posterior(
    net: nn.Module,
    inference: str = "bbb-local",
    *,
    prior_variance: float | Mapping[str, float] = 1.0,
    sd: float | None = None,
    names: list[str] | None = None,
    n_examples: int | None = None,
    hessian: float = 0.1,
) -> BayesianModule:
    """Put a Gaussian posterior on the weights of a network; its means begin at the network's weights.

    Args:
        net: any module; it is wrapped, and its parameters are frozen: the posterior learns for them.
        inference: see the module.
        prior_variance: of every weight, > 0; a number, or by parameter name. Priors are around 0, and around 1 for the gains of
            normalisation layers, which would otherwise be pruned to 0.
        sd: first standard deviation of every weight, > 0; by default the prior's (not for IVON, whose first Hessian says it).
        names: parameters that get a posterior; by default all.
        n_examples: training examples; IVON needs to know.
        hessian: see `NaturalGaussian`.

    Raises:
        TypeError: if ``net`` is no module.
        ValueError: if it ties weights, has normalisation with running statistics, or an argument is out of range.
    """
    if inference not in INFERENCES:
        raise ValueError(f"inference must be one of {list(INFERENCES)}; got {inference!r}")
    parameters = parameters_of(net, names)
    gains = {
        f"{name}.weight".lstrip("."): 1.0
        for name, m in net.named_modules()
        if isinstance(m, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase))
    }
    if inference == "ivon":
        if n_examples is None:
            raise ValueError("n_examples must be given for inference 'ivon'")
        return BayesianModule(
            net, NaturalGaussian(parameters, prior_variance, gains, n_examples=n_examples, hessian=hessian), inference
        )
    if sd is not None and not 0 < sd < float("inf"):
        raise ValueError(f"sd must be a finite number > 0; got {sd}")
    n = sum(p.numel() for p in parameters.values())
    first = next(iter(parameters.values()))
    variance = None if sd is None else torch.full((n,), sd**2, dtype=first.dtype, device=first.device)
    return BayesianModule(net, MeanField(parameters, prior_variance, gains, variance), inference)
