"""The control side of a server without a socket: the real application, guard, router and use-cases on a home."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from modeltap.api.activity import Activity
from modeltap.api.app import App
from modeltap.api.control import control_app
from modeltap.api.guard import Guard
from modeltap.control.home_secrets import open_admin_key, open_pepper
from modeltap.serving.loading import Loader
from modeltap.serving.router import Router
from modeltap.settings import load_settings
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.opening import open_database
from modeltap.storage.snapshot import read_snapshot
from modeltap.wiring.control_side import ControlSide, Hub


class NoDataPlane:
    """The door of a server that answers no predictions."""

    def takes(self, _path: str) -> bool:
        return False


class ControlFront:
    """Asked over HTTP as a client does; what changes is served before the answer comes."""

    def __init__(self, home: Path, *, host: str = "127.0.0.1") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.database = open_database(home)
        artifacts = ArtifactStore(home / "artifacts")
        pepper = open_pepper(home)
        self.admin_key, _ = open_admin_key(home)
        self.guard = Guard(self.admin_key, pepper)
        self.router = Router(Loader(artifacts.paths).load, model_memory_bytes=1 << 30, unload_after_s=None)
        control = ControlSide(
            load_settings({"home": home, "host": host}, environment={}),
            self.database,
            artifacts,
            self.router,
            pepper,
            Hub(changed=self.publish, wake_jobs=lambda: None),
            started_at=datetime.now(UTC).isoformat(),
            closing=threading.Event(),
        )
        self.app = App(
            guard=self.guard,
            door=NoDataPlane(),  # type: ignore[arg-type]
            control=control_app(control.of),
            activity=Activity(),
            max_body_bytes=1 << 20,
            metrics=_no_numbers,
        )
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://front")
        self.publish()

    def publish(self) -> None:
        snapshot = read_snapshot(self.database)
        self.guard.publish(snapshot)
        self._wait(self.router.publish(snapshot))

    def request(
        self, method: str, path: str, *, key: str | None = None, tenant: str | None = None, **more: Any
    ) -> httpx.Response:
        """With the admin key, unless another is given."""
        headers = {"authorization": f"Bearer {key or self.admin_key}", **more.pop("headers", {})}
        if tenant is not None:
            headers["modeltap-tenant"] = tenant
        answer: httpx.Response = self._wait(self._client.request(method, path, headers=headers, **more))
        return answer

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """The JSON of a request that must succeed."""
        answer = self.request(method, path, **more)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def make_key(self, tenant: str, *scopes: str, **more: Any) -> str:
        """The text of a new key of that tenant."""
        made: str = self.ask("POST", "/api/keys", tenant=tenant, json={"scopes": list(scopes), **more})["key"]
        return made

    @contextmanager
    def listening(self) -> Iterator[str]:
        """The URL of a socket that it answers on, too."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(self.app, loop="none", lifespan="off", log_config=None))
            serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listener]), self._loop)
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                serving.result(60)

    def close(self) -> None:
        self._wait(self._client.aclose())
        self._wait(self.router.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.database.close()

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


async def _no_numbers() -> bytes:
    return b""


@contextmanager
def control_front(home: Path, **more: Any) -> Iterator[ControlFront]:
    front = ControlFront(home, **more)
    try:
        yield front
    finally:
        front.close()
