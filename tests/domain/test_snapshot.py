"""What a caller is told of deployments that do not exist."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modeltap.domain.deployment import Deployment, Route
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.errors import NotFound

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def snapshot(*names: str) -> DeploymentSnapshot:
    routes = (Route(model="m", version=1, digest="0" * 64),)
    return DeploymentSnapshot(
        deployments={"acme": {name: Deployment(name=name, routes=routes, created_at=NOW, updated_at=NOW) for name in names}}
    )


def test_a_near_name_is_said_to_a_caller_that_may_use_it() -> None:
    with pytest.raises(NotFound, match="'income'"):
        snapshot("income", "salary").find("acme", "incone")
    with pytest.raises(NotFound, match="'income'"):
        snapshot("income", "salary").find("acme", "incone", models={"income"})


@pytest.mark.parametrize("name", ["salarie", None])
def test_a_caller_for_one_model_hears_no_other_ones_name(name: str | None) -> None:
    with pytest.raises(NotFound) as refused:
        snapshot("income", "salary").find("acme", name, models={"income"})
    assert "salary" not in refused.value.message
