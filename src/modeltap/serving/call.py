"""One request of one caller on its way through the data plane, whatever protocol it came by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from modeltap.domain.deployment import Deployment
from modeltap.domain.tenant import Principal
from modeltap.serving.language import LanguageVersion
from modeltap.serving.upstream import UpstreamVersion
from modeltap.serving.version import Version

if TYPE_CHECKING:
    from modeltap.serving.meter import Ticket

AnyVersion = Version | LanguageVersion | UpstreamVersion


class Connection:
    """Where the caller waits. What it holds as `on_lost` is called once when the caller is gone."""

    __slots__ = ("on_lost",)

    def __init__(self) -> None:
        self.on_lost: Callable[[], None] | None = None


class Lead:
    """Where a caller was led: to a deployment and the version that answers, with what its terms say of every request.

    It holds for the same principal as long as the router's `era` does.
    """

    __slots__ = ("charged", "deadline_s", "deployment", "era", "name", "nano_per_unit", "principal", "version")

    def __init__(self, principal: Principal, charged: Principal, deployment: Deployment, version: AnyVersion, era: int) -> None:
        """`principal` called, and `charged` pays: another one where the deployment is public and no key was sent."""
        terms = deployment.terms
        self.principal = principal
        self.charged = charged
        self.deployment = deployment
        self.version = version
        self.era = era
        self.name = deployment.name
        self.deadline_s: float = terms.rows_within_ms / 1000
        self.nano_per_unit: int = terms.price.cost_nano(version.unit, 1)


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
        "lead",
        "num_forwarded",
        "peer",
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
        peer: str = "",
    ) -> None:
        self.principal = principal
        self.request_id = request_id
        self.started_s = started_s
        self.connection = connection
        self.idempotency = idempotency
        self.deadline_s = deadline_s
        """Monotonic; None is the deployment's own."""
        self.priority = priority
        self.peer = peer
        """Where a caller by gRPC is, in its words; '' behind a proxy."""
        self.deployment: Deployment | None = None
        self.version: AnyVersion | None = None
        self.lead: Lead | None = None
        """Once both were found."""
        self.ticket: Ticket | None = None
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
