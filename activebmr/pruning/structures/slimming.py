"""What a compaction takes out of a network (`Structure`), how (`slim`), and what it puts there (`Scale`, `SlimAttention`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["Inputs", "Scale", "SlimAttention", "Structure", "make_room", "slim", "structure_of"]

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]
"""Example inputs: a tensor, a sequence of positional arguments, or a mapping of keyword arguments."""


@dataclass
class Structure:
    """One compaction of a network: all that is needed to do it again to a network of the same kind (`slim`).

    Attributes:
        layers: ``{"layer": name, "with": names of layers that lose the same, "n": structures before, "kept": their indices}``.
        heads: by attention, ``{"n": heads before, "kept": their indices}``.
        scales: activations that a `Scale` follows, and the shape of its factor before.
        affine: normalisations that have been given weights and biases, which they did not have.
        biases: layers that have been given a bias.
        left: by layer and reason, structures that are gone and had to stay in place, switched off.
    """

    layers: list[dict[str, Any]] = field(default_factory=list)
    heads: dict[str, dict[str, Any]] = field(default_factory=dict)
    scales: dict[str, list[int]] = field(default_factory=dict)
    affine: list[str] = field(default_factory=list)
    biases: list[str] = field(default_factory=list)
    left: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def leave(self, name: str, reason: str, indices: list[int]) -> None:
        if indices:
            self.left.setdefault(name, {}).setdefault(reason, []).extend(indices)


def structure_of(small: nn.Module) -> list[Structure]:
    """What compactions have made of a network, oldest first.

    Raises:
        ValueError: if it has not been made by `compact` or `activebmr.pruning.load_compact`.
    """
    structures = getattr(small, "_compactions", None)
    if structures is None:
        raise ValueError(f"small must be a network made by compact; this {type(small).__name__} is not")
    return structures  # type: ignore[no-any-return]


class Scale(nn.Module):
    """Multiplies structures with ``factor`` ``(n,)`` or, for channels, ``(n, 1, ...)``."""

    factor: Tensor

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class SlimAttention(nn.Module):
    """Attention that is called like ``nn.MultiheadAttention`` and may have any number of heads of ``head_dim`` features.

    Averages of attention over heads would depend on heads that are gone: the second output is always None.
    """

    in_proj_bias = None  # nn.TransformerEncoderLayer asks for these two; a bias here would let it go past this forward
    _qkv_same_embed_dim = True

    def __init__(self, mha: nn.MultiheadAttention) -> None:
        super().__init__()
        d, bias = mha.embed_dim, mha.in_proj_bias is not None
        self.embed_dim, self.num_heads, self.head_dim = d, mha.num_heads, mha.head_dim
        self.batch_first, self.dropout = mha.batch_first, mha.dropout
        self.proj = mha.out_proj
        weights = mha.in_proj_weight.chunk(3) if mha._qkv_same_embed_dim else [getattr(mha, f"{x}_proj_weight") for x in "qkv"]
        biases = mha.in_proj_bias.chunk(3) if bias else (None, None, None)
        for name, w, b in zip("qkv", weights, biases, strict=True):
            layer = nn.Linear(w.shape[1], d, bias=bias)
            layer.weight = nn.Parameter(w.detach().clone())
            if b is not None:
                layer.bias = nn.Parameter(b.detach().clone())
            setattr(self, name, layer)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Attend. Masks as in ``nn.MultiheadAttention``, but ``attn_mask`` must be the same for all heads ``(L, S)``."""
        swap = not self.batch_first and query.dim() == 3
        inputs = [x.transpose(0, 1) if swap else x for x in (query, key, value)]
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(-3, -2)
            for layer, x in zip((self.q, self.k, self.v), inputs, strict=True)
        )
        mask = None
        if attn_mask is not None:
            if attn_mask.dim() != 2:
                raise ValueError(f"attn_mask must have shape (L, S), as heads are gone; got {tuple(attn_mask.shape)}")
            mask = _additive(attn_mask, q)
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q).unsqueeze(-2).unsqueeze(-2)
            mask = padding if mask is None else mask + padding
        drop = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, mask, drop, is_causal and mask is None)
        out = self.proj(out.transpose(-3, -2).flatten(-2))
        return (out.transpose(0, 1) if swap else out), None


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -torch.inf)


# --- the smaller network -------------------------------------------------------------------------------------------------
def make_room(net: nn.Module, structure: Structure) -> None:
    """Add, in place, the modules and parameters that a compaction has added, all of them neutral."""
    for name, shape in structure.scales.items():
        like = next(net.parameters())
        _replace(net, name, nn.Sequential(net.get_submodule(name), Scale(shape).to(like.device, like.dtype)))
    for name in structure.affine:
        norm: Any = net.get_submodule(name)
        like = next(net.parameters())
        norm.affine = True
        norm.weight = nn.Parameter(torch.ones(norm.num_features, device=like.device, dtype=like.dtype))
        norm.bias = nn.Parameter(torch.zeros(norm.num_features, device=like.device, dtype=like.dtype))
    for name in structure.biases:
        layer: Any = net.get_submodule(name)
        layer.bias = nn.Parameter(torch.zeros_like(layer.weight[:, 0].flatten(1)[:, 0]))


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, key = name.rpartition(".")
    setattr(net.get_submodule(parent), key, module)


def slim(net: nn.Module, structure: Structure, example_inputs: Inputs) -> None:
    """Remove, in place, the structures that a compaction has removed.

    Raises:
        ValueError: if the network has not the layers or sizes that the structure names.
    """
    trainable = {name: p.requires_grad for name, p in net.named_parameters()}
    graph = dependencies(net, example_inputs) if structure.layers else None
    for step in structure.layers:
        layer = _checked(net, step["layer"], step)
        if layer not in graph.module2node:  # type: ignore[union-attr]
            raise ValueError(f"net must use {step['layer']!r} when it is called with example_inputs; it does not")
        pruner = graph.get_pruner_of_module(layer)  # type: ignore[union-attr]
        graph.get_pruning_group(layer, pruner.prune_out_channels, others(step)).prune(record_history=False)  # type: ignore[union-attr]
    for name, step in structure.heads.items():
        _slim_heads(net, name, _checked(net, name, step), step["kept"])
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(trainable.get(name, True))


def _checked(net: nn.Module, name: str, step: Mapping[str, Any]) -> Any:
    module = dict(net.named_modules()).get(name)
    if module is None:
        raise ValueError(f"net must have the layer {name!r}; it has not")
    n = count_of(module)
    if n != step["n"]:
        raise ValueError(f"net must have {step['n']} structures in {name!r}; it has {n}")
    return module


def count_of(module: Any) -> int | None:
    """Structures of a layer or attention."""
    for key in ("num_heads", "out_features", "out_channels"):
        if isinstance(getattr(module, key, None), int):
            return int(getattr(module, key))
    return None


def others(step: Mapping[str, Any]) -> list[int]:
    return sorted(set(range(step["n"])) - set(step["kept"]))


def _slim_heads(net: nn.Module, name: str, attention: Any, kept: list[int]) -> None:
    if not separable(attention):
        raise ValueError(f"net must have separate q, k, v and head_dim in {name!r}; {type(attention).__name__} has not")
    if isinstance(attention, nn.MultiheadAttention):
        attention = SlimAttention(attention).train(attention.training)
        _replace(net, name, attention)
    d, device = attention.head_dim, attention.proj.weight.device
    rows = (torch.tensor(kept, device=device)[:, None] * d + torch.arange(d, device=device)).flatten()
    for layer in (attention.q, attention.k, attention.v):
        layer.weight = nn.Parameter(layer.weight.detach()[rows].clone())
        if layer.bias is not None:
            layer.bias = nn.Parameter(layer.bias.detach()[rows].clone())
        layer.out_features = len(rows)
    attention.proj.weight = nn.Parameter(attention.proj.weight.detach()[:, rows].clone())
    attention.proj.in_features = len(rows)
    attention.num_heads = len(kept)


def separable(attention: Any) -> bool:
    """Whether heads of an attention can be removed."""
    if isinstance(attention, nn.MultiheadAttention):
        return attention.bias_k is None and not attention.add_zero_attn
    parts = [getattr(attention, key, None) for key in "qkv"]
    width = attention.num_heads * getattr(attention, "head_dim", 0)
    return attention.proj.in_features == width and all(isinstance(p, nn.Linear) and p.out_features == width for p in parts)


def dependencies(net: nn.Module, example_inputs: Inputs) -> Any:
    """Torch-Pruning's graph of what hangs together; the network is as before."""
    import torch_pruning as tp  # 1 s

    class ScalePruner(tp.BasePruningFunc):  # type: ignore[misc,name-defined]
        def prune_out_channels(self, layer: Scale, idxs: list[int]) -> Scale:
            kept = [i for i in range(len(layer.factor)) if i not in set(idxs)]
            layer.factor = layer.factor[kept]
            return layer

        prune_in_channels = prune_out_channels

        def get_out_channels(self, layer: Scale) -> int:
            return len(layer.factor)

        get_in_channels = get_out_channels

    trainable = {p: p.requires_grad for p in net.parameters()}
    modes = {m: m.training for m in net.modules()}
    try:
        for p in trainable:
            p.requires_grad_(True)  # it follows gradients
        with torch.enable_grad():
            return tp.DependencyGraph().build_dependency(
                net,
                example_inputs,
                forward_fn=lambda model, inputs: [x for x in tensors(call(model, inputs)) if x.requires_grad],
                customized_pruners={Scale: ScalePruner()},
                verbose=False,
            )
    finally:
        for p, flag in trainable.items():
            p.requires_grad_(flag)
        for m, mode in modes.items():
            m.training = mode


# --- calling networks ----------------------------------------------------------------------------------------------------
def check_inputs(example_inputs: Any) -> None:
    if not isinstance(example_inputs, (Tensor, tuple, list, dict)):
        raise TypeError(
            f"example_inputs must be a tensor, a tuple of arguments or a dict of keyword arguments; got "
            f"{type(example_inputs).__name__}"
        )


def call(net: nn.Module, inputs: Inputs) -> Any:
    if isinstance(inputs, dict):
        return net(**inputs)
    return net(inputs) if isinstance(inputs, Tensor) else net(*inputs)


def tensors(outputs: Any) -> list[Tensor]:
    return [x for x in tree_leaves(outputs) if isinstance(x, Tensor)]


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    modes = {m: m.training for m in net.modules()}
    try:
        net.eval()
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode
