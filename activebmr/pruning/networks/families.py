"""`FAMILIES`: one small network of each kind that users prune, in plain torch, with random weights and example inputs.

They are there to see what pruning finds and whether what is left computes the same: written as the usual libraries write them,
with their sizes in attributes, functions beside modules, and views; narrow enough for a forward pass of milliseconds.

Example:
    >>> net, inputs = FAMILIES["unet"]()
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from activebmr import checks
from activebmr.pruning.networks.families_convolutional import (
    ConvNeXt,
    DenseNet,
    InvertedNet,
    LeNet,
    ShuffleNet,
    Siamese,
    vgg,
)
from activebmr.pruning.networks.families_dense import Autoencoder, DeepLab, Segmentation, UNet
from activebmr.pruning.networks.families_language import Bert, Gpt, Llama, TextRNN
from activebmr.pruning.networks.families_residual import (
    Activation,
    BasicBlock,
    Bottleneck,
    PreActivationBlock,
    ResidualNet,
    VideoNet,
)
from activebmr.pruning.networks.families_transformers import EncoderClassifier, Mixer, Swin, ViT

__all__ = ["FAMILIES", "Family", "resnet50_family"]

Family = Callable[[], tuple[nn.Module, Any]]
"""Makes a network in evaluation mode and what it is called with: a tensor, a tuple of arguments, or a dict of keywords."""


def _images(side: int = 32, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, side, side)


def _texts(vocabulary: int = 60, tokens: int = 12) -> Tensor:
    return torch.randint(vocabulary, (2, tokens))


def resnet50_family(full: bool = False) -> tuple[nn.Module, Tensor]:
    """ResNet-50 (He et al., 2016) and images: a quarter of its width at 32 x 32, or all of it at 224 x 224.

    Args:
        full: whether to make it at the published size: 25.6 million parameters, 1000 classes.
    """
    checks.flag(full, "full")
    block = partial(Bottleneck, expansion=4)
    if full:
        net = ResidualNet(block, (3, 4, 6, 3), (64, 128, 256, 512), expansion=4, classes=1000, stem=64, large=True)
        return net.eval(), _images(224)
    return ResidualNet(block, (3, 4, 6, 3), (8, 16, 32, 64), expansion=4, stem=16).eval(), _images()


def _preactivation() -> tuple[nn.Module, Any]:
    return ResidualNet(PreActivationBlock, (2, 2, 2), (8, 16, 32), pre=True), _images()


def _resnext() -> tuple[nn.Module, Any]:
    block = partial(Bottleneck, expansion=2, groups=4)
    return ResidualNet(block, (2, 2, 2), (16, 32, 64), expansion=2, stem=16), _images()


def _regnet() -> tuple[nn.Module, Any]:
    def block(n_in: int, width: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Module:
        return Bottleneck(n_in, width, stride, norm, expansion=1, groups=width // 8, gate=True)

    return ResidualNet(block, (2, 2, 2), (16, 32, 64), stem=16), _images()


def _group_norm() -> tuple[nn.Module, Any]:
    return ResidualNet(BasicBlock, (2, 2, 2), (16, 32, 64), norm=lambda n: nn.GroupNorm(4, n)), _images()


def _mobilenet() -> tuple[nn.Module, Any]:
    return InvertedNet(((1, 8, 1, 1, 3), (6, 8, 2, 1, 3), (6, 16, 2, 2, 3), (6, 24, 2, 2, 3))), _images()


def _gated(act: Activation, gate: Activation) -> tuple[nn.Module, Any]:
    return InvertedNet(((1, 8, 2, 1, 3), (6, 8, 2, 1, 3), (6, 16, 2, 2, 5), (6, 24, 2, 2, 3)), act=act, gate=gate), _images()


def _mlp() -> tuple[nn.Module, Any]:
    layers = (nn.Linear(64, 48), nn.ReLU(), nn.Dropout(0.5), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10))
    return nn.Sequential(nn.Flatten(), *layers), _images(8, 1)


def _bert() -> tuple[nn.Module, Any]:
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[1, 8:] = 0
    return Bert(), {"input_ids": _texts(), "attention_mask": mask}


_MAKERS: dict[str, Family] = {
    "mlp": _mlp,
    "lenet": lambda: (LeNet(), _images(28, 1)),
    "vgg": lambda: (vgg(), _images()),
    "resnet18": lambda: (ResidualNet(BasicBlock, (2, 2, 2, 2), (8, 16, 32, 64)), _images()),
    "resnet50": resnet50_family,
    "preact-resnet": _preactivation,
    "groupnorm-resnet": _group_norm,
    "resnext": _resnext,
    "regnet": _regnet,
    "mobilenet-v2": _mobilenet,
    "mobilenet-v3": lambda: _gated(partial(nn.Hardswish, inplace=True), nn.Hardsigmoid),
    "efficientnet": lambda: _gated(nn.SiLU, nn.Sigmoid),
    "densenet": lambda: (DenseNet(), _images()),
    "shufflenet-v2": lambda: (ShuffleNet(), _images(64)),
    "convnext": lambda: (ConvNeXt(), _images(16)),  # maps of the last stage are 1 x 1
    "video": lambda: (VideoNet(), torch.randn(2, 3, 8, 32, 32)),
    "siamese": lambda: (Siamese(), (_images(32, 1), _images(32, 1))),
    "autoencoder": lambda: (Autoencoder(), torch.rand(2, 1, 28, 28)),
    "unet": lambda: (UNet(), _images()),
    "deeplab": lambda: (DeepLab(), _images()),
    "segmentation": lambda: (Segmentation(), _images()),
    "mlp-mixer": lambda: (Mixer(), _images()),
    "vit": lambda: (ViT(), _images()),
    "swin": lambda: (Swin(), _images()),
    "transformer-encoder": lambda: (EncoderClassifier(), _texts(50)),
    "bert": _bert,
    "gpt": lambda: (Gpt(), _texts()),
    "gpt-untied": lambda: (Gpt(tied=False), _texts()),
    "gpt2-library": lambda: (Gpt(library=True), _texts()),
    "llama": lambda: (Llama(), _texts()),
    "lstm": lambda: (TextRNN(nn.LSTM), _texts()),
    "gru": lambda: (TextRNN(nn.GRU, both=True), _texts()),
}


def _evaluating(make: Family) -> Family:
    def family() -> tuple[nn.Module, Any]:
        net, inputs = make()
        return net.eval(), inputs

    return family


FAMILIES: dict[str, Family] = {name: _evaluating(make) for name, make in _MAKERS.items()}
"""By name a function without arguments; set ``torch.manual_seed`` first to repeat what it makes."""
