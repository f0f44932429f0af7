"""Trying out: whether a network with structures cut out computes what it does with them switched off, and which cannot go."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from activebmr.pruning.data.batches import call
from activebmr.pruning.data.holding import release_weights
from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.structures.cutting import Structure, cut, structure_for, without_shortcuts
from activebmr.pruning.units.examples import repeated
from activebmr.pruning.units.inputs import Inputs, disturbed, leaves, tensors
from activebmr.pruning.units.norms import slim_norm
from activebmr.pruning.units.plan import Plan

__all__ = ["agree", "copied", "cut_down", "doubled_copy", "exactly", "fold", "lively", "outputs_of", "probes_of", "removable"]

GUESSES = 4  # ways to read sizes in users' code; see `structure_for`


@contextmanager
def exactly() -> Iterator[None]:
    """Neither TF32 nor autocast nor fast paths past the parts of layers, which would be taken for a difference."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [b.fp32_precision for b in backends]  # the older switches raise where a user has set these
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for b in backends:
            b.fp32_precision = "ieee"
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for b, was in zip(backends, before, strict=True):
            b.fp32_precision = was


LARGE = 20_000_000
"""Parameters from which on networks are compared in their own precision, for the sake of time and memory."""


def doubled_copy(net: nn.Module, inputs: Inputs) -> tuple[nn.Module, Inputs]:
    """A copy in double precision, and inputs for it; in its own precision if it is large or does not run in another."""
    new = copied(net)
    inner = getattr(net, "net", net)  # noise is in double precision already
    some = [t for t in (*inner.parameters(), *inner.buffers()) if t.is_floating_point()]
    kinds, devices = {t.dtype for t in some}, {t.device.type for t in some}
    if sum(t.numel() for t in some) > LARGE or len(kinds) > 1 or "mps" in devices:
        return new, inputs
    for m in new.modules():
        if isinstance(m, nn.RMSNorm) and m.eps is None:  # it would follow the precision
            m.eps = torch.finfo(next(iter(kinds))).eps
    wide = tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, inputs)
    try:
        found = outputs_of(new.double(), [wide])
        if any(x.dtype == torch.float64 for x in tensors(found)):
            return new, wide
    except Exception:  # precisions that are written into its code
        pass
    return copied(net), inputs


@torch.no_grad()
def lively(net: nn.Module) -> nn.Module:
    """Give weights that are all alike (branches that begin at 0, gains of 1) some life, in place: else they show nothing."""
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters():
        if p.is_floating_point() and p.numel() and float(p.max() - p.min()) <= 1e-3 * max(float(p.abs().max()), 1e-3):
            p.add_(0.1 * torch.rand(p.shape, generator=generator).to(p.device, p.dtype))
    return net


def copied(net: nn.Module) -> nn.Module:
    """A copy of a network that holds no weights at what they are, so that it may be cut."""
    new = copy.deepcopy(net)
    release_weights(new)
    return new


# --- means into weights ------------------------------------------------------------------------------------------------------
@torch.no_grad()
def fold(net: nn.Module, plan: Plan, theta: Tensor) -> None:
    """Multiply, in place, the weights that read structures with their noise.

    Args:
        theta: of all sites ``(n,)``.
    """
    factors = torch.cat([theta.double().cpu(), torch.ones(1, dtype=torch.float64)])
    held = dict(net.named_parameters()) | dict(net.named_buffers())
    for tensor, axis in plan.columns:
        weight = held[tensor]
        factor = factors[torch.from_numpy(plan.parts[tensor, axis])]
        shape = [1] * weight.dim()
        shape[axis] = -1
        if bool((factor != 1).any()):
            weight.mul_(factor.reshape(shape).to(weight.device, weight.dtype))
    for name, (kind, axis, eps, units) in plan.norms.items():
        factor = factors[torch.from_numpy(units)]
        if bool((factor != 1).any()):
            norm = slim_norm(net.get_submodule(name), kind, axis, len(units), eps)
            parent, _, key = name.rpartition(".")
            setattr(net.get_submodule(parent), key, norm)
            norm.scale.mul_(factor.to(norm.scale.device))
    without_shortcuts(net)


# --- cutting and comparing ---------------------------------------------------------------------------------------------------
def probes_of(net: nn.Module, inputs: Inputs) -> tuple[list[Inputs], list[Any]]:
    """Inputs to compare networks on, and what this one makes of them: the examples with noise added and whole numbers mixed
    among those that there are, which tells more than examples that may all be alike; or less of that where the network does
    not take it.

    Raises:
        ValueError: if the network makes nan of the examples.
    """
    for whole in (True, False):
        probes = [disturbed(inputs, whole)]
        try:
            found = outputs_of(net, probes)
        except Exception:  # a network that takes some numbers alone
            continue
        if all(bool(x.isfinite().all()) for x in tensors(found)):
            return probes, found
    found = outputs_of(net, [inputs])
    if any(bool(x.isnan().any()) for x in tensors(found) if x.is_floating_point()):
        raise ValueError("example_inputs must be inputs of which the network makes numbers; it makes nan")
    return [inputs], found


def outputs_of(net: nn.Module, probes: Sequence[Inputs]) -> list[Any]:
    with torch.no_grad(), evaluating(net), exactly():
        return [call(net, p) for p in probes]


def agree(one: Any, other: Any) -> bool:
    """Whether outputs are the same, to what rounding leaves (parts may run in single precision): in double for each column."""
    a, b = leaves(one), leaves(other)
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            if x.shape != y.shape or x.dtype != y.dtype or not _same(x, y):
                return False
        elif type(x) is not type(y):
            return False
    return True


def _same(x: Tensor, y: Tensor) -> bool:
    if x.is_complex():
        x, y = torch.view_as_real(x), torch.view_as_real(y)
    if not x.is_floating_point():
        return float((x != y).double().mean()) <= 1e-3  # an argmax that rounding decides
    finite = torch.where(x.isfinite(), x, torch.zeros_like(x)).abs()
    if x.dtype == torch.float64 and x.dim() > 1 and x.numel():
        scale = torch.minimum(
            finite.amax(tuple(range(x.dim() - 1)), keepdim=True),
            finite.amax(tuple(a for a in range(x.dim()) if a != 1), keepdim=True),
        )
        return bool((((x - y).abs() <= 2e-5 * scale + 1e-9 * finite.max()) | (x == y) | (x.isnan() & y.isnan())).all())
    small = torch.finfo(x.dtype).eps ** 0.5 / 3  # 1e-4 in single precision
    scale = float(finite.max()) if x.numel() else 0.0
    return torch.allclose(x, y, rtol=small, atol=small * max(scale, 1e-30), equal_nan=True)


def cut_down(
    net: nn.Module, plan: Plan, alive: np.ndarray, probes: Sequence[Inputs], want: Sequence[Any]
) -> tuple[nn.Module, Structure] | str:
    """A copy of a folded network with structures cut out, and what was done; or why it cannot be."""
    reason = ""
    scaled = {name for name in plan.norms if hasattr(net.get_submodule(name), "total")}
    tried: list[tuple[Any, Any]] = []
    for guess in range(GUESSES):
        structure = structure_for(net, plan, alive, scaled, guess)
        if (structure.sizes, structure.shapes) in tried:
            continue
        tried.append((structure.sizes, structure.shapes))
        small = copy.deepcopy(net)
        try:
            cut(small, structure)
            if agree(outputs_of(small, probes), list(want)) and (not structure.shapes or _also_twice(net, small, plan, probes)):
                return small, structure
            reason = reason or "the network does not compute the same without them"
        except Exception as error:  # a forward that counts on the sizes of its layers may raise anything
            reason = reason or f"the network cannot be run without them ({type(error).__name__}: {str(error)[:150]})"
    return reason


def _also_twice(net: nn.Module, small: nn.Module, plan: Plan, probes: Sequence[Inputs]) -> bool:
    """Whether both agree on another number of examples: sizes that calls name must not be theirs."""
    if plan.examples is None:
        return True
    more = [repeated(probes[0], plan.examples)]
    try:
        want = outputs_of(net, more)
    except Exception:  # a network that takes no other number
        return True
    return agree(outputs_of(small, more), want)


def removable(net: nn.Module, plan: Plan, probes: Sequence[Inputs]) -> dict[str, str]:
    """Sites that cannot be cut though nothing that was seen forbids it, and why.

    All are tried at once, with shares that differ, so that nothing fits by chance; if that fails, halves of them, down to
    single ones.
    """
    generator = np.random.default_rng(0)
    alive = np.ones(plan.n, dtype=bool)
    for site in plan.sites.values():
        n_dead = int(generator.integers(1, max(2, site.n // 2 + 1)))
        alive[site.first + generator.choice(site.n, n_dead, replace=False)] = False
    bad: dict[str, str] = {}

    def attempt(names: list[str]) -> str | None:
        mine = np.ones(plan.n, dtype=bool)
        for name in names:
            site = plan.sites[name]
            mine[site.first : site.first + site.n] = alive[site.first : site.first + site.n]
        folded = copy.deepcopy(net)
        fold(folded, plan, torch.from_numpy(mine).double())
        found = cut_down(folded, plan, mine, probes, outputs_of(folded, probes))
        return found if isinstance(found, str) else None

    def search(names: list[str]) -> None:
        reason = attempt(names) if names else None
        if reason is None:
            return
        if len(names) == 1:
            heads = "heads of an attention: " if plan.sites[names[0]].heads else ""
            bad[names[0]] = heads + reason
            return
        search(names[: len(names) // 2])
        search(names[len(names) // 2 :])

    search(list(plan.sites))
    good = [n for n in plan.sites if n not in bad]
    while bad and good and (reason := attempt(good)) is not None:  # each alone can go, and not together
        bad[good.pop()] = reason
    return bad
