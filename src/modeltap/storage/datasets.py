"""Datasets by name and version; the one place that maps their rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update

from modeltap.domain.dataset import Dataset, Part, Schema
from modeltap.domain.job import ENDED
from modeltap.domain.names import LATEST, parse_name, parse_ref
from modeltap.errors import Conflict, InvalidInput, NotFound, nearest
from modeltap.faults import crash_point
from modeltap.storage.database import Database
from modeltap.storage.tables import dataset_versions, datasets, jobs

_COLUMNS = [c for c in dataset_versions.c if c.name != "profile"]


class DatasetRepository:
    """The datasets of one tenant. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def add(
        self,
        name: str,
        digest: str,
        schema: Schema,
        num_rows: Mapping[Part, int],
        profile: dict[str, Any],
        now: datetime,
    ) -> tuple[Dataset, bool]:
        """The dataset, and whether it is new: the newest version is given back if digest and schema are the same.

        Otherwise it gets the next number; numbers of removed versions are not given again.
        Raises InvalidInput for the name.
        """
        parse_name("dataset", name)
        with self._database.writing() as connection:
            own = (datasets.c.tenant == self._tenant) & (datasets.c.name == name)
            last = connection.scalar(select(datasets.c.last_version).where(own).with_for_update())
            if last is None:
                last = 0
                connection.execute(insert(datasets).values(tenant=self._tenant, name=name, last_version=0))
            newest = connection.execute(_newest(self._tenant, name)).first()
            if newest is not None and newest.digest == digest and _dataset(newest).schema == schema:
                return _dataset(newest), False
            dataset = Dataset(
                name=name, version=last + 1, digest=digest, schema=schema, num_rows=dict(num_rows), created_at=now
            )
            row = msgspec.structs.asdict(dataset)
            connection.execute(update(datasets).where(own).values(last_version=dataset.version))
            connection.execute(insert(dataset_versions).values(tenant=self._tenant, **row, profile=profile))
            crash_point("dataset.before_commit")
        crash_point("dataset.committed")
        return dataset, True

    def get(self, ref: str) -> Dataset:
        """`name` and `name@latest` are the newest version. Raises InvalidInput, NotFound with the nearest name."""
        with self._database.reading() as connection:
            return _resolve(connection, self._tenant, ref)

    def list(self) -> tuple[Dataset, ...]:
        """The newest version of every dataset, by name."""
        other = dataset_versions.alias()
        same_name = (other.c.tenant == self._tenant) & (other.c.name == dataset_versions.c.name)
        newest = select(func.max(other.c.version)).where(same_name).scalar_subquery()
        own = dataset_versions.c.tenant == self._tenant
        query = select(*_COLUMNS).where(own, dataset_versions.c.version == newest).order_by(dataset_versions.c.name)
        with self._database.reading() as connection:
            return tuple(map(_dataset, connection.execute(query)))

    def versions(self, name: str) -> tuple[Dataset, ...]:
        """Every version, oldest first. Raises InvalidInput, NotFound."""
        with self._database.reading() as connection:
            _resolve(connection, self._tenant, parse_name("dataset", name))
            query = select(*_COLUMNS).where(_of_name(self._tenant, name)).order_by(dataset_versions.c.version)
            return tuple(map(_dataset, connection.execute(query)))

    def profile(self, dataset: Dataset) -> dict[str, Any]:
        """What was measured of its columns when it was added. Raises NotFound if it was removed since."""
        query = select(dataset_versions.c.profile).where(
            _of_name(self._tenant, dataset.name), dataset_versions.c.version == dataset.version
        )
        with self._database.reading() as connection:
            profile: dict[str, Any] | None = connection.scalar(query)
        if profile is None:
            raise NotFound(f"the dataset {dataset.id} was removed")
        return profile

    def remove(self, ref: str) -> None:
        """`name@3` removes that version, a bare `name` all versions; blobs go with the next gc.

        Versions of models keep the digest in their lineage. Raises InvalidInput, NotFound, and Conflict while a job
        that has not ended names the dataset.
        """
        name, selector = parse_ref(ref)
        with self._database.writing() as connection:
            version = _resolve(connection, self._tenant, ref).version
            wanted = _of_name(self._tenant, name)
            if selector is not None:
                wanted &= dataset_versions.c.version == version
            _refuse_if_in_use(connection, self._tenant, name, version if selector is not None else None)
            connection.execute(delete(dataset_versions).where(wanted))


def _dataset(row: Row[Any]) -> Dataset:
    return Dataset(
        name=row.name,
        version=row.version,
        digest=row.digest,
        schema=msgspec.convert(row.schema, Schema),
        num_rows=row.num_rows,
        created_at=row.created_at,
    )


def _of_name(tenant: str, name: str) -> ColumnElement[bool]:
    return (dataset_versions.c.tenant == tenant) & (dataset_versions.c.name == name)


def _newest(tenant: str, name: str) -> Select[Any]:
    return select(*_COLUMNS).where(_of_name(tenant, name)).order_by(dataset_versions.c.version.desc()).limit(1)


def _resolve(connection: Connection, tenant: str, ref: str) -> Dataset:
    name, selector = parse_ref(ref)
    if selector is not None and selector != LATEST and not selector.isdigit():
        raise InvalidInput(f"'{ref}' names no dataset; datasets have no aliases, write {name}@3 or {name}@{LATEST}")
    newest = connection.execute(_newest(tenant, name)).first()
    if newest is None:
        known = connection.scalars(select(dataset_versions.c.name).where(dataset_versions.c.tenant == tenant).distinct())
        raise NotFound.named("dataset", name, known)
    if selector is None or selector == LATEST or int(selector) == newest.version:
        return _dataset(newest)
    query = select(*_COLUMNS).where(_of_name(tenant, name), dataset_versions.c.version == int(selector))
    row = connection.execute(query).first()
    if row is None:
        numbers = connection.scalars(select(dataset_versions.c.version).where(_of_name(tenant, name)))
        raise NotFound(f"there is no version {selector} of dataset '{name}'{nearest('', map(str, numbers))}")
    return _dataset(row)


def _refuse_if_in_use(connection: Connection, tenant: str, name: str, version: int | None) -> None:
    """Raises Conflict while a job that may still run names the dataset; `version` None is any version of it."""
    open_jobs = (jobs.c.tenant == tenant) & jobs.c.state.not_in(ENDED)
    for job in connection.execute(select(jobs.c.id, jobs.c.spec, jobs.c.state).where(open_jobs)):
        given = job.spec.get("dataset")
        if not isinstance(given, str):
            continue
        used, _, selector = given.partition("@")
        if used == name and (version is None or not selector.isdigit() or int(selector) == version):
            raise Conflict(
                f"the dataset '{given}' is used by the {job.state} job {job.id}; wait for it, or cancel it, then remove"
            )
