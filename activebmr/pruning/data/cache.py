"""The folder that holds what has been downloaded, and how files come into it: whole, with their published sum."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from contextlib import closing
from http.client import HTTPException
from pathlib import Path

__all__ = ["cache_folder", "fetch"]


def cache_folder() -> Path:
    """Where downloads are kept: the environment variable ACTIVEBMR_DATA, or ``activebmr`` in the user's cache folder."""
    if os.environ.get("ACTIVEBMR_DATA"):
        return Path(os.environ["ACTIVEBMR_DATA"]).expanduser()
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "activebmr" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "activebmr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "activebmr"


def fetch(url: str, target: Path, md5: str) -> str | None:
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
