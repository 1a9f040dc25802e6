"""Which function does which kind of job; its libraries are loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modeltap.domain.job import Job
from modeltap.runner.steps import Step


def step_for(job: Job) -> Callable[[Step], dict[str, Any]]:
    """The function that does such a job; its return value is the job's result."""
    match job.kind:
        case "train" if job.via == "openai":
            from modeltap.runner.fine_tune import fine_tune

            return fine_tune
        case "batch" if job.via == "openai":
            from modeltap.runner.request_batch import answer_requests

            return answer_requests
        case "import":
            from modeltap.runner.imports import import_dataset

            return import_dataset
        case "train":
            from modeltap.runner.train import train

            return train
        case "evaluate":
            from modeltap.runner.evaluate import evaluate

            return evaluate
        case "compress":
            from modeltap.runner.compress import compress

            return compress
        case "tune":
            from modeltap.runner.tune import tune

            return tune
        case "batch":
            from modeltap.runner.batch import answer_batch

            return answer_batch
