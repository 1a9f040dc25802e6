"""The Python SDK: `modeltap.Client` and what its calls give."""

from __future__ import annotations

from modeltap.client.batches import BatchResult
from modeltap.client.client import Client
from modeltap.client.errors import ApiError, ConnectionFailed, JobStopped
from modeltap.client.events import Event, LogEvent, ProgressEvent, StateEvent
from modeltap.client.explaining import Explained, Explanations
from modeltap.client.receipt import Allowance, Receipt
from modeltap.client.usage import Audit, Finding, UsageReport, UsageSum
from modeltap.client.values import (
    Comparison,
    CompressResult,
    Dataset,
    Deployment,
    EvaluateResult,
    Job,
    Key,
    Model,
    NewKey,
    Predictions,
    RenderedRecipe,
    Server,
    Tenant,
    TrainResult,
    TuneResult,
    Version,
)
from modeltap.client.writing import Written

__all__ = [
    "Allowance",
    "ApiError",
    "Audit",
    "BatchResult",
    "Client",
    "Comparison",
    "CompressResult",
    "ConnectionFailed",
    "Dataset",
    "Deployment",
    "EvaluateResult",
    "Event",
    "Explained",
    "Explanations",
    "Finding",
    "Job",
    "JobStopped",
    "Key",
    "LogEvent",
    "Model",
    "NewKey",
    "Predictions",
    "ProgressEvent",
    "Receipt",
    "RenderedRecipe",
    "Server",
    "StateEvent",
    "Tenant",
    "TrainResult",
    "TuneResult",
    "UsageReport",
    "UsageSum",
    "Version",
    "Written",
]
