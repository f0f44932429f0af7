"""`SlimAttention`: attention with any number of heads, in the place of ``nn.MultiheadAttention``."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["SlimAttention"]


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
