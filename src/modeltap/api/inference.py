"""Open Inference Protocol /v2 over HTTP: a deployment is a model, its version the one that it routes to.

Source: the protocol's REST specification with the extensions for binary tensors, model configuration and statistics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope, header, json_answer
from modeltap.api.body import INLINE_BYTES, INLINE_PICTURE_BYTES, apart, parse_json, read_body
from modeltap.api.codings import asked_coding, pack, unpack
from modeltap.api.hot_request import HotHead, Ready
from modeltap.api.inference_answer import AnswerWriter, PlannedOutputs, plan_outputs
from modeltap.api.inference_model import (
    index_entry,
    model_config,
    model_metadata,
    model_statistics,
    server_metadata,
    version_number,
)
from modeltap.api.inference_plans import Plan, Plans
from modeltap.api.inference_request import InferRequest, parse_request
from modeltap.api.inference_versions import InferenceVersions
from modeltap.api.json_numbers import cut_arrays
from modeltap.api.local_caller import is_forwarded
from modeltap.api.memory_regions import MemoryRegions, write_outputs
from modeltap.api.memory_slots import MAX_BYTES, REGION
from modeltap.batching.queue import BULK
from modeltap.domain.signature import Batch
from modeltap.errors import InvalidInput, MethodNotAllowed, NotFound, Unavailable
from modeltap.serving.call import Call, Lead
from modeltap.serving.plane import Plane
from modeltap.serving.version import Version
from modeltap.tasks.tensors import TASK

MODELS = "/v2/models/"
INFER = "/infer"
MAX_HEAD_DIGITS = 12
NO_CUDA_MEMORY = "the memory of GPUs is not read or written here; send tensors in the request"
IN_MEMORY = REGION.encode()


class InferencePlane:
    """Answers everything under `/v2`."""

    def __init__(self, plane: Plane, regions: MemoryRegions, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._regions = regions
        self._versions = InferenceVersions(plane)
        self._max_body_bytes = max_body_bytes

    def read(self, head: HotHead, body: bytes, call: Call) -> Ready | None:
        """A small inference request, read at once; None for every other one."""
        target: _Target | None = head.kept
        if target is not None and target.lead is not None and self._plane.follow(call, target.lead):
            version = target.version
        else:
            name, wanted = _named_by(head.path)
            if not name:
                return None
            version = self._versions.find(call, name, wanted)
            target = head.kept = _Target(name, head, version, call.lead)
        return self._known(target, version, body) or self._new(call, target, version, body)

    def _known(self, target: _Target, version: Version, body: bytes) -> Ready | None:
        """A request whose JSON came before with other numbers; None for every other one."""
        plans: Plans | None = version.plans
        if plans is None:
            return None
        head_bytes = target.head_bytes
        if head_bytes is not None:
            plan = plans.get(body[:head_bytes])
            inputs = None if plan is None else plan.from_bytes(memoryview(body)[head_bytes:])
        else:
            plan = plans.newest
            inputs = None if plan is None else plan.from_text(body)
            if inputs is None:
                cut = cut_arrays(body)
                plan = None if cut is None else plans.get(cut[0])
                inputs = None if plan is None or cut is None else plan.from_blocks(cut[1])
        if plan is None or inputs is None:
            return None
        show = target.show
        if target.plan is not plan or show is None:
            show = plan.shown.get((target.name, target.coding))
            if show is None:
                show = self._shown(target.name, version, None, plan.planned, target.coding)
                plan.shown[target.name, target.coding] = show
            target.plan, target.show = plan, show
        return Ready(inputs, plan.rows, show)

    def _new(self, call: Call, target: _Target, version: Version, body: bytes) -> Ready | None:
        head_bytes = target.head_bytes
        if IN_MEMORY in body:  # where there may be much more than came with the request
            return None
        request = parse_request(body, head_bytes=head_bytes)
        if len(body) > INLINE_PICTURE_BYTES and version.takes_pictures:
            return None
        ready = self._ready(call, target.name, version, request, target.coding)
        if version.manifest.task == TASK.name:
            cut = None if head_bytes is not None else cut_arrays(body)
            text = body[:head_bytes] if head_bytes is not None else b"" if cut is None else cut[0]
            if text:
                version.plans = version.plans or Plans()
                version.plans.keep(text, request, ready.rows, plan_outputs(version.signature, request))
        return ready

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer:
        """The answer to one request. Raises NotFound, InvalidInput, InvalidValue, TooLarge, Unavailable, LimitReached."""
        path = scope["path"]
        parts = [part for part in path.split("/") if part][1:]
        match parts:
            case []:
                _takes(scope, "GET")
                return json_answer(server_metadata(has_shared_memory=self._regions.is_on))
            case ["health", "live" | "ready" as what]:
                return json_answer({what: True})
            case ["models", "stats"]:
                _takes(scope, "GET")
                return json_answer({"model_stats": self._versions.statistics(call)})
            case ["models", name, *rest]:
                wanted = ""
                if len(rest) >= 2 and rest[0] == "versions":
                    wanted, rest = rest[1], rest[2:]
                return await self._model(name, wanted, rest, scope, receive, call)
            case ["repository", *rest]:
                return await self._repository(rest, scope, receive, call)
            case ["systemsharedmemory", *rest]:
                return await self._system_memory(rest, scope, receive, call)
            case ["cudasharedmemory", *rest] if rest:
                return _cuda_memory(rest[-1], scope)
        raise _no_path(path)

    async def _model(self, name: str, wanted: str, rest: list[str], scope: Scope, receive: Receive, call: Call) -> Answer:
        if rest == ["ready"]:
            _takes(scope, "GET")
            return self._is_ready(name, wanted, call)
        version = self._versions.find(call, name, wanted)
        if rest == ["infer"]:
            _takes(scope, "POST")
            return await self._infer(name, wanted, scope, receive, call)
        told: dict[str, Any]
        match rest:
            case []:
                told = model_metadata(name, version)
            case ["config"]:
                assert call.deployment is not None
                told = model_config(name, call.deployment, version)
            case ["stats"]:
                told = {"model_stats": [model_statistics(name, version)]}
            case _:
                raise _no_path(scope["path"])
        _takes(scope, "GET")
        return json_answer(told)

    def _is_ready(self, name: str, wanted: str, call: Call) -> Answer:
        try:
            self._versions.find(call, name, wanted)
        except Unavailable:
            return json_answer({"name": name, "ready": False}, status=503)
        return json_answer({"name": name, "ready": True})

    async def _infer(self, name: str, wanted: str, scope: Scope, receive: Receive, call: Call) -> Answer:
        body = await self._body(scope, receive)
        head_bytes = _head_bytes(header(scope, b"inference-header-content-length"))
        coding = asked_coding(header(scope, b"accept-encoding"))
        version = self._versions.find(call, name, wanted)
        memory = self._regions.of(call, limit_bytes=self._max_body_bytes)
        with version.held():

            def read() -> Ready:
                request = parse_request(body, head_bytes=head_bytes, memory=memory)
                return self._ready(call, name, version, request, coding)

            inline_bytes = INLINE_PICTURE_BYTES if version.takes_pictures else INLINE_BYTES
            size_bytes = self._max_body_bytes if IN_MEMORY in body else len(body)
            ready = await apart(size_bytes, read, inline_bytes=inline_bytes)
            if memory.is_used and header(scope, b"idempotency-key") is not None:
                raise InvalidInput(
                    "a request with an Idempotency-Key has its tensors in itself: what is in shared memory may be another one"
                    " when it is sent again"
                )
            outputs = await self._plane.infer(call, ready.inputs, ready.rows)
            await write_outputs(self._plane, call, memory, outputs)
            return await apart(sum(values.nbytes for values in outputs.values()), lambda: ready.show(outputs))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body, unpacked; a long or packed one on a thread."""
        coding = (header(scope, b"content-encoding") or "identity").casefold()
        if coding == "identity":
            return await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        packed = await read_body(scope, receive, limit_bytes=self._max_body_bytes, is_packed=True)
        return await asyncio.to_thread(unpack, packed, coding, limit_bytes=self._max_body_bytes)

    def _ready(self, call: Call, name: str, version: Version, request: InferRequest, coding: str | None) -> Ready:
        """What the graph is asked, and how its outputs become the answer."""
        planned = plan_outputs(version.signature, request)
        inputs, rows = self._versions.reader(version).read(request.tensors)
        hurry(call, request)
        return Ready(inputs, rows, self._shown(name, version, request.id, planned, coding))

    def _shown(
        self, name: str, version: Version, request_id: str | None, planned: PlannedOutputs, coding: str | None
    ) -> Callable[[Batch], Answer]:
        writer = AnswerWriter(name, version_number(version), request_id, planned)
        if coding is None:
            return writer.write

        def show(outputs: Batch) -> Answer:
            answer = writer.write(outputs)
            answer.body = pack(answer.body, coding)
            answer.headers.append((b"content-encoding", coding.encode()))
            return answer

        return show

    async def _system_memory(self, rest: list[str], scope: Scope, receive: Receive, call: Call) -> Answer:
        name = ""
        if rest[:1] == ["region"] and len(rest) == 3:
            name, rest = rest[1], rest[2:]
        match rest:
            case ["status"]:
                _takes(scope, "GET")
                return json_answer(self._regions.listed(call, name))
            case ["unregister"]:
                _takes(scope, "POST")
                await self._regions.forget(call, name)
                return json_answer({})
            case ["register"] if name:
                _takes(scope, "POST")
                asked = _region_of(await read_body(scope, receive, limit_bytes=INLINE_BYTES))
                is_direct = not is_forwarded(name.decode("latin-1").lower() for name, _ in scope["headers"])
                await self._regions.register(
                    call,
                    name,
                    key=asked.key,
                    offset=asked.offset,
                    byte_size=asked.byte_size,
                    caller=scope["client"] if is_direct else None,
                    server=scope["server"],
                )
                return json_answer({})
        raise _no_path(scope["path"])

    async def _repository(self, rest: list[str], scope: Scope, receive: Receive, call: Call) -> Answer:
        match rest:
            case ["index"]:
                _takes(scope, "POST")
                body = await read_body(scope, receive, limit_bytes=INLINE_BYTES)
                asked = parse_json(body) if body.strip() else {}
                if not isinstance(asked, dict):
                    raise InvalidInput('the body is an object, such as {"ready": true}, or empty')
                entries = [index_entry(*one) for one in self._plane.listed(call)]
                return json_answer([entry for entry in entries if entry["state"] == "READY" or not asked.get("ready")])
            case ["models", name, "load" | "unload" as what]:
                _takes(scope, "POST")
                raise InvalidInput(unmanaged(name, what))
        raise _no_path(scope["path"])


class _Target:
    """What the head of an inference request says: which model, how its body is laid out, how its answer is packed; with what
    was found out when the last request came under it."""

    __slots__ = ("coding", "head_bytes", "lead", "name", "plan", "show", "version")

    def __init__(self, name: str, head: HotHead, version: Version, lead: Lead | None) -> None:
        """Raises InvalidInput."""
        self.name = name
        self.version = version
        self.lead = lead
        self.plan: Plan | None = None
        self.show: Callable[[Batch], Answer] | None = None
        """How outputs become the answer to a request of that plan."""
        coding = head.seen.get(b"accept-encoding")
        self.coding = None if coding is None else asked_coding(coding.decode("latin-1"))
        length = head.seen.get(b"inference-header-content-length")
        self.head_bytes = None if length is None else _head_bytes(length.decode("latin-1").strip())


def _named_by(path: str) -> tuple[str, str]:
    """The model and the version that are asked for, '' where none is; no model for every path but that of an inference."""
    if not path.startswith(MODELS) or not path.endswith(INFER):
        return "", ""
    name, _, wanted = path[len(MODELS) : -len(INFER)].partition("/versions/")
    return ("", "") if "/" in name or "/" in wanted else (name, wanted)


def hurry(call: Call, request: InferRequest) -> None:
    """The request's own time limit and priority, where it has them; it never waits longer than its deployment lets it."""
    if request.timeout_us or call.deadline_s is not None:
        assert call.deployment is not None
        limits_s = [call.started_s + call.deployment.terms.rows_within_ms / 1000]
        if request.timeout_us:
            limits_s.append(call.started_s + request.timeout_us / 1e6)
        if call.deadline_s is not None:
            limits_s.append(call.deadline_s)
        call.deadline_s = min(limits_s)
    if request.priority > 1:
        call.priority = BULK


def unmanaged(name: str, what: str) -> str:
    """Why a model is not loaded or unloaded by whoever calls it."""
    return (
        f"failed to {what} '{name[:80]}': models are served because they are deployed, and loaded when they are called;"
        " use 'modeltap deploy' and 'modeltap undeploy'"
    )


def _cuda_memory(what: str, scope: Scope) -> Answer:
    """There are no regions, so that all of them are listed, or forgotten, at once."""
    if what == "status":
        _takes(scope, "GET")
        return json_answer([])
    _takes(scope, "POST")
    if what == "unregister":
        return json_answer({})
    raise InvalidInput(NO_CUDA_MEMORY)


_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_BYTES)]


class _AskedRegion(msgspec.Struct):
    """The body of a registration."""

    key: str
    byte_size: _Count
    offset: _Count = 0


def _region_of(body: bytes) -> _AskedRegion:
    try:
        return msgspec.convert(parse_json(body), _AskedRegion)
    except msgspec.ValidationError as problem:
        raise InvalidInput(
            f'the body is such as {{"key": "/name", "offset": 0, "byte_size": 64}}: {str(problem).replace("`", "")}'
        ) from None


def _head_bytes(given: str | None) -> int | None:
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > MAX_HEAD_DIGITS:
        raise InvalidInput(f"Inference-Header-Content-Length is '{given[:40]}'; it is the number of bytes of the JSON")
    return int(given)


def _takes(scope: Scope, method: str) -> None:
    if scope["method"] != method and not (method == "GET" and scope["method"] == "HEAD"):
        allowed = ("GET", "HEAD") if method == "GET" else (method,)
        raise MethodNotAllowed(f"{scope['path']} takes {method}, given was {scope['method']}", allowed=allowed)


def _no_path(path: str) -> NotFound:
    return NotFound(f"there is no path {path[:200]}")
