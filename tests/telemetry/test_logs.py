"""A line a request: who asks for it gets it as JSON, with what is needed to find the request and nothing of its content."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from modeltap.telemetry.ended_call import EndedCall
from modeltap.telemetry.logs import CALL_FIELDS, MOST_WARNINGS_PER_S, CallLog, open_logs


class Written:
    """What stands on standard error, line by line."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self._capsys.readouterr().err.splitlines()]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    names = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "alembic")
    before = [(log := logging.getLogger(name), log.level, log.handlers, log.propagate) for name in names]
    yield Written(capsys)
    for log, level, handlers, propagate in before:
        log.level, log.handlers, log.propagate = level, handlers, propagate
        log.setLevel(level)


def call(**changes) -> EndedCall:
    facts = {"operation": "POST /predict", "request_id": "req-1", "deployment": "wine", "model": "wine@3", "rows": 4}
    return EndedCall(**facts | {"status": 200, "total_s": 0.0123456} | changes)


def test_an_answered_request_is_a_line_at_level_debug(written):
    open_logs("debug")
    CallLog().log_call(call())
    (line,) = written.lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "POST /predict",
        "level": "debug",
        "logger": "modeltap.calls",
        "request_id": "req-1",
        "deployment": "wine",
        "model": "wine@3",
        "status": 200,
        "ms": 12.346,
        "rows": 4,
    }


def test_a_request_that_the_server_failed_is_a_warning_and_names_the_error(written):
    open_logs("info")
    log = CallLog()
    log.log_call(call(status=200))
    log.log_call(call(status=422, code="invalid_value"))
    log.log_call(call(status=503, code="replica_lost"))
    (line,) = written.lines()
    assert (line["level"], line["status"], line["code"]) == ("warning", 503, "replica_lost")


def test_a_server_that_refuses_thousands_writes_some_lines_and_how_many_it_left_out(written):
    open_logs("info")
    now_s = 100.0
    log = CallLog(clock=lambda: now_s)
    for _ in range(MOST_WARNINGS_PER_S + 480):
        log.log_call(call(status=503, code="server_is_overloaded"))
    assert len(written.lines()) == MOST_WARNINGS_PER_S
    now_s = 101.0
    log.log_call(call(status=503, code="server_is_overloaded"))
    log.log_call(call(status=503, code="server_is_overloaded"))
    first, second = written.lines()
    assert first["unlogged"] == 480
    assert "unlogged" not in second


def test_a_line_holds_the_fields_that_it_is_said_to_and_no_other(written):
    open_logs("debug")
    CallLog().log_call(call(status=500, code="internal"))
    (line,) = written.lines()
    assert set(line) - {"event", "level", "logger", "timestamp"} <= set(CALL_FIELDS)


def test_what_libraries_put_into_their_records_does_not_become_fields(written):
    open_logs("info")
    logging.getLogger("uvicorn.error").warning("stopped", extra={"color_message": "\x1b[1mstopped", "secret": "mt-key"})
    (line,) = written.lines()
    assert set(line) == {"event", "level", "logger", "timestamp"}
