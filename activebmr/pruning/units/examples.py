"""Where examples lie in the inputs of a network: found by changing one of them and looking at what else changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from activebmr.pruning.data.batches import call
from activebmr.pruning.data.modes import evaluating
from activebmr.pruning.units.inputs import Inputs, tensors

__all__ = ["Examples", "examples_of", "repeated"]


@dataclass(frozen=True)
class Examples:
    """Examples in the inputs of a network.

    Attributes:
        n: how many.
        places: by input tensor (its number, in order), the axis along which they lie.
        ndim: number of axes of the first of these tensors.
    """

    n: int
    places: dict[int, int]
    ndim: int

    @property
    def first(self) -> tuple[int, int]:
        """The first tensor that holds them, and the axis."""
        return next(iter(self.places.items()))


def _changed(x: Tensor, axis: int, generator: torch.Generator) -> Tensor | None:
    """A tensor whose first entry along an axis has been changed; None if there is nothing to change."""
    x = x.clone()
    first = x.select(axis, 0)
    if x.is_floating_point() or x.is_complex():
        noise = torch.randn(first.shape, generator=generator).to(x.device, x.dtype)
        first.add_(noise * (1.0 + first.abs().mean()))
        return x
    values = x.unique()
    if x.dtype == torch.bool or len(values) < 2:
        return None
    where = torch.randint(len(values), first.shape, generator=generator).to(x.device)
    first.copy_(values[where])
    return x


def _alone(before: Any, after: Any, n: int) -> int | None:
    """The axis of the outputs at whose first index alone something changed, if it has n indices; None if there is none."""
    found: int | None = None
    for a, b in zip(tensors(before), tensors(after), strict=True):
        if a.shape != b.shape:
            return None
        differ = ~torch.isclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True) if a.is_floating_point() else a != b
        if not bool(differ.any()):
            continue
        axes = [axis for axis in range(min(a.dim(), 2)) if a.shape[axis] == n and not bool(differ.narrow(axis, 1, n - 1).any())]
        if not axes or (found is not None and found not in axes):
            return None
        found = axes[0] if found is None else found
    return found


def examples_of(net: nn.Module, inputs: Inputs) -> tuple[Inputs, Examples | None]:
    """Examples in the inputs of a network, and inputs with two of them at least; None where there is but a single one."""
    leaves, form = tree_flatten(inputs)
    numbers = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    generator = torch.Generator().manual_seed(0)
    with evaluating(net), torch.no_grad():
        out = call(net, inputs)
        if all(x.dim() <= 1 for x in tensors(inputs)) and all(x.dim() <= 1 for x in tensors(out)):
            return inputs, None
        lengths = {n for x in tensors(out) for n in x.shape[:2]}
        candidates: list[tuple[int, int, int, int]] = []  # axis of outputs, axis, tensor, how many
        for k, i in enumerate(numbers):
            x = leaves[i]
            for axis in range(min(x.dim(), 2)):
                n = x.shape[axis]
                other = _changed(x, axis, generator) if n in lengths and n > 1 else None
                if other is None:
                    continue
                after = call(net, tree_unflatten([other if j == i else y for j, y in enumerate(leaves)], form))
                at = _alone(out, after, n)
                if at is not None:
                    candidates.append((at, axis, k, n))
        if not candidates:  # whole numbers that are all alike, examples that depend on each other: the first axis, as usual
            first = {len(x) for x in tensors(out) if x.dim()}
            plain = [k for k, i in enumerate(numbers) if leaves[i].dim() and len(leaves[i]) in first and len(leaves[i]) > 1]
            candidates = [(0, 0, k, len(leaves[numbers[k]])) for k in plain]
        if candidates:
            at, _, first_tensor, n = min(candidates)
            places = {k: axis for other, axis, k, m in sorted(candidates, key=lambda c: (c[2], -c[1])) if (other, m) == (at, n)}
            places = {first_tensor: places[first_tensor], **places}
            return inputs, Examples(n, places, leaves[numbers[first_tensor]].dim())
        for axis in (0, 1):  # a single example: twice, and once more
            if not any(leaves[i].dim() > axis and leaves[i].shape[axis] == 1 for i in numbers) or 1 not in lengths:
                continue
            twice = _twice(leaves, numbers, form, axis)
            try:
                call(net, twice)
            except Exception:  # whatever user code does with more examples than it expects
                continue
            again, examples = examples_of(net, twice)
            if examples is not None and examples.n == 2:
                return again, examples
    return inputs, None


def _twice(leaves: list[Any], numbers: list[int], form: Any, axis: int) -> Any:
    mine = set(numbers)
    many = [torch.cat([x, x], axis) if i in mine and x.dim() > axis and x.shape[axis] == 1 else x for i, x in enumerate(leaves)]
    return tree_unflatten(many, form)


def repeated(inputs: Inputs, examples: Examples) -> Inputs:
    """The same with every example twice."""
    leaves, form = tree_flatten(inputs)
    numbers = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
    for k, axis in examples.places.items():
        x = leaves[numbers[k]]
        leaves[numbers[k]] = torch.cat([x, x], axis)
    found: Inputs = tree_unflatten(leaves, form)
    return found
