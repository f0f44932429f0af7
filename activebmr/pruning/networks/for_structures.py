"""Networks of the experiments: multilayer perceptrons, LeNet-5, ResNet-50 and vision transformers, ready for `attach_noise`.

They are written so that symbolic tracing sees every structure: activations are modules of their own, each used once; nothing in
`forward` depends on values; and the heads of `Attention` lie one after the other, so that they can be cut away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.data.images import IMAGE_SHAPES, ImageData

__all__ = [
    "NETWORKS",
    "Attention",
    "ResNet",
    "VisionTransformer",
    "lenet5",
    "mlp",
    "mlp_for",
    "network_named",
    "resnet50",
    "resnet_tiny",
    "vit",
    "vit_base",
    "vit_tiny",
]

NETWORKS = ("mlp", "lenet5", "resnet50", "vit")
"""Names that `network_named` knows."""

_HIDDEN = {"digits": (100,) * 3, "mnist": (100,) * 7, "fashion-mnist": (150,), "cifar10": (150,) * 5}
_CLASSES = 10


def network_named(model: str, data: ImageData | str) -> nn.Module:
    """A new network for the images of a data set, with random weights: set ``torch.manual_seed`` first to repeat it.

    Args:
        model: one of `NETWORKS`: ``"mlp"`` (see `mlp_for`), ``"lenet5"``, ``"resnet50"`` (the variant for small images below 64
            pixels) or ``"vit"`` (see `vit`).
        data: images, or the name of a data set.

    Raises:
        ValueError: if there is no such network or data set.

    Example:
        >>> net = network_named("mlp", "digits")
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    checks.choice(model, "model", NETWORKS)
    shape, classes = _shape(data)
    if model == "mlp":
        return mlp_for(data)
    if model == "lenet5":
        return lenet5(shape, classes)
    if model == "resnet50":
        return resnet50(classes, shape[0], small=min(shape[1:]) < 64)
    return vit(shape, classes)


def _shape(data: ImageData | str) -> tuple[tuple[int, int, int], int]:
    """Shape of a data set's images, and its number of classes."""
    if isinstance(data, ImageData):
        return data.shape, data.classes
    if not isinstance(data, str) or data not in IMAGE_SHAPES:
        near = checks.meant(data, IMAGE_SHAPES)
        raise ValueError(f"data must be images or one of {list(IMAGE_SHAPES)}; got {checks.brief(data)}{near}")
    return IMAGE_SHAPES[data], _CLASSES


def counts(**values: Any) -> None:
    """Check sizes of layers: whole numbers >= 1."""
    for name, value in values.items():
        checks.whole_from(value, name, 1)


def image_shape(shape: Any) -> tuple[int, int, int]:
    """Channels, height and width of an image, all of them whole numbers >= 1.

    Raises:
        TypeError, ValueError: if it is something else.
    """
    if len(checks.sequence(shape, "shape")) != 3:
        raise ValueError(f"shape must be channels, height and width of an image; got {checks.brief(shape)}")
    counts(**dict(zip(("channels", "height", "width"), shape, strict=True)))
    return shape[0], shape[1], shape[2]


# --- multilayer perceptrons ------------------------------------------------------------------------------------------
def mlp(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.Tanh) -> nn.Sequential:
    """Linear layers with an activation after each but the last; whatever comes in is flattened to ``(n, sizes[0])``.

    Args:
        sizes: of input, hidden layers and output; at least two numbers.
        activation: makes the module that follows a hidden layer.

    Layers are called ``fc1``, ``fc2``, ..., activations ``act1``, ``act2``, ...
    """
    checks.function(activation, "activation")
    if len(checks.sequence(sizes, "sizes")) < 2:
        raise ValueError(f"sizes must hold at least those of input and output; got {list(sizes)}")
    counts(**{f"sizes[{i}]": size for i, size in enumerate(sizes)})
    net = nn.Sequential()
    net.add_module("flatten", nn.Flatten())
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), start=1):  # noqa: B905
        net.add_module(f"fc{i}", nn.Linear(n_in, n_out))
        if i < len(sizes) - 1:
            net.add_module(f"act{i}", activation())
    return net


def mlp_for(data: ImageData | str) -> nn.Sequential:
    """The tanh network of Wright et al. (2024) for a data set: hidden layers 7 x 100 for MNIST, 1 x 150 for Fashion-MNIST and
    5 x 150 for CIFAR-10; 3 x 100 for digits.
    """
    (channels, height, width), classes = _shape(data)
    name = data.name if isinstance(data, ImageData) else data
    if name not in _HIDDEN:
        near = checks.meant(name, _HIDDEN)
        raise ValueError(f"data must be one of {list(_HIDDEN)}, others need sizes of their own (mlp); got {name!r}{near}")
    return mlp((channels * height * width, *_HIDDEN[name], classes))


# --- convolutional networks ------------------------------------------------------------------------------------------
def lenet5(shape: tuple[int, int, int], classes: int = _CLASSES) -> nn.Sequential:
    """LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling: convolutions of 6 and 16 channels, linear layers of 120 and 84.

    Args:
        shape: channels, height and width of an image, at least 4 x 4. Images below 32 pixels are padded by 2 at the first
            convolution, and maps below 10 pixels at the second, so that 28 x 28 and 32 x 32 both give 400 numbers to ``fc1``.
        classes: number of outputs.
    """
    channels, height, width = image_shape(shape)
    counts(classes=classes)
    if min(height, width) < 4:
        raise ValueError(f"shape of an image must be at least 4 x 4 for lenet5; got {height} x {width}")
    pad1 = 2 if min(height, width) < 32 else 0
    height, width = ((side + 2 * pad1 - 4) // 2 for side in (height, width))
    pad2 = 2 if min(height, width) < 10 else 0
    height, width = ((side + 2 * pad2 - 4) // 2 for side in (height, width))
    net = nn.Sequential()
    for name, module in {
        "conv1": nn.Conv2d(channels, 6, 5, padding=pad1),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(6, 16, 5, padding=pad2),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(16 * height * width, 120),
        "relu3": nn.ReLU(),
        "fc2": nn.Linear(120, 84),
        "relu4": nn.ReLU(),
        "fc3": nn.Linear(84, classes),
    }.items():
        net.add_module(name, module)
    return net


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (with the stride) and 1 x 1 convolutions beside a shortcut, which is projected where shapes differ."""

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = 4 * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        y = self.relu2(self.bn2(self.conv2(y)))
        return self.relu3(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Residual network of bottleneck blocks (He et al., 2016), stride in the 3 x 3 convolution.

    Args:
        depths: blocks of each stage; from the second on, a stage halves the image and doubles the width.
        classes: number of outputs.
        channels: of the images.
        width: channels of the stem and inside the first stage's blocks, whose outputs have 4 times as many.
        small: for images below 64 pixels: a 3 x 3 stem without stride and pooling, instead of 7 x 7 with both.

    Parameters are named as in torchvision, so that its state dicts of `resnet50` fit (but for ``fc``, with other classes).
    """

    def __init__(self, depths: Sequence[int], classes: int, channels: int = 3, *, width: int = 64, small: bool = False) -> None:
        super().__init__()
        counts(classes=classes, channels=channels, width=width)
        if not len(checks.sequence(depths, "depths")):
            raise ValueError("depths must hold the blocks of one stage at least; got none")
        counts(**{f"depths[{i}]": d for i, d in enumerate(depths)})
        small = checks.flag(small, "small")
        self.conv1 = nn.Conv2d(channels, width, 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        n, self.stages = width, [f"layer{i}" for i in range(1, len(depths) + 1)]
        for i, (name, depth) in enumerate(zip(self.stages, depths, strict=True)):
            blocks = nn.Sequential()
            for j in range(depth):
                blocks.append(_Bottleneck(n, width << i, 2 if i > 0 and j == 0 else 1))
                n = 4 * (width << i)
            self.add_module(name, blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(n, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, channels, height, width)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        return self.fc(self.flatten(self.avgpool(x)))


def resnet50(classes: int, channels: int = 3, *, width: int = 64, small: bool = False) -> ResNet:
    """ResNet-50: stages of 3, 4, 6 and 3 blocks; arguments as for `ResNet`."""
    return ResNet((3, 4, 6, 3), classes, channels, width=width, small=small)


def resnet_tiny(classes: int, channels: int = 1, *, width: int = 4) -> ResNet:
    """Two stages of two blocks and one, for small images: all that `resnet50` has, in a fraction of a second."""
    return ResNet((2, 1), classes, channels, width=width, small=True)


# --- vision transformers ---------------------------------------------------------------------------------------------
class Attention(nn.Module):
    """Self-attention whose heads can be cut away.

    Head h has rows ``h * head_dim`` to ``(h + 1) * head_dim - 1`` of ``q``, ``k`` and ``v``, and the same columns of ``proj``.
    To remove heads, take out their rows and columns and lower ``num_heads``; ``head_dim`` and with it the scale
    1 / sqrt(head_dim) stay.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        counts(width=width, num_heads=num_heads)
        if width % num_heads:
            raise ValueError(f"width must be a multiple of num_heads ({num_heads}); got {width}")
        self.num_heads, self.head_dim = num_heads, width // num_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens ``(n, tokens, width)`` to the same."""
        q, k, v = (
            layer(x).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """Attention and a two-layer network, each on normalised tokens and added to them."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(self.act(self.fc1(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Vision transformer (Dosovitskiy et al., 2021) with pre-normalised blocks.

    Args:
        shape: channels, height and width of an image; both sides are multiples of ``patch``.
        classes: number of outputs.
        patch: side of a square patch, pixels.
        width: of a token.
        depth: number of blocks.
        num_heads: in each block; ``width`` is a multiple of it.
        hidden: units between ``fc1`` and ``fc2`` of a block; None for 4 times ``width``.
        pool: what the classifier reads: ``"class"``, a token of its own, or ``"mean"``, the mean of all patches' tokens.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        patch: int,
        width: int,
        depth: int,
        num_heads: int,
        hidden: int | None = None,
        pool: str = "class",
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape(shape)
        counts(classes=classes, patch=patch, width=width, depth=depth, num_heads=num_heads)
        hidden = 4 * width if hidden is None else hidden
        counts(hidden=hidden)
        if height % patch or breadth % patch:
            raise ValueError(f"patch must divide the sides of an image, {height} x {breadth}; got {patch}")
        checks.choice(pool, "pool", ("class", "mean"))
        self.pool = pool
        tokens = (height // patch) * (breadth // patch)
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        if pool == "class":
            self.token = nn.Parameter(torch.zeros(1, 1, width))
            tokens += 1
        self.position = nn.Parameter(torch.empty(1, tokens, width))
        self.blocks = nn.Sequential(*(_Block(width, num_heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, channels, height, width)``."""
        x = self.embed(x).flatten(2).transpose(1, 2)
        if self.pool == "class":
            x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.norm(self.blocks(x + self.position))
        return self.head(x[:, 0] if self.pool == "class" else x.mean(dim=1))


def vit(shape: tuple[int, int, int], classes: int, *, pool: str = "class") -> VisionTransformer:
    """A transformer for small images: 6 blocks with 4 heads, width 128, patches of 4 pixels (2 for images below 16)."""
    patch = 4 if min(image_shape(shape)[1:]) >= 16 else 2
    return VisionTransformer(shape, classes, patch=patch, width=128, depth=6, num_heads=4, pool=pool)


def vit_base(classes: int, shape: tuple[int, int, int] = (3, 224, 224), *, patch: int = 16) -> VisionTransformer:
    """ViT-base: 12 blocks with 12 heads, width 768."""
    return VisionTransformer(shape, classes, patch=patch, width=768, depth=12, num_heads=12)


def vit_tiny(shape: tuple[int, int, int], classes: int, *, pool: str = "class") -> VisionTransformer:
    """Two blocks with 3 heads, width 12, 2 x 2 patches: for tests."""
    return VisionTransformer(
        shape, classes, patch=max(image_shape(shape)[1] // 2, 1), width=12, depth=2, num_heads=3, hidden=20, pool=pool
    )
