"""Open Inference Protocol /v2 over JSON: a deployment is a model, its version the one that it routes to.

Source: the protocol's REST specification, "required API"; datatypes as in `domain/signature`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from modeltap import __version__
from modeltap.api.asgi import Answer, Receive, Scope, header, json_answer
from modeltap.api.body import apart, parse_json, read_body
from modeltap.api.tensors import WireTensor, read_tensors, write_tensors
from modeltap.domain.signature import Batch
from modeltap.errors import InvalidInput, MethodNotAllowed, NotFound, Unavailable, UnsupportedMedia
from modeltap.serving.replica import Replica
from modeltap.serving.router import Router

PLATFORM = "onnxruntime_onnx"
LONGEST_NAME = 200
"""Of what a request named and does not exist, in the answer that says so."""


class WantedOutput(msgspec.Struct, frozen=True):
    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """The wire shape of an inference request."""

    inputs: list[WireTensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[WantedOutput] | None = None


class InferencePlane:
    """Answers everything under `/v2`."""

    def __init__(self, router: Router, *, max_body_bytes: int) -> None:
        self._router = router
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """The answer to one request. Raises NotFound, InvalidInput, InvalidValue, TooLarge, Unavailable."""
        parts = [part for part in scope["path"].split("/") if part][1:]
        match parts:
            case []:
                _takes(scope, "GET")
                return json_answer({"name": "modeltap", "version": __version__, "extensions": []})
            case ["health", "live" | "ready" as what]:
                return json_answer({what: True})
            case ["models", name, *rest]:
                return await self._model(name, rest, scope, receive)
        raise NotFound(f"there is no path {scope['path']}")

    async def _model(self, name: str, rest: list[str], scope: Scope, receive: Receive) -> Answer:
        version = None
        if len(rest) >= 2 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        if rest == ["ready"]:
            _takes(scope, "GET")
            return self._ready(name, version)
        replica = self._find(name, version)
        if rest == ["infer"]:
            _takes(scope, "POST")
            if header(scope, b"inference-header-content-length") is not None:
                raise UnsupportedMedia("binary tensors are not read here; send their data as JSON (binary_data: false)")
            body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
            replica = self._find(name, version)
            with replica.used():
                return await _infer(replica, name, body)
        if not rest:
            _takes(scope, "GET")
            return json_answer(_metadata(replica, name))
        raise NotFound(f"there is no path {scope['path']}")

    def _ready(self, name: str, version: str | None) -> Answer:
        try:
            self._find(name, version)
        except Unavailable:
            return json_answer({"name": name, "ready": False}, status=503)
        return json_answer({"name": name, "ready": True})

    def _find(self, name: str, version: str | None) -> Replica:
        if name not in self._router.deployments():
            raise NotFound(f"Request for unknown model: '{name[:LONGEST_NAME]}' is not found")
        replica = self._router.find(name)
        served = _version(replica)
        if version is not None and version != served:
            raise NotFound(
                f"Request for unknown model: '{name}' version '{version[:LONGEST_NAME]}' is not found; served is '{served}'"
            )
        return replica


async def _infer(replica: Replica, name: str, body: bytes) -> Answer:
    def read() -> tuple[InferRequest, Batch]:
        request = _parse(body)
        return request, read_tensors(request.inputs, replica.reader)

    def show() -> Answer:
        wanted = None if request.outputs is None else [output.name for output in request.outputs]
        answer: dict[str, Any] = {"model_name": name, "model_version": _version(replica)}
        if request.id is not None:
            answer["id"] = request.id
        answer["outputs"] = write_tensors(outputs, replica.signature, wanted)
        return json_answer(answer, headers=[(b"modeltap-model", replica.model_id.encode())])

    request, batch = await apart(len(body), read)
    outputs = await replica.run(batch)
    return await apart(len(body), show)


def _parse(body: bytes) -> InferRequest:
    value = parse_json(body)
    try:
        return msgspec.convert(value, InferRequest)
    except msgspec.ValidationError as problem:
        raise InvalidInput(f"this is not an inference request: {problem}") from None


def _metadata(replica: Replica, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "versions": [_version(replica)],
        "platform": PLATFORM,
        "inputs": [msgspec.to_builtins(spec) for spec in replica.signature.inputs],
        "outputs": [msgspec.to_builtins(spec) for spec in replica.signature.outputs],
    }


def _version(replica: Replica) -> str:
    return replica.model_id.rpartition("@")[2]


def _takes(scope: Scope, method: str) -> None:
    if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
        raise MethodNotAllowed(f"{scope['path']} takes {method}, given was {scope['method']}")
