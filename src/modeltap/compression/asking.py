"""What is asked of an engine of tokens to judge a model: whole answers, losses of documents, and how fast it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from modeltap.domain.generation import GenerationRequest, Sampling, TokenDelta, TokenEngine
from modeltap.errors import Broken, ModeltapError

AT_ONCE = 8
"""Documents that are read side by side."""


async def answer(engine: TokenEngine, request_id: str, prompt_ids: Sequence[int], sampling: Sampling) -> list[TokenDelta]:
    """All deltas, when the last one came. Raises what the text ended in."""
    deltas: list[TokenDelta] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def deliver(told: TokenDelta | ModeltapError) -> None:
        if ended.done():
            return
        if isinstance(told, ModeltapError):
            ended.set_exception(told)
            return
        deltas.append(told)
        if told.finish is not None:
            ended.set_result(None)

    engine.submit(GenerationRequest(request_id, tuple(prompt_ids), sampling), deliver)
    try:
        await ended
    except asyncio.CancelledError:
        engine.cancel(request_id)
        raise
    return deltas


async def go_on(engine: TokenEngine, prompt_ids: Sequence[int], num_ids: int, *, request_id: str) -> list[int]:
    """The most likely ids after the prompt."""
    deltas = await answer(engine, request_id, prompt_ids, Sampling(max_tokens=num_ids, temperature=0.0))
    return [token for delta in deltas for token in delta.ids]


async def document_nats(engine: TokenEngine, pieces: Sequence[Sequence[int]], *, name: str) -> list[float]:
    """Of each piece of text the sum over its tokens but the first of -ln p, given those before. Pieces have two ids or more.

    `name` begins the ids of the requests. Raises Broken where the engine tells other than it was asked.
    """
    free = asyncio.Semaphore(AT_ONCE)
    reading = Sampling(max_tokens=1, temperature=0.0, echo=True, logprobs=True, ignore_end=True)

    async def one(number: int, ids: Sequence[int]) -> float:
        async with free:
            deltas = await answer(engine, f"{name}-{number}", ids, reading)
        told = [value for delta in deltas for value in delta.prompt_logprobs]
        if len(told) != len(ids) or any(value is None for value in told[1:]):
            raise Broken(f"the engine gave {len(told)} log-probabilities of a prompt of {len(ids)} tokens")
        return -sum(value for value in told[1:] if value is not None)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number, ids)) for number, ids in enumerate(pieces)]
    return [task.result() for task in tasks]


async def tokens_a_second(
    engine: TokenEngine, prompt_ids: Sequence[int], *, num_streams: int, num_tokens: int, name: str
) -> float:
    """While so many texts of so many tokens are generated side by side after the same prompt."""
    writing = Sampling(max_tokens=num_tokens, temperature=0.0, ignore_end=True)
    start_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(answer(engine, f"{name}-{number}", prompt_ids, writing)) for number in range(num_streams)]
    spent_s = time.perf_counter() - start_s
    return sum(len(delta.ids) for task in tasks for delta in task.result()) / spent_s
