"""Which process keeps all others from writing to the SQLite file, as Linux tells it.

A file is never opened for this: closing it would free the locks that this very process holds.
"""

from __future__ import annotations

from pathlib import Path

LOCKS = Path("/proc/locks")
WRITE_LOCK_BYTE = 120
"""Of the -shm file beside a database in WAL mode: who writes has it locked (sqlite.org/walformat.html)."""


def find_writer(database_file: Path) -> int | None:
    """The process that is in the middle of a write now; None if none is, or it cannot be known here."""
    try:
        inode = database_file.with_name(f"{database_file.name}-shm").stat().st_ino
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 4242 fe:00:2974692 120 120      and of one that waits:  1: -> POSIX …
        fields = line.split()
        if len(fields) == 8 and fields[1] == "POSIX" and fields[3] == "WRITE" and fields[5].rpartition(":")[2] == str(inode):
            end = WRITE_LOCK_BYTE if fields[7] == "EOF" else int(fields[7])
            if int(fields[6]) <= WRITE_LOCK_BYTE <= end:
                return int(fields[4])
    return None
