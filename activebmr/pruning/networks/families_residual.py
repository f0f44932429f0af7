"""Residual networks as libraries write them: one activation module used many times, sums in place, groups, gates.

They are meant for tests and tables of pruning: the structure is that of the published networks, the width is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Activation", "BasicBlock", "Bottleneck", "Norm", "PreActivationBlock", "ResidualNet", "SqueezeExcite", "VideoNet"]

Norm = Callable[[int], nn.Module]
"""Makes the normalisation of so many channels."""
Activation = Callable[[], nn.Module]


class SqueezeExcite(nn.Module):
    """Gate of channels (Hu et al., 2018): each is multiplied with a number in [0, 1] that is made from the means of all.

    Args:
        channels: of the map that is gated.
        squeezed: channels between the gate's two layers.
        act: activation between them.
        gate: activation that makes the factors.
    """

    def __init__(self, channels: int, squeezed: int, act: Activation = nn.ReLU, gate: Activation = nn.Sigmoid) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1, self.act = nn.Conv2d(channels, squeezed, 1), act()
        self.fc2, self.gate = nn.Conv2d(squeezed, channels, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(n, channels, height, width)`` to the same."""
        return x * self.gate(self.fc2(self.act(self.fc1(self.pool(x)))))


class _Shortcut(nn.Module):
    """What the blocks have in common: a projection of the shortcut where shapes differ."""

    downsample: nn.Module | None

    def _project(self, n_in: int, n_out: int, stride: int, norm: Norm) -> None:
        self.downsample = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), norm(n_out))


class BasicBlock(_Shortcut):
    """Two 3 x 3 convolutions beside a shortcut (He et al., 2016)."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False), norm(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), norm(width)
        self.relu = nn.ReLU(inplace=True)
        self._project(n_in, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class Bottleneck(_Shortcut):
    """1 x 1, 3 x 3 (with stride and groups) and 1 x 1 convolutions beside a shortcut, with a gate if asked for.

    ResNet-50 has one group and an expansion of 4, ResNeXt (Xie et al., 2017) many groups and 2, RegNet (Radosavovic et al.,
    2020) groups of a fixed size, 1 and, in its Y form, a gate.
    """

    def __init__(
        self, n_in: int, width: int, stride: int, norm: Norm, *, expansion: int = 4, groups: int = 1, gate: bool = False
    ) -> None:
        super().__init__()
        n_out = expansion * width
        self.conv1, self.bn1 = nn.Conv2d(n_in, width, 1, bias=False), norm(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False), norm(width)
        self.se = SqueezeExcite(width, max(1, n_in // 4)) if gate else None
        self.conv3, self.bn3 = nn.Conv2d(width, n_out, 1, bias=False), norm(n_out)
        self.relu = nn.ReLU(inplace=True)
        self._project(n_in, n_out, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        if self.se is not None:
            y = self.se(y)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class PreActivationBlock(nn.Module):
    """Normalisation and activation before each convolution; nothing after the sum (He et al., 2016b)."""

    def __init__(self, n_in: int, width: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.bn1, self.conv1 = norm(n_in), nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = norm(width), nn.Conv2d(width, width, 3, 1, 1, bias=False)
        if stride != 1 or n_in != width:
            self.shortcut = nn.Conv2d(n_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(x))
        # the shortcut of a block that changes shapes reads what is activated, all others what comes in
        short = self.shortcut(y) if hasattr(self, "shortcut") else x
        return self.conv2(torch.relu(self.bn2(self.conv1(y)))) + short


class ResidualNet(nn.Module):
    """A stem, stages of blocks, the mean over the map and a linear layer.

    Args:
        block: makes a block from ``(n_in, width, stride, norm)``.
        depths: blocks of each stage; all but the first halve the map.
        widths: of each stage's blocks.
        expansion: channels a block hands on, for one of its width.
        classes: number of outputs.
        norm: makes the normalisation of so many channels.
        stem: channels of the first convolution; the first width by default.
        large: for images of 224 pixels: a 7 x 7 stem with stride and pooling, instead of 3 x 3 without.
        pre: blocks activate before they convolve: the stem does not, and what comes after the last block does.
    """

    def __init__(
        self,
        block: Callable[[int, int, int, Norm], nn.Module],
        depths: Sequence[int],
        widths: Sequence[int],
        *,
        expansion: int = 1,
        classes: int = 10,
        norm: Norm = nn.BatchNorm2d,
        stem: int | None = None,
        large: bool = False,
        pre: bool = False,
    ) -> None:
        super().__init__()
        n, self.pre = widths[0] if stem is None else stem, pre
        self.conv1 = nn.Conv2d(3, n, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False)
        self.bn1 = nn.Identity() if pre else norm(n)
        self.relu = nn.Identity() if pre else nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if large else nn.Identity()
        layers = []
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(block(n, width, 2 if i > 0 and j == 0 else 1, norm))
                n = expansion * width
            layers.append(nn.Sequential(*blocks))
        self.layers = nn.ModuleList(layers)
        self.last = nn.Sequential(norm(n), nn.ReLU(inplace=True)) if pre else nn.Identity()
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(n, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of images ``(n, 3, height, width)``."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for layer in self.layers:
            x = layer(x)
        return self.fc(torch.flatten(self.avgpool(self.last(x)), 1))


class _VideoBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions beside a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv3d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm3d(n_out), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv3d(n_out, n_out, 3, 1, 1, bias=False), nn.BatchNorm3d(n_out))
        self.short = nn.Sequential()
        if stride != 1 or n_in != n_out:
            self.short = nn.Sequential(nn.Conv3d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm3d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(self.conv1(x)) + self.short(x))


class VideoNet(nn.Module):
    """Residual network over time and space (Tran et al., 2018, the R3D form): blocks of 3 x 3 x 3 convolutions.

    Args:
        widths: channels of each stage, of two blocks each; all but the first halve time and space.
        classes: number of outputs.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32), classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, widths[0], (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(widths[0]), nn.ReLU()
        )
        blocks, n = [], widths[0]
        for i, width in enumerate(widths):
            blocks += [_VideoBlock(n, width, 2 if i else 1), _VideoBlock(width, width, 1)]
            n = width
        self.blocks, self.pool, self.fc = nn.Sequential(*blocks), nn.AdaptiveAvgPool3d(1), nn.Linear(n, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)`` of clips ``(n, 3, frames, height, width)``."""
        return self.fc(self.pool(self.blocks(self.stem(x))).flatten(1))
