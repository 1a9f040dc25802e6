"""A search over recipes: its trials, how many of them ended how, and what a version tells of the search that found it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

TrialState = Literal["running", "complete", "pruned", "failed"]
"""complete: trained to its end. pruned: ended on the way, as others were better at that point. failed: it could not be
trained."""


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One candidate: recipe keys and their values, and what came of it. Numbers count from 0, in the order they were asked."""

    number: int
    state: TrialState
    params: dict[str, Any]
    value: float | None = None
    """Of the metric on the validation part; of a pruned trial the last one that was told."""
    epochs: int = 0
    """After which the metric was told last."""
    reason: str = ""
    """Why it failed, or was ended."""


class Best(msgspec.Struct, frozen=True, kw_only=True):
    """The best of the complete trials; of equal ones the first."""

    trial: int
    value: float
    params: dict[str, Any]


class TrialCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a search stands: of `total` trials so many are in each state."""

    total: int
    metric: str
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    best: Best | None = None

    @property
    def num_ended(self) -> int:
        return self.complete + self.pruned + self.failed


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """In a version's lineage. It holds no time: a search that tries one trial after the other says the same again."""

    metric: str
    value: float
    trial: int
    params: dict[str, Any]
    trials: int
    complete: int
    pruned: int
    failed: int
    sampler: str
    pruner: str
    seed: int
    space: dict[str, Any]
