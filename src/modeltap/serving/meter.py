"""The meter: each accepted request is reserved, then settled or ended without a charge, and every step is a frame first.

    ticket = meter.reserve(request_id=…, tenant=…, key=…, deployment=…, unit="row", units=32, cost_nano=32_000)
    cost_nano = meter.settle(ticket, model="digits@3", units=32, queue_us=80, compute_us=900)     before a byte is sent
    meter.delivered(ticket)                                                                      after the last one
    meter.fail(ticket, "invalid_value") | meter.cancel(ticket)                                   instead of both

Requests that run together are put on record together: `prepare` in the place of `settle`, for each of them, and one `commit`
before the first byte of any. A request whose end is known before anything of it was written has one frame instead of two.

It knows no file and no event loop: it numbers, builds frames and hands them to what appends them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from modeltap.domain.idempotency import StoredAnswer
from modeltap.domain.quota import QuotaBook, Reservation
from modeltap.domain.usage import Delivery, Status, Unit, UsageRecord
from modeltap.errors import Conflict, InvalidInput, StorageFailed
from modeltap.storage.segments import SegmentWriter
from modeltap.storage.segments_frames import Answered, Delivered, Reserve, Settle, Void, encode_frame

MAX_UNITS = 10**12
MAX_COST_NANO = 10**15
"""Of one request; sums of so many of them as there may be fit into 64 bits."""
MAX_MARKS = 1_000
"""Deliveries that are kept until there is a frame to write them with."""

TicketState = Literal["reserved", "prepared", "settled", "delivered", "voided"]
TRANSITIONS: dict[tuple[TicketState, str], TicketState] = {
    ("reserved", "settle"): "settled",
    ("reserved", "void"): "voided",
    ("prepared", "void"): "voided",
    ("settled", "deliver"): "delivered",
}
"""prepared: settled by the next commit. voided: without an answer and without a charge."""
Later = Callable[[Callable[[], None]], object]
"""Calls the function soon, when what comes at the same time has come: the event loop's `call_soon`."""


class Ticket:
    """One accepted request."""

    __slots__ = (
        "answer",
        "deployment",
        "is_answered",
        "key",
        "number",
        "record",
        "request_id",
        "reservation",
        "state",
        "tenant",
        "unit",
        "used_nano",
        "used_units",
    )

    def __init__(
        self, number: int, reservation: Reservation, request_id: str, tenant: str, key: str, deployment: str, unit: Unit
    ) -> None:
        self.number = number
        self.reservation = reservation
        self.request_id = request_id
        self.tenant = tenant
        self.key = key
        self.deployment = deployment
        self.unit: Unit = unit
        self.state: TicketState = "reserved"
        self.record: UsageRecord | None = None
        """How it ended, once it was prepared."""
        self.answer: StoredAnswer | None = None
        self.is_answered = False
        self.used_units = 0
        self.used_nano = 0

    def first_frame(self) -> Reserve | Answered:
        """What is written of it where nothing was before."""
        if self.record is not None:
            return Answered(self.record, self.answer)
        of = self.reservation
        return Reserve(
            self.number, self.request_id, self.tenant, self.key, self.deployment, self.unit, of.units, of.cost_nano, of.at_s
        )

    def last_frame(self) -> Settle:
        """What is written of its end where its beginning was before."""
        assert self.record is not None, "it was prepared"
        return Settle(self.record, self.answer)


class Meter:
    """One a process. `book` is of a process that keeps its limits itself; a worker reserves elsewhere and calls `accept`."""

    def __init__(
        self,
        segments: SegmentWriter,
        book: QuotaBook,
        *,
        clock: Callable[[], float] = time.time,
        later: Later | None = None,
    ) -> None:
        """With `later`, what is accepted is on record when that calls back, and not at once: nothing was answered until
        then, and whoever asked does not know that it was accepted."""
        self._segments = segments
        self._book = book
        self._clock = clock
        self._later = later
        self._is_due = False
        self._is_stuck = False
        """The last commit failed."""
        self._writer = segments.writer
        self._number = 0
        self._fresh: dict[int, Ticket] = {}
        """Accepted, and of which nothing was written."""
        self._ends: list[Ticket] = []
        """Prepared, in the order of their frames."""
        self._delivered: list[int] = []
        self._voided: list[int] = []

    @property
    def num_accepted(self) -> int:
        """Requests that were accepted by this writer."""
        return self._number

    def reserve(
        self, *, request_id: str, tenant: str, key: str, deployment: str, unit: Unit, units: int, cost_nano: int
    ) -> Ticket:
        """The request is accepted, and may use this much. Raises RateLimited, BudgetSpent, StorageFailed; then it is not."""
        reservation = self._book.reserve(key, tenant, units=units, cost_nano=cost_nano, now_s=self._clock())
        return self.accept(reservation, request_id=request_id, tenant=tenant, key=key, deployment=deployment, unit=unit)

    def accept(
        self, reservation: Reservation, *, request_id: str, tenant: str, key: str, deployment: str, unit: Unit
    ) -> Ticket:
        """The same for what was reserved before. Raises StorageFailed; then the reservation is undone."""
        number = self._number + 1
        units, cost_nano = reservation.units, reservation.cost_nano
        if units > MAX_UNITS or cost_nano > MAX_COST_NANO:
            reservation.undo()
            raise InvalidInput(f"{units:,} units are more than one request may have; send fewer at a time")
        ticket = self._fresh[number] = Ticket(number, reservation, request_id, tenant, key, deployment, unit)
        if self._later is None or self._is_stuck:
            try:
                self.commit()
            except StorageFailed:
                del self._fresh[number]
                reservation.undo()
                raise
        elif not self._is_due:
            self._is_due = True
            self._later(self._come_due)
        self._number = number
        return ticket

    def settle(
        self,
        ticket: Ticket,
        *,
        model: str,
        units: int,
        queue_us: int,
        compute_us: int,
        answer: StoredAnswer | None = None,
        code: str = "",
    ) -> int:
        """What the request costs, in billionths of the currency. `answer` is kept for its retry, `code` says what there is to
        say of the units.

        Raises StorageFailed: then it costs nothing, and the answer must not be sent. Raises ValueError for more units than
        were reserved.
        """
        cost_nano = self.prepare(
            ticket, model=model, units=units, queue_us=queue_us, compute_us=compute_us, answer=answer, code=code
        )
        self.commit()
        return cost_nano

    def prepare(
        self,
        ticket: Ticket,
        *,
        model: str,
        units: int,
        queue_us: int,
        compute_us: int,
        answer: StoredAnswer | None = None,
        code: str = "",
    ) -> int:
        """The same, once `commit` was called; until then the answer must not be sent."""
        _check(ticket, "settle")
        reserved = ticket.reservation
        if units > reserved.units:
            raise ValueError(f"{units} units are more than the {reserved.units} that were reserved")
        cost_nano = reserved.cost_nano
        if units != reserved.units:
            cost_nano = cost_nano * units // reserved.units
        ticket.answer = answer
        self._prepare(ticket, model, units, cost_nano, queue_us, compute_us, "answered", code, "unknown")
        return cost_nano

    def commit(self) -> None:
        """Everything that was accepted, prepared and delivered until now is on record, with one write.

        Raises StorageFailed: then nothing of it is, and what was prepared costs nothing and must not be sent.
        """
        fresh, ends = self._fresh, self._ends
        if not fresh and not ends:
            self._write(self._delivered_mark() + self._void_mark())
            return
        # In the order of their numbers, so that what is torn in the middle lacks no number before the last.
        begun = b"".join([encode_frame(ticket.first_frame()) for ticket in fresh.values()])
        ended = b"".join([encode_frame(ticket.last_frame()) for ticket in ends if ticket.number not in fresh])
        try:
            self._write(self._delivered_mark() + begun + self._void_mark() + ended, at_any_cost=bool(ends))
        except StorageFailed:
            self._ends = []
            for ticket in ends:
                self._lose(ticket)
            raise
        fresh.clear()
        self._ends = []
        for ticket in ends:
            if ticket.is_answered:
                ticket.state = "settled"
                ticket.reservation.settle(units=ticket.used_units, cost_nano=ticket.used_nano)
            else:
                ticket.state = "voided"
                ticket.reservation.void()

    def fail(self, ticket: Ticket, code: str, *, model: str = "") -> None:
        """It ends in the named error of that code, and costs nothing."""
        self._end(ticket, "failed", code, model)

    def cancel(self, ticket: Ticket, *, model: str = "") -> None:
        """Its caller left before there was an answer."""
        self._end(ticket, "cancelled", "", model)

    def delivered(self, ticket: Ticket) -> None:
        """The last byte of its answer was handed to the system. Written with the next frame, or by `flush`."""
        _check(ticket, "deliver")
        ticket.state = "delivered"
        self._delivered.append(ticket.number)
        if len(self._delivered) >= MAX_MARKS:
            with suppress(StorageFailed):
                self.flush()

    def flush(self) -> None:
        """Writes what waits for a frame: to be called when a connection closes, and when there is nothing to do.

        Raises StorageFailed; it waits on then.
        """
        self.commit()

    def close(self) -> None:
        """The last frame. What is open then was not answered."""
        with suppress(StorageFailed):
            self.flush()
        self._segments.close(self._number)

    def _come_due(self) -> None:
        self._is_due = False
        with suppress(StorageFailed):  # who was prepared finds it voided; what was accepted waits on
            self.commit()

    def _end(self, ticket: Ticket, status: Status, code: str, model: str) -> None:
        if ticket.state == "voided":  # as after a settling that the disk refused
            return
        _check(ticket, "void")
        if ticket.state == "prepared":
            self._ends = [one for one in self._ends if one is not ticket]
        ticket.answer = None
        self._prepare(ticket, model, 0, 0, 0, 0, status, code, "none")
        with suppress(StorageFailed):  # it failed already, and is on record as one without an end
            self.commit()

    def _prepare(
        self,
        ticket: Ticket,
        model: str,
        units: int,
        cost_nano: int,
        queue_us: int,
        compute_us: int,
        status: Status,
        code: str,
        delivery: Delivery,
    ) -> None:
        """Its record waits for the next commit."""
        ticket.state = "prepared"
        ticket.is_answered = status == "answered"
        ticket.used_units, ticket.used_nano = units, cost_nano
        ticket.record = UsageRecord(
            self._writer,
            ticket.number,
            ticket.request_id,
            ticket.tenant,
            ticket.key,
            ticket.deployment,
            model,
            ticket.unit,
            units,
            cost_nano,
            ticket.reservation.at_s,
            queue_us,
            compute_us,
            status,
            code,
            delivery,
        )
        self._ends.append(ticket)

    def _lose(self, ticket: Ticket) -> None:
        """There is no frame of its end; a later frame says so."""
        ticket.state = "voided"
        ticket.record = None
        self._voided.append(ticket.number)
        ticket.reservation.void()

    def _write(self, data: bytes, *, at_any_cost: bool = False) -> None:
        """The frames, and the marks that are among them."""
        if not data:
            return
        self._is_stuck = True
        if at_any_cost:
            self._segments.append_at_any_cost(data)
        else:
            self._segments.append(data)
        self._is_stuck = False
        self._delivered.clear()
        self._voided.clear()

    def _delivered_mark(self) -> bytes:
        return encode_frame(Delivered(self._delivered)) if self._delivered else b""

    def _void_mark(self) -> bytes:
        return encode_frame(Void(self._voided)) if self._voided else b""


def _check(ticket: Ticket, event: str) -> None:
    if (ticket.state, event) not in TRANSITIONS:
        raise Conflict(f"the request {ticket.request_id} is {ticket.state}, and cannot {event}; a request ends once")
