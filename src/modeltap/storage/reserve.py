"""A file that only takes up space: on a full disk it is given up, so that there is room to write down what failed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILE_NAME = "reserve"
SIZE_BYTES = 1 << 20


def keep_reserve(home: Path) -> None:
    """Takes the space unless it is taken; where the disk does not have it, there is no reserve."""
    place = home / FILE_NAME
    with suppress(OSError):
        if place.exists() and place.stat().st_size == SIZE_BYTES:
            return
        try:
            place.write_bytes(os.urandom(SIZE_BYTES))  # zeros take no space where the file system packs them
        except OSError:
            place.unlink(missing_ok=True)


def spend_reserve(home: Path) -> None:
    """Gives the space back to the disk."""
    with suppress(OSError):
        (home / FILE_NAME).unlink(missing_ok=True)
