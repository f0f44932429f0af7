"""Images to train networks on: scikit-learn's digits, MNIST, Fashion-MNIST and CIFAR-10, from files or downloaded once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activebmr import checks
from activebmr.pruning.data.cache import cache_folder
from activebmr.pruning.data.image_downloads import download
from activebmr.pruning.data.image_readers import CLASSES, IMAGE_SHAPES, Images, ImageSet, Labels, is_complete, read_images

__all__ = ["IMAGE_SHAPES", "ImageData", "load_images"]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images and labels, split into three parts.

    Attributes:
        name: of the data set.
        classes: number of classes; labels lie in 0..classes - 1.
        x_train: ``(n, channels, height, width)``, float32; every channel has mean 0 and standard deviation 1.
        y_train: ``(n,)``, int64.
        x_val: images held out of the training set, on the same scale.
        y_val: their labels.
        x_test: the test set, on the same scale.
        y_test: its labels.

    Example:
        >>> data = load_images("digits")
        >>> data.shape, data.classes, len(data.y_test)
        ((1, 8, 8), 10, 359)
    """

    name: str
    classes: int
    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.x_train.shape[1:]
        return channels, height, width


def load_images(
    name: str, folder: str | os.PathLike[str] | None = None, *, validation: float = 0.2, seed: int = 0
) -> ImageData:
    """Images of a data set, standardised with the mean and standard deviation of the training images.

    Args:
        name: ``"digits"`` (comes with scikit-learn), ``"mnist"``, ``"fashion-mnist"`` or ``"cifar10"``.
        folder: where the files are: ``mnist.npz``, ``fashion_mnist.npz`` or ``cifar10.npz`` (uint8 arrays x_train, y_train,
            x_test, y_test; colours last), or the files as published: idx, plain or ``.gz``, also in ``MNIST/raw`` or
            ``FashionMNIST/raw``; CIFAR-10's batches, binary or for Python, also in ``cifar-10-batches-bin`` or
            ``cifar-10-batches-py``, or the archive ``cifar-10-python.tar.gz``. Without a folder they are looked for in
            `cache_folder` and downloaded if they are not there. Not used for digits.
        validation: share of each class's training images that is held out, in [0, 1).
        seed: whole number >= 0; decides what is held out, and which fifth of the digits is the test set.

    Raises:
        FileNotFoundError: if the folder or a file does not exist, or a download fails.
        ImportError: for digits without scikit-learn.
        ValueError: if a file is damaged or holds something else, or an argument is out of range.

    Example:
        >>> data = load_images("digits")
        >>> data.x_train.shape
        torch.Size([1150, 1, 8, 8])
    """
    checks.choice(name, "name", IMAGE_SHAPES)
    validation = checks.number(validation, "validation", checks.Rule("be a share in [0, 1)", checks.SHARE.holds))
    seed = checks.whole_from(seed, "seed", 0)
    folder = None if folder is None else checks.path_like(folder, "folder")
    rng = np.random.default_rng(seed)
    if name == "digits":
        (x, y), test = _digits(rng)
    else:
        (x, y), test = read_images(name, _folder(name, folder))
    stays, held = _stratified(y, validation, rng)
    train = _images(x[stays])
    sd, mean = torch.std_mean(train, dim=(0, 2, 3), keepdim=True, correction=0)
    sd[sd == 0] = 1.0  # a channel that never changes is 0 afterwards

    def part(images: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        return images.sub_(mean).div_(sd), torch.from_numpy(labels.astype(np.int64))

    parts = (*part(train, y[stays]), *part(_images(x[held]), y[held]), *part(_images(test[0]), test[1]))
    return ImageData(name, CLASSES, *parts)


def _folder(name: str, folder: str | os.PathLike[str] | None) -> Path:
    """The folder to read from; without one the cache, after a download if it lacks the files."""
    if folder is None:
        if not is_complete(name, cache_folder()):
            download(name, cache_folder())
        return cache_folder()
    if Path(folder).is_dir():
        return Path(folder)
    if Path(folder).exists():
        raise ValueError(f"folder must be the folder that holds the files of {name}; {folder} is a file")
    raise FileNotFoundError(f"folder {folder} does not exist")


def _images(x: Images) -> Tensor:
    return torch.from_numpy(np.array(x, dtype=np.float32, order="C"))


def _stratified(labels: Labels, share: float, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of what stays (some of every class) and of a share of every class, both ascending; the shares add up."""
    classes, sizes = np.unique(labels, return_counts=True)
    wanted = share * sizes
    n = np.floor(wanted).astype(int)
    n[np.argsort(n - wanted, kind="stable")[: round(share * len(labels)) - n.sum()]] += 1
    held = np.zeros(len(labels), dtype=bool)
    for label, size, take in zip(classes, sizes, n, strict=True):
        members = rng.permutation(np.flatnonzero(labels == label))
        held[members[: min(take, size - 1)]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def _digits(rng: np.random.Generator) -> tuple[ImageSet, ImageSet]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the data set 'digits' comes with scikit-learn: pip install scikit-learn") from error
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.uint8).reshape(-1, 1, 8, 8)
    train, test = _stratified(y, 0.2, rng)
    return (x[train], y[train]), (x[test], y[test])
