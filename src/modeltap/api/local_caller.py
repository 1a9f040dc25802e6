"""Which user of this machine is at the other end of a connection, as the system has it in its table of connections."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from urllib.parse import unquote

Address = tuple[str, int]
"""Host and port."""

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LOCAL, _REMOTE, _STATE, _USER = 1, 2, 3, 7
_ESTABLISHED = "01"
"""Of one that its process has closed the table has no user any more, but 0, which is root's number."""
_UNKNOWN_USER = 65534
"""The system's number for users that it has no number for, in a container: all of them."""
_WORD = 8
"""Digits of a word; addresses are written word by word, each as the processor has it."""


def user_of(caller: Address, server_port: int, *, tables: tuple[str, ...] = TABLES) -> int | None:
    """The user's number; None for who is not on this machine, not seen, or has hung up. Blocks for as long as the tables are.

    A connection is known by both its ends: another user may have the same port towards another server.
    """
    try:
        host = _plain(ipaddress.ip_address(caller[0]))
    except ValueError:
        return None
    if not host.is_loopback:
        return None
    found = set()
    for table in tables:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            ports = _port(fields[_LOCAL]), _port(fields[_REMOTE])
            if ports == (caller[1], server_port) and _host(fields[_LOCAL]) == host:
                found.add(int(fields[_USER]) if fields[_STATE] == _ESTABLISHED else _UNKNOWN_USER)
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


def _host(end: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    digits = end.rpartition(":")[0]
    words = (digits[place : place + _WORD] for place in range(0, len(digits), _WORD))
    return _plain(ipaddress.ip_address(b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)))


def _plain(host: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return (host.ipv4_mapped or host) if isinstance(host, ipaddress.IPv6Address) else host
