"""What is noted of every request of the data plane once it was answered: numbers, its line in the log, its spans in a trace."""

from __future__ import annotations

from collections.abc import Callable

from modeltap.api.request_id import traceparent_of
from modeltap.serving.call import Call
from modeltap.telemetry.ended_call import EndedCall
from modeltap.telemetry.logs import CallLog
from modeltap.telemetry.metrics import Metrics
from modeltap.telemetry.tracing import Trace, Tracing


class Watch:
    """`tracing` is None where nobody asks for traces. `wall` gives UTC seconds."""

    def __init__(self, metrics: Metrics, calls: CallLog, tracing: Tracing | None, *, wall: Callable[[], float]) -> None:
        self._metrics = metrics
        self._calls = calls
        self._tracing = tracing
        self._wall = wall

    def begin(self, operation: str, traceparent: str | None) -> Trace | None:
        """The request's place in a trace, where traces are asked for."""
        return None if self._tracing is None else self._tracing.begin(operation, self._wall(), traceparent)

    def batch(self, model: str, rows: int, run_s: float) -> None:
        """An engine ran so many rows together."""
        self._metrics.observe_batch(model, rows, run_s)

    def text(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, first_token_s: float, token_gap_s: float | None
    ) -> None:
        """A language model has answered a call."""
        self._metrics.observe_text(model, prompt_tokens, completion_tokens, first_token_s, token_gap_s)

    def end(
        self,
        *,
        operation: str,
        protocol: str,
        call: Call | None,
        trace: Trace | None,
        request_id: str,
        status: int,
        code: str,
        total_s: float,
    ) -> None:
        """Notes the answer. `code` is that of the named error, '' if there was none."""
        deployment = call.deployment.name if call is not None and call.deployment is not None else ""
        model = call.version.model_id if call is not None and call.version is not None else ""
        queue_s, compute_s, units = (0.0, 0.0, 0) if call is None else (call.queue_s, call.compute_s, call.units)
        self._metrics.observe_call(deployment, model, protocol, status, total_s, queue_s, compute_s, units)
        if code:
            self._metrics.observe_refusal(deployment, code)
        if trace is None and status < 500 and not self._calls.wants_all:
            return
        parse_s = 0.0 if call is None or not call.queued_s else call.queued_s - call.started_s
        ended = EndedCall(
            operation=operation,
            request_id=request_id,
            deployment=deployment,
            model=model,
            status=status,
            code=code,
            rows=units,
            total_s=total_s,
            parse_s=parse_s,
            queue_s=queue_s,
            compute_s=compute_s,
            encode_s=max(0.0, total_s - parse_s - queue_s - compute_s) if compute_s else 0.0,
        )
        self._calls.log_call(ended)
        if trace is not None and self._tracing is not None:
            self._tracing.record(trace, ended)


def traceparent_for(trace: Trace | None, given: str | None) -> str:
    """That of the answer: the span's where there is one, else of the client's trace, else of a new one."""
    return traceparent_of(given) if trace is None else trace.traceparent
