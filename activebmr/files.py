"""Arrays in files: plain ``.npz``, written in one move and read without ever loading a pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["read_npz", "write_npz"]


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
    """Write arrays as a compressed ``.npz``, first beside the target and then in one move, so that no half file is ever
    left.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        raise ValueError(f"path must be a regular file or not exist yet; {target} is something else")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def read_npz(path: str | os.PathLike[str], what: str, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read a ``.npz`` without ever loading a pickle.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no ``.npz``, damaged, truncated or encrypted, holds pickled objects, or lacks a required array.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what} {path} does not exist")
    try:
        with Path(path).open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # damaged files fail in every way: zlib, lzma, ast and tokenize alone have errors of their own
        why = "it is text, or a CSV table" if _is_text(path) else "truncated, damaged or with pickled objects"
        if isinstance(error, RuntimeError):  # encrypted or compressed in a way that this Python does not know
            why = str(error)
        raise ValueError(f"{what} {path} is not a readable .npz file: {why} ({type(error).__name__})") from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise ValueError(f"{what} {path} must hold the arrays {list(required)}; it lacks {missing}")
    return arrays


def _is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins with a few lines of plain text."""
    with Path(path).open("rb") as file:
        start = file.read(512)
    try:
        words = start.decode("utf-8")
    except UnicodeDecodeError as error:
        words = start[: error.start].decode("utf-8") if error.start > 508 else "\0"
    return bool(words) and all(c.isprintable() or c in "\t\r\n" for c in words)
