"""Sends a stream of events, and ends its call: settled, failed, or charged what was handed on before it broke off."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from modeltap.api.asgi import Header, Send
from modeltap.api.openai.events import EVENT_STREAM, EventStream, event
from modeltap.api.openai.problems import error_object
from modeltap.api.problems import UNKNOWN
from modeltap.errors import Broken, ModeltapError
from modeltap.serving.call import Call
from modeltap.serving.plane import Plane
from modeltap.serving.submission import ClientGone

_log = logging.getLogger(__name__)
HEAD = [(b"content-type", EVENT_STREAM), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]


async def send_events(send: Send, stream: EventStream, headers: list[Header], plane: Plane, call: Call) -> ModeltapError | None:
    """How it ended: None if it came to its end, else the failure, which the client was told where it still listens.

    `send` waits while the client takes nothing, so no more than a few events are held for it.
    """
    problem: ModeltapError
    try:
        await send({"type": "http.response.start", "status": stream.status, "headers": [*HEAD, *headers]})
        async with aclosing(stream.events) as events:
            async for data in events:
                await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return None
    except asyncio.CancelledError:
        plane.break_off(call, ClientGone("the request was cancelled"))
        raise
    except ModeltapError as failure:
        problem = failure
    except Exception as failure:  # noqa: BLE001  an edge: the client is told, whatever it was
        _log.error("request %s failed", call.request_id, exc_info=failure)
        problem = Broken(UNKNOWN["detail"])
    plane.break_off(call, problem)
    if not isinstance(problem, ClientGone):
        await send({"type": "http.response.body", "body": event({"error": error_object(problem)}), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    return problem
