"""One process's HTTP server: uvicorn over a bound socket, until it is told to end."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modeltap.settings import Settings

if TYPE_CHECKING:
    from modeltap.api.connection import HttpServer
    from modeltap.api.hot import HotPath

SHUTDOWN_S = 10
BACKLOG = 2048


def http_server(app: Any, settings: Settings, hot: HotPath, closed: Callable[[], None]) -> HttpServer:
    """uvicorn as it is used here; `serve(sockets=[…])` runs it. Pages from other origins and proxies make every request go
    the ordinary way, which knows what to do with them."""
    import uvicorn

    from modeltap.api.connection import HttpServer, connections

    config = uvicorn.Config(
        app,
        loop="none",
        http=connections(None if settings.cors_origins else hot, closed),  # type: ignore[arg-type]  # only called
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        backlog=BACKLOG,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    return HttpServer(config)


async def serve_until_told(http: HttpServer, listener: socket.socket, started: Callable[[], None]) -> None:
    """Serves the socket; `started` is called once it does. Comes back when the server was told to end and has drained."""
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    while not http.started and not serving.done():
        await asyncio.sleep(0.01)
    if http.started:
        started()
    await serving


def new_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()
