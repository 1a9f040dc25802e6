"""Datasets: versions, references, the same data twice, and removal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from modeltap.domain.dataset import Schema
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.storage.database import Database
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository

MakeDigest = Callable[[int], str]


@pytest.fixture
def datasets(database: Database) -> DatasetRepository:
    return DatasetRepository(database, DEFAULT_TENANT)


def test_a_dataset_is_read_back_as_it_was_added(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime
) -> None:
    profile = {"größe": {"mean": 1.5, "histogram": [1, 2]}}
    added, is_new = datasets.add("iris", make_digest(1), schema, {"train": 120, "test": 30}, profile, now)
    assert (added.id, is_new) == ("iris@1", True)
    assert datasets.get("iris") == datasets.get("iris@1") == datasets.get("iris@latest") == added
    assert added.created_at == now and added.schema == schema
    assert datasets.profile(added) == profile


def test_the_same_data_gives_back_the_newest_version(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime
) -> None:
    def add(number: int, schema: Schema = schema) -> tuple[str, bool]:
        dataset, is_new = datasets.add("iris", make_digest(number), schema, {"rows": 1}, {}, now)
        return dataset.id, is_new

    assert add(1) == ("iris@1", True)
    assert add(1) == ("iris@1", False)
    assert add(2) == ("iris@2", True)
    assert add(1) == ("iris@3", True)
    assert add(1, schema.with_target("größe")) == ("iris@4", True)
    assert [d.version for d in datasets.versions("iris")] == [1, 2, 3, 4]


def test_the_list_has_the_newest_of_each_name(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime
) -> None:
    for name, number in (("wine", 1), ("iris", 2), ("iris", 3)):
        datasets.add(name, make_digest(number), schema, {"rows": 1}, {}, now)
    assert [d.id for d in datasets.list()] == ["iris@2", "wine@1"]


@pytest.mark.parametrize(
    ("ref", "says"),
    [("irsi", "did you mean 'iris'"), ("iris@2", "no version 2 of dataset 'iris'; known: 1"), ("zzz@1", "known: iris")],
)
def test_what_is_not_there_is_named_with_what_is(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime, ref: str, says: str
) -> None:
    datasets.add("iris", make_digest(1), schema, {"rows": 1}, {}, now)
    for look in (datasets.get, datasets.remove):
        with pytest.raises(NotFound, match=says):
            look(ref)


def test_datasets_have_no_aliases_and_names_are_checked(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime
) -> None:
    with pytest.raises(InvalidInput, match="no aliases"):
        datasets.get("iris@best")
    with pytest.raises(InvalidInput, match="cannot name a dataset"):
        datasets.add("../iris", make_digest(1), schema, {"rows": 1}, {}, now)


def test_a_removed_number_is_not_given_again(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime
) -> None:
    for number in (1, 2):
        datasets.add("iris", make_digest(number), schema, {"rows": 1}, {}, now)
    datasets.remove("iris@2")
    assert [d.version for d in datasets.versions("iris")] == [1]
    datasets.remove("iris")
    assert datasets.list() == ()
    again, is_new = datasets.add("iris", make_digest(2), schema, {"rows": 1}, {}, now)
    assert (again.id, is_new) == ("iris@3", True)
    with pytest.raises(NotFound):
        datasets.profile(msgspec.structs.replace(again, version=1))


@pytest.mark.parametrize("named", ["iris@1", "iris", "iris@latest"])
def test_data_that_a_job_needs_is_not_removed(
    database: Database, datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime, named: str
) -> None:
    jobs = JobRepository(database, DEFAULT_TENANT)
    datasets.add("iris", make_digest(1), schema, {"rows": 1}, {}, now)
    job = jobs.add("train", {"dataset": named}, now)
    for ref in ("iris", "iris@1"):
        with pytest.raises(Conflict, match=job.id):
            datasets.remove(ref)
    jobs.ask(job.id, "pause", now)
    with pytest.raises(Conflict, match="paused"):
        datasets.remove("iris")
    jobs.ask(job.id, "cancel", now)
    datasets.remove("iris")


def test_concurrent_additions_get_different_numbers(
    datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime
) -> None:
    def add(number: int) -> None:
        datasets.add("iris", make_digest(number), schema, {"rows": 1}, {}, now)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    versions = datasets.versions("iris")
    assert [d.version for d in versions] == list(range(1, 9))
    assert {d.digest for d in versions} == {make_digest(number) for number in range(8)}


def test_times_are_kept_in_utc(datasets: DatasetRepository, schema: Schema, make_digest: MakeDigest, now: datetime) -> None:
    elsewhere = now.astimezone(timezone(timedelta(hours=5, minutes=30)))
    datasets.add("iris", make_digest(1), schema, {"rows": 1}, {}, elsewhere)
    found = datasets.get("iris").created_at
    assert found == now and found.tzinfo == UTC
    with pytest.raises(Exception, match="no time zone"):
        datasets.add("iris", make_digest(2), schema, {"rows": 1}, {}, now.replace(tzinfo=None))


@pytest.mark.parametrize(("crash_at", "versions"), [("dataset.before_commit", 0), ("dataset.committed", 1)])
def test_kill_9_leaves_all_of_a_dataset_or_nothing(
    datasets: DatasetRepository, home: Path, crash_at: str, versions: int
) -> None:
    script = f"""
from datetime import UTC, datetime
from pathlib import Path
from modeltap.domain.dataset import Schema
from modeltap.storage.opening import open_database
from modeltap.storage.datasets import DatasetRepository
database = open_database(Path({str(home)!r}))
add = DatasetRepository(database, "default").add
print(add("iris", "a" * 64, Schema(form="table", columns=()), {{"rows": 1}}, {{}}, datetime.now(UTC))[0].id)
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, env={**os.environ, "MODELTAP_CRASH_AT": crash_at}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(datasets.list()) == versions
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.strip() == "iris@1"
