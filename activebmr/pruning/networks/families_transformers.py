"""Networks of tokens from images as libraries write them: MLP-Mixer, vision transformers, attention in windows.

They are meant for tests and tables of pruning: the structure is that of the published networks, the width is not. Heads are cut
out of the features by the arithmetic of each original: by attributes, by ``-1``, or by what comes in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["EncoderClassifier", "Mixer", "Swin", "ViT"]


class _Mlp(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2, self.drop = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class _MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.mlp_tokens = nn.LayerNorm(width), _Mlp(tokens, width // 2)
        self.norm2, self.mlp_channels = nn.LayerNorm(width), _Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp_channels(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al., 2021): two-layer networks over tokens and over channels in turn.

    Args:
        side: of a square image; a multiple of ``patch``.
        patch: side of a patch.
        width: channels of a token.
        depth: number of blocks.
        classes: number of outputs.
    """

    def __init__(self, side: int = 32, patch: int = 8, width: int = 32, depth: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.Sequential(*(_MixerBlock((side // patch) ** 2, width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, side, side)``."""
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


# --- vision transformers -------------------------------------------------------------------------------------------------
class _FusedAttention(nn.Module):
    """Self-attention whose queries, keys and values come from one layer; sizes of heads are attributes."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = num_heads, width // num_heads, width
        self.scale = self.head_dim**-0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        n, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q * self.scale) @ k.transpose(-2, -1)
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        weights = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(n, tokens, self.attn_dim))


class _ViTBlock(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=1e-6), _FusedAttention(width, num_heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=1e-6), _Mlp(width, 4 * width)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = x + self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Vision transformer (Dosovitskiy et al., 2021) with fused queries, keys and values, a class token and learned positions.

    Args:
        side: of a square image; a multiple of ``patch``.
        patch: side of a patch.
        width: of a token; a multiple of ``num_heads``.
        depth: number of blocks.
        num_heads: in each block.
        classes: number of outputs.
    """

    def __init__(
        self, side: int = 32, patch: int = 8, width: int = 48, depth: int = 3, num_heads: int = 4, classes: int = 10
    ) -> None:
        super().__init__()
        tokens = (side // patch) ** 2
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))
        self.blocks = nn.Sequential(*(_ViTBlock(width, num_heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, side, side)``."""
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class _WindowAttention(nn.Module):
    """Attention within square windows, with a learned bias for each offset between two places.

    It reads the weights of its layers itself, and takes the size of a head from what comes in.
    """

    relative_position_index: Tensor

    def __init__(self, width: int, window: int, num_heads: int, shift: int) -> None:
        super().__init__()
        self.window, self.num_heads, self.shift = window, num_heads, shift
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((2 * window - 1) ** 2, num_heads))
        places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        offsets = places[:, :, None] - places[:, None, :] + window - 1
        self.register_buffer("relative_position_index", (offsets[0] * (2 * window - 1) + offsets[1]).flatten())

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        if self.shift:
            x = torch.roll(x, shifts=(-self.shift, -self.shift), dims=(1, 2))
        x = self._windows(x)
        count, area, heads = x.size(0), self.window**2, self.num_heads
        qkv = F.linear(x, self.qkv.weight, self.qkv.bias)
        qkv = qkv.reshape(count, area, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = (q * (channels // heads) ** -0.5).matmul(k.transpose(-2, -1))
        bias = self.relative_position_bias_table[self.relative_position_index].view(area, area, -1)
        attn = attn + bias.permute(2, 0, 1).contiguous().unsqueeze(0)
        if self.shift:
            mask = self._mask(height, width, x)
            attn = attn.view(n, count // n, heads, area, area) + mask.unsqueeze(1).unsqueeze(0)
            attn = attn.view(-1, heads, area, area)
        x = F.softmax(attn, dim=-1).matmul(v).transpose(1, 2).reshape(count, area, channels)
        x = F.linear(x, self.proj.weight, self.proj.bias)
        x = x.view(n, height // self.window, width // self.window, self.window, self.window, channels)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(n, height, width, channels)
        return torch.roll(x, shifts=(self.shift, self.shift), dims=(1, 2)) if self.shift else x

    def _windows(self, x: Tensor) -> Tensor:
        """Windows ``(windows, window * window, channels)`` of maps ``(n, height, width, channels)``."""
        n, height, width, channels = x.shape
        x = x.view(n, height // self.window, self.window, width // self.window, self.window, channels)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.window**2, channels)

    def _mask(self, height: int, width: int, like: Tensor) -> Tensor:
        """-100 between places of a window that a shift has brought together from opposite edges."""
        part, bounds = (
            like.new_zeros((1, height, width, 1)),
            ((0, -self.window), (-self.window, -self.shift), (-self.shift, None)),
        )
        for i, rows in enumerate(bounds):
            for j, columns in enumerate(bounds):
                part[:, slice(*rows), slice(*columns)] = 3 * i + j
        part = self._windows(part).squeeze(-1)
        apart = part.unsqueeze(1) - part.unsqueeze(2)
        return torch.zeros_like(apart).masked_fill(apart != 0, -100.0)


class _SwinBlock(nn.Module):
    def __init__(self, width: int, window: int, num_heads: int, shift: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), _WindowAttention(width, window, num_heads, shift)
        self.norm2, self.mlp = nn.LayerNorm(width), _Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _PatchMerging(nn.Module):
    """Four neighbours side by side, normalised, and brought to twice the width of one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        parts = (x[..., 0::2, 0::2, :], x[..., 1::2, 0::2, :], x[..., 0::2, 1::2, :], x[..., 1::2, 1::2, :])
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    """Attention in windows that are shifted in every second block, and maps that are halved between stages (Liu et al., 2021).

    Args:
        depths: blocks of each stage.
        width: channels of the first stage; each further one has twice as many.
        num_heads: heads of each stage.
        patch: side of a patch, pixels.
        window: side of a window, patches.
        classes: number of outputs.
    """

    def __init__(
        self,
        depths: Sequence[int] = (2, 2),
        width: int = 24,
        num_heads: Sequence[int] = (2, 4),
        *,
        patch: int = 4,
        window: int = 4,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.embed, self.norm0 = nn.Conv2d(3, width, patch, patch), nn.LayerNorm(width)
        layers: list[nn.Module] = []
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            if i:
                layers.append(_PatchMerging(width))
                width *= 2
            layers += [_SwinBlock(width, window, heads, window // 2 if j % 2 else 0) for j in range(depth)]
        self.features = nn.Sequential(*layers)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, height, width)``, whose sides are multiples of the last stage's window."""
        x = self.norm0(self.embed(x).permute(0, 2, 3, 1))
        x = self.norm(self.features(x)).permute(0, 3, 1, 2)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class EncoderClassifier(nn.Module):
    """torch's own ``nn.TransformerEncoder`` over embedded tokens, and a linear layer on their mean.

    Args:
        vocabulary: number of different tokens.
        length: longest text.
        width: of a token; a multiple of ``num_heads``.
        num_heads, depth: heads of a layer, and layers.
        classes: number of outputs.
    """

    def __init__(
        self, vocabulary: int = 50, length: int = 16, width: int = 32, num_heads: int = 4, depth: int = 2, classes: int = 4
    ) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Parameter(0.02 * torch.randn(1, length, width))
        layer = nn.TransformerEncoderLayer(width, num_heads, 4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.out = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of texts ``(n, tokens)``, int64."""
        x = self.embed(tokens) + self.place[:, : tokens.shape[1]]
        return self.out(self.encoder(x).mean(dim=1))
