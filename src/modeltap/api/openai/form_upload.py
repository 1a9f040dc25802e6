"""multipart/form-data with one file: the file goes to the disk as it comes, never more of it than is allowed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO, Any

from modeltap.api.asgi import Receive, Scope, header
from modeltap.errors import InvalidInput, ModeltapError, TooLarge, Unavailable, UnsupportedMedia
from modeltap.storage.disk import disk_failures

FILE_FIELD = "file"
MAX_PARTS = 32
MAX_FIELD_BYTES = 4096
MAX_HEAD_BYTES = 8192
ENVELOPE_BYTES = 1 << 20
"""What a form may hold beside the file: its boundaries, heads and fields."""


class UploadForm:
    """What came of the form: its fields, and the file's name; None where there was no file."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None


async def receive_form(scope: Scope, receive: Receive, upload: Path, *, limit_bytes: int, setting: str) -> UploadForm:
    """The form, its file written to `upload`. Raises UnsupportedMedia for another kind of body, InvalidInput for a broken form,
    TooLarge, Unavailable if the client went away, StorageFailed."""
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(header(scope, b"content-type") or "")
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise UnsupportedMedia("a file is sent as multipart/form-data, with the fields 'purpose' and 'file'")
    declared = header(scope, b"content-length") or ""
    if declared.isdigit() and int(declared) > limit_bytes + ENVELOPE_BYTES:
        raise TooLarge(given_bytes=int(declared), limit_bytes=limit_bytes, setting=setting)
    with disk_failures("keeping the upload"):
        target = await asyncio.to_thread(upload.open, "wb")
    with target:
        parts = _Parts(target, limit_bytes, setting)
        try:
            parser = MultipartParser(boundary, parts.callbacks(), max_header_count=16, max_header_size=MAX_HEAD_BYTES)
            num_bytes = 0
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Unavailable("the client closed the connection before the file was complete")
                piece = message.get("body", b"")
                num_bytes += len(piece)
                if num_bytes > limit_bytes + ENVELOPE_BYTES:
                    raise TooLarge(given_bytes=None, limit_bytes=limit_bytes, setting=setting)
                if piece:
                    await asyncio.to_thread(parts.feed, parser, piece)
                if not message.get("more_body", False):
                    break
        except MultipartParseError as problem:
            raise InvalidInput(f"the form cannot be read: {problem}") from None
        if not parts.is_complete:
            raise InvalidInput("the form ends in the middle; send it whole, up to its last boundary")
        with disk_failures("keeping the upload"):
            target.flush()
    return parts.form


class _Parts:
    """What the parser tells of, part by part."""

    def __init__(self, target: IO[bytes], limit_bytes: int, setting: str) -> None:
        self.form = UploadForm()
        self.is_complete = False
        self._target = target
        self._limit_bytes = limit_bytes
        self._setting = setting
        self._size_bytes = 0
        self._num_parts = 0
        self._head: dict[str, str] = {}
        self._head_name = self._head_value = b""
        self._name = ""
        self._value = b""
        self._is_file = False
        self._wrong: ModeltapError | None = None

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_head_name,
            "on_header_value": self._on_head_value,
            "on_header_end": self._head_end,
            "on_headers_finished": self._heads_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def feed(self, parser: Any, piece: bytes) -> None:
        """Raises what was wrong with a part, MultipartParseError, StorageFailed."""
        with disk_failures("keeping the upload"):
            parser.write(piece)
        if self._wrong is not None:
            raise self._wrong

    def _begin(self) -> None:
        self._num_parts += 1
        self._head, self._value, self._name, self._is_file = {}, b"", "", False
        if self._num_parts > MAX_PARTS:
            self._refuse(InvalidInput(f"the form has more than {MAX_PARTS} parts; send the fields of the call alone"))

    def _on_head_name(self, data: bytes, start: int, end: int) -> None:
        self._head_name += data[start:end]

    def _on_head_value(self, data: bytes, start: int, end: int) -> None:
        self._head_value += data[start:end]

    def _head_end(self) -> None:
        self._head[self._head_name.decode("latin-1").casefold()] = self._head_value.decode("utf-8", "replace")
        self._head_name = self._head_value = b""

    def _heads_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._head.get("content-disposition", "").encode())
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if self._name != FILE_FIELD:
            return
        if filename is None:
            self._refuse(InvalidInput("'file' is a text; send it as a file, with a name", fields=[("file", "no file")]))
        elif self.form.filename is not None:
            self._refuse(InvalidInput("the form has two files; send one at a time", fields=[("file", "two files")]))
        else:
            self._is_file = True
            self.form.filename = filename.decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._wrong is not None:
            return
        if self._is_file:
            self._size_bytes += end - start
            if self._size_bytes > self._limit_bytes:
                self._refuse(TooLarge(given_bytes=None, limit_bytes=self._limit_bytes, setting=self._setting))
            else:
                self._target.write(memoryview(data)[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            what = f"'{self._name[:40]}' has more than {MAX_FIELD_BYTES:,} bytes"
            self._refuse(InvalidInput(f"{what}; only the part 'file' may be long", fields=[(self._name[:40], "too long")]))

    def _end(self) -> None:
        if not self._is_file and self._name != FILE_FIELD:
            self.form.fields[self._name] = self._value.decode("utf-8", "replace")

    def _complete(self) -> None:
        self.is_complete = True

    def _refuse(self, problem: ModeltapError) -> None:
        """The first thing that is wrong is told; the parser's own frames know no errors of ours."""
        self._wrong = self._wrong or problem
