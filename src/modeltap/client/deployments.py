"""`client.deployments`: public names that route to versions."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from modeltap.client.limits import Limits, limits_body
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Deployment, read_answer


class Deployments:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        model: str = "",
        *,
        name: str,
        upstream: Mapping[str, Any] | None = None,
        default: bool | None = None,
        price: Mapping[str, int | str | Decimal] | None = None,
        public: bool | None = None,
        public_limits: Limits | None = None,
        replicas: int | None = None,
        isolate: bool | None = None,
        deadline_ms: int | None = None,
        max_batch: int | None = None,
        force: bool = False,
    ) -> Deployment:
        """`name` answers with that version from now on; what it answered with before is kept for `rollback`.

        upstream: in place of a model, a server elsewhere: {"url" or "command", "model", …}, see docs/upstreams.md.
        default: whether `/predict` without a name means it. price: unit → what 1,000 of it cost. public: whether it answers
        without a key, within public_limits. All that is None stays as it was. force: make it public also where other machines
        reach the server.
        Raises NotFound, and GoldenMismatch where the model does not repeat its recorded answers.
        """
        terms = {
            "price": None if price is None else {unit: str(amount) for unit, amount in price.items()},
            "public": public,
            "public_limits": None if public_limits is None else limits_body(public_limits),
            "replicas": replicas,
            "isolate": isolate,
            "deadline_ms": deadline_ms,
            "max_batch": max_batch,
        }
        body: dict[str, Any] = {"name": name} | ({"model": model} if model else {})
        body |= {} if upstream is None else {"upstream": dict(upstream)}
        body |= {} if default is None else {"default": default}
        body |= {"force": True} if force else {}
        said = {term: value for term, value in terms.items() if value is not None}
        body |= {"terms": said} if said else {}
        return read_answer(self._transport.json("POST", "/api/deployments", body=body), Deployment)

    def list(self) -> list[Deployment]:
        return [read_answer(d, Deployment) for d in self._transport.json("GET", "/api/deployments")["deployments"]]

    def get(self, name: str) -> Deployment:
        """Raises NotFound."""
        return read_answer(self._transport.json("GET", f"/api/deployments/{segment(name)}"), Deployment)

    def rollback(self, name: str) -> Deployment:
        """Back to what it answered with before. Raises Conflict where there is nothing before."""
        return read_answer(self._transport.json("POST", f"/api/deployments/{segment(name)}/rollback"), Deployment)

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        self._transport.json("DELETE", f"/api/deployments/{segment(name)}")
