"""What a server says of itself: `server.json` in the home for clients, and lines for the person who started it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec

from modeltap import __version__
from modeltap.settings import Settings

SERVER_FILE = "server.json"


@contextmanager
def announced(settings: Settings, *, url: str, grpc: str, started_at: datetime, admin_key: str | None) -> Iterator[None]:
    """While the server serves: its file lies in the home. `admin_key` is shown if it was made just now."""
    record = settings.home / SERVER_FILE
    background = settings.idle_exit_s is not None
    facts = {
        "url": url,
        "grpc": grpc,
        "pid": os.getpid(),
        "started_at": started_at.isoformat(),
        "background": background,
        "certificate": None if settings.tls_cert is None else str(settings.tls_cert.absolute()),
    }
    _write(record, facts)
    print("\n".join(_lines(settings, url, grpc, admin_key)), flush=True)  # noqa: T201  what a person starts it for
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            record.unlink()


def forget(home: Path) -> None:
    """A server that died left its file: nobody must follow it."""
    with suppress(FileNotFoundError):
        (home / SERVER_FILE).unlink()


def _write(record: Path, facts: dict[str, object]) -> None:
    staged = record.with_name(f".{record.name}.{os.getpid()}")
    staged.write_bytes(msgspec.json.encode(facts))
    staged.rename(record)


def _lines(settings: Settings, url: str, grpc: str, admin_key: str | None) -> list[str]:
    workers = f" ({settings.workers} workers)" if settings.workers > 1 else ""
    lines = [
        f"modeltap {__version__} serves {url}{workers}",
        f"  gRPC       {grpc}",
        f"  home       {settings.home}",
        f"  API        {url}/docs",
    ]
    if admin_key is not None:
        lines += [f"  admin key  {admin_key}", "             shown this once; kept in the home, for its owner alone"]
    else:
        lines.append("  admin key  in admin.key in the home")
    lines.append("Ctrl-C ends the server; jobs go on and are taken up again at the next start.")
    return lines
