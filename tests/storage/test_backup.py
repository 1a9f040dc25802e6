"""A backup holds the home, and comes back equal; a broken or hostile archive leaves nothing."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
from usage_shop import NOW_S, Shop

from modeltap.control.audit import audit
from modeltap.domain.dataset import Dataset, Schema
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import Conflict, DatabaseTooNew, InvalidInput, ModeltapError, StorageFailed
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.backup import restore_backup, write_backup
from modeltap.storage.database import Database
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.opening import open_database
from modeltap.storage.segments_frames import Reserve, encode_frame
from modeltap.storage.segments_ingest import close_dead_writers, ingest
from modeltap.storage.usage import Chosen, UsageRepository

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def dataset(database: Database, artifacts: ArtifactStore, home: Path, schema: Schema, now: datetime) -> Dataset:
    (home / "admin.key").write_text("mt-secret")
    (home / "pepper.key").write_text("pepper")
    (home / "jobs" / "job-a").mkdir(parents=True)
    digest = artifacts.put_tree({"rows.parquet": b"rows" * 1000, "schema.json": b"{}"})
    return DatasetRepository(database, DEFAULT_TENANT).add("iris", digest, schema, {"rows": 150}, {"x": 1}, now)[0]


@pytest.fixture
def archive(database: Database, artifacts: ArtifactStore, dataset: Dataset) -> bytes:
    target = io.BytesIO()
    write_backup(database, artifacts, target)
    return target.getvalue()


def rewritten(archive: bytes, change: Callable[[Members], None]) -> io.BytesIO:
    members: Members = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        for member in source:
            content = source.extractfile(member)
            members.append((member, content.read() if content else b""))
    change(members)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as changed:
        for member, content in members:
            member.size = len(content)
            changed.addfile(member, io.BytesIO(content))
    target.seek(0)
    return target


def test_a_restored_home_is_the_one_that_was_backed_up(
    archive: bytes, dataset: Dataset, artifacts: ArtifactStore, home: Path, tmp_path: Path
) -> None:
    restored = tmp_path / "restored"
    restore_backup(io.BytesIO(archive), restored)
    database = open_database(restored)
    assert DatasetRepository(database, DEFAULT_TENANT).list() == (dataset,)
    database.close()
    store = ArtifactStore(restored / "artifacts")
    assert list(store.iter_digests()) == list(artifacts.iter_digests())
    store.verify(dataset.digest)
    assert (restored / "admin.key").read_text() == "mt-secret"
    assert (restored / "pepper.key").read_text() == "pepper"
    assert {p.name for p in restored.iterdir()} == {"admin.key", "pepper.key", "artifacts", "modeltap.db"}
    assert not any(p.name.startswith(".") for p in home.iterdir())


def books_of(home: Path) -> tuple[list[tuple[str, int, str, int, str]], bool]:
    """What was used by a restored home's books once a server starts on it, and whether they are clean."""
    database = open_database(home)
    close_dead_writers(database, home / "usage", NOW_S)
    found = [
        (one.writer, one.number, one.status, one.cost_nano, one.delivery) for one in UsageRepository(database).records(Chosen())
    ]
    report = audit(database, home / "usage", clock=lambda: NOW_S)
    assert report.lost_bytes == {} and list((home / "usage").iterdir()) == []
    database.close()
    return sorted(found), report.clean


def test_usage_that_the_database_has_not_read_comes_back_exactly(
    database: Database, artifacts: ArtifactStore, home: Path, tmp_path: Path
) -> None:
    shop = Shop(home / "usage", max_bytes=400)
    for _ in range(3):
        shop.sell()
    ingest(database, shop.folder, NOW_S)
    for _ in range(5):
        shop.sell(3)
    shop.reserve()
    gone = Shop(home / "usage", "w2")
    gone.sell(2)
    gone.kill()
    being_written = encode_frame(Reserve(10, "r", "acme", "k1", "digits", "row", 1, 100, NOW_S))[:-7]
    with max(shop.folder.glob("w1-*.seg")).open("ab") as newest:
        newest.write(being_written)
    target = io.BytesIO()
    manifest = write_backup(database, artifacts, target)
    assert len([name for name in manifest.files if name.endswith(".seg")]) > 2
    target.seek(0)
    restore_backup(target, tmp_path / "restored")
    sold = [("w1", n, "answered", 1000 if n < 4 else 300, "delivered") for n in range(1, 9)]
    wanted = [*sold, ("w1", 9, "voided", 0, "none"), ("w2", 1, "answered", 200, "unknown")]
    assert books_of(tmp_path / "restored") == (wanted, True)
    assert not any(path.name.startswith(".") for path in home.iterdir())
    shop.close()


def test_a_backup_while_usage_is_written_and_read_has_each_request_once(
    database: Database, artifacts: ArtifactStore, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was copied of the segments is read, removed and followed by more before the database is copied."""
    shop = Shop(home / "usage", max_bytes=400)
    late = []
    copy_to = database.copy_to

    def copy_late(path: Path) -> None:
        shop.reserve()
        shop.sell()
        late.append(Shop(home / "usage", "w2"))
        late[0].reserve()
        ingest(database, shop.folder, NOW_S)
        copy_to(path)

    for _ in range(4):
        shop.sell()
    monkeypatch.setattr(database, "copy_to", copy_late)
    target = io.BytesIO()
    write_backup(database, artifacts, target)
    target.seek(0)
    restore_backup(target, tmp_path / "restored")
    records, is_clean = books_of(tmp_path / "restored")
    assert is_clean
    assert [record[:3] for record in records] == [
        *[("w1", n, "answered") for n in range(1, 5)],
        ("w1", 5, "voided"),
        ("w1", 6, "answered"),
        ("w2", 1, "voided"),
    ]
    for one in (shop, *late):
        one.close()


def test_a_backup_of_the_format_without_usage_is_restored(archive: bytes, tmp_path: Path) -> None:
    def change(members: Members) -> None:
        members[0] = (members[0][0], msgspec.json.encode(msgspec.json.decode(members[0][1]) | {"format": 1}))

    restore_backup(rewritten(archive, change), tmp_path / "restored")
    open_database(tmp_path / "restored").close()


def test_secrets_stay_readable_by_their_owner_alone(archive: bytes, tmp_path: Path) -> None:
    restore_backup(io.BytesIO(archive), tmp_path / "restored")
    for path in ("", "admin.key", "pepper.key", "modeltap.db"):
        assert (tmp_path / "restored" / path).stat().st_mode & 0o077 == 0


def test_a_restore_needs_an_empty_home(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "empty" / ".restoring-killed").mkdir(parents=True)
    restore_backup(io.BytesIO(archive), tmp_path / "empty")
    with pytest.raises(Conflict, match="not empty"):
        restore_backup(io.BytesIO(archive), tmp_path / "empty")


def to_parent(members: Members) -> None:
    members[2][0].name = "../escaped"


def to_root(members: Members) -> None:
    members[2][0].name = "/tmp/escaped"


def to_link(members: Members) -> None:
    member = tarfile.TarInfo(members[2][0].name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[2] = (member, b"")


def add_stranger(members: Members) -> None:
    members.append((tarfile.TarInfo("jobs/x"), b"1"))


def add_twice(members: Members) -> None:
    members.append(members[-1])


def flip_byte(members: Members) -> None:
    member, content = members[-1]
    members[-1] = (member, bytes([content[0] ^ 1]) + content[1:])


def drop_last(members: Members) -> None:
    members.pop()


def drop_manifest(members: Members) -> None:
    members.pop(0)


def name_outside(members: Members) -> None:
    manifest = msgspec.json.decode(members[0][1])
    manifest["files"]["../escaped"] = manifest["files"].pop("admin.key")
    members[0] = (members[0][0], msgspec.json.encode(manifest))
    members[2][0].name = "../escaped"


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize(
    "change",
    [to_parent, to_root, to_link, add_stranger, add_twice, flip_byte, drop_last, drop_manifest, name_outside],
)
def test_a_changed_archive_is_refused_and_leaves_nothing(
    archive: bytes, tmp_path: Path, change: Callable[[Members], None], existed: bool
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    restored = inside / "restored"
    if existed:
        restored.mkdir()
    with pytest.raises(InvalidInput):
        restore_backup(rewritten(archive, change), restored)
    assert [p for p in inside.rglob("*") if p != restored] == []
    assert restored.exists() == existed


@pytest.mark.parametrize("kept", [0, 100, 5_000, 40_000])
def test_an_archive_cut_short_is_refused_and_leaves_nothing(archive: bytes, tmp_path: Path, kept: int) -> None:
    with pytest.raises(InvalidInput):
        restore_backup(io.BytesIO(archive[:kept]), tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize(("key", "value", "error"), [("revision", "9999", DatabaseTooNew), ("format", 3, InvalidInput)])
def test_a_backup_of_a_newer_modeltap_is_refused(
    archive: bytes, tmp_path: Path, key: str, value: object, error: type[ModeltapError]
) -> None:
    def change(members: Members) -> None:
        members[0] = (members[0][0], msgspec.json.encode(msgspec.json.decode(members[0][1]) | {key: value}))

    with pytest.raises(error):
        restore_backup(rewritten(archive, change), tmp_path / "restored")


def test_a_damaged_artifact_is_not_backed_up_in_silence(database: Database, artifacts: ArtifactStore, dataset: Dataset) -> None:
    blob = artifacts.path(artifacts.tree(dataset.digest)["rows.parquet"])
    blob.chmod(0o600)
    blob.write_bytes(b"ROWS" * 1000)
    with pytest.raises(StorageFailed, match="damaged"):
        write_backup(database, artifacts, io.BytesIO())


def test_a_copy_is_consistent_while_a_transaction_is_open(database: Database, tmp_path: Path) -> None:
    with database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO datasets VALUES ('default', 'half', 1)")
        database.copy_to(tmp_path / "copy.db")
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("SELECT * FROM datasets").fetchall() == []
    copy.close()
