"""Append-only files of usage frames, `<writer>-<index>.seg`: one writer a process start, alive as long as its lock is held.

A frame is with the system when `append` returns, and so survives the death of the process at any later moment. A frame that
could not be written whole is cut off again.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from modeltap.errors import StorageFailed
from modeltap.storage.disk import disk_failures, storage_failed, sync_directory
from modeltap.storage.segments_frames import FORMAT, Close, Head, encode_frame, whole_bytes

USAGE_FOLDER = "usage"
"""In a home, where its segments and the locks of their writers lie."""
MAX_BYTES = 16 << 20
RETRY_BYTES = 1 << 20
"""After a rotation that failed the next one is tried when so much more was written."""
_FILE = re.compile(r"([a-z0-9]{1,32})-([0-9]{6,})\.seg")
_LOCK = re.compile(r"[a-z0-9]{1,32}\.lock")
_DOING = "writing a usage record"

Durability = Literal["process", "power"]


class SegmentFile(msgspec.Struct, frozen=True):
    """A segment on the disk."""

    writer: str
    index: int
    path: Path


def new_writer_id(now_s: float) -> str:
    """15 letters and digits, which sort like the moment, and no two alike."""
    moment = base64.b32hexencode(int(now_s * 1000).to_bytes(7, "big"))[2:12]
    return (moment + base64.b32hexencode(secrets.token_bytes(5))[:5]).decode().lower()


def segment_files(folder: Path) -> list[SegmentFile]:
    """All, sorted by writer and index."""
    if not folder.is_dir():
        return []
    found = [(match, path) for path in folder.iterdir() if (match := _FILE.fullmatch(path.name))]
    files = [SegmentFile(match[1], int(match[2]), path) for match, path in found]
    return sorted(files, key=lambda file: (file.writer, file.index))


def is_usage_file(name: str) -> bool:
    """Whether a file of that name is a segment, or the lock of a writer."""
    return _FILE.fullmatch(name) is not None or _LOCK.fullmatch(name) is not None


def copy_segments(folder: Path, target: Path) -> list[Path]:
    """The copies of all segments as they are now, each up to its last whole frame. One that is gone by then was read to its
    end before. Raises StorageFailed."""
    copies = []
    with disk_failures("copying usage segments"):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in segment_files(folder):
            try:
                data = file.path.read_bytes()
            except FileNotFoundError:
                continue
            copies.append(target / file.path.name)
            copies[-1].write_bytes(memoryview(data)[: whole_bytes(data)])
    return copies


def lock_as_dead(folder: Path, writer: str) -> Path:
    """The lock of a writer whose process is gone: who opens the books next closes it. Raises StorageFailed."""
    with disk_failures("writing a lock"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _lock_path(folder, writer).touch(mode=0o600)
    return _lock_path(folder, writer)


def locked_writers(folder: Path) -> list[str]:
    """Those that have a lock: they live, or died and were not closed."""
    return sorted(path.stem for path in folder.glob("*.lock")) if folder.is_dir() else []


def is_alive(folder: Path, writer: str) -> bool:
    """Whether the process of that writer still runs. Raises StorageFailed."""
    try:
        handle = os.open(_lock_path(folder, writer), os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise storage_failed("looking for a usage writer", error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def forget_lock(folder: Path, writer: str) -> None:
    """Removes the lock of a writer that is dead."""
    with disk_failures("removing a lock"):
        _lock_path(folder, writer).unlink(missing_ok=True)


class SegmentWriter:
    """Appends frames. One thread writes; `handles` may be synced by another."""

    def __init__(
        self,
        folder: Path,
        writer: str,
        *,
        durability: Durability = "process",
        max_bytes: int = MAX_BYTES,
        spare: Callable[[], None] | None = None,
    ) -> None:
        """`spare` frees some room on a full disk. Raises StorageFailed."""
        self.folder = folder
        self.writer = writer
        self.durability: Durability = durability
        self._max_bytes = max_bytes
        self._spare = spare
        self._failure: StorageFailed | None = None
        self._retired: list[int] = []
        self._index = 0
        with disk_failures("opening the usage folder"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(_lock_path(folder, writer), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)  # who looks whether it is alive has it for a moment
        try:
            self._handle, self._size = self._open(1)
        except OSError as error:
            os.close(self._lock)
            _lock_path(folder, writer).unlink(missing_ok=True)
            raise storage_failed(_DOING, error) from error
        self._index = 1
        self._limit = max_bytes

    def append(self, data: bytes) -> None:
        """Writes whole frames. Raises StorageFailed; then none of it is in the file."""
        if self._size > self._limit:
            self._make_ready()
        try:
            written = os.write(self._handle, data)
            while written < len(data):
                written += os.write(self._handle, data[written:])
        except OSError as error:
            self._cut_back()
            raise storage_failed(_DOING, error) from error
        self._size += written

    def append_at_any_cost(self, data: bytes) -> None:
        """The same for what must not fail on a full disk as long as there is some room that was kept for it."""
        try:
            self.append(data)
        except StorageFailed as failure:
            cause = failure.__cause__
            if self._spare is None or not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._spare()
            self.append(data)

    def handles(self) -> list[int]:
        """What has to be synced, so that everything that was appended lasts; the newest file is the last."""
        return [*self._retired, self._handle]

    def synced(self, handles: list[int]) -> None:
        """They were; of those that are not written to any more none is needed."""
        for handle in [handle for handle in handles if handle in self._retired]:
            self._retired.remove(handle)
            os.close(handle)

    def fail(self, failure: StorageFailed) -> None:
        """A sync failed, and what lasts is unknown: nothing is written any more by this writer."""
        self._failure = failure
        self._limit = -1

    def close(self, last_number: int) -> None:
        """Ends the writer in order. May be called again."""
        if self._lock < 0:
            return
        with suppress(StorageFailed):  # then it is closed as that of a process that died
            self.append(encode_frame(Close(last_number)))
        for handle in self.handles():
            if self.durability == "power":
                with suppress(OSError):
                    os.fsync(handle)
            os.close(handle)
        _lock_path(self.folder, self.writer).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

    def _make_ready(self) -> None:
        """After a failure, or where the file is full. Raises StorageFailed where nothing can be written."""
        if self._failure is not None:
            raise self._failure
        if self._limit < 0:
            try:
                os.ftruncate(self._handle, self._size)
            except OSError as error:
                raise storage_failed(_DOING, error) from error
            self._limit = self._max_bytes
        if self._size > self._limit:
            try:
                handle, size = self._open(self._index + 1)
            except OSError:
                self._limit = self._size + RETRY_BYTES
                return
            if self.durability == "power":
                self._retired.append(self._handle)
            else:
                os.close(self._handle)
            self._handle, self._size, self._index = handle, size, self._index + 1
            self._limit = self._max_bytes

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._handle, self._size)
        except OSError:
            self._limit = -1

    def _open(self, index: int) -> tuple[int, int]:
        """A new file with its head. It gets its name last, for once it has it, nothing is written to the one before."""
        path = self.folder / f"{self.writer}-{index:06d}.seg"
        staged = path.with_suffix(".new")
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            head = encode_frame(Head(FORMAT, self.writer, index))
            if os.write(handle, head) != len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.durability == "power":
                os.fsync(handle)
            staged.rename(path)
            if self.durability == "power":
                sync_directory(self.folder)
        except OSError:
            os.close(handle)
            with suppress(OSError):
                staged.unlink(missing_ok=True)
            raise
        return handle, len(head)


def _lock_path(folder: Path, writer: str) -> Path:
    return folder / f"{writer}.lock"
