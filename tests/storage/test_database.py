"""Opening: fresh, current, older, too new, damaged, foreign, busy."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import DatabaseTooNew, StorageFailed, Unavailable
from modeltap.storage import database as database_module
from modeltap.storage.database import HEAD, REVISIONS, Database, make_engine
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.opening import alembic_config, open_database, upgrade
from modeltap.storage.usage_tables import metadata


def make_old_database(home: Path) -> None:
    """A database as revision 0001 left it, with a row."""
    home.mkdir()
    old = Database(make_engine(home, None), home)
    upgrade(old, target="0001")
    schema = '{"form":"table","columns":[{"name":"x","kind":"number"}],"missing":[""]}'
    with old.writing() as connection:
        connection.execute(text("INSERT INTO datasets VALUES ('iris', 1)"))
        connection.execute(
            text("INSERT INTO dataset_versions VALUES ('iris', 1, :d, :s, :n, '{}', :t)"),
            {"d": "a" * 64, "s": schema, "n": '{"rows":150}', "t": "2026-11-01T00:00:00.000000Z"},
        )
    old.close()


def backups_in(home: Path) -> list[Path]:
    return sorted((home / "backups").glob("*")) if (home / "backups").exists() else []


def test_the_constants_name_the_revisions_of_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert scripts.get_heads() == [HEAD]
    assert tuple(reversed([s.revision for s in scripts.walk_revisions()])) == REVISIONS


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "target_metadata": metadata})
        assert compare_metadata(context, metadata) == []


def test_a_fresh_home_gets_a_database_and_no_backup(tmp_path: Path) -> None:
    database = open_database(tmp_path / "new" / "home")
    assert database.revision() == HEAD
    assert backups_in(tmp_path / "new" / "home") == []
    database.close()


def test_opening_a_current_database_does_not_load_the_migration_library(home: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from modeltap.storage.opening import open_database
open_database(Path({str(home)!r})).close()
print([m for m in sys.modules if m.split(".")[0] in ("alembic", "torch", "polars")])
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_an_older_database_keeps_its_rows_and_leaves_a_backup(tmp_path: Path) -> None:
    make_old_database(tmp_path / "home")
    database = open_database(tmp_path / "home")
    assert database.revision() == HEAD
    assert DatasetRepository(database, DEFAULT_TENANT).get("iris@1").num_rows == {"rows": 150}
    database.close()
    (backup,) = backups_in(tmp_path / "home")
    assert backup.name.startswith("modeltap-0001-")
    copy = sqlite3.connect(backup)
    assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    assert copy.execute("SELECT name, version FROM dataset_versions").fetchall() == [("iris", 1)]
    copy.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_old_database(home)
    raw = sqlite3.connect(home / "modeltap.db")
    raw.execute("CREATE TABLE deployment_routes (x)")  # the second step of 0002 finds its place taken
    raw.commit()
    with pytest.raises(StorageFailed, match="already exists"):
        open_database(home)
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    assert raw.execute("SELECT name FROM sqlite_master WHERE name = 'deployments'").fetchall() == []
    raw.close()


def test_several_processes_may_open_a_fresh_home_at_once(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from modeltap.storage.opening import open_database
print(open_database(Path({str(tmp_path / "home")!r})).revision())
"""
    started = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in started] == [HEAD] * 3


def test_a_database_of_a_newer_modeltap_is_refused_and_left_alone(home: Path) -> None:
    raw = sqlite3.connect(home / "modeltap.db")
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    before = (home / "modeltap.db").read_bytes()
    with pytest.raises(DatabaseTooNew, match=rf"'9999'.*'{HEAD}'.*install"):
        open_database(home)
    assert (home / "modeltap.db").read_bytes() == before


def test_a_damaged_database_is_named_and_left_alone(home: Path) -> None:
    (home / "modeltap.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageFailed, match=r"damaged.*modeltap restore"):
        open_database(home)
    assert (home / "modeltap.db").read_bytes() == b"not a database" * 1000


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    raw = sqlite3.connect(tmp_path / "modeltap.db")
    raw.execute("CREATE TABLE songs (title)")
    raw.close()
    with pytest.raises(StorageFailed, match="not made by modeltap"):
        open_database(tmp_path)


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "nodialect://x/y"])
def test_an_address_that_names_no_database_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(StorageFailed, match="the database URL names no database"):
        open_database(tmp_path, url)


def test_a_writer_that_waits_too_long_is_told_to_try_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    database = open_database(home)
    other = sqlite3.connect(home / "modeltap.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="busy"), database.writing():
        pass
    with database.reading():  # readers go on
        pass
    other.close()
    database.close()


def test_an_error_rolls_everything_back(database: Database) -> None:
    with pytest.raises(KeyError), database.writing() as connection:
        connection.execute(text("INSERT INTO datasets VALUES ('default', 'iris', 1)"))
        raise KeyError
    with database.reading() as connection:
        assert connection.execute(text("SELECT * FROM datasets")).all() == []


def test_a_full_disk_is_named_and_changes_nothing(database: Database) -> None:
    with pytest.raises(StorageFailed, match=r"full.*modeltap gc"), database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO datasets VALUES ('default', 'iris', 1)")
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite takes its present size
        connection.exec_driver_sql("INSERT INTO models VALUES ('default', ?, 1)", ("x" * 1_000_000,))
    with database.reading() as connection:
        assert connection.execute(text("SELECT * FROM datasets")).all() == []
