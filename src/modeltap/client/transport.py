"""Requests and answers over HTTP: the key, time limits, tries, streams, and failures turned into named errors."""

from __future__ import annotations

import os
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from modeltap import __version__
from modeltap.client.errors import ApiError, ConnectionFailed, error_from, facts_of_openai
from modeltap.client.retrying import pause_s, plan_retry, wait_asked_s
from modeltap.errors import InvalidValue, ModeltapError, StorageFailed

CONNECT_TIMEOUT_S = 5.0
MAX_RETRIES = 2
REPEATABLE = frozenset({"GET", "HEAD", "PUT"})
"""Methods that do the same once or twice. DELETE is none: the second one is told that there is no such thing."""
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
PEM_END = "-----END CERTIFICATE-----"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
QUEUES = re.compile(r"/api/(jobs(/[^/]+/resume)?|datasets|batches)")
"""Paths of calls that queue a job."""
Params = Mapping[str, Any]


class Address(NamedTuple):
    """Where a server is, and the key it wants."""

    url: str
    key: str | None
    certificate: str | None = None
    """A file on this machine with the certificate that the server has, where nobody else vouches for it."""


class Answered(NamedTuple):
    """An answer that was read to its end."""

    status: int
    reason: str
    headers: httpx.Headers
    content: bytes


class Transport:
    """Sends requests to one server. `locate`, where given, is asked again when the server moved to another port.

    timeout_s: of a call in all, with its tries and the waits between them; of an upload or download, the longest silence.
    max_retries: how often a call is sent again at the most, by the rules of `retrying`.
    tenant: whom to act for, of the home's admin key; other keys act for their own tenant.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout_s: float,
        max_retries: int = MAX_RETRIES,
        tenant: str | None = None,
        locate: Callable[[], Address] | None = None,
    ) -> None:
        if not timeout_s > 0:
            raise InvalidValue(f"timeout_s is {timeout_s!r}; give seconds, more than 0")
        if max_retries < 0:
            raise InvalidValue(f"max_retries is {max_retries!r}; give 0 or more")
        self.timeout_s = timeout_s
        self.max_retries = max_retries
        self._tenant = tenant
        self._locate = locate
        self.job_terms: Params = {}
        """Sent with every call that queues a job: priority, threads, memory_bytes."""
        self._open(address)

    def _open(self, address: Address) -> None:
        self.address = address._replace(url=_checked_url(address.url))
        headers = {"user-agent": f"modeltap/{__version__}"}
        if self.address.key:
            headers["authorization"] = f"Bearer {self.address.key}"
        if self._tenant is not None:
            headers["modeltap-tenant"] = self._tenant
        parts = urlsplit(self.address.url)
        self._http = httpx.Client(
            base_url=self.address.url,
            headers=headers,
            timeout=httpx.Timeout(self.timeout_s, connect=min(CONNECT_TIMEOUT_S, self.timeout_s)),
            verify=_trusted(self.address.certificate) if parts.scheme == "https" else False,
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
        return self.decoded(self.ask(method, path, params=params, content=content, headers=sent, timeout_s=timeout_s))

    def text(self, path: str) -> str:
        """The answer as text: a report, a recipe."""
        return self.ask("GET", path).content.decode("utf-8", "replace")

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        content: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answered:
        """The answer, after as many tries as it takes and are allowed. Raises the named error of the last refusal.

        What is read from an iterator is sent once. What the server may have begun is sent again only where it does it once
        all the same: by its method, or because of an Idempotency-Key.
        """
        if method == "POST" and QUEUES.fullmatch(path):
            params = {**(params or {}), **self.job_terms}
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        is_upload = isinstance(content, Iterator)
        repeatable = method in REPEATABLE or "idempotency-key" in (headers or {})
        give_up_at_s = None if is_upload else time.monotonic() + limit_s

        def request() -> httpx.Request:
            left_s = limit_s if give_up_at_s is None else max(0.001, give_up_at_s - time.monotonic())
            limits = httpx.Timeout(left_s, connect=min(CONNECT_TIMEOUT_S, left_s))
            return self._http.build_request(
                method, path, params=_present(params), content=content, headers=headers, timeout=limits
            )

        num_tries = 0
        with self._failures_named():
            while True:
                num_tries += 1
                wait_s: float | None
                try:
                    answered = self._send(request(), give_up_at_s)
                except httpx.TransportError as problem:
                    if not (repeatable or isinstance(problem, NOT_SENT)):
                        raise
                    wait_s = pause_s(num_tries, chance=random.random())  # noqa: S311  no secret
                    if not self._may_retry(num_tries, wait_s, give_up_at_s):
                        raise
                    time.sleep(wait_s)
                    self.relocate()
                    continue
                if answered.status < 400:
                    return answered
                wait_s = plan_retry(
                    num_tries,
                    status=answered.status,
                    headers=answered.headers,
                    repeatable=repeatable,
                    now_s=time.time(),
                    chance=random.random(),  # noqa: S311  no secret
                )
                if wait_s is None or not self._may_retry(num_tries, wait_s, give_up_at_s):
                    raise refusal(answered, f"{method} {self.address.url}{path}")
                time.sleep(wait_s)

    def once(self, method: str, path: str, *, content: bytes, headers: Mapping[str, str]) -> Answered:
        """The answer of a single try, whatever its status is. Raises ConnectionFailed."""
        with self._failures_named():
            request = self._http.build_request(method, path, content=content, headers=headers)
            return self._send(request, time.monotonic() + self.timeout_s)

    def _may_retry(self, num_tries: int, wait_s: float, give_up_at_s: float | None) -> bool:
        """Whether there is a try left, and it begins within the time. An upload, which has no such time, is used up."""
        return num_tries <= self.max_retries and give_up_at_s is not None and time.monotonic() + wait_s < give_up_at_s

    def _send(self, request: httpx.Request, give_up_at_s: float | None) -> Answered:
        response = self._http.send(request, stream=True)
        with closing(response):
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if give_up_at_s is not None and time.monotonic() > give_up_at_s:
                    raise httpx.ReadTimeout("the answer was not complete in time", request=request)
            return Answered(response.status_code, response.reason_phrase, response.headers, bytes(body))

    def decoded(self, answered: Answered) -> Any:
        """Its JSON. Raises ApiError where it is something else."""
        try:
            return msgspec.json.decode(answered.content)
        except msgspec.DecodeError:
            kind = answered.headers.get("content-type", "no content type")
            raise ApiError(
                f"{self.address.url} answered {kind} where JSON is expected; is that the URL of a modeltap server?",
                status=answered.status,
            ) from None

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        method: str = "GET",
        params: Params | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer whose body is read bit by bit; `body` is sent as JSON. Raises ConnectionFailed also when it breaks in the
        middle."""
        sent = dict(headers or {})
        content = None
        if body is not None:
            content = msgspec.json.encode(body, enc_hook=plain_value)
            sent["content-type"] = "application/json"
        with self._failures_named():
            limit = self._http.timeout if timeout_s is None else httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
            asked = self._http.stream(method, path, params=_present(params), content=content, headers=sent, timeout=limit)
            with asked as response:
                if response.is_error:
                    answered = Answered(response.status_code, response.reason_phrase, response.headers, response.read())
                    raise refusal(answered, f"{method} {self.address.url}{path}")
                yield response

    def download(
        self, path: str, target: Path, *, params: Params | None = None, on_bytes: Callable[[int], None] | None = None
    ) -> int:
        """The number of bytes written to `target`, which appears only when it is complete."""
        partial = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with self.stream(path, params=params, timeout_s=max(self.timeout_s, 600.0)) as response, partial.open("wb") as file:
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

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as problem:
            url, reason = self.address.url, _reason(problem)
            raise ConnectionFailed(f"no server answers at {url} ({reason}); {_advice(url, problem)}") from None
        except httpx.TimeoutException:
            advice = "try again, or give the client a longer timeout_s"
            raise ConnectionFailed(f"{self.address.url} did not answer in time; {advice}") from None
        except httpx.TransportError as problem:
            raise ConnectionFailed(f"the connection to {self.address.url} broke ({_reason(problem)}); try again") from None


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


def refusal(answered: Answered, asked: str) -> ModeltapError:
    """The named error that the answer tells of; `asked` is the method and URL, for an answer that is not modeltap's."""
    try:
        facts = msgspec.json.decode(answered.content)
    except msgspec.DecodeError:
        facts = None
    request_id = answered.headers.get("x-request-id")
    if isinstance(facts, dict) and isinstance(facts.get("error"), dict):
        facts = facts_of_openai(facts["error"], status=answered.status)
    if isinstance(facts, dict) and "detail" in facts:
        wait_s = wait_asked_s(answered.headers, now_s=time.time())
        return error_from(facts, status=answered.status, request_id=request_id, retry_after_s=wait_s)
    error = ApiError(f"{asked} was answered with {answered.status} {answered.reason}", status=answered.status)
    error.request_id = request_id
    return error


def _trusted(certificate: str | None) -> ssl.SSLContext | bool:
    """What the server must show: this very certificate, whatever name it is for; without one what others are asked for."""
    try:
        text = Path(certificate or "").read_text(encoding="ascii") if certificate else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    end = text.find(PEM_END)
    if end < 0:
        return True
    context = ssl.create_default_context(cadata=text[: end + len(PEM_END)] + "\n")
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


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
