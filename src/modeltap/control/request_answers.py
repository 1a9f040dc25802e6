"""What came of the requests of a batch: one file that grows in the job's folder, and the two files that are made of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import msgspec

from modeltap.domain.job import Job
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.disk import CHUNK_BYTES, disk_failures, sync_directory, write_all
from modeltap.storage.files import FileRepository

ANSWERS = "answers.jsonl"
OUTPUT, ERRORS = "output", "errors"
"""What a batch makes: answers, and what was refused or never sent."""
_KEEPING = "keeping the answers"


class RequestAnswer(msgspec.Struct, frozen=True):
    """What came of one request. `line` is what the client gets of it, as it stands in the output or error file."""

    number: int
    """Of its line in the file of requests, from 1 on."""
    is_good: bool
    line: msgspec.Raw


class _Place(msgspec.Struct, frozen=True):
    offset: int
    size_bytes: int
    is_good: bool


class RequestAnswers:
    """The file in one job's folder. One process writes; what a dead one left half written is cut off."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ANSWERS
        self._places: dict[int, _Place] = {}
        self._end = 0
        with disk_failures(_KEEPING):
            self._read()

    def __contains__(self, number: int) -> bool:
        return number in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def num_good(self) -> int:
        return sum(place.is_good for place in self._places.values())

    def add(self, answer: RequestAnswer) -> None:
        """It is in the file, in one write after all that came before; a crash of this process does not undo it."""
        data = msgspec.json.encode(answer) + b"\n"
        with disk_failures(_KEEPING):
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.ftruncate(handle, self._end)
                os.lseek(handle, self._end, os.SEEK_SET)
                write_all(handle, data)
            finally:
                os.close(handle)
        self._note(answer, len(data))

    def sync(self) -> None:
        """What is in the file survives the end of the power."""
        if not self.path.exists():
            return
        with disk_failures(_KEEPING):
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            sync_directory(self.path.parent)

    def write(self, target: IO[bytes], *, good: bool) -> int:
        """Lines written: those that were answered, or those that were not, in the order of the requests."""
        wanted = [place for _, place in sorted(self._places.items()) if place.is_good == good]
        if wanted:
            with self.path.open("rb") as source:
                for place in wanted:
                    source.seek(place.offset)
                    answer = msgspec.json.decode(source.read(place.size_bytes), type=RequestAnswer)
                    target.write(bytes(answer.line) + b"\n")
        return len(wanted)

    def bodies(self) -> Iterator[bytes]:
        """The lines of all requests that were answered."""
        if self._places:
            with self.path.open("rb") as source:
                for place in self._places.values():
                    if place.is_good:
                        source.seek(place.offset)
                        yield bytes(msgspec.json.decode(source.read(place.size_bytes), type=RequestAnswer).line)

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as source:
            for line in source:
                try:
                    answer = msgspec.json.decode(line, type=RequestAnswer) if line.endswith(b"\n") else None
                except msgspec.MsgspecError:
                    answer = None
                if answer is None:  # cut short by the end of its writer; what follows is written over it
                    return
                self._note(answer, len(line))

    def _note(self, answer: RequestAnswer, size_bytes: int) -> None:
        self._places[answer.number] = _Place(self._end, size_bytes, answer.is_good)
        self._end += size_bytes


def made_by(job: Job, what: str) -> str:
    """The name under which a batch has one output and one file of errors."""
    return f"{job.id}/{what}"


def keep_answers(
    job: Job, answers: RequestAnswers, files: FileRepository, artifacts: ArtifactStore, *, expires_s: int | None
) -> dict[str, Any]:
    """Counts and usage, with both files kept as far as there is something in them. Doing it again changes nothing."""
    counts = {}
    for what, good in ((OUTPUT, True), (ERRORS, False)):
        path = answers.path.with_name(f".{secrets.token_hex(8)}.{what}")  # two may look at a stopped batch at once
        with disk_failures(_KEEPING), path.open("wb", buffering=CHUNK_BYTES) as target:
            counts[what] = answers.write(target, good=good)
        if not counts[what]:
            path.unlink()
            continue
        now = datetime.now(UTC)
        with artifacts.keeping_all():
            size_bytes = path.stat().st_size
            digest = artifacts.put_file(path, move=True)
            files.add(
                key=job.spec["key"],
                purpose="batch_output",
                filename=f"batch_{job.id.removeprefix('job-')}_{what}.jsonl",
                size_bytes=size_bytes,
                digest=digest,
                now=now,
                expires_at=None if expires_s is None else now + timedelta(seconds=expires_s),
                made_by=made_by(job, what),
            )
    return {"completed": counts[OUTPUT], "failed": counts[ERRORS], "usage": _usage(answers) if len(answers) else None}


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class _Body(msgspec.Struct):
    usage: _Usage | None = None


class _Response(msgspec.Struct):
    body: _Body


class _Line(msgspec.Struct):
    response: _Response


def _usage(answers: RequestAnswers) -> dict[str, int]:
    """Tokens of all answers together, as they say themselves: responses in words of their own."""
    read, written = 0, 0
    for line in answers.bodies():
        try:
            usage = msgspec.json.decode(line, type=_Line).response.body.usage
        except msgspec.ValidationError:
            continue
        if usage is not None:
            read += usage.prompt_tokens + usage.input_tokens
            written += usage.completion_tokens + usage.output_tokens
    return {"input_tokens": read, "output_tokens": written}
