"""Explanations through a version's lane: planned and reserved at the worst, run in slices behind predictions, charged as used.

call → plan of every row → reserve → slice → slice → … → explanations; the door settles
what stops it on the way (the deadline, the caller leaving) → settled at what ran until then
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from modeltap.bundle.background import read_background, takes_background
from modeltap.bundle.files import open_bundle
from modeltap.domain.quota import Reservation
from modeltap.domain.signature import Batch, num_rows
from modeltap.domain.usage import Unit
from modeltap.errors import DeadlinePassed, InvalidInput, LimitReached, Overloaded, StorageFailed, Unavailable
from modeltap.explain.answer import Explanation
from modeltap.explain.plan import Planned, Wish, check_wish, plan_explanation
from modeltap.explain.steps import Asked, Steps
from modeltap.serving.call import Call
from modeltap.serving.limits import LimitKeeper
from modeltap.serving.meter import Meter
from modeltap.serving.plane import Plane
from modeltap.serving.slices import SlicedRun
from modeltap.serving.submission import ClientGone
from modeltap.serving.version import Version

INLINE_VALUES = 60_000
"""Of rows with more, or of pictures, the next rows are made on a thread: others need not wait for it, nor the engine."""
MAX_BACKGROUNDS = 128
"""Versions whose rows are kept in memory."""
EXPLAINED, CUT = "explained", "explained_in_part"
"""What a usage record says of its units."""
GONE = "the client closed the connection"


class Bounds(NamedTuple):
    """What one call may ask for, by the settings."""

    max_rows: int
    max_instances: int
    deadline_s: float


class Explaining:
    """Lives on one event loop. `find_files` gives the files of a bundle by its digest; it may block."""

    def __init__(
        self,
        plane: Plane,
        limits: LimitKeeper,
        meter: Meter,
        find_files: Callable[[str], Mapping[str, Path]],
        bounds: Bounds,
        *,
        wall: Callable[[], float],
    ) -> None:
        self._plane = plane
        self._limits = limits
        self._meter = meter
        self._find_files = find_files
        self._wall = wall
        self.bounds = bounds
        self._backgrounds: dict[str, Batch] = {}

    async def explain(self, call: Call, batch: Batch, wish: Wish) -> list[Explanation]:
        """One explanation for each row of the batch; `call` was led to its version, and is accepted and to be settled.

        Raises InvalidInput for what cannot be explained so, RateLimited, BudgetSpent, Overloaded, StorageFailed, what the
        engine raised; ClientGone and DeadlinePassed: then what ran until then is settled.
        """
        version = call.version
        assert isinstance(version, Version), "find comes before explain"
        self._check(version, batch, wish)
        background = await self._background(version)

        def planned() -> list[Planned]:
            rows = [{name: values[row : row + 1] for name, values in batch.items()} for row in range(num_rows(batch))]
            return [plan_explanation(version.manifest, row, background, wish) for row in rows]

        plans = await asyncio.to_thread(planned) if _is_heavy(batch) else planned()
        with version.held():
            return await _Explained(self, call, version, plans).whole()

    def _check(self, version: Version, batch: Batch, wish: Wish) -> None:
        check_wish(version.manifest, wish)
        rows, most = num_rows(batch), self.bounds.max_instances
        if rows > most:
            raise InvalidInput(
                f"there are {rows:,} rows to explain; at most {most:,} are explained at a time (explain_max_instances): send"
                " fewer at a time, or raise MODELTAP_EXPLAIN_MAX_INSTANCES on the server"
            )
        if wish.rows is not None and wish.rows > self.bounds.max_rows:
            raise InvalidInput(
                f"rows is {wish.rows:,}; an explanation may use at most {self.bounds.max_rows:,} (explain_max_rows): ask for"
                " fewer, or raise MODELTAP_EXPLAIN_MAX_ROWS on the server",
                fields=[("rows", f"at most {self.bounds.max_rows}")],
            )

    async def _background(self, version: Version) -> Batch | None:
        """The rows that stand in for what is taken away; None for pictures and texts."""
        if not takes_background(version.manifest.schema):
            return None
        found = self._backgrounds.get(version.digest)
        if found is None:
            found = await asyncio.to_thread(self._read_background, version)
            while len(self._backgrounds) >= MAX_BACKGROUNDS:
                del self._backgrounds[next(iter(self._backgrounds))]
            self._backgrounds[version.digest] = found
        return found

    def _read_background(self, version: Version) -> Batch:
        files = self._find_files(version.digest)
        rows = read_background(files, version.manifest.schema, open_bundle(files).golden.rows)
        if not rows:
            raise InvalidInput(
                f"{version.model_id} keeps no rows to compare with, so its answers cannot be explained; train it again here,"
                " and deploy that version"
            )
        return version.reader.rows(rows)

    async def reserve(self, call: Call, unit: Unit, units: int) -> None:
        """The call is accepted, and may use so much. Raises RateLimited, BudgetSpent, Unavailable, StorageFailed."""
        assert call.deployment is not None
        future: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()

        def granted(reservation: Reservation) -> None:
            if future.done():
                reservation.undo()
            else:
                future.set_result(reservation)

        def refused(problem: LimitReached | Unavailable) -> None:
            if not future.done():
                future.set_exception(problem)

        cost_nano = call.deployment.terms.price.cost_nano(unit, units)
        caller = call.principal
        self._limits.reserve(caller.key, caller.tenant, units, cost_nano, self._wall(), granted, refused)
        try:
            reservation = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().undo()
            raise
        call.ticket = self._meter.accept(
            reservation,
            request_id=call.request_id,
            tenant=caller.tenant,
            key=caller.key,
            deployment=call.deployment.name,
            unit=unit,
        )

    def settle(self, call: Call) -> None:
        """What was used of a call that ends without an answer."""
        with suppress(StorageFailed):  # then it costs nothing
            self._plane.settle(call)


class _Explained:
    """One call's explanations, one after the other. Used once, by one task."""

    def __init__(self, explaining: Explaining, call: Call, version: Version, plans: list[Planned]) -> None:
        assert call.deployment is not None, "find comes before explain"
        self._explaining = explaining
        self._call = call
        self._version = version
        self._plans = plans
        self._by_explanation = call.deployment.terms.price.explanation > 0
        self._deadline_s = call.deadline_s or call.started_s + explaining.bounds.deadline_s
        self._rows_run = 0
        self._num_whole = 0
        self._run: SlicedRun | None = None
        self._is_gone = False

    async def whole(self) -> list[Explanation]:
        """Raises what `Explaining.explain` does."""
        call = self._call
        unit: Unit = "explanation" if self._by_explanation else self._version.unit
        units = len(self._plans) if self._by_explanation else sum(plan.rows for plan in self._plans)
        call.queued_s = time.monotonic()
        is_answered = False
        with self._present():
            await self._explaining.reserve(call, unit, units)
            call.remark = EXPLAINED
            try:
                told = []
                for plan in self._plans:
                    told.append(await self._one(plan))
                    self._num_whole += 1
                is_answered = True
            except Overloaded as problem:
                if not self._rows_run:
                    raise
                raise self._late() from problem
            finally:
                call.units = self._num_whole if self._by_explanation else self._rows_run
                self._count(is_answered=is_answered)
        return told

    @contextmanager
    def _present(self) -> Iterator[None]:
        """Within it, nothing more runs once the caller has left or is late; what ran is then settled."""
        call, connection = self._call, self._call.connection
        call.cancel = self._gone
        if connection is not None:
            connection.on_lost = self._gone
        try:
            yield
        except (ClientGone, DeadlinePassed, asyncio.CancelledError):
            if call.ticket is not None and call.units:
                call.remark = CUT
                self._explaining.settle(call)
            raise
        finally:
            call.cancel = None
            if connection is not None:
                connection.on_lost = None

    def _gone(self) -> None:
        self._is_gone = True
        if self._run is not None:
            self._run.stop(ClientGone(GONE))

    def _may_go(self) -> None:
        if self._is_gone:
            raise ClientGone(GONE)
        if time.monotonic() >= self._deadline_s:
            raise self._late()

    def _late(self) -> DeadlinePassed:
        given_s = self._deadline_s - self._call.started_s
        planned = sum(plan.rows for plan in self._plans)
        return DeadlinePassed(
            f"{self._rows_run:,} of {planned:,} rows had run when the {given_s:.3g} s of the explanation were over, and are"
            " charged; ask for fewer rows, or explain fewer rows of data at a time"
        )

    async def _one(self, plan: Planned) -> Explanation:
        """Rows that take long to make are made on a thread, while those before them run."""
        asked = _advance(plan.steps, None)
        untaken: Callable[[], None] | None = None
        is_heavy = False
        while not isinstance(asked, Explanation):
            if asked is None:
                asked = await asyncio.to_thread(_advance, plan.steps, untaken) if is_heavy else _advance(plan.steps, untaken)
                untaken = None
                continue
            is_heavy = _is_heavy(asked.rows)
            if is_heavy:
                ahead = asyncio.ensure_future(asyncio.to_thread(_advance, plan.steps, untaken))
                try:
                    outputs = await self._outputs(asked.rows)
                finally:
                    await asyncio.wait([ahead])  # nothing works on for a call that has ended
                following = ahead.result()
            else:
                following = _advance(plan.steps, untaken)
                outputs = await self._outputs(asked.rows)
            untaken = partial(asked.take, outputs)
            asked = following
        return asked

    async def _outputs(self, asked: Batch) -> Batch:
        self._run = run = SlicedRun(self._version.lane, asked, deadline_s=self._deadline_s, may_go=self._may_go)
        try:
            outputs = await run.outputs()
        finally:
            self._run = None
            self._rows_run += run.rows_run
            self._call.queue_s += run.queue_s
            self._call.compute_s += run.compute_s
        self._version.check(outputs)
        return outputs

    def _count(self, *, is_answered: bool) -> None:
        call = self._call
        self._version.statistics.count_request(
            rows=self._rows_run,
            queue_s=call.queue_s,
            compute_s=call.compute_s,
            took_s=time.monotonic() - call.started_s,
            is_answered=is_answered,
        )


def _is_heavy(rows: Batch) -> bool:
    """Whether what is made of these rows takes so long that others would notice."""
    return any(values.ndim > 2 for values in rows.values()) or sum(values.size for values in rows.values()) > INLINE_VALUES


def _advance(steps: Steps[Explanation], untaken: Callable[[], None] | None) -> Asked | Explanation | None:
    """The outputs before are handed over: what is asked next, or what it came to. None: every output is wanted first."""
    if untaken is not None:
        untaken()
    try:
        return next(steps)
    except StopIteration as ended:
        told: Explanation = ended.value
        return told
