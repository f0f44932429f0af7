"""Where a game can be reached: addresses of this machine, and the secret first part of every path."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Place", "code", "listen"]

PORT = 8765
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is taken for another one when it is read out


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Attributes:
        socket: bound and listening.
        port: its port.
        addresses: numeric addresses at which it can be reached, the likeliest first.
        names: all names and addresses of this machine that a request may say.
        everywhere: whether it listens on every address that this machine has.
        shared: whether other machines can reach it.
    """

    socket: Any
    port: int
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    everywhere: bool
    shared: bool

    def url(self, token: str, address: str | None = None) -> str:
        """The page's address."""
        host = address or self.addresses[0]
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/{token}/"


def code(shared: bool) -> str:
    """A token: long, or for a class that has to type it eight letters (40 bits; wrong ones are few, see `Guard`)."""
    if not shared:
        return secrets.token_urlsafe(18)
    letters = [secrets.choice(_LETTERS) for _ in range(8)]
    return f"{''.join(letters[:4])}-{''.join(letters[4:])}"


def listen(host: str | None = None, port: int | None = None) -> Place:
    """Listen to a port.

    Args:
        host: an address or name of this machine, or ``0.0.0.0`` (``::``) for all of its addresses; None for 127.0.0.1, which no
            other machine reaches.
        port: 0 for any that is free; None for the usual one, or any other if that is taken.

    Raises:
        ValueError: if this machine has no such address, or if the port is taken.
    """
    given = "127.0.0.1" if host is None else host
    try:
        family, _, _, _, where = socket.getaddrinfo(given, None, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ValueError(f"host must be an address or a name of this machine; got {given!r} ({error})") from error
    number = str(where[0])
    bound = None
    for one in (PORT, 0) if port is None else (port,):
        try:
            bound = _bound(family, number, one)
            break
        except OSError as error:
            if port is not None or one == 0:
                raise ValueError(
                    f"nothing can listen at {number}, port {one}: {error.strerror or error}; choose another --host or --port"
                ) from error
    assert bound is not None
    address = ipaddress.ip_address(number.split("%")[0])
    addresses = _own_addresses(address.version) if address.is_unspecified else (number,)
    names = (*addresses, given, socket.gethostname(), f"{socket.gethostname()}.local") if not address.is_loopback else addresses
    return Place(bound, bound.getsockname()[1], addresses, names, address.is_unspecified, not address.is_loopback)


def _bound(family: int, number: str, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: nobody else may listen here as well
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((number, port))
        made.listen(128)  # who comes before the server has started waits for it
    except BaseException:
        made.close()
        raise
    return made


def _own_addresses(version: int) -> tuple[str, ...]:
    """Addresses of this machine that others may know, and 127.0.0.1 (::1) last."""
    found: dict[str, None] = {}
    family, far, near = {4: (socket.AF_INET, "192.0.2.1", "127.0.0.1"), 6: (socket.AF_INET6, "2001:db8::1", "::1")}[version]
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((far, 9))  # nothing is sent: it only tells from which address one would
        found[probe.getsockname()[0]] = None
    with suppress(OSError):
        found |= {str(info[4][0]): None for info in socket.getaddrinfo(socket.gethostname(), None, family)}
    kept = [a for a in found if not ipaddress.ip_address(a.split("%")[0]).is_loopback]
    return (*kept, near)
