"""Folders in which one run is at work at a time, and what those that were killed leave in them."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["alone_in", "remove_parts"]

_LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for as long as the block takes, and remove what killed writers have left in it.

    The system lets go of it when the process ends, however it ends. While it is held, a file ``.lock`` has the number of the
    process.

    Raises:
        BlockingIOError: if another process holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _locked(folder / _LOCK)
    except BlockingIOError:
        raise
    except OSError as error:  # what cannot be written cannot be disturbed either
        warnings.warn(f"{folder} cannot be written ({error.strerror or error}): nothing is kept there", stacklevel=3)
        yield
        return
    with held:
        remove_parts(folder)
        try:
            yield
        finally:
            remove_parts(folder)
            with suppress(OSError):  # Windows keeps what is open
                (folder / _LOCK).unlink()


def _locked(path: Path) -> Any:
    """An open file that nobody else can lock, with this process's number in it."""
    while True:
        held = path.open("a+", encoding="utf-8")
        try:
            _lock(held)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                with held:
                    held.seek(0)
                    who = held.read().strip() or "unknown"
                raise BlockingIOError(
                    f"another run (process {who}) is at work in {path.parent}: wait until it ends, or choose another folder"
                ) from None
            warnings.warn(f"{path.parent} cannot be locked ({error.strerror or error}): run nothing else there", stacklevel=4)
            return held
        if os.name == "posix" and not _is_at(held, path):
            held.close()  # who had it before has removed it in the meantime, and somebody else may have made a new one
            continue
        with suppress(OSError):  # on a full disk the number is missing, and nothing else
            os.ftruncate(held.fileno(), 0)
            os.write(held.fileno(), f"{os.getpid()}\n".encode())
        return held


def _is_at(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: Any) -> None:
    """Lock a file, or raise an OSError at once."""
    try:
        import fcntl
    except ImportError:  # Windows locks bytes: one far behind what is written
        import msvcrt

        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        file.seek(0)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder and all below it. Nobody else may be writing there."""
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
