"""gc removes what nothing refers to, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from modeltap.domain.dataset import Schema
from modeltap.domain.deployment import Route
from modeltap.domain.model import Manifest
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.database import Database
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.gc import collect
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.storage.tenants import TenantRepository

GRACE_S = 3600.0


def make_old(home: Path, now: datetime) -> None:
    for path in home.rglob("*"):
        os.utime(path, (now.timestamp() - 2 * GRACE_S,) * 2)


@pytest.fixture
def used(database: Database, artifacts: ArtifactStore, schema: Schema, manifest: Manifest, now: datetime) -> Iterator[set[str]]:
    data = artifacts.put_tree({"rows.parquet": b"rows", "shared": b"shared"})
    bundle = artifacts.put_tree({"model.onnx": b"graph", "shared": b"shared"})
    report = artifacts.put_tree({"report.html": b"<html>"})
    upload = artifacts.put_bytes(b"uploaded")
    DatasetRepository(database, DEFAULT_TENANT).add("iris", data, schema, {"rows": 1}, {}, now)
    version = ModelRepository(database, DEFAULT_TENANT).add("iris", bundle, manifest, None, now, report=report)
    route = Route(model="iris", version=version.version, digest=bundle)
    DeploymentRepository(database, DEFAULT_TENANT).put("flowers", [route], now)
    JobRepository(database, DEFAULT_TENANT).add("import", {"upload": {"blob": upload}}, now)
    yield set(artifacts.iter_digests())
    for digest in (data, bundle, report, upload):
        artifacts.verify(digest)


def test_what_is_used_stays_and_the_rest_goes(
    database: Database, artifacts: ArtifactStore, home: Path, used: set[str], now: datetime
) -> None:
    artifacts.put_tree({"orphan": b"orphan!", "shared": b"shared"})
    make_old(home, now)
    result = collect(database, artifacts, now, GRACE_S)
    assert set(artifacts.iter_digests()) == used
    assert (result.removed, result.kept) == (2, len(used))
    assert result.freed_bytes > len(b"orphan!")
    assert collect(database, artifacts, now, GRACE_S).removed == 0


def test_what_any_tenant_uses_stays(
    database: Database, artifacts: ArtifactStore, home: Path, schema: Schema, manifest: Manifest, now: datetime
) -> None:
    TenantRepository(database).add("acme", {}, now)
    shared, own = artifacts.put_tree({"a": b"shared"}), artifacts.put_tree({"a": b"own"})
    both = [DatasetRepository(database, tenant) for tenant in ("acme", DEFAULT_TENANT)]
    for datasets in both:
        datasets.add("iris", shared, schema, {"rows": 1}, {}, now)
    ModelRepository(database, "acme").add("iris", own, manifest, None, now)
    make_old(home, now)
    assert collect(database, artifacts, now, GRACE_S).removed == 0
    both[1].remove("iris")
    assert collect(database, artifacts, now, GRACE_S).removed == 0, "the other tenant has the same data"
    both[0].remove("iris")
    assert collect(database, artifacts, now, GRACE_S).removed == 2
    artifacts.verify(own)


def test_what_was_stored_again_in_the_grace_period_stays(
    database: Database, artifacts: ArtifactStore, home: Path, now: datetime
) -> None:
    digest = artifacts.put_bytes(b"about to be registered")
    make_old(home, now)
    os.utime(artifacts.path(digest), (now.timestamp() - GRACE_S + 1,) * 2)
    assert collect(database, artifacts, now, GRACE_S).kept == 1
    assert collect(database, artifacts, now + timedelta(hours=2), GRACE_S).removed == 1


def test_removing_a_dataset_frees_its_space(
    database: Database, artifacts: ArtifactStore, home: Path, schema: Schema, now: datetime
) -> None:
    digest = artifacts.put_tree({"rows.parquet": b"rows" * 100})
    datasets = DatasetRepository(database, DEFAULT_TENANT)
    datasets.add("iris", digest, schema, {"rows": 1}, {}, now)
    make_old(home, now)
    assert collect(database, artifacts, now, GRACE_S).removed == 0
    datasets.remove("iris")
    assert collect(database, artifacts, now, GRACE_S).freed_bytes > 400
    assert not list(artifacts.iter_digests())


def test_an_upload_is_kept_while_its_job_may_be_resumed(
    database: Database, artifacts: ArtifactStore, home: Path, now: datetime
) -> None:
    jobs = JobRepository(database, DEFAULT_TENANT)
    job = jobs.add("import", {"blob": artifacts.put_bytes(b"upload")}, now)
    jobs.ask(job.id, "cancel", now)
    make_old(home, now)
    assert collect(database, artifacts, now + timedelta(days=6), GRACE_S).kept == 1
    assert collect(database, artifacts, now + timedelta(days=8), GRACE_S).removed == 1


def test_leftovers_of_killed_processes_go_and_folders_of_jobs_stay(
    database: Database, artifacts: ArtifactStore, home: Path, now: datetime
) -> None:
    job = JobRepository(database, DEFAULT_TENANT).add("train", {}, now)
    gone = [artifacts.staging / "half", home / "jobs" / "job-gone" / "log", home / ".backing-up-1" / "modeltap.db"]
    kept = [home / "jobs" / job.id / "log", home / "admin.key", home / "modeltap.db"]
    fresh = home / "jobs" / "job-fresh" / "log"
    for path in (*gone, *kept, fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_bytes(b"12345")
    make_old(home, now)
    os.utime(fresh, (now.timestamp(),) * 2)
    assert collect(database, artifacts, now, GRACE_S).freed_bytes == 15
    assert not any(path.exists() for path in gone)
    assert not (home / "jobs" / "job-gone").exists()
    assert all(path.exists() for path in (*kept, fresh))
