"""A file system of a few megabytes, to be filled up."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDisk:
    """A file system of a few megabytes, with a file on it that takes the space away."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._ballast = place / "ballast"

    def leave(self, free_bytes: int) -> None:
        """Fills it up to so much free space, or less where others write to it too."""
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):  # the others were faster
            while (surplus := self._free_bytes() - free_bytes) > 0:
                ballast.write(bytes(min(surplus, 1 << 20)))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def _free_bytes(self) -> int:
        state = os.statvfs(self.place)
        return state.f_bavail * state.f_frsize


@contextmanager
def small_disk(place: Path) -> Iterator[SmallDisk]:
    """Mounted at `place`. Skips the test where that is not allowed."""
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield SmallDisk(place)
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
