"""`compact`: what pruning has left, as a network that is really smaller.

First the means of the noise go into the weights that read structures (`fold`): into their columns or, of normalisations over
structures, into a factor before them. Then rows, columns and entries of structures that are gone are cut out
(`activebmr.pruning.structures.cutting`). Nothing is taken on trust: outputs are compared before and after; where a site cannot
go without changing them, that site stays in place, switched off, and is told in the `Structure`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from activebmr.pruning.data.batches import tried
from activebmr.pruning.structures.cutting import Structure, structure_of
from activebmr.pruning.structures.noisy import NoisyModule, check_noisy
from activebmr.pruning.structures.trial import agree, cut_down, doubled_copy, fold, outputs_of, probes_of
from activebmr.pruning.units.inputs import Inputs, check_inputs
from activebmr.pruning.units.plan import Plan

__all__ = ["Structure", "compact", "cut_out", "structure_of"]


def compact(noisy: NoisyModule, example_inputs: Inputs) -> nn.Module:
    """A smaller network that computes what the noisy one does in evaluation mode; it has no noise, and neither is changed.

    Args:
        noisy: a network with noise, usually after `activebmr.pruning.prune`.
        example_inputs: what the network may be called with: a tensor, a tuple of arguments or a dict of keyword arguments.
            They, and they with added noise, are run through both networks to compare them.

    Returns:
        a copy of the network, in evaluation mode, of the same class and with layers of the same names. Modules
        ``nn.MultiheadAttention`` that have lost heads or width are `SlimAttention`, normalisations over structures are
        `SlimLayerNorm`, `SlimRMSNorm` or `SlimGroupNorm`. At least one structure stays in each layer.

    Raises:
        TypeError: if ``noisy`` is no noisy module or the inputs are of another type.
        RuntimeError: if the means cannot be folded into the weights without changing outputs.

    Example:
        >>> small = compact(noisy, x[:1])
    """
    check_noisy(noisy)
    check_inputs(example_inputs)
    tried(noisy, example_inputs, "example_inputs")
    exact, inputs = doubled_copy(noisy, example_inputs)
    assert isinstance(exact, NoisyModule)
    probes, want = probes_of(exact, inputs)
    net = exact.net.eval()
    fold(net, noisy.plan, noisy.means())
    alive = noisy.alive()
    stay = [(name, site.stays) for name, site in noisy.sites.items() if site.stays is not None]
    small = cut_out(net, noisy.plan, alive, probes, want, stay)
    kind = next((t.dtype for t in noisy.net.parameters() if t.is_floating_point()), None)
    return small.to(kind) if exact_is_wide(exact, noisy) and kind is not None else small


def exact_is_wide(exact: NoisyModule, noisy: NoisyModule) -> bool:
    """Whether a copy is in another precision than the network."""
    pairs = zip(exact.net.parameters(), noisy.net.parameters(), strict=True)
    return any(a.dtype != b.dtype for a, b in pairs)


def cut_out(
    net: nn.Module, plan: Plan, alive: np.ndarray, probes: list[Inputs], want: list[Any], stay: list[tuple[str, str]]
) -> nn.Module:
    """A network that computes ``want`` of the probes, from one in which what is gone has been switched off.

    Args:
        alive: by structure of all sites, whether it is left.
        stay: sites that are only switched off, and why.
    """
    alive = alive.copy()
    left: dict[str, dict[str, list[int]]] = {}

    def leave(name: str, reason: str) -> None:
        site = plan.sites[name]
        mine = slice(site.first, site.first + site.n)
        dead = np.flatnonzero(~alive[mine]).tolist()
        if dead:
            left[name] = {reason: dead}
            alive[mine] = True

    for name, reason in stay:
        leave(name, reason)
    for site in plan.sites.values():
        if not alive[site.first : site.first + site.n].any():  # only if masks have been set by hand
            alive[site.first] = True
    found = cut_down(net, plan, alive, probes, want)
    if isinstance(found, str) and not agree(outputs_of(net, probes), want):
        raise RuntimeError(
            "noisy cannot be made smaller: with the means of its noise in the weights it computes something else"
        )
    small, structure = _one_by_one(net, plan, alive, probes, want, leave) if isinstance(found, str) else found
    structure.left = left
    small._compactions = [*getattr(net, "_compactions", []), structure]  # type: ignore[assignment]
    return small


def _one_by_one(
    net: nn.Module, plan: Plan, alive: np.ndarray, probes: list[Inputs], want: list[Any], leave: Callable[[str, str], None]
) -> tuple[nn.Module, Structure]:
    """Site by site, without those that change outputs."""
    some = [n for n, s in plan.sites.items() if not alive[s.first : s.first + s.n].all()]
    stay = np.ones(len(alive), dtype=bool)
    last: tuple[nn.Module, Structure] = copy.deepcopy(net), Structure()
    for name in some:
        site = plan.sites[name]
        mine = slice(site.first, site.first + site.n)
        trial = stay.copy()
        trial[mine] = alive[mine]
        found = cut_down(net, plan, trial, probes, want)
        if isinstance(found, str):
            leave(name, found)
        else:
            stay, last = trial, found
    return last
