"""Content-addressed files: a blob is named by the SHA-256 of its bytes, is there whole or not at all, and never changes.

A tree is a blob too: the JSON object of its members, relative name → digest of the file, names sorted, no white space,
UTF-8, nothing escaped that need not be: {"golden.json":"<64 hex>","manifest.json":"<64 hex>"}. The digest of a tree is
the SHA-256 of exactly this text, so it depends on names and contents alone.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from modeltap.errors import InvalidInput, NotFound, StorageFailed
from modeltap.faults import crash_point
from modeltap.storage.disk import CHUNK_BYTES, disk_failures, sync_directory, write_all

DIGEST = re.compile(r"[0-9a-f]{64}")
MAX_TREE_BYTES = 64 << 20
_WRITING = "writing an artifact"


class ArtifactStore:
    """Blobs under `root`/ab/abcdef…, safe to use from several threads and processes."""

    def __init__(self, root: Path) -> None:
        """Creates `root`. Raises StorageFailed where that is not possible."""
        self.root = root
        self.staging = root / "staging"
        with disk_failures("creating the artifact store"):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.staging.mkdir(mode=0o700, exist_ok=True)

    @property
    def url(self) -> str | None:
        """Of the bucket that holds the blobs; None where the disk does."""
        return None

    def put_bytes(self, data: bytes) -> str:
        """Digest of `data`, which is stored now. Raises StorageFailed."""
        digest = hashlib.sha256(data).hexdigest()
        with disk_failures(_WRITING):
            if not self._reuse(digest, len(data)):
                with self._staged() as (handle, staged):
                    write_all(handle, data)
                    self._commit(handle, staged, digest)
        return digest

    def put_file(self, path: Path, *, move: bool = False) -> str:
        """Digest of the file, which is stored now; with `move` the file itself is gone then.

        Raises OSError if `path` cannot be read, StorageFailed if the store cannot be written.
        """
        with path.open("rb") as source:
            if move and (adopted := self._adopt(path, source.fileno())):
                return adopted
            with disk_failures(_WRITING), self._staged() as (handle, staged):
                hasher = hashlib.sha256()
                num_bytes = 0
                while chunk := source.read(CHUNK_BYTES):
                    hasher.update(chunk)
                    num_bytes += len(chunk)
                    write_all(handle, chunk)
                digest = hasher.hexdigest()
                if not self._reuse(digest, num_bytes):
                    self._commit(handle, staged, digest)
        if move:
            path.unlink()
        return digest

    def put_tree(self, files: Mapping[str, Path | bytes]) -> str:
        """Digest of the tree of these files, all stored now. Names are relative, with '/' between parts.

        Raises InvalidInput for a name that could leave the tree, OSError for a file that cannot be read, StorageFailed.
        """
        for name in files:
            if not _is_member_name(name):
                raise InvalidInput(f"'{name}' cannot be the name of a file in a tree; use relative names without '..'")
        members = {
            name: self.put_bytes(content) if isinstance(content, bytes) else self.put_file(content)
            for name, content in sorted(files.items())
        }
        return self.put_bytes(msgspec.json.encode(members))

    def path(self, digest: str) -> Path:
        """Where the blob lies. It may be read, never written. Raises NotFound."""
        path = self._place(digest)
        if not path.is_file():
            raise NotFound(f"there is no artifact {digest[:12]}…; it was removed, or the home was not restored whole")
        return path

    def tree(self, digest: str) -> dict[str, str]:
        """The members of a tree: relative name → digest. Raises NotFound; StorageFailed if the blob is not a tree."""
        members = self.members(digest)
        if members is None:
            raise StorageFailed(f"the artifact {digest[:12]}… is not a tree of files; restore it from a backup")
        return members

    def paths(self, digest: str) -> dict[str, Path]:
        """File name → path of every member of a tree. Raises NotFound, StorageFailed."""
        return {name: self.path(member) for name, member in self.tree(digest).items()}

    def members(self, digest: str) -> dict[str, str] | None:
        """The members if the blob is a tree, None for any other blob. Raises NotFound."""
        path = self.path(digest)
        with disk_failures("reading an artifact"), path.open("rb") as source:
            if source.read(1) != b"{" or path.stat().st_size > MAX_TREE_BYTES:
                return None
            text = b"{" + source.read()
        try:
            members = msgspec.json.decode(text, type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not all(_is_member_name(name) and DIGEST.fullmatch(member) for name, member in members.items()):
            return None
        return members

    def verify(self, digest: str) -> None:
        """Reads the blob, and the members if it is a tree. Raises StorageFailed where bytes changed, or NotFound."""
        for one in (digest, *(self.members(digest) or {}).values()):
            with disk_failures("reading an artifact"), self.path(one).open("rb") as source:
                found = hashlib.file_digest(source, "sha256").hexdigest()
            if found != one:
                raise StorageFailed(f"the artifact {one[:12]}… is damaged; restore it from a backup or make it again")

    def size_bytes(self, digest: str) -> int:
        """Bytes of the blob itself. Raises NotFound."""
        return self.path(digest).stat().st_size

    def iter_digests(self) -> Iterator[str]:
        """Every blob, sorted."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            yield from sorted(p.name for p in folder.iterdir() if DIGEST.fullmatch(p.name))

    def delete(self, digest: str, *, unused_since_s: float | None = None) -> bool:
        """True if the blob is gone now. Without fail it stays if it was stored again after the Unix time `unused_since_s`.

        Raises NotFound, StorageFailed.
        """
        path = self.path(digest)
        with disk_failures("removing an artifact"), self._lock(fcntl.LOCK_EX):
            if unused_since_s is not None and path.stat().st_mtime > unused_since_s:
                return False
            path.unlink(missing_ok=True)
        return True

    def _place(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise NotFound("an artifact is named by the 64 hexadecimal digits of its SHA-256")
        return self.root / digest[:2] / digest

    @contextmanager
    def _staged(self) -> Iterator[tuple[int, Path]]:
        """An empty file open for writing, in the file system of the store; removed unless it was renamed."""
        staged = self.staging / secrets.token_hex(16)
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            yield handle, staged
        finally:
            os.close(handle)
            staged.unlink(missing_ok=True)

    def _commit(self, handle: int, staged: Path, digest: str) -> None:
        os.fsync(handle)
        os.fchmod(handle, 0o400)
        place = self._place(digest)
        if not place.parent.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self.root)
        crash_point("artifact.before_rename")
        staged.rename(place)
        sync_directory(place.parent)

    def _adopt(self, path: Path, handle: int) -> str | None:
        """Digest after the file itself became the blob; None where it has other names or lies in another file system."""
        if path.is_symlink() or os.fstat(handle).st_nlink != 1:
            return None
        with os.fdopen(os.dup(handle), "rb") as source:
            digest = hashlib.file_digest(source, "sha256").hexdigest()
        with disk_failures(_WRITING):
            if self._reuse(digest, os.fstat(handle).st_size):
                path.unlink()
                return digest
            os.utime(handle)
            try:
                self._commit(handle, path, digest)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                os.lseek(handle, 0, os.SEEK_SET)
                return None
        return digest

    def _reuse(self, digest: str, num_bytes: int) -> bool:
        """True if the blob is there already; it counts as stored now, so that gc leaves it for its grace period."""
        place = self._place(digest)
        with self._lock(fcntl.LOCK_SH):
            try:
                if place.stat().st_size != num_bytes:  # cut short by a power loss: write it again
                    return False
                os.utime(place)
            except FileNotFoundError:
                return False
        return True

    @contextmanager
    def keeping_all(self) -> Iterator[None]:
        """No blob is removed while the block runs; `delete` waits."""
        with self._lock(fcntl.LOCK_SH):
            yield

    @contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        """Shared by those who need a blob to stay, exclusive for the one that removes it."""
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)


def _is_member_name(name: str) -> bool:
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and all(part not in ("", ".", "..") for part in parts)
