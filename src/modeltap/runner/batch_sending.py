"""One request of a batch to the home's own server, until it is answered or definitely refused; whatever passes is waited out.

The request carries the admin key of the home and the id of the key that is limited and charged, and always the same
Idempotency-Key for the same chunk: however often it has to be sent, it is charged once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modeltap.client.discovery import ServerFile, is_alive, read_key, read_server_file
from modeltap.client.errors import ApiError, ConnectionFailed
from modeltap.client.receipt import read_receipt
from modeltap.client.transport import Address, Transport, segment
from modeltap.domain.deployment import MAX_DEADLINE_MS
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
from modeltap.runner.steps import Step
from modeltap.training.stopped import Stopped

TIMEOUT_S = MAX_DEADLINE_MS / 1000 + 30
AWAY_S = 60.0
"""A server that stays away for longer is not waited for: the next one starts a runner again."""
TOLD_S = 1.0
"""A shorter wait is not worth a word."""
LOOK_S = 0.2
"""Between two looks whether the job should stop, while it waits."""
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
        self._on_wait = on_wait
        self._transport: Transport | None = None
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request, and the job's log is for people

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

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
                self._wait(problem.retry_after_s, problem.message)
            except BudgetSpent as problem:
                if rows > 1:
                    return problem
                raise
            except Overloaded as problem:
                self._wait(problem.retry_after_s, problem.message)
                if rows > 1:
                    return problem
            except ConnectionFailed as problem:
                num_broken += 1
                if num_broken > MAX_BROKEN:
                    raise
                self._wait_for_server(problem.message)
            except ReplicaLost as problem:
                return problem
            except Unavailable as problem:
                self._wait(problem.retry_after_s, problem.message)
            except Conflict as problem:  # an earlier try of the same request is still under way
                num_conflicts += 1
                if num_conflicts > MAX_CONFLICTS:
                    raise
                self._wait(CONFLICT_S, problem.message)
            except StorageFailed:
                raise
            except (InvalidInput, Broken) as problem:
                return problem

    def _ask(self, headers: dict[str, str], body: bytes) -> Reply:
        if self._transport is None:
            self._transport = self._open()
        began_s = time.monotonic()
        answered = self._transport.ask("POST", self._path, content=body, headers=headers)
        took_s = time.monotonic() - began_s
        try:
            found = msgspec.json.decode(answered.content, type=_Body)
        except msgspec.MsgspecError:
            raise ApiError("the server's answer cannot be read; see its log", status=answered.status) from None
        receipt = read_receipt(answered.headers)
        cost_nano = None if receipt.cost is None else int(receipt.cost.scaleb(9))
        is_new = not receipt.is_replayed
        return Reply(found.predictions, found.model, cost_nano, len(answered.content), took_s if is_new else 0.0)

    def _open(self) -> Transport:
        server = _find_server(self._step.home)
        if server is None:
            raise ConnectionFailed("no server runs on the home")
        address = Address(server.url, read_key(self._step.home), server.certificate)
        return Transport(address, timeout_s=TIMEOUT_S, max_retries=0, tenant=self._step.job.tenant)

    def _wait(self, wait_s: float, why: str) -> None:
        """Raises Stopped if the job should stop meanwhile."""
        if wait_s >= TOLD_S:
            self._on_wait(f"{why} (goes on in {wait_s:.0f} s)")
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._step.pause_point()
            time.sleep(min(LOOK_S, left_s))

    def _wait_for_server(self, why: str) -> None:
        """Raises Stopped if the job should stop, or the server stays away."""
        self.close()
        give_up_at_s = time.monotonic() + AWAY_S
        is_told = False
        while True:
            self._wait(LOOK_S, why)
            with suppress(ConnectionFailed):
                self._transport = self._open()
                return
            if not is_told:
                self._on_wait("the server is away; the job goes on when it is back")
                is_told = True
            if time.monotonic() > give_up_at_s:
                raise Stopped


def _find_server(home: Path) -> ServerFile | None:
    """The home's server, if it lives and answers: the admin key is sent to no other process that took over its port."""
    server = read_server_file(home)
    return server if server is not None and is_alive(server) else None
