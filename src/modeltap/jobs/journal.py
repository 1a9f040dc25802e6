"""The files of one job: what its runner wrote (log), and one line for every step of its progress (events.jsonl)."""

from __future__ import annotations

import codecs
import errno
import os
from pathlib import Path
from typing import BinaryIO

import msgspec

from modeltap.domain.progress import Progress
from modeltap.errors import StorageFailed
from modeltap.storage.disk import disk_failures

READ_LIMIT_BYTES = 1 << 20
TAIL_BYTES = 1 << 13
LINE_CHARS = 300


class Journal:
    """The folder <home>/jobs/<id>, made on first use. One process writes, any number read."""

    def __init__(self, home: Path, job_id: str) -> None:
        """`job_id` is that of a job in the database, never a text from outside."""
        self.folder = home / "jobs" / job_id
        self.log = self.folder / "log"
        self.events = self.folder / "events.jsonl"

    def open_log(self) -> BinaryIO:
        """The log, open to append to. Raises StorageFailed."""
        with disk_failures("writing the job's log"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self.log.open("ab", buffering=0)

    def append_event(self, progress: Progress) -> None:
        """Adds one line in one write, so that a reader sees it whole or not at all. Raises StorageFailed."""
        line = msgspec.json.encode(progress) + b"\n"
        with disk_failures("writing the job's progress"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.events, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size_bytes = os.fstat(handle).st_size
                if size_bytes and os.pread(handle, 1, size_bytes - 1) != b"\n":  # a full disk cut the last line short
                    line = b"\n" + line
                if os.write(handle, line) < len(line):
                    raise OSError(errno.ENOSPC, "the line was cut short")
            finally:
                os.close(handle)

    def read_events(self, offset: int = 0, *, limit_bytes: int = READ_LIMIT_BYTES) -> tuple[list[Progress], int]:
        """Events from byte `offset` on, and the offset to go on from; a line that is still being written comes later.

        `limit_bytes` is of one call. Raises StorageFailed.
        """
        offset, limit_bytes = max(offset, 0), max(limit_bytes, 1)
        chunk = self._read(self.events, offset, limit_bytes)
        while b"\n" not in chunk and len(chunk) == limit_bytes:  # a line longer than the limit
            limit_bytes *= 2
            chunk = self._read(self.events, offset, limit_bytes)
        whole = chunk[: chunk.rfind(b"\n") + 1]
        events = []
        for line in whole.splitlines():
            try:
                events.append(msgspec.json.decode(line, type=Progress))
            except (msgspec.MsgspecError, UnicodeDecodeError):  # cut short by a full disk, see append_event
                continue
        return events, offset + len(whole)

    def read_log(self, offset: int = 0, *, limit_bytes: int = READ_LIMIT_BYTES) -> tuple[str, int]:
        """Text from byte `offset` on, and the offset to go on from; a letter is never cut in two.

        Bytes that are not UTF-8 read as U+FFFD. Raises StorageFailed.
        """
        offset = max(offset, 0)
        chunk = self._read(self.log, offset, max(limit_bytes, 4))
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text = decoder.decode(chunk)
        held_back, _ = decoder.getstate()
        return text, offset + len(chunk) - len(held_back)

    def last_line(self, offset: int = 0) -> str | None:
        """The last line of the log after byte `offset` that says something, cut where it is long; None if none does."""
        try:
            size_bytes = self.log.stat().st_size
            start = max(offset, size_bytes - TAIL_BYTES)
            lines = self._read(self.log, start, size_bytes - start).decode("utf-8", "replace").splitlines()
        except (OSError, StorageFailed):
            return None
        told = next((line.strip() for line in reversed(lines) if line.strip()), None)
        return told if told is None or len(told) <= LINE_CHARS else f"{told[:LINE_CHARS]}…"

    @staticmethod
    def _read(path: Path, offset: int, limit_bytes: int) -> bytes:
        with disk_failures("reading the job's files"):
            try:
                with path.open("rb") as source:
                    source.seek(offset)
                    return source.read(limit_bytes)
            except FileNotFoundError:  # nothing was written yet
                return b""
