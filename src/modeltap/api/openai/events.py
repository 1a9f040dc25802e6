"""Server-sent events: an answer that is sent while it is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec

EVENT_STREAM = b"text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"


class EventStream:
    """Whole events, as bytes. What `events` raises becomes an event with OpenAI's error, the last one.

    A stream that is metered settles its call before it gives the last event; of one that ends before that, what it handed on
    is charged by the door.
    """

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        self.events = events
        self.status = 200


def event(value: Any) -> bytes:
    """One event without a name."""
    return b"data: %b\n\n" % msgspec.json.encode(value)


def named_event(name: str, value: Any) -> bytes:
    """One with a name, as `/v1/responses` sends them."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(value))
