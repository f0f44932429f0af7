"""Connections that never say what they want: they are closed, so that they cannot keep others out.

A server takes a limited number of connections at a time. Whoever opens that many and sends half a request on each would shut
out everybody, and needs no token for it. So a connection has to say all of its header within some seconds, however slowly its
bytes come; and if very many are waiting at the same time, those that have waited longest are closed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["MOST_WAITING", "PATIENCE", "impatient"]

PATIENCE = 10.0
"""Seconds within which a connection must have sent a complete header, from its first byte (or from being opened) on."""

MOST_WAITING = 250
"""Connections without a complete header that are kept; a class of forty browsers opens some six each, for moments."""


def impatient(patience: float = PATIENCE, most: int = MOST_WAITING) -> Any:
    """The class by which uvicorn is to speak HTTP.

    Args:
        patience: seconds that a header may take.
        most: connections without a complete header that are kept at the same time.

    Raises:
        ImportError: if uvicorn is not installed.
    """
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    waiting: dict[Any, Any] = {}  # connections and what will close them, the oldest first

    class Impatient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self._wait()  # (between requests, `timeout_keep_alive` closes those that send nothing)
            else:
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _wait(self) -> None:
            if self in waiting:
                return
            waiting[self] = self.loop.call_later(patience, self._give_up)
            while len(waiting) > most:
                next(iter(waiting))._give_up()

        def _stop_waiting(self) -> None:
            timer = waiting.pop(self, None)
            if timer is not None:
                timer.cancel()

        def _give_up(self) -> None:
            self._stop_waiting()
            self.transport.abort()  # without a word, and without waiting until somebody reads it

    return Impatient
