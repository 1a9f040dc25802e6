"""How a request is framed: which heads the hot path takes, which are refused, and what a head is without an offer to change
the protocol. Nothing here holds state."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from modeltap.api.asgi import Header
from modeltap.api.hot import HOT_BYTES

MAX_HEAD_BYTES = 64 * 1024
"""Of the request line and all headers; and of what a chunked body may have beside its chunks at a time."""
CHUNK_ALLOWANCE = 16
"""Bytes of framing that each byte of a body in chunks may bring: a chunk of one byte takes five."""
VERSIONS = ("1.1", "1.0")
NOT_HOT = frozenset(
    {
        b"idempotency-key",
        b"content-encoding",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
        b"modeltap-key",
        b"modeltap-priority",
    }
)
"""Headers of requests that the ordinary way answers."""
OFFER = frozenset({b"upgrade", b"http2-settings"})


def hot_path_of(method: bytes, url: bytes, headers: Sequence[Header]) -> str | None:
    """The path of a request that the hot path may take, judged by its head alone; else None."""
    if method != b"POST" or b"%" in url or b"?" in url or b"#" in url or b"//" in url:
        return None
    if not url.startswith((b"/v2/models/", b"/predict/")) and url != b"/predict":
        return None
    length = b""
    for name, value in headers:
        if name == b"content-length":
            length = value
        elif name in NOT_HOT:
            return None
    if not length.isdigit() or len(length) > 6 or not 0 < int(length) <= HOT_BYTES:
        return None
    return url.decode("ascii")


def refused_head(version: str, headers: Sequence[Header]) -> bytes | None:
    """The answer to a head of a version that is not spoken here, or of a body that another reader might see end elsewhere;
    None for any other. What the parser itself refuses, as two lengths, does not come here."""
    if version not in VERSIONS:
        return bare_answer(505)
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    return bare_answer(400) if codings and codings != [b"chunked"] else None


def is_long(url: bytes, headers: Sequence[Header]) -> bool:
    """Whether the head is over MAX_HEAD_BYTES."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD_BYTES


def framing_left(before_bytes: int, received_bytes: int, body_bytes: int) -> int:
    """What came beside a body, as extensions of chunks and trailers do, and is not made up for by it; a segment of so many
    bytes held so many of the body."""
    return max(0, before_bytes + received_bytes - (1 + CHUNK_ALLOWANCE) * body_bytes)


def head_without_offer(method: bytes, url: bytes, version: str, headers: Sequence[Header]) -> bytes:
    """The head of the same request, by a client that does not offer another protocol: here none is spoken, and the body that
    follows is read like any other."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in headers:
        if name == b"connection":
            kept = [token.strip() for token in value.split(b",") if token.strip().lower() not in OFFER]
            lines += [b"connection: " + b", ".join(kept)] * bool(kept)
        elif name not in OFFER:
            lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])


def bare_answer(status: int) -> bytes:
    """An answer that says its status and nothing else, and ends the connection."""
    phrase = HTTPStatus(status).phrase.encode()
    return b"HTTP/1.1 %d %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (status, phrase)
