"""Convolutional networks as libraries write them: plain, depthwise, dense, with shuffled channels, and normalised over them.

They are meant for tests and tables of pruning: the structure is that of the published networks, the width is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from activebmr.pruning.networks.families_residual import Activation, SqueezeExcite

__all__ = ["ConvNeXt", "DenseNet", "InvertedNet", "LeNet", "ShuffleNet", "Siamese", "vgg"]


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al., 1998) as it is usually written: functions for activation and pooling, and a view.

    Args:
        classes: number of outputs.
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 1, 28, 28)``."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def vgg(widths: Sequence[int] = (8, 16, 32, 32), classes: int = 10) -> nn.Sequential:
    """VGG with BatchNorm (Simonyan & Zisserman, 2015): pairs of 3 x 3 convolutions with a pool after each, three linear layers.

    Args:
        widths: channels of each pair.
        classes: number of outputs.

    Images are ``(n, 3, 32, 32)``, outputs logits ``(n, classes)``.
    """
    layers: list[nn.Module] = []
    n = 3
    for width in widths:
        for _ in range(2):
            layers += [nn.Conv2d(n, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            n = width
        layers.append(nn.MaxPool2d(2))
    hidden = (nn.Linear(n * 4, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, 64), nn.ReLU(True), nn.Dropout())
    return nn.Sequential(
        nn.Sequential(*layers), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Sequential(*hidden, nn.Linear(64, classes))
    )


# --- inverted residuals ----------------------------------------------------------------------------------------------
def _conv_norm(n_in: int, n_out: int, size: int, stride: int, groups: int, act: Activation | None) -> nn.Sequential:
    block = nn.Sequential(nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out))
    if act is not None:
        block.append(act())
    return block


class _Inverted(nn.Module):
    """Widen by a 1 x 1 convolution, filter every channel for itself, gate, and narrow again; a shortcut where shapes agree."""

    def __init__(
        self, n_in: int, n_out: int, stride: int, widen: int, size: int, act: Activation, gate: Activation | None
    ) -> None:
        super().__init__()
        hidden, self.skips = n_in * widen, stride == 1 and n_in == n_out
        layers: list[nn.Module] = [] if widen == 1 else [_conv_norm(n_in, hidden, 1, 1, 1, act)]
        layers.append(_conv_norm(hidden, hidden, size, stride, hidden, act))
        if gate is not None:
            layers.append(SqueezeExcite(hidden, max(1, n_in // 4), act, gate))
        layers.append(_conv_norm(hidden, n_out, 1, 1, 1, None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.skips else self.block(x)


class InvertedNet(nn.Module):
    """Stages of inverted residuals: MobileNetV2 (Sandler et al., 2018), or with gates EfficientNet (Tan & Le, 2019) and the
    blocks of MobileNetV3 (Howard et al., 2019).

    Args:
        stages: for each ``(widen, channels, blocks, stride, size)``: how much wider a block is inside, the channels that it
            hands on, the number of blocks, the first one's stride, and the side of the depthwise filter.
        stem, last: channels of the first and the last convolution.
        act: activation.
        gate: activation of the blocks' `SqueezeExcite` gates; None for blocks without.
        classes: number of outputs.
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int, int, int, int]],
        *,
        stem: int = 8,
        last: int = 96,
        act: Activation = nn.ReLU6,
        gate: Activation | None = None,
        classes: int = 10,
    ) -> None:
        super().__init__()
        features, n = [_conv_norm(3, stem, 3, 2, 1, act)], stem
        for widen, channels, blocks, stride, size in stages:
            for j in range(blocks):
                features.append(_Inverted(n, channels, stride if j == 0 else 1, widen, size, act, gate))  # type: ignore[arg-type]
                n = channels
        features.append(_conv_norm(n, last, 1, 1, 1, act))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, height, width)``."""
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


# --- all that came before, and shuffled channels ------------------------------------------------------------------------
class _DenseLayer(nn.Module):
    """Normalise, narrow by 1 x 1, and add ``growth`` channels by a 3 x 3 convolution to those that came in."""

    def __init__(self, n_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor]) -> Tensor:
        x = self.conv1(self.relu(self.norm1(torch.cat(maps, 1))))
        return self.conv2(self.relu(self.norm2(x)))


class _DenseBlock(nn.ModuleList):
    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self:
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenseNet(nn.Module):
    """Dense blocks with transitions that halve channels and map (Huang et al., 2017).

    Args:
        depths: layers of each block.
        growth: channels that a layer adds.
        classes: number of outputs.
    """

    def __init__(self, depths: Sequence[int] = (3, 3, 3), growth: int = 8, classes: int = 10) -> None:
        super().__init__()
        n = 2 * growth
        features: list[nn.Module] = [nn.Conv2d(3, n, 3, padding=1, bias=False), nn.BatchNorm2d(n), nn.ReLU(inplace=True)]
        for i, depth in enumerate(depths):
            features.append(_DenseBlock(_DenseLayer(n + j * growth, growth) for j in range(depth)))
            n += depth * growth
            features += [nn.BatchNorm2d(n), nn.ReLU(inplace=True)]
            if i < len(depths) - 1:
                features += [nn.Conv2d(n, n // 2, 1, bias=False), nn.AvgPool2d(2)]
                n //= 2
        self.features, self.classifier = nn.Sequential(*features), nn.Linear(n, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, height, width)``."""
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Channels of the groups in turn, so that what comes next sees all of them."""
    n, channels, height, width = x.size()
    x = x.view(n, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(n, channels, height, width)


class _ShuffleUnit(nn.Module):
    """Two branches side by side and a shuffle; the first one is half of what came in, or filters it if the map is halved."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        half, self.stride = n_out // 2, stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                _conv_norm(n_in, n_in, 3, stride, n_in, None), _conv_norm(n_in, half, 1, 1, 1, nn.ReLU)
            )
        self.branch2 = nn.Sequential(
            _conv_norm(n_in if stride > 1 else half, half, 1, 1, 1, nn.ReLU),
            _conv_norm(half, half, 3, stride, half, None),
            _conv_norm(half, half, 1, 1, 1, nn.ReLU),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            left, right = x.chunk(2, dim=1)
            x = torch.cat((left, self.branch2(right)), dim=1)
        else:
            x = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return _shuffle(x, 2)


class ShuffleNet(nn.Module):
    """ShuffleNetV2 (Ma et al., 2018).

    Args:
        depths: units of each stage; the first one halves the map.
        widths: channels of each stage, even.
        stem, last: channels of the first and the last convolution.
        classes: number of outputs.
    """

    def __init__(
        self,
        depths: Sequence[int] = (2, 3, 2),
        widths: Sequence[int] = (24, 48, 96),
        *,
        stem: int = 12,
        last: int = 128,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv1, n = _conv_norm(3, stem, 3, 2, 1, nn.ReLU), stem
        stages = []
        for depth, width in zip(depths, widths, strict=True):
            stages.append(nn.Sequential(*(_ShuffleUnit(n if j == 0 else width, width, 1 if j else 2) for j in range(depth))))
            n = width
        self.stages = nn.Sequential(*stages)
        self.conv5, self.fc = _conv_norm(n, last, 1, 1, 1, nn.ReLU), nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, height, width)``."""
        return self.fc(self.conv5(self.stages(self.conv1(x))).mean([2, 3]))


# --- normalised over channels --------------------------------------------------------------------------------------------
class _ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of maps ``(n, channels, height, width)``."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class _NeXtBlock(nn.Module):
    """A depthwise 7 x 7 filter and, with channels last, two linear layers; scaled and added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv, self.norm = nn.Conv2d(channels, channels, 7, padding=3, groups=channels), nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1, self.act, self.pwconv2 = nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(1e-6 * torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """ConvNeXt (Liu et al., 2022): 4 x 4 patches, stages of blocks, and 2 x 2 patches between them.

    Args:
        depths: blocks of each stage.
        widths: channels of each stage.
        classes: number of outputs.
    """

    def __init__(self, depths: Sequence[int] = (2, 2, 3), widths: Sequence[int] = (16, 32, 48), classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 4), _ChannelNorm(widths[0], eps=1e-6)]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            if i:
                layers += [_ChannelNorm(widths[i - 1], eps=1e-6), nn.Conv2d(widths[i - 1], width, 2, 2)]
            layers += [_NeXtBlock(width) for _ in range(depth)]
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(1)
        head = (_ChannelNorm(widths[-1], eps=1e-6), nn.Flatten(1), nn.Linear(widths[-1], classes))
        self.classifier = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, height, width)``."""
        return self.classifier(self.avgpool(self.features(x)))


class Siamese(nn.Module):
    """One encoder for two images (Koch et al., 2015); how far apart their codes are, unit by unit, says whether they match.

    Args:
        width: channels of the first convolution; the second one has twice as many.
        code: units of the code.
    """

    def __init__(self, width: int = 16, code: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 5, 2, 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * width, code),
            nn.Sigmoid(),
        )
        self.out = nn.Linear(code, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Logits ``(n, 1)`` of pairs of images ``(n, 1, height, width)``."""
        return self.out(torch.abs(self.encoder(first) - self.encoder(second)))
