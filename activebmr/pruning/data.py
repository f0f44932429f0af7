"""Images to train networks on: scikit-learn's digits, MNIST, Fashion-MNIST and CIFAR-10, from files or downloaded once.

Nothing in a file is ever run: ``.npz`` files are read without pickles, and CIFAR-10's own pickles by a reader that knows arrays
of bytes, lists, dicts and numbers, and refuses all else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import sys
import tarfile
import urllib.request
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from activebmr.results import read_npz

__all__ = ["IMAGE_SHAPES", "ImageData", "cache_folder", "load_images"]

IMAGE_SHAPES: dict[str, tuple[int, int, int]] = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
}
"""Data sets by name, and the shape (channels, height, width) of their images. All have 10 classes."""

_CLASSES = 10
_RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_CIFAR_TAR = "cifar-10-python.tar.gz"
_ARCHIVES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "mnist": (
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            f"MNIST/raw/{_IDX[0]}.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            f"MNIST/raw/{_IDX[1]}.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            f"MNIST/raw/{_IDX[2]}.gz": "9fb629c4189551a2d022fa330f9573f3",
            f"MNIST/raw/{_IDX[3]}.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": (
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            f"FashionMNIST/raw/{_IDX[0]}.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            f"FashionMNIST/raw/{_IDX[1]}.gz": "25c81989df183df01b3e8a0aad5dffbe",
            f"FashionMNIST/raw/{_IDX[2]}.gz": "bef4ecab320f06d8554ea6380940ec79",
            f"FashionMNIST/raw/{_IDX[3]}.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": (("https://www.cs.toronto.edu/~kriz/",), {_CIFAR_TAR: "c58f30108f718f92721af3b95e74349a"}),
}
"""Where each data set is published, and the md5 sums of its files by their place in the cache."""

_Images = NDArray[np.uint8]
_Labels = NDArray[Any]
_Set = tuple[_Images, _Labels]


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
    if name not in IMAGE_SHAPES:
        raise ValueError(f"name must be one of {list(IMAGE_SHAPES)}; got {name!r}")
    if not isinstance(validation, (int, float)) or not 0 <= validation < 1:
        raise ValueError(f"validation must be a share in [0, 1); got {validation!r}")
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed must be a whole number >= 0; got {seed!r}")
    rng = np.random.default_rng(seed)
    if name == "digits":
        (x, y), test = _digits(rng)
    else:
        (x, y), test = _read(name, _folder(name, folder))
    stays, held = _stratified(y, validation, rng)
    train = _images(x[stays])
    sd, mean = torch.std_mean(train, dim=(0, 2, 3), keepdim=True, correction=0)
    sd[sd == 0] = 1.0  # a channel that never changes is 0 afterwards

    def part(images: Tensor, labels: _Labels) -> tuple[Tensor, Tensor]:
        return images.sub_(mean).div_(sd), torch.from_numpy(labels.astype(np.int64))

    parts = (*part(train, y[stays]), *part(_images(x[held]), y[held]), *part(_images(test[0]), test[1]))
    return ImageData(name, _CLASSES, *parts)


def cache_folder() -> Path:
    """Where downloads are kept: the environment variable ACTIVEBMR_DATA, or ``activebmr`` in the user's cache folder."""
    if os.environ.get("ACTIVEBMR_DATA"):
        return Path(os.environ["ACTIVEBMR_DATA"]).expanduser()
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "activebmr" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "activebmr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "activebmr"


def _images(x: _Images) -> Tensor:
    return torch.from_numpy(np.array(x, dtype=np.float32, order="C"))


def _stratified(labels: _Labels, share: float, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
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


def _digits(rng: np.random.Generator) -> tuple[_Set, _Set]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError("the data set 'digits' comes with scikit-learn: pip install scikit-learn") from error
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.uint8).reshape(-1, 1, 8, 8)
    train, test = _stratified(y, 0.2, rng)
    return (x[train], y[train]), (x[test], y[test])


# --- files -----------------------------------------------------------------------------------------------------------
def _folder(name: str, folder: str | os.PathLike[str] | None) -> Path:
    """The folder to read from; without one the cache, after a download if it lacks the files."""
    if folder is None:
        if not _complete(name, cache_folder()):
            _download(name, cache_folder())
        return cache_folder()
    if Path(folder).is_dir():
        return Path(folder)
    if Path(folder).exists():
        raise ValueError(f"folder must be the folder that holds the files of {name}; {folder} is a file")
    raise FileNotFoundError(f"folder {folder} does not exist")


def _source(name: str, folder: Path) -> tuple[str, Path] | None:
    """Kind and place of the first source with any of its files: ``npz``, ``idx``, ``bin``, ``py``, ``tar`` or None."""
    npz = folder / f"{name.replace('-', '_')}.npz"
    if npz.exists():
        return "npz", npz
    if name in _RAW:
        places = (folder / _RAW[name], folder)
        return next((("idx", p) for p in places if any(_idx_file(p, file).exists() for file in _IDX)), None)
    for kind, suffix in (("bin", ".bin"), ("py", "")):
        for place in (folder / f"cifar-10-batches-{kind}", folder):
            if any((place / f"{batch}{suffix}").is_file() for batch in _BATCHES):
                return kind, place
    return ("tar", folder / _CIFAR_TAR) if (folder / _CIFAR_TAR).exists() else None


def _complete(name: str, folder: Path) -> bool:
    """Whether the cache has all files of a data set: idx files are downloaded one by one, all else comes at once."""
    kind, place = _source(name, folder) or ("", folder)
    return kind != "" and (kind != "idx" or all(_idx_file(place, file).exists() for file in _IDX))


def _read(name: str, folder: Path) -> tuple[_Set, _Set]:
    source = _source(name, folder)
    if source is None:
        files = f"{_IDX[0]}[.gz], ..." if name in _RAW else f"data_batch_1[.bin], ... or {_CIFAR_TAR}"
        raise FileNotFoundError(f"folder {folder} must hold {name.replace('-', '_')}.npz or {files}; it has none of them")
    kind, place = source
    if kind == "npz":
        return _read_npz(name, place)
    if kind == "idx":
        arrays = [_read_idx(_idx_file(place, file), ndim) for file, ndim in zip(_IDX, (3, 1, 3, 1), strict=True)]
        train, test = (_checked(*arrays[i : i + 2], IMAGE_SHAPES[name][1:], _idx_file(place, _IDX[i])) for i in (0, 2))
        return (train[0][:, None], train[1]), (test[0][:, None], test[1])
    return _read_batches(kind, place)


def _checked(x: Any, y: Any, shape: tuple[int, ...], where: Any) -> _Set:
    """Images and labels, if they are of the shapes and types that they must be."""
    x, y = np.asarray(x), np.asarray(y)
    if x.dtype != np.uint8 or x.shape[1:] != shape or len(x) == 0:
        raise ValueError(
            f"image file {where} must hold uint8 images (n, {', '.join(map(str, shape))}); got {x.dtype} of shape {x.shape}"
        )
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise ValueError(
            f"image file {where} must go with one whole-numbered label for each of its {len(x)} images; "
            f"got {y.dtype} of shape {y.shape}"
        )
    if y.min() < 0 or y.max() >= _CLASSES:
        raise ValueError(f"labels of image file {where} must lie in 0..{_CLASSES - 1}; they span {y.min()}..{y.max()}")
    return x, y


def _read_npz(name: str, path: Path) -> tuple[_Set, _Set]:
    try:
        arrays = read_npz(path, "image file", ("x_train", "y_train", "x_test", "y_test"))
    except (FileNotFoundError, ValueError):
        raise
    except Exception as error:  # the LZMA decoder and unknown ways of compressing have errors of their own
        raise ValueError(f"image file {path} is not a readable .npz file: {type(error).__name__}: {error}") from error
    channels, *sides = IMAGE_SHAPES[name]
    shape = (*sides, channels) if channels > 1 else tuple(sides)
    sets = []
    for part in ("train", "test"):
        x, y = _checked(arrays[f"x_{part}"], arrays[f"y_{part}"], shape, f"{path} ({part})")
        sets.append((x.transpose(0, 3, 1, 2) if channels > 1 else x[:, None], y))
    return sets[0], sets[1]


def _idx_file(place: Path, file: str) -> Path:
    """The plain file if there is one, else the packed one."""
    return place / file if (place / file).exists() else place / f"{file}.gz"


def _read_idx(path: Path, ndim: int) -> NDArray[np.uint8]:
    """Array of an idx file: 0 0 8 (for uint8), the number of axes, their lengths as big-endian int32, and the values."""
    if not path.is_file():
        raise FileNotFoundError(f"image file {path} does not exist")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, head = file.read(4), file.read(4 * ndim)
            if magic != bytes((0, 0, 8, ndim)) or len(head) < 4 * ndim:
                raise ValueError(f"it does not begin as an idx file of {ndim} {'axes' if ndim > 1 else 'axis'} of uint8 does")
            shape = tuple(int(n) for n in np.frombuffer(head, ">u4"))
            values = file.read()
    except Exception as error:  # gzip alone has three kinds
        raise ValueError(f"image file {path} is not a readable idx file: {error}") from error
    if len(values) != math.prod(shape):
        raise ValueError(f"image file {path} must hold {math.prod(shape)} values of shape {shape}; it has {len(values)}")
    return np.frombuffer(values, np.uint8).reshape(shape)


# --- CIFAR-10's batches ----------------------------------------------------------------------------------------------
def _read_batches(kind: str, place: Path) -> tuple[_Set, _Set]:
    parse: Callable[[bytes, Any], _Set] = _binary if kind == "bin" else _pickled
    raw = _unpacked(place) if kind == "tar" else {}
    sets = []
    for batch in _BATCHES:
        where = place / (f"{batch}.bin" if kind == "bin" else batch)
        if kind != "tar" and where.is_file():
            raw[batch] = where.read_bytes()
        if batch not in raw:
            raise FileNotFoundError(f"image file {where} does not exist")
        x, y = parse(raw.pop(batch), where)
        sets.append(_checked(x.reshape(len(x), *IMAGE_SHAPES["cifar10"]), y, IMAGE_SHAPES["cifar10"], where))
        if len(x) != len(sets[0][0]):  # the binary files do not say how long they are
            raise ValueError(
                f"image file {where} must hold as many images as {_BATCHES[0]}: {len(sets[0][0])}; it has {len(x)}"
            )
    train = tuple(np.concatenate(arrays) for arrays in zip(*sets[:-1], strict=True))
    return train, sets[-1]  # type: ignore[return-value]


def _unpacked(path: Path) -> dict[str, bytes]:
    """The archive's batches, in one pass and without writing anything."""
    try:
        with tarfile.open(path) as archive:
            members = ((m, m.name.rpartition("/")[2]) for m in archive)
            return {name: archive.extractfile(m).read() for m, name in members if m.isfile() and name in _BATCHES}  # type: ignore[union-attr]
    except Exception as error:
        raise ValueError(f"image file {path} is not a readable .tar.gz file: {error}") from error


def _binary(raw: bytes, where: Any) -> _Set:
    """Records of a label and an image, its colours one after the other."""
    size = 1 + math.prod(IMAGE_SHAPES["cifar10"])
    if not raw or len(raw) % size:
        raise ValueError(f"image file {where} must hold records of {size} bytes; it has {len(raw)} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    return records[:, 1:], records[:, 0]


class _Array:
    """Stands for a pickled numpy array: nothing but uint8 values is ever made of what a file says."""

    def __setstate__(self, state: Any) -> None:
        _, shape, _, fortran, values = state
        if not isinstance(values, bytes):
            raise pickle.UnpicklingError(f"it has an array whose values are of type {type(values).__name__}")
        self.array = np.frombuffer(values, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Bytes:
    """Stands for numpy's dtype, which has to be uint8."""

    def __init__(self, code: Any, *flags: Any) -> None:
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError(f"it has an array of type {code!r} instead of 'u1'")

    def __setstate__(self, state: Any) -> None:
        pass


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Bytes,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("_codecs", "encode"): lambda text, _: text.encode("latin1"),
}


class _Plain(pickle.Unpickler):
    """Reads plain values and arrays of uint8; any other name in a file is an error, and nothing is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which images do not need")
        return _KNOWN[module, name]


def _pickled(raw: bytes, where: Any) -> _Set:
    try:
        batch = _Plain(io.BytesIO(raw), encoding="bytes").load()
        batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        x, y = batch["data"].array, np.asarray(batch["labels"])
    except Exception as error:  # damaged pickles fail in every way there is
        raise ValueError(f"image file {where} is not a readable batch of CIFAR-10: {type(error).__name__}: {error}") from error
    if x.ndim != 2 or x.shape[1] != math.prod(IMAGE_SHAPES["cifar10"]):
        raise ValueError(
            f"image file {where} must hold images of {math.prod(IMAGE_SHAPES['cifar10'])} bytes; got shape {x.shape}"
        )
    return x, y


# --- downloads -------------------------------------------------------------------------------------------------------
def _download(name: str, folder: Path) -> None:
    """Fetch the files that are not there yet; each appears only when it is whole and its checksum is right."""
    mirrors, files = _ARCHIVES[name]
    for file, md5 in files.items():
        target = folder / file
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        failures = []
        for url in (mirror + target.name for mirror in mirrors):
            print(f"downloading {url} to {target.parent}", file=sys.stderr)
            failure = _fetch(url, target, md5)
            if failure is None:
                break
            failures.append(f"{url}: {failure}")
        else:
            raise FileNotFoundError(
                f"{name} is not in {folder} and could not be downloaded ({'; '.join(failures)}): "
                "get the files another way and name their folder"
            )


def _fetch(url: str, target: Path, md5: str) -> str | None:
    """Download one file; returns what went wrong, if anything."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with closing(urllib.request.urlopen(url, timeout=60)) as source, part.open("wb") as file:
            while block := source.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != md5:
            return f"its md5 is {digest.hexdigest()} instead of {md5}"
        part.replace(target)
    except (OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        part.unlink(missing_ok=True)
    return None
