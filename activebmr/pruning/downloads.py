"""Downloads of published images, each file checked against its md5 sum."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from contextlib import closing
from http.client import HTTPException
from pathlib import Path

from activebmr.pruning.readers import CIFAR_TAR, IDX_FILES

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
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
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
