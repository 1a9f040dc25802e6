"""Blobs in an S3 bucket: whole objects named by their digest, sent and fetched whole, and checked each time.

The endpoint and the credentials come by the standard variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_REGION, AWS_PROFILE, or what the machine itself is given.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from modeltap.errors import InvalidInput, MissingExtra, NotFound, StorageFailed, Unavailable

SCHEME = "s3://"
CONNECT_S = 5.0
READ_S = 60.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")

Got = TypeVar("Got")
_log = logging.getLogger(__name__)


class Stored(msgspec.Struct, frozen=True):
    """One object as the bucket tells of it."""

    size_bytes: int
    modified_s: float
    """Unix time of when it was sent, or sent again."""


class Differs(OSError):
    """What was read is not what was asked for."""


class Bucket:
    """Made for one store; safe to use from several threads."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        """`patience_s`: how long one object is tried for before it counts as out of reach. Raises InvalidInput."""
        self._place = parse_bucket_url(url)
        self.url = SCHEME + self._place
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._system: Any = None

    def stored(self, digest: str) -> Stored | None:
        """None where it is not there. Raises Unavailable, StorageFailed."""
        return self._tried("asking for an artifact", lambda: self._told(digest), missing=None)

    def send(self, digest: str, path: Path) -> None:
        """The file's bytes are in the bucket under that digest, and were seen there. Raises Unavailable, StorageFailed."""
        with path.open("rb") as source:
            etag = hashlib.file_digest(source, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        size_bytes = path.stat().st_size

        def send() -> None:
            system, key = self._files(), self._key(digest)
            system.put_file(str(path), key)
            told = system.info(key, refresh=True)
            if told["size"] != size_bytes:
                raise Differs(f"{told['size']} of {size_bytes} bytes arrived")
            # An object that was sent in parts, or is encrypted, has a tag that says nothing of its bytes.
            if str(told.get("ETag", "")).strip('"') != etag and self._read_digest(key) != digest:
                raise Differs("what arrived is not what was sent")

        self._tried("sending an artifact", send)

    def send_again(self, digest: str, path: Path | None) -> bool:
        """The object counts as sent now. False where that takes its bytes and `path`, which has them, is None."""
        key = self._key(digest)

        def copy() -> bool:
            bucket, name = key.split("/", 1)
            source = {"Bucket": bucket, "Key": name}
            self._files().call_s3("copy_object", Bucket=bucket, Key=name, CopySource=source, MetadataDirective="REPLACE")
            return True

        before = self.stored(digest)
        try:
            copied = self._tried("marking an artifact as used", copy, missing=False)
        except StorageFailed:  # some servers do not copy an object onto itself
            copied = False
        after = self.stored(digest) if copied else None
        if after is not None and (before is None or after.modified_s > before.modified_s):
            return True
        if path is None:
            return False
        self.send(digest, path)
        return True

    def fetch(self, digest: str, target: Path) -> None:
        """Writes the blob to the file, which is there and empty. Raises NotFound, Unavailable, StorageFailed."""

        def fetch() -> bool:
            self._files().get_file(self._key(digest), str(target))
            with target.open("rb") as source:
                if hashlib.file_digest(source, "sha256").hexdigest() != digest:
                    raise Differs("the bytes that came are not those of its digest")
            return True

        if not self._tried("fetching an artifact", fetch, missing=False):
            raise NotFound(f"there is no artifact {digest[:12]}…; it was removed from {self.url}, or never stored there")

    def remove(self, digest: str) -> None:
        """It is gone, also if it was before. Raises Unavailable, StorageFailed."""
        self._tried("removing an artifact", lambda: self._files().rm_file(self._key(digest)), missing=None)

    def listed(self) -> Iterator[str]:
        """The digests of all objects, sorted. Raises Unavailable, StorageFailed."""
        found: list[str] = self._tried("listing the artifacts", lambda: self._files().find(self._place), missing=[])
        names = (key.rsplit("/", 1)[-1] for key in found)
        yield from sorted(name for name in names if _DIGEST.fullmatch(name))

    def _told(self, digest: str) -> Stored:
        told = self._files().info(self._key(digest), refresh=True)
        return Stored(int(told["size"]), told["LastModified"].timestamp())

    def _read_digest(self, key: str) -> str:
        hasher = hashlib.sha256()
        with self._files().open(key, "rb", cache_type="readahead") as source:
            while chunk := source.read(8 << 20):
                hasher.update(chunk)
        return hasher.hexdigest()

    def _key(self, digest: str) -> str:
        return f"{self._place}/{digest[:2]}/{digest}"

    def _files(self) -> Any:
        with self._lock:
            if self._system is None:
                self._system = _connect()
            return self._system

    def _tried(self, doing: str, call: Callable[[], Got], **missing: Any) -> Got:
        """What the call returns, tried again while the bucket cannot be reached; `missing`, where given, for what is not there.

        Raises Unavailable after the patience, StorageFailed for what trying again does not mend.
        """
        started_s, pause_s = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                return call()
            except FileNotFoundError as problem:
                if "missing" in missing:
                    got: Got = missing["missing"]
                    return got
                raise StorageFailed(f"{doing} failed: there is no bucket at {self.url}; create it first") from problem
            except PermissionError as problem:
                raise StorageFailed(
                    f"{doing} failed: {self.url} refuses these credentials; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
                    " and what they may do there"
                ) from problem
            except _failures() as problem:
                said = " ".join(str(problem).split())[:200] or type(problem).__name__
                if time.monotonic() - started_s + pause_s > self._patience_s:
                    if isinstance(problem, Differs):
                        raise StorageFailed(f"{doing} failed again and again: {said}") from problem
                    raise Unavailable(f"{self.url} cannot be reached for {doing}: {said}; it is tried again later") from problem
                _log.warning("%s: %s; trying again", doing, said)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def parse_bucket_url(url: str) -> str:
    """`bucket/prefix` of s3://bucket/prefix. Raises InvalidInput."""
    bucket, _, prefix = url.removeprefix(SCHEME).strip("/").partition("/")
    is_right = url.startswith(SCHEME) and _BUCKET.fullmatch(bucket) and (not prefix or _PREFIX.fullmatch(prefix))
    if not is_right or ".." in prefix.split("/"):
        raise InvalidInput(f"the artifact store is '{url[:200]}'; give s3://BUCKET or s3://BUCKET/PREFIX")
    return f"{bucket}/{prefix}".rstrip("/")


def _connect() -> Any:
    try:
        import s3fs
    except ImportError:
        raise MissingExtra(what="s3fs, which an artifact store on S3 needs,", extra="s3") from None
    config = {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retries": {"max_attempts": 0},
        # Not every server knows the newer checksums; ours is the digest.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    system = s3fs.S3FileSystem(config_kwargs=config, skip_instance_cache=True, use_listings_cache=False)
    system.retries = 1
    return system


@cache
def _failures() -> tuple[type[Exception], ...]:
    """What the libraries below raise for a server that is away, breaks off, or answers with an error of its own."""
    import aiohttp
    from botocore.exceptions import BotoCoreError, ClientError

    return OSError, BotoCoreError, ClientError, aiohttp.ClientError
