"""Which user of this machine is at the other end of a connection, as the system has it in its table of connections."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

Address = tuple[str, int]
"""Host and port."""

_Host = ipaddress.IPv4Address | ipaddress.IPv6Address
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LOCAL, _REMOTE, _STATE, _USER, _INODE = 1, 2, 3, 7, 9
_ESTABLISHED = "01"
_NO_INODE = "0"
"""Of a connection that no process holds any more, or none yet, the user may be told as 0, which is root's number."""
_UNKNOWN_USER = 65534
"""The system's number for users that it has no number for, in a container: all of them."""
_WORD = 8
"""Digits of a word; addresses are written word by word, each as the processor has it."""


FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip"})
FORWARDED_PREFIX = "x-forwarded-"


def is_forwarded(names: Iterable[str]) -> bool:
    """Whether a proxy says that it passed the request on. names: of its headers, in small letters."""
    return any(name in FORWARDED or name.startswith(FORWARDED_PREFIX) for name in names)


def user_of(caller: Address, server: Address, *, tables: tuple[str, ...] = TABLES) -> int | None:
    """The number of the user whose process holds the caller's end; None for who is not on this machine, not seen, or has hung
    up. Blocks for as long as the tables are.

    A connection is known by all of both its ends: another user may have the same port towards another server, or towards
    another address of this machine.
    """
    ends = _parsed(caller), _parsed(server)
    if not all(end is not None and end[0].is_loopback for end in ends):
        return None
    found = set()
    for table in tables:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if (_port(fields[_LOCAL]), _port(fields[_REMOTE])) != (caller[1], server[1]):
                continue  # which costs least to see
            if (_end(fields[_LOCAL]), _end(fields[_REMOTE])) == ends:
                is_held = fields[_STATE] == _ESTABLISHED and fields[_INODE] != _NO_INODE
                found.add(int(fields[_USER]) if is_held else _UNKNOWN_USER)
    user = found.pop() if len(found) == 1 else _UNKNOWN_USER
    return None if user == _UNKNOWN_USER else user


def parse_peer(peer: str) -> Address | None:
    """gRPC's name of the caller, such as ipv4:127.0.0.1:5000 or ipv6:[::1]:5000; None for other kinds."""
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return host.strip("[]"), int(port)


def _port(end: str) -> int:
    return int(end.rpartition(":")[2], 16)


def _end(told: str) -> tuple[_Host, int]:
    digits = told.rpartition(":")[0]
    words = (digits[place : place + _WORD] for place in range(0, len(digits), _WORD))
    host = ipaddress.ip_address(b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words))
    return _plain(host), _port(told)


def _parsed(address: Address) -> tuple[_Host, int] | None:
    try:
        return _plain(ipaddress.ip_address(address[0])), address[1]
    except ValueError:
        return None


def _plain(host: _Host) -> _Host:
    return (host.ipv4_mapped or host) if isinstance(host, ipaddress.IPv6Address) else host
