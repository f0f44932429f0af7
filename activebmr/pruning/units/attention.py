"""Attention with any number of heads, in the place of modules whose code counts on the number that there was.

`SlimAttention` stands for ``nn.MultiheadAttention``, `SlimSelfAttention` for modules of one layer for queries, keys and values
and one for the output, as most libraries write them: most compute sizes of heads from the width of the input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["SlimAttention", "SlimSelfAttention", "fused_attention", "self_attention"]


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


class SlimSelfAttention(nn.Module):
    """Self-attention with one layer for queries, keys and values and one for the output, called as ``module(x)``.

    It has the children of the module that it stands for, under their names.

    Args:
        old: that module.
        about: what `fused_attention` has found: ``fused`` and ``out`` (names of the two layers), ``heads``, ``head_dim``,
            ``order`` (of the outputs of the first: ``"part head"`` or ``"head part"``), ``causal``.
    """

    def __init__(self, old: nn.Module, about: Mapping[str, Any]) -> None:
        super().__init__()
        self.about = dict(about)
        for name, child in old.named_children():
            self.add_module(name, child)
        drops = {name: child for name, child in self.named_children() if isinstance(child, nn.Dropout)}
        self._inside = [name for name in drops if "att" in name and "proj" not in name][:1]
        self._behind = [name for name in drops if name not in self._inside]

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Attend; x ``(n_examples, n_tokens, width)``.

        Raises:
            ValueError: if it is given anything else, such as a mask.
        """
        if any(a is not None and a is not False for a in (*args, *kwargs.values())):
            raise ValueError("attention that has lost heads must be called with its input alone; got further arguments")
        about, size = self.about, int(self.about["head_dim"])
        y = getattr(self, about["fused"])(x)
        heads = y.shape[-1] // (3 * size)
        if about["order"] == "part head":
            q, k, v = y.unflatten(-1, (3, heads, size)).movedim(-3, 0).transpose(-3, -2)
        else:
            q, k, v = y.unflatten(-1, (heads, 3, size)).movedim(-2, 0).transpose(-3, -2)
        drop = getattr(self, self._inside[0]).p if self._inside and self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, dropout_p=drop, is_causal=bool(about["causal"]))
        out = getattr(self, about["out"])(out.transpose(-3, -2).flatten(-2))
        for name in self._behind:
            out = getattr(self, name)(out)
        return out


def self_attention(old: nn.Module, about: Mapping[str, Any]) -> SlimSelfAttention:
    """A module in the place of another one; see `SlimSelfAttention`."""
    return old if isinstance(old, SlimSelfAttention) else SlimSelfAttention(old, about).train(old.training)


@torch.no_grad()
def fused_attention(module: nn.Module, x: Tensor, out: Any) -> dict[str, Any] | None:
    """What `SlimSelfAttention` needs to know to stand for a module, found by trying; None if it does not compute the same.

    Args:
        x, out: what the module was given, and what it returned, in evaluation mode.
    """
    if isinstance(module, SlimSelfAttention):
        return dict(module.about)
    counts = {v for k, v in vars(module).items() if "head" in k and isinstance(v, int) and not isinstance(v, bool) and v > 1}
    if not counts or x.dim() != 3 or not isinstance(out, Tensor) or isinstance(module, (nn.MultiheadAttention, SlimAttention)):
        return None
    if any(p is not None for p in module._parameters.values()):  # weights of its own, which may be 0 just now
        return None
    layers = [n for n, c in module.named_children() if isinstance(getattr(c, "weight", None), Tensor) and c.weight.dim() == 2]
    if any(next(c.parameters(), None) is not None for n, c in module.named_children() if n not in layers) or len(layers) != 2:
        return None
    for fused in layers:
        try:
            width = getattr(module, fused)(x).shape[-1]
        except Exception:  # not the layer that reads the input
            continue
        for last in (n for n in layers if n != fused):
            for heads in counts:
                if width % (3 * heads) or width // 3 not in getattr(module, last).weight.shape:
                    continue
                for order in ("part head", "head part"):
                    for causal in (False, True):
                        about = {"fused": fused, "out": last, "head_dim": width // 3 // heads, "order": order, "causal": causal}
                        try:
                            got = SlimSelfAttention(module, about).eval()(x)
                        except Exception:  # whatever the layers do with what they do not expect
                            continue
                        if got.shape == out.shape and torch.allclose(got, out, rtol=1e-3, atol=1e-5):
                            return about
    return None
