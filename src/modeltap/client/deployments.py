"""`client.deployments`: public names that route to versions."""

from __future__ import annotations

from modeltap.client.transport import Transport, segment
from modeltap.client.values import Deployment, read_answer


class Deployments:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, model: str, *, name: str, default: bool | None = None) -> Deployment:
        """`name` answers with that version from now on; what it answered with before is kept for `rollback`.

        default: whether `/predict` without a name means it; None leaves that as it is.
        Raises NotFound, and GoldenMismatch where the model does not repeat its recorded answers.
        """
        body = {"name": name, "model": model} | ({} if default is None else {"default": default})
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
