"""Where an upstream's requests really go: its host is resolved, every address judged, and the connection made to that address.

Whoever resolves a second time may get another answer; so the address that was judged is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence

from modeltap.domain.upstream import HOSTS_SETTING, HostRule, Place, check_host
from modeltap.errors import Refused, UpstreamFailed

KEPT_S = 30.0
"""So long a resolved address is used again."""
RESOLVE_S = 5.0

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Addresses:
    """Of one place. Lives on one event loop."""

    def __init__(self, place: Place, rules: Sequence[HostRule]) -> None:
        self._place = place
        self._rules = tuple(rules)
        self._found = ""
        self._until_s = 0.0

    async def find(self) -> str:
        """The address to connect to. Raises Refused for a host that is not on the list or an address that may not be
        reached, UpstreamFailed for a name that cannot be resolved."""
        may_be_private = check_host(self._place, self._rules)
        if self._found and time.monotonic() < self._until_s:
            return self._found
        found = await self._resolve()
        for address in found:
            if not may_be_private and not is_public(address):
                raise Refused(
                    f"'{self._place.host}' has an address that is not public; name '{self._place.host}:{self._place.port}' in"
                    f" {HOSTS_SETTING} on the server if that is meant"
                )
        self._found, self._until_s = found[0], time.monotonic() + KEPT_S
        return self._found

    def forget(self) -> None:
        """The next request resolves anew."""
        self._until_s = 0.0

    async def _resolve(self) -> list[str]:
        place = self._place
        try:
            async with asyncio.timeout(RESOLVE_S):
                entries = await asyncio.get_running_loop().getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            raise UpstreamFailed(f"the name '{place.host}' cannot be resolved now; try again") from None
        return [str(entry[4][0]) for entry in entries]


def is_public(address: str) -> bool:
    """Whether it is an address of the internet, and not of this machine, its network or something reserved; also where an
    IPv4 address is wrapped in an IPv6 one."""
    try:
        found: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None) or _translated(found)
        if wrapped is not None:
            found = wrapped
    return found.is_global and not found.is_multicast


def _translated(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator (64:ff9b::/96) would make of it."""
    is_translated = address in ipaddress.IPv6Network("64:ff9b::/96")
    return ipaddress.IPv4Address(address.packed[-4:]) if is_translated else None
