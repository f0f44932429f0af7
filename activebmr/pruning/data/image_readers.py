"""Files of images: ``.npz``, idx (MNIST and Fashion-MNIST) and batches (CIFAR-10), each checked for what it must hold.

Nothing in a file is ever run: ``.npz`` files are read without pickles, and CIFAR-10's own pickles by a reader that knows arrays
of bytes, lists, dicts and numbers, and refuses all else.
"""

from __future__ import annotations

import gzip
import io
import math
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.files import read_npz

__all__ = ["CIFAR_TAR", "CLASSES", "IDX_FILES", "IMAGE_SHAPES", "is_complete", "read_images"]

IMAGE_SHAPES: dict[str, tuple[int, int, int]] = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion-mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
}
"""Data sets by name, and the shape (channels, height, width) of their images. All have 10 classes."""

CLASSES = 10
CIFAR_TAR = "cifar-10-python.tar.gz"
IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_RAW = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")

Images = NDArray[np.uint8]
Labels = NDArray[Any]
ImageSet = tuple[Images, Labels]


def _source(name: str, folder: Path) -> tuple[str, Path] | None:
    """Kind and place of the first source with any of its files: ``npz``, ``idx``, ``bin``, ``py``, ``tar`` or None."""
    npz = folder / f"{name.replace('-', '_')}.npz"
    if npz.exists():
        return "npz", npz
    if name in _RAW:
        places = (folder / _RAW[name], folder)
        return next((("idx", p) for p in places if any(_idx_file(p, file).exists() for file in IDX_FILES)), None)
    for kind, suffix in (("bin", ".bin"), ("py", "")):
        for place in (folder / f"cifar-10-batches-{kind}", folder):
            if any((place / f"{batch}{suffix}").is_file() for batch in _BATCHES):
                return kind, place
    return ("tar", folder / CIFAR_TAR) if (folder / CIFAR_TAR).exists() else None


def is_complete(name: str, folder: Path) -> bool:
    """Whether the cache has all files of a data set: idx files are downloaded one by one, all else comes at once."""
    kind, place = _source(name, folder) or ("", folder)
    return kind != "" and (kind != "idx" or all(_idx_file(place, file).exists() for file in IDX_FILES))


def read_images(name: str, folder: Path) -> tuple[ImageSet, ImageSet]:
    """Training and test images, uint8 with colours first, and their labels.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if one is damaged or holds something else.
    """
    source = _source(name, folder)
    if source is None:
        files = f"{IDX_FILES[0]}[.gz], ..." if name in _RAW else f"data_batch_1[.bin], ... or {CIFAR_TAR}"
        raise FileNotFoundError(f"folder {folder} must hold {name.replace('-', '_')}.npz or {files}; it has none of them")
    kind, place = source
    if kind == "npz":
        return _read_npz(name, place)
    if kind == "idx":
        arrays = [_read_idx(_idx_file(place, file), ndim) for file, ndim in zip(IDX_FILES, (3, 1, 3, 1), strict=True)]
        train, test = (_checked(*arrays[i : i + 2], IMAGE_SHAPES[name][1:], _idx_file(place, IDX_FILES[i])) for i in (0, 2))
        return (train[0][:, None], train[1]), (test[0][:, None], test[1])
    return _read_batches(kind, place)


def _checked(x: Any, y: Any, shape: tuple[int, ...], where: Any) -> ImageSet:
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
    if y.min() < 0 or y.max() >= CLASSES:
        raise ValueError(f"labels of image file {where} must lie in 0..{CLASSES - 1}; they span {y.min()}..{y.max()}")
    return x, y


def _read_npz(name: str, path: Path) -> tuple[ImageSet, ImageSet]:
    arrays = read_npz(path, "image file", ("x_train", "y_train", "x_test", "y_test"))
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
def _read_batches(kind: str, place: Path) -> tuple[ImageSet, ImageSet]:
    parse: Callable[[bytes, Any], ImageSet] = _binary if kind == "bin" else _pickled
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


def _binary(raw: bytes, where: Any) -> ImageSet:
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


def _pickled(raw: bytes, where: Any) -> ImageSet:
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
