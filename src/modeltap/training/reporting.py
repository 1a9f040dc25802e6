"""Progress lines of a training run: how far, how fast, how long still."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from modeltap.domain.progress import Progress

EVERY_S = 0.25


class Reporter:
    """Turns steps into `Progress`, with the speed since the start. Steps are counted over the whole run."""

    def __init__(self, report: Callable[[Progress], None], *, epochs: int, steps: int, rows: int, metric_name: str) -> None:
        self._report = report
        self._epochs, self._steps = epochs, steps
        self._rows_a_step = rows / steps
        self._metric_name = metric_name
        self._metric: float | None = None
        self._first: tuple[float, int] | None = None

    def start(self, done: int, *, message: str) -> None:
        """Says where the run starts."""
        self._first = (time.monotonic(), done)
        self._report(Progress(phase="train", fraction=self._fraction(done), message=message, epochs=self._epochs))

    def step(self, epoch: int, step: int, *, loss: float) -> None:
        """Says how far the epoch at hand is; `loss` is its mean so far."""
        done = epoch * self._steps + step
        self._report(self._line(done, epoch=epoch + 1, step=step, loss=loss))

    def epoch(self, entry: dict[str, Any], *, message: str = "") -> None:
        """Says how an epoch ended."""
        self._metric = entry.get(f"val_{self._metric_name}")
        done = entry["epoch"] * self._steps
        line = {"epoch": entry["epoch"], "step": self._steps, "loss": entry["train_loss"]}
        self._report(self._line(done, **line, epoch_metrics=entry, message=message))

    def _line(self, done: int, **values: Any) -> Progress:
        now = time.monotonic()
        assert self._first is not None
        spent_s, taken = now - self._first[0], done - self._first[1]
        left = self._epochs * self._steps - done
        return Progress(
            phase="train",
            fraction=self._fraction(done),
            epochs=self._epochs,
            steps=self._steps,
            metric=self._metric,
            metric_name=self._metric_name if self._metric is not None else None,
            samples_per_s=taken * self._rows_a_step / spent_s if taken else None,
            remaining_s=spent_s / taken * left if taken else None,
            **values,
        )

    def _fraction(self, done: int) -> float:
        return done / (self._epochs * self._steps)
