"""Server-sent events, read: bytes in whatever pieces → the JSON object of each event, sans-IO and bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from modeltap.errors import UpstreamFailed

MAX_EVENT_BYTES = 4 << 20
DONE = b"[DONE]"


class EventReader:
    """One stream. `is_done` once its end was said; nothing is read after it."""

    def __init__(self) -> None:
        self.is_done = False
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def received(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The objects that are whole now. Raises UpstreamFailed for what is no event or has no end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise _too_long()
        for line in lines:
            if self.is_done:
                return
            found = self._line(line.removesuffix(b"\r"))
            if found is not None:
                yield found

    def _line(self, line: bytes) -> dict[str, Any] | None:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                value = value.removeprefix(b" ")
                self._size += len(value)
                if self._size > MAX_EVENT_BYTES:
                    raise _too_long()
                self._data.append(value)
            return None
        data, self._data, self._size = b"\n".join(self._data), [], 0
        if not data:
            return None
        if data.strip() == DONE:
            self.is_done = True
            return None
        return read_object(data)


def read_object(data: bytes) -> dict[str, Any]:
    """The JSON object. Raises UpstreamFailed for anything else."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UpstreamFailed("the upstream sent something that is no JSON object; try again, or look at its log")
    return found


def _too_long() -> UpstreamFailed:
    return UpstreamFailed(f"the upstream sent an event of more than {MAX_EVENT_BYTES:,} bytes")
