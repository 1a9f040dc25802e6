"""POST /v1/completions, and the old path below /v1/engines: texts that go on after a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from modeltap.api.asgi import Answer, Receive, Scope
from modeltap.api.body import apart, read_body
from modeltap.api.openai.chunks import ChunkFrames, write_answer
from modeltap.api.openai.events import EventStream
from modeltap.api.openai.fields import CompletionRequest
from modeltap.api.openai.forwarding import forward
from modeltap.api.openai.logprobs import CompletionLogprobs, joined_logprobs
from modeltap.api.openai.problems import refused
from modeltap.api.openai.prompts import Prompt, read_prompts
from modeltap.api.openai.reading import decode_request
from modeltap.api.openai.sampling import check_top_logprobs, room_of, sampling_of
from modeltap.api.openai.writing import (
    INLINE_BYTES,
    check_repeatable,
    find_model,
    requests_of,
)
from modeltap.domain.generation import MAX_CHOICES, GenerationRequest, TokenDelta
from modeltap.serving.call import Call
from modeltap.serving.language import LanguageVersion
from modeltap.serving.plane import Plane
from modeltap.serving.upstream import UpstreamVersion

DEFAULT_MAX_TOKENS = 16
"""OpenAI's own for completions."""
_DECODER = msgspec.json.Decoder(CompletionRequest)


@dataclass(frozen=True)
class Question:
    """A completion that was read: what is written, and how it is shown. `candidates` texts a prompt, of which `shown` are
    answered."""

    version: LanguageVersion
    request: CompletionRequest
    prompts: list[Prompt]
    requests: list[GenerationRequest]
    shown: int
    candidates: int

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.ids) for prompt in self.prompts)

    def prompt_of(self, number: int) -> Prompt:
        return self.prompts[number // self.candidates]


class Completions:
    def __init__(self, plane: Plane, *, max_body_bytes: int) -> None:
        self._plane = plane
        self._max_body_bytes = max_body_bytes

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer | EventStream:
        """The whole answer, or the stream. Raises InvalidInput, ContextTooLong, ModelNotFound, LimitReached, Unavailable."""
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        return await self._write(scope, call, decode_request(body, _DECODER), len(body))

    async def answer_engine(self, scope: Scope, receive: Receive, call: Call) -> Answer | EventStream:
        """The same; the path names the model, and the body need not."""
        body = await read_body(scope, receive, limit_bytes=self._max_body_bytes)
        decode_request(body, _ANY)
        fields: Any = msgspec.json.decode(body)
        if not isinstance(fields, dict):
            raise refused("prompt", 'the body is an object such as {"prompt": "…"}')
        named = msgspec.json.encode({**fields, "model": scope["path_params"]["engine"]})
        return await self._write(scope, call, decode_request(named, _DECODER), len(body))

    async def _write(self, scope: Scope, call: Call, request: CompletionRequest, num_bytes: int) -> Answer | EventStream:
        check_repeatable(scope, stream=request.stream)
        version = find_model(self._plane, call, request.model)
        if isinstance(version, UpstreamVersion):
            return await forward(self._plane, call, version, request)
        with version.held():
            question = await apart(num_bytes, lambda: read_question(version, request), inline_bytes=INLINE_BYTES)
            return await write_answer(
                self._plane,
                call,
                question,
                encode=lambda head: _Chunks(question, head).encode,
                choices=lambda written: [
                    _choice(question, place, number, written[number]) for place, number in enumerate(_chosen(question, written))
                ],
            )


_ANY: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_question(version: LanguageVersion, request: CompletionRequest) -> Question:
    """Raises InvalidInput naming the field, ContextTooLong."""
    context_tokens = version.language.context_tokens
    shown = request.n or 1
    candidates = shown if request.best_of is None else request.best_of
    if candidates < shown:
        raise refused("best_of", f"'best_of' is {candidates}, less than 'n', which is {shown}; it is at least that")
    if candidates > shown and request.stream:
        raise refused("best_of", "the best of several texts is known when all are written; leave out 'stream' or 'best_of'")
    if request.suffix:
        raise refused("suffix", f"'{request.model}' does not write text between two others; leave out 'suffix'")
    check_top_logprobs("logprobs", request.logprobs)
    prompts = read_prompts(request.prompt, version.tokenizer, context_tokens=context_tokens)
    if len(prompts) * candidates > MAX_CHOICES:
        raise refused(
            "n", f"{len(prompts):,} prompts with {candidates} texts each are more than the {MAX_CHOICES} of one request"
        )
    if request.max_tokens == 0 and not request.echo:
        raise refused("max_tokens", "'max_tokens' is 0, which leaves nothing to answer without 'echo'; ask for 1 at least")
    has_logprobs = request.logprobs is not None
    requests: list[GenerationRequest] = []
    for prompt in prompts:
        max_tokens = room_of(
            len(prompt.ids), context_tokens, request.max_tokens, param="max_tokens", default=DEFAULT_MAX_TOKENS
        )
        sampling = sampling_of(
            request,
            max_tokens=max_tokens,
            logprobs=has_logprobs or candidates > shown,
            echo=bool(request.echo) and has_logprobs,
        )
        requests += requests_of(prompt.ids, sampling, candidates)
    return Question(version, request, prompts, requests, shown, candidates)


def _chosen(question: Question, written: list[TokenDelta]) -> list[int]:
    """The numbers of the texts that are answered: of each prompt's candidates those with the likeliest tokens."""
    chosen: list[int] = []
    for start in range(0, len(written), question.candidates):
        numbers = range(start, start + question.candidates)
        best = sorted(numbers, key=lambda number: -_likelihood(written[number])) if question.shown < len(numbers) else numbers
        chosen += list(best)[: question.shown]
    return chosen


def _likelihood(text: TokenDelta) -> float:
    """Of a token, on average."""
    return sum(text.logprobs) / len(text.logprobs) if text.logprobs else float("-inf")


def _choice(question: Question, place: int, number: int, text: TokenDelta) -> dict[str, Any]:
    request, prompt = question.request, question.prompt_of(number)
    logprobs = None
    if request.logprobs is not None:
        told = CompletionLogprobs(question.version.tokenizer, alternatives=request.logprobs)
        if request.echo:
            of_prompt = told.of_prompt(prompt.ids, text.prompt_logprobs)
            logprobs = joined_logprobs(of_prompt, told.of_text(text))
        else:
            logprobs = told.of_text(text)
    echoed = _echo(question, prompt) if request.echo else ""
    return {"index": place, "text": echoed + text.text, "logprobs": logprobs, "finish_reason": _reason(text)}


def _echo(question: Question, prompt: Prompt) -> str:
    return question.version.tokenizer.decode(prompt.ids) if prompt.text is None else prompt.text


def _reason(text: TokenDelta) -> str | None:
    return "stop" if text.finish == "cancelled" else text.finish


class _Chunks:
    """What came of a completion's texts, as events."""

    def __init__(self, question: Question, head: Mapping[str, Any]) -> None:
        self._question = question
        self._frames = ChunkFrames(head, "text", num_texts=len(question.requests), has_usage=question.request.has_usage)
        alternatives = question.request.logprobs
        self._logprobs = (
            None
            if alternatives is None
            else [CompletionLogprobs(question.version.tokenizer, alternatives=alternatives) for _ in question.requests]
        )
        self._begun: set[int] = set()

    def encode(self, taken: Mapping[int, TokenDelta]) -> bytes:
        return b"".join(self._chunk(number, delta) for number, delta in taken.items())

    def _chunk(self, number: int, delta: TokenDelta) -> bytes:
        question = self._question
        text, logprobs = delta.text, None
        if self._logprobs is not None:
            logprobs = self._logprobs[number].of_text(delta) if delta.ids else None
        if number not in self._begun and question.request.echo:
            prompt = question.prompt_of(number)
            text = _echo(question, prompt) + text
            if self._logprobs is not None:
                told = CompletionLogprobs(question.version.tokenizer, alternatives=question.request.logprobs or 0)
                of_prompt = told.of_prompt(prompt.ids, delta.prompt_logprobs)
                self._logprobs[number] = told
                logprobs = joined_logprobs(of_prompt, told.of_text(delta))
        self._begun.add(number)
        if not text and delta.finish is None and logprobs is None:
            return b""
        return self._frames.chunk(number, text, logprobs=logprobs, reason=_reason(delta))
