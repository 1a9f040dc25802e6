"""Structured logs on standard error: one line an event, for people on a terminal, as JSON elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from modeltap.telemetry.ended_call import EndedCall

_calls = logging.getLogger("modeltap.calls")
CALL_FIELDS = ("request_id", "deployment", "model", "status", "ms", "rows", "code", "unlogged")
"""What a line about a request holds; nothing of its body, and no key."""
MOST_WARNINGS_PER_S = 20
"""A server that refuses because it has too much to do does not also write a line for each refusal."""


class CallLog:
    """One line a request: at level debug, or warning where the server failed it (5xx)."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._second = 0
        self._written = 0
        self._unlogged = 0

    @property
    def wants_all(self) -> bool:
        """Whether requests that went well have a line too."""
        return _calls.isEnabledFor(logging.DEBUG)

    def log_call(self, call: EndedCall) -> None:
        """Writes the line, if the level asks for it. Beyond 20 warnings in a second one is left out; the next one that is
        written has their number as `unlogged`."""
        level = logging.WARNING if call.status >= 500 else logging.DEBUG
        if not _calls.isEnabledFor(level):
            return
        fields: dict[str, Any] = {
            "request_id": call.request_id,
            "deployment": call.deployment,
            "model": call.model,
            "status": call.status,
            "ms": round(call.total_s * 1000, 3),
            "rows": call.rows,
        }
        if call.code:
            fields["code"] = call.code
        if level == logging.WARNING:
            if not self._may_warn():
                return
            if self._unlogged:
                fields["unlogged"], self._unlogged = self._unlogged, 0
        _calls.log(level, call.operation, extra=fields)

    def _may_warn(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        self._written += 1
        if self._written > MOST_WARNINGS_PER_S:
            self._unlogged += 1
            return False
        return True


def open_logs(level: str) -> None:
    """Route the standard library's logging, ours and uvicorn's, through structlog. Called once a process."""
    import structlog

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(allow=CALL_FIELDS),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    render: Any = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    errors: list[Any] = [] if terminal else [structlog.processors.format_exc_info]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *errors, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in ("uvicorn.error", "alembic"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
