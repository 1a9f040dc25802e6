"""`python -m modeltap.wiring.bookkeeper HOME`: reads usage into the database once, at low priority, and ends.

While a server has much to do this happens beside it: in one of its own threads it would take turns with requests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from modeltap.control.usage import Usage
from modeltap.storage.opening import DATABASE_VARIABLE, open_database
from modeltap.storage.segments import USAGE_FOLDER

COMMAND = (sys.executable, "-P", "-m", "modeltap.wiring.bookkeeper")
NICE = 10
TIMEOUT_S = 600.0


def ingest_beside(home: Path, database_url: str | None) -> bool:
    """Whether it was done. Blocks."""
    environment = dict(os.environ)
    if database_url is not None:
        environment[DATABASE_VARIABLE] = database_url
    try:
        done = subprocess.run(  # noqa: S603  the command is ours
            [*COMMAND, str(home)], env=environment, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def main() -> None:
    with suppress(OSError, AttributeError):
        os.nice(NICE)
    home = Path(sys.argv[1])
    database = open_database(home, os.environ.get(DATABASE_VARIABLE))
    try:
        Usage(database, home / USAGE_FOLDER).ingest()
    finally:
        database.close()


if __name__ == "__main__":
    main()
