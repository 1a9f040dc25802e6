"""The dialect of explanations: POST /explain[/{deployment}] with the bodies that /predict takes.

{"instances": [row, …]} → {"explanations": [{"prediction", …, "fidelity", "rows"}, …], "model", "rows", "id"}

What is asked beside the rows stands in the query, so that it goes with every body: method, rows, class, seed, timeout_s.
Alias: /v1/models/{deployment}:explain (KServe's V1 protocol).
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, json_answer
from modeltap.api.body import apart, read_body
from modeltap.api.predict import reading
from modeltap.errors import InvalidInput, MethodNotAllowed, nearest
from modeltap.explain.plan import Wish, form_of
from modeltap.serving.call import Call
from modeltap.serving.explaining import Explaining
from modeltap.serving.plane import Plane
from modeltap.serving.version import Version

EXPLAIN = "/explain"
KSERVE, VERB = "/v1/models/", ":explain"
MAX_SEED = 2**32 - 1


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"label": "class"}):
    """The query of the path."""

    method: str | None = None
    rows: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """That an engine may run for each explanation."""
    label: str | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=MAX_SEED)] = 0
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] | None = None


class ExplainPlane:
    """Answers `/explain`, `/explain/{deployment}` and KServe's alias."""

    def __init__(self, plane: Plane, explaining: Explaining, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._explaining = explaining
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """The answer to one request. Raises what `/predict` does, InvalidInput for what cannot be explained so, and
        DeadlinePassed."""
        name = deployment_of(scope["path"])
        self._find(call, name)
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST, given was {scope['method']}", allowed=("POST",))
        asked = read_query(scope)
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        version = self._find(call, name)
        longest_s = self._explaining.bounds.deadline_s
        if asked.timeout_s is not None:
            call.deadline_s = call.started_s + min(asked.timeout_s, longest_s)
        with version.held():
            question = await apart(len(body), await reading(version, scope, body, call.request_id), inline_bytes=0)
            wish = Wish(asked.method, asked.rows, asked.seed, asked.label)
            told = await self._explaining.explain(call, question.batch, wish)
            rows = sum(one.rows for one in told)
            answer = {"explanations": told, "model": version.model_id, "rows": rows, "id": call.request_id}
            return await apart(rows, lambda: json_answer(answer), inline_bytes=0)

    def _find(self, call: Call, name: str | None) -> Version:
        """The version. Raises InvalidInput for one whose answers are not explained, whatever is sent."""
        try:
            version = self._plane.find(call, name, scope="explain")
        except InvalidInput:
            if call.version is None:
                raise
            raise InvalidInput(
                f"'{call.version.model_id}' writes text, and only answers that are a class or a number are explained"
            ) from None
        form_of(version.manifest)
        return version


def deployment_of(path: str) -> str | None:
    """The name that the path asks for; None is the default one."""
    if path.startswith(KSERVE):
        return path.removeprefix(KSERVE).removesuffix(VERB)
    return path.removeprefix(EXPLAIN).strip("/") or None


def read_query(scope: Scope) -> Asked:
    """What the query asks for. Raises InvalidInput naming the parameter."""
    try:
        pairs = parse_qsl(scope["query_string"].decode(), keep_blank_values=True, strict_parsing=False, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise InvalidInput("the query of the path is not UTF-8 text") from None
    given: dict[str, Any] = {}
    known = [field.encode_name for field in msgspec.structs.fields(Asked)]
    for name, value in pairs:
        if name not in known:
            raise InvalidInput(f"the query has '{name[:80]}', which is not known{nearest(name, known)}")
        if name in given:
            raise InvalidInput(f"the query has '{name}' twice; give it once")
        given[name] = value
    try:
        return msgspec.convert(given, Asked, strict=False)
    except msgspec.ValidationError as problem:
        what, _, where = str(problem).replace("`", "").partition(" - at $.")
        raise InvalidInput(f"{where or 'the query'} is wrong: {what}", fields=[(where, what)]) from None
