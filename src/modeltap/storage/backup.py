"""A whole home as one tar file, and back: the database, usage that it has not read yet, the home's secrets and every artifact,
each checked by its digest.

Jobs' logs and checkpoints are left out: a job that was running starts again from its beginning.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from modeltap.errors import Conflict, InvalidInput, StorageFailed
from modeltap.storage.artifacts import DIGEST, ArtifactStore
from modeltap.storage.database import FILE_NAME, HEAD, Database, check_known, database_failures
from modeltap.storage.disk import CHUNK_BYTES, disk_failures, sync_directory, write_all
from modeltap.storage.segments import USAGE_FOLDER, copy_segments, is_usage_file, lock_as_dead

FORMAT = 2
FIRST_FORMAT = 1
"""Without usage; still read."""
SECRETS = ("admin.key", "pepper.key")
"""The admin key, and what the digests of all other keys were made with: without it no restored key would open."""
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 256 << 20
STAGING_PREFIXES = (".restoring-", ".backing-up-")
"""Of folders in the home that nothing uses once the process is gone."""
_DAMAGED = "the backup is damaged; restore another one"


class BackupFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a backup."""

    size_bytes: int
    digest: str


class BackupManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first member of the archive: what else is in it. `revision` is the database's."""

    format: int
    revision: str
    files: dict[str, BackupFile]


def write_backup(database: Database, artifacts: ArtifactStore, target: BinaryIO) -> BackupManifest:
    """Writes the archive to `target` while everything goes on running; gc waits meanwhile.

    Every request that ended before the call is in it with its charge. One that runs meanwhile may be open in it: a server
    that starts on the restored home voids it.

    Raises StorageFailed, also for an artifact whose bytes changed; Conflict for a database server and for artifacts in a
    bucket, which are kept there.
    """
    if artifacts.url is not None:
        raise Conflict(f"the artifacts are in {artifacts.url}, not in the home; copy the bucket, and the database with it")
    secrets_of_home = [database.home / name for name in SECRETS]
    with artifacts.keeping_all(), _folder(database.home, ".backing-up-") as folder:
        usage = copy_segments(database.home / USAGE_FOLDER, folder / USAGE_FOLDER)  # what is read meanwhile is in the database
        copy = folder / FILE_NAME
        database.copy_to(copy)  # before the artifacts: all that it refers to is there
        usage += [lock_as_dead(folder / USAGE_FOLDER, writer) for writer in _open_writers(copy)]
        paths = {FILE_NAME: copy} | {path.name: path for path in secrets_of_home if path.is_file()}
        paths |= {f"{USAGE_FOLDER}/{path.name}": path for path in usage}
        with disk_failures("reading the home"):
            files = {name: _describe(path) for name, path in paths.items()}
        for digest in artifacts.iter_digests():
            name = f"artifacts/{digest[:2]}/{digest}"
            paths[name] = artifacts.path(digest)
            files[name] = BackupFile(artifacts.size_bytes(digest), digest)
        manifest = BackupManifest(FORMAT, HEAD, files)
        with disk_failures("writing the backup"), tarfile.open(fileobj=target, mode="w|") as archive:
            text = msgspec.json.encode(manifest)
            archive.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
            for name, path in paths.items():
                _add(archive, name, files[name], path)
    return manifest


def restore_backup(source: BinaryIO, home: Path) -> BackupManifest:
    """Makes `home` from the archive; it must be empty or not exist. The database comes last, so that it is all or nothing.

    Raises Conflict if there is something in `home`; InvalidInput for what is no backup, is damaged or holds anything
    unexpected; DatabaseTooNew; StorageFailed. `home` is as it was then.
    """
    with disk_failures("creating the home"):
        existed = home.is_dir()
        if existed:
            _refuse_unless_empty(home)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = False
    try:
        with _folder(home, ".restoring-") as folder:
            try:
                with tarfile.open(fileobj=source, mode="r|") as archive:
                    manifest = _unpack(archive, folder)
            except (tarfile.TarError, EOFError) as error:
                raise InvalidInput(_DAMAGED) from error
            with disk_failures("restoring the backup"):
                _refuse_unless_empty(home)
                for name in ("artifacts", USAGE_FOLDER, *SECRETS, FILE_NAME):
                    if (folder / name).exists():
                        (folder / name).rename(home / name)
                        sync_directory(home)
        done = True
    finally:
        if not done and not existed:
            home.rmdir()
    return manifest


def _unpack(archive: tarfile.TarFile, folder: Path) -> BackupManifest:
    """Writes the members to `folder` one by one: only plain files that the manifest names, as long as it says."""
    manifest: BackupManifest | None = None
    missing: set[str] = set()
    for member in archive:
        if manifest is None:
            manifest = _read_manifest(archive, member)
            missing = set(manifest.files)
            continue
        if member.name not in missing or not member.isreg() or member.size != manifest.files[member.name].size_bytes:
            raise InvalidInput(f"the backup holds '{member.name[:100]}', which does not belong there; {_DAMAGED}")
        content = archive.extractfile(member)
        assert content is not None
        with disk_failures("restoring the backup"):
            found = _write(content, folder / member.name)
        if found != manifest.files[member.name].digest:
            raise InvalidInput(f"'{member.name}' changed since it was backed up; {_DAMAGED}")
        missing.remove(member.name)
    if manifest is None or missing:
        raise InvalidInput(f"the backup is not complete: {len(missing)} files are missing; {_DAMAGED}")
    return manifest


def _read_manifest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> BackupManifest:
    content = archive.extractfile(member) if member.isreg() and member.size <= MAX_MANIFEST_BYTES else None
    if member.name != MANIFEST or content is None:
        raise InvalidInput("this is not a backup of modeltap; give a file that 'modeltap backup' wrote")
    try:
        manifest = msgspec.json.decode(content.read(), type=BackupManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(_DAMAGED) from error
    if not FIRST_FORMAT <= manifest.format <= FORMAT:
        known = f"formats {FIRST_FORMAT} to {FORMAT}"
        raise InvalidInput(f"the backup has format {manifest.format}, this modeltap reads {known}; use a newer one")
    check_known(manifest.revision)
    if FILE_NAME not in manifest.files or not all(map(_is_expected, manifest.files)):
        raise InvalidInput(_DAMAGED)
    return manifest


def _is_expected(name: str) -> bool:
    if name in (FILE_NAME, *SECRETS):
        return True
    if name.startswith(f"{USAGE_FOLDER}/"):
        return is_usage_file(name.removeprefix(f"{USAGE_FOLDER}/"))
    folder, _, digest = name.removeprefix("artifacts/").partition("/")
    return name.startswith("artifacts/") and DIGEST.fullmatch(digest) is not None and folder == digest[:2]


def _open_writers(copy: Path) -> list[str]:
    """Of usage, by this copy of the database: no process of theirs will live in the restored home."""
    with database_failures(), closing(sqlite3.connect(copy)) as connection:
        found = connection.execute("SELECT writer FROM usage_writers WHERE closed_at_s IS NULL ORDER BY writer")
        return [str(writer) for (writer,) in found]


def _describe(path: Path) -> BackupFile:
    with path.open("rb") as source:
        return BackupFile(path.stat().st_size, hashlib.file_digest(source, "sha256").hexdigest())


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size_bytes
    member.mode = 0o600
    return member


def _add(archive: tarfile.TarFile, name: str, file: BackupFile, path: Path) -> None:
    with path.open("rb") as source:
        hashing = _Hashing(source)
        archive.addfile(_member(name, file.size_bytes), hashing)
    if hashing.hasher.hexdigest() != file.digest:
        raise StorageFailed(f"'{name}' on the disk is damaged; remove what uses it, run 'modeltap gc', and back up again")


class _Hashing:
    """A source that hashes what is read from it."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.hasher = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(size)
        self.hasher.update(chunk)
        return chunk


def _write(source: IO[bytes], path: Path) -> str:
    """Digest of the bytes, which are on the disk now."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hasher = hashlib.sha256()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        while chunk := source.read(CHUNK_BYTES):
            hasher.update(chunk)
            write_all(handle, chunk)
        os.fsync(handle)
        if path.parent.parent.name == "artifacts":
            os.fchmod(handle, 0o400)
    finally:
        os.close(handle)
    return hasher.hexdigest()


@contextmanager
def _folder(home: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `home`, removed with all that is still in it at the end."""
    folder = home / f"{prefix}{secrets.token_hex(8)}"
    with disk_failures("creating a folder in the home"):
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_unless_empty(home: Path) -> None:
    """What a restore that was killed left behind does not count."""
    if any(not entry.name.startswith(STAGING_PREFIXES) for entry in home.iterdir()):
        raise Conflict("the home is not empty; restore into a new one with --home, or move this one away first")
