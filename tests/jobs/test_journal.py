"""A job's files: whole lines, whole letters, from any offset."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.domain.progress import Progress
from modeltap.errors import StorageFailed
from modeltap.jobs.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, "job-a")


def test_events_are_read_once_each_as_they_come(journal: Journal) -> None:
    assert journal.read_events() == ([], 0)
    first = Progress(phase="data", message="reading\ngrößen")
    second = Progress(phase="train", epoch=1, epoch_metrics={"train_loss": 0.5})
    journal.append_event(first)
    events, offset = journal.read_events()
    assert events == [first]
    assert journal.read_events(offset) == ([], offset)
    journal.append_event(second)
    assert journal.read_events(offset)[0] == [second]
    assert journal.read_events()[0] == [first, second]


def test_half_a_line_is_never_returned(journal: Journal) -> None:
    event = Progress(phase="train", fraction=0.25)
    journal.append_event(event)
    with journal.events.open("ab") as half:
        half.write(b'{"phase":"tr')
    events, offset = journal.read_events()
    assert events == [event]
    with journal.events.open("ab") as half:
        half.write(b'ain","fraction":0.5}\n')
    assert journal.read_events(offset)[0] == [Progress(phase="train", fraction=0.5)]


def test_a_line_cut_short_by_a_full_disk_costs_no_other(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [Progress(phase="train", step=step) for step in range(3)]
    journal.append_event(events[0])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: write(handle, data[:7]))
        with pytest.raises(StorageFailed, match="full"):
            journal.append_event(events[1])
    journal.append_event(events[2])
    assert journal.read_events()[0] == [events[0], events[2]]


@pytest.mark.parametrize("limit_bytes", [1, 40, 10_000])
def test_a_small_limit_still_gets_through(journal: Journal, limit_bytes: int) -> None:
    written = [Progress(phase="train", message="m" * size) for size in (1, 200, 3)]
    for event in written:
        journal.append_event(event)
    found: list[Progress] = []
    offset = 0
    for _ in written:
        events, offset = journal.read_events(offset, limit_bytes=limit_bytes)
        found += events
    assert found == written


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.integers(1, 20))
def test_a_letter_of_the_log_is_never_cut(tmp_path_factory: pytest.TempPathFactory, text: str, limit: int) -> None:
    journal = Journal(tmp_path_factory.mktemp("log"), "job-a")
    with journal.open_log() as log:
        log.write(text.encode())
    found, offset = "", 0
    while offset < len(text.encode()):
        part, offset = journal.read_log(offset, limit_bytes=limit)
        assert part
        found += part
    assert found == text


def test_a_log_may_hold_anything(journal: Journal) -> None:
    assert journal.read_log() == ("", 0)
    for part in (b"fine \xff\n", "ü".encode()[:1]):
        with journal.open_log() as log:
            log.write(part)
    text, offset = journal.read_log()
    assert (text, offset) == ("fine \ufffd\n", 7)
    assert journal.read_log(1_000) == ("", 1_000)
    assert journal.read_log(-5) == (text, offset)
