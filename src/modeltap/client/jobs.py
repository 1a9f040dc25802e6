"""`client.jobs`: background work, followed to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from modeltap.client.errors import JobStopped, error_from
from modeltap.client.events import Event, ProgressEvent, follow_job
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Job, read_answer
from modeltap.domain.job import Priority
from modeltap.domain.progress import Progress
from modeltap.domain.sizes import parse_size

OnProgress = Callable[[Progress], None]


class Jobs:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @contextmanager
    def terms(
        self, *, priority: Priority | None = None, threads: int | None = None, memory: int | str | None = None
    ) -> Iterator[None]:
        """Calls in the block queue, or resume, jobs that run so: `with client.jobs.terms(priority="high", memory="4GB"): …`

        priority: low, normal or high. threads: where the recipe names none. memory: of all processes of the job; one that uses
        more fails with MemoryExceeded.
        """
        given = {"priority": priority, "threads": threads, "memory_bytes": None if memory is None else parse_size(memory)}
        before = self._transport.job_terms
        self.ask_for({name: value for name, value in given.items() if value is not None})
        try:
            yield
        finally:
            self.ask_for(before)

    def ask_for(self, terms: Mapping[str, str | int]) -> None:
        """The same from now on: priority, threads, memory_bytes, as the server takes them."""
        self._transport.job_terms = terms

    def list(self, *, state: str | None = None, limit: int | None = None) -> list[Job]:
        """Newest first."""
        answer = self._transport.json("GET", "/api/jobs", params={"state": state, "limit": limit})
        return [read_answer(job, Job) for job in answer["jobs"]]

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        return read_answer(self._transport.json("GET", f"/api/jobs/{segment(job_id)}"), Job)

    def pause(self, job_id: str) -> Job:
        """It stops at its next checkpoint. Raises Conflict where the state does not allow it."""
        return self._ask(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """A paused, failed or cancelled job goes on from its checkpoint; one that waits to be tried again goes on at once.

        Raises Conflict where the state does not allow it.
        """
        return self._ask(job_id, "resume")

    def cancel(self, job_id: str) -> Job:
        """Raises Conflict where it has ended."""
        return self._ask(job_id, "cancel")

    def log(self, job_id: str) -> str:
        """All it has written so far."""
        pieces: list[str] = []
        offset = 0
        while True:
            answer = self._transport.json("GET", f"/api/jobs/{segment(job_id)}/log", params={"offset": offset})
            if not answer["text"]:
                return "".join(pieces)
            pieces.append(answer["text"])
            offset = answer["offset"]

    def report(self, job_id: str) -> str:
        """The HTML page of a training or an evaluation. Raises NotFound before there is one."""
        return self._transport.text(f"/api/jobs/{segment(job_id)}/report")

    def follow(self, job_id: str, *, after: str = "", patience_s: float = 60.0) -> Iterator[Event]:
        """Its events, as they come, until it ended or was paused; a broken connection is taken up again.

        after: the `position` of the last event that is known already; empty is the beginning.

        Raises NotFound, and ConnectionFailed where the server stays away for longer than `patience_s`.
        """
        return follow_job(self._transport, job_id, after=after, patience_s=patience_s)

    def wait(self, job_id: str, *, on_progress: OnProgress | None = None) -> Job:
        """The job, succeeded. Raises the error that it failed with, and JobStopped if it was paused or cancelled."""
        for event in self.follow(job_id):
            if isinstance(event, ProgressEvent) and on_progress is not None:
                on_progress(event.progress)
        return finished(self.get(job_id))

    def _ask(self, job_id: str, what: str) -> Job:
        return read_answer(self._transport.json("POST", f"/api/jobs/{segment(job_id)}/{what}"), Job)


def finished(job: Job) -> Job:
    """The job, if it succeeded. Raises the error that it failed with, and JobStopped if it was paused or cancelled."""
    if job.state == "failed":
        raise error_from(job.error or {"detail": f"{job.id} failed without giving a reason; see: modeltap jobs logs {job.id}"})
    if job.state != "succeeded":
        raise JobStopped(
            f"{job.id} was {job.state}; let it go on with: modeltap jobs resume {job.id}", job=job.id, state=job.state
        )
    return job
