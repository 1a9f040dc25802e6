"""The step of a batch of requests: each line of a file is sent to the home's own server, several at a time, and what comes back
becomes two files.

An answer is in the job's folder before its place is free for the next request. A runner that takes the job up sends what has no
answer there, under the same names: what was answered and not kept is answered again without a second charge.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import SimpleQueue
from threading import get_ident
from typing import Any

import msgspec

from modeltap.control.request_answers import RequestAnswer, RequestAnswers, keep_answers
from modeltap.control.request_batches import RequestBatchSpec, expires_at
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData, NotFound, StorageFailed, Unavailable
from modeltap.faults import crash_point
from modeltap.runner.request_lines import RequestLine, check_requests, read_requests
from modeltap.runner.request_sending import RequestSender, Response
from modeltap.runner.steps import Step
from modeltap.storage.batch_records import BatchRecords
from modeltap.storage.files import FileRepository

IN_FLIGHT = 16
"""Requests at a time: enough for a language model to write them together, few beside those of people."""
FORGET_EVERY = 64
"""Answers after which those that were kept for a retry are let go."""
TELL_EVERY_S = 0.5
_ON_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
"""JSON has line ends between its values alone, where a space says the same."""
EXPIRED = {
    "code": "batch_expired",
    "message": "this request was not sent: the completion window of the batch ended before",
}


def answer_requests(step: Step) -> dict[str, Any]:
    """Counts, usage and whether the time was over. Raises InvalidData for a file that is none of requests; Stopped,
    StorageFailed, ConnectionFailed."""
    spec = msgspec.convert(step.job.spec, RequestBatchSpec)
    try:
        path = step.artifacts.path(spec.digest)
    except NotFound:
        raise InvalidData(f"the bytes of '{spec.filename}' are gone; send the file again") from None
    answers = RequestAnswers(step.workdir)
    is_new = not len(answers)
    if is_new:
        step.report(Progress(phase="data", message=f"checking {spec.filename}"))
    num_requests = check_requests(path, spec.filename, spec.endpoint)
    batch = _Sending(step, spec, answers, num_requests)
    batch.tell(is_due=True)
    batch.send_all(read_requests(path, spec.endpoint))
    step.report(batch.progress("bundle", "writing the answers"))
    finalizing_at_s = time.time()
    files = FileRepository(step.database, step.job.tenant)
    result = keep_answers(step.job, answers, files, step.artifacts, expires_s=spec.output_expires_s)
    crash_point("batch.kept")
    step.discard.append(answers.path)
    step.report(batch.progress("done", f"{result['completed']:,} answered, {result['failed']:,} refused"))
    return {**result, "total": num_requests, "is_expired": batch.num_expired > 0, "finalizing_at_s": finalizing_at_s}


class _Sending:
    """The requests of one job that have no answer yet."""

    def __init__(self, step: Step, spec: RequestBatchSpec, answers: RequestAnswers, num_requests: int) -> None:
        self._step = step
        self._answers = answers
        self._num_requests = num_requests
        self._records = BatchRecords(step.database, step.job.tenant, spec.key)
        self._unforgotten: list[str] = []
        self._end_s = expires_at(step.job).timestamp()
        self.num_expired = 0
        self._began_s = self._told_s = time.monotonic()
        self._num_before = len(answers)
        self._waiting: dict[int, str] = {}
        """Thread → why its request waits; it is over when the request has its answer."""
        self._idle: SimpleQueue[RequestSender] = SimpleQueue()
        self._senders = [
            RequestSender(step, endpoint=spec.endpoint, key=spec.key, on_wait=self._waits, is_late=self._is_late)
            for _ in range(IN_FLIGHT)
        ]
        for sender in self._senders:
            self._idle.put(sender)

    def send_all(self, requests: Iterator[RequestLine]) -> None:
        """Every request has its answer, or is known to be too late. Raises Stopped; what came until then is kept."""
        running: dict[Future[Response | None], RequestLine] = {}
        pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="request")
        try:
            for request in requests:
                if request.number in self._answers:
                    continue
                self._step.pause_point()
                running[pool.submit(self._send, request)] = request
                while len(running) >= IN_FLIGHT:
                    self._take(running)
            while running:
                self._take(running)
        finally:
            try:
                self._take_rest(running)
            finally:
                pool.shutdown(cancel_futures=True)
                for sender in self._senders:
                    sender.close()
        self._forget()

    def _send(self, request: RequestLine) -> Response | None:
        sender = self._idle.get()
        try:
            return sender.send(f"{self._step.job.id}-{request.number}", request.body)
        finally:
            self._waiting.pop(get_ident(), None)
            self._idle.put(sender)

    def _take(self, running: dict[Future[Response | None], RequestLine]) -> None:
        """Keeps what has come, and waits a moment for that if nothing has."""
        ended, _ = wait(running, timeout=TELL_EVERY_S, return_when=FIRST_COMPLETED)
        for future in ended:
            self._keep(running[future], future.result())
            del running[future]
        self.tell(num_running=len(running))

    def _take_rest(self, running: dict[Future[Response | None], RequestLine]) -> None:
        """Keeps what is still answered of requests that are under way when the job stops."""
        for future, request in running.items():
            if future.exception() is None:
                self._keep(request, future.result())

    def _keep(self, request: RequestLine, response: Response | None) -> None:
        crash_point("batch.answered")
        if response is None:
            self.num_expired += 1
        line = _line(self._step.job.id, request, response)
        self._answers.add(RequestAnswer(request.number, response is not None and response.is_good, line))
        self._step.saved()
        self._unforgotten.append(f"{self._step.job.id}-{request.number}")
        if len(self._unforgotten) >= FORGET_EVERY:
            self._forget()

    def _forget(self) -> None:
        """What is in the folder for good needs no retry any more."""
        names, self._unforgotten = self._unforgotten, []
        with suppress(StorageFailed, Unavailable):  # they go by themselves after a day
            self._answers.sync()
            self._records.forget_answers(names)

    def _is_late(self) -> bool:
        return time.time() >= self._end_s

    def _waits(self, why: str) -> None:
        """Called by the thread whose request waits."""
        self._waiting[get_ident()] = why

    def tell(self, *, num_running: int = 0, is_due: bool = False) -> None:
        """That the batch waits is told where all requests that are under way do."""
        now_s = time.monotonic()
        if is_due or now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            reasons = list(self._waiting.values())
            why = reasons[0] if reasons and len(reasons) >= num_running else ""
            self._step.report(self.progress("wait" if why else "predict", why))

    def progress(self, phase: Any, message: str = "") -> Progress:
        num_done = len(self._answers)
        rate = (num_done - self._num_before) / max(time.monotonic() - self._began_s, 1e-3)
        return Progress(
            phase=phase,
            fraction=num_done / self._num_requests,
            message=message,
            step=num_done,
            steps=self._num_requests,
            samples_per_s=rate,
            remaining_s=(self._num_requests - num_done) / rate if rate else None,
            refused=num_done - self._answers.num_good,
        )


def _line(job_id: str, request: RequestLine, response: Response | None) -> msgspec.Raw:
    """As it stands in the output or error file."""
    facts: dict[str, Any] = {
        "id": f"batch_req_{job_id.removeprefix('job-')}_{request.number}",
        "custom_id": request.custom_id,
        "response": None,
        "error": None,
    }
    if response is None:
        facts["error"] = EXPIRED
    else:
        facts["response"] = {
            "status_code": response.status,
            "request_id": response.request_id,
            "body": _body(response),
        }
    return msgspec.Raw(msgspec.json.encode(facts))


def _body(response: Response) -> Any:
    """The server's JSON as it came, on one line; or the text of what is none."""
    try:
        msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return response.body.decode("utf-8", "replace")
    return msgspec.Raw(response.body.translate(_ON_ONE_LINE))
