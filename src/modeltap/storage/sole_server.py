"""One server a database: of a database server that several homes could name, as the lock of a home is for its files.

The lock belongs to one connection, so the database server frees it when its holder dies, however that happens.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from modeltap.errors import HomeInUse
from modeltap.storage.database import Database, database_failures

LOCK_NUMBER = 0x6D6F64656C746170
"""Any number that nobody else takes: `modeltap` in ASCII."""
PATIENCE_S = 3.0
"""A server that was killed just now is noticed in that time."""
_NAME = re.compile(r"modeltap \d+ on .+")
_HOLDER = text(
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    " AND ((classid::bigint << 32) | objid::bigint) = :number AND pg_locks.database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class SoleServer:
    """Held from `open` until `close`. Of a SQLite file there is nothing to hold, as its home is locked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None

    def open(self) -> None:
        """Raises HomeInUse, naming the holder's process; StorageFailed."""
        if self._database.file is not None:
            return
        with database_failures(), ExitStack() as unless_held:
            connection = self._database.connect_alone()
            unless_held.callback(connection.close)
            _take(connection)
            unless_held.pop_all()
            self._connection = connection

    def check(self) -> None:
        """Takes the lock again where the database server was restarted meanwhile. Raises as `open` does."""
        if self._connection is None:
            self.open()
            return
        try:
            self._connection.execute(text("SELECT 1"))
        except DBAPIError:
            self.close()
            self.open()

    def close(self) -> None:
        """Somebody else may have it. May be called again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError):
                connection.close()


@contextmanager
def sole_server(database: Database) -> Iterator[SoleServer]:
    """Held in the block. Raises as `SoleServer.open` does."""
    held = SoleServer(database)
    held.open()
    try:
        yield held
    finally:
        held.close()


def _take(connection: Connection) -> None:
    name = f"modeltap {os.getpid()} on {socket.gethostname()}"[:63]
    connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
    for setting, seconds in (("idle", 10), ("interval", 5), ("count", 3)):  # a machine that lost its power says no goodbye
        connection.execute(text(f"SELECT set_config('tcp_keepalives_{setting}', '{seconds}', false)"))
    give_up_at_s = time.monotonic() + PATIENCE_S
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": LOCK_NUMBER}):
        if time.monotonic() > give_up_at_s:
            found = str(connection.scalar(_HOLDER, {"number": LOCK_NUMBER}) or "")
            holder = f" ({found.replace('modeltap', 'process', 1)})" if _NAME.fullmatch(found) else ""
            raise HomeInUse(
                f"another modeltap server{holder} runs on this database; use it, stop it, or name another database with"
                " MODELTAP_DATABASE_URL"
            )
        time.sleep(0.1)
