"""What is said of how a dataset is read for an imported version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict


class Reading(TypedDict, total=False):
    """`target` is the column with the truth, where the dataset names none; `labels` are the classes in the order of the
    version's outputs; `scale` is what pixels are multiplied by before it takes them, 1/255 where nothing is said."""

    target: str | None
    labels: Sequence[str]
    scale: float | None


def read_reading(reading: Reading) -> dict[str, Any]:
    """As the server takes it; None for what was not said."""
    return {**reading, "labels": list(reading.get("labels") or ()) or None}
