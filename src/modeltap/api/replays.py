"""`Idempotency-Key`: the retry of a request that was answered gets the stored answer, and no second charge.

The answer is stored in the same frame as its usage record, so there is never one without the other. While a request runs, a
lock on a file keeps its retry from running too, in this process or in another one; it goes with the process that dies.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from modeltap.api.asgi import Answer, Message, Receive, Scope
from modeltap.api.body import media_type, read_body
from modeltap.domain.idempotency import StoredAnswer
from modeltap.errors import Conflict, InvalidInput
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.storage.claims import Claims

MAX_KEY_CHARS = 255
LINE_END = b"\r\n"
MAX_STORED_BYTES = 1 << 20
"""A larger answer is sent once and not kept; its retry is told so."""


class Answers(Protocol):
    """Where stored answers are found."""

    def find(self, tenant: str, key: str, idempotency_key: str) -> StoredAnswer | None:
        """The answer that was charged under this idempotency key, if one was. May block."""


class Replays:
    def __init__(self, answers: Answers, claims: Claims, plane: Plane, *, max_body_bytes: int) -> None:
        self._answers = answers
        self._claims = claims
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(
        self,
        scope: Scope,
        receive: Receive,
        call: Call,
        idempotency_key: str,
        dialect: Callable[[Scope, Receive, Call], Awaitable[Answer]],
    ) -> Answer:
        """The stored answer, or that of the dialect, which is then stored. Raises Conflict while the first one still runs,
        and for the same key with another request."""
        if not idempotency_key.isprintable() or not 1 <= len(idempotency_key) <= MAX_KEY_CHARS:
            raise InvalidInput(f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} printable characters")
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes, is_packed=True)
        fingerprint = _fingerprint(scope, body)
        owner = (call.principal.tenant, call.principal.key, idempotency_key)
        claim = await asyncio.to_thread(self._claims.take, "\0".join(owner))
        if claim is None:
            raise Conflict(f"a request with the Idempotency-Key '{idempotency_key}' is being answered; wait, then try again")
        try:
            stored = await asyncio.to_thread(self._answers.find, *owner)
            if stored is not None:
                return _replayed(stored, fingerprint, idempotency_key)
            answer = await dialect(scope, _again(body, receive), call)
            if len(answer.body) <= MAX_STORED_BYTES:
                call.idempotency = StoredAnswer(
                    idempotency_key=idempotency_key,
                    fingerprint=fingerprint,
                    status=answer.status,
                    content_type=_kept_head(answer),
                    body=answer.body,
                )
            self._plane.settle(call)
            await self._plane.on_disk()
            return answer
        finally:
            await asyncio.to_thread(claim.release)


def _fingerprint(scope: Scope, body: bytes) -> str:
    """Equal for equal requests."""
    digest = hashlib.sha256()
    query = scope["query_string"]
    asked = scope["path"].encode() + (b"?" + query if query else b"")
    for part in (scope["method"].encode(), asked, media_type(scope).encode(), body):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _replayed(stored: StoredAnswer, fingerprint: str, idempotency_key: str) -> Answer:
    if stored.fingerprint != fingerprint:
        raise Conflict(
            f"the Idempotency-Key '{idempotency_key}' was used for another request; give every request a key of its own"
        )
    content_type, *lines = stored.content_type.encode("latin-1").split(LINE_END)
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    return Answer(stored.status, stored.body, content_type, [*headers, (b"idempotent-replayed", b"true")])


def _kept_head(answer: Answer) -> str:
    """The content type and, below it, the headers without which the body cannot be read."""
    lines = (b"%b: %b" % line for line in answer.headers)
    return LINE_END.join((answer.content_type, *lines)).decode("latin-1")


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read already, then what the connection says."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
