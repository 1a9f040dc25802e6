"""Models: versions, aliases, states, one version a job, and removal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest

from modeltap.domain.deployment import Route
from modeltap.domain.model import Manifest, ModelVersion
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.storage.database import Database
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.models import ModelRepository

Add = Callable[..., ModelVersion]


@pytest.fixture
def models(database: Database) -> ModelRepository:
    return ModelRepository(database, DEFAULT_TENANT)


@pytest.fixture
def add(models: ModelRepository, manifest: Manifest, make_digest: Callable[[int], str], now: datetime) -> Add:
    def add(name: str, number: int, job: str | None = None) -> ModelVersion:
        return models.add(name, make_digest(number), manifest, job, now)

    return add


def test_a_version_is_read_back_as_it_was_added(
    models: ModelRepository, manifest: Manifest, make_digest: Callable[[int], str], now: datetime
) -> None:
    history = [{"epoch": 1, "train_loss": 0.5}]
    added = models.add(
        "iris", make_digest(1), manifest, "job-a", now, report=make_digest(2), evaluation={"n": 3}, history=history
    )
    assert (added.id, added.state, added.manifest, added.created_at) == ("iris@1", "candidate", manifest, now)
    assert models.get("iris") == models.get("iris@1") == models.get("iris@latest") == added
    assert models.extras(added) == {"report": make_digest(2), "evaluation": {"n": 3}, "history": history}
    bare = models.add("iris", make_digest(3), manifest, None, now)
    assert models.extras(bare) == {"report": None, "evaluation": None, "history": []}


def test_a_job_has_exactly_one_version(models: ModelRepository, add: Add) -> None:
    first = add("iris", 1, "job-a")
    assert add("iris", 1, "job-a") == first
    assert add("iris", 1, "job-b").version == 2
    assert add("iris", 1).version == 3
    assert models.of_job("job-a") == first
    assert models.of_job("job-z") is None


@pytest.mark.parametrize(("crash_at", "versions"), [("version.before_commit", 0), ("version.committed", 1)])
def test_a_job_has_one_version_also_after_kill_9(
    models: ModelRepository, manifest: Manifest, home: Path, crash_at: str, versions: int
) -> None:
    script = f"""
import sys
from datetime import UTC, datetime
from pathlib import Path
import msgspec
from modeltap.domain.model import Manifest
from modeltap.storage.opening import open_database
from modeltap.storage.models import ModelRepository
manifest = msgspec.json.decode(sys.stdin.buffer.read(), type=Manifest)
models = ModelRepository(open_database(Path({str(home)!r})), "default")
print(models.add("iris", "a" * 64, manifest, "job-a", datetime.now(UTC)).id)
"""
    command, given = [sys.executable, "-c", script], msgspec.json.encode(manifest)
    ended = subprocess.run(command, input=given, env={**os.environ, "MODELTAP_CRASH_AT": crash_at}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(models.list()) == versions
    assert subprocess.run(command, input=given, capture_output=True, check=True).stdout.strip() == b"iris@1"
    assert len(models.versions("iris")) == 1


def test_an_alias_follows_where_it_is_set(models: ModelRepository, add: Add) -> None:
    for number in (1, 2):
        add("iris", number)
    add("wine", 1)
    assert models.set_alias("iris", "best", 1).aliases == ("best",)
    models.set_alias("iris", "a-b2", 1)
    assert models.get("iris@best").aliases == ("a-b2", "best")
    models.set_alias("iris", "best", 2)
    assert models.get("iris@best").version == 2
    assert [v.aliases for v in models.versions("iris")] == [("a-b2",), ("best",)]
    assert [(v.id, v.aliases) for v in models.list()] == [("iris@2", ("best",)), ("wine@1", ())]
    models.remove_alias("iris", "best")
    with pytest.raises(NotFound, match="known: 1, 2, a-b2"):
        models.get("iris@best")
    with pytest.raises(NotFound):
        models.remove_alias("iris", "best")


@pytest.mark.parametrize("alias", ["latest", "7", "Best"])
def test_an_alias_cannot_be_a_number_or_reserved(models: ModelRepository, add: Add, alias: str) -> None:
    add("iris", 1)
    with pytest.raises(InvalidInput):
        models.set_alias("iris", alias, 1)


def test_what_is_not_there_is_named_with_what_is(models: ModelRepository, add: Add) -> None:
    add("iris", 1)
    models.set_alias("iris", "best", 1)
    for ref, says in (("irsi", "did you mean 'iris'"), ("iris@bset", "did you mean 'best'"), ("iris@9", "known: 1, best")):
        with pytest.raises(NotFound, match=says):
            models.get(ref)
    with pytest.raises(NotFound):
        models.set_alias("iris", "best", 2)
    with pytest.raises(NotFound):
        models.versions("wine")


def test_a_state_follows_the_table_of_the_domain(models: ModelRepository, add: Add) -> None:
    add("iris", 1)
    assert models.set_state("iris@1", "approve").state == "approved"
    assert models.get("iris").state == "approved"
    with pytest.raises(Conflict):
        models.set_state("iris@1", "reject")
    assert models.set_state("iris@1", "retire").state == "retired"


def test_a_removed_version_takes_its_aliases_and_its_number_with_it(models: ModelRepository, add: Add) -> None:
    for number in (1, 2):
        add("iris", number)
    models.set_alias("iris", "best", 2)
    models.remove("iris@best")
    assert [v.version for v in models.versions("iris")] == [1]
    models.remove("iris")
    assert models.list() == ()
    assert add("iris", 3).version == 3


def test_a_deployed_version_is_not_removed(database: Database, models: ModelRepository, add: Add, now: datetime) -> None:
    first, second = add("iris", 1), add("iris", 2)
    deployments = DeploymentRepository(database, DEFAULT_TENANT)
    deployments.put("flowers", [Route(model="iris", version=1, digest=first.digest)], now)
    for ref in ("iris@1", "iris"):
        with pytest.raises(Conflict, match=r"'flowers' routes to iris@1"):
            models.remove(ref)
    assert len(models.versions("iris")) == 2
    deployments.put("flowers", [Route(model="iris", version=2, digest=second.digest)], now)
    models.remove("iris@1")
    with pytest.raises(Conflict, match=r"cannot roll back.*iris@1"):
        deployments.rollback("flowers", now)
