"""Networks whose weights are pruned one by one, as in Markovic, Friston & Kiebel (2023), arXiv 2309.12095, and a recurrent one
as in Beckers et al. (2024), arXiv 2210.09134.

Plain modules, without dropout unless asked for: it then acts on what hidden units give out, while training. Activations are
modules of their own, each used once. Set ``torch.manual_seed`` before making a network to repeat its random weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.images import ImageData
from activebmr.pruning.networks.for_structures import VisionTransformer, counts, image_shape, mlp

__all__ = ["DENSE_NETWORKS", "GRU", "Mixer", "dense_network_named", "gru_network", "mixer", "regression_mlp", "small_vit"]
__all__ += ["swish_mlp", "tanh_lenet"]

DENSE_NETWORKS = ("mlp", "lenet", "vit", "mixer")
"""Names that `dense_network_named` knows."""


def dense_network_named(model: str, data: ImageData, dropout: float = 0.0) -> nn.Module:
    """A new network of Markovic, Friston & Kiebel (2023) for images, with random weights.

    Args:
        model: one of `DENSE_NETWORKS`: ``"mlp"`` (`swish_mlp`), ``"lenet"`` (`tanh_lenet`), ``"vit"`` (`small_vit`) or
            ``"mixer"`` (`mixer`); the last two with patches of 4 pixels, of 2 for images below 16 pixels.
        data: images.
        dropout: share of hidden values that are set to 0 while training, in [0, 1).

    Raises:
        TypeError: if data are not images.
        ValueError: if there is no such network, or the share lies out of range.
    """
    checks.choice(model, "model", DENSE_NETWORKS)
    if not isinstance(data, ImageData):
        raise TypeError(f"data must be ImageData; got {type(data).__name__}")
    if model == "mlp":
        return swish_mlp(data.shape, data.classes, dropout=dropout)
    if model == "lenet":
        return tanh_lenet(data.shape, data.classes, dropout)
    patch = 4 if min(data.shape[1:]) >= 16 else 2
    return (small_vit if model == "vit" else mixer)(data.shape, data.classes, patch=patch, dropout=dropout)


def _dropping(activation: nn.Module, dropout: float) -> nn.Module:
    """An activation, with dropout after it if there is any: parameters have the same names either way."""
    dropout = checks.number(dropout, "dropout", checks.Rule("be a share in [0, 1)", checks.SHARE.holds))
    return nn.Sequential(activation, nn.Dropout(dropout)) if dropout else activation


# --- networks of images ----------------------------------------------------------------------------------------------
def swish_mlp(
    shape: tuple[int, int, int], classes: int, hidden: Sequence[int] = (500,) * 4, dropout: float = 0.0
) -> nn.Sequential:
    """Linear layers with swish (SiLU) between them.

    Args:
        shape: channels, height and width of an image, flattened at first.
        classes: number of outputs.
        hidden: sizes of the hidden layers.
        dropout: share of hidden values that are set to 0 while training, in [0, 1).

    Layers are called ``fc1``, ``fc2``, ..., activations ``act1``, ``act2``, ...
    """
    counts(classes=classes)
    return mlp(
        (math.prod(image_shape(shape)), *checks.sequence(hidden, "hidden"), classes), lambda: _dropping(nn.SiLU(), dropout)
    )


def tanh_lenet(shape: tuple[int, int, int], classes: int, dropout: float = 0.0) -> nn.Sequential:
    """LeNet-5 (LeCun et al., 1998) with tanh, average pooling and a third convolution, of 5 x 5 maps; all maps are connected.

    Args:
        shape: channels, height and width of an image. For one channel, convolutions have 6, 16 and 120 channels and the linear
            layer has 84 units; for more channels, as for CIFAR-10, 18, 48, 360 and 256.
        classes: number of outputs.
        dropout: share of hidden values that are set to 0 while training, in [0, 1).

    The first convolution pads sides below 32 pixels on both ends to 32 (33 where they are odd): 28 by 2, and the 8 of digits by
    12. So the third always sees 5 x 5 maps, to every place of which the image reaches, and none of its weights is idle, as most
    would be if small maps were padded. The third convolution gives larger maps for images of 36 pixels and more.
    """
    channels, *sides = image_shape(shape)
    counts(classes=classes)
    n1, n2, n3, n4 = (6, 16, 120, 84) if channels == 1 else (18, 48, 360, 256)
    padding = [max(0, (33 - side) // 2) for side in sides]
    height, width = (((side + 2 * pad - 4) // 2 - 4) // 2 - 4 for side, pad in zip(sides, padding, strict=True))
    net = nn.Sequential()
    for name, module in {
        "conv1": nn.Conv2d(channels, n1, 5, padding=(padding[0], padding[1])),
        "tanh1": _dropping(nn.Tanh(), dropout),
        "pool1": nn.AvgPool2d(2),
        "conv2": nn.Conv2d(n1, n2, 5),
        "tanh2": _dropping(nn.Tanh(), dropout),
        "pool2": nn.AvgPool2d(2),
        "conv3": nn.Conv2d(n2, n3, 5),
        "tanh3": _dropping(nn.Tanh(), dropout),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(n3 * height * width, n4),
        "tanh4": _dropping(nn.Tanh(), dropout),
        "fc2": nn.Linear(n4, classes),
    }.items():
        net.add_module(name, module)
    return net


def small_vit(
    shape: tuple[int, int, int],
    classes: int,
    *,
    patch: int = 4,
    width: int = 256,
    depth: int = 6,
    num_heads: int = 8,
    mlp_ratio: int = 2,
    dropout: float = 0.0,
) -> VisionTransformer:
    """Vision transformer with hidden layers of ``mlp_ratio`` times ``width`` units; other arguments as for `VisionTransformer`.

    Dropout, in [0, 1), is after the hidden layer of each block.
    """
    counts(width=width, mlp_ratio=mlp_ratio)
    hidden = mlp_ratio * width
    net = VisionTransformer(shape, classes, patch=patch, width=width, depth=depth, num_heads=num_heads, hidden=hidden)
    for block in net.blocks:
        block.act = _dropping(block.act, dropout)
    return net


class _MixerBlock(nn.Module):
    """Two-layer networks across tokens, then across channels, each on normalised tokens and added to them."""

    def __init__(self, tokens: int, width: int, tokens_hidden: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(tokens, tokens_hidden)
        self.act1 = _dropping(nn.GELU(), dropout)
        self.fc2 = nn.Linear(tokens_hidden, tokens)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc3 = nn.Linear(width, hidden)
        self.act2 = _dropping(nn.GELU(), dropout)
        self.fc4 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x).transpose(1, 2)
        x = x + self.fc2(self.act1(self.fc1(y))).transpose(1, 2)
        return x + self.fc4(self.act2(self.fc3(self.norm2(x))))


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al., 2021): blocks that mix first tokens, then channels; the mean token is classified.

    Args:
        shape: channels, height and width of an image; both sides are multiples of ``patch``.
        classes: number of outputs.
        patch: side of a square patch, pixels.
        width: of a token.
        hidden: units that mix channels, in each block.
        depth: number of blocks.
        tokens_hidden: units that mix tokens, in each block.
        dropout: share of hidden values that are set to 0 while training, in [0, 1).

    The bias of a block's ``fc2`` adds the same to all channels of a token, which every normalisation takes out again: it has no
    effect and no gradient, and is there only because the original has it.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        patch: int,
        width: int,
        hidden: int,
        depth: int,
        tokens_hidden: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape(shape)
        counts(classes=classes, patch=patch)
        counts(width=width, hidden=hidden, depth=depth, tokens_hidden=tokens_hidden)
        if height % patch or breadth % patch:
            raise ValueError(f"patch must divide the sides of an image, {height} x {breadth}; got {patch}")
        tokens = (height // patch) * (breadth // patch)
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.blocks = nn.Sequential(*(_MixerBlock(tokens, width, tokens_hidden, hidden, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, channels, height, width)``."""
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


def mixer(
    shape: tuple[int, int, int],
    classes: int,
    *,
    patch: int = 4,
    width: int = 256,
    hidden: int = 512,
    depth: int = 6,
    tokens_hidden: int = 256,
    dropout: float = 0.0,
) -> Mixer:
    """MLP-Mixer of 6 blocks, width 256, with 512 units that mix channels; arguments as for `Mixer`.

    The 256 units that mix tokens are half of those, a choice of ours.
    """
    sizes = {"patch": patch, "width": width, "hidden": hidden, "depth": depth, "tokens_hidden": tokens_hidden}
    return Mixer(shape, classes, **sizes, dropout=dropout)


# --- networks of series and tables -----------------------------------------------------------------------------------
class GRU(nn.Module):
    """Gated recurrent unit (Cho et al., 2014), which gives out its last state. Other than in ``nn.GRU``, the reset gate acts on
    the state before the candidate's weights do, and there is a single bias.

    With reset gate r, update gate u and candidate g, from state h and input x, where sigma is the logistic function::

        r, u = sigma(W x + U h + b),   g = tanh(W_g x + U_g (r * h) + b_g),   h' = u * h + (1 - u) * g

    Args:
        n_in: numbers in each step.
        n_hidden: size of the state, which begins at 0.

    Attributes:
        weight_ih: W, rows of r, u and g one below the other ``(3 * n_hidden, n_in)``.
        weight_hh: U, likewise ``(3 * n_hidden, n_hidden)``.
        bias: b, likewise ``(3 * n_hidden,)``.
    """

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        counts(n_in=n_in, n_hidden=n_hidden)
        self.n_in, self.n_hidden = n_in, n_hidden
        self.weight_ih = nn.Parameter(torch.empty(3 * n_hidden, n_in))
        self.weight_hh = nn.Parameter(torch.empty(3 * n_hidden, n_hidden))
        self.bias = nn.Parameter(torch.empty(3 * n_hidden))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(n_hidden**-0.5), n_hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Last states ``(n, n_hidden)`` of series ``(n, steps, n_in)``.

        Raises:
            ValueError: if the series have another shape, or no step.
        """
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != self.n_in:
            raise ValueError(f"x must have shape (n, steps >= 1, {self.n_in}); got {tuple(x.shape)}")
        from_input = F.linear(x, self.weight_ih, self.bias)  # of all steps at once: only the state has to wait
        gates, candidate = self.weight_hh.split((2 * self.n_hidden, self.n_hidden))
        h = from_input.new_zeros(x.shape[0], self.n_hidden)
        for step in from_input.unbind(dim=1):
            in_gates, in_candidate = step.split((2 * self.n_hidden, self.n_hidden), dim=1)
            r, u = torch.sigmoid(in_gates + F.linear(h, gates)).chunk(2, dim=1)
            g = torch.tanh(in_candidate + F.linear(r * h, candidate))
            h = u * h + (1 - u) * g
        return h

    def extra_repr(self) -> str:
        return f"n_in={self.n_in}, n_hidden={self.n_hidden}"


def gru_network(n_in: int = 1, n_hidden: int = 16, n_out: int = 1) -> nn.Sequential:
    """A `GRU`, called ``gru``, and a linear layer ``out`` that reads its last state, as in Beckers et al. (2024): series
    ``(n, steps, n_in)`` to ``(n, n_out)``.
    """
    counts(n_out=n_out)
    net = nn.Sequential()
    net.add_module("gru", GRU(n_in, n_hidden))
    net.add_module("out", nn.Linear(n_hidden, n_out))
    return net


def regression_mlp(n_in: int, n_out: int = 1, hidden: int = 50) -> nn.Sequential:
    """One hidden layer of ReLU units, for tables ``(n, n_in)``: ``fc1``, ``relu``, ``fc2``."""
    counts(n_in=n_in, n_out=n_out, hidden=hidden)
    net = nn.Sequential()
    net.add_module("fc1", nn.Linear(n_in, hidden))
    net.add_module("relu", nn.ReLU())
    net.add_module("fc2", nn.Linear(hidden, n_out))
    return net
