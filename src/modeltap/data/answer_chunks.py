"""The answers of a batch as they lie in its job's folder: a file a chunk, and the plan of the chunk that is under way.

A chunk is a run of rows that is sent as one request. Its plan is on the disk before it is sent, and so are its answers before
the next one is planned: whoever takes the job up sends that request once more, with the same rows under the same name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from modeltap.data.answer_columns import Column
from modeltap.faults import crash_point

FOLDER = "answers"
PLAN = "plan.json"
T = TypeVar("T")


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Rows `first` to `first + num_rows - 1` of the file, which counts from 0; its number counts from 1.

    `left_out` are those of them, counted from the first, that cannot be answered, and why.
    """

    number: int
    first: int
    num_rows: int
    left_out: dict[int, str] = {}

    @property
    def end(self) -> int:
        return self.first + self.num_rows


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a chunk. Each column holds a value for every row that was not left out."""

    chunk: Chunk
    columns: dict[str, Column] = {}
    names: list[str] | None = None
    """Of all rows of the chunk, where rows have names: those of picture files."""
    model: str = ""
    cost_nano: int = 0
    answer_bytes: int = 0
    """Of the answer as it was sent."""


class AnswerFolder:
    """One writes, any number read. Files appear whole or not at all."""

    def __init__(self, job_folder: Path) -> None:
        self.folder = job_folder / FOLDER

    def read_plan(self) -> Chunk | None:
        """The chunk that was planned last; None if there is none."""
        return _read(self.folder / PLAN, Chunk)

    def write_plan(self, chunk: Chunk) -> None:
        """From now on this is what is sent under the chunk's number. Raises OSError."""
        self._write(PLAN, chunk)
        crash_point("batch.planned")

    def write_answers(self, answers: Answers) -> None:
        """The chunk is done. Raises OSError."""
        self._write(_name(answers.chunk.number), answers)

    def clear(self) -> None:
        """Nothing was planned or answered."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def __iter__(self) -> Iterator[Answers]:
        """What is there from the first chunk on, without a gap."""
        number = 1
        while (answers := _read(self.folder / _name(number), Answers)) is not None:
            yield answers
            number += 1

    def _write(self, name: str, content: Any) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        staged = self.folder / f".{name}.{os.getpid()}"
        with staged.open("wb") as file:
            file.write(msgspec.json.encode(content))
            file.flush()
            os.fsync(file.fileno())
        staged.replace(self.folder / name)


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _read(path: Path, kind: type[T]) -> T | None:
    """None for what is not there, or is no such thing, as after a loss of power."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
