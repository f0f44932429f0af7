"""Arrays in files: plain ``.npz``, written in one move and read without ever loading a pickle."""

from __future__ import annotations

import os
import re
import secrets
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["file_name", "in_one_move", "plain_cell", "read_npz", "write_npz", "write_whole"]

LARGEST = 4 * 2**30
"""Bytes that the arrays of one file may have in all."""
TIGHTEST = 1000
"""How many times smaller than its numbers a file may be: nothing but zeros gets there."""
_DEVICE = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]", re.IGNORECASE)
_SMALL = 64 * 2**20  # bytes for which it does not matter how tightly they are packed


def file_name(text: str) -> str:
    """A text as part of a file's name: letters, digits, ``-`` and ``_``, at most 80 of them, and no name that Windows keeps for
    its devices, whatever ending it gets.

    Example:
        >>> file_name("../../two rules"), file_name("aux")
        ('two-rules', 'aux_')
    """
    name = re.sub(r"[^\w-]+", "-", text).strip("-")[:80] or "unnamed"
    return f"{name}_" if _DEVICE.fullmatch(name) else name


def plain_cell(value: Any) -> Any:
    """A cell of a table that no spreadsheet takes for a formula: words that begin like one get an apostrophe before them, and
    numbers stay numbers, also where they are written as text (``"-1"``).

    Example:
        >>> plain_cell("=1+1"), plain_cell("-1"), plain_cell(-1)
        ("'=1+1", '-1', -1)
    """
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n"):
        return value if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", value) else "'" + value
    return value


@contextmanager
def in_one_move(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file beside the target, to be written to: it takes the target's place when all is written, and is gone if that fails.

    Raises:
        ValueError: if the target is there and no regular file.

    Example:
        ``with in_one_move("a.txt") as part: part.write_text("whole or not at all")``
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        raise ValueError(f"path must be a regular file or not exist yet; {target} is something else")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")  # two threads may write it at once
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file in one move, so that it is never there in part; whoever writes it at the same time does not matter.

    Raises:
        OSError: if it cannot be written. What there was before is then still there, and no part of the new one.
    """
    with in_one_move(path) as part:
        part.write_bytes(content)


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> Path:
    """Write arrays as a compressed ``.npz``, first beside the target and then in one move, so that no half file is ever
    left.
    """
    with in_one_move(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return Path(path)


def read_npz(path: str | os.PathLike[str], what: str, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read a ``.npz`` without ever loading a pickle.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no ``.npz``, damaged, truncated or encrypted, holds pickled objects, or lacks a required array; or
            if it would need more memory than `LARGEST`, is packed more tightly than numbers are, or does not fit into what
            there is.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{what} {path} does not exist")
    try:
        with Path(path).open("rb") as opened:
            too_much = _too_much(opened)
            if too_much:
                raise _TooLargeError(f"{what} {path} is not a readable .npz file: it must hold {too_much}")
            opened.seek(0)
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            arrays = {name: _array(file, name) for name in file.files}
    except _TooLargeError as error:
        raise ValueError(str(error)) from None
    except MemoryError as error:
        raise ValueError(f"{what} {path} is not a readable .npz file: it needs more memory than there is ({error})") from error
    except Exception as error:  # damaged files fail in every way: zlib, lzma, ast and tokenize alone have errors of their own
        why = "it is text, or a CSV table" if _is_text(path) else "truncated, damaged or with pickled objects"
        if isinstance(error, RuntimeError):  # encrypted or compressed in a way that this Python does not know
            why = str(error)
        raise ValueError(f"{what} {path} is not a readable .npz file: {why} ({type(error).__name__})") from error
    missing = [name for name in required if name not in arrays]
    if missing:
        raise ValueError(f"{what} {path} must hold the arrays {list(required)}; it lacks {missing}")
    return arrays


def _array(file: Any, name: str) -> NDArray[Any]:
    """An array of an ``.npz``, all bytes of which have been read: only at their end zip files compare check sums, and an array
    whose header has come to ask for fewer would pass.
    """
    member = f"{name}.npy"
    if member not in file.zip.namelist():
        return file[name]  # type: ignore[no-any-return]
    with file.zip.open(member) as part:
        array: NDArray[Any] = np.lib.format.read_array(part, allow_pickle=False)
        if part.read(1):
            raise ValueError(f"{name} has more bytes than its header says")
    return array


class _TooLargeError(Exception):
    """Of a file that would take too much memory."""


def _too_much(opened: Any) -> str | None:
    """What the directory of a zip file says against reading it, before anything is unpacked; None if nothing."""
    if not zipfile.is_zipfile(opened):
        return None
    opened.seek(0)
    with zipfile.ZipFile(opened) as held:
        parts = held.infolist()
    total = sum(p.file_size for p in parts)
    if total > LARGEST:
        return (
            f"at most {LARGEST / 2**30:g} GiB of numbers; got {total / 2**30:.3g} GiB (for a file that you trust, set "
            "activebmr.files.LARGEST to more bytes)"
        )
    packed = sum(p.compress_size for p in parts)
    if total > max(_SMALL, TIGHTEST * packed):
        return f"numbers packed at most {TIGHTEST} times smaller than they are; got {total} bytes in {packed}"
    return None


def _is_text(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins with a few lines of plain text."""
    with Path(path).open("rb") as file:
        start = file.read(512)
    try:
        words = start.decode("utf-8")
    except UnicodeDecodeError as error:
        words = start[: error.start].decode("utf-8") if error.start > 508 else "\0"
    return bool(words) and all(c.isprintable() or c in "\t\r\n" for c in words)
