"""`Guard`: who may ask the server for anything, and what browsers may do with its answers.

It stands before everything else. A request is refused

* unless its ``Host`` is an address of this machine (a page of another site that has its own name point here, DNS rebinding,
  comes with that name);
* if its ``Origin`` is not this server, or if the browser says that another site sends it (``Sec-Fetch-Site``), unless somebody
  merely followed a link to the page;
* unless the address begins with the token; a machine from which wrong ones come too often is not heard for a while;
* if it is larger than anything that a game has to say.

Answers tell browsers to run no script but the server's own, and to embed it nowhere.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

__all__ = ["HEADERS", "LARGEST", "Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LARGEST = 4096
"""Bytes of the largest request; a game's are some hundreds."""

_PATIENCE = 10.0  # seconds that a request may take to arrive
_GUESSES = 30  # wrong tokens from one machine within a minute, after which it is not heard for as long
_MINUTE = 60.0
_MACHINES = 1024  # of which wrong tokens are remembered

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application around another one, see the module.

    Args:
        app: what answers requests that are let in; their path then begins after the token.
        token: first part of every path.
        port: port that the server listens on.
        names: names and addresses that this machine is called by, beside ``localhost``.
        any_address: whether every numeric address is taken for this machine's (a server that listens on all of them); a name is
            still refused, and rebinding needs one.
        clock: seconds that never go back, for tests.
    """

    def __init__(
        self,
        app: App,
        token: str,
        port: int,
        names: Iterable[str] = ("127.0.0.1",),
        any_address: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app, self.token, self.port, self.any_address = app, token, port, any_address
        self.names = {"localhost", *(n.lower().rstrip(".") for n in names)}
        self._clock = clock
        self._wrong: dict[str, list[float]] = {}  # by visitor's address, when wrong tokens came

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets; a close before anything else refuses them
            await send({"type": "websocket.close", "code": 1008})
            return
        problem = self._problem(scope)
        if problem is not None:
            await _refuse(send, *problem)
            return
        try:
            body = await asyncio.wait_for(_body(receive), _PATIENCE)
        except (asyncio.TimeoutError, TimeoutError):
            await _refuse(send, 408, "the request took too long to arrive")
            return
        if body is None:
            await _refuse(send, 413, f"a request must have at most {LARGEST} bytes")
            return
        start = f"/{self.token}"
        if scope["path"] == start:  # typed without the last stroke, from which addresses in the page go on
            await _answer(send, 307, b"", {"location": f"{start}/"})
            return
        scope = {k: v for k, v in scope.items() if k != "raw_path"} | {"path": scope["path"][len(start) :], "root_path": ""}
        given = False

        async def once() -> Message:
            nonlocal given
            if given:
                return await receive()  # that the visitor has gone
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, once, _with_headers(send))

    def _problem(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        """Why a request is refused: status and sentence; None if it is not."""
        if len(scope["path"]) > LARGEST or sum(len(n) + len(v) for n, v in scope["headers"]) > 4 * LARGEST:
            return 431, "the request says too much about itself"
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self._own_host(hosts[0]):
            return 403, "the request names another host than this server"
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return 403, "the request comes from another site"
        reading = scope["method"] in ("GET", "HEAD")
        follows = reading and headers.get("sec-fetch-mode") == ["navigate"] and headers.get("sec-fetch-dest") == ["document"]
        if headers.get("sec-fetch-site", ["none"])[0] not in ("same-origin", "none") and not follows:
            return 403, "the request comes from another site"
        if not reading and scope["method"] != "POST":
            return 405, "only GET and POST are known here"
        visitor = str((scope.get("client") or ("",))[0])
        if self._guesses(visitor):
            return 429, "too many wrong tokens came from your machine: wait a minute"
        if not self._has_token(scope["path"]):
            self._note_wrong(visitor)
            return 403, "the address lacks its token: ask for the whole address"
        if not reading and headers.get("content-type", [""])[0].split(";")[0].strip().lower() != "application/json":
            return 415, "a request must hold application/json"
        if any(not _is_number(n, 10) or int(n) > LARGEST for n in headers.get("content-length", [])):
            return 413, f"a request must have at most {LARGEST} bytes"
        return None

    def _own_host(self, host: str) -> bool:
        name, colon, port = host.rpartition(":")
        if not colon or not _is_number(port, 5):
            name, port = host, "80"
        if int(port) != self.port:
            return False
        name = name.strip("[]").lower().rstrip(".")
        if name in self.names:
            return True
        return self.any_address and _is_address(name)

    def _has_token(self, path: str) -> bool:
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        return hmac.compare_digest(first.encode("utf-8", "replace"), self.token.encode())

    def _guesses(self, visitor: str) -> bool:
        """Whether too many wrong tokens came from an address lately; right ones do not help it then."""
        now, wrong = self._clock(), self._wrong.get(visitor, ())
        return len(wrong) >= _GUESSES and now - wrong[-_GUESSES] < _MINUTE

    def _note_wrong(self, visitor: str) -> None:
        wrong = self._wrong.pop(visitor, [])
        self._wrong[visitor] = [*wrong, self._clock()][-_GUESSES:]  # last in order, so that the oldest are forgotten first
        while len(self._wrong) > _MACHINES:
            self._wrong.pop(next(iter(self._wrong)))


def _is_number(text: str, digits: int) -> bool:
    """Whether a text is a whole number of so many ASCII digits at most: Python takes other signs for digits too, which `int`
    refuses, as it refuses numbers that are very long.
    """
    return text.isascii() and text.isdecimal() and len(text) <= digits


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _body(receive: Receive) -> bytes | None:
    """All that a request holds; None if that is too much."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        part = message.get("body", b"")
        size, more = size + len(part), message.get("more_body", False)
        if size > LARGEST:
            return None
        parts.append(part)
    return b"".join(parts)


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(n, v) for n, v in message.get("headers", []) if n.decode("latin-1").lower() not in HEADERS]
            message = dict(message) | {"headers": own + _encoded(HEADERS)}
        await send(message)

    return sender


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()]


async def _refuse(send: Send, status: int, why: str) -> None:
    await _answer(
        send, status, json.dumps({"error": why}).encode(), {"content-type": "application/json", "connection": "close"}
    )


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    whole = headers | {"content-length": str(len(body))} | HEADERS
    await send({"type": "http.response.start", "status": status, "headers": _encoded(whole)})
    await send({"type": "http.response.body", "body": body})
