"""Parameters of a network that a posterior can go on, and how they stop learning while it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.checks import module, module_names

__all__ = ["parameters_of", "set_frozen"]


def parameters_of(net: nn.Module, names: list[str] | None = None) -> dict[str, nn.Parameter]:
    """Parameters that a posterior can go on, by name: all floating-point ones that learn, or those named.

    Tied parameters, one tensor under several names, are one, under the first of their names.

    Raises:
        TypeError: if ``net`` is no module.
        ValueError: if there is none, a name is unknown, types or devices differ, or one overlaps with another in memory.
    """
    module(net)
    known = {n: p for n, p in net.named_parameters() if (p.requires_grad or _is_frozen(net, n)) and p.is_floating_point()}
    if names is not None:
        names = module_names(names, "names")
        first = {id(p): n for n, p in known.items()}
        alias = {n: first[id(p)] for n, p in net.named_parameters(remove_duplicate=False) if id(p) in first}
        for name in names:
            if name not in alias:
                near = checks.meant(name, known)
                raise ValueError(f"names must be parameters that learn, of {list(known)}; got {name!r}{near}")
        chosen = {alias[name] for name in names}
        known = {n: p for n, p in known.items() if n in chosen}
    if not known:
        raise ValueError("net must have parameters that learn; it has none")
    _no_overlap(net, known)
    kinds = {(p.dtype, p.device) for p in known.values()}
    if len(kinds) > 1:
        raise ValueError(f"parameters must have one type and lie on one device; got {sorted(map(str, kinds))}")
    for name, p in known.items():
        if p.device.type == "meta":
            raise ValueError(f"parameters must have values; {name!r} is on the device 'meta'")
        if not torch.isfinite(p).all():
            raise ValueError(f"parameters must be finite; {name!r} holds {p[~torch.isfinite(p)][0].item()}")
    return known


@torch.no_grad()
def set_frozen(net: nn.Module, names: Iterable[str], frozen: bool) -> None:
    """Stop parameters from learning, because a posterior does in their place, or let them learn again.

    Modules that own a parameter remember it, so that a posterior on a larger or smaller part of the network can tell it from a
    parameter that the user has frozen.
    """
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for owner in net.modules():
        for own, p in owner._parameters.items():
            if p is not None:
                owners.setdefault(id(p), []).append((owner, own))
    for name in names:
        p = net.get_parameter(name).requires_grad_(not frozen)
        for owner, own in owners.get(id(p), []):
            held = owner.__dict__.setdefault("_activebmr_frozen", set())
            held.add(own) if frozen else held.discard(own)


def _is_frozen(net: nn.Module, name: str) -> bool:
    owner, _, own = name.rpartition(".")
    return own in net.get_submodule(owner).__dict__.get("_activebmr_frozen", ())


def _no_overlap(net: nn.Module, chosen: Mapping[str, Tensor]) -> None:
    """Whether no two parameters share memory without being one tensor: a posterior of the one would miss the other."""
    known = [(name, p) for name, p in net.named_parameters() if p.numel() and p.data_ptr()]
    spans = sorted((p.data_ptr(), p.data_ptr() + p.numel() * p.element_size(), name) for name, p in known)
    end, last = 0, ""
    for start, stop, name in spans:
        if start < end and (name in chosen or last in chosen):
            raise ValueError(
                f"parameters must be one tensor if they are tied; {name!r} shares memory with {last!r} but is another tensor"
            )
        if stop > end:
            end, last = stop, name
