"""Networks of text as libraries write them: BERT, GPT and Llama forms, and recurrent classifiers.

They are meant for tests and tables of pruning: the structure is that of the published networks, the width is not. Like the
originals they branch on values, return dicts, keep masks as buffers, tie weights, and cut heads out by attributes or ``-1``.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

__all__ = ["Bert", "Gpt", "Llama", "TextRNN"]


# --- BERT ----------------------------------------------------------------------------------------------------------------
class _BertAttention(nn.Module):
    """Self-attention with separate queries, keys and values, its output layer and the normalised sum with what came in."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size = num_heads, width // num_heads
        self.all_head_size = num_heads * self.attention_head_size
        self.query, self.key, self.value = (nn.Linear(width, self.all_head_size) for _ in range(3))
        self.dense, self.norm, self.dropout = nn.Linear(self.all_head_size, width), nn.LayerNorm(width), nn.Dropout(0.1)

    def _heads(self, x: Tensor) -> Tensor:
        shape = x.size()[:-1] + (self.num_attention_heads, self.attention_head_size)
        return x.view(shape).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self._heads(self.query(x)), self._heads(self.key(x)), self._heads(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / self.attention_head_size**0.5
        if mask is not None:
            scores = scores + mask
        mixed = torch.matmul(self.dropout(F.softmax(scores, dim=-1)), v).permute(0, 2, 1, 3).contiguous()
        mixed = mixed.view(mixed.size()[:-2] + (self.all_head_size,))
        return self.norm(self.dropout(self.dense(mixed)) + x)


class _BertLayer(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = _BertAttention(width, num_heads)
        self.intermediate, self.output = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention(x, mask)
        return self.norm(self.dropout(self.output(F.gelu(self.intermediate(x)))) + x)


class Bert(nn.Module):
    """BERT (Devlin et al., 2019) as a classifier of texts, in the form of Hugging Face.

    Args:
        vocabulary: number of different tokens.
        length: longest text.
        width: of a token; a multiple of ``num_heads``.
        num_heads, depth: heads of a layer, and layers.
        classes: number of outputs.
    """

    position_ids: Tensor

    def __init__(
        self, vocabulary: int = 60, length: int = 16, width: int = 32, num_heads: int = 4, depth: int = 2, classes: int = 3
    ) -> None:
        super().__init__()
        self.word, self.position, self.kind = (nn.Embedding(n, width) for n in (vocabulary, length, 2))
        self.norm, self.dropout, self.length = nn.LayerNorm(width), nn.Dropout(0.1), length
        self.register_buffer("position_ids", torch.arange(length).expand((1, -1)), persistent=False)
        self.layers = nn.ModuleList(_BertLayer(width, num_heads) for _ in range(depth))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """What is known of texts ``(n, tokens)``, int64, of whose tokens those with a mask of 0 are no part.

        Returns:
            ``"logits"`` ``(n, classes)`` and, if there are labels, ``"loss"``.
        """
        tokens = input_ids.size(1)
        if tokens > self.length:
            raise ValueError(f"input_ids must hold at most {self.length} tokens a text; got {tokens}")
        x = self.word(input_ids) + self.position(self.position_ids[:, :tokens]) + self.kind(torch.zeros_like(input_ids))
        x = self.dropout(self.norm(x))
        mask = None
        if attention_mask is not None and not bool(attention_mask.bool().all()):
            mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, mask)
        logits = self.classifier(self.dropout(torch.tanh(self.pooler(x[:, 0]))))
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


# --- GPT -----------------------------------------------------------------------------------------------------------------
class _Conv1D(nn.Module):
    """A linear layer whose weight is ``(n_in, n_out)``, as GPT-2 has them."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.nf = n_out
        self.weight, self.bias = nn.Parameter(0.02 * torch.randn(n_in, n_out)), nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        shape = x.size()[:-1] + (self.nf,)
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(shape)


class _CausalAttention(nn.Module):
    """Queries, keys and values from one layer, split side by side; what comes later is masked by a buffer."""

    bias: Tensor

    def __init__(self, width: int, num_heads: int, length: int, linear: Any) -> None:
        super().__init__()
        self.c_attn, self.c_proj = linear(width, 3 * width), linear(width, width)
        self.attn_dropout, self.resid_dropout = nn.Dropout(0.1), nn.Dropout(0.1)
        self.n_head, self.n_embd = num_heads, width
        self.register_buffer("bias", torch.tril(torch.ones(length, length)).view(1, 1, length, length))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.size()
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q = q.view(n, tokens, self.n_head, width // self.n_head).transpose(1, 2)
        k = k.view(n, tokens, self.n_head, width // self.n_head).transpose(1, 2)
        v = v.view(n, tokens, self.n_head, width // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / k.size(-1) ** 0.5)
        att = att.masked_fill(self.bias[:, :, :tokens, :tokens] == 0, float("-inf"))
        y = self.attn_dropout(F.softmax(att, dim=-1)) @ v
        y = y.transpose(1, 2).contiguous().view(n, tokens, width)
        return self.resid_dropout(self.c_proj(y))


class _SplitAttention(_CausalAttention):
    """The same, in the form of a library: the size of a head is an attribute, and their number is what is left."""

    def __init__(self, width: int, num_heads: int, length: int, linear: Any) -> None:
        super().__init__(width, num_heads, length, linear)
        self.split_size, self.head_dim = width, width // num_heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.c_attn(x).split(self.split_size, dim=2)
        shape = (*q.shape[:-1], -1, self.head_dim)
        q, k, v = q.view(shape).transpose(1, 2), k.view(shape).transpose(1, 2), v.view(shape).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1).transpose(1, 2)
        y = y.reshape(*y.shape[:-2], -1).contiguous()
        return self.resid_dropout(self.c_proj(y))


class _GptBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, length: int, library: bool) -> None:
        super().__init__()
        linear = _Conv1D if library else nn.Linear
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = (_SplitAttention if library else _CausalAttention)(width, num_heads, length, linear)
        self.c_fc, self.gelu, self.c_proj = linear(width, 4 * width), nn.GELU(), linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))


class Gpt(nn.Module):
    """GPT (Radford et al., 2019): causal attention with fused queries, keys and values.

    Args:
        tied: whether the output layer shares its weight with the embedding.
        library: in the form of Hugging Face, with transposed weights and heads counted by ``-1``; otherwise with linear layers
            and the size of a head taken from what comes in.
        vocabulary: number of different tokens.
        length: longest text.
        width: of a token; a multiple of ``num_heads``.
        num_heads, depth: heads of a block, and blocks.
    """

    def __init__(
        self,
        tied: bool = True,
        *,
        library: bool = False,
        vocabulary: int = 60,
        length: int = 16,
        width: int = 32,
        num_heads: int = 4,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(vocabulary, width), nn.Embedding(length, width), nn.Dropout(0.1)
        self.h = nn.ModuleList(_GptBlock(width, num_heads, length, library) for _ in range(depth))
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.lm_head.weight = self.wte.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(n, tokens, vocabulary)`` of what comes next in texts ``(n, tokens)``, int64."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe(places))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


# --- Llama ---------------------------------------------------------------------------------------------------------------
class _RMSNorm(nn.Module):
    """Divided by the root of the mean square, in float32."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype
        x = x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * x.to(dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Pairs of features, one from each half, turned by the angle of their place."""
    first, second = x[..., : x.shape[-1] // 2], x[..., x.shape[-1] // 2 :]
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class _GroupedAttention(nn.Module):
    """Attention in which several heads of queries share one of keys and values."""

    def __init__(self, width: int, num_heads: int, num_key_value_heads: int) -> None:
        super().__init__()
        self.head_dim, self.num_key_value_groups = width // num_heads, num_heads // num_key_value_heads
        self.q_proj = nn.Linear(width, num_heads * self.head_dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(width, num_key_value_heads * self.head_dim, bias=False) for _ in range(2))
        self.o_proj = nn.Linear(num_heads * self.head_dim, width, bias=False)

    def _repeated(self, x: Tensor) -> Tensor:
        n, heads, tokens, size = x.shape
        x = x[:, :, None, :, :].expand(n, heads, self.num_key_value_groups, tokens, size)
        return x.reshape(n, heads * self.num_key_value_groups, tokens, size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        shape = (*x.shape[:-1], -1, self.head_dim)
        q = _rotated(self.q_proj(x).view(shape).transpose(1, 2), cos, sin)
        k = _rotated(self.k_proj(x).view(shape).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(shape).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, self._repeated(k), self._repeated(v), is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(*x.shape[:-1], -1).contiguous())


class _LlamaLayer(nn.Module):
    def __init__(self, width: int, num_heads: int, num_key_value_heads: int, hidden: int) -> None:
        super().__init__()
        self.input_norm, self.self_attn = _RMSNorm(width), _GroupedAttention(width, num_heads, num_key_value_heads)
        self.post_norm, self.act_fn = _RMSNorm(width), nn.SiLU()
        self.gate_proj, self.up_proj = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_norm(x), cos, sin)
        y = self.post_norm(x)
        return x + self.down_proj(self.act_fn(self.gate_proj(y)) * self.up_proj(y))


class Llama(nn.Module):
    """Llama (Touvron et al., 2023): rotated places, RMSNorm, SwiGLU, and grouped queries.

    Args:
        vocabulary: number of different tokens.
        width: of a token; an even multiple of ``num_heads``.
        num_heads: heads of queries; a multiple of ``num_key_value_heads``, those of keys and values.
        hidden: units of a gated part.
        depth: number of layers.
    """

    inv_freq: Tensor

    def __init__(
        self,
        vocabulary: int = 60,
        width: int = 32,
        num_heads: int = 4,
        num_key_value_heads: int = 2,
        hidden: int = 88,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(_LlamaLayer(width, num_heads, num_key_value_heads, hidden) for _ in range(depth))
        self.norm, self.lm_head = _RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        size = width // num_heads
        self.register_buffer("inv_freq", 1e4 ** -(torch.arange(0, size, 2).float() / size), persistent=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Logits ``(n, tokens, vocabulary)`` of what comes next in texts ``(n, tokens)``, int64."""
        x = self.embed_tokens(input_ids)
        angles = torch.arange(x.shape[1], device=x.device).float()[:, None] * self.inv_freq[None]
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.lm_head(self.norm(x))


# --- recurrent -----------------------------------------------------------------------------------------------------------
class TextRNN(nn.Module):
    """Embedded tokens, two recurrent layers, and two linear ones on the last state.

    Args:
        cell: ``nn.LSTM`` or ``nn.GRU``.
        both: whether to read from both ends.
        vocabulary: number of different tokens.
        width: of a token.
        hidden: units of a recurrent layer (in each direction).
        classes: number of outputs.
    """

    def __init__(
        self,
        cell: type[nn.LSTM] | type[nn.GRU],
        *,
        both: bool = False,
        vocabulary: int = 60,
        width: int = 16,
        hidden: int = 24,
        classes: int = 4,
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.rnn = cell(width, hidden, 2, batch_first=True, bidirectional=both)
        self.hidden, self.out = nn.Linear((1 + both) * hidden, 32), nn.Linear(32, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of texts ``(n, tokens)``, int64."""
        states, _ = self.rnn(self.embed(tokens))
        return self.out(F.relu(self.hidden(states[:, -1])))
