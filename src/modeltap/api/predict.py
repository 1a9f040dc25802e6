"""The plain dialect: POST /predict[/{deployment}] with rows as the dataset had them.

{"instances": [row, …]}     → {"predictions": [answer, …], "model", "id"}
{"inputs": {name: column}}  → {"outputs": {name: column}, "model", "id"}
{own input: row or rows}    → {own output: answer or answers}
CSV text, a picture, a form → as instances
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import INLINE_BYTES, INLINE_PICTURE_BYTES, apart, decode_text, media_type, parse_json, read_body
from modeltap.api.forms import form_rows
from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch
from modeltap.errors import InvalidInput, MethodNotAllowed, UnsupportedMedia
from modeltap.serving.replica import Replica
from modeltap.serving.router import Router

CSV_TYPES = ("text/csv", "application/csv", "text/tab-separated-values")
JSON_TYPES = ("", "application/json", "text/json", "application/x-www-form-urlencoded")
"""curl --data says it sends a form; what it sends is JSON."""


@dataclass(frozen=True)
class Question:
    """What the graph is asked, and how its outputs are shown to whoever asked."""

    batch: Batch
    show: Callable[[Batch], Any]


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
        self._router.find(name)  # a name that leads nowhere is told before the body is read
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        replica = self._router.find(name)
        with replica.used():
            read = await _reading(replica, scope, body, request_id)
            inline_bytes = INLINE_PICTURE_BYTES if _takes_picture(replica) else INLINE_BYTES
            question = await apart(len(body), read, inline_bytes=inline_bytes)
            outputs = await replica.run(question.batch)
            headers = [(b"modeltap-model", replica.model_id.encode())]
            return await apart(len(body), lambda: json_answer(question.show(outputs), headers=headers))


async def _reading(replica: Replica, scope: Scope, body: bytes, request_id: str) -> Callable[[], Question]:
    """What will make a question of the body. Raises UnsupportedMedia for a kind of body that is not read."""
    kind = media_type(scope)
    if kind in JSON_TYPES:
        return lambda: _json_question(replica, parse_json(body), request_id)
    if kind in CSV_TYPES:
        return lambda: _rows_question(replica, replica.reader.csv_rows(decode_text(scope, body)), request_id)
    if kind.startswith("image/") or (kind == "application/octet-stream" and _takes_picture(replica)):
        if not body:
            raise InvalidInput("the body is empty; send a picture file")
        return lambda: _rows_question(replica, [body], request_id)
    if kind == "multipart/form-data":
        rows = await form_rows(scope, body, replica.reader)
        return lambda: _rows_question(replica, rows, request_id)
    raise UnsupportedMedia(
        f"a body of type '{kind[:80]}' is not read here; allowed: application/json, text/csv, image/*, multipart/form-data"
    )


def _json_question(replica: Replica, value: Any, request_id: str) -> Question:
    if isinstance(value, list):
        return _rows_question(replica, value, request_id)
    if not isinstance(value, dict):
        raise InvalidInput('the body is a bare value; send {"instances": [row, …]}')
    known = replica.reader.schema.column
    if "instances" in value and known("instances") is None:
        _only(value, "instances", ("id", "parameters", "signature_name"))
        rows = value["instances"]
        if not isinstance(rows, list):
            raise InvalidInput("'instances' must be an array of rows")
        return _rows_question(replica, rows, request_id)
    if "inputs" in value and known("inputs") is None:
        _only(value, "inputs", ("id", "parameters"))
        return _columns_question(replica, value["inputs"], request_id)
    return _bare_question(replica, value)


def _rows_question(replica: Replica, rows: list[Any], request_id: str) -> Question:
    def show(outputs: Batch) -> Any:
        return {"predictions": replica.answers(outputs), "model": replica.model_id, "id": request_id}

    return Question(replica.reader.rows(rows), show)


def _columns_question(replica: Replica, columns: Any, request_id: str) -> Question:
    single = replica.reader.single
    if isinstance(columns, list) and single is not None:
        columns = {single.name: columns}
    if not isinstance(columns, Mapping):
        raise InvalidInput("'inputs' must be an object of columns: {name: [value, …]}")

    def show(outputs: Batch) -> Any:
        listed = {name: values.tolist() for name, values in outputs.items()}
        return {"outputs": listed, "model": replica.model_id, "id": request_id}

    return Question(replica.reader.columns(columns), show)


def _bare_question(replica: Replica, value: Mapping[str, Any]) -> Question:
    """An object of the model's own inputs: one row gets one answer, columns of rows get a list of answers."""
    reader = replica.reader
    single = reader.single
    if single is not None and single.kind in ("image", "array") and single.name in value:
        many = _is_many(single, value[single.name])
    else:
        features = [value[name] for name in reader.names if name in value]
        many = bool(features) and all(isinstance(cell, list) for cell in features)
    batch = reader.columns(value) if many else reader.rows([value])
    return Question(batch, partial(_show_bare, replica, many=many))


def _show_bare(replica: Replica, outputs: Batch, *, many: bool) -> Any:
    answers = replica.answers(outputs)
    return {replica.manifest.output: answers if many else answers[0]}


def _is_many(column: Column, value: Any) -> bool:
    """Whether the value is a list of rows rather than one row, which may have or lack a last axis of length 1."""
    if not isinstance(value, list):
        return False
    try:
        shape = np.shape(value)
    except (ValueError, RecursionError):
        return True
    one = column.shape[:-1] if column.shape[-1:] == (1,) else column.shape
    return shape not in (one, (*one, 1))


def _only(value: Mapping[str, Any], main: str, beside: tuple[str, ...]) -> None:
    unknown = [name for name in value if name != main and name not in beside]
    if unknown:
        raise InvalidInput(
            f"beside '{main}' the body has '{unknown[0][:80]}', which is not known; allowed: {', '.join(beside)}"
        )


def _takes_picture(replica: Replica) -> bool:
    single = replica.reader.single
    return single is not None and single.kind == "image"
