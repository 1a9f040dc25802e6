"""Which function does which kind of job; its libraries are loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modeltap.domain.job import JobKind
from modeltap.runner.steps import Step


def step_for(kind: JobKind) -> Callable[[Step], dict[str, Any]]:
    """The function that does such a job; its return value is the job's result."""
    match kind:
        case "import":
            from modeltap.runner.imports import import_dataset

            return import_dataset
        case "train":
            from modeltap.runner.train import train

            return train
        case "evaluate":
            from modeltap.runner.evaluate import evaluate

            return evaluate
        case "batch":
            from modeltap.runner.batch import answer_batch

            return answer_batch
