"""The trials of a search as people and programs read them: a file of a trial a line, also while the search goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from modeltap.domain.job import TRIALS_FILE
from modeltap.domain.tuning import Trial
from modeltap.storage.disk import disk_failures


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """All of them, in one step. Raises StorageFailed."""
    content = b"".join(msgspec.json.encode(trial) + b"\n" for trial in trials)
    with disk_failures("writing the trials"):
        fresh = folder / f"{TRIALS_FILE}.new"
        fresh.write_bytes(content)
        fresh.replace(folder / TRIALS_FILE)
