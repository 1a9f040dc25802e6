"""A client of one OpenAI-compatible server: an allow-listed address, no redirects, bounded answers, named errors.

client = UpstreamClient(url, rules=rules, key=lambda: "…", max_streams=64)
answer = await client.ask("/chat/completions", body)
async for chunk in client.stream("/chat/completions", body): …       closing the iterator ends the request there
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from modeltap.domain.upstream import HostRule, place_of
from modeltap.engines.upstream_address import Addresses
from modeltap.engines.upstream_events import EventReader, read_object
from modeltap.errors import ContextTooLong, InvalidInput, ModeltapError, Overloaded, UpstreamFailed

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
WRITE_S = 30.0
SILENCE_S = 120.0
"""Between two pieces of a stream; the first one may take as long."""
WHOLE_S = 600.0
"""Until an answer that is no stream has begun."""
LIST_S = 10.0
MAX_ANSWER_BYTES = 32 << 20
MAX_ERROR_BYTES = 64 << 10
LONGEST_MESSAGE = 500
LONGEST_WAIT_S = 120.0
JSON = "application/json"
CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error"}
"""OpenAI's and llama.cpp's, for a text that is too long."""


class UpstreamClient:
    """Lives on one event loop."""

    def __init__(
        self, url: str, *, rules: Sequence[HostRule], key: Callable[[], str] = lambda: "", max_streams: int = 256
    ) -> None:
        """`key` gives what is sent as bearer token, looked at before each request; '' sends none."""
        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write a line for every request
        self._place = place_of(url)
        self._addresses = Addresses(self._place, rules)
        self._key = key
        self._max_streams = max_streams
        self._streams = 0
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context() if self._place.scheme == "https" else False,
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S),
            limits=httpx.Limits(max_connections=max_streams + 1, max_keepalive_connections=min(max_streams, 64)),
        )

    @property
    def streams(self) -> int:
        """Requests under way."""
        return self._streams

    async def models(self) -> list[dict[str, Any]] | None:
        """What it lists; None where it has no list. Raises as `ask` does."""
        async with self._request("GET", "/models", None, silence_s=LIST_S) as response:
            if response.status_code in (404, 405):
                return None
            await _check(response)
            found = read_object(await _whole(response)).get("data")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    async def is_healthy(self) -> bool:
        """Whether it says of itself, beside its API, that it can answer now; a server without that path can."""
        try:
            async with self._request("GET", "/health", None, silence_s=LIST_S, at_root=True) as response:
                return bool(response.status_code < 500)
        except ModeltapError:
            return False

    async def ask(self, path: str, body: Any) -> dict[str, Any]:
        """The whole answer. Raises InvalidInput for what it refuses, Overloaded, Refused, UpstreamFailed."""
        async with self._slot(), self._request("POST", path, body, silence_s=WHOLE_S) as response:
            await _check(response)
            return _unless_error(read_object(await _whole(response)))

    async def stream(self, path: str, body: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Each event as it comes. Raises as `ask`, also in the middle; a stream that ends without saying so has failed."""
        async with self._slot(), self._request("POST", path, body, silence_s=SILENCE_S) as response:
            await _check(response)
            reader = EventReader()
            with _named_failures(self._place.host):
                async for data in response.aiter_bytes():
                    for chunk in reader.received(data):
                        yield _unless_error(chunk)
                    if reader.is_done:
                        return
        raise UpstreamFailed("the upstream ended its stream in the middle; try again")

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._streams >= self._max_streams:
            raise Overloaded(f"the upstream has its {self._max_streams} requests at a time; try again", retry_after_s=1.0)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Any, *, silence_s: float, at_root: bool = False
    ) -> AsyncIterator[httpx.Response]:
        import httpx

        place = self._place
        address = await self._addresses.find()
        host = f"[{address}]" if ":" in address else address
        headers = {"host": _host_header(place.scheme, place.host, place.port), "accept": f"{JSON}, text/event-stream"}
        key = self._key()
        if key:
            headers["authorization"] = f"Bearer {key}"
        content = None
        if body is not None:
            headers["content-type"] = JSON
            content = msgspec.json.encode(body)
        request = self._client.build_request(
            method,
            f"{place.scheme}://{host}:{place.port}{'' if at_root else place.path}{path}",
            headers=headers,
            content=content,
            timeout=httpx.Timeout(silence_s, connect=CONNECT_S, write=WRITE_S, pool=CONNECT_S),
            extensions={"sni_hostname": place.host},
        )
        try:
            with _named_failures(place.host):
                response = await self._client.send(request, stream=True)
        except UpstreamFailed:
            self._addresses.forget()
            raise
        try:
            yield response
        finally:
            await asyncio.shield(response.aclose())


class _named_failures:  # noqa: N801  reads as what it does, and costs less than a generator for every event
    """Within it, failures of the connection become UpstreamFailed."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        import httpx

        if isinstance(problem, httpx.TimeoutException):
            raise UpstreamFailed(f"the upstream {self._host} did not answer in time; try again") from None
        if isinstance(problem, httpx.HTTPError | httpx.StreamError):
            what = "cannot be reached" if isinstance(problem, httpx.ConnectError) else "broke the connection off"
            raise UpstreamFailed(f"the upstream {self._host} {what}; try again") from None


def _host_header(scheme: str, host: str, port: int) -> str:
    named = f"[{host}]" if ":" in host else host
    return named if port == (443 if scheme == "https" else 80) else f"{named}:{port}"


async def _whole(response: httpx.Response, limit_bytes: int = MAX_ANSWER_BYTES) -> bytes:
    parts, size = [], 0
    with _named_failures(response.url.host):
        async for part in response.aiter_bytes():
            size += len(part)
            if size > limit_bytes:
                raise UpstreamFailed(f"the upstream's answer has more than {limit_bytes:,} bytes")
            parts.append(part)
    return b"".join(parts)


async def _check(response: httpx.Response) -> None:
    """Raises what a status other than 200 means to whoever called us."""
    status = response.status_code
    if status == 200:
        return
    if 300 <= status < 400:
        raise UpstreamFailed("the upstream answered with a redirect, and none is followed; deploy the address that it leads to")
    try:
        found = read_object(await _whole(response, MAX_ERROR_BYTES))
    except UpstreamFailed:
        found = {}
    raise _problem(status, found, response.headers.get("retry-after"))


def _problem(status: int, found: dict[str, Any], retry_after: str | None) -> ModeltapError:
    said = _message(found)
    told = f": {said}" if said else ""
    if status == 400 and _is_about_context(found):
        return ContextTooLong(said or "the text is too long for the upstream")
    if status in (400, 413, 422):
        return InvalidInput(said or "the upstream does not take this request, and does not say why")
    if status in (401, 403):
        return UpstreamFailed("the upstream does not take this server's key; its owner must set another", retry_after_s=60.0)
    if status == 404:
        return UpstreamFailed(f"the upstream does not know the model or the path{told}", retry_after_s=60.0)
    wait_s = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 1.0
    if status in (429, 503):
        return Overloaded(f"the upstream has too much to do{told}", retry_after_s=min(wait_s, LONGEST_WAIT_S))
    return UpstreamFailed(f"the upstream failed with status {status}{told}")


def _unless_error(found: dict[str, Any]) -> dict[str, Any]:
    """The object; raises what it says where it is an error with a status of 200, as within a stream."""
    error = found.get("error")
    if error is None:
        return found
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) else 0
    if 400 <= status < 600:
        raise _problem(status, found, None)
    raise UpstreamFailed(f"the upstream failed: {_message(found)}")


def _is_about_context(found: dict[str, Any]) -> bool:
    error = found.get("error", found)
    return isinstance(error, dict) and bool({error.get("code"), error.get("type")} & CONTEXT_CODES)


def _message(found: dict[str, Any]) -> str:
    """What its error says, on one line; servers disagree on where that stands."""
    error = found.get("error", found)
    said = error.get("message", error.get("detail", "")) if isinstance(error, dict) else error
    text = said if isinstance(said, str) else ""
    return " ".join(text.split())[:LONGEST_MESSAGE]
