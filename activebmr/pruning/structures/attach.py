"""`attach_noise`: multiplicative noise on the structures of any network, without touching it.

Structures are found by running the network (`activebmr.pruning.units.finding`); that they can go, and that noise reaches all
who read them, is tried out on copies before any training.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.checks import module, module_names, runnable
from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.structures.noisy import NoisyModule, check_draws
from activebmr.pruning.structures.trial import agree, doubled_copy, exactly, fold, lively, probes_of, removable
from activebmr.pruning.units.finding import plan_of
from activebmr.pruning.units.inputs import Inputs, check_inputs, guessed
from activebmr.pruning.units.plan import Plan, restricted

__all__ = ["attach_noise"]


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
    module(net)
    if isinstance(net, (nn.DataParallel, nn.parallel.DistributedDataParallel)) or hasattr(net, "_orig_mod"):
        inner = "_orig_mod" if hasattr(net, "_orig_mod") else "module"
        raise ValueError(f"net must be the network itself, not a wrapper; hand over net.{inner} of this {type(net).__name__}")
    check_draws(draws)
    wanted = None if names is None else _module_names(net, names, "names")
    without = _module_names(net, exclude, "exclude")
    if wanted is not None and not wanted:
        raise ValueError("names must hold at least one module with structures, or be None for all; got none")
    if isinstance(net, NoisyModule):
        raise ValueError("net must be a network without noise; this one is a NoisyModule already")
    runnable(net)
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
    modules, found = dict(net.named_modules(remove_duplicate=False)), module_names(names, what)
    first = {id(module): name for name, module in net.named_modules()}
    for name in found:
        if name not in modules or name == "":
            one = next((n for n in modules if n), "")
            raise ValueError(f"{what} must be modules of net, such as {one!r}; got {name!r}{checks.meant(name, modules)}")
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
