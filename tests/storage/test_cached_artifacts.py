"""Artifacts in a real bucket: stored once it has them, fetched when they are asked for, checked by their digest each time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bucket_server import PREFIX, URL, BucketServer, bucket_serving
from modeltap.errors import Conflict, InvalidInput, NotFound, StorageFailed, Unavailable
from modeltap.storage.backup import write_backup
from modeltap.storage.bucket import Bucket, parse_bucket_url
from modeltap.storage.cached_artifacts import CachedArtifacts
from modeltap.storage.database import Database
from modeltap.storage.gc import collect

Open = Callable[..., CachedArtifacts]
LONG_AGO = (1, 1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_serving(tmp_path_factory.mktemp("bucket")) as server:
        yield server


@pytest.fixture
def open_store(served: BucketServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    if served.objects():
        with served.resting() as objects:
            for path in objects.values():
                path.unlink()

    def open_one(
        name: str = "home", *, limit_bytes: int = 1 << 30, patience_s: float = 20.0, keeps_used: bool = False
    ) -> CachedArtifacts:
        bucket = Bucket(URL, patience_s=patience_s)
        return CachedArtifacts(tmp_path / name / "artifacts", bucket, limit_bytes=limit_bytes, keeps_used=keeps_used)

    return open_one


def test_what_is_stored_here_is_found_there(served: BucketServer, open_store: Open, tmp_path: Path) -> None:
    here, there = open_store("here"), open_store("there")
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    digest = here.put_tree({"manifest.json": b"{}", "data/rows": tmp_path / "big"})
    assert sorted(served.objects()) == sorted([digest, *here.tree(digest).values()])
    assert served.objects()[digest].relative_to(served.folder).parts[1] == PREFIX
    assert there.paths(digest)["data/rows"].read_bytes() == (tmp_path / "big").read_bytes()
    assert list(there.iter_digests()) == sorted(served.objects())
    assert there.size_bytes(digest) == here.size_bytes(digest)
    there.verify(digest)


def test_the_cache_may_be_lost(open_store: Open) -> None:
    store = open_store()
    digest = store.put_bytes(b"rows")
    shutil.rmtree(store.root)
    again = open_store()
    assert again.size_bytes(digest) == 4
    assert again.path(digest).read_bytes() == b"rows"


def test_the_least_recently_used_is_evicted_and_fetched_again(open_store: Open) -> None:
    store = open_store(limit_bytes=250)
    digests = [store.put_bytes(bytes([number]) * 100) for number in range(3)]
    on_disk = {digest: store.root / digest[:2] / digest for digest in digests}
    for place in on_disk.values():
        os.utime(place, LONG_AGO)
    store.path(digests[0])
    store.evict()
    assert on_disk[digests[0]].exists(), "it was used just now"
    assert sum(place.exists() for place in on_disk.values()) == 2
    gone = next(digest for digest, place in on_disk.items() if not place.exists())
    assert store.path(gone).read_bytes() == bytes([digests.index(gone)]) * 100


def test_what_a_living_job_uses_is_not_evicted(open_store: Open, tmp_path: Path) -> None:
    job, server = open_store(keeps_used=True), open_store(limit_bytes=1)
    digest = job.put_bytes(b"rows" * 100)
    place = job.path(digest)
    os.utime(place, LONG_AGO)
    server.evict()
    assert place.exists()
    child = "import sys; from modeltap.storage.cached_artifacts import *; from pathlib import Path"
    child += "; s = CachedArtifacts(Path(sys.argv[1]), None, limit_bytes=1, keeps_used=True); s.path(sys.argv[2])"
    other = server.put_bytes(b"else" * 100)
    subprocess.run([sys.executable, "-c", child, str(server.root), other], check=True)
    os.utime(server.root / other[:2] / other, LONG_AGO)
    server.evict()
    assert not (server.root / other[:2] / other).exists(), "that job has ended"


def test_bytes_that_changed_in_the_bucket_are_never_given_out(served: BucketServer, open_store: Open) -> None:
    store = open_store(patience_s=0.3)
    digest = store.put_bytes(b"rows")
    shutil.rmtree(store.root)
    with served.resting() as objects:
        objects[digest].write_bytes(b"rowz")
    damaged = open_store(patience_s=0.3)
    with pytest.raises(StorageFailed, match="again and again"):
        damaged.path(digest)
    assert not [path for path in damaged.root.rglob("*") if path.is_file() and path.name != "lock"]


def test_a_file_cut_short_in_the_bucket_is_sent_again(served: BucketServer, open_store: Open) -> None:
    store = open_store()
    digest = store.put_bytes(b"rows")
    with served.resting() as objects:
        objects[digest].write_bytes(b"ro")
    assert store.put_bytes(b"rows") == digest
    assert served.objects()[digest].read_bytes() == b"rows"


def test_what_is_not_there_is_not_found(open_store: Open) -> None:
    store = open_store()
    for ask in (store.path, store.size_bytes):
        with pytest.raises(NotFound):
            ask("0" * 64)
    assert list(store.iter_digests()) == []


def test_the_server_may_be_away_for_a_while(served: BucketServer, open_store: Open) -> None:
    store = open_store(patience_s=60.0)
    served.kill()
    back = threading.Timer(1.0, served.start)
    back.start()
    digest = store.put_bytes(b"rows")
    back.join()
    assert served.objects()[digest].read_bytes() == b"rows"


def test_a_server_that_stays_away_is_an_error_that_may_pass(served: BucketServer, open_store: Open) -> None:
    store = open_store(patience_s=0.2)
    served.kill()
    try:
        with pytest.raises(Unavailable, match="cannot be reached"):
            store.put_bytes(b"rows")
    finally:
        served.start()
    assert not [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"], "nothing is half there"


@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_wrong_credentials_are_said_at_once(open_store: Open, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "another-one-than-it-was")
    with pytest.raises(StorageFailed, match="refuses these credentials"):
        open_store().put_bytes(b"rows")


def test_gc_removes_from_the_bucket_what_nothing_names(served: BucketServer, open_store: Open, database: Database) -> None:
    store = open_store()
    old, new = store.put_bytes(b"old"), store.put_bytes(b"new")
    with served.resting() as objects:
        os.utime(objects[old], LONG_AGO)
    store.put_bytes(b"new")
    done = collect(database, store, datetime.now(UTC), grace_s=3600)
    assert (done.removed, done.kept) == (1, 1)
    assert list(served.objects()) == [new]


def test_what_is_stored_again_counts_as_stored_now(served: BucketServer, open_store: Open) -> None:
    for name in ("here", "elsewhere"):
        store = open_store(name)
        digest = hashlib.sha256(b"rows").hexdigest()
        if digest in served.objects():
            with served.resting() as objects:
                os.utime(objects[digest], LONG_AGO)
        assert store.put_bytes(b"rows") == digest
        assert not store.delete(digest, unused_since_s=time.time() - 3600)


def test_a_backup_says_that_it_would_lack_the_artifacts(open_store: Open, database: Database, tmp_path: Path) -> None:
    with (tmp_path / "backup").open("wb") as target, pytest.raises(Conflict, match="copy the bucket"):
        write_backup(database, open_store(), target)


@pytest.mark.parametrize("url", ["s3://", "s3://A", "http://models", "s3://models/../other", "s3://models/a b", "models"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="s3://BUCKET"):
        parse_bucket_url(url)
