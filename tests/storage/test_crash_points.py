"""Crash points: they kill where they are told to, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from modeltap.faults import CRASH_POINTS, crash_point, parse_crash_at

SCRIPT = """
from modeltap.faults import crash_point
for n in range(4):
    print(n, flush=True)
    crash_point("job.queued")
"""


@pytest.mark.parametrize(("crash_at", "passes"), [("job.queued", 1), ("job.queued:3", 3)])
def test_the_process_dies_at_the_pass_that_was_named(crash_at: str, passes: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, "MODELTAP_CRASH_AT": crash_at}, capture_output=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert len(ended.stdout.split()) == passes


def test_nothing_happens_unless_it_is_asked_for() -> None:
    for name in CRASH_POINTS:
        crash_point(name)


def test_a_name_that_does_not_exist_is_an_error_wherever_it_stands() -> None:
    with pytest.raises(KeyError):
        crash_point("job.quequed")
    for given in ("job.quequed", "job.queued:0", "job.queued:x"):
        with pytest.raises(ValueError, match=r"one of .*job\.queued"):
            parse_crash_at(given)
