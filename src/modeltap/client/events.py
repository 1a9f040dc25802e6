"""Following a job: server-sent events as typed values, taken up again at the same place when the connection breaks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from modeltap.client.errors import ApiError, ConnectionFailed
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Job, read_answer
from modeltap.domain.progress import Progress

SILENCE_S = 60.0
"""A stream this long without a word is opened again."""
PAUSES_S = (0.1, 0.25, 0.5, 1.0, 2.0)


class ProgressEvent(NamedTuple):
    """Where the job stands. Every event's `position` is where to follow on `after` it."""

    progress: Progress
    position: str


class LogEvent(NamedTuple):
    """What the job has written since the last one."""

    text: str
    position: str


class StateEvent(NamedTuple):
    """The job after its state changed, or as it was found first."""

    job: Job
    position: str


Event = ProgressEvent | LogEvent | StateEvent


class Frame(NamedTuple):
    """One server-sent event as it came: its name, id and data."""

    event: str
    id: str | None
    data: str


def follow_job(transport: Transport, job_id: str, *, after: str = "", patience_s: float = 60.0) -> Iterator[Event]:
    """The job's events until it ended or was paused; the last one is its state.

    Raises ConnectionFailed if the server stays away for longer than `patience_s`.
    """
    path = f"/api/jobs/{segment(job_id)}/events"
    position = after
    heard_at_s = time.monotonic()
    num_tries = 0
    while True:
        lost = ConnectionFailed(f"the server ended the events of {job_id} without saying how it is; try again")
        heard = False
        try:
            headers = {"accept": "text/event-stream"} | ({"last-event-id": position} if position else {})
            with transport.stream(path, headers=headers, timeout_s=SILENCE_S) as response:
                for frame in read_frames(response.iter_bytes()):
                    heard = True
                    position = frame.id or position
                    event = _read_event(frame, position)
                    if event is None:
                        continue
                    yield event
                    if isinstance(event, StateEvent) and event.job.is_resting:
                        return
        except ConnectionFailed as problem:
            lost = problem
        if heard:  # the server was there until now, however long it had nothing to tell
            heard_at_s, num_tries = time.monotonic(), 0
        if time.monotonic() - heard_at_s > patience_s:
            raise lost
        time.sleep(PAUSES_S[min(num_tries, len(PAUSES_S) - 1)])
        num_tries += 1
        transport.relocate()


def read_frames(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Server-sent events from bytes cut anywhere. Lines end with LF, CRLF or CR only, as JSON may hold other line ends."""
    event = "message"
    event_id: str | None = None
    data: list[str] = []
    for line in _lines(chunks):
        if not line:
            if data:
                yield Frame(event, event_id, "\n".join(data))
            event, data, event_id = "message", [], None
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            event_id = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        held = rest.endswith(b"\r")  # its LF may be in the next chunk
        *lines, rest = (rest[:-1] if held else rest).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if held:
            rest += b"\r"
        for line in lines:
            yield line.decode("utf-8", "replace")


def _read_event(frame: Frame, position: str) -> Event | None:
    """None for an event that this client does not know."""
    try:
        data: Any = msgspec.json.decode(frame.data)
        if frame.event == "progress":
            return ProgressEvent(msgspec.convert(data, Progress), position)
        if frame.event == "log":
            return LogEvent(str(data["text"]), position)
        if frame.event == "state":
            return StateEvent(read_answer(data, Job), position)
    except (msgspec.ValidationError, msgspec.DecodeError, KeyError, TypeError) as problem:
        raise ApiError(f"the server sent a '{frame.event}' event that this client does not understand: {problem}") from None
    return None
