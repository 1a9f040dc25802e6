"""`client.tenants`: who owns things on the server; for the home's admin key alone."""

from __future__ import annotations

from modeltap.client.limits import Limits, limits_body
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Tenant, read_answer


class Tenants:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, *, limits: Limits | None = None) -> Tenant:
        """Raises Conflict where it exists, InvalidInput for a bad name or limit."""
        body = {"name": name, "limits": limits_body(limits)}
        return read_answer(self._transport.json("POST", "/api/tenants", body=body), Tenant)

    def list(self) -> list[Tenant]:
        return [read_answer(t, Tenant) for t in self._transport.json("GET", "/api/tenants")["tenants"]]

    def get(self, name: str) -> Tenant:
        """Raises NotFound."""
        return read_answer(self._transport.json("GET", f"/api/tenants/{segment(name)}"), Tenant)

    def update(self, name: str, *, limits: Limits) -> Tenant:
        """The limits that are named change, the others stay. Raises NotFound, InvalidInput."""
        body = {"limits": limits_body(limits)}
        return read_answer(self._transport.json("PATCH", f"/api/tenants/{segment(name)}", body=body), Tenant)

    def remove(self, name: str) -> None:
        """Raises NotFound, and Conflict while it owns something."""
        self._transport.json("DELETE", f"/api/tenants/{segment(name)}")
