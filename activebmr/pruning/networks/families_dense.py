"""Networks that return a map or an image: U-Net, dilated and fully convolutional segmentation, an autoencoder.

They are meant for tests and tables of pruning: the structure is that of the published networks, the width is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from activebmr.pruning.networks.families_residual import BasicBlock

__all__ = ["Autoencoder", "DeepLab", "Segmentation", "UNet"]


def _conv(n_in: int, n_out: int, size: int = 3, dilation: int = 1) -> nn.Sequential:
    pad = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, size, padding=pad, dilation=dilation, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
    )


class UNet(nn.Module):
    """Down by pooling, up by transposed convolutions, with what was there at each size beside it (Ronneberger et al., 2015).

    Args:
        widths: channels at each size, from the largest map to the smallest.
        classes: number of classes of a pixel.
    """

    def __init__(self, widths: Sequence[int] = (8, 16, 32), classes: int = 2) -> None:
        super().__init__()
        pair = lambda n_in, n_out: nn.Sequential(_conv(n_in, n_out), _conv(n_out, n_out))  # noqa: E731
        self.down = nn.ModuleList(pair(n, width) for n, width in zip((3, *widths[:-1]), widths, strict=True))
        steps = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(n, width, 2, 2) for n, width in steps)
        self.merge = nn.ModuleList(pair(2 * width, width) for _, width in steps)
        self.pool, self.out = nn.MaxPool2d(2), nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes, height, width)`` of images ``(n, 3, height, width)``; sides are multiples of the smallest's."""
        skips = []
        for i, layer in enumerate(self.down):
            x = layer(self.pool(x) if i else x)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat([skip, up(x)], dim=1))
        return self.out(x)


class DeepLab(nn.Module):
    """Dilated filters of several reaches side by side, and enlarged to the image's size (Chen et al., 2017).

    Args:
        width: channels of the first stage of the backbone; the second one has twice as many.
        reaches: dilations of the 3 x 3 filters.
        classes: number of classes of a pixel.
    """

    def __init__(self, width: int = 16, reaches: Sequence[int] = (2, 4, 6), classes: int = 5) -> None:
        super().__init__()
        n, norm = 2 * width, nn.BatchNorm2d
        blocks = [(width, width, 1), (width, width, 1), (width, n, 2), (n, n, 1)]
        self.backbone = nn.Sequential(_conv(3, width), nn.MaxPool2d(2), *(BasicBlock(*b, norm) for b in blocks))
        self.branches = nn.ModuleList([_conv(n, width, 1), *(_conv(n, width, 3, reach) for reach in reaches)])
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(n, width, 1), nn.ReLU())
        self.project = nn.Sequential(_conv((len(reaches) + 2) * width, width, 1), nn.Dropout(0.5))
        self.classifier = nn.Sequential(_conv(width, width), nn.Conv2d(width, classes, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """``{"out": logits (n, classes, height, width)}`` of images ``(n, 3, height, width)``."""
        y = self.backbone(x)
        found = [branch(y) for branch in self.branches]
        found.append(F.interpolate(self.pooled(y), size=y.shape[-2:], mode="bilinear", align_corners=False))
        y = self.classifier(self.project(torch.cat(found, dim=1)))
        return {"out": F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)}


class Segmentation(nn.Module):
    """A fully convolutional network (Long et al., 2015) that returns class numbers.

    Args:
        width: channels of the first block.
        classes: number of classes of a pixel.
    """

    def __init__(self, width: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.encode = nn.Sequential(_conv(3, width), nn.MaxPool2d(2), _conv(width, 2 * width), _conv(2 * width, 2 * width))
        self.score, self.up = nn.Conv2d(2 * width, classes, 1), nn.Upsample(scale_factor=2, mode="nearest")

    def forward(self, x: Tensor) -> Tensor:
        """Class numbers ``(n, height, width)``, int64, of images ``(n, 3, height, width)`` with even sides."""
        return self.up(self.score(self.encode(x))).argmax(dim=1)


class Autoencoder(nn.Module):
    """Convolutions with stride down to a code, and transposed ones back to the image.

    Args:
        width: channels of the first convolution; the second one has twice as many.
        code: units of the code.
    """

    def __init__(self, width: int = 16, code: int = 24) -> None:
        super().__init__()
        self.channels = 2 * width
        self.encode = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, self.channels, 4, 2, 1), nn.LeakyReLU(0.2)
        )
        self.to_code, self.from_code = nn.Linear(49 * self.channels, code), nn.Linear(code, 49 * self.channels)
        self.decode = nn.Sequential(
            nn.ConvTranspose2d(self.channels, width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(n, 1, 28, 28)`` in [0, 1] to the same."""
        code = torch.tanh(self.to_code(torch.flatten(self.encode(x), 1)))
        return self.decode(torch.relu(self.from_code(code)).view(-1, self.channels, 7, 7))
