"""What runs keep on disk: files that are whole or named as damaged; a failure to write costs a warning and never a run."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activebmr.files import write_whole

__all__ = ["keep_json", "keep_run", "kept_json", "kept_run", "write_json"]

Rows = list[dict[str, Any]]
Arrays = dict[str, NDArray[Any]]


def write_json(path: Path, content: dict[str, Any], indent: int | None = None) -> None:
    """Write a file in one move, so that it is never there in part."""
    write_whole(path, (json.dumps(content, indent=indent) + "\n").encode())


def keep_json(path: Path, content: dict[str, Any]) -> None:
    """`write_json`, or a warning where it cannot be written."""
    try:
        write_json(path, content)
    except OSError as error:
        _warn_of(path, error)


def kept_json(path: Path) -> dict[str, Any]:
    """What `keep_json` has kept; nothing if it is not there, or, with a warning, if it is damaged."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except ValueError as error:  # JSON that is none, or no text
        _warn_of_damage(path, error)
        return {}
    return found


def keep_run(folder: Path, rows: Rows, arrays: Arrays) -> None:
    """Keep a finished run: ``rows.json``, with the digests of both files, and ``kept.npz``."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    content = buffer.getvalue()
    held = {"rows": rows, "rows_sha256": _digest_of(rows), "kept_sha256": hashlib.sha256(content).hexdigest()}
    path = folder / "kept.npz"
    try:
        write_whole(path, content)
        path = folder / "rows.json"
        write_json(path, held)
    except OSError as error:
        _warn_of(path, error)


def kept_run(folder: Path) -> tuple[Rows, Arrays] | None:
    """A finished run, or None if there is none, or, with a warning, if a file of it is damaged."""
    path = folder / "rows.json"
    if not path.is_file():
        return None
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["rows_sha256"] != _digest_of(held["rows"]):
            raise ValueError("its digest is another")
        path = folder / "kept.npz"
        content = path.read_bytes()
        if held["kept_sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError("its digest is another")
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            return held["rows"], {name: kept[name] for name in kept.files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        _warn_of_damage(path, error)
        return None


def _digest_of(rows: Rows) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _warn_of(path: Path, error: OSError) -> None:
    warnings.warn(f"{path} could not be written ({error.strerror or error}): the run goes on without it", stacklevel=3)


def _warn_of_damage(path: Path, error: Exception) -> None:
    warnings.warn(f"{path} is damaged ({type(error).__name__}: {error}): what it held is made again", stacklevel=3)
