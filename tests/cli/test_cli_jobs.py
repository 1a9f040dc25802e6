"""modeltap jobs: what waits and why, what a job may use, how its runners ended; through the real API, on jobs moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from control_front import ControlFront, control_front

from modeltap.cli.main import run
from modeltap.client import Client
from modeltap.domain.attempt import HowEnded
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.scheduling import Lane, Pool
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobQueue

SCHEMA = Schema(form="table", columns=(Column(name="x", kind="number"), Column(name="y", kind="category", role="target")))
TRAIN = ("train", "toy", "--task", "tabular-classification", "--detach")
FULL = {"code": "storage_failed", "title": "The disk refused", "detail": "the disk is full; free some space"}
Say = Callable[..., Any]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlFront]:
    with control_front(tmp_path_factory.mktemp("jobs") / "home") as front:
        DatasetRepository(front.database, DEFAULT_TENANT).add("toy", "a" * 64, SCHEMA, {"rows": 9}, {}, now())
        yield front


@pytest.fixture(scope="module")
def url(front: ControlFront) -> Iterator[str]:
    with front.listening() as url:
        yield url


@pytest.fixture
def say(front: ControlFront, url: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Say]:
    """Runs a command and gives what it says, on both streams, or with --json its document."""

    def say(*words: str, code: int = 0) -> Any:
        done = run([*words, "--url", url, "--key", front.admin_key])
        printed = capsys.readouterr()
        assert done == code, printed.out + printed.err
        told = printed.out + printed.err
        return msgspec.json.decode(printed.out) if "--json" in words else " ".join(told.split())

    yield say
    for job in front.ask("GET", "/api/jobs?state=queued")["jobs"]:
        front.ask("POST", f"/api/jobs/{job['id']}/cancel")


def now() -> datetime:
    return datetime.now(UTC)


def test_a_job_that_waits_says_for_what(front: ControlFront, say: Say) -> None:
    slow = say(*TRAIN, "--json", "--priority", "low")
    urgent = say(*TRAIN, "--json", "--priority", "high", "--threads", "1", "--memory", "4GB")
    assert (urgent["priority"], urgent["threads"], urgent["memory_bytes"]) == ("high", 1, 4_000_000_000)
    listed = say("jobs", "list")
    assert "queued, number 1" in listed and "queued, number 2" in listed
    told = say("jobs", "show", urgent["id"])
    assert "number 1 in the queue: it is about to start" in told
    assert "1 thread, at most 4.0 GB, high priority" in told
    assert "1 job goes before it" in say("jobs", "show", slow["id"])
    assert say("jobs", "show", slow["id"], "--json")["queue"]["position"] == 2


def test_what_does_not_fit_is_refused_with_what_would(say: Say) -> None:
    assert "'urgent' is none; choose low, normal or high" in say(*TRAIN, "--priority", "urgent", code=2)
    assert "'lots' is no size" in say(*TRAIN, "--memory", "lots", code=2)
    assert "--threads" in say(*TRAIN, "--threads", "0", code=2)
    for verb in ("train", "tune", "compress", "evaluate", "batch"):
        shown = say(verb, "--help")
        assert "--priority" in shown and "--memory" in shown
    assert "--priority" in say("data", "add", "--help")


def test_the_ends_of_its_runners_are_shown(front: ControlFront, say: Say) -> None:
    job_id = say(*TRAIN, "--json")["id"]
    queue = JobQueue(front.database)
    claimed = queue.claim(now(), 10)
    assert claimed is not None and claimed.id == job_id
    died = HowEnded(end="killed", detail="it was killed by signal 9", signal=9, log_line="epoch 3/10  train_loss 0.2")
    queue.lose_lease(job_id, 1, now(), how=died)
    queue.claim(now(), 10)
    shown = say("jobs", "show", job_id)
    assert "it was killed by signal 9" in shown and "runs" in shown
    assert "the last line of runner 1: epoch 3/10 train_loss 0.2" in shown
    queue.finish(job_id, 2, "fail", now(), error=FULL, may_pass=True)
    waits = say("jobs", "show", job_id)
    assert "tried again at" in waits and "the disk is full" in waits and "failed, may pass" in waits
    assert "queued until" in say("jobs", "list")
    assert say("jobs", "resume", job_id, "--memory", "8GB", "--json")["memory_bytes"] == 8_000_000_000
    assert "number 1 in the queue" in say("jobs", "show", job_id)


def test_the_sdk_has_the_same(front: ControlFront, url: str) -> None:
    with Client(url, front.admin_key) as client:
        with client.jobs.terms(priority="high", threads=2, memory="500 MB"):
            job = client.train("toy", task="tabular-classification", wait=False)
        plain = client.train("toy", task="tabular-classification", wait=False)
        assert (job.priority, job.threads, job.memory_bytes) == ("high", 2, 500_000_000)
        assert job.spec["recipe"]["threads"] == 2
        assert (plain.priority, plain.memory_bytes) == ("normal", None)
        found = client.jobs.get(job.id)
        assert found.queue is not None and found.queue.position == 1
        JobQueue(front.database).claim(now(), 10, pool=Pool(lanes=(Lane(noun="all", kinds=("train",), slots=9),), threads=9))
        (attempt,) = client.jobs.get(job.id).attempts
        assert (attempt.number, attempt.end, attempt.threads) == (1, None, 2)


def test_a_query_that_means_nothing_is_refused(front: ControlFront) -> None:
    body = {"kind": "train", "dataset": "toy", "task": "tabular-classification"}
    for query, word in (("priority=urgent", "priority"), ("threads=0", "threads"), ("memory_bytes=-1", "memory_bytes")):
        answer = front.request("POST", f"/api/jobs?{query}", json=body)
        assert answer.status_code == 400 and word in answer.json()["detail"]
