"""The whole snapshot that control hands to serving, in four queries whatever it holds."""

from __future__ import annotations

from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.storage.database import Database
from modeltap.storage.deployments import read_all_deployments
from modeltap.storage.keys import read_all_keys
from modeltap.storage.tenants import read_tenants


def read_snapshot(database: Database) -> DeploymentSnapshot:
    """Every deployment, tenant and key as they are at one moment. Raises StorageFailed, Unavailable."""
    with database.reading() as connection:
        return DeploymentSnapshot(
            deployments=read_all_deployments(connection), tenants=read_tenants(connection), keys=read_all_keys(connection)
        )
