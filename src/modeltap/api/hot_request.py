"""What the hot path knows of a request: its head, read once, the protocol that reads its body, and what that makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from modeltap.api.asgi import Answer, Header
from modeltap.api.door import operation_of, protocol_of
from modeltap.api.guard import key_of_authorization
from modeltap.domain.signature import Batch
from modeltap.serving.call import Call


class Ready:
    """A request that was read: what the graph is asked, and how its outputs become the answer."""

    __slots__ = ("inputs", "rows", "show")

    def __init__(self, inputs: Batch, rows: int, show: Callable[[Batch], Answer]) -> None:
        self.inputs = inputs
        self.rows = rows
        self.show = show


class HotDialect(Protocol):
    """A protocol that can read a request at once."""

    def read(self, head: HotHead, body: bytes, call: Call) -> Ready | None:
        """The request, with `call` led to its version; None for one that goes the ordinary way. Raises what its plane does.
        What it finds out about the head alone it may keep in `head.kept`."""


class HotHead:
    """The head of a request, read once. A connection may send many requests under the very same head."""

    __slots__ = ("dialect", "given_id", "kept", "operation", "path", "presented", "protocol", "seen", "tenant", "traceparent")

    def __init__(self, path: str, headers: list[Header], dialect: HotDialect) -> None:
        self.path = path
        self.dialect = dialect
        self.seen = seen = dict(reversed(headers))  # of one that comes twice the first counts, as everywhere
        self.given_id = text_of(seen.get(b"x-request-id"))
        self.presented = text_of(seen.get(b"x-api-key")) or key_of_authorization(text_of(seen.get(b"authorization")))
        self.tenant = text_of(seen.get(b"modeltap-tenant"))
        self.traceparent = text_of(seen.get(b"traceparent"))
        self.protocol = protocol_of(path)
        self.operation = operation_of("POST", path)
        self.kept: Any = None


def text_of(value: bytes | None) -> str | None:
    """A header's value as text."""
    return None if value is None else value.decode("latin-1").strip()
