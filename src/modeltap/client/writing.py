"""What a language model writes, piece by piece while it comes: chats and completions over /v1."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import httpx
import msgspec

from modeltap.client.errors import ApiError, ConnectionFailed, error_from, facts_of_openai
from modeltap.client.events import read_frames
from modeltap.client.receipt import Receipt, read_receipt
from modeltap.client.retrying import MAX_WAIT_S
from modeltap.client.transport import Transport
from modeltap.errors import InvalidValue, RateLimited, Unavailable

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
DONE = "[DONE]"
Messages = str | Sequence[Mapping[str, Any]]


class Written:
    """A text while it is written. Iterating gives its pieces, `read` all of it; leaving its `with`, or `close`, stops it.

        with client.chat("tales", "Who are you?") as written:
            for piece in written:
                print(piece, end="", flush=True)

    Iterating raises the named error that the text ended in, and ConnectionFailed. What was written until a text was stopped
    is charged.
    """

    def __init__(self, response: httpx.Response, open_until: ExitStack) -> None:
        self._open_until = open_until
        self._pieces = self._read(response)
        self.text = ""
        """What came until now."""
        self.finish_reason: str | None = None
        """Once it is whole: stop, length, …"""
        self.usage: dict[str, Any] = {}
        """Once it is whole: prompt_tokens, completion_tokens, total_tokens."""
        self.receipt: Receipt = read_receipt(response.headers)

    @property
    def model(self) -> str:
        """The version that writes."""
        return self.receipt.model or ""

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def read(self) -> str:
        """The whole text."""
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        """Stops it, if it is not whole yet."""
        self._pieces.close()
        self._open_until.close()

    def __enter__(self) -> Written:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read(self, response: httpx.Response) -> Generator[str, None, None]:
        with self._open_until:
            is_whole = False
            for frame in read_frames(response.iter_bytes()):
                if frame.data == DONE:
                    is_whole = True  # what may follow is read, so that the connection can be used again
                    continue
                piece = self._taken(frame.data)
                if piece:
                    self.text += piece
                    yield piece
            if not is_whole:
                raise ConnectionFailed("the server ended the text before it was whole; try again")

    def _taken(self, data: str) -> str:
        """The text in an event. Raises the error that it tells of, ApiError for one that is not OpenAI's."""
        try:
            event = msgspec.json.decode(data)
            if isinstance(event.get("error"), dict):
                raise error_from(facts_of_openai(event["error"]), request_id=self.receipt.request_id)
            self.usage = event.get("usage") or self.usage
            piece = ""
            for choice in event.get("choices") or ():
                self.finish_reason = choice.get("finish_reason") or self.finish_reason
                piece += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        except (msgspec.DecodeError, AttributeError, TypeError) as problem:
            raise ApiError(f"the server sent an event that this client does not understand: {problem}") from None
        return piece


def write(transport: Transport, path: str, body: Mapping[str, Any]) -> Written:
    """The text, begun. A model that is being loaded is waited for, and so is a rate, as long as the client's time allows.

    Raises the named error of a refusal.
    """
    give_up_at_s = time.monotonic() + transport.timeout_s
    num_tries = 0
    while True:
        num_tries += 1
        open_until = ExitStack()
        try:
            response = open_until.enter_context(transport.stream(path, method="POST", body=body))
        except (RateLimited, Unavailable) as problem:  # refused at the door: nothing was written, nothing is charged
            wait_s = problem.retry_after_s
            if isinstance(problem, ConnectionFailed) or wait_s is None or wait_s > MAX_WAIT_S:
                raise
            if num_tries > transport.max_retries or time.monotonic() + wait_s > give_up_at_s:
                raise
            time.sleep(wait_s)
            continue
        return Written(response, open_until)


def chat_body(
    model: str,
    messages: Messages,
    *,
    system: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A text alone is a message of the user; `system` goes before all."""
    said = [{"role": "user", "content": messages}] if isinstance(messages, str) else [dict(one) for one in messages]
    if system is not None:
        said.insert(0, {"role": "system", "content": system})
    if not said:
        raise InvalidValue("there are no messages; give a text, or a list of {'role', 'content'}")
    return {"model": model, "messages": said, **_shared(max_tokens, temperature, options)}


def completion_body(
    model: str,
    prompt: str,
    *,
    max_tokens: int | None = None,
    temperature: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, **_shared(max_tokens, temperature, options)}


def _shared(max_tokens: int | None, temperature: float | None, options: Mapping[str, Any] | None) -> dict[str, Any]:
    own = {"max_tokens": max_tokens, "temperature": temperature}
    given = {name: value for name, value in own.items() if value is not None}
    return {**(options or {}), **given, "stream": True, "stream_options": {"include_usage": True}}
