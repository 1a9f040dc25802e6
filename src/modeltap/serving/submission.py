"""One request between its arguments and its outputs: reserved, queued, on record, run."""

from __future__ import annotations

import time

from modeltap.batching.entry import Entry
from modeltap.batching.stack import bucket_of
from modeltap.domain.quota import Reservation
from modeltap.domain.signature import Batch
from modeltap.errors import ModeltapError, Unavailable
from modeltap.serving.call import Call
from modeltap.serving.lane import Answered, Work
from modeltap.serving.meter import Meter
from modeltap.serving.version import Version


class ClientGone(Unavailable):
    """Nobody waits for the answer any more."""

    code = "client_gone"


class Submission(Work):
    """Made when it is submitted; `done` is called once. Until then its version is held, and its caller may leave."""

    __slots__ = ("_call", "_entry", "_is_open", "_lead", "_meter", "_rows", "_tell", "_version")

    def __init__(self, call: Call, inputs: Batch, rows: int, meter: Meter, done: Answered) -> None:
        super().__init__(inputs, self.ended)
        version, lead = call.version, call.lead
        assert isinstance(version, Version) and lead is not None, "find comes before submit"
        self._call = call
        self._version = version
        self._lead = lead
        self._rows = rows
        self._meter = meter
        self._tell = done
        self._is_open = True
        size_bytes = 0
        for array in inputs.values():
            size_bytes += array.nbytes
        self._entry = Entry(
            rows,
            size_bytes=size_bytes,
            deadline_s=call.deadline_s or call.started_s + lead.deadline_s,
            bucket=bucket_of(inputs) if version.bucket is None else version.bucket,
            priority=call.priority,
            payload=self,
        )
        version.in_flight += 1
        call.units = version.units_of(inputs, rows)
        call.cancel = self.gone
        if call.connection is not None:
            call.connection.on_lost = self.gone

    @property
    def price_nano(self) -> int:
        """The most that it may cost, in billionths of the currency."""
        return self._lead.nano_per_unit * self._call.units

    def granted(self, reservation: Reservation) -> None:
        """It may be used: the request is queued, and accepted once its reservation is on record."""
        call, version = self._call, self._version
        if not self._is_open:
            reservation.undo()
            return
        try:
            version.lane.submit(self._entry)
        except ModeltapError as problem:
            reservation.undo()
            self.ended(problem)
            return
        call.queued_s = self._entry.arrived_s
        try:
            call.ticket = self._meter.accept(
                reservation,
                request_id=call.request_id,
                tenant=call.principal.tenant,
                key=call.principal.key,
                deployment=self._lead.name,
                unit=version.unit,
            )
        except ModeltapError as problem:  # the meter has undone the reservation
            version.lane.cancel(self._entry)
            self.ended(problem)

    def gone(self) -> None:
        """The caller does not want the answer any more."""
        self._version.lane.cancel(self._entry)
        self.ended(ClientGone("the client closed the connection"))

    def ended(self, outcome: Batch | BaseException) -> None:
        """It ran, or it is known why it does not."""
        if not self._is_open:
            return
        self._is_open = False
        call, version = self._call, self._version
        # What holds each other would lie in memory until somebody looks for such circles.
        self.done = _over
        self._entry.payload = None
        call.cancel = None
        if call.connection is not None:
            call.connection.on_lost = None
            call.connection = None
        version.in_flight -= 1
        version.last_used_s = now_s = self.ended_s or time.monotonic()
        call.queue_s, call.compute_s = self.queue_s, self.compute_s
        version.statistics.count_request(
            rows=self._rows,
            queue_s=self.queue_s,
            compute_s=self.compute_s,
            took_s=now_s - call.started_s,
            is_answered=not isinstance(outcome, BaseException),
        )
        if not isinstance(outcome, BaseException):
            try:
                version.check(outcome)
            except ModeltapError as problem:
                outcome = problem
        self._tell(outcome)


def _over(_outcome: Batch | BaseException) -> None:
    """The request has ended; nobody waits for more."""
