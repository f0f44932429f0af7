"""A lock that processes of one machine share: whoever holds it may write. It is gone with its process, however that ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked"]

_PATIENCE = 20.0  # seconds that Windows is asked again for


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file (made if need be, and left there empty) while others wait.

    Raises:
        OSError: if the file cannot be opened, or on Windows if another process keeps the lock for too long.
    """
    with path.open("ab") as file:
        if os.name == "nt":
            with _locked_on_windows(file.fileno()):
                yield
            return
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, and by the system if the process is killed
        yield


@contextmanager
def _locked_on_windows(number: int) -> Iterator[None]:
    import msvcrt

    until = time.monotonic() + _PATIENCE
    while True:
        try:
            os.lseek(number, 0, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            break
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
    try:
        yield
    finally:
        os.lseek(number, 0, os.SEEK_SET)
        msvcrt.locking(number, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
