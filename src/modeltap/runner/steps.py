"""What a step is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modeltap.domain.job import Job
from modeltap.domain.progress import Progress
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.database import Database
from modeltap.training.stopped import Stopped


@dataclass(frozen=True)
class Step:
    """A job, where it may write, whom it tells, and whether it should stop."""

    job: Job
    home: Path
    database: Database
    artifacts: ArtifactStore
    workdir: Path
    report: Callable[[Progress], None]
    stop_requested: Callable[[], bool]
    saved: Callable[[], None] = lambda: None
    """Called when the next runner would begin beyond where this one did."""
    discard: list[Path] = field(default_factory=list)
    """Files to remove once the job's outcome is written: until then another runner may need them."""

    def pause_point(self) -> None:
        """Raises Stopped if the job should stop; called where nothing is half done."""
        if self.stop_requested():
            raise Stopped
