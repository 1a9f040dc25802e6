"""Limits as the plane asks for them: kept in this process, or leased by it from the parent that keeps them for all workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from modeltap.domain.quota import QuotaBook, Reservation, Spent
from modeltap.domain.quota_counters import Standing, Subject
from modeltap.domain.quota_holder import LeaseHolder, Waiting
from modeltap.domain.quota_lease import FromOwner, FromWorker
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import ANONYMOUS_TENANT, Limits
from modeltap.errors import LimitReached, Unavailable

Granted = Callable[[Reservation], None]
Refused = Callable[["LimitReached | Unavailable"], None]


class LimitKeeper(Protocol):
    """What may be used: reserved before it is."""

    def reserve(
        self, key: str, tenant: str, units: int, cost_nano: int, now_s: float, granted: Granted, refused: Refused
    ) -> None:
        """One of the two is called once, at once or later; or RateLimited or BudgetSpent is raised."""

    def standing(self, key: str, tenant: str, now_s: float) -> tuple[Standing | None, Standing | None]:
        """Requests and units that are left to this key; None where they are not limited."""


def limits_of(snapshot: DeploymentSnapshot) -> dict[Subject, Limits]:
    """Whose limits hold by this snapshot: of keys, tenants, and public deployments."""
    limits = {Subject(key.tenant, key.id): key.limits for key in snapshot.keys.values()}
    limits |= {Subject(tenant.name): tenant.limits for tenant in snapshot.tenants.values()}
    for own in snapshot.deployments.values():
        for deployment in own.values():
            if deployment.terms.is_public:
                limits[Subject(ANONYMOUS_TENANT, f"public:{deployment.name}")] = deployment.terms.public_limits
    return limits


class OwnLimits:
    """The one process keeps the book itself."""

    def __init__(self, book: QuotaBook) -> None:
        self.book = book

    def reserve(
        self, key: str, tenant: str, units: int, cost_nano: int, now_s: float, granted: Granted, refused: Refused
    ) -> None:
        granted(self.book.reserve(key, tenant, units=units, cost_nano=cost_nano, now_s=now_s))

    def standing(self, key: str, tenant: str, now_s: float) -> tuple[Standing | None, Standing | None]:
        return self.book.standing(key, tenant, now_s)

    def publish(self, limits: Mapping[Subject, Limits], spent: Mapping[Subject, Spent], now_s: float) -> None:
        self.book.replace_limits(limits, spent, now_s)


class LeasedLimits:
    """A worker's: `send` carries messages to the owner, in order."""

    def __init__(self, send: Callable[[Sequence[FromWorker]], None]) -> None:
        self._send = send
        self._holder = LeaseHolder(self._flush)
        self._waiting: dict[Waiting, tuple[Granted, Refused]] = {}
        self._has_owner = True

    def reserve(
        self, key: str, tenant: str, units: int, cost_nano: int, now_s: float, granted: Granted, refused: Refused
    ) -> None:
        found = self._holder.reserve(key, tenant, units=units, cost_nano=cost_nano, now_s=now_s)
        if isinstance(found, Waiting):
            if not self._has_owner:
                raise _ownerless()
            self._waiting[found] = granted, refused
            self._flush()
        else:
            granted(found)

    def standing(self, key: str, tenant: str, now_s: float) -> tuple[Standing | None, Standing | None]:
        return self._holder.standing(key, tenant)

    def publish(self, limits: Mapping[Subject, Limits]) -> None:
        """These subjects are limited from now on; what the limits are the owner knows."""
        unlimited = Limits()
        self._holder.replace_limited([subject for subject, of_subject in limits.items() if of_subject != unlimited])
        self._flush()

    def heard(self, messages: Sequence[FromOwner], now_s: float) -> None:
        """Serves those who waited for the owner's word."""
        for message in messages:
            for waiting, outcome in self._holder.receive(message, now_s):
                granted, refused = self._waiting.pop(waiting)
                if isinstance(outcome, Reservation):
                    granted(outcome)
                else:
                    refused(outcome)
        self._flush()

    def owner_lost(self) -> None:
        """It is gone for good: whoever waits for its word is refused, and so is what needs it from now on."""
        self._has_owner = False
        waiting, self._waiting = self._waiting, {}
        for _, refused in waiting.values():
            refused(_ownerless())

    def tick(self, now_s: float) -> None:
        """A few times a second: what is not needed goes back."""
        self._holder.tick(now_s)
        self._flush()

    def _flush(self) -> None:
        messages = self._holder.outgoing()
        if messages:
            self._send(messages)


def _ownerless() -> Unavailable:
    return Unavailable("the process that keeps the limits is gone, and this one is about to end; try again")
