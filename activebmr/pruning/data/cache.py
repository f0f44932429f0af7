"""The folder that holds what has been downloaded, and how files come into it: whole, with their published sum."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPException
from pathlib import Path

__all__ = ["cache_folder", "contents", "fetch", "why"]

PATIENCE = 60.0
"""Seconds without a byte after which a server is given up."""
SLOWEST = 1000
"""Bytes a second that must come on average once these seconds are over."""
LARGEST = 1 << 30
"""Bytes that no published file exceeds."""

_NO_NETWORK = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ECONNREFUSED, errno.ENETDOWN)


def cache_folder() -> Path:
    """Where downloads are kept: the environment variable ACTIVEBMR_DATA, or ``activebmr`` in the user's cache folder."""
    if os.environ.get("ACTIVEBMR_DATA"):
        return Path(os.environ["ACTIVEBMR_DATA"]).expanduser()
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "activebmr" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "activebmr"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "activebmr"


def contents(url: str) -> Iterator[bytes]:
    """The bytes of a file, part by part; proxies of the environment (``HTTPS_PROXY``, ``NO_PROXY``) are respected.

    Raises:
        OSError, HTTPException: if it cannot be had or not securely, ends too early, is too large, or comes too slowly.
    """
    _check_secure(url)
    began, received = time.monotonic(), 0
    secure = ssl.create_default_context()  # with one of its own, urlopen also asks anew for the proxies of the environment
    with closing(urllib.request.urlopen(url, timeout=PATIENCE, context=secure)) as answer:
        _check_secure(getattr(answer, "url", None) or url)  # where the server has sent us on to
        promised = answer.headers.get("Content-Length") or ""
        while block := answer.read1(1 << 16):  # what has come, not what would fill a block: one byte a second is noticed
            received += len(block)
            elapsed = time.monotonic() - began
            if received > LARGEST:
                raise OSError(f"it has more than {LARGEST} bytes")
            if elapsed > PATIENCE and received < SLOWEST * elapsed:
                raise TimeoutError(f"too slow: {received} bytes came in {elapsed:.0f} s")
            yield block
    if promised.isdecimal() and received < int(promised):
        raise ConnectionError(f"it ended after {received} of {promised} bytes")


def why(error: Exception) -> str:
    """What went wrong when a file was fetched, and what helps."""
    reason = getattr(error, "reason", error)
    text, hint = f"{type(error).__name__}: {error}", ""
    if isinstance(error, urllib.error.HTTPError):
        pass  # the server's own words
    elif "Tunnel connection failed: 407" in str(reason):
        hint = "the proxy asks who you are: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT"
    elif isinstance(reason, ssl.SSLError):
        hint = "the connection is not secure; behind a proxy that looks into it, SSL_CERT_FILE names the proxy's certificate"
    elif isinstance(reason, socket.gaierror) or getattr(reason, "errno", None) in _NO_NETWORK:
        hint = "is there a network? behind a proxy, set HTTPS_PROXY"
    return f"{text}; {hint}" if hint else text


def fetch(url: str, target: Path, md5: str) -> str | None:
    """Download one file; returns what went wrong, if anything. The file appears when it is whole and has the right sum."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    digest = hashlib.md5(usedforsecurity=False)
    start = b""
    try:
        with part.open("wb") as file:
            for block in contents(url):
                start = start or block[:64]
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != md5:
            page = " (it is a web page: does the network ask for a login?)" if start.lstrip()[:1] == b"<" else ""
            return f"its md5 is {digest.hexdigest()} instead of {md5}{page}"
        part.replace(target)
    except (OSError, HTTPException, ValueError) as error:
        return why(error)
    finally:
        part.unlink(missing_ok=True)
    return None


def _check_secure(url: str) -> None:
    """OSError if a file would come over a connection that others can change; this machine itself and its files may."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("https", "file") and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise OSError(f"{url} is not secure: only https is used")
