"""Example inputs of a network: calling it with them, how many examples they hold, and a guess where none are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from activebmr.pruning.data.modes import evaluating

__all__ = ["Inputs", "check_inputs", "disturbed", "guessed", "leaves", "tensors"]

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
"""Example inputs: a tensor, a sequence of positional arguments, or a mapping of keyword arguments."""


def check_inputs(example_inputs: Any) -> None:
    if not isinstance(example_inputs, (Tensor, tuple, list, dict)):
        raise TypeError(
            f"example_inputs must be a tensor, a tuple of arguments or a dict of keyword arguments; got "
            f"{type(example_inputs).__name__}"
        )
    given = [x for x in tree_leaves(example_inputs) if isinstance(x, Tensor)]
    if given and not any(x.numel() for x in given):
        raise ValueError(f"example_inputs must hold an example at least; got shapes {[tuple(x.shape) for x in given]}")
    for x in tree_leaves(example_inputs):
        if isinstance(x, Tensor) and x.device.type == "meta":
            raise ValueError("example_inputs must have values; got a tensor on the device 'meta'")
        if isinstance(x, Tensor) and x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError(f"example_inputs must be finite; they hold {x[~torch.isfinite(x)][0].item()}")


def leaves(outputs: Any, depth: int = 5) -> list[Any]:
    """What outputs hold, also in objects with attributes (data classes and the like)."""
    found = []
    for x in tree_leaves(outputs):
        inner = getattr(x, "__dict__", None)
        if isinstance(x, Tensor) or not inner or isinstance(x, type) or depth == 0:
            found.append(x)
        else:
            found += leaves(dict(inner), depth - 1)
    return found


def tensors(outputs: Any) -> list[Tensor]:
    return [x for x in leaves(outputs) if isinstance(x, Tensor)]


def disturbed(inputs: Inputs, whole: bool = True, seed: int = 0) -> Inputs:
    """The same with noise on numbers and, if ``whole``, whole numbers drawn anew from 0 to the largest."""
    generator = torch.Generator().manual_seed(seed)

    def one(x: Tensor) -> Tensor:
        if not x.numel() or x.dtype == torch.bool or x.is_complex():
            return x
        if not x.is_floating_point():
            if not whole or int(x.max()) <= 0 or int(x.min()) < 0:
                return x
            return torch.randint(int(x.max()) + 1, x.shape, generator=generator).to(x.device, x.dtype)
        noise = torch.randn(x.shape, generator=generator).to(x.device, x.dtype)
        spread = x.std() if x.numel() > 1 else x.new_zeros(())
        return x + noise * (spread if bool(spread > 0) else 1.0)

    found: Inputs = tree_map_only(Tensor, one, inputs)
    return found


def _first_layer(net: nn.Module) -> nn.Module | None:
    kinds = (
        nn.Linear,
        nn.modules.conv._ConvNd,
        nn.Embedding,
        nn.RNNBase,
        nn.MultiheadAttention,
        nn.modules.batchnorm._NormBase,
    )
    return next((m for m in net.modules() if isinstance(m, (*kinds, nn.LayerNorm))), None)


def _candidates(net: nn.Module) -> Iterator[Tensor]:
    layer = _first_layer(net)
    like = next(net.parameters(), torch.zeros(()))
    kind = {"device": like.device, "dtype": like.dtype}
    if isinstance(layer, nn.Embedding):
        few = min(layer.num_embeddings, 5)
        for shape in ((2, 7), (2,), (2, 16), (7, 2)):
            yield torch.randint(0, few, shape, device=like.device)
    elif isinstance(layer, nn.modules.conv._ConvNd):
        channels, k = layer.in_channels, len(layer.kernel_size)
        for size in (32, 28, 64, 224, 8, 16, 10, 6, 5, 4, 12, 20, 96, 128, 256, 227, 299, 48, 40):
            yield torch.randn(2, channels, *[size] * k, **kind)
    elif layer is not None:
        width = {"in_features": 0, "input_size": 0, "embed_dim": 0, "num_features": 0}
        n = next((getattr(layer, key) for key in width if isinstance(getattr(layer, key, None), int)), None)
        if n is None and isinstance(layer, nn.LayerNorm):
            n = layer.normalized_shape[-1]
        if n is not None:
            yield torch.randn(2, n, **kind)
            for length in (7, 2, 3, 4, 5, 8, 16):
                yield torch.randn(2, length, n, **kind)
            side = round(n**0.5)
            yield torch.randn(2, 1, side, side, **kind)
            yield torch.randn(2, 3, round((n / 3) ** 0.5), round((n / 3) ** 0.5), **kind)


def guessed(net: nn.Module) -> Tensor | None:
    """Inputs that a network takes, from the kind of its first layer; None if none of the usual ones will do."""
    found: Tensor | None = None
    with evaluating(net), torch.no_grad():
        for x in _candidates(net):
            try:
                out = net(x)
            except Exception:  # whatever user code does with inputs that it does not expect
                continue
            if any(y.dim() and len(y) == len(x) for y in tensors(out)):
                return x
            found = x if found is None else found
    return found
