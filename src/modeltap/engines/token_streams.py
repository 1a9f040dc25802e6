"""The texts that an engine process was asked for and has not ended, by the caller's id and by the number in its messages; and
the order in which what one step gave them is handed on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from modeltap.domain.generation import Deliver, GenerationRequest, TokenDelta
from modeltap.engines.tokens_wire import Piece
from modeltap.errors import Conflict, ModeltapError

TURN_PIECES = 8
"""Handed on in one turn of the event loop; between two turns new requests are read."""

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


class Delivery:
    """What a step gave, on its way to whom it is for. First tokens and ends go at once: somebody waits for the first, and may
    ask again after the last. What goes on can wait some turns of the event loop; for each text all comes in order."""

    def __init__(self, streams: Streams, deliver: Callable[[Stream, TokenDelta], None]) -> None:
        self._streams = streams
        self._deliver = deliver
        self._later: deque[Piece] = deque()
        self._turn: asyncio.Handle | None = None

    def put(self, pieces: Sequence[Piece]) -> None:
        """What the step before gave is handed on by then."""
        self.flush()
        for piece in pieces:
            stream = self._streams.numbered(piece.number)
            if stream is not None and (piece.delta.finish is not None or not stream.has_sent):
                self._deliver(stream, piece.delta)
            else:
                self._later.append(piece)
        self._go_on()

    def flush(self) -> None:
        """Everything, now."""
        self._hand_on(len(self._later))

    def _next_turn(self) -> None:
        self._turn = None
        self._hand_on(TURN_PIECES)
        self._go_on()

    def _go_on(self) -> None:
        if self._later and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._next_turn)

    def _hand_on(self, number: int) -> None:
        while number > 0 and self._later:
            number -= 1
            piece = self._later.popleft()
            stream = self._streams.numbered(piece.number)
            if stream is not None:  # else nobody wants it any more
                self._deliver(stream, piece.delta)
