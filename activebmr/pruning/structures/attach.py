"""`attach_noise`: multiplicative noise on the structures of any network, without touching it.

The network is wrapped, not changed: while it runs, temporary hooks multiply what its layers read (see
`activebmr.pruning.units.plan`) with theta; between calls it is what it was, and it can go on being used alone. In training
mode theta is drawn from its posterior, so many times a batch, and the examples take turns; in evaluation mode it is its mean.
Structures that have been pruned are multiplied with 0.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.structures.criteria import Criterion, criterion_for
from activebmr.pruning.structures.multiplying import Pass, Places
from activebmr.pruning.structures.noise import TruncatedLogNormal
from activebmr.pruning.structures.trial import agree, doubled_copy, exactly, fold, lively, probes_of, removable
from activebmr.pruning.units.finding import plan_of
from activebmr.pruning.units.inputs import Inputs, check_inputs, guessed
from activebmr.pruning.units.plan import Plan, Site, cost, restricted

__all__ = ["Noise", "NoisyModule", "attach_noise"]

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
    """

    def __init__(self, net: nn.Module, plan: Plan, draws: int | None = 16) -> None:
        super().__init__()
        _check_draws(draws)
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
        if name not in self.sites:
            raise ValueError(f"name must be one of the sites {list(self.sites)}; got {name!r}")
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
        """
        noise = {"params": list(self.noise.parameters()), "lr": 10 * lr if noise_lr is None else noise_lr, "weight_decay": 0.0}
        return [{"params": list(self.net.parameters()), "lr": lr}, noise]

    def _check_mask(self, name: str, mask: Any) -> None:
        alive = self.of(name).alive
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"the mask of {name!r} must be a tensor of truth values; got {kind}")
        if mask.shape != alive.shape:
            raise ValueError(f"the mask of {name!r} must have shape {tuple(alive.shape)}; got {tuple(mask.shape)}")

    # --- structures ----------------------------------------------------------------------------------------------------
    def alive(self, masks: Mapping[str, Tensor] | None = None) -> np.ndarray:
        """By structure of all sites ``(n,)``, whether it is left; of sites in ``masks`` as they say."""
        masks = masks or {}
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
        if of not in ("structures", "parameters", "flops"):
            raise ValueError(f"of must be 'structures', 'parameters' or 'flops'; got {of!r}")
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
        with torch.no_grad():
            for name in self.sites:
                noise = self.of(name)
                score = criterion_for(criterion, name).scores(noise.posterior, self.rows(name))
                out[name] = torch.where(noise.alive, score, torch.full_like(score, -torch.inf))
        return out

    def rows(self, name: str) -> Tensor:
        """Weights that write each structure of a site ``(n, n_weights)``."""
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
        for name, mask in dead.items():
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


def _check_draws(draws: Any) -> None:
    if draws is not None and (not isinstance(draws, int) or isinstance(draws, bool) or draws < 1):
        raise ValueError(f"draws must be a whole number >= 1, or None for one for each example; got {draws!r}")


def _key(name: str) -> str:
    return name.replace(".", "/")


def attach_noise(
    net: nn.Module,
    names: Iterable[str] | None = None,
    example_inputs: Inputs | None = None,
    exclude: Iterable[str] = (),
    *,
    draws: int | None = 16,
) -> NoisyModule:
    """Put one noise variable on every structure of a network that can be removed (neurons, channels, attention heads).

    Structures are found by running the network once on the example inputs and watching what every operation does to them; it
    need not be traceable. Then they are removed from a copy, to see that they can be.

    Args:
        net: any module; it is wrapped, not changed.
        names: layers whose structures are pruned, by name; by default all. Layers that write to the same structures (of a
            residual stream, of an attention) are pruned together, whichever is named.
        example_inputs: what the network may be called with, as for `compact`; two examples or more tell most. By default inputs
            are guessed from the first layer.
        exclude: layers whose structures stay, by name; modules stand for all layers in them.
        draws: how many draws of theta the examples of a batch share, None for one each.

    Raises:
        TypeError: if ``net`` is no module, or the inputs are of another type.
        ValueError: if no inputs could be guessed, the network does not take those given, nothing can be pruned, or a name is
        not
            that of a layer with structures that can go; the message says why.

    Example:
        >>> noisy = attach_noise(net, example_inputs=x[:2])
        >>> print(noisy.left_out)
        >>> loss = F.cross_entropy(noisy(x), y) + noisy.kl() / n_examples
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module; got {type(net).__name__}")
    if isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or hasattr(net, "_orig_mod"):
        inner = "_orig_mod" if hasattr(net, "_orig_mod") else "module"
        raise ValueError(f"net must be the network itself, not a wrapper; hand over net.{inner} of this {type(net).__name__}")
    _check_draws(draws)
    wanted = None if names is None else _module_names(net, names, "names")
    without = _module_names(net, exclude, "exclude")
    if wanted is not None and not wanted:
        raise ValueError("names must hold at least one module with structures, or be None for all; got none")
    if isinstance(net, NoisyModule):
        raise ValueError("net must be a network without noise; this one is a NoisyModule already")
    if any(p.device.type == "meta" for p in net.parameters()):
        raise ValueError("net must have weights, so that it can be run; its parameters are on the device 'meta'")
    if next(iter(net.parameters()), None) is None:
        raise ValueError("net must have a structure that can be pruned: it has no parameters")
    inputs = _inputs(net, example_inputs)
    try:
        with exactly():
            found = plan_of(net, inputs, tuple(without))
    except Exception as error:  # whatever user code raises
        if example_inputs is None:
            raise
        raise ValueError(
            f"example_inputs must be what net can be called with; it raises {type(error).__name__}: {error}"
        ) from error
    _check_excluded(net, found, without)
    plan = _checked(net, inputs, found, wanted)
    return _multiplying(net, inputs, plan, draws)


def call_with(noisy: NoisyModule, theta: Tensor, inputs: Inputs) -> Any:
    """What a noisy module returns with these draws."""
    if isinstance(inputs, dict):
        return noisy.with_theta(theta, 1, **inputs)
    return noisy.with_theta(theta, 1, *([inputs] if isinstance(inputs, Tensor) else inputs))


@torch.no_grad()
def _multiplying(net: nn.Module, inputs: Inputs, plan: Plan, draws: int | None) -> NoisyModule:
    """The noisy module, after it has been seen to compute what it will compute with its noise in its weights.

    Where a module does more with what it is handed than read it, noise multiplies its weights instead.
    """
    generator = np.random.default_rng(1)
    theta = torch.from_numpy(generator.uniform(0.3, 1.0, plan.n) * (generator.random(plan.n) < 0.7))
    exact, inputs = doubled_copy(net, inputs)
    lively(exact)
    folded = copy.deepcopy(exact)
    fold(folded, plan, theta)
    probes, want = probes_of(folded, inputs)
    for _ in range(2):
        noisy = NoisyModule(exact, plan, draws)
        with evaluating(noisy), exactly():
            if agree([call_with(noisy, theta[None], p) for p in probes], want):
                return NoisyModule(net, plan, draws)
        norms = set(plan.norms)
        by_hand = {key: plan.parts[key] for key in plan.columns}
        plan = replace(plan, readings=[r for r in plan.readings if r.module in norms], by_hand=by_hand)
    raise ValueError(
        "net must compute the same with noise on what its layers read as with noise in their weights; it does not (weights "
        "that are used in several ways): name the layers (names=[...]) or leave some out (exclude=[...])"
    )


def _module_names(net: nn.Module, names: Iterable[str], what: str) -> list[str]:
    """Names of modules, each as `named_modules` has it first."""
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of names of modules; got the string {names!r}")
    modules, found = dict(net.named_modules(remove_duplicate=False)), list(names)
    first = {id(module): name for name, module in net.named_modules()}
    for name in found:
        if name not in modules or name == "":
            near = next((n for n in modules if n), "")
            raise ValueError(f"{what} must be modules of net, such as {near!r}; got {name!r}")
    return [first[id(modules[name])] for name in found]


def _check_excluded(net: nn.Module, plan: Plan, names: list[str]) -> None:
    for name in names:
        if not any(layer == name or layer.startswith(f"{name}.") for layer in plan.left_out):
            kind = type(net.get_submodule(name)).__name__
            raise ValueError(f"exclude must be layers that write structures, or hold such; {name!r} ({kind}) is neither")


def _inputs(net: nn.Module, example_inputs: Inputs | None) -> Inputs:
    if example_inputs is not None:
        check_inputs(example_inputs)
        return example_inputs
    found = guessed(net)
    if found is None:
        raise ValueError(
            "example_inputs must be given: net takes none of the usual inputs that could be guessed from its first layer"
        )
    return found


def _checked(net: nn.Module, inputs: Inputs, plan: Plan, wanted: list[str] | None) -> Plan:
    """The plan with the sites that are wanted, and of these, those that have been seen to go."""
    if wanted is not None:
        chosen = {name: _chosen(plan, name) for name in wanted}
        plan = restricted(plan, [s for s in plan.sites if any(s in found for found in chosen.values())])
        for name in wanted:
            if not chosen[name]:
                reason = plan.left_out.get(name) or next(
                    (r for n, r in plan.left_out.items() if n.startswith(f"{name}.")), "it writes no structures"
                )
                raise ValueError(f"names must be layers whose structures can go; {name!r} is left out: {reason}")
    if not plan.sites:
        raise ValueError(_nothing(plan))
    with exactly():
        exact, wide = doubled_copy(net, inputs)
        bad = removable(lively(exact), plan, probes_of(exact, wide)[0])
    if not bad:
        return plan
    if wanted is not None:  # the user vouches for them: they are switched off, and stay in place
        sites = {name: replace(site, stays=bad.get(name)) for name, site in plan.sites.items()}
        return replace(plan, sites=sites)
    reasons = {layer: reason for name, reason in bad.items() for layer in (name, *plan.sites[name].layers)}
    plan = restricted(plan, [n for n in plan.sites if n not in bad], reasons)
    if not plan.sites:
        raise ValueError(_nothing(plan))
    return plan


def _chosen(plan: Plan, name: str) -> list[str]:
    """Sites that a name stands for: its own, those that the layer of this name writes, or those with a layer in this module."""
    own = [s for s in plan.sites if s.partition(":")[0] == name or s == name]
    own = own or [s for s, site in plan.sites.items() if name in site.layers]
    return own or [s for s, site in plan.sites.items() if any(n.startswith(f"{name}.") for n in site.layers)]


def _nothing(plan: Plan) -> str:
    told = "; ".join(f"{name}: {reason}" for name, reason in list(plan.left_out.items())[:6])
    return f"net must have a structure that can be pruned, which something writes and another layer reads; it has none ({told})"
