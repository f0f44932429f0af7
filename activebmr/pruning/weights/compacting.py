"""`compact_weights`: the structures that removed weights have cut off, taken out of a network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.batches import call
from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.structures.attach import attach_noise
from activebmr.pruning.structures.compaction import cut_out
from activebmr.pruning.structures.trial import copied, exactly, fold, probes_of
from activebmr.pruning.units.inputs import Inputs, check_inputs, disturbed
from activebmr.pruning.units.plan import Plan, restricted
from activebmr.pruning.weights.bayes import BayesianModule

__all__ = ["compact_weights"]


@torch.no_grad()
def compact_weights(
    bayes: BayesianModule, example_inputs: Inputs, names: Iterable[str] | None = None, exclude: Iterable[str] = ()
) -> nn.Module:
    """A really smaller network: without the units, channels and heads that removed weights have cut off.

    A structure can go if no weight that is left reads it, or if none feeds it and what is read of it is always 0. Taking one
    away can cut off another, so this is repeated until nothing more can go. Sparse layers that keep all their structures stay
    as large as they are: 99 % of single weights may be gone without a single structure.

    Args:
        bayes: a network after pruning; it has the posterior's means as weights afterwards (`BayesianModule.write_means`).
        example_inputs: see `activebmr.pruning.compact`.
        names, exclude: layers whose structures may go, see `activebmr.pruning.attach_noise`.

    Returns:
        a copy of the network, in evaluation mode; see `activebmr.pruning.compact`.

    Raises:
        TypeError: if the inputs are of another type.
        ValueError: if the network has no structure that could go (see `activebmr.pruning.attach_noise`).

    Example:
        >>> small = compact_weights(sparsify(net, data).bayes, x[:2])
    """
    checks.an(BayesianModule)(bayes, "bayes")
    check_inputs(example_inputs)
    net = copied(bayes.write_means())
    plan = attach_noise(net, names, example_inputs, exclude).plan
    net.eval()
    with exactly():
        probes, want = probes_of(net, example_inputs)
    plan = restricted(plan, [name for name, site in plan.sites.items() if site.stays is None])
    alive = np.ones(plan.n, dtype=bool)
    while True:
        dead = alive & _cut_off(net, plan, alive, probes)
        for site in plan.sites.values():
            mine = slice(site.first, site.first + site.n)
            if not (alive[mine] & ~dead[mine]).any():
                dead[site.first + int(np.flatnonzero(alive[mine])[0])] = False
        if not dead.any():
            break
        alive &= ~dead
        fold(net, plan, torch.from_numpy(alive).double())
        _silence(net, plan, alive)
    return cut_out(net, plan, alive, probes, want, [])


def _cut_off(net: nn.Module, plan: Plan, alive: np.ndarray, probes: list[Inputs]) -> np.ndarray:
    """Structures ``(n,)`` that nothing reads or nothing feeds."""
    held = dict(net.named_parameters())
    unread, unfed = np.ones(plan.n, dtype=bool), np.ones(plan.n, dtype=bool)
    for tensor, axis in plan.columns:
        unread[_users(held[tensor], axis, plan.parts[tensor, axis])] = False
    gains = {f"{name}.weight" for name in plan.norms} | {
        f"{name}.weight" for name, m in net.named_modules() if isinstance(m, nn.modules.batchnorm._NormBase)
    }
    for site in plan.sites.values():  # rows, biases, positions: what is not known to be 0 feeds a structure
        for tensor, axis in site.parts:
            if (tensor, axis) not in plan.columns and tensor not in gains and tensor in held:
                unfed[_users(held[tensor], axis, plan.parts[tensor, axis])] = False
    more = [disturbed(probes[0], False, seed) for seed in range(3)]
    unfed &= _silent(net, plan, [*probes, *more])
    for name, (kind, _, _, units) in plan.norms.items():
        for members in _groups(net.get_submodule(name), kind, units):
            mine = members[members >= 0]
            if not unread[mine].all() or len(mine) < len(members):  # its statistics need what is fed
                unread[mine] &= unfed[mine]
            unfed[mine] &= unread[mine]
    gone: np.ndarray = unread | unfed
    return gone


def _users(weight: Tensor, axis: int, units: np.ndarray) -> np.ndarray:
    """Structures for which a weight has entries other than 0."""
    some = (weight != 0).movedim(axis, 0).reshape(weight.shape[axis], -1).any(dim=1).cpu().numpy()
    found: np.ndarray = np.unique(units[some & (units >= 0)])
    return found


def _groups(norm: nn.Module, kind: str, units: np.ndarray) -> list[np.ndarray]:
    if kind != "group":
        return [units]
    return list(units.reshape(int(norm.num_groups), -1)) if len(units) % int(norm.num_groups) == 0 else [units]  # type: ignore[arg-type]


def _silent(net: nn.Module, plan: Plan, probes: list[Inputs]) -> np.ndarray:
    """Structures of which every reader is handed 0 alone. (What is read by hand cannot be seen, and counts as heard.)"""
    silent = np.ones(plan.n, dtype=bool)
    for units in plan.by_hand.values():
        silent[units[units >= 0]] = False
    handles = []

    def listen(place: int | str, units: Tensor) -> object:
        def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
            x = kwargs.get(place) if isinstance(place, str) else args[place]
            if isinstance(x, Tensor) and x.dim() == units.dim():
                heard = (x != 0).cpu()
                for axis in range(x.dim()):
                    if units.shape[axis] == 1:
                        heard = heard.any(dim=axis, keepdim=True)
                silent[units[heard & (units >= 0)].numpy()] = False
            else:
                silent[units[units >= 0].numpy()] = False

        return hook

    try:
        for reading in plan.readings:
            module = net.get_submodule(reading.module)
            hook = listen(reading.place, reading.units)
            handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))  # type: ignore[arg-type]
        with evaluating(net):
            for p in probes:
                call(net, p)
    finally:
        for handle in handles:
            handle.remove()
    return silent


def _silence(net: nn.Module, plan: Plan, alive: np.ndarray) -> None:
    """What is gone reads nothing any more."""
    held = dict(net.named_parameters())
    for site in plan.sites.values():
        for tensor, axis in site.rows:
            units = plan.parts[tensor, axis]
            dead = torch.from_numpy((units >= 0) & ~alive[units])
            if bool(dead.any()):
                held[tensor].index_fill_(axis, dead.nonzero().flatten().to(held[tensor].device), 0.0)
