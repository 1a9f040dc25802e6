"""Requests of one call written to their end, or handed on as they come; what they used, in OpenAI's words."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from modeltap.api.asgi import Scope, header
from modeltap.api.openai.events import EventStream
from modeltap.api.openai.problems import refused
from modeltap.api.openai.text_models import naming_model
from modeltap.domain.generation import GenerationRequest, Sampling, TokenDelta
from modeltap.errors import ContextTooLong, InvalidInput
from modeltap.serving.call import Call
from modeltap.serving.generating import Texts, join_deltas
from modeltap.serving.language import LanguageVersion
from modeltap.serving.plane import Plane
from modeltap.serving.upstream import UpstreamVersion

INLINE_BYTES = 4 * 1024
"""Up to here a prompt is read on the event loop; of a longer one the ids alone take milliseconds."""
SEEDS = 1 << 63
"""What engines take: whole numbers from 0 on."""
_numbers = itertools.count(1)

Encode = Callable[[Mapping[int, TokenDelta]], bytes]
"""What came, by text → the events that tell of it; may be empty."""


def find_model(plane: Plane, call: Call, name: str) -> LanguageVersion | UpstreamVersion:
    """The language model that a request names, here or elsewhere. Raises ModelNotFound, ModelNotAllowed, Loading,
    InvalidInput."""
    with naming_model(call, name):
        return plane.find_writer(call, name)


def requests_of(prompt_ids: tuple[int, ...], sampling: Sampling, count: int) -> list[GenerationRequest]:
    """So many texts after one prompt; with a seed each has one of its own, or all would be the same."""
    number = next(_numbers)
    seeds = [None if sampling.seed is None else (sampling.seed + place) % SEEDS for place in range(count)]
    return [
        GenerationRequest(f"{number}.{place}", prompt_ids, msgspec.structs.replace(sampling, seed=seed))
        for place, seed in enumerate(seeds)
    ]


async def write_whole(
    plane: Plane, call: Call, requests: Sequence[GenerationRequest], *, prompt_tokens: int
) -> list[TokenDelta]:
    """Every text to its end. Raises the failure of the call, and ClientGone."""
    texts = Texts(len(requests))
    plane.generate(call, requests, texts.deliver, prompt_tokens=prompt_tokens)
    parts: list[list[TokenDelta]] = [[] for _ in requests]
    try:
        while taken := await texts.take():
            for number, delta in taken.items():
                parts[number].append(delta)
                call.units += len(delta.ids)
    except asyncio.CancelledError:
        if call.cancel is not None:
            call.cancel()
        raise
    finally:
        let_go(call)
    return [join_deltas(deltas) for deltas in parts]


async def write_stream(
    plane: Plane,
    call: Call,
    requests: Sequence[GenerationRequest],
    *,
    prompt_tokens: int,
    encode: Encode,
    close: Callable[[int], bytes],
) -> EventStream:
    """The stream, once its first token is there: what fails before is an answer with a status of its own.

    `close` makes the last events, of the number of ids that were handed on; before they go the call is settled.
    """
    texts = Texts(len(requests))
    plane.generate(call, requests, texts.deliver, prompt_tokens=prompt_tokens)
    try:
        first = await texts.take()
    except asyncio.CancelledError:
        if call.cancel is not None:
            call.cancel()
        raise

    async def events() -> AsyncGenerator[bytes, None]:
        taken = first
        while taken:
            data = encode(taken)
            if data:
                yield data
            if texts.problem is not None:  # the client left meanwhile: what it was to get was not sent
                raise texts.problem
            num_ids = sum(len(delta.ids) for delta in taken.values())
            call.num_forwarded += num_ids
            call.units += num_ids
            taken = await texts.take()
        let_go(call)
        plane.settle(call)
        if plane.waits_for_disk:
            await plane.on_disk()
        yield close(call.num_forwarded)

    return EventStream(events())


def let_go(call: Call) -> None:
    """Nobody is to be told any more if the client leaves."""
    if call.connection is not None:
        call.connection.on_lost = None


def usage_of(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def check_repeatable(scope: Scope, *, stream: bool | None) -> None:
    """Raises InvalidInput for a stream that is to be repeated: only whole answers are kept."""
    if stream and header(scope, b"idempotency-key") is not None:
        raise refused("stream", "an Idempotency-Key is for answers that are kept whole; leave it out, or leave out 'stream'")


@contextmanager
def naming(param: str | None) -> Iterator[None]:
    """What the engine refuses is of this field; None where no field of the request is known to be it."""
    try:
        yield
    except InvalidInput as problem:
        if param is None or problem.fields or isinstance(problem, ContextTooLong):
            raise
        raise refused(param, problem.message) from None
