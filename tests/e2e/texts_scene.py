"""A server with one model of each kind that /v1 speaks of: `tiny` writes, `vectors` embeds, `moderation` judges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from fault_server import FaultServer, serving
from talking import add_version
from workshop import Workshop

from modeltap.control.fine_tunings import FineTuneSpec
from modeltap.importing.onnx import Imported
from modeltap.storage.jobs import JobQueue
from text_models import train_mood, train_vectors

MODELS = {"tiny": "tiny@1", "vectors": "vectors@1", "moderation": "mood@1"}
PRICES = {"price": {"token": "0.002", "row": "0.5"}}


@pytest.fixture(scope="session")
def texts_served(tiny: Imported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """Also with a fine-tuning job that has failed."""
    home: Path = tmp_path_factory.mktemp("texts") / "home"
    home.mkdir()
    workshop = Workshop(home)
    train_vectors(workshop, epochs=1)
    train_mood(workshop, epochs=6)
    add_version(workshop, "tiny", tiny)
    add_failed_job(workshop)
    workshop.close()
    with serving(home) as server:
        for name, model in MODELS.items():
            server.ask("POST", "/api/deployments", json={"name": name, "model": model, "terms": PRICES})
        yield server


def add_failed_job(workshop: Workshop) -> None:
    file = {"id": "file-gone", "filename": "talks.jsonl", "digest": "0" * 64}
    spec = {
        "key": "admin", "model": "tiny", "base": "tiny@1", "dataset": "ft-tiny", "name": "ft-tiny", "recipe": {},
        "checkpoint_every_s": 1.0, "terms": {}, "training_file": file, "seed": 1,
    }  # fmt: skip
    now = datetime.now(UTC)
    made = msgspec.to_builtins(msgspec.convert(spec, FineTuneSpec))
    workshop.jobs.add("train", made, now, via="openai")
    queue = JobQueue(workshop.database)
    job = queue.claim(now, 60)
    assert job is not None
    queue.finish(job.id, job.fence, "fail", now, error={"code": "invalid_data", "detail": "the bytes of the file are gone"})
