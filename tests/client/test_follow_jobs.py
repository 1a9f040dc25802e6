"""Following a job: events in any cut, a broken connection taken up again, and how a job ends."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Reply, Sent, json_reply, problem, serve

from modeltap import Client
from modeltap.client import ConnectionFailed, Event, JobStopped, LogEvent, ProgressEvent, StateEvent
from modeltap.client.events import Frame, read_frames
from modeltap.errors import InvalidData

STREAM = (
    b'id: 5-0\nevent: progress\ndata: {"phase": "train"}\n\n: still here\n\n'
    b'id: 5-9\r\nevent: log\r\ndata: {"text": "a\xe2\x80\xa8b"}\r\n\r\n'
)


def _event(name: str, position: str, data: object) -> bytes:
    return f"event: {name}\nid: {position}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


def _job(state: str, **more: object) -> dict[str, object]:
    return {"id": "job-1", "kind": "train", "state": state, **more}


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_do_not_depend_on_where_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert list(read_frames(chunks)) == [
        Frame("progress", "5-0", '{"phase": "train"}'),
        Frame("log", "5-9", '{"text": "a\u2028b"}'),
    ]


def test_a_broken_stream_goes_on_after_the_last_event() -> None:
    first = _event("state", "0-0", _job("running")) + _event("progress", "40-7", {"phase": "train", "fraction": 0.5})
    rest = _event("log", "40-19", {"text": "half way\n"}) + _event("state", "40-19", _job("succeeded"))

    def answer(sent: Sent) -> Reply:
        if _header(sent, "last-event-id") is None:
            return Reply(200, first, "text/event-stream", breaks=True)
        return Reply(200, rest, "text/event-stream")

    with serve(answer) as server, Client(server.url) as client:
        events = list(client.jobs.follow("job-1"))
    assert [_short(e) for e in events] == ["state running", "train 0.5", "half way\n", "state succeeded"]
    assert [_header(s, "last-event-id") for s in server.sent] == [None, "40-7"]


def test_a_stream_that_ends_before_the_job_does_is_opened_again() -> None:
    """A server that is restarted closes its streams without a word."""

    def answer(sent: Sent) -> Reply:
        state = "running" if _header(sent, "last-event-id") is None else "succeeded"
        return Reply(200, _event("state", "1-1", _job(state)), "text/event-stream")

    with serve(answer) as server, Client(server.url) as client:
        assert [_short(e) for e in client.jobs.follow("job-1")] == ["state running", "state succeeded"]


def test_a_server_that_stays_away_is_told_of() -> None:
    with serve(lambda sent: Reply(200, b": nothing\n\n", "text/event-stream")) as server, Client(server.url) as client:
        with pytest.raises(ConnectionFailed, match="without saying how it is"):
            list(client.jobs.follow("job-1", patience_s=0.05))
        assert len(server.sent) > 1
    with Client(server.url) as client, pytest.raises(ConnectionFailed, match="no server answers"):
        list(client.jobs.follow("job-1", patience_s=0.05))


def test_following_a_job_that_is_not_there_is_not_tried_again() -> None:
    with (
        serve(lambda sent: problem(404, "not_found", "there is no job 'job-1'")) as server,
        Client(server.url) as client,
        pytest.raises(Exception, match="no job"),
    ):
        list(client.jobs.follow("job-1"))
    assert len(server.sent) == 1


def test_a_failed_job_raises_the_error_that_it_failed_with() -> None:
    error = {"code": "invalid_data", "title": "The data cannot be used", "detail": "column 'age' is empty"}
    with (
        _serve_end("failed", error=error) as server,
        Client(server.url) as client,
        pytest.raises(InvalidData, match="column 'age' is empty"),
    ):
        client.train("adult", task="tabular-classification")


def test_a_paused_job_says_how_it_goes_on() -> None:
    with (
        _serve_end("paused") as server,
        Client(server.url) as client,
        pytest.raises(JobStopped, match="modeltap jobs resume job-1") as caught,
    ):
        client.jobs.wait("job-1")
    assert (caught.value.job, caught.value.state) == ("job-1", "paused")


def test_training_gives_the_version_and_tells_progress_on_the_way() -> None:
    result = {"job": "job-1", "version": "adult@2", "name": "adult", "metrics": {"test": {"accuracy": 0.9}}, "new_key": 1}
    told = []
    with _serve_end("succeeded", result=result) as server, Client(server.url) as client:
        trained = client.train("adult", task="t", settings={"epochs": 3}, on_progress=lambda p: told.append(p.phase))
    assert (trained.version, trained.metrics["test"]["accuracy"]) == ("adult@2", 0.9)
    assert trained.raw["new_key"] == 1
    assert told == ["evaluate"]
    assert msgspec.json.decode(server.sent[0].body) == {"kind": "train", "dataset": "adult", "task": "t", "set": {"epochs": 3}}


def _serve_end(state: str, **more: object):  # type: ignore[no-untyped-def]
    def answer(sent: Sent) -> Reply:
        if sent.path.endswith("/events"):
            progress = _event("progress", "9-0", {"phase": "evaluate"})
            return Reply(200, progress + _event("state", "9-0", _job(state, **more)), "text/event-stream")
        return json_reply(_job(state, **more), 201 if sent.method == "POST" else 200)

    return serve(answer)


def _header(sent: Sent, name: str) -> str | None:
    return {key.lower(): value for key, value in sent.headers.items()}.get(name)


def _short(event: Event) -> str:
    match event:
        case ProgressEvent():
            return f"{event.progress.phase} {event.progress.fraction}"
        case LogEvent():
            return event.text
        case StateEvent():
            return f"state {event.job.state}"
