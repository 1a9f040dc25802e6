"""One request of one caller on its way through the data plane, whatever protocol it came by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from modeltap.domain.deployment import Deployment
from modeltap.domain.tenant import Principal
from modeltap.serving.language import LanguageVersion
from modeltap.serving.upstream import UpstreamVersion
from modeltap.serving.version import Version


class Connection(Protocol):
    """Where the caller waits. What it holds as `on_lost` is called once when the caller is gone."""

    on_lost: Any


class Call:
    """Made by the guard, filled on the way: who calls, what for, what it took, what it cost."""

    __slots__ = (
        "cancel",
        "compute_s",
        "connection",
        "cost_nano",
        "deadline_s",
        "deployment",
        "idempotency",
        "num_forwarded",
        "principal",
        "priority",
        "queue_s",
        "queued_s",
        "remark",
        "request_id",
        "started_s",
        "ticket",
        "units",
        "version",
    )

    def __init__(
        self,
        principal: Principal,
        request_id: str,
        *,
        started_s: float,
        connection: Connection | None = None,
        idempotency: Any = None,
        deadline_s: float | None = None,
        priority: Literal[0, 1] = 0,
    ) -> None:
        self.principal = principal
        self.request_id = request_id
        self.started_s = started_s
        self.connection = connection
        self.idempotency = idempotency
        self.deadline_s = deadline_s
        """Monotonic; None is the deployment's own."""
        self.priority = priority
        self.deployment: Deployment | None = None
        self.version: Version | LanguageVersion | UpstreamVersion | None = None
        self.ticket: Any = None
        """The meter's, once the request was accepted."""
        self.cancel: Callable[[], None] | None = None
        """Once it is queued: the caller does not want the answer any more."""
        self.units = 0
        self.num_forwarded = 0
        """Ids of written text that were handed on; `units` has them, too."""
        self.remark = ""
        """What its record says of the units, if they were not counted exactly."""
        self.queued_s = 0.0
        """When it was read and queued; monotonic, 0 before."""
        self.queue_s = 0.0
        self.compute_s = 0.0
        self.cost_nano = 0

    def forget_deployment(self) -> None:
        """As before one was found."""
        self.deployment = None
