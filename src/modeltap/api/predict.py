"""The plain dialect: POST /predict[/{deployment}] with rows as the dataset had them.

{"instances": [row, …]}     → {"predictions": [answer, …], "model", "id"}
{"inputs": {name: column}}  → {"outputs": {name: column}, "model", "id"}
{own input: row or rows}    → {own output: answer or answers}
CSV text, a picture, a form → as instances

Aliases: /v1/models/{deployment}:predict (KServe's V1 protocol), /invocations (SageMaker, MLflow).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import INLINE_BYTES, INLINE_PICTURE_BYTES, apart, decode_text, media_type, parse_json, read_body
from modeltap.api.forms import form_rows
from modeltap.api.hot_request import HotHead, Ready
from modeltap.api.row_limit import check_rows, csv_rows, longest
from modeltap.domain.dataset import Column
from modeltap.domain.signature import Batch, num_rows
from modeltap.errors import InvalidInput, MethodNotAllowed, UnsupportedMedia
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.version import Version

CSV_TYPES = ("text/csv", "application/csv", "text/tab-separated-values")
JSON_TYPES = ("", "application/json", "text/json", "application/x-www-form-urlencoded")
"""curl --data says it sends a form; what it sends is JSON."""
FEW_ROWS = 1_000
"""Up to here rows are read on the event loop, others need not wait for them."""
FEW_CELLS = 2_000
"""The same, judged by the commas and lines of a body."""
FEW_QUOTES = 4
"""A body with no more has no picture in it, but one array of numbers under a name."""


@dataclass(frozen=True)
class Question:
    """What the graph is asked, and how its outputs are shown to whoever asked."""

    batch: Batch
    show: Callable[[Batch], Any]


class PredictPlane:
    """Answers `/predict` and `/predict/{deployment}`, and their aliases."""

    def __init__(self, plane: Plane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """The answer to one request. Raises NotFound, InvalidInput, InvalidValue, TooLarge, Unavailable, LimitReached."""
        name = deployment_of(scope["path"])
        self._plane.find(call, name)  # a name that leads nowhere is told before the body is read
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, given was {scope['method']}", allowed=("POST",))
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        version = self._plane.find(call, name)
        with version.held():
            read = await reading(version, scope, body, call.request_id)
            inline_bytes = INLINE_PICTURE_BYTES if _takes_picture(version) else INLINE_BYTES
            if max(body.count(b","), body.count(b"\n")) > FEW_CELLS:
                inline_bytes = 0
            question = await apart(len(body), read, inline_bytes=inline_bytes)
            outputs = await self._plane.infer(call, question.batch, num_rows(question.batch))
            return await apart(len(body), lambda: json_answer(question.show(outputs)))

    def read(self, head: HotHead, body: bytes, call: Call) -> Ready | None:
        """A small JSON request, read at once, for the hot path; None for any other. Raises as `answer` does."""
        kind = head.seen.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
        if kind not in JSON_TYPES:
            return None
        version = self._plane.find(call, deployment_of(head.path))
        if _takes_picture(version) and len(body) > INLINE_PICTURE_BYTES and body.count(b'"') > FEW_QUOTES:
            return None
        value = parse_json(body)
        if longest(value) > FEW_ROWS:
            return None
        question = _json_question(version, value, call.request_id)
        return Ready(question.batch, num_rows(question.batch), lambda outputs: json_answer(question.show(outputs)))


def deployment_of(path: str) -> str | None:
    """The name that the path asks for; None is the default one."""
    if path.startswith("/v1/models/"):
        return path.removeprefix("/v1/models/").removesuffix(":predict")
    return path.removeprefix("/invocations").removeprefix("/predict").strip("/") or None


async def reading(version: Version, scope: Scope, body: bytes, request_id: str) -> Callable[[], Question]:
    """What will make a question of the body. Raises UnsupportedMedia for a kind of body that is not read."""
    kind = media_type(scope)
    if kind in JSON_TYPES:
        return lambda: _json_question(version, parse_json(body), request_id)
    if kind in CSV_TYPES:
        return lambda: _rows_question(version, csv_rows(version.reader, decode_text(scope, body)), request_id)
    if kind.startswith("image/") or (kind == "application/octet-stream" and _takes_picture(version)):
        if not body:
            raise InvalidInput("the body is empty; send a picture file")
        return lambda: _rows_question(version, [body], request_id)
    if kind == "multipart/form-data":
        rows = await asyncio.to_thread(asyncio.run, form_rows(scope, body, version.reader))
        return lambda: _rows_question(version, rows, request_id)
    raise UnsupportedMedia(
        f"a body of type '{kind[:80]}' is not read here; allowed: application/json, text/csv, image/*, multipart/form-data"
    )


def _json_question(version: Version, value: Any, request_id: str) -> Question:
    if isinstance(value, list):
        return _rows_question(version, value, request_id)
    if not isinstance(value, dict):
        raise InvalidInput('the body is a bare value; send {"instances": [row, …]}')
    known = version.reader.schema.column
    if "instances" in value and known("instances") is None:
        _only(value, "instances", ("id", "parameters", "signature_name"))
        rows = value["instances"]
        if not isinstance(rows, list):
            raise InvalidInput("'instances' must be an array of rows")
        return _rows_question(version, rows, request_id)
    if "inputs" in value and known("inputs") is None:
        _only(value, "inputs", ("id", "parameters"))
        return _columns_question(version, value["inputs"], request_id)
    return _bare_question(version, value)


def _rows_question(version: Version, rows: list[Any], request_id: str) -> Question:
    def show(outputs: Batch) -> Any:
        return {"predictions": version.answers(outputs), "model": version.model_id, "id": request_id}

    check_rows(len(rows))
    return Question(version.reader.rows(rows), show)


def _columns_question(version: Version, columns: Any, request_id: str) -> Question:
    single = version.reader.single
    if isinstance(columns, list) and single is not None:
        columns = {single.name: columns}
    if not isinstance(columns, Mapping):
        raise InvalidInput("'inputs' must be an object of columns: {name: [value, …]}")

    def show(outputs: Batch) -> Any:
        listed = {name: values.tolist() for name, values in outputs.items()}
        return {"outputs": listed, "model": version.model_id, "id": request_id}

    check_rows(longest(columns))
    return Question(version.reader.columns(columns), show)


def _bare_question(version: Version, value: Mapping[str, Any]) -> Question:
    """An object of the model's own inputs: one row gets one answer, columns of rows get a list of answers."""
    reader = version.reader
    single = reader.single
    if single is not None and single.kind in ("image", "array") and single.name in value:
        many = _is_many(single, value[single.name])
    else:
        features = [value[name] for name in reader.names if name in value]
        many = bool(features) and all(isinstance(cell, list) for cell in features)
    check_rows(longest(value) if many else 1)
    batch = reader.columns(value) if many else reader.rows([value])
    return Question(batch, partial(_show_bare, version, many=many))


def _show_bare(version: Version, outputs: Batch, *, many: bool) -> Any:
    answers = version.answers(outputs)
    return {version.manifest.output: answers if many else answers[0]}


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


def _takes_picture(version: Version) -> bool:
    single = version.reader.single
    return single is not None and single.kind == "image"
