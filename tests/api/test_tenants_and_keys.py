"""Tenants and keys over HTTP: what a tenant sees of another in any route, what a scope opens, and the life of a key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from control_front import ControlFront, control_front
from workshop import Workshop

from modeltap.api.access import NEEDS, PREFIX
from modeltap.api.control import control_app
from modeltap.control.batches import BatchSpec
from modeltap.data.answer_chunks import AnswerFolder, Answers, Chunk
from modeltap.domain.secret import parse_key
from modeltap.domain.tenant import SCOPES, granted_scopes
from modeltap.storage.jobs import JobQueue, JobRepository
from modeltap.storage.opening import open_database
from modeltap.storage.tenants import TenantRepository

TENANTS = ("acme", "globex")
TABLE = "x,kind\n" + "\n".join(f"{n % 7},{'a' if n % 7 > 3 else 'b'}" for n in range(60))
LINEAR = {"model": "linear", "epochs": 1}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/jobs"): {"kind": "train", "dataset": "flowers", "task": "tabular-classification"},
    ("POST", "/api/recipes/render"): {"task": "tabular-classification"},
    ("PUT", "/api/models/{name}/aliases/{alias}"): {"version": 1},
    ("POST", "/api/deployments"): {"name": "flowers", "model": "flowers@1"},
    ("POST", "/api/keys"): {"label": "another"},
    ("PATCH", "/api/keys/{key_id}"): {"limits": {"rpm": 3}},
    ("POST", "/api/tenants"): {"name": "initech"},
    ("PATCH", "/api/tenants/{name}"): {"limits": {"rpm": 3}},
}
"""Of the routes that take one, what does no harm."""
LISTS = ("/api/datasets", "/api/jobs", "/api/models", "/api/deployments", "/api/keys")
UPLOAD = "?name=flowers&filename=table.csv&wait=0"


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tenants, each with the data and the model flowers@1, and the job that trained it; and a batch."""
    home = tmp_path_factory.mktemp("shared")
    database = open_database(home)
    for number, tenant in enumerate(TENANTS):
        TenantRepository(database).add(tenant, {}, datetime.now(UTC))
        workshop = Workshop(home, tenant)
        workshop.add("flowers", TABLE + f"\n{number},a", target="kind")
        made = workshop.train("flowers", "tabular-classification", LINEAR)
        workshop.models.set_alias("flowers", "best", 1)
        workshop.close()
        rows = BatchSpec(deployment="flowers", key="admin", filename="rows.csv", upload="none")
        batch = JobRepository(database, tenant).add("batch", msgspec.to_builtins(rows), datetime.now(UTC))
        AnswerFolder(home / "jobs" / batch.id).write_answers(Answers(chunk=Chunk(number=1, first=0, num_rows=0)))
        queue = JobQueue(database)
        for result in ({}, made, {}):
            job = queue.claim(datetime.now(UTC), 60)
            assert job is not None
            queue.finish(job.id, job.fence, "succeed", datetime.now(UTC), result=result)
    database.close()
    return home


@pytest.fixture(scope="module")
def front(shared_home: Path) -> Iterator[ControlFront]:
    """Each tenant has also deployed flowers, and a key of it."""
    with control_front(shared_home) as front:
        for tenant in TENANTS:
            front.ask("POST", "/api/deployments", tenant=tenant, json={"name": "flowers", "model": "flowers@1"})
            front.make_key(tenant, "predict", label=tenant)
        yield front


def things_of(front: ControlFront, tenant: str) -> dict[str, str]:
    """What stands in the paths of this tenant's things."""
    jobs = front.ask("GET", "/api/jobs", tenant=tenant)["jobs"]
    keys = front.ask("GET", "/api/keys", tenant=tenant)["keys"]
    return {
        "ref": "flowers@1",
        "name": "flowers",
        "alias": "best",
        "action": "resume",
        "job_id": next(job["id"] for job in jobs if job["kind"] == "train"),
        "batch_id": next(job["id"] for job in jobs if job["kind"] == "batch"),
        "key_id": keys[-1]["id"],
    }


def call(front: ControlFront, method: str, path: str, things: dict[str, str], **who: Any) -> Any:
    """One request to the route with these things in its path."""
    filled = path.format(**things)
    body = BODIES.get((method, path))
    if path == "/api/compare":
        filled += "?refs=flowers@1,flowers@1"
    if (method, path) == ("POST", "/api/datasets"):
        return front.request(method, filled + UPLOAD, content=TABLE.encode(), **who)
    return front.request(method, filled, **({} if body is None else {"json": body}), **who)


def routes_of_things() -> list[tuple[str, str]]:
    """Every route whose path names a thing of a tenant."""
    return [(method, path) for method, path in NEEDS if "{" in path and not path.startswith("/api/tenants")]


def everything(front: ControlFront, tenant: str) -> bytes:
    """All that the tenant can list, as bytes; without what a clock changes."""
    return b"\n".join(front.request("GET", path, tenant=tenant).content for path in LISTS)


def test_every_route_has_its_need_and_every_need_its_route() -> None:
    paths = control_app(None).openapi()["paths"]  # type: ignore[arg-type]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods if path.startswith(PREFIX)}
    assert routes == set(NEEDS)


def test_the_same_names_show_each_tenant_its_own(front: ControlFront) -> None:
    digests = set()
    for tenant in TENANTS:
        (dataset,) = front.ask("GET", "/api/datasets", tenant=tenant)["datasets"]
        (model,) = front.ask("GET", "/api/models", tenant=tenant)["models"]
        (deployment,) = front.ask("GET", "/api/deployments", tenant=tenant)["deployments"]
        assert dataset["id"] == model["latest"]["id"] == "flowers@1"
        assert deployment["tenant"] == tenant and deployment["status"] == "ready"
        assert deployment["routes"][0]["digest"] == model["latest"]["digest"]
        assert {job["tenant"] for job in front.ask("GET", "/api/jobs", tenant=tenant)["jobs"]} == {tenant}
        assert {key["tenant"] for key in front.ask("GET", "/api/keys", tenant=tenant)["keys"]} == {tenant}
        digests.add(dataset["digest"])
    assert len(digests) == 2
    for path in LISTS:
        (listed,) = front.ask("GET", path).values()
        assert listed == [], "the default tenant owns nothing here"


@pytest.mark.parametrize(("method", "path"), routes_of_things(), ids=lambda value: str(value))
def test_what_another_tenant_owns_is_not_there(front: ControlFront, method: str, path: str) -> None:
    """A third tenant asks every route for what acme has, by name and by id; one that has the same names, by id."""
    front.request("POST", "/api/tenants", json={"name": "stranger"})
    acme = things_of(front, "acme")
    before = everything(front, "acme")
    answer = call(front, method, path, acme, tenant="stranger")
    assert answer.status_code == 404, answer.text
    assert answer.json()["code"] == "not_found"
    assert "acme" not in answer.text and "known:" not in answer.text and "did you mean" not in answer.text
    if "{job_id}" in path or "{key_id}" in path:
        by_id = call(front, method, path, acme, tenant="globex")
        assert by_id.status_code == 404, by_id.text
        assert by_id.json()["code"] == "not_found"
    assert everything(front, "acme") == before


def test_the_owner_itself_gets_all_of_it(front: ControlFront) -> None:
    acme = things_of(front, "acme")
    for method, path in routes_of_things():
        if method == "GET":
            answer = call(front, method, path, acme, tenant="acme")
            assert answer.status_code == 200, f"{path}: {answer.text}"


def test_what_is_added_is_the_callers_own(front: ControlFront) -> None:
    before = everything(front, "globex")
    job = front.ask("POST", "/api/jobs", tenant="acme", json=BODIES["POST", "/api/jobs"])
    upload = front.ask("POST", f"/api/datasets{UPLOAD}", tenant="acme", content=TABLE.encode())["job"]
    assert {job["tenant"], upload["tenant"]} == {"acme"}
    for made in (job, upload):
        front.ask("POST", f"/api/jobs/{made['id']}/cancel", tenant="acme")
    assert everything(front, "globex") == before


def test_a_job_of_what_only_another_tenant_has_is_not_made(front: ControlFront) -> None:
    for body in (
        BODIES["POST", "/api/jobs"],
        {"kind": "evaluate", "model": "flowers@1", "dataset": "flowers@1"},
    ):
        answer = front.request("POST", "/api/jobs", json=body)
        assert answer.status_code == 404, answer.text
    answer = front.request("POST", "/api/deployments", json=BODIES["POST", "/api/deployments"])
    assert answer.status_code == 404, answer.text


def test_the_header_acts_for_the_admin_key_alone(front: ControlFront) -> None:
    key = front.make_key("acme", "admin")
    assert front.request("GET", "/api/deployments", tenant="nobody").status_code == 404
    assert front.request("GET", "/api/deployments", key=key, tenant="globex").status_code == 404
    assert front.request("GET", "/api/deployments", key=key, tenant="default").status_code == 404
    for named in (None, "acme"):
        (deployment,) = front.ask("GET", "/api/deployments", key=key, tenant=named)["deployments"]
        assert deployment["tenant"] == "acme"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_what_the_table_says_and_nothing_else(front: ControlFront, scope: Any) -> None:
    """The thing asked for is of another tenant or does not exist, so that whatever is let in ends as 404 and does nothing."""
    key = front.make_key("acme", scope)
    nothing = {**dict.fromkeys(("ref", "name", "alias", "job_id", "batch_id", "key_id"), "none"), "action": "cancel"}
    granted = granted_scopes((scope,))
    harmless = {"/api/deployments", "/api/keys", "/api/tenants"}
    for (method, path), need in NEEDS.items():
        is_let_in = need is not None and bool(granted & set(need))
        if is_let_in and "{" not in path and method == "POST" and path in harmless:
            continue  # these would do it; what they do is seen in other tests
        if is_let_in and (method, path) in (("POST", "/api/datasets"), ("POST", "/api/jobs")):
            continue
        answer = call(front, method, path, nothing, key=key)
        assert (answer.status_code != 403) == is_let_in, f"{method} {path}: {answer.status_code} {answer.text}"
        if not is_let_in:
            problem = answer.json()
            assert problem["code"] == "forbidden"
            assert ("admin key" if need is None else " or ".join(need)) in problem["detail"]


def test_a_refused_upload_is_not_read(front: ControlFront) -> None:
    key = front.make_key("acme", "predict")
    answer = front.request("POST", f"/api/datasets{UPLOAD}", key=key, content=b"a" * (2 << 20))
    assert answer.status_code == 403


def test_a_key_lives_and_ends_over_http(front: ControlFront) -> None:
    limits = {"rpm": 60, "upm": 1000, "concurrency": 4, "budget_day": "12.50", "budget_month": "100"}
    body = {"label": "shop", "scopes": ["train"], "models": ["flowers"], "limits": limits, "expires_in_s": 3600}
    made = front.ask("POST", "/api/keys", tenant="acme", json=body)
    parsed = parse_key(made["key"])
    assert parsed is not None and parsed[0] == made["id"]
    path = f"/api/keys/{made['id']}"
    shown = front.ask("GET", path, tenant="acme")
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert (shown["state"], shown["scopes"], shown["models"]) == ("live", ["train"], ["flowers"])
    assert shown["limits"] == {**limits, "budget_day": "12.5"}
    assert len(shown["secrets"]) == 1 and "digest" not in msgspec.json.encode(shown).decode()

    changed = front.ask("PATCH", path, tenant="acme", json={"limits": {"rpm": None, "budget_day": "0.000000001"}})
    assert changed["limits"] == {**limits, "rpm": None, "budget_day": "0.000000001"}

    first = made["key"]
    assert front.ask("GET", "/api/models", key=first)["models"]
    second = front.ask("POST", f"{path}/rotate", tenant="acme")["key"]
    third = front.ask("POST", f"{path}/rotate", tenant="acme", json={"grace_s": 60})
    assert len(third["secrets"]) == 2
    opened = [front.request("GET", "/api/models", key=text).status_code for text in (first, second, third["key"])]
    assert opened == [401, 200, 200]

    gone = front.ask("DELETE", path, tenant="acme")
    assert gone["state"] == "revoked"
    refused = front.request("GET", "/api/models", key=third["key"])
    assert refused.status_code == 401 and "revoked" in refused.json()["detail"]
    assert front.request("POST", f"{path}/rotate", tenant="acme").status_code == 409
    assert front.ask("DELETE", path, tenant="acme") == gone


def test_an_expired_key_opens_nothing(front: ControlFront, monkeypatch: pytest.MonkeyPatch) -> None:
    key = front.make_key("acme", "train", expires_in_s=60)
    assert front.request("GET", "/api/models", key=key).status_code == 200
    later = datetime.now(UTC).timestamp() + 61
    monkeypatch.setattr(front.guard, "_clock", lambda: later)
    answer = front.request("GET", "/api/models", key=key)
    assert answer.status_code == 401 and "expired" in answer.json()["detail"]


def test_a_tenant_admin_makes_keys_of_its_own_tenant(front: ControlFront) -> None:
    admin = front.make_key("acme", "admin")
    made = front.ask("POST", "/api/keys", key=admin, json={"label": "made by acme"})
    assert made["tenant"] == "acme"
    assert made["id"] in [key["id"] for key in front.ask("GET", "/api/keys", tenant="acme")["keys"]]
    assert made["id"] not in [key["id"] for key in front.ask("GET", "/api/keys", tenant="globex")["keys"]]


def test_a_tenant_lives_and_ends_over_http(front: ControlFront) -> None:
    made = front.ask("POST", "/api/tenants", json={"name": "umbrella", "limits": {"upm": 5, "budget_month": "1e3"}})
    assert (made["id"], made["limits"]["upm"], made["limits"]["budget_month"]) == ("umbrella", 5, "1000")
    assert front.ask("GET", "/api/tenants/umbrella") == made
    assert made in front.ask("GET", "/api/tenants")["tenants"]
    changed = front.ask("PATCH", "/api/tenants/umbrella", json={"limits": {"upm": None, "rpm": 2}})
    assert (changed["limits"]["upm"], changed["limits"]["rpm"], changed["limits"]["budget_month"]) == (None, 2, "1000")
    front.make_key("umbrella", "predict")
    refused = front.request("DELETE", "/api/tenants/umbrella")
    assert refused.status_code == 409 and "1 key that was not revoked" in refused.json()["detail"]
    (key,) = front.ask("GET", "/api/keys", tenant="umbrella")["keys"]
    front.ask("DELETE", f"/api/keys/{key['id']}", tenant="umbrella")
    front.ask("DELETE", "/api/tenants/umbrella")
    assert front.request("GET", "/api/keys", tenant="umbrella").status_code == 404
    assert front.request("POST", "/api/tenants", json={"name": "acme"}).status_code == 409


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"rpm": 0}, "limits.rpm"),
        ({"rpm": True}, "limits.rpm"),
        ({"rpm": 10**10}, "limits.rpm"),
        ({"rmp": 1}, "limits.rmp: unknown field"),
        ({"budget_day": 12.5}, 'limits.budget_day: give the amount of the currency as text, such as "12.50"'),
        ({"budget_day": "ten"}, "budget_day is 'ten'"),
        ({"budget_day": "-1"}, "from 0 to"),
        ({"budget_month": "0.0000000001"}, "at most 9 digits"),
    ],
)
def test_a_limit_that_cannot_be_is_named(front: ControlFront, limits: dict[str, Any], told: str) -> None:
    answer = front.request("POST", "/api/keys", tenant="acme", json={"limits": limits})
    assert answer.status_code == 400, answer.text
    assert told in answer.json()["detail"]


def test_terms_are_kept_shown_and_changed_one_by_one(front: ControlFront) -> None:
    def deploy(**more: Any) -> Any:
        return front.ask("POST", "/api/deployments", tenant="acme", json={"name": "priced", "model": "flowers", **more})

    terms = {"price": {"row": "0.5"}, "public_limits": {"rpm": 10, "budget_day": "3"}, "deadline_ms": 500, "max_batch": 8}
    first = deploy(terms=terms)["terms"]
    assert (first["price"]["row"], first["price"]["token"], first["deadline_ms"], first["max_batch"]) == ("0.5", "0", 500, 8)
    assert (first["public"], first["public_limits"]["rpm"], first["public_limits"]["budget_day"]) == (False, 10, "3")
    assert deploy()["terms"] == first
    second = deploy(terms={"price": {"token": "0.000001"}, "public_limits": {"rpm": None}, "public": True})["terms"]
    assert second["price"] == {**first["price"], "token": "0.000001"}
    assert second["public"] and second["public_limits"] == {**first["public_limits"], "rpm": None}
    taken = front.request(
        "POST", "/api/deployments", tenant="globex", json={"name": "priced", "model": "flowers", "terms": {"public": True}}
    )
    assert taken.status_code == 409 and "taken among public" in taken.json()["detail"]
    for wrong, told in (
        ({"price": {"rwo": "1"}}, "did you mean 'row'"),
        ({"price": {"row": "0.0000001"}}, "at most 6 digits"),
        ({"replicas": 65}, "terms.replicas"),
        ({"colour": 1}, "unknown field"),
    ):
        answer = front.request(
            "POST", "/api/deployments", tenant="acme", json={"name": "priced", "model": "flowers", "terms": wrong}
        )
        assert answer.status_code == 400 and told in answer.json()["detail"], answer.text
    front.ask("DELETE", "/api/deployments/priced", tenant="acme")


def test_what_strangers_could_reach_is_made_public_only_if_it_is_meant(shared_home: Path) -> None:
    body = {"name": "open", "model": "flowers", "terms": {"public": True}}
    with control_front(shared_home, host="0.0.0.0") as front:
        refused = front.request("POST", "/api/deployments", tenant="acme", json=body)
        assert refused.status_code == 403 and "--force" in refused.json()["detail"]
        assert front.ask("POST", "/api/deployments", tenant="acme", json={**body, "force": True})["terms"]["public"]
        again = front.ask("POST", "/api/deployments", tenant="acme", json={"name": "open", "model": "flowers"})
        assert again["terms"]["public"], "what was meant once stays"
        front.ask("DELETE", "/api/deployments/open", tenant="acme")
