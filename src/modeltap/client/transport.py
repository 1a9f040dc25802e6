"""Requests and answers over HTTP: the key, time limits, streams, and failures turned into named errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from modeltap import __version__
from modeltap.client.errors import ApiError, ConnectionFailed, error_from
from modeltap.errors import InvalidValue, ModeltapError, StorageFailed

CONNECT_TIMEOUT_S = 5.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
Params = Mapping[str, Any]


class Address(NamedTuple):
    """Where a server is, and the key it wants."""

    url: str
    key: str | None


class Transport:
    """Sends requests to one server. `locate`, where given, is asked again when the server moved to another port."""

    def __init__(self, address: Address, *, timeout_s: float, locate: Callable[[], Address] | None = None) -> None:
        self.timeout_s = timeout_s
        self._locate = locate
        self._open(address)

    def _open(self, address: Address) -> None:
        self.address = Address(_checked_url(address.url), address.key)
        headers = {"user-agent": f"modeltap/{__version__}"}
        if self.address.key:
            headers["authorization"] = f"Bearer {self.address.key}"
        parts = urlsplit(self.address.url)
        self._http = httpx.Client(
            base_url=self.address.url,
            headers=headers,
            timeout=httpx.Timeout(self.timeout_s, connect=min(CONNECT_TIMEOUT_S, self.timeout_s)),
            verify=parts.scheme == "https",  # loading the certificates takes longer than a request
            trust_env=parts.hostname not in LOOPBACK,  # a proxy cannot reach this machine
        )

    def close(self) -> None:
        self._http.close()

    def relocate(self) -> None:
        """Look again where the server is; nothing changes where that cannot be found out."""
        if self._locate is None:
            return
        try:
            address = self._locate()
        except ConnectionFailed:
            return
        if address != self.address:
            self._http.close()
            self._open(address)

    def json(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Any = None,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """The decoded JSON answer. `body` is sent as JSON, `content` as it is. Raises the named error of a refusal."""
        sent = dict(headers or {})
        if body is not None:
            content = msgspec.json.encode(body, enc_hook=plain_value)
            sent["content-type"] = "application/json"
        response = self._request(method, path, params=params, content=content, headers=sent, timeout_s=timeout_s)
        return self._decoded(response)

    def text(self, path: str) -> str:
        """The answer as text: a report, a recipe."""
        return self._request("GET", path).text

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer whose body is read bit by bit. Raises ConnectionFailed also when it breaks in the middle."""
        with self._failures_named():
            limit = self._http.timeout if timeout_s is None else httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
            with self._http.stream("GET", path, params=_present(params), headers=headers, timeout=limit) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield response

    def download(self, path: str, target: Path, *, on_bytes: Callable[[int], None] | None = None) -> int:
        """The number of bytes written to `target`, which appears only when it is complete."""
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with self.stream(path, timeout_s=max(self.timeout_s, 600.0)) as response, partial.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    if on_bytes is not None:
                        on_bytes(file.tell())
                size_bytes = file.tell()
            partial.replace(target)
        except OSError as problem:
            raise StorageFailed(f"'{target}' cannot be written: {problem.strerror or problem}") from None
        finally:
            partial.unlink(missing_ok=True)
        return size_bytes

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        limit = self._http.timeout if timeout_s is None else httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        with self._failures_named():
            response = self._http.request(
                method, path, params=_present(params), content=content, headers=headers, timeout=limit
            )
        if response.is_error:
            raise _refusal(response)
        return response

    def _decoded(self, response: httpx.Response) -> Any:
        try:
            return msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            raise self._not_modeltap(response) from None

    def _not_modeltap(self, response: httpx.Response) -> ModeltapError:
        kind = response.headers.get("content-type", "no content type")
        return ApiError(
            f"{self.address.url} answered {kind} where JSON is expected; is that the URL of a modeltap server?",
            status=response.status_code,
        )

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        url = self.address.url
        try:
            yield
        except httpx.ConnectError as problem:
            raise ConnectionFailed(f"no server answers at {url} ({_reason(problem)}); {_advice(url, problem)}") from None
        except httpx.TimeoutException:
            raise ConnectionFailed(f"{url} did not answer in time; try again, or give the client a longer timeout_s") from None
        except httpx.TransportError as problem:
            raise ConnectionFailed(f"the connection to {url} broke ({_reason(problem)}); try again") from None


def segment(value: str) -> str:
    """A name or reference as one piece of a path."""
    if not isinstance(value, str) or not value or value in (".", ".."):
        raise InvalidValue(f"{value!r} is not a name; give the name, or a reference such as name@3")
    return quote(value, safe="@")


def plain_value(value: Any) -> Any:
    """numpy's scalars and arrays, paths, and whatever else knows how to become plain, for JSON."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise InvalidValue(f"a value of type {type(value).__name__} cannot be sent; give numbers, texts, lists and dicts")


def _present(params: Params | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None and value != []}


def _refusal(response: httpx.Response) -> ModeltapError:
    try:
        facts = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        facts = None
    if isinstance(facts, dict) and "detail" in facts:
        return error_from(facts, status=response.status_code)
    where = f"{response.request.method} {response.request.url.copy_with(query=None)}"
    return ApiError(f"{where} was answered with {response.status_code} {response.reason_phrase}", status=response.status_code)


def _reason(problem: Exception) -> str:
    return str(problem).strip() or type(problem).__name__


def _advice(url: str, problem: Exception) -> str:
    if "certificate" in str(problem).lower():
        return "where the certificate is your own, set SSL_CERT_FILE to its .pem file"
    return "start one with: modeltap up" if urlsplit(url).hostname in LOOPBACK else "check the URL and the network"


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(f"'{url}' is not the URL of a server; write it as http://127.0.0.1:8000")
    return url.rstrip("/")
