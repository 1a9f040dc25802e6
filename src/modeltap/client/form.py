"""The body of an upload: one file as it is, or several as a form, piece by piece."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from modeltap.client.packing import OnUpload, Upload, chunks_of

_UNSAFE = re.compile(r'[\x00-\x1f"\\\x7f]')


class Body(NamedTuple):
    """What is sent, once."""

    chunks: Iterator[bytes]
    size_bytes: int
    content_type: str


def plain_body(upload: Upload, on_upload: OnUpload | None) -> Body:
    """The file as it is."""
    return Body(chunks_of(upload, on_upload), upload.size_bytes, "application/octet-stream")


def form_body(parts: Mapping[str, Upload], on_upload: OnUpload | None) -> Body:
    """The files under their fields; `on_upload` is told of all of them together."""
    boundary = secrets.token_hex(16)
    heads = {key: _head(boundary, key, upload.filename, place) for place, (key, upload) in enumerate(parts.items())}
    end = f"\r\n--{boundary}--\r\n".encode()
    total = sum(upload.size_bytes for upload in parts.values())
    size_bytes = total + sum(map(len, heads.values())) + len(end)

    def chunks() -> Iterator[bytes]:
        before = 0
        for key, upload in parts.items():
            yield heads[key]
            yield from chunks_of(upload, None if on_upload is None else _shifted(on_upload, before, total))
            before += upload.size_bytes
        yield end

    return Body(chunks(), size_bytes, f"multipart/form-data; boundary={boundary}")


def _head(boundary: str, key: str, filename: str, place: int) -> bytes:
    named = f'form-data; name="{key}"; filename="{_UNSAFE.sub("_", filename)}"'
    before = "\r\n" if place else ""
    return f"{before}--{boundary}\r\ncontent-disposition: {named}\r\ncontent-type: application/octet-stream\r\n\r\n".encode()


def _shifted(on_upload: OnUpload, before: int, total: int) -> Callable[[int, int], None]:
    return lambda sent, _: on_upload(before + sent, total)
