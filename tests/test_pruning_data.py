"""`load_images`: every kind of file, what is refused, downloads."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch")

from activebmr.pruning.data import image_downloads as downloads  # noqa: E402
from activebmr.pruning.data.cache import cache_folder  # noqa: E402
from activebmr.pruning.data.images import IMAGE_SHAPES, load_images  # noqa: E402

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def greys(n_train=40, n_test=10) -> dict[str, np.ndarray]:
    """Made-up images of MNIST's shape; the labels of both parts run through all classes."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (n_train + n_test, 28, 28), dtype=np.uint8)
    y = (np.arange(n_train + n_test) % 10).astype(np.uint8)
    return {"x_train": x[:n_train], "y_train": y[:n_train], "x_test": x[n_train:], "y_test": y[n_train:]}


def colours(each=10) -> dict[str, np.ndarray]:
    """Made-up images of CIFAR-10's shape, colours first; five batches and a test batch of ``each``."""
    rng = np.random.default_rng(2)
    x = rng.integers(0, 256, (6 * each, 3, 32, 32), dtype=np.uint8)
    y = (np.arange(6 * each) % 10).astype(np.uint8)
    return {"x_train": x[: 5 * each], "y_train": y[: 5 * each], "x_test": x[5 * each :], "y_test": y[5 * each :]}


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, arrays, packed=False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, key in zip(IDX, ("x_train", "y_train", "x_test", "y_test"), strict=True):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(arrays[key])))
        else:
            (folder / name).write_bytes(idx(arrays[key]))


def batches(arrays, each=10):
    """Name, images and labels of the six batches."""
    x = np.concatenate((arrays["x_train"], arrays["x_test"]))
    y = np.concatenate((arrays["y_train"], arrays["y_test"]))
    for i, name in enumerate(BATCHES):
        yield name, x[i * each : (i + 1) * each].reshape(each, -1), y[i * each : (i + 1) * each]


def write_binary(folder, arrays) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, x, y in batches(arrays):
        (folder / f"{name}.bin").write_bytes(np.concatenate((y[:, None], x), axis=1).tobytes())


def python2_pickle(x: np.ndarray, y: np.ndarray) -> bytes:
    """A batch as Python 2 wrote it, byte by byte: texts are strings of bytes, arrays come from numpy.core."""

    def text(s: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(s)) + s

    def number(n: int) -> bytes:
        return b"J" + struct.pack("<i", n)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + number(0) + number(1) + b"\x87R"
    dtype += b"(" + number(3) + text(b"|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + number(0) + b"\x85" + text(b"b") + b"\x87R"
    array += b"(" + number(1) + b"".join(map(number, x.shape)) + b"\x86" + dtype + b"\x89" + text(x.tobytes()) + b"tb"
    labels = b"](" + b"".join(number(int(v)) for v in y) + b"e"
    return b"\x80\x02}(" + text(b"batch_label") + text(b"one") + text(b"data") + array + text(b"labels") + labels + b"u."


def today_pickle(protocol):
    def dump(x, y) -> bytes:
        return pickle.dumps({b"data": x, b"labels": [int(v) for v in y], b"filenames": [b"a.png"]}, protocol=protocol)

    return dump


def write_pickled(folder, arrays, dump=python2_pickle) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, x, y in batches(arrays):
        (folder / name).write_bytes(dump(x, y))


def write_tar(path, arrays, leave_out=()) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, x, y in (*batches(arrays), ("readme.html", np.zeros((0, 3072), np.uint8), np.zeros(0))):
            if name not in leave_out:
                raw = python2_pickle(x, y)
                info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))


def check(loaded, arrays) -> None:
    """What was loaded is, up to scale and shift of each channel, what was written."""
    shape = IMAGE_SHAPES[loaded.name]
    n = len(arrays["y_train"])
    assert loaded.shape == shape and loaded.classes == 10
    assert tuple(loaded.x_train.shape) == (n - n // 5, *shape) and tuple(loaded.x_val.shape) == (n // 5, *shape)
    for part in ("train", "val", "test"):
        assert getattr(loaded, f"x_{part}").dtype == torch.float32 and getattr(loaded, f"y_{part}").dtype == torch.int64
    assert_array_equal(loaded.y_test, arrays["y_test"])
    assert_allclose(loaded.x_train.mean((0, 2, 3)), 0, atol=1e-5)
    assert_allclose(loaded.x_train.std((0, 2, 3), correction=0), 1, rtol=1e-5)
    test = arrays["x_test"].reshape(-1, *shape).astype(float)
    for c in range(shape[0]):
        slope, shift = np.polyfit(test[:, c].ravel(), loaded.x_test[:, c].double().numpy().ravel(), 1)
        assert_allclose(loaded.x_test[:, c], slope * test[:, c] + shift, atol=1e-5)


# --- what is read ----------------------------------------------------------------------------------------------------
def test_digits_are_split_by_class_and_repeatable():
    one, again, other = (load_images("digits", seed=s) for s in (0, 0, 1))
    assert [len(y) for y in (one.y_train, one.y_val, one.y_test)] == [1150, 288, 359]
    for y, share in ((one.y_train, 0.64), (one.y_val, 0.16), (one.y_test, 0.2)):
        assert_allclose(torch.bincount(y) / torch.bincount(torch.cat((one.y_train, one.y_val, one.y_test))), share, atol=0.01)
    assert torch.equal(one.x_train, again.x_train) and torch.equal(one.x_test, again.x_test)
    assert not torch.equal(one.x_test[:50], other.x_test[:50])
    everything = torch.cat((one.x_train, one.x_val, one.x_test)).flatten(1)
    assert len(torch.unique(everything, dim=0)) == 1797  # no image twice, none lost


def test_the_scale_is_that_of_the_training_images_alone():
    whole, held = load_images("digits", validation=0), load_images("digits", validation=0.5)
    assert len(whole.y_val) == 0 and whole.x_val.shape == (0, 1, 8, 8) and len(whole.y_train) == 1438
    for loaded in (whole, held):
        assert_allclose([loaded.x_train.mean(), loaded.x_train.std(correction=0)], [0, 1], atol=1e-5)
    assert torch.equal(whole.y_test, held.y_test) and not torch.equal(whole.x_test, held.x_test)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("where", ["", "raw"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files(tmp_path, name, where, packed):
    place = tmp_path / {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name] / "raw" if where else tmp_path
    write_idx(place, greys(), packed)
    check(load_images(name, tmp_path), greys())


def test_npz_files(tmp_path):
    np.savez(tmp_path / "mnist.npz", **greys())
    np.savez_compressed(tmp_path / "fashion_mnist.npz", **greys())
    last = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in colours().items()}
    with zipfile.ZipFile(tmp_path / "cifar10.npz", "w", zipfile.ZIP_LZMA) as file:
        for key, array in last.items():
            raw = io.BytesIO()
            np.save(raw, array)
            file.writestr(f"{key}.npy", raw.getvalue())
    for name, arrays in (("mnist", greys()), ("fashion-mnist", greys()), ("cifar10", colours())):
        check(load_images(name, str(tmp_path)), arrays)


@pytest.mark.parametrize("where", ["", "cifar-10-batches-bin"])
def test_cifar_binary(tmp_path, where):
    write_binary(tmp_path / where, colours())
    check(load_images("cifar10", tmp_path), colours())


@pytest.mark.parametrize("where", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("dump", [python2_pickle, today_pickle(2), today_pickle(4)], ids=["python2", "protocol2", "protocol4"])
def test_cifar_pickles(tmp_path, where, dump):
    write_pickled(tmp_path / where, colours(), dump)
    check(load_images("cifar10", tmp_path), colours())


def test_arrays_in_columns_are_read_right(tmp_path):
    write_pickled(tmp_path, colours(), lambda x, y: today_pickle(2)(np.asfortranarray(x), y))
    check(load_images("cifar10", tmp_path), colours())


def test_cifar_archive(tmp_path):
    write_tar(tmp_path / "cifar-10-python.tar.gz", colours())
    check(load_images("cifar10", tmp_path), colours())
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]  # nothing is unpacked


def test_a_constant_channel_is_zero(tmp_path):
    arrays = greys()
    np.savez(tmp_path / "mnist.npz", **{**arrays, "x_train": np.full_like(arrays["x_train"], 7)})
    assert not load_images("mnist", tmp_path).x_train.any()


def test_some_of_every_class_stays(tmp_path):
    np.savez(tmp_path / "mnist.npz", **greys(n_train=20))
    loaded = load_images("mnist", tmp_path, validation=0.99)
    assert_array_equal(torch.bincount(loaded.y_train), np.ones(10))


# --- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cats"}, r"name must be one of \['digits', 'mnist', 'fashion-mnist', 'cifar10'\]; got 'cats'"),
        ({"validation": 1}, r"validation must be a share in \[0, 1\); got 1"),
        ({"validation": float("nan")}, "validation must be a share"),
        ({"validation": "all"}, "validation must be a single number"),
        ({"seed": -1}, "seed must be a whole number >= 0; got -1"),
        ({"seed": 0.5}, "seed must be a whole number"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load_images(**{"name": "digits", **arguments})


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_images("mnist", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"must hold mnist.npz or train-images-idx3-ubyte\[.gz\], ...; it has none"):
        load_images("mnist", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"must hold cifar10.npz or data_batch_1\[.bin\], ... or cifar-10-python"):
        load_images("cifar10", tmp_path)
    (tmp_path / "mnist.npz").write_bytes(b"")
    with pytest.raises(ValueError, match="folder must be the folder that holds the files of mnist; .*mnist.npz is a file"):
        load_images("mnist", tmp_path / "mnist.npz")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", IDX)
def test_missing_and_truncated_idx_files(tmp_path, name, packed):
    write_idx(tmp_path, greys(), packed)
    path = tmp_path / (f"{name}.gz" if packed else name)
    whole = path.read_bytes()
    for content in (b"", whole[:3], whole[:6], whole[:-1], whole + b"\1"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"image file .*{name}.* (is not a readable idx file|must hold)"):
            load_images("mnist", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"image file .*{name}.* does not exist"):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (IDX[0], idx(np.zeros((40, 28), np.uint8)), "does not begin as an idx file of 3 axes"),
        (IDX[0], bytes((0, 0, 13, 3)) + bytes(40), "does not begin as an idx file of 3 axes of uint8"),
        (IDX[0], bytes((0, 0, 8, 3)) + b"\xff" * 12, "must hold .* values of shape"),
        (
            IDX[0],
            idx(np.zeros((40, 28, 27), np.uint8)),
            r"must hold uint8 images \(n, 28, 28\); got uint8 of shape \(40, 28, 27\)",
        ),
        (IDX[0], idx(np.zeros((0, 28, 28), np.uint8)), r"got uint8 of shape \(0, 28, 28\)"),
        (
            IDX[1],
            idx(np.zeros(39, np.uint8)),
            r"one whole-numbered label for each of its 40 images; got uint8 of shape \(39,\)",
        ),
        (IDX[3], idx(np.full(10, 10, np.uint8)), r"labels of image file .*t10k.* must lie in 0..9; they span 10..10"),
    ],
)
def test_idx_files_with_something_else(tmp_path, file, content, message):
    write_idx(tmp_path, greys())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": None}, r"it lacks \['x_test'\]"),
        ({"x_train": np.zeros((40, 28, 28))}, r"mnist.npz \(train\) must hold uint8 images \(n, 28, 28\); got float64"),
        ({"x_test": np.zeros((10, 1, 28, 28), np.uint8)}, r"mnist.npz \(test\) must hold .* shape \(10, 1, 28, 28\)"),
        ({"x_test": np.uint8(0)}, r"mnist.npz \(test\) must hold"),
        ({"y_train": np.zeros(40)}, r"mnist.npz \(train\) must go with one whole-numbered label"),
        ({"y_train": np.full(40, -1)}, r"mnist.npz \(train\) must lie in 0..9; they span -1..-1"),
        ({"y_test": np.array([{}] * 10)}, "mnist.npz is not a readable .npz file"),
    ],
)
def test_npz_files_with_something_else(tmp_path, change, message):
    np.savez(tmp_path / "mnist.npz", **{k: v for k, v in {**greys(), **change}.items() if v is not None})
    with pytest.raises(ValueError, match=message):
        load_images("mnist", tmp_path)


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damaged_npz_files(tmp_path, how):
    path = tmp_path / "mnist.npz"
    with zipfile.ZipFile(path, "w", how) as file:
        for key, array in greys().items():
            raw = io.BytesIO()
            np.save(raw, array)
            file.writestr(f"{key}.npy", raw.getvalue())
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[900:950] = b"\xff" * 50
    for content in (changed, whole[: len(whole) // 2], b"", b"something else"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="mnist.npz is not a readable .npz file"):
            load_images("mnist", tmp_path)


def test_damaged_binary_batches(tmp_path):
    write_binary(tmp_path, colours())
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], f"data_batch_3.bin must hold records of 3073 bytes; it has {len(whole) - 1} bytes"),
        (b"", "must hold records of 3073 bytes; it has 0 bytes"),
        (whole[:-3073], "data_batch_3.bin must hold as many images as data_batch_1: 10; it has 9"),
        (b"\x0a" + whole[1:], "data_batch_3.bin must lie in 0..9"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_images("cifar10", tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="image file .*data_batch_3.bin does not exist"):
        load_images("cifar10", tmp_path)


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_are_never_run(tmp_path):
    write_pickled(tmp_path, colours())
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps({b"data": Harmful(tmp_path / "made"), b"labels": [1]}, protocol=2))
    with pytest.raises(ValueError, match="data_batch_2 is not a readable batch of CIFAR-10: .* asks for .*mkdir"):
        load_images("cifar10", tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a readable batch"),
        (python2_pickle(*list(batches(colours()))[0][1:])[:-100], "is not a readable batch"),
        (pickle.dumps([1, 2]), "is not a readable batch"),
        (pickle.dumps({b"labels": [1]}), "is not a readable batch of CIFAR-10: KeyError: 'data'"),
        (today_pickle(2)(np.zeros((10, 3072)), [1] * 10), "array of type 'f8' instead of 'u1'"),
        (today_pickle(2)(np.array([{}] * 10), [1] * 10), "array of type 'O8' instead of 'u1'"),
        (today_pickle(2)(np.zeros((10, 3071), np.uint8), [1] * 10), r"must hold images of 3072 bytes; got shape \(10, 3071\)"),
        (today_pickle(2)(np.zeros((10, 3072), np.uint8), [1] * 9), "one whole-numbered label for each of its 10 images"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": ["a"]}, protocol=2), "one whole-numbered label"),
    ],
    ids=["empty", "truncated", "no dict", "no data", "floats", "objects", "small images", "few labels", "texts"],
)
def test_pickles_with_something_else(tmp_path, content, message):
    write_pickled(tmp_path, colours())
    (tmp_path / "data_batch_4").write_bytes(content)
    with pytest.raises(ValueError, match=f"(data_batch_4.*{message}|{message}.*data_batch_4)"):
        load_images("cifar10", tmp_path)


def test_damaged_archives(tmp_path):
    path = tmp_path / "cifar-10-python.tar.gz"
    write_tar(path, colours(), leave_out=["data_batch_5"])
    with pytest.raises(FileNotFoundError, match="cifar-10-python.tar.gz.data_batch_5 does not exist"):
        load_images("cifar10", tmp_path)
    write_tar(path, colours())
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"something else"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cifar-10-python.tar.gz is not a readable .tar.gz file"):
            load_images("cifar10", tmp_path)


# --- downloads -------------------------------------------------------------------------------------------------------
@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that is asked for files as if it were a server, and an empty cache."""
    served, cache = tmp_path / "served", tmp_path / "cache"
    write_idx(served, greys(), packed=True)
    write_tar(served / "cifar-10-python.tar.gz", colours())
    archives = {}
    for name, (_, files) in downloads.ARCHIVES.items():
        sums = {file: hashlib.md5((served / file.rpartition("/")[2]).read_bytes()).hexdigest() for file in files}
        archives[name] = (((tmp_path / "down").as_uri() + "/", served.as_uri() + "/"), sums)
    monkeypatch.setattr(downloads, "ARCHIVES", archives)
    monkeypatch.setenv("ACTIVEBMR_DATA", str(cache))
    return served


def no_network(*args, **kwargs):
    raise AssertionError("nothing should be downloaded")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_files_are_downloaded_once(name, mirror, monkeypatch, capsys):
    arrays = colours() if name == "cifar10" else greys()
    check(load_images(name), arrays)
    printed = capsys.readouterr()
    assert printed.out == "" and f"downloading {mirror.as_uri()}" in printed.err
    assert not list(cache_folder().rglob("*.part"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    check(load_images(name), arrays)
    check(load_images(name, cache_folder()), arrays)


def test_a_download_that_was_broken_off_goes_on(mirror, monkeypatch, capsys):
    load_images("mnist")
    lost = cache_folder() / "MNIST" / "raw" / f"{IDX[2]}.gz"
    lost.unlink()
    capsys.readouterr()
    check(load_images("mnist"), greys())
    assert lost.is_file() and {line.split("/")[-1] for line in capsys.readouterr().err.splitlines()} == {"raw"}


def test_files_put_into_the_cache_are_used(mirror, monkeypatch):
    cache_folder().mkdir()
    np.savez(cache_folder() / "mnist.npz", **greys())
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    check(load_images("mnist"), greys())


def test_failed_downloads(mirror):
    file = mirror / f"{IDX[1]}.gz"
    file.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(
        FileNotFoundError, match=r"mnist is not in .*cache and could not be downloaded \(.*down.*URLError.*its md5 is"
    ):
        load_images("mnist")
    assert sorted(p.name for p in cache_folder().rglob("*") if p.is_file()) == [f"{IDX[0]}.gz"]  # what is there is whole
    file.unlink()
    with pytest.raises(FileNotFoundError, match="get the files another way and name their folder"):
        load_images("mnist")


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("ACTIVEBMR_DATA", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "activebmr"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere" / "activebmr"


def test_checksums_are_those_of_the_published_files():
    sums = [md5 for _, files in downloads.ARCHIVES.values() for md5 in files.values()]
    assert len(set(sums)) == 9 and all(len(md5) == 32 and int(md5, 16) >= 0 for md5 in sums)
    assert math.prod(IMAGE_SHAPES["cifar10"]) == 3072
