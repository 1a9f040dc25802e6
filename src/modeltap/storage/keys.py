"""Keys by id, with the digests of their secrets; the one place that maps their rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from modeltap.domain.changes import changed
from modeltap.domain.key import ROTATION_GRACE, check_live, rotate
from modeltap.domain.tenant import Key, Limits, Secret
from modeltap.errors import NotFound
from modeltap.storage.database import Database
from modeltap.storage.limit_history import record_limits
from modeltap.storage.tables import keys


class KeyRepository:
    """The keys of one tenant. Every method is one transaction."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def add(self, key: Key) -> Key:
        """The key, which now opens. Its tenant is this one."""
        key = msgspec.structs.replace(key, tenant=self._tenant)
        with self._database.writing() as connection:
            connection.execute(insert(keys).values(**msgspec.structs.asdict(key)))
            record_limits(connection, key.tenant, key.id, key.limits, key.created_at)
        return key

    def get(self, key_id: str) -> Key:
        """Raises NotFound, also for the key of another tenant."""
        with self._database.reading() as connection:
            return self._get(connection, key_id)

    def list(self) -> tuple[Key, ...]:
        """The newest first, also those that open nothing any more."""
        query = select(keys).where(keys.c.tenant == self._tenant).order_by(keys.c.created_at.desc(), keys.c.id.desc())
        with self._database.reading() as connection:
            return tuple(map(_key, connection.execute(query)))

    def revoke(self, key_id: str, now: datetime) -> Key:
        """The key, which opens nothing from `now` on; one that was revoked stays as it is. Raises NotFound."""
        return self._change(
            key_id, lambda key: key if key.revoked_at is not None else msgspec.structs.replace(key, revoked_at=now)
        )

    def rotate(self, key_id: str, digest: str, now: datetime, grace: timedelta = ROTATION_GRACE) -> Key:
        """The key with a new secret; see `domain.key.rotate`. Raises NotFound, Conflict."""
        return self._change(key_id, lambda key: rotate(key, digest, now, grace))

    def set_limits(self, key_id: str, changes: Mapping[str, Any], now: datetime) -> Key:
        """The key with these limits changed and the others as they were. Raises NotFound, InvalidInput, Conflict for a key
        that is revoked or expired."""

        def change(key: Key) -> Key:
            check_live(key, now)
            return msgspec.structs.replace(key, limits=changed(key.limits, changes))

        return self._change(key_id, change, now)

    def allow(self, key_id: str, model: str) -> Key:
        """The key, which may call the deployment from now on; one that may call all stays as it was. Raises NotFound."""

        def change(key: Key) -> Key:
            if key.models is None or model in key.models:
                return key
            return msgspec.structs.replace(key, models=tuple(sorted({*key.models, model})))

        return self._change(key_id, change)

    def _change(self, key_id: str, change: Callable[[Key], Key], limits_from: datetime | None = None) -> Key:
        with self._database.writing() as connection:
            old = self._get(connection, key_id, lock=True)
            key = change(old)
            values = {"models": key.models, "limits": key.limits, "secrets": key.secrets, "revoked_at": key.revoked_at}
            connection.execute(update(keys).where(keys.c.tenant == self._tenant, keys.c.id == key_id).values(**values))
            if limits_from is not None:
                record_limits(connection, key.tenant, key.id, key.limits, limits_from)
        return key

    def _get(self, connection: Connection, key_id: str, *, lock: bool = False) -> Key:
        query = select(keys).where(keys.c.tenant == self._tenant, keys.c.id == key_id)
        row = connection.execute(query.with_for_update() if lock else query).first()
        if row is None:
            raise NotFound(f"there is no key '{key_id[:80]}'; 'modeltap keys list' shows all")
        return _key(row)


def read_all_keys(connection: Connection) -> dict[str, Key]:
    """Those of all tenants by id, also the revoked and the expired."""
    return {row.id: _key(row) for row in connection.execute(select(keys).order_by(keys.c.id))}


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        tenant=row.tenant,
        label=row.label,
        scopes=tuple(row.scopes),
        models=None if row.models is None else tuple(row.models),
        limits=msgspec.convert(row.limits, Limits),
        secrets=msgspec.convert(row.secrets, tuple[Secret, ...]),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
