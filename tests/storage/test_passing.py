"""What may pass by itself is known by what it was raised from."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sqlalchemy import text

from modeltap.errors import InvalidData, ModeltapError, StorageFailed, Unavailable
from modeltap.storage.database import Database
from modeltap.storage.disk import disk_failures
from modeltap.storage.opening import open_database
from modeltap.storage.passing import may_pass


@pytest.mark.parametrize(
    ("number", "passes"),
    [(errno.ENOSPC, True), (errno.EMFILE, True), (errno.ECONNREFUSED, True), (errno.EROFS, False), (errno.EACCES, False)],
)
def test_a_disk_that_refuses(number: int, passes: bool) -> None:
    with pytest.raises(StorageFailed) as refused, disk_failures("writing"):
        raise OSError(number, "no")
    assert may_pass(refused.value) is passes
    assert may_pass(OSError(number, "no")) is passes


def test_what_somebody_must_change_never_passes() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as full:
            raise InvalidData("the file holds no rows") from full
    except ModeltapError as problem:
        assert not may_pass(problem)
    assert not may_pass(StorageFailed("the artifact is not a tree of files"))
    assert not may_pass(MemoryError())
    assert may_pass(Unavailable("the store cannot be reached"))


def test_a_database_on_a_full_disk(database: Database) -> None:
    with pytest.raises(StorageFailed) as refused, database.writing() as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("CREATE TABLE big (x)"))
        connection.execute(text("INSERT INTO big VALUES (zeroblob(1000000))"))
    assert may_pass(refused.value)


def test_a_database_server_that_is_away(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StorageFailed) as refused:
        open_database(tmp_path, "postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert may_pass(refused.value)
