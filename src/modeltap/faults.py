"""Named places where a test may kill this process, to see that nothing is lost there.

MODELTAP_CRASH_AT=dataset.before_commit kills the process with SIGKILL when it passes that place; `name:3` on the third
pass. Unset, a pass costs one look-up.
"""

from __future__ import annotations

import os
import signal

CRASH_POINTS: tuple[str, ...] = (
    "upload.spooled",
    "dataset.blobs_written",
    "dataset.before_commit",
    "dataset.committed",
    "job.queued",
    "job.claimed",
    "job.spawned",
    "checkpoint.before_rename",
    "checkpoint.renamed",
    "train.finished",
    "version.blobs_written",
    "version.before_commit",
    "version.committed",
    "job.before_result",
    "deployment.before_commit",
    "deployment.committed",
    "artifact.before_rename",
    "batch.planned",
    "batch.answered",
    "batch.kept",
    "fine_tune.before_deploy",
    "fine_tune.deployed",
    "trial.asked",
    "trial.told",
    "trial.ended",
)

CRASH_VARIABLE = "MODELTAP_CRASH_AT"


def parse_crash_at(given: str) -> dict[str, int]:
    """Passes left before the crash, for every crash point; 0 is never. Raises ValueError for a name that is not one."""
    passes_left = dict.fromkeys(CRASH_POINTS, 0)
    if given:
        name, _, nth = given.partition(":")
        if name not in passes_left or not (nth == "" or (nth.isascii() and nth.isdigit() and int(nth) > 0)):
            raise ValueError(f"{CRASH_VARIABLE} is '{given}'; it must be NAME or NAME:N with one of {', '.join(CRASH_POINTS)}")
        passes_left[name] = int(nth or 1)
    return passes_left


_PASSES_LEFT = parse_crash_at(os.environ.get(CRASH_VARIABLE, ""))


def spare() -> None:
    """This process, forked from one that was to crash, will not."""
    _PASSES_LEFT.update(dict.fromkeys(_PASSES_LEFT, 0))


def crash_point(name: str) -> None:
    """Ends this process as `kill -9` would, if MODELTAP_CRASH_AT says so. Raises KeyError for an unknown name."""
    if _PASSES_LEFT[name]:
        _PASSES_LEFT[name] -= 1
        if not _PASSES_LEFT[name]:
            os.kill(os.getpid(), signal.SIGKILL)
