"""A request's body, never more of it than is allowed."""

from __future__ import annotations

from typing import Any

import msgspec

from modeltap.api.asgi import Receive, Scope, header
from modeltap.errors import InvalidInput, TooLarge, Unavailable


async def read_body(scope: Scope, receive: Receive, *, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known, InvalidInput if the client went away in the middle."""
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge(given_bytes=int(declared), limit_bytes=limit_bytes)
    parts = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unavailable("the client closed the connection before the body was complete")
        part = message.get("body", b"")
        size += len(part)
        if size > limit_bytes:
            raise TooLarge(given_bytes=None, limit_bytes=limit_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def parse_json(body: bytes) -> Any:
    """The JSON value. Raises InvalidInput saying where it breaks; NaN and Infinity are not JSON."""
    if not body.strip():
        raise InvalidInput('the body is empty; send JSON such as {"instances": [...]}')
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as problem:
        hint = ""
        if any(word in body for word in (b"NaN", b"Infinity")):
            hint = "; NaN and Infinity are not JSON, send null for a missing value"
        raise InvalidInput(f"the body is not JSON: {problem}{hint}") from None
    except UnicodeDecodeError:
        raise InvalidInput("the body is not UTF-8") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None


def media_type(scope: Scope) -> str:
    """The content type without its parameters, in lower case; empty if there is none."""
    return (header(scope, b"content-type") or "").partition(";")[0].strip().casefold()
