"""The file behind a study: a line for each change, written together where they belong together.

A process that is killed leaves whole lines and at the most one that was cut short, which is dropped. One process writes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from optuna.storages.journal import BaseJournalBackend

from modeltap.storage.disk import disk_failures, write_all


class StudyLog(BaseJournalBackend):
    """What Optuna writes becomes visible to it at once, and lasts from `flush` on."""

    def __init__(self, path: Path) -> None:
        """Raises StorageFailed."""
        self._path = path
        self._changes: list[dict[str, Any]] = []
        self._pending: list[dict[str, Any]] = []
        with disk_failures("reading the search"):
            if path.exists():
                self._read()

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self._changes[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._changes += logs
        self._pending += logs

    def flush(self, *, sync: bool) -> None:
        """What was appended is in the file, all of it or nothing; with `sync` also after a power cut. Raises StorageFailed."""
        if not self._pending:
            return
        lines = b"".join(msgspec.json.encode(change) + b"\n" for change in self._pending)
        with disk_failures("writing the search"):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                whole_bytes = os.fstat(handle).st_size
                try:
                    write_all(handle, lines)
                except OSError:
                    os.ftruncate(handle, whole_bytes)
                    raise
                if sync:
                    os.fsync(handle)
            finally:
                os.close(handle)
        self._pending.clear()

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        self._changes = [msgspec.json.decode(line) for line in whole.splitlines()]
