"""What a job says while it runs: one line of its event file, one server-sent event, one redraw of the bar."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from modeltap.domain.tuning import TrialCounts

Phase = Literal["data", "features", "train", "evaluate", "compress", "bundle", "import", "predict", "tune", "wait", "done"]


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a job stands. `fraction` is of the whole phase; `metrics` are those of the epoch that just ended, if one did."""

    phase: Phase
    fraction: float = 0.0
    message: str = ""
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    metric: float | None = None
    metric_name: str | None = None
    samples_per_s: float | None = None
    remaining_s: float | None = None
    refused: int | None = None
    """Of `step` requests that many were refused."""
    at_s: float | None = None
    """When it was told, Unix time; in the job's event file."""
    cost: str | None = None
    """What it has cost so far, in the currency, of a job that is charged."""
    epoch_metrics: dict[str, Any] | None = None
    """Set once an epoch: epoch, train_loss, val_loss, val_<metric>, lr."""
    trials: TrialCounts | None = None
    """Of a search over recipes; a message then tells how a trial ended."""
