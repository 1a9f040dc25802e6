"""A fine-tuning whose runner and server are killed around its last step ends with one model, one result and one name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fault_server import FaultServer, until

from openai_home import MODEL, client_of, jsonl, tiny_home

PAIRS = [{"prompt": f"{n} and", "completion": f" {n}"} for n in range(12)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_home(tmp_path_factory)


@pytest.mark.parametrize(("point", "with_server"), [("fine_tune.before_deploy", True), ("fine_tune.deployed", False)])
def test_the_next_runner_ends_what_the_last_began(
    point: str, with_server: bool, serve: Callable[..., FaultServer], home: Path
) -> None:
    server = serve(home, MODELTAP_CRASH_AT=point)
    client = client_of(server)
    file = client.files.create(file=("pairs.jsonl", jsonl(PAIRS)), purpose="fine-tune")
    begun = client.fine_tuning.jobs.create(
        model=MODEL, training_file=file.id, method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}}
    )
    job_id = begun.id.replace("ftjob-", "job-")
    if with_server:
        until("the results are kept", lambda: any(client.files.list(purpose="fine-tune-results")))
        server.kill()
        server.start()
        client = client_of(server)
    assert server.wait_job(job_id)["fence"] == 2
    job = client.fine_tuning.jobs.retrieve(begun.id)
    assert job.status == "succeeded" and job.fine_tuned_model is not None and len(job.result_files) == 1
    assert client.completions.create(model=job.fine_tuned_model, prompt="1 and", max_tokens=2).choices[0].text
    assert [file.id for file in client.files.list(purpose="fine-tune-results")] == job.result_files
    models = {model["name"]: model["versions"] for model in server.ask("GET", "/api/models")["models"]}
    assert models == {MODEL: 1, job.fine_tuned_model: 1}
    deployments = {one["name"]: one for one in server.ask("GET", "/api/deployments")["deployments"]}
    assert set(deployments) == {MODEL, job.fine_tuned_model}
    assert deployments[job.fine_tuned_model]["previous"] == []
