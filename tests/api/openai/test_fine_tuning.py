"""/v1/fine_tuning/jobs with OpenAI's own client, up to a chat with what came of it."""

from __future__ import annotations

import csv
import io
from typing import Any

import openai
import pytest
from fault_server import FaultServer, until

from openai_home import MODEL, client, client_of, jsonl, new_key, served

__all__ = ["client", "served"]

TALKS = [
    {"messages": [{"role": "user", "content": f"say {n}"}, {"role": "assistant", "content": "the answer is forty-two"}]}
    for n in range(16)
]
PAIRS = [{"prompt": f"{n} and", "completion": f" {n}"} for n in range(12)]


def send(client: openai.OpenAI, lines: Any, name: str = "talks.jsonl") -> str:
    content = lines if isinstance(lines, bytes) else jsonl(lines)
    return client.files.create(file=(name, content), purpose="fine-tune").id


def method(**hyperparameters: Any) -> Any:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


def test_from_a_file_to_a_model_that_talks(served: FaultServer) -> None:
    key_id, key = new_key(served, "train", models=[MODEL])
    trainer = client_of(served, key)
    given = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 10}
    training, validation = send(trainer, TALKS), send(trainer, TALKS[:4], "val.jsonl")
    begun = trainer.fine_tuning.jobs.create(
        model=MODEL,
        training_file=training,
        validation_file=validation,
        suffix="forty two",
        seed=7,
        metadata={"run": "1"},
        method=method(**given),
    )
    assert (begun.object, begun.status, begun.model, begun.seed) == ("fine_tuning.job", "queued", MODEL, 7)
    assert (begun.training_file, begun.validation_file, begun.metadata) == (training, validation, {"run": "1"})
    assert begun.hyperparameters.to_dict() == given and begun.fine_tuned_model is None
    trainer.files.delete(training)

    def ended() -> Any:
        found = trainer.fine_tuning.jobs.retrieve(begun.id)
        return found if found.status in ("succeeded", "failed") else None

    job = until("the training ends", ended)
    assert job.status == "succeeded", job.error
    name = job.fine_tuned_model
    assert name == f"ft-{MODEL}-forty-two-{begun.id.removeprefix('ftjob-')}"
    assert job.finished_at >= job.created_at and job.trained_tokens > 2 * 16 and job.error is None

    talk: Any = [{"role": "user", "content": "say 3"}]
    answers = [
        trainer.chat.completions.create(model=model, messages=talk, max_tokens=8, temperature=0).choices[0].message.content
        for model in (name, MODEL)
    ]
    assert answers[0] != answers[1]
    assert name in [model.id for model in trainer.models.list()]
    assert served.ask("GET", f"/api/keys/{key_id}")["models"] == sorted([MODEL, name])
    other = client_of(served, new_key(served, "train", models=[MODEL])[1])
    with pytest.raises(openai.PermissionDeniedError, match="the key is not for"):
        other.chat.completions.create(model=name, messages=talk, max_tokens=1)
    terms = served.ask("GET", f"/api/deployments/{name}")["terms"]
    assert terms["price"]["token"] == "1" and not terms["public"]

    (results,) = job.result_files
    assert trainer.files.retrieve(results).purpose == "fine-tune-results"
    rows = list(csv.DictReader(io.StringIO(trainer.files.content(results).text)))
    assert len(rows) == 2 and {"train_loss", "valid_loss"} <= set(rows[0])

    told = list(trainer.fine_tuning.jobs.list_events(begun.id, limit=4))
    assert len({event.id for event in told}) == len(told)
    assert told[0].message == "The job has successfully completed"
    assert told[-1].message == f"Created fine-tuning job: {begun.id}"
    assert [event.created_at for event in told] == sorted((event.created_at for event in told), reverse=True)
    measured = [event.data for event in told if event.type == "metrics"]
    assert any({"train_loss", "valid_loss"} <= set(data) for data in measured)  # type: ignore[arg-type]

    (checkpoint,) = trainer.fine_tuning.jobs.checkpoints.list(begun.id)
    assert (checkpoint.fine_tuned_model_checkpoint, checkpoint.fine_tuning_job_id) == (name, begun.id)
    assert checkpoint.step_number == 8 and checkpoint.metrics.valid_loss == float(rows[-1]["valid_loss"])
    assert [one.id for one in trainer.fine_tuning.jobs.list(metadata={"run": "1"})] == [begun.id]
    assert list(trainer.fine_tuning.jobs.list(metadata={"run": "2"})) == []
    with pytest.raises(openai.ConflictError):
        trainer.fine_tuning.jobs.cancel(begun.id)


def test_a_job_is_paused_resumed_and_cancelled(served: FaultServer) -> None:
    trainer = client_of(served, new_key(served, "train")[1], strict=False)  # the client's list of states lacks `paused`
    jobs = trainer.fine_tuning.jobs
    begun = jobs.create(model=MODEL, training_file=send(trainer, PAIRS), method=method(n_epochs=1000, batch_size=1))
    job_id = begun.id.replace("ftjob-", "job-")
    assert begun.hyperparameters.learning_rate_multiplier == "auto" and 0 <= begun.seed < 2**31
    until("it trains", lambda: jobs.retrieve(begun.id).status == "running")
    jobs.pause(begun.id)
    served.wait_job(job_id, "paused")
    assert jobs.retrieve(begun.id).status == "paused"
    assert jobs.resume(begun.id).status == "queued"
    until("it trains again", lambda: jobs.retrieve(begun.id).status == "running")
    jobs.cancel(begun.id)
    served.wait_job(job_id, "cancelled")
    ended = jobs.retrieve(begun.id)
    assert (ended.status, ended.fine_tuned_model, ended.result_files) == ("cancelled", None, [])
    assert ended.finished_at is not None and list(jobs.checkpoints.list(begun.id)) == []


GOOD = jsonl(TALKS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD + b"{", "line 17: not JSON"),
        (GOOD + b"[]\n", "line 17: no example"),
        (GOOD + b'{"text": "a"}\n', "line 17: no example"),
        (GOOD + b'{"messages": []}\n', "line 17"),
        (GOOD + b'\n{"messages": [{"role": "user", "content": "a"}]}\n', "line 18"),
        (GOOD + b'{"messages": [{"role": "assistant", "content": 1}]}\n', "line 17, message 1"),
        (GOOD + jsonl(PAIRS[:1]), "line 17: a completion"),
        (jsonl(PAIRS[:3]), "3 examples; at least 10"),
        (jsonl([{**PAIRS[0], "completion": ""}]), "line 1"),
    ],
)
def test_a_line_that_is_no_example_is_named_before_a_job_is_made(content: bytes, told: str, client: openai.OpenAI) -> None:
    before = len(list(client.fine_tuning.jobs.list()))
    with pytest.raises(openai.BadRequestError, match=told) as raised:
        client.fine_tuning.jobs.create(model=MODEL, training_file=send(client, content))
    assert (raised.value.param, raised.value.code) == ("training_file", "invalid_data")
    assert len(list(client.fine_tuning.jobs.list())) == before


def test_what_cannot_be_done_is_refused_by_name(served: FaultServer, client: openai.OpenAI) -> None:
    file = send(client, TALKS)
    for fields, param, status in (
        ({"model": "nobody"}, "model", 404),
        ({"training_file": "file-nobody"}, None, 404),
        ({"validation_file": send(client, PAIRS)}, "validation_file", 400),
        ({"method": {"type": "dpo"}}, "method.type", 400),
        ({"method": method(n_epochs=0)}, "method.supervised.hyperparameters.n_epochs", 400),
        ({"hyperparameters": {"batch_size": "many"}}, "hyperparameters.batch_size", 400),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", 400),
        ({"suffix": "x" * 41}, "suffix", 400),
        ({"seed": -1}, "seed", 400),
        ({"extra_body": {"architecture": "gpt"}}, "architecture", 400),
        ({"extra_body": {"reward": 1}}, "reward", 400),
    ):
        asked: Any = {"model": MODEL, "training_file": file, **fields}
        with pytest.raises(openai.APIStatusError) as raised:
            client.fine_tuning.jobs.create(**asked)
        assert (raised.value.status_code, raised.value.param) == (status, param), raised.value.body
    only = client_of(served, new_key(served, "train", models=["another"])[1])
    with pytest.raises(openai.PermissionDeniedError):
        only.fine_tuning.jobs.create(model=MODEL, training_file=file)
    caller = client_of(served, new_key(served, "predict")[1])
    for ask in (caller.fine_tuning.jobs.list, lambda: caller.fine_tuning.jobs.retrieve("ftjob-x")):
        with pytest.raises(openai.PermissionDeniedError, match="scope train"):
            ask()
    served.ask("POST", "/api/tenants", json={"name": "apart"})
    theirs = client_of(served, new_key(served, "train", tenant="apart")[1])
    with pytest.raises(openai.NotFoundError):
        theirs.fine_tuning.jobs.create(model=MODEL, training_file=file)
