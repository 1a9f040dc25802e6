"""Models, their versions and aliases; the one place that maps their rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TypedDict

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from modeltap.domain.model import Manifest, ModelVersion, VersionState, next_state
from modeltap.domain.names import LATEST, parse_alias, parse_name, parse_ref
from modeltap.errors import Conflict, NotFound, nearest
from modeltap.faults import crash_point
from modeltap.storage.database import Database
from modeltap.storage.tables import deployment_routes, model_aliases, model_versions, models

_COLUMNS = [c for c in model_versions.c if c.name not in ("report", "evaluation", "history")]


class Extras(TypedDict):
    """What belongs to a version beside its bundle: digest of its report, its evaluation, one dict an epoch."""

    report: str | None
    evaluation: dict[str, Any] | None
    history: list[dict[str, Any]]


class ModelRepository:
    """The models of one tenant. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def add(
        self,
        name: str,
        digest: str,
        manifest: Manifest,
        job: str | None,
        now: datetime,
        *,
        state: VersionState = "candidate",
        report: str | None = None,
        evaluation: dict[str, Any] | None = None,
        history: Sequence[dict[str, Any]] = (),
    ) -> ModelVersion:
        """The new version, under the next number; numbers of removed versions are not given again.

        A job has one version: if it registers again after a crash it gets the version it registered first.
        Raises InvalidInput for the name.
        """
        parse_name("model", name)
        with self._database.writing() as connection:
            if job is not None:
                known = _fetch(connection, self._tenant, model_versions.c.job == job)
                if known:
                    return known[0]
            own = (models.c.tenant == self._tenant) & (models.c.name == name)
            last = connection.scalar(select(models.c.last_version).where(own).with_for_update())
            if last is None:
                last = 0
                connection.execute(insert(models).values(tenant=self._tenant, name=name, last_version=0))
            version = ModelVersion(
                name=name,
                version=last + 1,
                digest=digest,
                state=state,
                manifest=manifest,
                job=job,
                created_at=now,
            )
            row = msgspec.structs.asdict(version)
            del row["aliases"]
            connection.execute(update(models).where(own).values(last_version=version.version))
            more = {"report": report, "evaluation": evaluation, "history": list(history)}
            connection.execute(insert(model_versions).values(tenant=self._tenant, **row, **more))
            crash_point("version.before_commit")
        crash_point("version.committed")
        return version

    def get(self, ref: str) -> ModelVersion:
        """`name` and `name@latest` are the newest version. Raises InvalidInput, NotFound with the nearest name."""
        with self._database.reading() as connection:
            return _resolve(connection, self._tenant, ref)

    def of_job(self, job: str) -> ModelVersion | None:
        """The version that the job registered, if it got so far."""
        with self._database.reading() as connection:
            found = _fetch(connection, self._tenant, model_versions.c.job == job)
        return found[0] if found else None

    def list(self) -> tuple[ModelVersion, ...]:
        """The newest version of every model, by name."""
        other = model_versions.alias()
        same_name = (other.c.tenant == self._tenant) & (other.c.name == model_versions.c.name)
        newest = select(func.max(other.c.version)).where(same_name).scalar_subquery()
        with self._database.reading() as connection:
            return _fetch(connection, self._tenant, model_versions.c.version == newest)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """Every version, oldest first. Raises InvalidInput, NotFound."""
        with self._database.reading() as connection:
            _resolve(connection, self._tenant, parse_name("model", name))
            return _fetch(connection, self._tenant, model_versions.c.name == name)

    def manifests(self, digests: Collection[str]) -> dict[str, Manifest]:
        """Digest → manifest, of those of these bundles that are versions here."""
        query = select(model_versions.c.digest, model_versions.c.manifest)
        own = (model_versions.c.tenant == self._tenant) & model_versions.c.digest.in_(sorted(digests))
        with self._database.reading() as connection:
            return {row.digest: msgspec.convert(row.manifest, Manifest) for row in connection.execute(query.where(own))}

    def extras(self, version: ModelVersion) -> Extras:
        """Report, evaluation and history. Raises NotFound if the version was removed since."""
        query = select(model_versions.c.report, model_versions.c.evaluation, model_versions.c.history)
        with self._database.reading() as connection:
            row = connection.execute(query.where(_is(self._tenant, version))).first()
        if row is None:
            raise NotFound(f"the version {version.id} was removed")
        return Extras(report=row.report, evaluation=row.evaluation, history=row.history)

    def set_alias(self, name: str, alias: str, version: int) -> ModelVersion:
        """The version, which `name@alias` means from now on. Raises InvalidInput, NotFound."""
        parse_alias(alias)
        with self._database.writing() as connection:
            found = _resolve(connection, self._tenant, f"{parse_name('model', name)}@{version}")
            connection.execute(delete(model_aliases).where(_is_alias(self._tenant, name, alias)))
            row = {"tenant": self._tenant, "name": name, "alias": alias, "version": found.version}
            connection.execute(insert(model_aliases).values(**row))
            return _resolve(connection, self._tenant, found.id)

    def remove_alias(self, name: str, alias: str) -> None:
        """Raises InvalidInput, NotFound."""
        parse_alias(alias)
        with self._database.writing() as connection:
            _resolve(connection, self._tenant, f"{parse_name('model', name)}@{alias}")
            connection.execute(delete(model_aliases).where(_is_alias(self._tenant, name, alias)))

    def set_state(self, ref: str, event: str) -> ModelVersion:
        """The version after `approve`, `reject` or `retire`. Raises InvalidInput, NotFound, Conflict."""
        with self._database.writing() as connection:
            version = _resolve(connection, self._tenant, ref)
            state = next_state(version.state, event)
            connection.execute(update(model_versions).where(_is(self._tenant, version)).values(state=state))
        return msgspec.structs.replace(version, state=state)

    def remove(self, ref: str) -> None:
        """`name@3` and `name@alias` remove that version, a bare `name` all versions; blobs go with the next gc.

        Raises InvalidInput, NotFound, and Conflict while a deployment routes to one of them.
        """
        name, selector = parse_ref(ref)
        with self._database.writing() as connection:
            named = _resolve(connection, self._tenant, ref)
            versions = (named,) if selector else _fetch(connection, self._tenant, model_versions.c.name == name)
            for version in versions:
                _refuse_if_deployed(connection, self._tenant, version)
                for table in (model_aliases, model_versions):
                    gone = (table.c.name == version.name) & (table.c.version == version.version)
                    connection.execute(delete(table).where(table.c.tenant == self._tenant, gone))


def _fetch(connection: Connection, tenant: str, where: ColumnElement[bool]) -> tuple[ModelVersion, ...]:
    """The tenant's versions with their aliases, by name and number."""
    chosen = select(*_COLUMNS).where(model_versions.c.tenant == tenant, where)
    rows = connection.execute(chosen.order_by(model_versions.c.name, model_versions.c.version)).all()
    names = {row.name for row in rows}
    aliases: dict[tuple[str, int], list[str]] = {}
    query = select(model_aliases).where(model_aliases.c.tenant == tenant).order_by(model_aliases.c.alias)
    for row in connection.execute(query.where(model_aliases.c.name.in_(names)) if len(names) == 1 else query):
        aliases.setdefault((row.name, row.version), []).append(row.alias)
    return tuple(_model_version(row, aliases.get((row.name, row.version), [])) for row in rows)


def _model_version(row: Row[Any], aliases: Sequence[str]) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        digest=row.digest,
        state=row.state,
        manifest=msgspec.convert(row.manifest, Manifest),
        job=row.job,
        created_at=row.created_at,
        aliases=tuple(aliases),
    )


def _is(tenant: str, version: ModelVersion) -> ColumnElement[bool]:
    named = (model_versions.c.name == version.name) & (model_versions.c.version == version.version)
    return (model_versions.c.tenant == tenant) & named


def _is_alias(tenant: str, name: str, alias: str) -> ColumnElement[bool]:
    return (model_aliases.c.tenant == tenant) & (model_aliases.c.name == name) & (model_aliases.c.alias == alias)


def _resolve(connection: Connection, tenant: str, ref: str) -> ModelVersion:
    name, selector = parse_ref(ref)
    of_name = (model_versions.c.tenant == tenant) & (model_versions.c.name == name)
    number: Any
    if selector is None or selector == LATEST:
        other = model_versions.alias()
        same_name = (other.c.tenant == tenant) & (other.c.name == name)
        number = select(func.max(other.c.version)).where(same_name).scalar_subquery()
    elif selector.isdigit():
        number = int(selector)
    else:
        number = select(model_aliases.c.version).where(_is_alias(tenant, name, selector)).scalar_subquery()
    found = _fetch(connection, tenant, of_name & (model_versions.c.version == number))
    if found:
        return found[0]
    numbers = connection.scalars(select(model_versions.c.version).where(of_name).order_by(model_versions.c.version))
    versions = [str(number) for number in numbers]
    if not versions:
        own = select(model_versions.c.name).where(model_versions.c.tenant == tenant).distinct()
        raise NotFound.named("model", name, connection.scalars(own))
    of_alias = (model_aliases.c.tenant == tenant) & (model_aliases.c.name == name)
    known = connection.scalars(select(model_aliases.c.alias).where(of_alias)).all()
    raise NotFound(f"model '{name}' has no version or alias '{selector}'{nearest(str(selector), [*known, *versions])}")


def _refuse_if_deployed(connection: Connection, tenant: str, version: ModelVersion) -> None:
    routed = deployment_routes.c
    query = select(routed.deployment).where(
        routed.tenant == tenant, routed.slot == "now", routed.model == version.name, routed.version == version.version
    )
    deployment = connection.scalar(query.limit(1))
    if deployment is not None:
        raise Conflict(
            f"the deployment '{deployment}' routes to {version.id}; deploy another version there or"
            f" undeploy '{deployment}', then remove"
        )
