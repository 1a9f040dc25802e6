"""The Python SDK: `modeltap.Client` and what its calls give."""

from __future__ import annotations

from modeltap.client.client import Client
from modeltap.client.errors import ApiError, ConnectionFailed, JobStopped
from modeltap.client.events import Event, LogEvent, ProgressEvent, StateEvent
from modeltap.client.values import (
    Comparison,
    Dataset,
    Deployment,
    EvaluateResult,
    Job,
    Model,
    Predictions,
    RenderedRecipe,
    Server,
    TrainResult,
    Version,
)

__all__ = [
    "ApiError",
    "Client",
    "Comparison",
    "ConnectionFailed",
    "Dataset",
    "Deployment",
    "EvaluateResult",
    "Event",
    "Job",
    "JobStopped",
    "LogEvent",
    "Model",
    "Predictions",
    "ProgressEvent",
    "RenderedRecipe",
    "Server",
    "StateEvent",
    "TrainResult",
    "Version",
]
