"""The gRPC door of the Open Inference Protocol: a server for the service, and how each of its calls begins and ends.

gRPC and protobuf are loaded when the server starts, as they take memory that a server without gRPC does not need.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from modeltap.api.activity import Activity
from modeltap.api.door import named
from modeltap.api.grpc_calls import InferenceCalls, Method
from modeltap.api.grpc_status import Metadata, retry_metadata, status_name
from modeltap.api.guard import NO_KEY, key_of_authorization
from modeltap.api.local_caller import is_forwarded
from modeltap.api.memory_regions import MemoryRegions
from modeltap.api.problems import status_of
from modeltap.api.request_id import request_id_of
from modeltap.api.watch import Watch, traceparent_for
from modeltap.domain.money import show_budget
from modeltap.domain.tenant import ANONYMOUS_KEY_ID
from modeltap.errors import Conflict, InvalidInput, ModeltapError, Unauthenticated
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.submission import ClientGone
from modeltap.telemetry.tracing import Trace

PROTOCOL = "grpc"
OPEN_METHODS = frozenset({"ServerLive", "ServerReady"})
"""Answered without a key."""
PUBLIC_METHODS = frozenset({"ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer", "ModelStreamInfer"})
"""Answered without a key for a model that needs none."""
MAX_METADATA_BYTES = 64 * 1024

OpenCall = Callable[[str | None, str | None, str], Call]
"""(presented key, request id as the client gave it, where the client is) → the call. Raises Unauthenticated."""


class GrpcServer:
    """Serves GRPCInferenceService on the running event loop."""

    def __init__(
        self,
        plane: Plane,
        open_call: OpenCall,
        watch: Watch,
        activity: Activity,
        regions: MemoryRegions,
        *,
        max_body_bytes: int,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plane = plane
        self._open_call = open_call
        self._watch = watch
        self._activity = activity
        self._max_body_bytes = max_body_bytes
        self._tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
        self._clock = clock
        self._calls = InferenceCalls(plane, regions, max_body_bytes=max_body_bytes)
        self._server: Any = None

    async def start(self, host: str, port: int, *, shares_port: bool = False) -> int:
        """The port that it listens on now, a free one for 0. With `shares_port` several processes may take the same one.

        Raises Conflict if it is taken.
        """
        import grpc

        self._server = grpc.aio.server(
            options=(
                ("grpc.max_receive_message_length", self._max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                ("grpc.so_reuseport", int(shares_port)),
            )
        )
        self._server.add_generic_rpc_handlers((self._handlers(grpc),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._tls is None:
                bound = self._server.add_insecure_port(address)
            else:
                certificate, key = (path.read_bytes() for path in self._tls)
                bound = self._server.add_secure_port(address, grpc.ssl_server_credentials(((key, certificate),)))
        except RuntimeError:
            bound = 0
        if not bound:
            raise Conflict(f"port {port} on {host} is taken; choose another with --grpc-port, or 0 for a free one")
        self._calls.address = (host, int(bound))
        await self._server.start()
        return int(bound)

    async def stop(self, grace_s: float) -> None:
        """New calls are refused; those that run have so long to end."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def _handlers(self, grpc: Any) -> Any:
        from modeltap.api.grpc_messages import SERVICE, message_class

        handlers = {
            method: grpc.unary_unary_rpc_method_handler(
                self._unary(method, answer),
                response_serializer=message_class(f"{method}Response").SerializeToString,
            )
            for method, answer in self._calls.methods.items()
        }
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream,
            response_serializer=message_class("ModelStreamInferResponse").SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _unary(self, method: str, answer: Method) -> Callable[[bytes, Any], Awaitable[Any]]:
        async def handle(data: bytes, context: Any) -> Any:
            exchange = self._begin(method, context)
            try:
                if method not in OPEN_METHODS:
                    self._open(exchange)
                response = await answer(_message(f"{method}Request", data), exchange.call)
                await self._settle(exchange)
            except asyncio.CancelledError:
                self._end(exchange, ClientGone("the client gave up"))
                raise
            except Exception as failure:  # noqa: BLE001  an edge: whatever it was, the client gets a status
                problem = named(failure, exchange.request_id)
                self._end(exchange, problem)
                await self._abort(exchange, problem)
            self._end(exchange)
            context.set_trailing_metadata(exchange.metadata())
            if exchange.call is not None and exchange.call.ticket is not None:
                context.add_done_callback(lambda ended: self._mark(ended, exchange.call))
            return response

        return handle

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        """One answer to each request, in order. A request that fails is told so, and the next one is answered."""
        from modeltap.api.grpc_messages import message_class

        answer_class = message_class("ModelStreamInferResponse")
        async for data in messages:
            exchange = self._begin("ModelStreamInfer", context)
            request_id = ""
            try:
                call = self._open(exchange)
                request = _message("ModelInferRequest", data)
                request_id = request.id
                response = answer_class(infer_response=await self._calls.infer(request, call))
                await self._settle(exchange)
            except asyncio.CancelledError:
                self._end(exchange, ClientGone("the client gave up"))
                raise
            except Exception as failure:  # noqa: BLE001  as above
                problem = named(failure, exchange.request_id)
                self._end(exchange, problem)
                response = answer_class(error_message=problem.message)
                response.infer_response.id = request_id
            else:
                self._end(exchange)
            yield response
            if exchange.call is not None:
                self._plane.delivered(exchange.call)

    def _begin(self, method: str, context: Any) -> _Exchange:
        self._activity.begin()
        exchange = _Exchange(method, context, self._clock())
        exchange.trace = self._watch.begin(exchange.operation, exchange.given.get("traceparent"))
        return exchange

    def _open(self, exchange: _Exchange) -> Call:
        """The call of who presents the key. Raises Unauthenticated."""
        given = exchange.given
        key = given.get("x-api-key") or key_of_authorization(given.get("authorization"))
        peer = "" if is_forwarded(given) else exchange.context.peer()
        call = exchange.call = self._open_call(key, exchange.request_id, peer)
        if call.principal.key == ANONYMOUS_KEY_ID and exchange.method not in PUBLIC_METHODS:
            raise Unauthenticated(NO_KEY)
        left_s = exchange.context.time_remaining()
        if left_s is not None:
            call.deadline_s = self._clock() + left_s
        return call

    async def _settle(self, exchange: _Exchange) -> None:
        call = exchange.call
        if call is not None and call.ticket is not None:
            self._plane.settle(call)
            if self._plane.waits_for_disk:
                await self._plane.on_disk()

    def _end(self, exchange: _Exchange, problem: ModeltapError | None = None) -> None:
        """The answer is made, or the call has failed: it is noted."""
        self._activity.end()
        call = exchange.call
        if problem is not None and call is not None:
            self._plane.fail(call, problem)
        self._watch.end(
            operation=exchange.operation,
            protocol=PROTOCOL,
            call=call,
            trace=exchange.trace,
            request_id=exchange.request_id,
            status=200 if problem is None else status_of(problem),
            code="" if problem is None else problem.code,
            total_s=self._clock() - exchange.started_s,
        )

    async def _abort(self, exchange: _Exchange, problem: ModeltapError) -> None:
        """Ends the call with the problem's status. Raises what gRPC ends it with."""
        import grpc

        call = exchange.call
        code = grpc.StatusCode[status_name(problem, has_deadline=call is not None and call.deadline_s is not None)]
        metadata = retry_metadata(problem, code.value[0]) + exchange.metadata()
        await exchange.context.abort(code, problem.message, metadata)

    def _mark(self, context: Any, call: Call | None) -> None:
        """The call is over: its answer was handed to the system, if the client had not left."""
        if call is not None and not context.cancelled():
            self._plane.delivered(call)


class _Exchange:
    """One request on its way, as gRPC has it."""

    def __init__(self, method: str, context: Any, started_s: float) -> None:
        self.method = method
        self.operation = f"gRPC {method}"
        self.context = context
        self.started_s = started_s
        self.given = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.request_id = request_id_of(self.given.get("x-request-id"))
        self.trace: Trace | None = None
        self.call: Call | None = None

    def metadata(self) -> Metadata:
        """What goes behind the answer, as headers do over HTTP."""
        call = self.call
        trace = traceparent_for(self.trace, self.given.get("traceparent"))
        metadata: Metadata = (("x-request-id", self.request_id), ("traceparent", trace))
        if call is not None and call.ticket is not None and call.version is not None:
            metadata += (("modeltap-model", call.version.model_id), ("modeltap-cost", show_budget(call.cost_nano)))
        return metadata


def _message(name: str, data: bytes) -> Any:
    """The message of that name. Raises InvalidInput for bytes that are none."""
    from google.protobuf.message import DecodeError

    from modeltap.api.grpc_messages import message_class

    try:
        return message_class(name).FromString(data)
    except DecodeError:
        raise InvalidInput(f"the {len(data):,} bytes of the request are no {name}") from None
