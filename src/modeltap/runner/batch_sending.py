"""One request of a batch to the home's own server, until it is answered or definitely refused; whatever passes is waited out.

The request carries the admin key of the home and the id of the key that is limited and charged, and always the same
Idempotency-Key for the same chunk: however often it has to be sent, it is charged once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from modeltap.client.errors import ApiError, ConnectionFailed
from modeltap.client.receipt import read_receipt
from modeltap.client.transport import segment
from modeltap.errors import (
    Broken,
    BudgetSpent,
    Conflict,
    InvalidInput,
    ModeltapError,
    Overloaded,
    RateLimited,
    ReplicaLost,
    StorageFailed,
    Unavailable,
)
from modeltap.runner.home_server import HomeServer
from modeltap.runner.steps import Step

MAX_BROKEN = 10
"""Connections in a row that broke under the same request: it may well be what ends the server."""
MAX_CONFLICTS = 60
CONFLICT_S = 1.0

OnWait = Callable[[str], None]


class Reply(NamedTuple):
    """An answer: one prediction for each row that was sent. `cost_nano` is None where it was charged in an earlier try."""

    predictions: list[Any]
    model: str
    cost_nano: int | None
    num_bytes: int
    took_s: float


class _Body(msgspec.Struct):
    predictions: list[Any]
    model: str = ""


class Sender:
    """Speaks for one batch to whatever server runs on the home."""

    def __init__(self, step: Step, *, deployment: str, key: str, on_wait: OnWait) -> None:
        """`on_wait` is told why the job waits, when it begins to."""
        self._step = step
        self._path = f"/predict/{segment(deployment)}"
        self._headers = {"content-type": "application/json", "modeltap-key": key, "modeltap-priority": "bulk"}
        self._server = HomeServer(step, on_wait)

    def close(self) -> None:
        self._server.close()

    def send(self, name: str, body: bytes, *, rows: int) -> Reply | ModeltapError:
        """The answer, or why these rows together are not answered: fewer may be. What no row of the file can change is raised:
        NotFound, Forbidden and Unauthenticated, StorageFailed; Stopped if the job should stop."""
        headers = {**self._headers, "idempotency-key": name, "x-request-id": name}
        has_waited = False
        num_conflicts = num_broken = 0
        while True:
            self._step.pause_point()
            try:
                return self._ask(headers, body)
            except RateLimited as problem:
                is_of_rows = problem.limit == "upm"
                if rows > 1 and is_of_rows and (has_waited or problem.retry_after_s is None):
                    return problem
                if problem.retry_after_s is None:
                    raise
                has_waited = has_waited or is_of_rows
                self._server.wait(problem.retry_after_s, problem.message)
            except BudgetSpent as problem:
                if rows > 1:
                    return problem
                raise
            except Overloaded as problem:
                self._server.wait(problem.retry_after_s, problem.message)
                if rows > 1:
                    return problem
            except ConnectionFailed as problem:
                num_broken += 1
                if num_broken > MAX_BROKEN:
                    raise
                self._server.wait_for_it(problem.message)
            except ReplicaLost as problem:
                return problem
            except Unavailable as problem:
                self._server.wait(problem.retry_after_s, problem.message)
            except Conflict as problem:  # an earlier try of the same request is still under way
                num_conflicts += 1
                if num_conflicts > MAX_CONFLICTS:
                    raise
                self._server.wait(CONFLICT_S, problem.message)
            except StorageFailed:
                raise
            except (InvalidInput, Broken) as problem:
                return problem

    def _ask(self, headers: dict[str, str], body: bytes) -> Reply:
        transport = self._server.transport()
        began_s = time.monotonic()
        answered = transport.ask("POST", self._path, content=body, headers=headers)
        took_s = time.monotonic() - began_s
        try:
            found = msgspec.json.decode(answered.content, type=_Body)
        except msgspec.MsgspecError:
            raise ApiError("the server's answer cannot be read; see its log", status=answered.status) from None
        receipt = read_receipt(answered.headers)
        cost_nano = None if receipt.cost is None else int(receipt.cost.scaleb(9))
        is_new = not receipt.is_replayed
        return Reply(found.predictions, found.model, cost_nano, len(answered.content), took_s if is_new else 0.0)
