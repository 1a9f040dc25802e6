"""The control API does what /openapi.json says, for whatever fits it and for what does not: no failure inside, no status or
content type that is not described, nothing without a key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import pytest
from control_front import ControlFront, control_front
from described_server import Described, can_be_broken
from schemathesis import Case, GenerationMode
from workshop import Workshop

from modeltap.api.access import NEEDS
from modeltap.api.control import control_app
from modeltap.api.control_data import MAX_WAIT_S
from modeltap.control.batches import BatchSpec
from modeltap.data.answer_chunks import AnswerFolder, Answers, Chunk
from modeltap.storage.jobs import JobQueue

Route = tuple[str, str]
Things = Mapping[str, Any]
"""The name of a part of a path, a parameter or a field → a value that leads to something."""
NAME = "flowers"
TABLE = "x,kind\n" + "\n".join(f"{n % 7},{'a' if n % 7 > 3 else 'b'}" for n in range(60))
TREES = {
    "task": "tabular-classification",
    "model": {"architecture": "gradient-boosting", "max_iter": 5, "early_stopping_rounds": 0},
}
TRAINING = {"kind": "train", "dataset": NAME, "recipe": TREES}
DOCUMENT = control_app(cast(Any, None)).openapi()
FEW = 8
FEWER: dict[Route, int] = {("POST", "/api/deployments"): 4, ("POST", "/api/gc"): 2, ("GET", "/api/backup"): 2}
"""Requests to a route, and to those that take long."""
HARD_TO_PLEASE: set[Route] = {("POST", "/api/models/import"), ("POST", "/api/deployments/{name}/rollback")}
"""Want an ONNX model, and a deployment that had another version: chance makes neither."""
JOB_CHANGE: Route = ("POST", "/api/jobs/{job_id}/{action}")
"""Each request to it that names a job names one of its own, in the state that the action wants."""


def in_order(route: Route) -> tuple[bool, str]:
    """What removes things comes last, and a version after what leads to it."""
    method, path = route
    return method == "DELETE", path


def is_time(given: Any) -> bool:
    """Whether it is a `wait` that is in order."""
    return isinstance(given, float | int) and 0 <= given <= MAX_WAIT_S


ROUTES = sorted(NEEDS, key=in_order)
BREAKABLE = [(method, path) for method, path in ROUTES if can_be_broken(DOCUMENT["paths"][path][method.lower()])]


class World(NamedTuple):
    """The application behind a socket, by its description; and what there is, in general and for some of the routes, whose
    bodies have these fields in any case."""

    described: Described
    things: Things
    own: dict[Route, Things]
    front: ControlFront

    def hold(self, route: Route, mode: GenerationMode) -> set[int]:
        is_right = mode is GenerationMode.POSITIVE
        own = self.own.get(route, {})
        things = {**self.things, **own}

        def adjust(case: Case, is_there: bool) -> None:
            # Of a request that is wrong only the path is changed: any text is right there.
            for part in (case.path_parameters, *((case.query, case.body) if is_right else ())) if is_there else ():
                if isinstance(part, dict):
                    given = {*part, *own} if part is case.body else part
                    part.update({name: value for name, value in things.items() if name in given})
            if route == JOB_CHANGE and is_there:
                case.path_parameters["job_id"] = self._job_to(case.path_parameters["action"])
            if is_right and isinstance(case.body, dict):
                case.body.pop("upstream", None)  # would start any program, and ask any machine
                if route == ("POST", "/api/jobs") and is_there:  # one of a kind that what there is suffices for
                    case.body = {name: value for name, value in case.body.items() if name == "target"} | TRAINING
            if case.operation.path == "/api/datasets" and case.method == "POST" and is_time(case.query.get("wait", 0)):
                case.query["wait"] = 0  # nobody works on the job here

        return self.described.hold(route, mode, adjust, num=FEWER.get(route, FEW))

    def _job_to(self, action: object) -> str:
        """The id of a new job that this can be done to."""
        job_id: str = self.front.ask("POST", "/api/jobs", json=TRAINING)["id"]
        if action == "resume":
            self.front.ask("POST", f"/api/jobs/{job_id}/pause")
        return job_id


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("described")
    make_home(home)
    with ExitStack() as opened:
        front = opened.enter_context(control_front(home))
        things, own = things_of(front)
        described = Described(opened.enter_context(front.listening()), front.admin_key)
        opened.callback(described.close)
        yield World(described, things, own, front)


def make_home(home: Path) -> None:
    """A dataset, a model that was trained on it, with an alias, and their jobs; a batch that has ended; a spare dataset."""
    workshop = Workshop(home)
    workshop.add(NAME, TABLE, target="kind")
    workshop.add("spare", TABLE, target="kind")
    made = workshop.train(NAME, recipe=TREES)
    workshop.models.set_alias(NAME, "best", 1)
    rows = BatchSpec(deployment=NAME, key="admin", filename="rows.csv", upload="none")
    batch = workshop.jobs.add("batch", msgspec.to_builtins(rows), datetime.now(UTC))
    AnswerFolder(home / "jobs" / batch.id).write_answers(Answers(chunk=Chunk(number=1, first=0, num_rows=0)))
    queue = JobQueue(workshop.database)
    for result in ({}, {}, made, {}):
        job = queue.claim(datetime.now(UTC), 60)
        assert job is not None
        queue.finish(job.id, job.fence, "succeed", datetime.now(UTC), result=result)
    workshop.close()


def things_of(front: ControlFront) -> tuple[Things, dict[Route, Things]]:
    """What can be asked for there, once there are a deployment, a key, a tenant and a job that waits as well."""
    jobs = {job["kind"]: job["id"] for job in front.ask("GET", "/api/jobs")["jobs"]}
    front.ask("POST", "/api/deployments", json={"name": NAME, "model": f"{NAME}@1"})
    front.ask("POST", "/api/tenants", json={"name": NAME})
    front.ask("POST", "/api/jobs", json=TRAINING)
    things = {
        **dict.fromkeys(("name", "dataset", "deployment"), NAME),
        **dict.fromkeys(("ref", "model"), f"{NAME}@1"),
        "refs": f"{NAME}@1,{NAME}@1",
        "alias": "best",
        "version": 1,
        "job_id": jobs["train"],
        "batch_id": jobs["batch"],
        "key_id": front.ask("POST", "/api/keys", json={})["id"],
        "filename": "table.csv",
        "recipe": TREES,
        "task": TREES["task"],
        "target": "kind",
        "set": {},
        "limits": {"rpm": 3, "budget_day": "1.50"},
        "priority": "normal",
        "threads": 1,
        "memory_bytes": 1 << 30,
    }
    own = {
        ("POST", "/api/tenants"): {"name": "another"},
        ("POST", "/api/deployments"): {"name": NAME, "model": f"{NAME}@1", "terms": {}},
        ("DELETE", "/api/datasets/{ref}"): {"ref": "spare"},
    }
    return things, own


@pytest.mark.parametrize("route", BREAKABLE, ids=" ".join)
def test_a_route_refuses_what_its_description_does_not_allow(world: World, route: Route) -> None:
    world.hold(route, GenerationMode.NEGATIVE)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_route_keeps_to_its_description(world: World, route: Route) -> None:
    statuses = world.hold(route, GenerationMode.POSITIVE)
    assert min(statuses) < 300 or route in HARD_TO_PLEASE, f"nothing but refusals: {statuses}"
