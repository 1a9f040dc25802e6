"""The texts of one call: begun together, delivered as they come, ended together whatever happens.

`Generation` is what the plane runs; `Texts` is where whoever answers waits for what is delivered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from modeltap.domain.generation import GenerationRequest, TokenDelta, TokenEngine
from modeltap.errors import Broken, ModeltapError, Overloaded
from modeltap.serving.language import LanguageVersion
from modeltap.serving.text_deadline import check_time

DeliverText = Callable[[int, "TokenDelta | ModeltapError"], None]
"""Called on the event loop with the number of the request and what came of its text; or with the failure of the whole call,
after which nothing comes."""

MAX_TEXTS = 2_048
"""Of one version at a time, running and waiting together."""


class Generation:
    """All requests of one call at the version's engine. `end` is called once, when the last text ended or with a failure."""

    def __init__(
        self,
        version: LanguageVersion,
        requests: Sequence[GenerationRequest],
        deliver: DeliverText,
        *,
        ended: Callable[[ModeltapError | None], None],
    ) -> None:
        self._version = version
        self._requests = requests
        self._deliver = deliver
        self._ended = ended
        self._open = dict.fromkeys(range(len(requests)))
        self._engine: TokenEngine | None = None
        self._left = [request.sampling.max_tokens for request in requests]
        self._begun_s: dict[int, float] = {}
        """When the first token of each text came."""
        self._timer: asyncio.TimerHandle | None = None
        self.is_over = False
        self.started_s = time.monotonic()
        self.first_s = 0.0
        """When the first token came; 0 before."""
        self.last_s = 0.0
        self.num_ids = 0

    def spent(self) -> tuple[float, float]:
        """Seconds until the first token, and since then."""
        now_s = time.monotonic()
        first_s = self.first_s or now_s
        return first_s - self.started_s, now_s - first_s

    def count(self, prompt_tokens: int, *, is_answered: bool) -> None:
        """Into the statistics of the version."""
        self._version.count_call(
            prompt_tokens=prompt_tokens,
            num_ids=self.num_ids,
            begun_s=self.started_s,
            first_s=self.first_s,
            last_s=self.last_s,
            is_answered=is_answered,
        )

    def check_room(self) -> None:
        """Raises Overloaded where the version has as many texts as it takes."""
        if self._version.num_texts + len(self._requests) > MAX_TEXTS:
            raise Overloaded(
                f"{self._version.num_texts:,} texts are being written or wait, and this asks for {len(self._requests):,} more;"
                f" at most {MAX_TEXTS:,} are taken at a time, try again in a moment",
                retry_after_s=1.0,
            )

    def keep_time(self, deadline_s: float, late: ModeltapError) -> None:
        """What is not whole at that moment ends with the problem. Raises Overloaded where it is known that it cannot be."""
        version, now_s = self._version, time.monotonic()
        num_ahead = version.num_texts + len(self._requests) - version.num_places
        check_time(deadline_s, now_s, version.pace.wait_s(num_ahead, version.num_places))
        self._timer = asyncio.get_running_loop().call_later(deadline_s - now_s, self.end, late)

    def begin(self) -> None:
        """Hands every request to one engine. Raises what it raises; then it is to be ended with that."""
        self._engine = self._version.engine()
        self._version.num_texts += len(self._requests)
        for number, request in enumerate(self._requests):
            self._engine.submit(request, self._deliver_to(number))

    def end(self, problem: ModeltapError | None) -> None:
        """Nothing is delivered after this; what still runs is cancelled. The first call alone counts."""
        if self.is_over:
            return
        self._stop()
        self._ended(problem)
        if problem is not None:
            self._deliver(0, problem)

    def leave(self, problem: ModeltapError) -> None:
        """Nobody reads the texts any more, whether they are written or not."""
        if self.is_over:
            self._deliver(0, problem)
        else:
            self.end(problem)

    def _stop(self) -> None:
        self._over()
        if self._engine is not None:
            self._version.num_texts -= len(self._open)
            for number in self._open:
                self._engine.cancel(self._requests[number].id)
        self._open.clear()

    def _over(self) -> None:
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()

    def _deliver_to(self, number: int) -> Callable[[TokenDelta | ModeltapError], None]:
        def deliver(delta: TokenDelta | ModeltapError) -> None:
            if self.is_over or number not in self._open:
                return
            if isinstance(delta, ModeltapError):
                del self._open[number]
                self._version.num_texts -= 1
                self.end(delta)
                return
            if delta.ids:
                self._count(number, len(delta.ids))
            if self._left[number] < 0:
                self.end(Broken("the engine wrote more than it was asked for"))
                return
            if delta.finish is None:
                self._deliver(number, delta)
                return
            del self._open[number]
            self._version.num_texts -= 1
            if number in self._begun_s:
                self._version.pace.count(self.last_s - self._begun_s[number])
            if not self._open:
                self._over()
                self._ended(None)
            self._deliver(number, delta)

        return deliver

    def _count(self, number: int, num_ids: int) -> None:
        self.last_s = time.monotonic()
        if not self.first_s:
            self.first_s = self.last_s
        self._begun_s.setdefault(number, self.last_s)
        self.num_ids += num_ids
        self._left[number] -= num_ids


class Texts:
    """What was delivered and not yet taken. What comes for a text while nobody takes it goes out together, so that a slow
    reader costs the memory of its own texts and no more."""

    def __init__(self, num_texts: int) -> None:
        self._num_open = num_texts
        self._pending: dict[int, list[TokenDelta]] = {}
        self._problem: ModeltapError | None = None
        self._arrived = asyncio.Event()

    @property
    def problem(self) -> ModeltapError | None:
        """What ended the call, once something did."""
        return self._problem

    def deliver(self, number: int, delta: TokenDelta | ModeltapError) -> None:
        if isinstance(delta, ModeltapError):
            self._problem = delta
        else:
            self._pending.setdefault(number, []).append(delta)
        self._arrived.set()

    async def take(self) -> dict[int, TokenDelta]:
        """What came since the last time, by text; waits until something did. Nothing once every text has ended. Raises the
        failure of the call at once, whatever waits before it."""
        while not self._pending and self._problem is None:
            if not self._num_open:
                return {}
            self._arrived.clear()
            await self._arrived.wait()
        if self._problem is not None:
            raise self._problem
        pending, self._pending = self._pending, {}
        taken = {number: deltas[0] if len(deltas) == 1 else join_deltas(deltas) for number, deltas in pending.items()}
        self._num_open -= sum(delta.finish is not None for delta in taken.values())
        return taken


def join_deltas(deltas: Sequence[TokenDelta]) -> TokenDelta:
    """What came in all of them together."""
    return TokenDelta(
        ids=tuple(token for delta in deltas for token in delta.ids),
        text="".join(delta.text for delta in deltas),
        logprobs=tuple(value for delta in deltas for value in delta.logprobs),
        prompt_logprobs=tuple(value for delta in deltas for value in delta.prompt_logprobs),
        finish=deltas[-1].finish,
    )
