"""The bucket that holds the artifacts is killed in the middle: nothing is half registered, and what was asked for goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_server import FaultServer, serving, until
from flows_under_fault import LONG_MLP, ROW, add_data, deploy, predict, start_training, train

from bucket_server import URL, BucketServer, bucket_serving


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[BucketServer]:
    with bucket_serving(tmp_path / "bucket") as server:
        yield server


def environment(bucket: BucketServer) -> dict[str, str]:
    return {**bucket.environment, "MODELTAP_ARTIFACTS_URL": URL}


def is_loaded(server: FaultServer) -> bool:
    return server.client.post("/predict/live", json={"instances": [ROW]}).status_code == 200


def log_of(server: FaultServer, job: str) -> str:
    path = server.home / "jobs" / job / "log"
    return path.read_text(errors="replace") if path.exists() else ""


def test_training_deploying_and_serving_need_no_more_of_the_disk_than_a_cache(bucket: BucketServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(home, **environment(bucket)) as server:
        add_data(server)
        train(server)
        deploy(server)
        before = predict(server)
        server.stop()
        for folder in (home / "artifacts").glob("[0-9a-f][0-9a-f]"):
            shutil.rmtree(folder)
        server.start(**environment(bucket))
        until("the version is loaded", lambda: is_loaded(server))
        assert predict(server)["predictions"] == before["predictions"], "the version came from the bucket"
        assert train(server)["version"] == "toy@2", "and so did the dataset"


def test_a_job_whose_bucket_is_killed_goes_on_when_it_is_back(bucket: BucketServer, tmp_path: Path) -> None:
    with serving(tmp_path / "home", **environment(bucket)) as server:
        add_data(server)
        stored = set(bucket.objects())
        job = start_training(server, LONG_MLP)
        until("it trains", lambda: "epoch" in log_of(server, job))
        bucket.kill()
        until("it waits for the bucket", lambda: "trying again" in log_of(server, job))
        assert server.ask("GET", "/api/models") == {"models": []}
        bucket.start()
        result = server.wait_job(job)["result"]
        assert result["version"] == "toy@1"
        assert set(server.artifacts.tree(server.ask("GET", "/api/models/toy@1")["digest"]).values()) <= set(bucket.objects())
        assert stored < set(bucket.objects())

        bucket.kill()
        for folder in (server.home / "artifacts").glob("[0-9a-f][0-9a-f]"):
            shutil.rmtree(folder)
        refused = server.client.post("/api/deployments", json={"name": "live", "model": "toy@1"})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert server.client.get("/livez").status_code == 200
        bucket.start()
        deploy(server)
        until("the version is loaded", lambda: is_loaded(server))
