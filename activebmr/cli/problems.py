"""What goes wrong at the command line, in one line each."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

__all__ = ["INTERRUPTED", "InterruptedRun", "Problem", "make_folder", "printable", "save"]

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

_ODD = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories of what a terminal obeys, or cannot print


def printable(text: object) -> str:
    """A text with its control characters written out (``\\x1b``): names from files must not tell a terminal what to do."""
    return "".join(c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _ODD else c for c in str(text))


class Problem(Exception):
    """Something to tell the user in one line, with the exit status that goes with it."""

    def __init__(self, message: object, status: int = 2) -> None:
        super().__init__(printable(" ".join(str(message).split())))
        self.status = status


class InterruptedRun(Exception):  # noqa: N818 (it is news, not an error)
    """Of a command that was interrupted, and has said what is kept."""


def make_folder(folder: Path, folders: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> Path:
    """Make a folder for the output and find out, by writing there, whether it can be used for these folders and files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".activebmr-") as file:
            file.write(b"can this be written?")
            file.flush()
        in_the_way = [folder / n for n in files if (folder / n).exists() and not (folder / n).is_file()]
        in_the_way += [folder / n for n in folders if (folder / n).exists() and not (folder / n).is_dir()]
    except (FileExistsError, NotADirectoryError):
        raise Problem(f"--out {folder} cannot be used: a file is in the way") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Problem(f"--out {folder} cannot be used: nothing can be written there ({reason})") from None
    if in_the_way:
        raise Problem(f"--out cannot be used: {in_the_way[0]} is in the way")
    return folder


def save(write: Callable[[Path], object], target: Path) -> None:
    """Write a file, or tell why it cannot be written."""
    try:
        write(target)
    except OSError as error:
        raise Problem(f"{target} could not be written: {error}", 1) from error
