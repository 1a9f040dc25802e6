"""Tenants that share a database: the same names in each, and nothing of one to be seen from another; keys and limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event, select

from modeltap.domain.dataset import Schema
from modeltap.domain.deployment import Route, Terms
from modeltap.domain.model import Manifest
from modeltap.domain.tenant import Key, Limits, Secret
from modeltap.domain.usage import Price
from modeltap.errors import Conflict, InvalidInput, NotFound
from modeltap.storage.database import Database
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.keys import KeyRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.snapshot import read_snapshot
from modeltap.storage.tenants import TenantRepository
from modeltap.storage.usage_tables import limit_history


class Room(NamedTuple):
    """Everything of one tenant."""

    tenant: str
    datasets: DatasetRepository
    models: ModelRepository
    jobs: JobRepository
    deployments: DeploymentRepository
    keys: KeyRepository

    def deploy(self, name: str, now: datetime, **more: Any) -> Any:
        version = self.models.get("iris")
        route = Route(model=version.name, version=version.version, digest=version.digest)
        return self.deployments.put(name, [route], now, **more)


def room(database: Database, tenant: str) -> Room:
    kinds = (DatasetRepository, ModelRepository, JobRepository, DeploymentRepository, KeyRepository)
    return Room(tenant, *(kind(database, tenant) for kind in kinds))  # type: ignore[arg-type]


def key(number: int, now: datetime, **changes: Any) -> Key:
    secret = Secret(digest=f"{number:064x}", created_at=now)
    return Key(**{"id": f"key{number:09d}", "tenant": "", "secrets": (secret,), "created_at": now, **changes})


@pytest.fixture
def tenants(database: Database) -> TenantRepository:
    return TenantRepository(database)


@pytest.fixture
def rooms(
    database: Database,
    tenants: TenantRepository,
    schema: Schema,
    manifest: Manifest,
    make_digest: Callable[[int], str],
    now: datetime,
) -> tuple[Room, Room]:
    """acme and globex, each with iris@1 and iris@2 (data and model), the alias best, a job, and iris deployed."""
    made = []
    for number, name in enumerate(("acme", "globex")):
        one = room(database, tenants.add(name, {}, now).name)
        for version in (1, 2):
            one.datasets.add("iris", make_digest(10 * number + version), schema, {"rows": version}, {}, now)
            one.models.add("iris", make_digest(10 * number + version), manifest, None, now)
        one.models.set_alias("iris", "best", number + 1)
        one.jobs.add("train", {"dataset": "iris@1"}, now)
        one.deploy("iris", now, is_default=True)
        made.append(one)
    return made[0], made[1]


def test_the_same_names_lead_each_tenant_to_its_own(rooms: tuple[Room, Room], make_digest: Callable[[int], str]) -> None:
    for number, one in enumerate(rooms):
        assert one.datasets.get("iris").digest == make_digest(10 * number + 2)
        assert [d.digest for d in one.datasets.versions("iris")] == [make_digest(10 * number + v) for v in (1, 2)]
        assert [v.digest for v in one.models.list()] == [make_digest(10 * number + 2)]
        assert one.models.get("iris@best").version == number + 1
        assert [v.aliases for v in one.models.versions("iris")] == ([("best",), ()] if number == 0 else [(), ("best",)])
        (deployment,) = one.deployments.list()
        assert (deployment.tenant, deployment.is_default) == (one.tenant, True)
        assert deployment.routes[0].digest == make_digest(10 * number + 2)
        (job,) = one.jobs.list()
        assert job.tenant == one.tenant


def test_what_one_tenant_does_leaves_the_other_as_it_was(database: Database, rooms: tuple[Room, Room], now: datetime) -> None:
    acme, globex = rooms
    before = [read_snapshot(database).deployments["globex"], globex.datasets.list(), globex.models.list(), globex.jobs.list()]
    (job,) = acme.jobs.list()
    with pytest.raises(Conflict, match=job.id):
        acme.datasets.remove("iris")
    acme.jobs.ask(job.id, "cancel", now)
    acme.datasets.remove("iris")
    with pytest.raises(Conflict, match="routes to iris@2"):
        acme.models.remove("iris")
    acme.deploy("other", now, is_default=True)
    acme.deployments.remove("iris")
    acme.deployments.remove("other")
    acme.models.set_state("iris@1", "approve")
    acme.models.remove_alias("iris", "best")
    acme.models.remove("iris")
    assert [read_snapshot(database).deployments["globex"], globex.datasets.list(), globex.models.list()] == before[:3]
    assert globex.jobs.list() == before[3]
    assert (acme.datasets.list(), acme.models.list(), acme.deployments.list()) == ((), (), ())
    for look in (acme.datasets.get, acme.models.get, acme.deployments.get):
        with pytest.raises(NotFound) as refused:
            look("iris")
        assert "known" not in refused.value.message, "the names of another tenant are not told"


def test_the_job_of_another_tenant_is_not_there(database: Database, rooms: tuple[Room, Room], now: datetime) -> None:
    acme, globex = rooms
    (job,) = globex.jobs.list()
    for do in (acme.jobs.get, lambda id_: acme.jobs.ask(id_, "cancel", now), lambda id_: acme.jobs.resume(id_, now)):
        with pytest.raises(NotFound):
            do(job.id)
    queue = JobQueue(database)
    assert {found.tenant for found in queue.list()} == {"acme", "globex"}
    assert queue.get(job.id) == globex.jobs.get(job.id)
    claimed = [queue.claim(now, 10), queue.claim(now, 10)]
    assert {found.tenant for found in claimed if found} == {"acme", "globex"}


def test_a_route_leads_to_no_version_of_another_tenant(
    database: Database, tenants: TenantRepository, rooms: tuple[Room, Room], now: datetime
) -> None:
    other = room(database, tenants.add("initech", {}, now).name)
    version = rooms[0].models.get("iris")
    with pytest.raises(NotFound, match="iris@2"):
        other.deployments.put("iris", [Route(model="iris", version=2, digest=version.digest)], now)


def test_a_version_of_a_job_is_found_by_its_own_tenant_alone(
    rooms: tuple[Room, Room], manifest: Manifest, make_digest: Callable[[int], str], now: datetime
) -> None:
    acme, globex = rooms
    made = acme.models.add("iris", make_digest(7), manifest, "job-a", now)
    assert acme.models.of_job("job-a") == made
    assert globex.models.of_job("job-a") is None


def test_a_public_name_is_one_tenants_alone(rooms: tuple[Room, Room], now: datetime) -> None:
    acme, globex = rooms
    acme.deploy("open", now, terms={"is_public": True})
    with pytest.raises(Conflict, match="taken among public"):
        globex.deploy("open", now, terms={"is_public": True})
    assert not globex.deploy("open", now).terms.is_public
    with pytest.raises(Conflict, match="taken among public"):
        globex.deploy("open", now, terms={"is_public": True})
    acme.deploy("open", now, terms={"is_public": False})
    assert globex.deploy("open", now, terms={"is_public": True}).terms.is_public


def test_terms_that_are_not_named_again_stay(rooms: tuple[Room, Room], now: datetime) -> None:
    acme, _ = rooms
    acme.deploy("iris", now, terms={"price": {"row": 5}, "public_limits": {"rpm": 3}, "replicas": 2})
    kept = acme.deploy("iris", now, terms={"price": {"image": 1}, "max_batch": 8}).terms
    assert kept == Terms(price=Price(row=5, image=1), public_limits=Limits(rpm=3), replicas=2, max_batch=8)
    acme.deployments.put("iris", acme.deployments.get("iris").routes, now)
    assert acme.deployments.get("iris").terms == kept
    with pytest.raises(InvalidInput, match="replicas"):
        acme.deploy("iris", now, terms={"replicas": 0})


def test_a_snapshot_takes_the_same_few_queries_whatever_it_holds(
    database: Database, rooms: tuple[Room, Room], now: datetime
) -> None:
    def count() -> int:
        asked: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            asked.append(statement)

        event.listen(database._engine, "before_cursor_execute", note)
        read_snapshot(database)
        event.remove(database._engine, "before_cursor_execute", note)
        return sum("SELECT" in statement for statement in asked)

    few = count()
    for number in range(40):
        rooms[number % 2].deploy(f"d{number}", now)
        rooms[number % 2].keys.add(key(number, now))
    assert count() == few == 4
    snapshot = read_snapshot(database)
    assert [len(snapshot.deployments[one.tenant]) for one in rooms] == [21, 21]
    assert len(snapshot.keys) == 40
    assert set(snapshot.tenants) == {"default", "acme", "globex"}


def test_a_key_belongs_to_its_tenant_and_is_kept_as_it_was(rooms: tuple[Room, Room], now: datetime) -> None:
    acme, globex = rooms
    limits = Limits(rpm=5, budget_day_nano=10**18)
    given = key(1, now, label="größer", scopes=("predict", "train"), models=("iris",), limits=limits, expires_at=now)
    added = acme.keys.add(given)
    assert added.tenant == "acme"
    assert acme.keys.get(added.id) == added == acme.keys.list()[0]
    assert globex.keys.list() == ()
    later = now + timedelta(hours=1)
    for do in (
        globex.keys.get,
        lambda id_: globex.keys.revoke(id_, later),
        lambda id_: globex.keys.rotate(id_, "f" * 64, later),
        lambda id_: globex.keys.set_limits(id_, {"rpm": 1}, later),
    ):
        with pytest.raises(NotFound, match="keys list"):
            do(added.id)
    assert acme.keys.get(added.id) == added


def test_a_revoked_key_stays_revoked_from_the_first_time_on(rooms: tuple[Room, Room], now: datetime) -> None:
    acme, _ = rooms
    added = acme.keys.add(key(1, now))
    assert acme.keys.revoke(added.id, now).revoked_at == now
    assert acme.keys.revoke(added.id, now + timedelta(hours=1)).revoked_at == now
    for do in (lambda: acme.keys.rotate(added.id, "f" * 64, now), lambda: acme.keys.set_limits(added.id, {"rpm": 1}, now)):
        with pytest.raises(Conflict, match="is revoked"):
            do()


def test_a_tenant_has_a_name_of_its_own_and_limits_that_change(tenants: TenantRepository, now: datetime) -> None:
    assert tenants.add("acme", {"rpm": 5, "upm": 6}, now).limits == Limits(rpm=5, upm=6)
    assert tenants.set_limits("acme", {"rpm": None, "concurrency": 2}, now).limits == Limits(upm=6, concurrency=2)
    assert tenants.get("acme").limits == Limits(upm=6, concurrency=2)
    assert [tenant.name for tenant in tenants.list()] == ["acme", "default"]
    with pytest.raises(Conflict, match="tenants update acme"):
        tenants.add("acme", {}, now)
    with pytest.raises(NotFound, match="did you mean 'acme'"):
        tenants.set_limits("acm", {}, now)
    for name, told in (("a/b", "cannot name a tenant"), ("anonymous", "callers without a key")):
        with pytest.raises(InvalidInput, match=told):
            tenants.add(name, {}, now)
    with pytest.raises(InvalidInput, match="rpm"):
        tenants.set_limits("acme", {"rpm": 0}, now)


def test_it_is_noted_which_limits_held_from_when_on(
    database: Database, tenants: TenantRepository, rooms: tuple[Room, Room], now: datetime
) -> None:
    later = now + timedelta(hours=1)
    keys = rooms[0].keys
    added = keys.add(key(1, now, limits=Limits(rpm=5)))
    keys.set_limits(added.id, {"rpm": 6}, later)
    keys.set_limits(added.id, {"rpm": 7}, later)
    keys.rotate(added.id, "f" * 64, later)
    tenants.set_limits("acme", {"upm": 9}, now)
    tenants.set_limits("acme", {"upm": 9}, later)
    with database.reading() as connection:
        rows = connection.execute(select(limit_history).order_by(limit_history.c.key, limit_history.c.from_at_s)).all()
    held = [(row.tenant, row.key, {name: value for name, value in row.limits.items() if value is not None}) for row in rows]
    assert held == [
        ("acme", "", {"upm": 9}),
        ("acme", added.id, {"rpm": 5}),
        ("acme", added.id, {"rpm": 6}),
        ("acme", added.id, {"rpm": 7}),
    ]
    times = [row.from_at_s for row in rows]
    assert times[:3] == [now.timestamp(), now.timestamp(), later.timestamp()]
    assert times[2] < times[3] < times[2] + 1, "the later of two changes at one moment comes later"


def test_a_tenant_is_removed_once_it_owns_nothing(
    database: Database, tenants: TenantRepository, rooms: tuple[Room, Room], now: datetime
) -> None:
    acme, _ = rooms
    acme.keys.add(key(1, now))
    with pytest.raises(Conflict) as refused:
        tenants.remove("acme")
    told = ("1 deployment", "2 model versions", "2 dataset versions", "1 job that has not ended", "1 key that was not revoked")
    assert all(what in refused.value.message for what in told), refused.value.message
    acme.keys.revoke(acme.keys.list()[0].id, now)
    acme.jobs.ask(acme.jobs.list()[0].id, "cancel", now)
    acme.deployments.remove("iris")
    acme.models.remove("iris")
    acme.datasets.remove("iris")
    tenants.remove("acme")
    snapshot = read_snapshot(database)
    assert set(snapshot.tenants) == {"default", "globex"} and not snapshot.keys
    assert [job.tenant for job in JobQueue(database).list()] == ["globex"]
    with pytest.raises(NotFound):
        tenants.remove("acme")
    with pytest.raises(Conflict, match="always there"):
        tenants.remove("default")
