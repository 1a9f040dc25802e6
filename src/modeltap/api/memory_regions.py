"""Regions of shared memory registered, listed and forgotten: the same for HTTP and gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

from modeltap.api.local_caller import Address, user_of
from modeltap.api.memory_slots import OFF, CallerMemory, owner_of
from modeltap.errors import Forbidden, InvalidInput
from modeltap.serving.call import Call
from modeltap.storage.shared_memory import SharedMemory

TOLD = ("name", "key", "offset", "byte_size")


class MemoryRegions:
    """What the callers of one server registered. `memory` None: there is no shared memory here, which is told."""

    def __init__(self, memory: SharedMemory | None) -> None:
        self._memory = memory

    @property
    def is_on(self) -> bool:
        return self._memory is not None

    def of(self, call: Call, *, limit_bytes: int) -> CallerMemory:
        """As this request may use them."""
        return CallerMemory(self._memory, owner_of(call.principal), limit_bytes=limit_bytes)

    async def register(
        self, call: Call, name: str, *, key: str, offset: int, byte_size: int, caller: Address | None, server_port: int
    ) -> None:
        """caller: the other end of the connection. Raises InvalidInput, Forbidden, and as `SharedMemory.add`.

        Nothing is opened for a process that could not open it itself: otherwise a key would lead into whatever this server's
        user has in memory.
        """
        if self._memory is None:
            raise InvalidInput(OFF)
        user = None if caller is None else await asyncio.to_thread(user_of, caller, server_port)
        if user is None:
            raise Forbidden(
                "shared memory is registered by a process of this machine that is connected directly, without a proxy; send"
                " tensors in the request"
            )
        await asyncio.to_thread(
            self._memory.add, owner_of(call.principal), name, key=key, offset=offset, byte_size=byte_size, user=user
        )

    async def forget(self, call: Call, name: str = "") -> None:
        """One of the caller's regions, or all; there need not be any."""
        if self._memory is not None:
            await asyncio.to_thread(self._memory.forget, owner_of(call.principal), name)

    def listed(self, call: Call, name: str = "") -> list[dict[str, Any]]:
        """All of the caller's regions, or the one. Raises NotFound."""
        if self._memory is None:
            return []
        owner = owner_of(call.principal)
        regions = [self._memory.find(owner, name)] if name else self._memory.listed(owner)
        return [{field: getattr(region, field) for field in TOLD} for region in regions]
