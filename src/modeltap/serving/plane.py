"""The one handler under every protocol: find → infer (admit, reserve, queue, run) → settle. A protocol only translates.

version = plane.find(call, name, wanted_version)     may it, is it there, is it loaded
outputs = await plane.infer(call, inputs, rows)      reserved before it runs; cancelled if the caller leaves
plane.submit(call, inputs, rows, done)               the same without a task, for the hot path
plane.generate(call, requests, deliver, …)           of a language model: texts, as they come
plane.settle(call)                                   after the answer was encoded, before its first byte is sent
plane.prepare(call) …; plane.commit()                the same for those that were answered together
plane.fail(call, problem) | plane.cancel(call)       for a call that ends otherwise
plane.break_off(call, problem)                       for a stream that did not come to its end
plane.delivered(call)                                when its last byte was handed to the system
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from modeltap.domain.deployment import Deployment
from modeltap.domain.generation import GenerationRequest
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
from modeltap.errors import DeadlinePassed, Forbidden, InvalidInput, ModeltapError, StorageFailed
from modeltap.serving.call import AnyVersion, Call, Lead
from modeltap.serving.generating import DeliverText, Generation
from modeltap.serving.lane import Answered
from modeltap.serving.language import LanguageVersion
from modeltap.serving.limits import Granted, LimitKeeper, Refused
from modeltap.serving.meter import Meter, Ticket
from modeltap.serving.router import Router
from modeltap.serving.submission import ClientGone, Submission
from modeltap.serving.text_deadline import deadline_of, late
from modeltap.serving.upstream import UpstreamVersion
from modeltap.serving.version import Version


class Commit(Protocol):
    """Brings what was written to the disk itself, for all who wait at the same time."""

    async def flush_power(self) -> None: ...


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
        """The loaded version that answers. Raises Forbidden, NotFound, Loading while it is being loaded, and InvalidInput for a
        language model, which answers elsewhere."""
        version = self._lead(call, name, wanted, scope)
        if not isinstance(version, Version):
            raise InvalidInput(f"'{version.model_id}' writes text; ask it at /v1/chat/completions or /v1/completions")
        return version

    def find_language(self, call: Call, name: str) -> LanguageVersion:
        """The loaded language model. Raises the same, and InvalidInput for a version that is none."""
        version = self._lead(call, name, None, "predict")
        if not isinstance(version, LanguageVersion):
            raise InvalidInput(f"'{name}' is no language model; ask it at /predict/{name}", fields=[("model", "writes none")])
        return version

    def find_writer(self, call: Call, name: str) -> LanguageVersion | UpstreamVersion:
        """The same, also where a server elsewhere writes the text."""
        version = self._lead(call, name, None, "predict")
        return version if isinstance(version, UpstreamVersion) else self.find_language(call, name)

    def _lead(self, call: Call, name: str | None, wanted: str | None, scope: Scope) -> AnyVersion:
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
        version = call.version = self._router.version(deployment, wanted)
        call.lead = Lead(principal, call.principal, deployment, version, self._router.era)
        return version

    def follow(self, call: Call, lead: Lead) -> bool:
        """Whether this call's caller would be led to the same again; then the call is."""
        if lead.principal is not call.principal or lead.era != self._router.era:
            return False
        call.principal = lead.charged
        call.deployment = lead.deployment
        call.version = lead.version
        call.lead = lead
        return True

    def submit(self, call: Call, inputs: Batch, rows: int, done: Answered) -> None:
        """Reserves, queues, runs; `done` is called once with the outputs or the failure, later or before this returns.

        With outputs the call was accepted, and must be settled or failed. Failures: RateLimited, BudgetSpent, Overloaded and
        StorageFailed, of which nothing is recorded; what the engine raised; ClientGone.
        """
        submission = Submission(call, inputs, rows, self._meter, done)
        try:
            self._limits.reserve(
                call.principal.key,
                call.principal.tenant,
                call.units,
                submission.price_nano,
                self._wall(),
                submission.granted,
                submission.ended,
            )
        except ModeltapError as problem:
            submission.ended(problem)

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

    def generate(
        self, call: Call, requests: Sequence[GenerationRequest], deliver: DeliverText, *, prompt_tokens: int
    ) -> Generation:
        """Reserves `prompt_tokens` and what the requests may write at most, then begins with all of them; `deliver` gets what
        comes, and every failure: what `submit` tells of, and ReplicaLost.

        `call.units` are the prompt's tokens; whoever answers adds the ids that it hands on, and settles. Until then it is told
        if the client leaves, also after the last text.
        """
        version, deployment = call.version, call.deployment
        assert isinstance(version, LanguageVersion) and deployment is not None, "find_language comes before generate"
        connection = call.connection

        def ended(problem: ModeltapError | None) -> None:
            call.cancel = None
            version.in_flight -= 1
            call.queue_s, call.compute_s = generation.spent()
            generation.count(prompt_tokens, is_answered=problem is None)

        def granted(reservation: Reservation) -> None:
            if generation.is_over:
                reservation.undo()
                return
            try:
                generation.begin()
            except ModeltapError as problem:
                reservation.undo()
                generation.end(problem)
                return
            try:
                call.ticket = self._open(call, deployment, version, reservation)
            except ModeltapError as problem:  # the meter has undone the reservation
                generation.end(problem)

        def gone() -> None:
            generation.leave(ClientGone("the client closed the connection"))

        generation = Generation(version, requests, deliver, ended=ended)
        units = prompt_tokens + sum(request.sampling.max_tokens for request in requests)
        call.queued_s = time.monotonic()
        call.units = prompt_tokens
        version.in_flight += 1
        call.cancel = gone
        if connection is not None:
            connection.on_lost = gone
        try:
            generation.check_room()
            deadline_s = deadline_of(call)
            if deadline_s is not None:
                generation.keep_time(deadline_s, late(call, deadline_s))
            cost_nano = deployment.terms.price.cost_nano(version.unit, units)
            self._limits.reserve(
                call.principal.key, call.principal.tenant, units, cost_nano, self._wall(), granted, generation.end
            )
        except ModeltapError as problem:
            generation.end(problem)
        return generation

    def reserve(self, call: Call, units: int, granted: Granted, refused: Refused) -> None:
        """For an upstream's call, of which so many units are the most. One of the two is called once, or RateLimited or
        BudgetSpent is raised; what was granted is to be accepted."""
        version, deployment, caller = call.version, call.deployment, call.principal
        assert version is not None and deployment is not None, "find_writer comes before reserve"
        cost_nano = deployment.terms.price.cost_nano(version.unit, units)
        self._limits.reserve(caller.key, caller.tenant, units, cost_nano, self._wall(), granted, refused)

    def accept(self, call: Call, reservation: Reservation) -> None:
        """The call is on record, and must be settled or failed. Raises StorageFailed; then the reservation is undone."""
        assert call.version is not None and call.deployment is not None, "reserve comes before accept"
        call.ticket = self._open(call, call.deployment, call.version, reservation)

    def _open(self, call: Call, deployment: Deployment, version: AnyVersion, reservation: Reservation) -> Ticket:
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
        """The record is written: the answer may go. A call that was never accepted, or is settled, has nothing to settle.

        Raises StorageFailed: then the answer must not be sent.
        """
        if call.ticket is not None and call.ticket.state != "settled":
            self.prepare(call)
            self.commit()

    def prepare(self, call: Call) -> None:
        """The same for several calls, before one `commit` of them all. Each was accepted."""
        assert call.version is not None and call.ticket is not None
        call.cost_nano = self._meter.prepare(
            call.ticket,
            model=call.version.model_id,
            units=call.units,
            queue_us=int(call.queue_s * 1e6 + 0.5),
            compute_us=int(call.compute_s * 1e6 + 0.5),
            answer=call.idempotency,
            code=call.remark,
        )

    def commit(self) -> None:
        """The records are written. Raises StorageFailed: then no answer that was prepared may be sent."""
        self._meter.commit()

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

    def break_off(self, call: Call, problem: ModeltapError) -> None:
        """A stream ends before its end. If the client left or its time is over, what was handed on until then is charged; else
        it costs nothing."""
        if call.connection is not None:
            call.connection.on_lost = None
        if call.cancel is not None:
            call.cancel()
        if call.ticket is None or call.ticket.state == "settled":
            return
        if isinstance(problem, ClientGone | DeadlinePassed) and call.num_forwarded:
            if isinstance(problem, DeadlinePassed):
                call.remark = call.remark or problem.code
            with suppress(StorageFailed):
                self.settle(call)
        else:
            self.fail(call, problem)

    def delivered(self, call: Call) -> None:
        """Its last byte was handed to the system."""
        if call.ticket is not None:
            self._meter.delivered(call.ticket)

    def flush(self) -> None:
        """Deliveries that were noted are on record: when a connection closes, and when there is nothing else to do."""
        with suppress(StorageFailed):  # they wait on
            self._meter.flush()
