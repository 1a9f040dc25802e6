"""GET /v1/models and the older /v1/engines: the deployments that the caller may use, under OpenAI's names for them."""

from __future__ import annotations

from typing import Any

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.domain.deployment import Deployment
from modeltap.errors import ModelNotFound, nearest
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane

LONGEST_NAME = 200


class Models:
    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    async def list(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """All of them, by name."""
        return json_answer({"object": "list", "data": [_model(one) for one, _, _ in self._plane.listed(call)]})

    async def get(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """Raises ModelNotFound."""
        deployment, _ = self._find(call, scope["path_params"]["model"])
        return json_answer(_model(deployment))

    async def list_engines(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        return json_answer({"object": "list", "data": [_engine(one, status) for one, status, _ in self._plane.listed(call)]})

    async def get_engine(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """Raises ModelNotFound."""
        return json_answer(_engine(*self._find(call, scope["path_params"]["engine"])))

    def _find(self, call: Call, name: str) -> tuple[Deployment, str]:
        listed = {one.name: (one, status) for one, status, _ in self._plane.listed(call)}
        if name not in listed:
            short = name[:LONGEST_NAME]
            raise ModelNotFound(f"there is no model '{short}'{nearest(short, listed)}", fields=[("model", "is not known")])
        return listed[name]


def _model(deployment: Deployment) -> dict[str, Any]:
    return {
        "id": deployment.name,
        "object": "model",
        "created": int(deployment.created_at.timestamp()),
        "owned_by": deployment.tenant,
    }


def _engine(deployment: Deployment, status: str) -> dict[str, Any]:
    return {"id": deployment.name, "object": "engine", "owner": deployment.tenant, "ready": status in ("ready", "unloaded")}
