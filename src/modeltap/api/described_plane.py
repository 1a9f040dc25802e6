"""/openapi.json about predictions: paths that no route declares, with the bodies that all models have in common."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, get_args

from modeltap.api.docs import DATA_PLANE
from modeltap.api.problems import PROBLEM, STATUS
from modeltap.api.replays import MAX_KEY_CHARS
from modeltap.domain.signature import Datatype
from modeltap.errors import DeadlinePassed, InvalidValue, LimitReached

TAG = "predict"
JSON = "application/json"
LIMITED = STATUS[LimitReached]
LATE = STATUS[DeadlinePassed]
_TEXT = {"type": "string"}
_BYTES = {"schema": {**_TEXT, "format": "binary"}}
_OBJECT = {"type": "object"}
_LIST = {"type": "array", "items": {}}
_COUNT = {"type": "integer", "minimum": 0}
_DATATYPE = {"enum": list(get_args(Datatype))}
_NAME_OR_NULL = {"anyOf": [_TEXT, {"type": "null"}]}


def _fields(title: str, required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "title": title, "properties": properties, "required": required.split()}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _several(what: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": what, **more}


SCHEMAS: dict[str, dict[str, Any]] = {
    schema["title"]: schema
    for schema in (
        _fields("Instances", "instances", instances={**_LIST, "description": "rows"}),
        _fields("Columns", "inputs", inputs={"anyOf": [_OBJECT, _LIST], "description": "column → values"}),
        _fields("Predictions", "predictions model id", predictions=_LIST, model=_TEXT, id=_TEXT),
        _fields("Outputs", "outputs model id", outputs=_OBJECT, model=_TEXT, id=_TEXT),
        _fields(
            "Explanations", "explanations model rows id", explanations=_several(_OBJECT), model=_TEXT, rows=_COUNT, id=_TEXT
        ),
        _fields("TensorSpec", "name datatype shape", name=_TEXT, datatype=_DATATYPE, shape=_several({"type": "integer"})),
        _fields(
            "ModelMetadata",
            "name versions platform inputs outputs",
            name=_TEXT,
            versions=_several(_TEXT),
            platform=_TEXT,
            inputs=_several(_ref("TensorSpec")),
            outputs=_several(_ref("TensorSpec")),
        ),
        _fields(
            "Tensor",
            "name datatype shape",
            name=_TEXT,
            datatype=_DATATYPE,
            shape=_several(_COUNT),
            data={**_LIST, "description": "nested or flat, row-major; not there where the tensor is sent as bytes"},
            parameters={**_OBJECT, "properties": {"binary_data_size": _COUNT}},
        ),
        _fields(
            "WantedOutput",
            "name",
            name=_TEXT,
            parameters={**_OBJECT, "properties": {"binary_data": {"type": "boolean"}}},
        ),
        _fields(
            "InferenceRequest",
            "inputs",
            id=_NAME_OR_NULL,
            inputs=_several(_ref("Tensor"), minItems=1),
            outputs={"anyOf": [_several(_ref("WantedOutput")), {"type": "null"}], "description": "all, where none are named"},
            parameters={
                **_OBJECT,
                "properties": {"timeout": _COUNT, "priority": _COUNT, "binary_data_output": {"type": "boolean"}},
            },
        ),
        _fields(
            "InferenceAnswer",
            "model_name model_version outputs",
            model_name=_TEXT,
            model_version=_TEXT,
            id=_TEXT,
            outputs=_several(_ref("Tensor")),
        ),
        _fields("InferenceProblem", "error", error=_TEXT),
    )
}
_ROWS = {
    JSON: {
        "schema": {
            "anyOf": [
                _ref("Instances"),
                _ref("Columns"),
                {**_LIST, "title": "Rows"},
                {**_OBJECT, "title": "Row or columns by name"},
            ]
        }
    },
    "text/csv": {"schema": _TEXT},
    "image/png": _BYTES,
    "image/jpeg": _BYTES,
    "multipart/form-data": {"schema": _OBJECT},
}
_TENSORS = {JSON: {"schema": _ref("InferenceRequest")}, "application/octet-stream": _BYTES}
_ANSWERS = {JSON: {"schema": {"anyOf": [_ref("Predictions"), _ref("Outputs"), {**_OBJECT, "title": "Answers by name"}]}}}
_INFERRED = {JSON: {"schema": _ref("InferenceAnswer")}, "application/octet-stream": _BYTES}
_DEPLOYMENT = {"name": "deployment", "in": "path", "required": True, "schema": _TEXT}
METERED = [
    {"name": "idempotency-key", "in": "header", "schema": {**_TEXT, "minLength": 1, "maxLength": MAX_KEY_CHARS}},
    {"name": "modeltap-priority", "in": "header", "schema": {"enum": ["interactive", "bulk"]}},
]
_QUERY = [
    {"name": name, "in": "query", "schema": schema}
    for name, schema in (
        ("method", {"enum": ["shapley", "occlusion", "rise"]}),
        ("rows", {"type": "integer", "minimum": 1}),
        ("class", _TEXT),
        ("seed", {**_COUNT, "maximum": 2**32 - 1}),
        ("timeout_s", {"type": "number", "exclusiveMinimum": 0}),
    )
]
_HEAD_LENGTH = {"name": "inference-header-content-length", "in": "header", "schema": {**_COUNT, "maximum": 10**12 - 1}}


def plane_paths(refusals: list[int]) -> dict[str, dict[str, Any]]:
    """The paths, each of which answers with any of the refusals in its protocol's way, but for the two that need no key."""

    def answers(content: dict[str, Any], *, is_inference: bool) -> dict[str, Any]:
        told: dict[str, Any] = {"200": _answer(200, content)}
        for status in (*refusals, LIMITED):
            problem = (
                {JSON: {"schema": _ref("InferenceProblem")}}
                if is_inference
                else {PROBLEM.decode(): {"schema": _ref("Problem")}}
            )
            if not is_inference or status != STATUS[InvalidValue]:
                told[str(status)] = _answer(status, problem)
        return told

    predict = {
        "parameters": METERED,
        "requestBody": {"required": True, "content": _ROWS},
        "responses": answers(_ANSWERS, is_inference=False),
    }
    late = {str(LATE): _answer(LATE, {PROBLEM.decode(): {"schema": _ref("Problem")}})}
    explain = {
        "parameters": [_DEPLOYMENT, *_QUERY, *METERED],
        "requestBody": {"required": True, "content": _ROWS},
        "responses": answers({JSON: {"schema": _ref("Explanations")}}, is_inference=False) | late,
    }
    infer = {
        "parameters": [_DEPLOYMENT, _HEAD_LENGTH, *METERED],
        "requestBody": {"required": True, "content": _TENSORS},
        "responses": answers(_INFERRED, is_inference=True),
    }
    metadata = {
        "parameters": [_DEPLOYMENT],
        "responses": answers({JSON: {"schema": _ref("ModelMetadata")}}, is_inference=True),
    }
    operations: dict[tuple[str, str], dict[str, Any]] = {
        ("POST", "/predict/{deployment}"): {**predict, "parameters": [_DEPLOYMENT, *METERED]},
        ("POST", "/predict"): predict,
        ("POST", "/explain/{deployment}"): explain,
        ("GET", "/v2/models/{deployment}"): metadata,
        ("POST", "/v2/models/{deployment}/infer"): infer,
        **{("GET", f"/{what}z"): _check(what) for what in ("live", "ready")},
    }
    meant = {(method, path): text for method, path, text in DATA_PLANE}
    return {
        path: {method.lower(): {"tags": [TAG], "description": meant[method, path], **operation}}
        for (method, path), operation in operations.items()
    }


def _check(what: str) -> dict[str, Any]:
    schema = {**_OBJECT, "properties": {what: {"const": True}}, "required": [what]}
    return {"security": [], "responses": {"200": _answer(200, {JSON: {"schema": schema}})}}


def _answer(status: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": content}
