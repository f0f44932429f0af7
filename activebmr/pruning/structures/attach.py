"""`attach_noise`: multiplicative noise on the structures of any network, without touching it.

The network is wrapped, not changed: while it runs, temporary hooks multiply the outputs of each site (see
`activebmr.pruning.structures.tracing`) with theta; between calls it is what it was, and it can go on being used alone. In
training mode theta is drawn from its posterior, so many times a batch, and the examples take turns; in evaluation mode it is
its mean. Structures that have been pruned are multiplied with 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from activebmr.pruning.structures.criteria import Criterion
from activebmr.pruning.structures.noise import TruncatedLogNormal
from activebmr.pruning.structures.tracing import Site, find_sites, sites_by_name

__all__ = ["Noise", "NoisyModule", "attach_noise"]

MU_RANGE = (-20.0, 5.0)
LOG_SIGMA_RANGE = (-20.0, 5.0)
START = (0.0, -5.0)
"""mu and log sigma before training: theta is about 1."""


class Noise(nn.Module):
    """Noise variables of one site: ``mu`` and ``log_sigma`` ``(n,)``, float64, and ``alive`` ``(n,)``."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((n,), START[0], dtype=torch.float64))
        self.log_sigma = nn.Parameter(torch.full((n,), START[1], dtype=torch.float64))
        self.register_buffer("alive", torch.ones(n, dtype=torch.bool))

    alive: Tensor

    @property
    def posterior(self) -> TruncatedLogNormal:
        return TruncatedLogNormal(self.mu, self.log_sigma)

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """Bring parameters that an optimiser has taken too far back to the ends of their ranges."""
        self.mu.clamp_(*MU_RANGE)
        self.log_sigma.clamp_(*LOG_SIGMA_RANGE)


class NoisyModule(nn.Module):
    """A network whose structures are multiplied with noise; made by `attach_noise`.

    Call it like the network. ``kl()`` is what its noise adds to the loss, ``parameter_groups`` gives an optimiser what it
    needs, `activebmr.pruning.prune` removes structures, `activebmr.pruning.compact` makes a smaller network.

    Attributes:
        draws: how many draws of theta the examples of a batch share; None for one each. More draws make gradients less noisy
            and cost time.
        net: the network itself.
        sites: where noise multiplies, by name.
        noise: its variables, by name with dots as ``/``.
    """

    def __init__(self, net: nn.Module, sites: Iterable[Site], draws: int | None = 16) -> None:
        super().__init__()
        if draws is not None and (not isinstance(draws, int) or draws < 1):
            raise ValueError(f"draws must be a whole number >= 1, or None for one for each example; got {draws!r}")
        self.net, self.draws = net, draws
        self.sites: dict[str, Site] = {s.name: s for s in sites}
        self.noise = nn.ModuleDict({_key(s): Noise(s.n) for s in self.sites.values()})
        device = next(iter(net.parameters())).device
        self.noise.to(device)

    def of(self, name: str) -> Noise:
        """Noise of the site with this name."""
        if name not in self.sites:
            raise ValueError(f"name must be one of the sites {list(self.sites)}; got {name!r}")
        return self.noise[name.replace(".", "/")]  # type: ignore[return-value]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns, with noise on its structures."""
        first = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
        with self._hooked(self._theta(1 if first is None else len(first))):
            return self.net(*args, **kwargs)

    def _theta(self, examples: int) -> dict[str, Tensor]:
        """By site draws ``(examples, n)`` in training mode, means ``(1, n)`` otherwise; 0 where pruned. All sites at once."""
        noises = [self.of(name) for name in self.sites]
        if self.training:
            for noise in noises:
                noise.keep_in_range()
        posterior = TruncatedLogNormal(*(torch.cat([getattr(n, key) for n in noises]) for key in ("mu", "log_sigma")))
        if self.training:
            few = examples if self.draws is None else min(self.draws, examples)
            theta = posterior.sample(few)
            if few < examples:
                theta = theta.repeat(-(-examples // few), 1)[:examples]
        else:
            theta = posterior.mean()[None]
        theta = theta * torch.cat([n.alive for n in noises])
        return dict(zip(self.sites, theta.split([n.mu.numel() for n in noises], dim=1), strict=True))

    @contextmanager
    def _hooked(self, theta: Mapping[str, Tensor]) -> Iterator[None]:
        modules = dict(self.net.named_modules())
        handles, scaled = [], []
        try:
            for site in self.sites.values():
                mine = theta[site.name]
                if site.kind != "heads":
                    handles.append(modules[site.at].register_forward_hook(_multiply_output(site, mine)))
                elif isinstance(modules[site.name], nn.MultiheadAttention):
                    scaled.append(_scale_columns(modules[site.at], site, mine[0]))
                else:
                    handles.append(modules[site.at].register_forward_pre_hook(_multiply_input(site, mine)))
            yield
        finally:
            for handle in handles:
                handle.remove()
            for module, weight in scaled:
                module._parameters["weight"] = weight

    # --- training ------------------------------------------------------------------------------------------------------
    def kl(self) -> Tensor:
        """Divergence of the posterior from the prior, summed over structures that are left, nats (a float64 scalar).

        The negative evidence lower bound of N examples is N times the mean cross-entropy plus this; minimise the mean
        cross-entropy plus ``beta * kl() / N``. ``beta`` above 1 tempers the posterior: it prunes more, and evidence ratios are
        then those of a model that counts each example 1 / beta times.
        """
        noises = [self.of(name) for name in self.sites]
        posterior = TruncatedLogNormal(*(torch.cat([getattr(n, key) for n in noises]) for key in ("mu", "log_sigma")))
        return (posterior.kl() * torch.cat([n.alive for n in noises])).sum()

    def parameter_groups(self, lr: float, noise_lr: float | None = None) -> list[dict[str, Any]]:
        """Groups for an optimiser: the network's parameters at ``lr``, the noise's at ``noise_lr`` (10 times that by default).

        log sigma starts at -5 and has to travel far; with the network's learning rate it does not arrive.
        """
        noise = 10 * lr if noise_lr is None else noise_lr
        return [{"params": list(self.net.parameters()), "lr": lr}, {"params": list(self.noise.parameters()), "lr": noise}]

    # --- structures ----------------------------------------------------------------------------------------------------
    def scores(self, criterion: Criterion) -> dict[str, Tensor]:
        """Scores of a criterion by site ``(n,)``; -inf for structures that are gone."""
        modules = dict(self.net.named_modules())
        out = {}
        with torch.no_grad():
            for name, site in self.sites.items():
                noise, layer = self.of(name), modules[name]
                weights = (
                    getattr(layer, "weight", None) if site.kind != "heads" else modules[site.at].weight.T.reshape(site.n, -1)
                )
                score = criterion.scores(noise.posterior, weights)
                out[name] = torch.where(noise.alive, score, torch.full_like(score, -torch.inf))
        return out

    @torch.no_grad()
    def remove(self, dead: Mapping[str, Tensor]) -> dict[str, int]:
        """Remove structures for good, by site a mask ``(n,)`` of what goes; at least one stays in each (the likeliest).

        Returns:
            how many each site has lost.
        """
        lost = {}
        for name, mask in dead.items():
            noise = self.of(name)
            if mask.shape != noise.alive.shape:
                raise ValueError(f"dead[{name!r}] must have shape {tuple(noise.alive.shape)}; got {tuple(mask.shape)}")
            left = noise.alive & ~mask.to(noise.alive.device)
            if not left.any():
                best = torch.where(noise.alive, noise.posterior.log_moment(1), torch.full_like(noise.mu, -torch.inf)).argmax()
                left[best] = True
            lost[name] = int((noise.alive & ~left).sum())
            noise.alive.copy_(left)
        return lost

    def gone(self) -> dict[str, Tensor]:
        """Structures that nothing passes through any more, by site ``(n,)``: in a residual group, those that all its sites have
        lost.
        """
        alive = {name: self.of(name).alive for name in self.sites}
        groups: dict[int, list[str]] = {}
        for name, site in self.sites.items():
            groups.setdefault(site.group if site.group >= 0 else -2 - len(groups), []).append(name)
        return {name: ~torch.stack([alive[m] for m in members]).any(dim=0) for members in groups.values() for name in members}

    @property
    def n_structures(self) -> int:
        return sum(s.n for s in self.sites.values())

    @property
    def n_removed(self) -> int:
        return sum(int((~self.of(name).alive).sum()) for name in self.sites)


def _key(site: Site) -> str:
    return site.name.replace(".", "/")


def _fitting(theta: Tensor, output: Tensor) -> Tensor:
    """Draws for the examples on the first axis of an output; the first one for all if that axis holds something else."""
    return theta if len(theta) in (1, len(output)) else theta[:1]


def _multiply_output(site: Site, theta: Tensor) -> Any:
    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        scale = _fitting(theta, output).to(output.dtype)
        if site.kind == "channels":
            return output * scale.reshape(*scale.shape, *[1] * (output.dim() - 2))
        return output * scale.reshape(len(scale), *[1] * (output.dim() - 2), -1)

    return hook


def _multiply_input(site: Site, theta: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x,) = args
        scale = _fitting(theta, x).to(x.dtype).repeat_interleave(site.size, dim=1)
        return (x * scale.reshape(len(scale), *[1] * (x.dim() - 2), -1),)

    return hook


def _scale_columns(module: nn.Module, site: Site, theta: Tensor) -> tuple[nn.Module, nn.Parameter]:
    """``nn.MultiheadAttention`` reads the weight of its output layer itself: scale its columns for the time of a call, for all
    examples by the first one's draw.
    """
    weight = module.weight
    module._parameters["weight"] = weight * theta.to(weight.dtype).repeat_interleave(site.size)  # type: ignore[operator,union-attr,arg-type]
    return module, weight  # type: ignore[return-value]


def attach_noise(net: nn.Module, names: Iterable[str] | None = None, *, draws: int | None = 16) -> NoisyModule:
    """Put one noise variable on every structure of a network that can be removed (neurons, channels, attention heads).

    Args:
        net: any module; it is wrapped, not changed.
        names: layers to prune, by name; by default all that tracing finds. Needed for networks that cannot be traced.
        draws: how many draws of theta the examples of a batch share, None for one each.

    Raises:
        TypeError: if ``net`` is no module.
        ValueError: if it cannot be traced, has no structure that can be pruned, ties weights, uses a layer twice, or has no
            layer of a given name.

    Example:
        >>> noisy = attach_noise(net)
        >>> loss = F.cross_entropy(noisy(x), y) + noisy.kl() / n_examples
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module; got {type(net).__name__}")
    if names is None:
        return NoisyModule(net, find_sites(net), draws)
    wanted = list(names)
    if not wanted:
        raise ValueError("names must hold at least one module with structures, or be None for all; got none")
    try:
        found = {s.name: s for s in find_sites(net)}
    except ValueError:
        found = {}
    return NoisyModule(net, [found[n] if n in found else sites_by_name(net, [n])[0] for n in wanted], draws)
