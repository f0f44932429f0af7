"""`NoisyModule`: a network whose structures are multiplied with noise (`activebmr.pruning.attach_noise` makes it).

While it runs, temporary hooks multiply what its layers read (see `activebmr.pruning.units.plan`) with theta; between calls the
network is what it was. In training mode theta is drawn from its posterior, so many times a batch, and the examples take turns;
in evaluation mode it is its mean. Structures that have been pruned are multiplied with 0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from activebmr import checks
from activebmr.pruning.structures.criteria import Criterion, checked_criterion, criterion_for
from activebmr.pruning.structures.multiplying import Pass, Places
from activebmr.pruning.structures.noise import TruncatedLogNormal
from activebmr.pruning.units.plan import Plan, Site, cost

__all__ = ["Noise", "NoisyModule", "check_draws", "check_noisy"]

MU_RANGE = (-20.0, 5.0)
LOG_SIGMA_RANGE = (-20.0, 5.0)
START = (0.0, -5.0)
"""mu and log sigma before training: theta is about 1."""


class Noise(nn.Module):
    """Noise variables of one site: ``mu`` and ``log_sigma`` ``(n,)``, and ``alive`` ``(n,)``.

    Both stay in double precision whatever the network is cast to: a step of bfloat16 near log sigma = -5 is 0.03, and no usual
    learning rate gets over it. On devices without double precision (MPS) they stay on the CPU.
    """

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Noise:
        alive = fn(self.alive)
        if alive.device.type == "mps":
            return self
        self.alive = alive
        for parameter in (self.mu, self.log_sigma):
            parameter.data = parameter.data.to(alive.device) if alive.device.type != "meta" else fn(parameter.data)
            if parameter.grad is not None:
                parameter.grad.data = parameter.grad.data.to(alive.device)
        return self


class NoisyModule(nn.Module):
    """A network whose structures are multiplied with noise; made by `attach_noise`.

    Call it like the network. ``kl()`` is what its noise adds to the loss, ``parameter_groups`` gives an optimiser what it
    needs, `activebmr.pruning.prune` removes structures, `activebmr.pruning.compact` makes a smaller network. Printing it shows
    what has noise, and what not and why.

    Attributes:
        draws: how many draws of theta the examples of a batch share; None for one each. More draws make gradients less noisy
            and cost time.
        net: the network itself.
        plan: where its structures lie (`activebmr.pruning.units.plan.Plan`).
        noise: its variables, by name of the site with dots as ``/``.

    Example:
        >>> noisy = attach_noise(net)
        >>> optimizer = torch.optim.Adam(noisy.parameter_groups(lr=1e-3))
        >>> loss = F.cross_entropy(noisy(x), y) + noisy.kl() / n_examples
    """

    def __init__(self, net: nn.Module, plan: Plan, draws: int | None = 16) -> None:
        super().__init__()
        check_draws(draws)
        self.net, self.draws, self.plan = net, draws, plan
        self.noise = nn.ModuleDict({_key(name): Noise(site.n) for name, site in plan.sites.items()})
        self.noise.to(next(iter(net.parameters())).device)
        self._places = Places(plan)
        self._pending: list[Pass] = []
        self._lock: Any = threading.RLock()  # hooks are the network's: one thread at a time

    @property
    def sites(self) -> dict[str, Site]:
        """Where noise multiplies, by name."""
        return self.plan.sites

    @property
    def left_out(self) -> dict[str, str]:
        """Layers that have no noise, and why: the operation that forbids it, or what they share or lack."""
        return dict(self.plan.left_out)

    def of(self, name: str) -> Noise:
        """Noise of the site with this name."""
        if not isinstance(name, str) or name not in self.sites:
            near = checks.meant(name, self.sites)
            raise ValueError(f"name must be one of the sites {list(self.sites)}; got {checks.brief(name)}{near}")
        return self.noise[_key(name)]  # type: ignore[return-value]

    def __getstate__(self) -> dict[str, Any]:
        for p in self._pending:
            p.close()
        return {**self.__dict__, "_pending": [], "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._lock = threading.RLock()

    # --- forward -------------------------------------------------------------------------------------------------------
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the network returns, with noise on its structures."""
        for p in self._pending:
            if not p.theta.requires_grad:  # nothing tells when its backward pass is over
                p.close()
        self._pending = [p for p in self._pending if p.again]
        examples = self._examples(args, kwargs) if self.training else 1
        with self._lock:
            return self.with_theta(self._theta(examples), examples, *args, **kwargs)

    def with_theta(self, theta: Tensor, examples: int, *args: Any, **kwargs: Any) -> Any:
        """What the network returns with these draws ``(few, n)``, which so many examples share in turn."""
        now = Pass(self.net, self._places, theta, examples)
        with now:
            out = self.net(*args, **kwargs)
        if now.again:
            if self._pending:
                now.close()
                self._drop_pending()
                raise RuntimeError(
                    "a network with activation checkpointing and noise (activebmr.pruning) must go backward after each forward "
                    "pass, before the next; two passes wait"
                )
            self._pending.append(now)
        return out

    def _drop_pending(self) -> None:
        for p in self._pending:
            p.close()
        self._pending = []

    def _examples(self, args: Any, kwargs: Any) -> int:
        """How many examples the inputs of a call hold; 1 for a single one without an axis of its own."""
        if self.plan.examples is None:
            return 1
        (which, axis), ndim = self.plan.examples.first, self.plan.examples.ndim
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        fitting = [x for x in given if x.dim() == ndim] if which >= len(given) or given[which].dim() != ndim else [given[which]]
        found = fitting[0] if fitting else given[min(which, len(given) - 1)] if given else None
        return 1 if found is None or found.dim() < ndim or not found.shape[axis] else int(found.shape[axis])

    def _posterior(self) -> TruncatedLogNormal:
        noises = [self.of(name) for name in self.sites]
        return TruncatedLogNormal(*(torch.cat([getattr(n, key) for n in noises]) for key in ("mu", "log_sigma")))

    def _theta(self, examples: int) -> Tensor:
        """Draws ``(few, n)`` in training mode, means ``(1, n)`` otherwise; 0 where pruned."""
        noises = [self.of(name) for name in self.sites]
        if self.training:
            for noise in noises:
                noise.keep_in_range()
            few = examples if self.draws is None else min(self.draws, examples)
            theta = self._posterior().sample(few)
            shared = self._places.shared[:-1]
            if few > 1 and bool(shared.any()):
                theta = torch.where(shared.to(theta.device), theta[:1], theta)
        else:
            theta = self._posterior().mean()[None]
        return theta * torch.cat([n.alive for n in noises])

    @torch.no_grad()
    def means(self) -> Tensor:
        """E[theta] of all structures ``(n,)``, 0 where they are gone."""
        return self._posterior().mean() * torch.cat([self.of(name).alive for name in self.sites])

    # --- training ------------------------------------------------------------------------------------------------------
    def kl(self) -> Tensor:
        """Divergence of the posterior from the prior, summed over structures that are left, nats (a float64 scalar).

        The negative evidence lower bound of N examples is N times the mean cross-entropy plus this; minimise the mean
        cross-entropy plus ``beta * kl() / N``. ``beta`` above 1 tempers the posterior: it prunes more, and evidence ratios are
        then those of a model that counts each example 1 / beta times.
        """
        kl = (self._posterior().kl() * torch.cat([self.of(name).alive for name in self.sites])).sum()
        device = next(iter(self.net.parameters())).device
        return kl.to(torch.float32).to(device) if device.type == "mps" else kl

    def parameter_groups(self, lr: float, noise_lr: float | None = None) -> list[dict[str, Any]]:
        """Groups for an optimiser: the network's parameters at ``lr``, the noise's at ``noise_lr`` (10 times that by default).

        log sigma starts at -5 and has to travel far; with the network's learning rate it does not arrive. Weight decay is for
        weights: the noise's group has none, whatever the optimiser's is.

        Raises:
            TypeError, ValueError: if a rate is no finite number > 0.
        """
        checks.number(lr, "lr", checks.POSITIVE)
        if noise_lr is not None:
            checks.number(noise_lr, "noise_lr", checks.POSITIVE)
        noise = {"params": list(self.noise.parameters()), "lr": 10 * lr if noise_lr is None else noise_lr, "weight_decay": 0.0}
        return [{"params": list(self.net.parameters()), "lr": lr}, noise]

    def _check_mask(self, name: str, mask: Any) -> None:
        alive = self.of(name).alive
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"the mask of {name!r} must be a tensor of truth values; got {kind}")
        checks.real_tensor(mask, f"the mask of {name!r}")
        if mask.shape != alive.shape:
            raise ValueError(f"the mask of {name!r} must have shape {tuple(alive.shape)}; got {tuple(mask.shape)}")

    # --- structures ----------------------------------------------------------------------------------------------------
    def alive(self, masks: Mapping[str, Tensor] | None = None) -> np.ndarray:
        """By structure of all sites ``(n,)``, whether it is left; of sites in ``masks`` as they say."""
        masks = {} if masks is None else checks.mapping(masks, "masks")
        for name, mask in masks.items():
            self._check_mask(name, mask)
        found = [masks.get(name, self.of(name).alive).detach().cpu() for name in self.sites]
        out: np.ndarray = torch.cat(found).numpy().astype(bool)
        return out

    def cost(self, of: str = "parameters", alive: Mapping[str, Tensor] | None = None) -> float:
        """What `compact` leaves: "structures", "parameters" or "flops" (of a call with the example inputs).

        Args:
            alive: masks ``(n,)`` by site; by default those that there are.

        Raises:
            ValueError: if there is no such cost.
        """
        checks.choice(of, "of", ("structures", "parameters", "flops"))
        if alive is not None:
            checks.mapping(alive, "alive")
        mine = self.alive(alive)
        if of == "structures":
            return float(mine.sum())
        for site in self.sites.values():
            if site.stays is not None:
                mine[site.first : site.first + site.n] = True
        return cost(self.plan, self.net, of, mine)

    def cost_dense(self, of: str = "parameters") -> float:
        """The same of the whole network."""
        return self.cost(of, {name: torch.ones(site.n, dtype=torch.bool) for name, site in self.sites.items()})

    def scores(self, criterion: Criterion) -> dict[str, Tensor]:
        """Scores of a criterion by site ``(n,)``; -inf for structures that are gone."""
        out = {}
        checked_criterion(criterion)
        with torch.no_grad():
            for name in self.sites:
                noise = self.of(name)
                score = criterion_for(criterion, name).scores(noise.posterior, self.rows(name))
                out[name] = torch.where(noise.alive, score, torch.full_like(score, -torch.inf))
        return out

    def rows(self, name: str) -> Tensor:
        """Weights that write each structure of a site ``(n, n_weights)``."""
        self.of(name)  # says which there are
        site, found = self.sites[name], []
        held = dict(self.net.named_parameters()) | dict(self.net.named_buffers())
        for tensor, axis in site.rows:
            weight = held[tensor].detach()
            if weight.dim() < 2:
                continue
            order = torch.from_numpy(np.argsort(site.parts[tensor, axis], kind="stable"))
            order = order[int((site.parts[tensor, axis] < 0).sum()) :].to(weight.device)
            found.append(weight.index_select(axis, order).movedim(axis, 0).reshape(site.n, -1))
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def remove(self, dead: Mapping[str, Tensor]) -> dict[str, int]:
        """Remove structures for good, by site a mask ``(n,)`` of what goes; at least one stays in each (the likeliest).

        Returns:
            how many each site has lost.
        """
        lost = {}
        for name, mask in checks.mapping(dead, "dead").items():
            self._check_mask(name, mask)
        for name, mask in dead.items():
            noise = self.of(name)
            left = noise.alive & ~mask.to(noise.alive.device)
            if not left.any():
                best = torch.where(noise.alive, noise.posterior.log_moment(1), torch.full_like(noise.mu, -torch.inf)).argmax()
                left[best] = True
            lost[name] = int((noise.alive & ~left).sum())
            noise.alive.copy_(left)
        return lost

    def gone(self) -> dict[str, Tensor]:
        """Structures that nothing passes through any more, by site ``(n,)``."""
        return {name: ~self.of(name).alive for name in self.sites}

    @property
    def n_structures(self) -> int:
        return self.plan.n

    @property
    def n_removed(self) -> int:
        return sum(int((~self.of(name).alive).sum()) for name in self.sites)

    def extra_repr(self) -> str:
        """What has noise, and what not and why."""
        lines = [f"{self.n_structures - self.n_removed} of {self.n_structures} structures left"]
        for name, site in self.sites.items():
            more = f" (with {', '.join(n for n in site.layers if n != name)})" if set(site.layers) - {name} else ""
            lines.append(f"{name}: {int(self.of(name).alive.sum())}/{site.n}{more}")
            if site.stays is not None:
                lines[-1] += f", only switched off: {site.stays}"
        lines += [f"{name}: left out, {reason}" for name, reason in self.left_out.items()]
        return "\n".join(lines)


def check_noisy(noisy: Any) -> NoisyModule:
    """``noisy`` if it is a network with noise.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(noisy, NoisyModule):
        raise TypeError(f"noisy must be a NoisyModule (see attach_noise); got {type(noisy).__name__}")
    return noisy


def check_draws(draws: Any) -> None:
    if draws is not None and (not isinstance(draws, int) or isinstance(draws, bool) or draws < 1):
        raise ValueError(f"draws must be a whole number >= 1, or None for one for each example; got {draws!r}")


def _key(name: str) -> str:
    return name.replace(".", "/")
