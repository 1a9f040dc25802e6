"""The one room that names concrete classes: puts storage, jobs, serving and the API together, and runs the processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeltap.settings import Resolved


def run_server(resolved: Resolved) -> None:
    """Serves the home until SIGTERM or SIGINT; prints the address, and the admin key if it was made now.

    Raises UnsafeBind, HomeInUse, DatabaseTooNew, StorageFailed, or Conflict if the port is taken.
    """
    from modeltap.wiring.server import run_home

    run_home(resolved)
