"""One request of a batch to the home's own server, until it is answered, definitely refused, or its time is over.

Each carries the admin key of the home and the id of the key that is limited and charged, and always the same Idempotency-Key
for the same line: however often it has to be sent, it is charged once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from modeltap.client.errors import ConnectionFailed
from modeltap.client.retrying import pause_s, wait_asked_s
from modeltap.client.transport import Answered
from modeltap.control.request_batches import Endpoint
from modeltap.errors import ReplicaLost
from modeltap.runner.home_server import HomeServer, OnWait
from modeltap.runner.steps import Step

MAX_BROKEN = 10
"""Connections in a row that broke under the same request: it may well be what ends the server."""
MAX_LOST = 3
"""Engines that died under the same request."""
MAX_CONFLICTS = 60
CONFLICT_S = 1.0
CONFLICT, TOO_MANY, NOT_NOW = 409, 429, 503


class Response(NamedTuple):
    """What the server said in the end, with whatever status."""

    status: int
    request_id: str
    body: bytes

    @property
    def is_good(self) -> bool:
        return self.status < 400


class RequestSender:
    """Speaks for one thread of one batch to whatever server runs on the home."""

    def __init__(self, step: Step, *, endpoint: Endpoint, key: str, on_wait: OnWait, is_late: Callable[[], bool]) -> None:
        """`is_late`: whether the batch has used up its time, so that nothing is sent again."""
        self._step = step
        self._endpoint = endpoint
        self._headers = {"content-type": "application/json", "modeltap-key": key, "modeltap-priority": "bulk"}
        self._server = HomeServer(step, on_wait)
        self._is_late = is_late

    def close(self) -> None:
        self._server.close()

    def send(self, name: str, body: bytes) -> Response | None:
        """The answer; None if the time was over before there was one. Raises Stopped if the job should stop, ConnectionFailed
        where the connection breaks again and again under this request."""
        headers = {**self._headers, "idempotency-key": name, "x-request-id": name}
        num_broken = num_lost = num_conflicts = num_tries = 0
        while True:
            self._step.pause_point()
            if self._is_late():
                return None
            try:
                answered = self._server.transport().once("POST", self._endpoint, content=body, headers=headers)
            except ConnectionFailed as problem:
                num_broken += 1
                if num_broken > MAX_BROKEN:
                    raise
                self._server.wait_for_it(problem.message)
                continue
            num_tries += 1
            response = Response(answered.status, answered.headers.get("x-request-id", name), answered.content)
            if answered.status == CONFLICT and num_conflicts < MAX_CONFLICTS:  # an earlier try is still under way
                num_conflicts += 1
                self._server.wait(CONFLICT_S, _message(answered))
            elif answered.status in (TOO_MANY, NOT_NOW) and answered.headers.get("x-should-retry") != "false":
                num_lost += _code(answered) == ReplicaLost.code
                if num_lost >= MAX_LOST:
                    return response
                asked_s = wait_asked_s(answered.headers, now_s=time.time())
                chance = random.random()  # noqa: S311  no secret
                self._server.wait(pause_s(num_tries, chance=chance) if asked_s is None else asked_s, _message(answered))
            else:
                return response


class _Error(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _Problem(msgspec.Struct):
    error: _Error


def _error(answered: Answered) -> _Error:
    try:
        return msgspec.json.decode(answered.content, type=_Problem).error
    except msgspec.MsgspecError:
        return _Error(f"the server answered {answered.status}")


def _message(answered: Answered) -> str:
    return _error(answered).message


def _code(answered: Answered) -> str | None:
    return _error(answered).code
