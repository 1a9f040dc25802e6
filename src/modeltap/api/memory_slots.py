"""Tensors in shared memory: what a request's parameters say of one → the part of a region that holds it, or is to hold it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modeltap.data.cells import shown
from modeltap.data.tensor_bytes import tensor_to_bytes
from modeltap.domain.signature import Batch
from modeltap.domain.tenant import Principal
from modeltap.errors import InvalidInput, InvalidValue, TooLarge
from modeltap.storage.shared_memory import Region, SharedMemory

REGION = "shared_memory_region"
OFFSET = "shared_memory_offset"
BYTE_SIZE = "shared_memory_byte_size"
MAX_BYTES = 2**62
"""Two of these have a sum that fits into 64 bits."""
OFF = (
    "shared memory is not read or written here; send tensors in the request, or start the server with --shared-memory and call"
    " it from the same machine"
)


class Slot:
    """A part of a region, for one tensor."""

    __slots__ = ("_memory", "_offset", "_region", "size_bytes", "written_bytes")

    def __init__(self, memory: SharedMemory, region: Region, offset: int, size_bytes: int) -> None:
        self._memory = memory
        self._region = region
        self._offset = offset
        self.size_bytes = size_bytes
        self.written_bytes = 0

    def read(self) -> bytearray:
        """What stands there now. Raises NotFound, InvalidValue."""
        return self._memory.read(self._region, self._offset, self.size_bytes)

    def check(self, size_bytes: int) -> None:
        """Raises as a write of so many bytes would."""
        self._memory.check(self._region, self._offset, size_bytes)

    def write(self, content: bytes) -> None:
        """The bytes stand there. Raises as `read`."""
        self._memory.write(self._region, self._offset, content)
        self.written_bytes = len(content)

    def told(self) -> dict[str, Any]:
        """The parameters of an output that was written there."""
        told = {REGION: self._region.name, BYTE_SIZE: self.written_bytes}
        return {**told, OFFSET: self._offset} if self._offset else told


class CallerMemory:
    """Shared memory as one request may use it: the regions that its key registered, and so many bytes of them to read."""

    def __init__(self, memory: SharedMemory | None, owner: str, *, limit_bytes: int) -> None:
        self._memory = memory
        self._owner = owner
        self._limit_bytes = limit_bytes
        self._outputs: dict[str, Slot] = {}
        self.read_bytes = 0
        self.is_used = False

    def content(self, parameters: Mapping[str, Any], what: str) -> bytearray | None:
        """What stands where the parameters say the input is. Raises as `slot`, TooLarge."""
        slot = self.slot(parameters, what)
        if slot is None:
            return None
        self.read_bytes += slot.size_bytes
        if self.read_bytes > self._limit_bytes:
            raise TooLarge(given_bytes=self.read_bytes, limit_bytes=self._limit_bytes)
        return slot.read()

    def output(self, parameters: Mapping[str, Any], name: str) -> Slot | None:
        """Where the output is to be written; None if it is sent. Raises as `slot`."""
        slot = self.slot(parameters, f"output {shown(name)}")
        if slot is not None:
            self._outputs[name] = slot
        return slot

    @property
    def has_outputs(self) -> bool:
        return bool(self._outputs)

    def fitted(self, outputs: Batch) -> list[tuple[Slot, bytes]]:
        """What is to be written, and where. Raises InvalidValue for an output that is longer than its place, and as `write`."""
        contents = []
        for name, slot in self._outputs.items():
            content = tensor_to_bytes(outputs[name])
            if len(content) > slot.size_bytes:
                raise InvalidValue(
                    f"output {shown(name)} has {len(content):,} bytes; its {BYTE_SIZE} is {slot.size_bytes:,}, which is too few"
                )
            slot.check(len(content))
            contents.append((slot, content))
        return contents

    @staticmethod
    def write(contents: list[tuple[Slot, bytes]]) -> None:
        """Raises NotFound, InvalidValue, StorageFailed."""
        for slot, content in contents:
            slot.write(content)

    def slot(self, parameters: Mapping[str, Any], what: str) -> Slot | None:
        """Where the tensor `what` is, or is to be; None if that is not in shared memory.

        Raises InvalidInput where there is none to be had, NotFound, InvalidValue.
        """
        if REGION not in parameters:
            if BYTE_SIZE in parameters or OFFSET in parameters:
                raise InvalidValue(f"{what} has a place in shared memory, and no {REGION}")
            return None
        if self._memory is None:
            raise InvalidInput(f"{what} is in shared memory; {OFF}")
        name = parameters[REGION]
        if not isinstance(name, str):
            raise InvalidValue(f"{what} has the {REGION} {shown(name)}; it is the name of a region")
        size_bytes = _count(parameters.get(BYTE_SIZE), BYTE_SIZE, what)
        offset = _count(parameters.get(OFFSET, 0), OFFSET, what)
        region = self._memory.find(self._owner, name)
        if offset + size_bytes > region.byte_size:
            raise InvalidValue(
                f"{what} ends at byte {offset + size_bytes:,} of region {shown(name)}, which has {region.byte_size:,}"
            )
        self.is_used = True
        return Slot(self._memory, region, offset, size_bytes)


def _count(given: Any, key: str, what: str) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= MAX_BYTES:
        raise InvalidValue(f"{what} has the {key} {shown(given)}; it is a number of bytes")
    return given


NO_MEMORY = CallerMemory(None, "", limit_bytes=0)


def owner_of(principal: Principal) -> str:
    """Regions are a key's own: others of its tenant may call from elsewhere."""
    return f"{principal.tenant}/{principal.key}"
