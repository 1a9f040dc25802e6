"""What a model is for: how a target is read, what is optimised and measured, and how an answer is shown.

A user's own task is one `Task` under the entry point group `modeltap.tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from modeltap.domain.dataset import Form
from modeltap.domain.signature import Batch
from modeltap.domain.usage import Unit

LABEL = "label"
"""Name of the output that holds a classifier's label, beside the one with its probabilities."""

MAIN_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "roc_auc",
    "log_loss",
    "calibration_error",
    "pair_accuracy",
    "rmse",
    "mae",
    "r2",
    "loss",
    "perplexity",
    "bits_per_byte",
)
"""Shown in short tables, in this order; the rest is in the report and in --json."""

DecodeAnswers = Callable[[Batch, str, Sequence[str]], list[Any]]
"""(outputs, name of the answer's output, labels) → one JSON-ready answer a row."""


@dataclass(frozen=True)
class Task:
    name: str
    summary: str
    forms: tuple[Form, ...]
    """The forms of dataset it takes."""
    target: Literal["class", "number", "none"]
    """What the truth of a row is; none: what is learned is in the texts themselves."""
    losses: tuple[str, ...]
    """Allowed ones, the default first."""
    metric: str
    """The one shown in progress and lists: `accuracy`, `rmse`, …"""
    higher_is_better: bool
    architecture: str
    """The default one."""
    decode: DecodeAnswers
    unit: Unit
    """What one billing unit is: `row`, `image`, …"""
    defaults: dict[str, Any] = field(default_factory=dict)
    """Recipe keys under what the architecture and the user say."""
    only_finite: bool = True
    """An answer that is no finite number is an error of the row, not an answer."""
