"""Regions of shared memory registered, listed and forgotten: the same for HTTP and gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

from modeltap.api.body import apart
from modeltap.api.local_caller import Address, user_of
from modeltap.api.memory_slots import OFF, CallerMemory, owner_of
from modeltap.domain.signature import Batch
from modeltap.errors import Forbidden, InvalidInput
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
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
        self, call: Call, name: str, *, key: str, offset: int, byte_size: int, caller: Address | None, server: Address
    ) -> None:
        """caller, server: the connection's ends; None behind a proxy. Raises InvalidInput, Forbidden, and as the memory.

        Nothing is opened for a process that could not open it itself: otherwise a key would lead into whatever this server's
        user has in memory.
        """
        if self._memory is None:
            raise InvalidInput(OFF)
        user = None if caller is None else await asyncio.to_thread(user_of, caller, server)
        if user is None:
            raise Forbidden(
                "shared memory is registered by a process of this machine that is connected to a loopback address, such as"
                " 127.0.0.1, without a proxy; send tensors in the request"
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


async def write_outputs(plane: Plane, call: Call, memory: CallerMemory, outputs: Batch) -> None:
    """What is wanted in shared memory is there, and was charged before: from then on the caller has it, whatever follows.

    Raises InvalidValue where an output does not fit, then nothing is written or charged; and as `CallerMemory.write`.
    """
    if not memory.has_outputs:
        return
    size_bytes = sum(values.nbytes for values in outputs.values())
    contents = await apart(size_bytes, lambda: memory.fitted(outputs))
    plane.settle(call)
    if plane.waits_for_disk:
        await plane.on_disk()
    await apart(size_bytes, lambda: memory.write(contents))
