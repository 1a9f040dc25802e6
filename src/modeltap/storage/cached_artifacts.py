"""The artifact store whose blobs are in a bucket; what lies on the local disk is a cache of a limited size.

A blob counts as stored once the bucket has it, so that a version that is registered can be fetched from anywhere.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from modeltap.errors import NotFound
from modeltap.storage.artifacts import DIGEST, ArtifactStore
from modeltap.storage.bucket import Bucket
from modeltap.storage.disk import disk_failures

USES = "uses"
"""Folder of the files, one a process, that say which blobs a job needs to its end; each is locked while the process lives."""
JUST_USED_S = 600.0
"""What was asked for so recently is not evicted: whoever has its path is about to open it."""

_log = logging.getLogger(__name__)


class CachedArtifacts(ArtifactStore):
    """Blobs of a bucket, each fetched when it is first asked for, the least recently used evicted first."""

    def __init__(self, root: Path, bucket: Bucket, *, limit_bytes: int, keeps_used: bool = False) -> None:
        """`keeps_used`: what this process has used stays on the disk until it ends. Raises StorageFailed."""
        super().__init__(root)
        self._bucket = bucket
        self._limit_bytes = limit_bytes
        self._uses = root / USES
        self._use_handle: int | None = None
        self._used: set[str] = set()
        with disk_failures("creating the artifact cache"):
            self._uses.mkdir(mode=0o700, exist_ok=True)
            if keeps_used:
                name = secrets.token_hex(16)
                self._use_handle = os.open(self.staging / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
                fcntl.flock(self._use_handle, fcntl.LOCK_EX)
                (self.staging / name).rename(self._uses / name)  # locked before anybody can find it

    @property
    def url(self) -> str:
        return self._bucket.url

    def path(self, digest: str) -> Path:
        place = self._place(digest)
        with disk_failures("reading an artifact"):
            self._note_use(digest)
            with suppress(FileNotFoundError):
                os.utime(place)
                return place
        with disk_failures("fetching an artifact"), self._staged() as (handle, staged):
            self._bucket.fetch(digest, staged)
            super()._commit(handle, staged, digest)
        self.evict()
        return place

    def size_bytes(self, digest: str) -> int:
        with suppress(FileNotFoundError):
            return self._place(digest).stat().st_size
        stored = self._bucket.stored(digest)
        if stored is None:
            raise NotFound(f"there is no artifact {digest[:12]}…; it was removed from {self._bucket.url}")
        return stored.size_bytes

    def iter_digests(self) -> Iterator[str]:
        yield from self._bucket.listed()

    def delete(self, digest: str, *, unused_since_s: float | None = None) -> bool:
        with disk_failures("removing an artifact"), self._lock(fcntl.LOCK_EX):
            stored = self._bucket.stored(digest)
            if stored is not None and unused_since_s is not None and stored.modified_s > unused_since_s:
                return False
            self._bucket.remove(digest)
            self._place(digest).unlink(missing_ok=True)
        return True

    def evict(self) -> None:
        """Removes from the disk what was not used for longest, until the rest is within the limit; nothing that is in use."""
        blobs = []
        for folder in self.root.glob("[0-9a-f][0-9a-f]"):
            with suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    if DIGEST.fullmatch(entry.name):
                        with suppress(FileNotFoundError):
                            state = entry.stat()
                            blobs.append((state.st_mtime, state.st_size, Path(entry.path)))
        too_much = sum(size for _, size, _ in blobs) - self._limit_bytes
        if too_much <= 0:
            return
        in_use = self._in_use()
        before_s = time.time() - JUST_USED_S
        for used_s, size, path in sorted(blobs):
            if too_much <= 0 or used_s > before_s:
                break
            with suppress(FileNotFoundError):
                if path.name not in in_use and path.stat().st_mtime <= before_s:
                    path.unlink()
                    too_much -= size
        if too_much > 0:
            _log.warning("what is in use is %.0f MB more than the artifact cache may hold", too_much / 1e6)

    def _commit(self, handle: int, staged: Path, digest: str) -> None:
        os.fsync(handle)
        self._note_use(digest)
        self._bucket.send(digest, staged)
        super()._commit(handle, staged, digest)
        self.evict()

    def _reuse(self, digest: str, num_bytes: int) -> bool:
        with self._lock(fcntl.LOCK_SH):
            stored = self._bucket.stored(digest)
            if stored is None or stored.size_bytes != num_bytes:
                return False
            place = self._place(digest)
            is_here = place.is_file() and place.stat().st_size == num_bytes
            return self._bucket.send_again(digest, place if is_here else None)

    def _note_use(self, digest: str) -> None:
        if self._use_handle is not None and digest not in self._used:
            os.write(self._use_handle, f"{digest}\n".encode())
            self._used.add(digest)

    def _in_use(self) -> set[str]:
        """By processes that live; the files of others are removed."""
        found: set[str] = set()
        for path in self._uses.iterdir():
            with suppress(FileNotFoundError), path.open("rb") as source:
                try:
                    fcntl.flock(source, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.update(source.read().decode("ascii", "replace").split())
                else:
                    path.unlink(missing_ok=True)
        return found
