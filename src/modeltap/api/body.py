"""A request's body, never more of it than is allowed, as text or as JSON; and where a large one is read."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from modeltap.api.asgi import Message, Receive, Scope, header
from modeltap.errors import InvalidInput, InvalidValue, TooLarge, Unavailable, UnsupportedMedia

T = TypeVar("T")
INLINE_BYTES = 64 * 1024
"""Up to here a body is read on the event loop; a longer one on a thread, so that others need not wait for it."""
INLINE_PICTURE_BYTES = 4 * 1024
"""The same for pictures, of which a few bytes can hold millions of pixels."""
MAX_NESTED = 1_000_000
MAX_TEXTS = 4_000_000
"""Arrays and objects, and texts, that the JSON of one body may hold: each takes twenty times the memory of its bytes."""
COUNTED_BYTES = 1 << 20
"""A shorter body cannot hold so many that it matters."""
CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"})
"""As Python calls them; latin-1 and windows-1252 are two of these."""


async def read_body(scope: Scope, receive: Receive, *, limit_bytes: int, is_packed: bool = False) -> bytes:
    """The whole body, as it is. Raises TooLarge as soon as it is known, Unavailable if the client went away in the middle,
    UnsupportedMedia if it is packed and the caller does not say that it may be."""
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge(given_bytes=int(declared), limit_bytes=limit_bytes)
    coding = (header(scope, b"content-encoding") or "identity").casefold()
    if coding != "identity" and not is_packed:
        raise UnsupportedMedia(f"a body with the content-encoding '{coding[:40]}' is not read here; send it unpacked")
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


async def limited(scope: Scope, receive: Receive, *, limit_bytes: int) -> Receive:
    """A `receive` that gives the body, which is read here, and after it what the connection says. Raises as `read_body`, and
    as `parse_json` for a body that says it is JSON: what reads it later would let NaN and half a surrogate pair pass."""
    body: bytes | None = await read_body(scope, receive, limit_bytes=limit_bytes)
    if body and media_type(scope) == "application/json":
        parse_json(body)

    async def again() -> Message:
        nonlocal body
        if body is None:
            return await receive()
        message = {"type": "http.request", "body": body, "more_body": False}
        body = None
        return message

    return again


async def apart(size_bytes: int, work: Callable[[], T], *, inline_bytes: int = INLINE_BYTES) -> T:
    """What `work` returns: called here for a small body, on a thread for a large one."""
    return work() if size_bytes <= inline_bytes else await asyncio.to_thread(work)


def parse_json(body: bytes) -> Any:
    """The JSON value. Raises InvalidInput saying where it breaks, or that it holds too much; NaN and Infinity are not JSON."""
    if not body.strip():
        raise InvalidInput('the body is empty; send JSON such as {"instances": [...]}')
    check_json(body)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as problem:
        hint = ""
        if any(word in body for word in (b"NaN", b"Infinity")):
            hint = "; NaN and Infinity are not JSON, send null for a missing value"
        raise InvalidInput(f"the body is not JSON: {str(problem).replace('`', '')}{hint}") from None
    except UnicodeDecodeError:
        raise InvalidInput("the body is not UTF-8") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None


def check_json(body: bytes) -> None:
    """Raises InvalidInput for JSON that would take far more memory than its bytes."""
    if len(body) <= COUNTED_BYTES:
        return
    num_nested, num_texts = body.count(b"[") + body.count(b"{"), body.count(b'"') // 2
    if num_nested > MAX_NESTED or num_texts > MAX_TEXTS:
        raise InvalidInput(
            f"the body holds {num_nested:,} arrays and objects and {num_texts:,} texts; at most {MAX_NESTED:,} and"
            f" {MAX_TEXTS:,} are read at a time, send fewer rows"
        )


def media_type(scope: Scope) -> str:
    """The content type without its parameters, in lower case; empty if there is none."""
    return (header(scope, b"content-type") or "").partition(";")[0].strip().casefold()


def decode_text(scope: Scope, body: bytes) -> str:
    """The body as text: in the charset that the content type names, else by its byte order mark, else UTF-8.

    Raises UnsupportedMedia for a charset that is not read here, InvalidValue for bytes that are not in it.
    """
    charset = _charset(scope)
    if charset is None:
        charset = "utf-16" if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        text = body.decode(charset)
    except UnicodeDecodeError:
        raise InvalidValue(f"the CSV text is not {charset.upper()}; say its charset: text/csv; charset=windows-1252") from None
    return text.removeprefix("\ufeff")


def _charset(scope: Scope) -> str | None:
    for parameter in (header(scope, b"content-type") or "").split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().casefold() == "charset":
            given = value.strip().strip('"')
            try:
                known = codecs.lookup(given).name
            except (LookupError, ValueError):
                known = ""
            if known not in CHARSETS:
                raise UnsupportedMedia(f"the charset '{given[:40]}' is not read here; send UTF-8")
            return known
    return None
