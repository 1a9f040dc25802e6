"""The plain dialect: POST /predict[/{deployment}] with rows as the dataset had them.

{"instances": [row, …]}     → {"predictions": [answer, …], "model", "id"}
{"inputs": {name: column}}  → {"outputs": {name: column}, "model", "id"}
{own input: row or rows}    → {own output: answer or answers}
CSV text, a picture, a form → as instances
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import media_type, parse_json, read_body
from modeltap.api.forms import form_rows
from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch
from modeltap.errors import InvalidInput, InvalidValue, MethodNotAllowed, UnsupportedMedia
from modeltap.serving.replica import Replica
from modeltap.serving.router import Router

CSV_TYPES = ("text/csv", "application/csv", "text/tab-separated-values")
JSON_TYPES = ("", "application/json", "text/json", "application/x-www-form-urlencoded")
"""curl --data says it sends a form; what it sends is JSON."""


class PredictPlane:
    """Answers `/predict` and `/predict/{deployment}`."""

    def __init__(self, router: Router, *, max_body_bytes: int) -> None:
        self._router = router
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, request_id: str) -> Answer:
        """The answer to one request. Raises NotFound, InvalidInput, InvalidValue, TooLarge, Unavailable."""
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, given was {scope['method']}")
        name = scope["path"].removeprefix("/predict").strip("/") or None
        replica = self._router.find(name)
        with replica.used():
            body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
            value = await self._answer_body(replica, scope, body, request_id)
        return json_answer(value, headers=[(b"modeltap-model", replica.model_id.encode())])

    async def _answer_body(self, replica: Replica, scope: Scope, body: bytes, request_id: str) -> Any:
        kind = media_type(scope)
        if kind in CSV_TYPES:
            rows = replica.reader.csv_rows(_text(body))
        elif kind.startswith("image/") or (kind == "application/octet-stream" and _takes_picture(replica)):
            if not body:
                raise InvalidInput("the body is empty; send a picture file")
            rows = [body]
        elif kind == "multipart/form-data":
            rows = await form_rows(scope, body, replica.reader)
        elif kind in JSON_TYPES:
            return await self._answer_json(replica, parse_json(body), request_id)
        else:
            raise UnsupportedMedia(
                f"a body of type '{kind}' is not read here; allowed: application/json, text/csv, image/*, multipart/form-data"
            )
        return await _predictions(replica, rows, request_id)

    async def _answer_json(self, replica: Replica, value: Any, request_id: str) -> Any:
        if isinstance(value, list):
            return await _predictions(replica, value, request_id)
        if not isinstance(value, dict):
            raise InvalidInput('the body is a bare value; send {"instances": [row, …]}')
        known = replica.reader.schema.column
        if "instances" in value and known("instances") is None:
            _only(value, "instances", ("id", "parameters", "signature_name"))
            rows = value["instances"]
            if not isinstance(rows, list):
                raise InvalidInput("'instances' must be an array of rows")
            return await _predictions(replica, rows, request_id)
        if "inputs" in value and known("inputs") is None:
            _only(value, "inputs", ("id", "parameters"))
            return await _columns(replica, value["inputs"], request_id)
        return await _bare(replica, value)


async def _predictions(replica: Replica, rows: list[Any], request_id: str) -> Any:
    outputs = await replica.run(replica.reader.rows(rows))
    return {"predictions": replica.answers(outputs), "model": replica.model_id, "id": request_id}


async def _columns(replica: Replica, columns: Any, request_id: str) -> Any:
    single = replica.reader.single
    if isinstance(columns, list) and single is not None:
        columns = {single.name: columns}
    if not isinstance(columns, Mapping):
        raise InvalidInput("'inputs' must be an object of columns: {name: [value, …]}")
    outputs = await replica.run(replica.reader.columns(columns))
    listed = {name: values.tolist() for name, values in outputs.items()}
    return {"outputs": listed, "model": replica.model_id, "id": request_id}


async def _bare(replica: Replica, value: Mapping[str, Any]) -> Any:
    """An object of the model's own inputs: one row gets one answer, columns of rows get a list of answers."""
    single = replica.reader.single
    if single is not None and single.kind in ("image", "array") and single.name in value:
        many = _is_many(single, value[single.name])
        batch = replica.reader.columns(value) if many else replica.reader.rows([value])
    else:
        features = [value[name] for name in replica.reader.names if name in value]
        many = bool(features) and all(isinstance(cell, list) for cell in features)
        batch = replica.reader.columns(value) if many else replica.reader.rows([value])
    answers = await _answers(replica, batch)
    return {replica.manifest.output: answers if many else answers[0]}


async def _answers(replica: Replica, batch: Batch) -> list[Any]:
    return replica.answers(await replica.run(batch))


def _is_many(column: Column, value: Any) -> bool:
    """Whether the value is a list of rows rather than one row, which may have or lack a last axis of length 1."""
    if not isinstance(value, list):
        return False
    try:
        shape = np.shape(value)
    except ValueError:
        return True
    one = column.shape[:-1] if column.shape[-1:] == (1,) else column.shape
    return shape not in (one, (*one, 1))


def _only(value: Mapping[str, Any], main: str, beside: tuple[str, ...]) -> None:
    unknown = [name for name in value if name != main and name not in beside]
    if unknown:
        raise InvalidInput(f"beside '{main}' the body has '{unknown[0]}', which is not known; allowed: {', '.join(beside)}")


def _takes_picture(replica: Replica) -> bool:
    single = replica.reader.single
    return single is not None and single.kind == "image"


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidValue("the CSV body is not UTF-8") from None
