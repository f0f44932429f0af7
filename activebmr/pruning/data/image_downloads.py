"""Downloads of published images, each file checked against its md5 sum."""

from __future__ import annotations

import sys
from pathlib import Path

from activebmr.pruning.data.cache import fetch
from activebmr.pruning.data.image_readers import CIFAR_TAR, IDX_FILES

__all__ = ["ARCHIVES", "download"]

ARCHIVES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "mnist": (
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            f"MNIST/raw/{IDX_FILES[0]}.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            f"MNIST/raw/{IDX_FILES[1]}.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            f"MNIST/raw/{IDX_FILES[2]}.gz": "9fb629c4189551a2d022fa330f9573f3",
            f"MNIST/raw/{IDX_FILES[3]}.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": (
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/949006594cc2f804a93b9155849734564c3545ec/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        {
            f"FashionMNIST/raw/{IDX_FILES[0]}.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            f"FashionMNIST/raw/{IDX_FILES[1]}.gz": "25c81989df183df01b3e8a0aad5dffbe",
            f"FashionMNIST/raw/{IDX_FILES[2]}.gz": "bef4ecab320f06d8554ea6380940ec79",
            f"FashionMNIST/raw/{IDX_FILES[3]}.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": (("https://www.cs.toronto.edu/~kriz/",), {CIFAR_TAR: "c58f30108f718f92721af3b95e74349a"}),
}
"""Where each data set is published, and the md5 sums of its files by their place in the cache."""


def download(name: str, folder: Path) -> None:
    """Fetch the files that are not there yet; each appears only when it is whole and its checksum is right."""
    mirrors, files = ARCHIVES[name]
    for file, md5 in files.items():
        target = folder / file
        if target.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        failures = []
        for url in (mirror + target.name for mirror in mirrors):
            print(f"downloading {url} to {target.parent}", file=sys.stderr)
            failure = fetch(url, target, md5)
            if failure is None:
                break
            failures.append(f"{url}: {failure}")
        else:
            raise FileNotFoundError(
                f"{name} is not in {folder} and could not be downloaded ({'; '.join(failures)}): "
                "get the files another way and name their folder"
            )
