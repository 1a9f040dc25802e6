"""The files of OpenAI's protocol: kept as artifacts, listed, fetched and removed by whoever may see them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from modeltap.control.datasets import UPLOADS
from modeltap.domain.stored_file import (
    MAX_FILENAME_CHARS,
    PURPOSES,
    SENT_PURPOSES,
    TRAINING_PURPOSES,
    Purpose,
    StoredFile,
    may_see,
    scope_for,
)
from modeltap.domain.tenant import Principal
from modeltap.errors import Forbidden, InvalidInput, TooLarge
from modeltap.faults import crash_point
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.disk import disk_failures
from modeltap.storage.files import FileRepository, Order, no_file

MAX_FILE_BYTES = 512 << 20
"""Of one file, as OpenAI has it; the server's own limit of an upload holds too."""
UPLOAD_SETTING = "MODELTAP_MAX_UPLOAD_BYTES"
MAX_PAGE = 10_000


class Expiry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a file goes by itself."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=3600, le=2_592_000)]


class FilePage(msgspec.Struct, frozen=True, kw_only=True):
    files: tuple[StoredFile, ...]
    has_more: bool


class Files:
    """Bound to the tenant of its repository."""

    def __init__(
        self,
        home: Path,
        files: FileRepository,
        artifacts: ArtifactStore,
        *,
        max_upload_bytes: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._uploads = home / UPLOADS
        self._files = files
        self._artifacts = artifacts
        self._clock = clock
        self.limit_bytes = min(MAX_FILE_BYTES, max_upload_bytes)

    def new_upload(self) -> Path:
        """A path nobody has, for the bytes of an upload."""
        with disk_failures("keeping the upload"):
            self._uploads.mkdir(mode=0o700, exist_ok=True)
        return self._uploads / secrets.token_hex(16)

    def add(
        self, principal: Principal, upload: Path, *, filename: str, purpose: str, expiry: Expiry | None = None
    ) -> StoredFile:
        """The file, kept; the upload is gone. Raises InvalidInput for the purpose, the name or an empty file; Forbidden."""
        wanted = check_purpose(principal, purpose)
        name = parse_filename(filename)
        size_bytes = upload.stat().st_size
        if size_bytes == 0:
            raise InvalidInput("the file is empty; send one with content", fields=[("file", "empty")])
        if size_bytes > self.limit_bytes:
            raise TooLarge(given_bytes=size_bytes, limit_bytes=self.limit_bytes, setting=UPLOAD_SETTING)
        now = self._clock()
        crash_point("upload.spooled")
        with self._artifacts.keeping_all():
            digest = self._artifacts.put_file(upload, move=True)
            return self._files.add(
                key=principal.key,
                purpose=wanted,
                filename=name,
                size_bytes=size_bytes,
                digest=digest,
                now=now,
                expires_at=None if expiry is None else now + timedelta(seconds=expiry.seconds),
            )

    def get(self, principal: Principal, file_id: str) -> StoredFile:
        """Raises NotFound, also for a file that the key may not see."""
        file = self._files.get(file_id, self._clock())
        if not may_see(principal, file):
            raise no_file(file_id)
        return file

    def page(
        self,
        principal: Principal,
        *,
        purpose: str | None = None,
        after: str | None = None,
        order: Order = "desc",
        limit: int = MAX_PAGE,
    ) -> FilePage:
        """Those that the key may see, by their time. Raises InvalidInput for an unknown purpose, NotFound for `after`."""
        sees_all = principal.may("train")
        purposes = [one for one in PURPOSES if sees_all or one not in TRAINING_PURPOSES]
        if purpose is not None:
            if purpose not in PURPOSES:
                raise _unknown_purpose(purpose, PURPOSES)
            purposes = [one for one in purposes if one == purpose]
        found = self._files.page(
            self._clock(),
            purposes=purposes,
            key=None if sees_all else principal.key,
            after=None if after is None else self.get(principal, after),
            order=order,
            limit=limit + 1,
        )
        return FilePage(files=found[:limit], has_more=len(found) > limit)

    def content(self, principal: Principal, file_id: str) -> tuple[StoredFile, Path]:
        """The file and where its bytes lie. Raises NotFound."""
        file = self.get(principal, file_id)
        return file, self._artifacts.path(file.digest)

    def remove(self, principal: Principal, file_id: str) -> StoredFile:
        """What is gone now; jobs that began with it keep what they need. Raises NotFound."""
        file = self.get(principal, file_id)
        self._files.remove(file.id)
        return file

    def for_job(self, principal: Principal, file_id: str, *, field: str, purpose: Purpose) -> StoredFile:
        """A file that a job is to read. Raises NotFound; InvalidInput naming the field of the request."""
        file = self._files.get(file_id, self._clock())
        if not may_see(principal, file):
            raise no_file(file_id)
        if file.purpose != purpose:
            raise InvalidInput(
                f"the file '{file.id}' was sent for '{file.purpose}'; {field} takes one with the purpose '{purpose}'",
                fields=[(field, "another purpose")],
            )
        return file


def check_purpose(principal: Principal, purpose: str) -> Purpose:
    """The purpose, if the key may send files for it. Raises InvalidInput, Forbidden."""
    for known in SENT_PURPOSES:
        if known == purpose:
            scope = scope_for(known)
            if not principal.may(scope):
                has = ", ".join(sorted(principal.scopes)) or "none"
                raise Forbidden(f"a file for '{known}' takes a key with the scope {scope}; the key {principal.key} has: {has}")
            return known
    raise _unknown_purpose(purpose, SENT_PURPOSES)


def parse_filename(given: str) -> str:
    """The last part of it, as people see it. Raises InvalidInput."""
    name = given.replace("\\", "/").rpartition("/")[2]
    if not name or not name.isprintable() or len(name) > MAX_FILENAME_CHARS:
        raise InvalidInput(
            f"the file needs a name of 1 to {MAX_FILENAME_CHARS} printable characters, given was {given[:80]!r}",
            fields=[("file", "not a valid name")],
        )
    return name


def _unknown_purpose(purpose: str, allowed: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"'{purpose[:40]}' is no purpose of a file; allowed: {', '.join(allowed)}", fields=[("purpose", "unknown")]
    )
