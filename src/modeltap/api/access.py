"""Which scope each control route takes: one table, and the check that every route goes through."""

from __future__ import annotations

from fastapi import Request
from starlette.routing import compile_path

from modeltap.domain.tenant import Principal, Scope
from modeltap.errors import Forbidden

Need = tuple[Scope, ...] | None
"""Any one of these scopes; None is the home's admin key alone."""

PREDICT: Need = ("predict",)
TRAIN: Need = ("train",)
ADMIN: Need = ("admin",)
LOOK: Need = ("predict", "train", "admin")
ROOT_ALONE: Need = None

NEEDS: dict[tuple[str, str], Need] = {
    ("POST", "/api/datasets"): TRAIN,
    ("GET", "/api/datasets"): TRAIN,
    ("GET", "/api/datasets/{ref}"): TRAIN,
    ("DELETE", "/api/datasets/{ref}"): TRAIN,
    ("POST", "/api/jobs"): TRAIN,
    ("GET", "/api/jobs"): TRAIN,
    ("GET", "/api/jobs/{job_id}"): PREDICT,
    ("POST", "/api/jobs/{job_id}/{action}"): PREDICT,
    ("GET", "/api/jobs/{job_id}/events"): PREDICT,
    ("GET", "/api/jobs/{job_id}/log"): PREDICT,
    ("GET", "/api/jobs/{job_id}/report"): TRAIN,
    ("GET", "/api/jobs/{job_id}/trials"): TRAIN,
    ("POST", "/api/batches"): PREDICT,
    ("GET", "/api/batches/{batch_id}/output"): PREDICT,
    ("POST", "/api/recipes/render"): TRAIN,
    ("GET", "/api/models"): TRAIN,
    ("POST", "/api/models/import"): TRAIN,
    ("GET", "/api/models/{ref}"): TRAIN,
    ("GET", "/api/models/{ref}/report"): TRAIN,
    ("GET", "/api/models/{ref}/recipe"): TRAIN,
    ("GET", "/api/models/{ref}/export"): TRAIN,
    ("GET", "/api/compare"): TRAIN,
    ("PUT", "/api/models/{name}/aliases/{alias}"): TRAIN,
    ("DELETE", "/api/models/{name}/aliases/{alias}"): TRAIN,
    ("DELETE", "/api/models/{ref}"): TRAIN,
    ("POST", "/api/deployments"): ADMIN,
    ("GET", "/api/deployments"): LOOK,
    ("GET", "/api/deployments/{name}"): LOOK,
    ("POST", "/api/deployments/{name}/rollback"): ADMIN,
    ("DELETE", "/api/deployments/{name}"): ADMIN,
    ("POST", "/api/keys"): ADMIN,
    ("GET", "/api/keys"): ADMIN,
    ("GET", "/api/keys/{key_id}"): ADMIN,
    ("PATCH", "/api/keys/{key_id}"): ADMIN,
    ("POST", "/api/keys/{key_id}/rotate"): ADMIN,
    ("DELETE", "/api/keys/{key_id}"): ADMIN,
    ("GET", "/api/usage"): ADMIN,
    ("GET", "/api/usage.csv"): ADMIN,
    ("GET", "/api/audit"): ROOT_ALONE,
    ("POST", "/api/tenants"): ROOT_ALONE,
    ("GET", "/api/tenants"): ROOT_ALONE,
    ("GET", "/api/tenants/{name}"): ROOT_ALONE,
    ("PATCH", "/api/tenants/{name}"): ROOT_ALONE,
    ("DELETE", "/api/tenants/{name}"): ROOT_ALONE,
    ("GET", "/api/server"): ROOT_ALONE,
    ("POST", "/api/gc"): ROOT_ALONE,
    ("GET", "/api/backup"): ROOT_ALONE,
}
"""(method, path) → what it takes. Whatever is not here is refused to everybody but the admin key."""

PREFIX = "/api"


def methods_of(path: str) -> tuple[str, ...]:
    """Every method that a control route of this path takes."""
    return tuple(sorted({method for method, template in NEEDS if compile_path(template)[0].match(path)}))


def caller(request: Request) -> Principal:
    """Who calls; its tenant is the one that is acted in, also where the admin key named another than its own."""
    principal: Principal = request.scope["modeltap.principal"]
    return principal


def check_access(request: Request) -> None:
    """A dependency of every control route. Raises Forbidden, naming the scope that is needed."""
    path = PREFIX + request.scope["route"].path.removeprefix(PREFIX)
    principal = caller(request)
    need = NEEDS.get((request.method, path))
    if principal.is_root:
        return
    if need is None:
        raise Forbidden(
            f"{request.method} {path} takes the admin key of the home, which is in admin.key there; the key {principal.key} is"
            f" one of the tenant '{principal.tenant}'"
        )
    if not any(map(principal.may, need)):
        has = ", ".join(sorted(principal.scopes)) or "none"
        raise Forbidden(
            f"{request.method} {path} takes a key with the scope {' or '.join(need)}; the key {principal.key} has: {has}"
        )
