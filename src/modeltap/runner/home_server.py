"""The home's own server as a runner reaches it: with the admin key, waiting for it where it is away, and never for longer than
the job should run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from modeltap.client.discovery import ServerFile, is_alive, read_key, read_server_file
from modeltap.client.errors import ConnectionFailed
from modeltap.client.transport import Address, Transport
from modeltap.domain.deployment import MAX_DEADLINE_MS
from modeltap.runner.steps import Step
from modeltap.training.stopped import Stopped

TIMEOUT_S = MAX_DEADLINE_MS / 1000 + 30
AWAY_S = 60.0
"""A server that stays away for longer is not waited for: the next one starts a runner again."""
TOLD_S = 1.0
"""A shorter wait is not worth a word."""
LOOK_S = 0.2
"""Between two looks whether the job should stop, while it waits."""

OnWait = Callable[[str], None]


class HomeServer:
    """Whatever server runs on the home. One thread uses it."""

    def __init__(self, step: Step, on_wait: OnWait) -> None:
        """`on_wait` is told why the job waits, when it begins to."""
        self._step = step
        self._on_wait = on_wait
        self._transport: Transport | None = None
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every request, and the job's log is for people

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def transport(self) -> Transport:
        """Open to the server, acting in the job's tenant. Raises ConnectionFailed."""
        if self._transport is None:
            server = _find_server(self._step.home)
            if server is None:
                raise ConnectionFailed("no server runs on the home")
            address = Address(server.url, read_key(self._step.home), server.certificate)
            self._transport = Transport(address, timeout_s=TIMEOUT_S, max_retries=0, tenant=self._step.job.tenant)
        return self._transport

    def wait(self, wait_s: float, why: str) -> None:
        """Raises Stopped if the job should stop meanwhile."""
        if wait_s >= TOLD_S:
            self._on_wait(f"{why} (goes on in {wait_s:.0f} s)")
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            self._step.pause_point()
            time.sleep(min(LOOK_S, left_s))

    def wait_for_it(self, why: str) -> None:
        """Raises Stopped if the job should stop, or the server stays away."""
        self.close()
        give_up_at_s = time.monotonic() + AWAY_S
        is_told = False
        while True:
            self.wait(LOOK_S, why)
            with suppress(ConnectionFailed):
                self.transport()
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
