"""The texts that an engine process was asked for and has not ended, by the caller's id and by the number in its messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from modeltap.domain.generation import Deliver, GenerationRequest, TokenDelta
from modeltap.errors import Conflict, ModeltapError

_log = logging.getLogger(__name__)


class Stream:
    """One text on its way."""

    def __init__(self, number: int, request: GenerationRequest, deliver: Deliver) -> None:
        self.number = number
        self.request = request
        self.deliver = deliver
        self.attempts = 0
        self.is_begun = False
        """By the process that runs now."""
        self.has_sent = False
        self.trial: asyncio.Task[None] | None = None
        """Of its grammar, before it may begin."""

    def tell(self, news: TokenDelta | ModeltapError) -> None:
        """A receiver that fails is not to keep the others from what is theirs."""
        try:
            self.deliver(news)
        except Exception:  # noqa: BLE001  the edge between many requests and the engine that they share
            _log.exception("what came for %s could not be delivered", self.request.id)


class Streams:
    """In the order they came. A number is given once, so that what comes late for one that is gone reaches nobody."""

    def __init__(self) -> None:
        self._by_number: dict[int, Stream] = {}
        self._by_id: dict[str, Stream] = {}
        self._last_number = 0

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[Stream]:
        """As they are now; they may be taken away meanwhile."""
        return iter(list(self._by_number.values()))

    def add(self, request: GenerationRequest, deliver: Deliver) -> Stream:
        """Raises Conflict for an id that is there."""
        if request.id in self._by_id:
            raise Conflict(f"a text with the id '{request.id}' is being generated")
        self._last_number += 1
        stream = Stream(self._last_number, request, deliver)
        self._by_number[stream.number] = self._by_id[request.id] = stream
        return stream

    def numbered(self, number: int) -> Stream | None:
        return self._by_number.get(number)

    def named(self, request_id: str) -> Stream | None:
        return self._by_id.get(request_id)

    def take(self, stream: Stream) -> bool:
        """Away with it; whether it was still there."""
        if self._by_number.pop(stream.number, None) is None:
            return False
        del self._by_id[stream.request.id]
        if stream.trial is not None and stream.trial is not asyncio.current_task():
            stream.trial.cancel()
        return True

    def end_all(self, problem: Callable[[], ModeltapError]) -> None:
        """Each in an error of its own, to which whoever gets it may add."""
        for stream in self:
            if self.take(stream):
                stream.tell(problem())
