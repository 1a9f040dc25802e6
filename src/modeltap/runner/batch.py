"""The batch step: every row of a file is answered by a deployment, and the answers become one file.

Rows go to the home's own server in chunks, each as one request under a name of its own. What was answered is on the disk
before the next chunk is planned, so that a runner that takes the job up begins where the last one was.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from modeltap.bundle.files import open_bundle
from modeltap.control.batches import BatchSpec, output_path
from modeltap.control.datasets import UPLOADS
from modeltap.data.answer_chunks import AnswerFolder, Answers, Chunk
from modeltap.data.answer_columns import columns_of
from modeltap.data.answer_files import write_answers
from modeltap.data.row_files import FileRow, Reading, RowFile, open_rows, plan_reading
from modeltap.domain.dataset import Schema
from modeltap.domain.money import show_budget
from modeltap.domain.progress import Progress
from modeltap.errors import Broken, InvalidData, ModeltapError, StorageFailed, TooLarge, Unavailable
from modeltap.faults import crash_point
from modeltap.runner.batch_refusals import narrowed
from modeltap.runner.batch_sending import Reply, Sender
from modeltap.runner.batch_sizes import Sizes
from modeltap.runner.steps import Step
from modeltap.storage.batch_records import BatchRecords
from modeltap.storage.deployments import DeploymentRepository
from modeltap.storage.disk import disk_failures, sync_directory

INPUT = "input"
"""In the job's folder: the rows as they were sent."""
READING = "reading.json"
HOPELESS_ROWS = 1000
"""Where none of so many fits, the others will not either."""
FORGET_EVERY = 64
"""Chunks after which answers that were kept for a retry are let go."""
TELL_EVERY_S = 0.5
MAX_SHOWN = 5


def answer_batch(step: Step) -> dict[str, Any]:
    """What came of the rows, and what it cost. Raises InvalidData for a file that is none of rows, or of which no row fits;
    BudgetSpent, NotFound, Forbidden and what else ends a batch that may go on later; Stopped, StorageFailed."""
    spec = msgspec.convert(step.job.spec, BatchSpec)
    batch = Batch(step, spec)
    step.report(Progress(phase="data", message=f"reading {spec.filename}"))
    path = _take_input(step, spec)
    reading = batch.plan_reading(path)
    with closing(batch.sender), open_rows(path, spec.filename, reading) as rows:
        batch.answer(rows)
    step.report(Progress(phase="predict", fraction=1.0, cost=batch.cost))
    with disk_failures("writing the answers"):
        write_answers(batch.folder, output_path(step.workdir, spec.form), spec.form)
    step.discard.append(path)
    step.report(Progress(phase="done", fraction=1.0, message=f"{batch.num_rows:,} rows", cost=batch.cost))
    return batch.result()


class Batch:
    """One job: what was answered so far, and what comes next."""

    def __init__(self, step: Step, spec: BatchSpec) -> None:
        self._step = step
        self._spec = spec
        self.folder = AnswerFolder(step.workdir)
        self.sender = Sender(step, deployment=spec.deployment, key=spec.key, on_wait=self._waits)
        self._records = BatchRecords(step.database, step.job.tenant, spec.key)
        self._deployments = DeploymentRepository(step.database, step.job.tenant)
        self.num_rows = self.num_answered = 0
        self._num_chunks = self._num_forgotten = 0
        self._cost_nano = 0
        self._row_bytes = 0.0
        self._models: dict[str, None] = {}
        self._refused: list[str] = []
        self._rows: RowFile | None = None
        self._began_s = self._told_s = time.monotonic()
        self._num_before = 0

    @property
    def cost(self) -> str:
        """So far, in the currency."""
        return show_budget(self._cost_nano)

    def result(self) -> dict[str, Any]:
        return {
            "job": self._step.job.id,
            "deployment": self._spec.deployment,
            "models": list(self._models),
            "rows": self.num_rows,
            "answered": self.num_answered,
            "refused": self.num_rows - self.num_answered,
            "errors": self._refused,
            "cost": self.cost,
            "format": self._spec.form,
        }

    def plan_reading(self, path: Path) -> Reading:
        """How the file is read, as it was when the first row was sent."""
        kept = self._step.workdir / READING
        if self.folder.read_plan() is not None:
            try:
                return msgspec.json.decode(kept.read_bytes(), type=Reading)
            except (FileNotFoundError, msgspec.MsgspecError):
                raise StorageFailed("the files of the job are damaged; send the rows that have no answer again") from None
        reading = plan_reading(path, self._spec.filename, self.schema())
        with disk_failures("planning the batch"):
            kept.write_bytes(msgspec.json.encode(reading))
        return reading

    def schema(self) -> Schema:
        """Of the version that the deployment leads to now. Raises NotFound, Broken."""
        digest = self._deployments.get(self._spec.deployment).routes[0].digest
        return open_bundle(self._step.artifacts.paths(digest)).manifest.schema

    def answer(self, rows: RowFile) -> None:
        """Every row is answered, or it is known why it is not."""
        for answers in self.folder:
            self._count(answers)
        self._rows = rows
        self._num_before = self.num_answered
        self._began_s = self._told_s = time.monotonic()
        self._tell(is_due=True)
        sizes = Sizes(self._spec.chunk_rows, row_bytes=self._row_bytes)
        waiting = _Waiting(rows.read(self.num_rows))
        plan = self.folder.read_plan()
        while True:
            self._step.pause_point()
            if plan is None or plan.number != self._num_chunks + 1:
                plan = self._next_chunk(waiting, sizes)
                if plan is None:
                    break
            answers = self._answer_chunk(plan, waiting.first(plan.num_rows), sizes)
            crash_point("batch.answered")
            with disk_failures("keeping the answers"):
                self.folder.write_answers(answers)
            waiting.drop(answers.chunk.num_rows)
            self._count(answers)
            self._step.saved()
            self._check_hope(at_end=False)
            if self._num_chunks - self._num_forgotten >= FORGET_EVERY:
                self._forget()
            self._tell()
        self._check_hope(at_end=True)
        self._forget()

    def _next_chunk(self, waiting: _Waiting, sizes: Sizes) -> Chunk | None:
        rows = waiting.up_to(sizes.rows, sizes.body_bytes)
        if not rows:
            return None
        left_out = {place: row.error for place, row in enumerate(rows) if row.error}
        return Chunk(number=self._num_chunks + 1, first=self.num_rows, num_rows=len(rows), left_out=left_out)

    def _answer_chunk(self, chunk: Chunk, rows: list[FileRow], sizes: Sizes) -> Answers:
        """The answers to its rows, or to those that were left of it."""
        while True:
            sent = [place for place in range(chunk.num_rows) if place not in chunk.left_out]
            with disk_failures("planning the batch"):
                self.folder.write_plan(chunk)
            names = [row.name for row in rows[: chunk.num_rows]] if any(row.name for row in rows) else None
            if not sent:
                return Answers(chunk=chunk, names=names)
            body = b"[" + b",".join(rows[place].body for place in sent) + b"]"
            reply = self.sender.send(self._name(chunk.number), body, rows=len(sent))
            if isinstance(reply, Reply):
                if len(reply.predictions) != len(sent):
                    raise Broken(f"the server gave {len(reply.predictions)} answers to {len(sent)} rows; see its log")
                sizes.answered(len(sent), answer_bytes=reply.num_bytes, took_s=reply.took_s)
                return self._answers(chunk, names, reply)
            if isinstance(reply, TooLarge):
                sizes.too_long(len(body))
            smaller = narrowed(chunk, rows, sent, reply, self._schema_or_none)
            if smaller.num_rows < chunk.num_rows:
                sizes.too_many(chunk.num_rows, ever=getattr(reply, "retry_after_s", 0.0) is None)
            chunk = smaller

    def _answers(self, chunk: Chunk, names: list[str] | None, reply: Reply) -> Answers:
        cost_nano = reply.cost_nano
        if cost_nano is None:
            since_s = self._step.job.created_at.timestamp()
            cost_nano = self._records.charged_nano(self._name(chunk.number), since_s=since_s)
        return Answers(
            chunk=chunk,
            columns=columns_of(reply.predictions),
            names=names,
            model=reply.model,
            cost_nano=cost_nano,
            answer_bytes=reply.num_bytes,
        )

    def _schema_or_none(self) -> Schema | None:
        try:
            return self.schema()
        except ModeltapError:
            return None

    def _count(self, answers: Answers) -> None:
        chunk = answers.chunk
        self._num_chunks = chunk.number
        self.num_rows = chunk.end
        num_answered = chunk.num_rows - len(chunk.left_out)
        self.num_answered += num_answered
        self._cost_nano += answers.cost_nano
        if num_answered:
            self._row_bytes = max(self._row_bytes, answers.answer_bytes / num_answered)
            self._models[answers.model] = None
        for place, why in chunk.left_out.items():
            if len(self._refused) < MAX_SHOWN:
                self._refused.append(f"row {chunk.first + place + 1}: {why}")

    def _check_hope(self, *, at_end: bool) -> None:
        """Raises InvalidData where no row fits. Nothing was charged then, and the file may be tried from its beginning."""
        if self.num_answered or (self.num_rows < HOPELESS_ROWS and not at_end):
            return
        self.folder.clear()
        if not self.num_rows:
            raise InvalidData(f"'{self._spec.filename}' holds no rows")
        told = "the row does not fit" if self.num_rows == 1 else f"none of the first {self.num_rows:,} rows fits"
        raise InvalidData(f"{told} the model behind '{self._spec.deployment}'; {self._refused[0]}")

    def _forget(self) -> None:
        """What is in this folder for good needs no retry any more."""
        names = [self._name(number) for number in range(self._num_forgotten + 1, self._num_chunks + 1)]
        self._num_forgotten = self._num_chunks
        with suppress(StorageFailed, Unavailable, OSError):  # they go by themselves after a day
            sync_directory(self.folder.folder)
            self._records.forget_answers(names)

    def _name(self, number: int) -> str:
        return f"{self._step.job.id}-{number}"

    def _tell(self, *, is_due: bool = False) -> None:
        now_s = time.monotonic()
        if is_due or now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._step.report(self._progress("predict"))

    def _waits(self, why: str) -> None:
        self._step.report(self._progress("wait", why))
        self._told_s = 0.0

    def _progress(self, phase: Any, message: str = "") -> Progress:
        assert self._rows is not None
        num_rows = self._rows.num_rows
        fraction = self._rows.fraction() if num_rows is None else self.num_rows / num_rows
        rate = (self.num_answered - self._num_before) / max(time.monotonic() - self._began_s, 1e-3)
        left = None if num_rows is None or not rate else (num_rows - self.num_rows) / rate
        return Progress(
            phase=phase,
            fraction=fraction or 0.0,
            message=message,
            step=self.num_rows,
            steps=num_rows,
            samples_per_s=rate,
            remaining_s=left,
            cost=self.cost,
        )


class _Waiting:
    """Rows that were read and are not answered yet, in their order."""

    def __init__(self, rows: Iterator[FileRow]) -> None:
        self._rows = rows
        self._read: deque[FileRow] = deque()

    def up_to(self, num_rows: int, num_bytes: int) -> list[FileRow]:
        """The next rows: at most so many, and as many of them as have so many bytes together, but one at least."""
        found: list[FileRow] = []
        for row in self.first(num_rows):
            num_bytes -= len(row.body) + 1
            if found and num_bytes < 0:
                break
            found.append(row)
        return found

    def first(self, num_rows: int) -> list[FileRow]:
        while len(self._read) < num_rows and (row := next(self._rows, None)) is not None:
            self._read.append(row)
        return list(islice(self._read, num_rows))

    def drop(self, num_rows: int) -> None:
        for _ in range(num_rows):
            self._read.popleft()


def _take_input(step: Step, spec: BatchSpec) -> Path:
    """The rows, in the job's folder from now on. Raises InvalidData if they are gone."""
    path = step.workdir / INPUT
    upload = step.home / UPLOADS / spec.upload
    if not path.exists():
        try:
            upload.rename(path)
        except FileNotFoundError:
            raise InvalidData("the uploaded rows are gone, they are kept for 7 days; send them again") from None
    return path
