"""What a search over architectures tried, and what each candidate was worth."""

from __future__ import annotations

from typing import Literal

import msgspec


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, in the order of the portfolio. It holds no time: equal searches say equal things."""

    name: str
    architecture: str
    state: Literal["trained", "cut", "behind", "failed", "left out"]
    """cut: the time ended while it grew, and its best so far was kept. behind: after its first fold it added nothing to those
    before it. failed: it could not be trained. left out: it did not fit into the time."""
    metrics: dict[str, float | None] = {}
    """On the validation rows: log_loss, roc_auc (of two classes) and accuracy, or rmse and mae."""
    weight: float = 0.0
    """Its share in the answer; 0 is not in it."""
    epochs: int | None = None
    """Its best epoch, or number of trees."""
