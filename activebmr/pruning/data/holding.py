"""Weights that stay what they are while a network is trained: removed ones do not grow back in fine-tuning.

Their gradients are 0, so that they count in no norm and no momentum of an optimiser. That is not enough: momentum from before,
noise, averages of weights, or decay towards 0 of a gain that is held at 1 would move them. So they are also put back after
every step of an optimiser (any that derives from `torch.optim.Optimizer`), before every forward pass of the network, and before
its state is saved. The network's parameters, their names and its state are those of any other network; copies and pickles of
it hold their weights too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakTensorKeyDictionary

from activebmr import checks
from activebmr.pruning.data.checks import module, module_names

__all__ = ["held_weights", "hold_weights", "release_weights"]

_HELD: Any = WeakTensorKeyDictionary()
"""By parameter, which entries are held, at what, and the handle of what sees to their gradients (None while there are none)."""
_watching: list[Any] = []
"""The handle of what looks at all steps of optimisers, once there is something to hold."""


class _Hold:
    """What a network holds: a hook before forward passes and before its state is read."""

    def __init__(self, held: dict[str, tuple[Tensor, Tensor]]) -> None:
        self.held = held

    def __call__(self, net: nn.Module, *_: Any) -> None:
        for name, (gone, value) in self.held.items():
            p = net.get_parameter(name) if _is_parameter(net, name) else None
            if p is None:  # something stands in for it
                continue
            if gone.device != p.device or value.dtype != p.dtype:
                gone, value = self.held[name] = gone.to(p.device), value.to(p)
            if gone.shape != p.shape:
                raise ValueError(
                    f"{name!r} must keep its shape {tuple(gone.shape)} while weights of it are held; got {tuple(p.shape)}: "
                    "let them go first (release_weights)"
                )
            _watch(p, gone, value)
            _put_back(p, gone, value)


def _is_parameter(net: nn.Module, name: str) -> bool:
    owner, _, own = name.rpartition(".")
    return isinstance(net.get_submodule(owner)._parameters.get(own), nn.Parameter)


def _put_back(p: Tensor, gone: Tensor, value: Tensor) -> None:
    # values that are right already must not count as changed between a forward and a backward pass
    p.data.copy_(torch.where(gone, value, p.data))


def _watch(p: Tensor, gone: Tensor, value: Tensor) -> None:
    known = _HELD.get(p)
    handle = None if known is None else known[2]
    if known is not None and known[0] is gone and known[1] is value and (handle is not None or not p.requires_grad):
        return
    if handle is not None:
        handle.remove()
    handle = p.register_post_accumulate_grad_hook(_WithoutGradient(gone)) if p.requires_grad else None
    _HELD[p] = gone, value, handle
    if not _watching:
        _watching.append(register_optimizer_step_post_hook(_after_step))


def _forget(p: Tensor) -> None:
    known = _HELD.pop(p, None)
    if known is not None and known[2] is not None:
        known[2].remove()


class _WithoutGradient:
    """Sets gradients of these entries to 0."""

    def __init__(self, gone: Tensor) -> None:
        self.gone = gone

    def __call__(self, p: Tensor) -> None:
        if p.grad is not None and p.grad.layout == torch.strided:
            p.grad.masked_fill_(self.gone, 0)


@torch.no_grad()
def _after_step(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            held = _HELD.get(p)
            if held is not None:
                _put_back(p, *held[:2])


def hold_weights(net: nn.Module, weights: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Hold weights of a network from now on; those that it holds already stay held.

    Args:
        net: any module.
        weights: by parameter name a mask of the weights to be held, and their values, both in the parameter's shape.

    Raises:
        TypeError: if ``net`` is no module, or weights are no pairs of tensors.
        ValueError: if a parameter is unknown, shapes do not fit, or values are not finite.

    Example:
        >>> hold_weights(net, {"0.weight": (net[0].weight == 0, torch.zeros_like(net[0].weight))})
    """
    held, known = held_weights(module(net)), dict(net.named_parameters(remove_duplicate=False))
    for name, pair in checks.mapping(weights, "weights").items():
        if name not in known:
            near = checks.meant(name, known)
            raise ValueError(f"weights must name parameters of {list(known)}; got {name!r}{near}")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"weights of {name!r} must be a pair, a mask and values; got {checks.brief(pair)}")
        gone, value = (checks.real_tensor(x, f"weights of {name!r}") for x in pair)
        shape = known[name].shape
        if gone.shape != shape or value.shape != shape or gone.dtype != torch.bool:
            raise ValueError(
                f"weights of {name!r} must be a bool mask and values of shape {tuple(shape)}; got {gone.dtype} "
                f"{tuple(gone.shape)} and {tuple(value.shape)}"
            )
        if not (finite := torch.isfinite(value[gone])).all():
            raise ValueError(f"weights of {name!r} must be held at finite values; got {value[gone][~finite][0].item()}")
        gone, value = gone.detach().to(known[name].device), value.detach().to(known[name])
        if name in held:
            value = torch.where(gone, value, held[name][1])
            gone = gone | held[name][0]
        if gone.any():
            held[name] = gone.clone(), value.clone()
    release_weights(net)
    if held:
        hook = _Hold(held)
        net.register_forward_pre_hook(hook)
        net.register_state_dict_pre_hook(hook)
        hook(net)


def held_weights(net: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """By parameter name the mask of what a network, or a module in it, holds, and the values."""
    return {at + name: part for at, _, hook in _hooks(net) for name, part in hook.held.items()}


def release_weights(net: nn.Module, names: Iterable[str] | None = None) -> None:
    """Let the weights go that a network, or a module in it, holds, all or those of the parameters named: they learn again.

    Example:
        >>> net = bayes.write_means(hold=True)
        >>> ...  # fine-tuning
        >>> release_weights(net)

    Raises:
        TypeError: if ``net`` is no module, or names are no list.
        ValueError: if a name is that of no parameter.
    """
    chosen = None if names is None else set(module_names(names, "names"))
    known = {name for name, _ in module(net).named_parameters(remove_duplicate=False)} | held_weights(net).keys()
    for name in chosen or ():
        if name not in known:
            near = checks.meant(name, known)
            raise ValueError(f"names must be parameters of net, {sorted(known)}; got {name!r}{near}")
    for at, owner, hook in _hooks(net):
        for name in [name for name in hook.held if chosen is None or at + name in chosen]:
            del hook.held[name]
            if _is_parameter(owner, name):
                _forget(owner.get_parameter(name))
        if not hook.held:
            for hooks in (owner._forward_pre_hooks, owner._state_dict_pre_hooks):
                for key in [key for key, other in hooks.items() if other is hook]:
                    del hooks[key]
    if not len(_HELD) and _watching:
        _watching.pop().remove()


def _hooks(net: nn.Module) -> list[tuple[str, nn.Module, _Hold]]:
    """Where modules hold weights: the prefix of their names, the module, and its hook."""
    found = []
    for name, owner in net.named_modules():
        found += [(f"{name}." if name else "", owner, h) for h in owner._forward_pre_hooks.values() if isinstance(h, _Hold)]
    return found
