"""The process that reads usage beside a server dies anywhere, or outlives its server: each request is on record once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from charged_books import audited, read_records
from fault_server import FaultServer, serving, until

KILLED_AT = (2, 3, 4)
"""The transactions that it dies in, each time it is started: before it wrote what it read, while it does, and after."""
ORPHANED_AT = 2
READER = """
import os, signal, sys, time
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
marks, killed_at, orphaned_at = Path(sys.argv.pop(1)), eval(sys.argv.pop(1)), int(sys.argv.pop(1))
started = marks.read_text().split() if marks.exists() else []
number = len(started) + 1
server = os.getppid()
seen = 0
def mark(word):
    with marks.open("a") as file:
        file.write(word + "\\n")
def pass_by(*_):
    global seen
    seen += 1
    if number <= len(killed_at) and seen == killed_at[number - 1]:
        mark("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    if number == len(killed_at) + 1 and seen == orphaned_at:
        mark("waits")
        while os.getppid() == server:
            time.sleep(0.02)
event.listen(Engine, "commit", pass_by)
from modeltap.wiring.bookkeeper import main
main()
mark("whole")
"""
"""Of its first starts it dies in as many transactions; the next one waits for the end of its server, and goes on."""


def before(marks: Path) -> str:
    """All usage is read by such a process, soon after it was written."""
    command = (sys.executable, "-c", READER, str(marks), repr(KILLED_AT), str(ORPHANED_AT))
    return f"""
from modeltap.wiring import bookkeeper, keeper
keeper.BUSY_BYTES, keeper.INGEST_EVERY_S, keeper.INGEST_BUSY_S = 1, 0.05, 0.1
bookkeeper.COMMAND = {command!r}
"""


def words(marks: Path) -> list[str]:
    return marks.read_text().split() if marks.exists() else []


def compare(server: FaultServer, num_calls: int) -> None:
    """Every request is on record, once and with its charge."""
    records = read_records(server)
    assert len({(record["writer"], record["number"]) for record in records}) == len(records) == num_calls
    assert {(record["status"], record["cost"]) for record in records} == {("answered", "0.0005")}
    audited(server)


def test_usage_is_on_record_once_however_its_reader_ends(metered_home: Path, tmp_path: Path) -> None:
    home, marks = tmp_path / "home", tmp_path / "marks"
    shutil.copytree(metered_home, home)
    num_calls = 0
    with serving(home, before(marks)) as server:

        def call_and_look(num_started: int) -> bool:
            nonlocal num_calls
            server.ask("POST", "/predict/double", json={"instances": [{"x": [1, 2, 3, 4]}]})
            num_calls += 1
            return len(words(marks)) > num_started

        for number in range(len(KILLED_AT) + 1):
            # What the server read in itself after the last one died needs no other one: so there is more, until one starts.
            until("it was started", lambda number=number: call_and_look(number), pause_s=0.2)
            if number < len(KILLED_AT):
                compare(server, num_calls)
        assert words(marks) == ["killed"] * len(KILLED_AT) + ["waits"]
        server.kill()
        server.start()
        until("the reader without a server ends", lambda: words(marks)[-1] == "whole")
        compare(server, num_calls)
