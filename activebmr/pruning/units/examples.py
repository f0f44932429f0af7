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


def _alone(before: Any, after: Any, n: int) -> bool:
    """Whether outputs changed, and nowhere but at the first index of an axis of length n, the same in all."""
    some = False
    for a, b in zip(tensors(before), tensors(after), strict=True):
        if a.shape != b.shape:
            return False
        differ = ~torch.isclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True) if a.is_floating_point() else a != b
        if not bool(differ.any()):
            continue
        some = True
        axes = [axis for axis in range(min(a.dim(), 2)) if a.shape[axis] == n]
        if not any(not bool(differ.narrow(axis, 1, n - 1).any()) for axis in axes):
            return False
    return some


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
        places: dict[int, int] = {}
        found = 0
        for k, i in enumerate(numbers):
            x = leaves[i]
            for axis in range(min(x.dim(), 2)):
                n = x.shape[axis]
                if n not in lengths or n < 2 or (found and n != found):
                    continue
                other = _changed(x, axis, generator)
                if other is None:
                    continue
                after = call(net, tree_unflatten([other if j == i else y for j, y in enumerate(leaves)], form))
                if _alone(out, after, n):
                    places[k], found = axis, n
                    break
        if places:
            return inputs, Examples(found, places, leaves[numbers[next(iter(places))]].dim())
        plain = [
            k for k, i in enumerate(numbers) if leaves[i].dim() and leaves[i].shape[0] in lengths and leaves[i].shape[0] > 1
        ]
        unknown = plain and all(not leaves[i].is_floating_point() for i in numbers)
        if unknown:  # whole numbers that are all alike: the first axis, as usual
            return inputs, Examples(leaves[numbers[plain[0]]].shape[0], {plain[0]: 0}, leaves[numbers[plain[0]]].dim())
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
