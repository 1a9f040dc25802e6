"""The one handler under every protocol: find → infer (admit, reserve, queue, run) → settle. A protocol only translates.

version = plane.find(call, name, wanted_version)     may it, is it there, is it loaded
outputs = await plane.infer(call, inputs, rows)      reserved before it runs; cancelled if the caller leaves
plane.submit(call, inputs, rows, done)               the same without a task, for the hot path
plane.settle(call)                                   after the answer was encoded, before its first byte is sent
plane.fail(call, problem) | plane.cancel(call)       for a call that ends otherwise
plane.delivered(call)                                when its last byte was handed to the system
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from modeltap.batching.queue import Entry
from modeltap.batching.stack import bucket_of
from modeltap.domain.deployment import Deployment
from modeltap.domain.quota import Reservation
from modeltap.domain.quota_counters import Standing
from modeltap.domain.signature import Batch
from modeltap.domain.tenant import (
    ADMIN_KEY_ID,
    ANONYMOUS,
    ANONYMOUS_KEY_ID,
    ANONYMOUS_TENANT,
    PUBLIC_SCOPES,
    Principal,
    Scope,
)
from modeltap.errors import Forbidden, ModeltapError, StorageFailed, Unavailable
from modeltap.serving.call import Call
from modeltap.serving.lane import Answered, Work
from modeltap.serving.limits import LimitKeeper
from modeltap.serving.meter import Meter, Ticket
from modeltap.serving.router import Router
from modeltap.serving.version import Version


class Commit(Protocol):
    """Brings what was written to the disk itself, for all who wait at the same time."""

    async def flush_power(self) -> None: ...


class ClientGone(Unavailable):
    """Nobody waits for the answer any more."""

    code = "client_gone"


def public_caller(deployment: Deployment) -> Principal:
    """Who is charged for calls of a public deployment that come without a key."""
    return Principal(key=f"public:{deployment.name}", tenant=ANONYMOUS_TENANT, scopes=PUBLIC_SCOPES)


class Plane:
    """Lives on one event loop. `wall` gives UTC seconds that never go back while the process lives."""

    def __init__(
        self, router: Router, limits: LimitKeeper, meter: Meter, commit: Commit | None, *, wall: Callable[[], float]
    ) -> None:
        self._router = router
        self._limits = limits
        self._meter = meter
        self._commit = commit
        self._wall = wall

    @property
    def waits_for_disk(self) -> bool:
        """Whether a settled answer must wait until the disk has its record, as durability `power` says."""
        return self._commit is not None

    async def on_disk(self) -> None:
        """Comes back when the disk has every record that was settled until now, where that is to be waited for."""
        if self._commit is not None:
            await self._commit.flush_power()

    def standing(self, call: Call) -> tuple[Standing | None, Standing | None]:
        """What is left to the caller, of requests and of units; None where there is no limit."""
        principal = call.principal
        if principal.key == ADMIN_KEY_ID or principal.key == ANONYMOUS_KEY_ID:
            return None, None
        return self._limits.standing(principal.key, principal.tenant, self._wall())

    def listed(self, call: Call) -> list[tuple[Deployment, str, str]]:
        """Deployments that the caller may use: with their state, and why where one failed."""
        principal = call.principal
        own = self._router.deployments(principal.tenant)
        allowed = own if principal.models is None else {name: own[name] for name in own if name in principal.models}
        return [(d, self._router.status(d), self._router.failure(d) or "") for d in allowed.values()]

    def find(self, call: Call, name: str | None, wanted: str | None = None, *, scope: Scope = "predict") -> Version:
        """The loaded version that answers. Raises Forbidden, NotFound, and Loading while it is being loaded."""
        principal = call.principal
        if scope not in principal.scopes:
            raise Forbidden(
                f"the key has the scope{'s' * (len(principal.scopes) != 1)} {', '.join(sorted(principal.scopes))}; this takes"
                f" '{scope}'"
            )
        has_key = principal.tenant != ANONYMOUS_TENANT
        deployment = self._router.deployment(principal if has_key else ANONYMOUS, name)
        if not has_key:  # also one that was found before, and is charged as the deployment's public caller by now
            call.principal = public_caller(deployment)
        elif principal.models is not None and deployment.name not in principal.models:
            raise Forbidden(f"the key is not for '{deployment.name}'; it is for: {', '.join(sorted(principal.models))}")
        call.deployment = deployment
        call.version = self._router.version(deployment, wanted)
        return call.version

    def submit(self, call: Call, inputs: Batch, rows: int, done: Answered) -> None:
        """Reserves, queues, runs; `done` is called once with the outputs or the failure, later or before this returns.

        With outputs the call was accepted, and must be settled or failed. Failures: RateLimited, BudgetSpent, Overloaded and
        StorageFailed, of which nothing is recorded; what the engine raised; ClientGone.
        """
        version, deployment = call.version, call.deployment
        assert version is not None and deployment is not None, "find comes before submit"
        lane = version.lane
        connection = call.connection
        is_open = True

        def finished(outcome: Batch | BaseException) -> None:
            nonlocal is_open
            if not is_open:
                return
            is_open = False
            work.done = _over  # what holds each other would lie in memory until somebody looks for such circles
            call.cancel = None
            version.in_flight -= 1
            version.last_used_s = time.monotonic()
            call.queue_s, call.compute_s = work.queue_s, work.compute_s
            version.statistics.count_request(
                rows=rows,
                queue_s=work.queue_s,
                compute_s=work.compute_s,
                took_s=version.last_used_s - call.started_s,
                is_answered=not isinstance(outcome, BaseException),
            )
            if connection is not None:
                connection.on_lost = None
            if not isinstance(outcome, BaseException):
                try:
                    version.check(outcome)
                except ModeltapError as problem:
                    outcome = problem
            done(outcome)

        def gone() -> None:
            lane.cancel(entry)
            finished(ClientGone("the client closed the connection"))

        def granted(reservation: Reservation) -> None:
            if not is_open:
                reservation.undo()
                return
            try:
                lane.submit(entry)
            except ModeltapError as problem:
                reservation.undo()
                finished(problem)
                return
            try:
                call.ticket = self._open(call, deployment, version, reservation)
            except ModeltapError as problem:  # the meter has undone the reservation
                lane.cancel(entry)
                finished(problem)

        work = Work(inputs, finished)
        entry = self._entry(call, deployment, version, work, rows)
        call.queued_s = time.monotonic()
        version.in_flight += 1
        call.units = rows
        call.cancel = gone
        if connection is not None:
            connection.on_lost = gone
        try:
            self._limits.reserve(
                call.principal.key,
                call.principal.tenant,
                rows,
                deployment.terms.price.cost_nano(version.unit, rows),
                self._wall(),
                granted,
                finished,
            )
        except ModeltapError as problem:
            finished(problem)

    async def infer(self, call: Call, inputs: Batch, rows: int) -> Batch:
        """The same, as something to wait for. Raises what `submit` raises, what the engine raised, and ClientGone."""
        future: asyncio.Future[Batch] = asyncio.get_running_loop().create_future()

        def done(outcome: Batch | BaseException) -> None:
            if future.done():
                return
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.submit(call, inputs, rows, done)
        try:
            return await future
        except asyncio.CancelledError:
            if call.cancel is not None:
                call.cancel()
            raise

    def _entry(self, call: Call, deployment: Deployment, version: Version, work: Work, rows: int) -> Entry:
        size_bytes = 0
        for array in work.inputs.values():
            size_bytes += array.nbytes
        return Entry(
            rows,
            size_bytes=size_bytes,
            deadline_s=call.deadline_s or call.started_s + deployment.terms.deadline_ms / 1000,
            bucket=bucket_of(work.inputs) if version.bucket is None else version.bucket,
            priority=call.priority,
            payload=work,
        )

    def _open(self, call: Call, deployment: Deployment, version: Version, reservation: Reservation) -> Ticket:
        """The request is accepted: its reservation is on record. Raises StorageFailed."""
        return self._meter.accept(
            reservation,
            request_id=call.request_id,
            tenant=call.principal.tenant,
            key=call.principal.key,
            deployment=deployment.name,
            unit=version.unit,
        )

    def settle(self, call: Call) -> None:
        """The record is written: the answer may go. A call that was never accepted has nothing to settle.

        Raises StorageFailed: then the answer must not be sent.
        """
        if call.ticket is None:
            return
        assert call.version is not None
        call.cost_nano = self._meter.settle(
            call.ticket,
            model=call.version.model_id,
            units=call.units,
            queue_us=round(call.queue_s * 1e6),
            compute_us=round(call.compute_s * 1e6),
            answer=call.idempotency,
        )

    def fail(self, call: Call, problem: ModeltapError) -> None:
        """The call ends in a named error and is not charged."""
        ticket, call.ticket = call.ticket, None
        if ticket is None or ticket.state == "settled":
            return
        model = "" if call.version is None else call.version.model_id
        if isinstance(problem, ClientGone):
            self._meter.cancel(ticket, model=model)
        else:
            self._meter.fail(ticket, problem.code, model=model)

    def delivered(self, call: Call) -> None:
        """Its last byte was handed to the system."""
        if call.ticket is not None:
            self._meter.delivered(call.ticket)

    def flush(self) -> None:
        """Deliveries that were noted are on record: when a connection closes, and when there is nothing else to do."""
        with suppress(StorageFailed):  # they wait on
            self._meter.flush()


def _over(_outcome: Batch | BaseException) -> None:
    """The request has ended; nobody waits for more."""
