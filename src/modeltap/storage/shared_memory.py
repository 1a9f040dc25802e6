"""Regions of this machine's shared memory that callers named: kept in a file, so that all server processes know them, and read
and written without being mapped. Memory that shrinks under a mapping ends the process; under a read it is an error.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from modeltap.data.cells import shown
from modeltap.errors import Conflict, Forbidden, InvalidValue, NotFound
from modeltap.storage.disk import disk_failures

FOLDER = Path("/dev/shm")  # noqa: S108  where the system shows it; what is opened there is checked
REGIONS_FILE = "shared-memory.json"
MAX_REGIONS = 1000
MAX_NAME_CHARS = 200
_KEY = re.compile(r"/?([A-Za-z0-9_.-]{1,250})")
_ROOT_USER = 0


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a piece of memory; device, inode and owner tell whether the piece is still the one that was meant."""

    name: str
    key: str
    """As the caller wrote it."""
    offset: int
    byte_size: int
    device: int
    inode: int
    user: int


Known = dict[str, dict[str, Region]]
"""Owner → name → region."""


class SharedMemory:
    """The regions of all callers of one home. `path`: their file; `folder`: where the system shows shared memory."""

    def __init__(self, path: Path, *, folder: Path = FOLDER) -> None:
        self._path = path
        self._folder = folder
        self._seen: tuple[tuple[int, ...], Known] = ((), {})
        """The state of the file, and what it held; replaced at once, for threads."""

    def add(self, owner: str, name: str, *, key: str, offset: int, byte_size: int, user: int) -> None:
        """From now on `owner` may name it. `user`: the system's number of who asks; memory of others is not opened for them.

        Raises InvalidValue, NotFound for memory that is not there, Forbidden, Conflict for a name that is taken.
        """
        if not name.isprintable() or "/" in name or not 1 <= len(name) <= MAX_NAME_CHARS:
            raise InvalidValue(
                f"the region's name is {shown(name)}; it has 1 to {MAX_NAME_CHARS} printable characters, and no /"
            )
        if offset < 0 or byte_size < 1:
            raise InvalidValue(f"region {shown(name)} has the offset {offset} and {byte_size} bytes; from 0 on, and at least 1")
        with self._opened(key) as handle:
            found = os.fstat(handle)
        if user not in (found.st_uid, _ROOT_USER):
            raise Forbidden(f"the memory {shown(key)} belongs to another user of this machine than who asks for it")
        if offset + byte_size > found.st_size:
            raise InvalidValue(
                f"region {shown(name)} ends at byte {offset + byte_size:,}; the memory {shown(key)} has {found.st_size:,}"
            )
        region = Region(
            name=name, key=key, offset=offset, byte_size=byte_size, device=found.st_dev, inode=found.st_ino, user=found.st_uid
        )
        with self._changing() as known:
            own = known.setdefault(owner, {})
            if name in own and self._is_there(own[name]):
                raise Conflict(f"there is a region {shown(name)} already; unregister it first")
            own[name] = region
            if len(own) > MAX_REGIONS:
                known[owner] = own = {name: one for name, one in own.items() if self._is_there(one)}
            if len(own) > MAX_REGIONS:
                raise Conflict(f"this key has {MAX_REGIONS:,} regions, as many as one may have; unregister some")

    def forget(self, owner: str, name: str = "") -> None:
        """One region, or all of the owner's; there need not be any."""
        if not self._newest().get(owner):
            return
        with self._changing() as known:
            if not name:
                known.pop(owner, None)
            else:
                known.get(owner, {}).pop(name, None)

    def listed(self, owner: str) -> list[Region]:
        """By name."""
        return [region for _, region in sorted(self._newest().get(owner, {}).items())]

    def find(self, owner: str, name: str) -> Region:
        """Raises NotFound."""
        own = self._newest().get(owner, {})
        region = own.get(name)
        if region is None:
            raise NotFound(f"Unable to find shared memory region: {shown(name)}; this key registered {len(own):,} others")
        return region

    def read(self, region: Region, offset: int, size: int) -> bytearray:
        """A copy of so many bytes. Raises NotFound if the memory is not there any more, InvalidValue if it has shrunk."""
        content = bytearray(size)
        rest = memoryview(content)
        with self._same(region) as handle:
            while rest:
                count = os.preadv(handle, [rest], region.offset + offset + size - len(rest))
                if not count:
                    raise _shrunk(region)
                rest = rest[count:]
        return content

    def write(self, region: Region, offset: int, content: bytes) -> None:
        """The bytes stand there, for everybody who has the memory open. Raises as `read`."""
        rest = memoryview(content)
        with self._roomy(region, offset, len(content)) as handle, disk_failures("writing into shared memory"):
            while rest:
                rest = rest[os.pwrite(handle, rest, region.offset + offset + len(content) - len(rest)) :]

    def check(self, region: Region, offset: int, size: int) -> None:
        """Raises as a write of so many bytes would."""
        with self._roomy(region, offset, size):
            pass

    @contextmanager
    def _roomy(self, region: Region, offset: int, size: int) -> Iterator[int]:
        """The memory, which has these bytes: to write behind its end would make it grow."""
        with self._same(region) as handle:
            if os.fstat(handle).st_size < region.offset + offset + size:
                raise _shrunk(region)
            yield handle

    @contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        """What goes by this key, open for reading and writing. Raises InvalidValue, NotFound."""
        fits = _KEY.fullmatch(key)
        if fits is None or not fits[1].strip("."):
            raise InvalidValue(
                f"the key {shown(key)} is no name of shared memory: a / may lead, then come letters, digits, _, . and -"
            )
        try:
            # It may be a pipe, which would be waited for, or a link to elsewhere.
            handle = os.open(self._folder / fits[1], os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            raise NotFound(
                f"Unable to open shared memory region: {shown(key)}: {problem.strerror}; create it before it is registered, as"
                " the user that runs the server"
            ) from None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InvalidValue(f"{shown(key)} is no shared memory")
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _same(self, region: Region) -> Iterator[int]:
        with self._opened(region.key) as handle:
            found = os.fstat(handle)
            if (found.st_dev, found.st_ino, found.st_uid) != (region.device, region.inode, region.user):
                raise NotFound(
                    f"the memory {shown(region.key)} of region {shown(region.name)} was made anew since it was registered;"
                    " unregister it and register it again"
                )
            yield handle

    def _is_there(self, region: Region) -> bool:
        try:
            with self._same(region):
                return True
        except (NotFound, InvalidValue):
            return False

    def _newest(self) -> Known:
        """The regions as the last process that changed them left them."""
        try:
            found = self._path.stat()
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            seen = self._seen
            if state != seen[0]:
                seen = self._seen = (state, msgspec.json.decode(self._path.read_bytes(), type=Known))
        except (FileNotFoundError, msgspec.DecodeError):  # not written whole before the power went; the memory is gone, too
            seen = self._seen = ((), {})
        return seen[1]

    @contextmanager
    def _changing(self) -> Iterator[Known]:
        """The regions, to be changed by nobody else meanwhile; kept if the block ends well. Raises StorageFailed."""
        with disk_failures("keeping the regions of shared memory"):
            lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with disk_failures("keeping the regions of shared memory"):
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = {owner: dict(own) for owner, own in self._newest().items()}
            yield known
            with disk_failures("keeping the regions of shared memory"):
                fresh = self._path.with_suffix(".new")
                fresh.touch(mode=0o600)
                fresh.write_bytes(msgspec.json.encode({owner: own for owner, own in known.items() if own}))
                fresh.replace(self._path)
        finally:
            os.close(lock)


def _shrunk(region: Region) -> InvalidValue:
    return InvalidValue(f"the memory {shown(region.key)} of region {shown(region.name)} has shrunk since it was registered")
