"""A tiny language model as the engines load it, made once a session, and somebody who asks an engine for texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from modeltap.bundle.golden import Golden
from modeltap.data.tokenizer import Tokenizer, open_tokenizer
from modeltap.domain.generation import FinishReason, GenerationRequest, Sampling, TokenDelta, TokenEngine
from modeltap.domain.model import Language
from modeltap.errors import ModeltapError
from tiny_language import CONTEXT, files_of, make_tiny_llama

WAIT_S = 120
Result = TypeVar("Result")
NO_GOLDEN = Golden(rows=[], answers={}, environment={})
_made: dict[str, Path] = {}


class Tiny(NamedTuple):
    """The model's files, and what is known of it."""

    files: dict[str, Path]
    language: Language
    tokenizer: Tokenizer

    def ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text))


def tiny_model(factory: pytest.TempPathFactory) -> Tiny:
    """Float32, and so is what it keeps of what it read."""
    if "model" not in _made:
        from modeltap.compression.openvino import convert

        folder = make_tiny_llama(factory.mktemp("tiny"))
        convert(folder, folder, weights="float32")
        _made["model"] = folder
    files = files_of(_made["model"])
    tokenizer = open_tokenizer(files)
    language = Language(
        family="llama", context_tokens=CONTEXT, vocabulary=tokenizer.vocabulary, parameters=100_000, cache="float32"
    )
    return Tiny(files, language, tokenizer)


class Told(NamedTuple):
    """All that was told of one text."""

    ids: tuple[int, ...]
    text: str
    finish: FinishReason | None
    logprobs: tuple[float, ...]
    prompt_logprobs: tuple[float | None, ...]
    num_deltas: int


class Asked:
    """One text that an engine was asked for."""

    def __init__(self) -> None:
        self.heard: list[TokenDelta | ModeltapError] = []
        self._is_over = asyncio.Event()
        self._has_begun = asyncio.Event()

    def deliver(self, news: TokenDelta | ModeltapError) -> None:
        assert not self._is_over.is_set(), "nothing comes after the end"
        self.heard.append(news)
        self._has_begun.set()
        if isinstance(news, ModeltapError) or news.finish is not None:
            self._is_over.set()

    @property
    def is_over(self) -> bool:
        return self._is_over.is_set()

    async def begun(self) -> None:
        await asyncio.wait_for(self._has_begun.wait(), WAIT_S)

    async def told(self) -> Told:
        """All of it, once it is whole. Raises what it ended in."""
        await asyncio.wait_for(self._is_over.wait(), WAIT_S)
        if isinstance(self.heard[-1], ModeltapError):
            raise self.heard[-1]
        deltas = [news for news in self.heard if isinstance(news, TokenDelta)]
        return Told(
            ids=tuple(token for delta in deltas for token in delta.ids),
            text="".join(delta.text for delta in deltas),
            finish=deltas[-1].finish,
            logprobs=tuple(value for delta in deltas for value in delta.logprobs),
            prompt_logprobs=deltas[0].prompt_logprobs,
            num_deltas=len(deltas),
        )


def ask(engine: TokenEngine, name: str, prompt_ids: tuple[int, ...], **sampling: Any) -> Asked:
    """Greedy, unless something else is said."""
    asked = Asked()
    wanted = Sampling(**{"max_tokens": 12, "temperature": 0.0, **sampling})
    engine.submit(GenerationRequest(name, prompt_ids, wanted), asked.deliver)
    return asked


class Running:
    """An engine and the event loop that it lives on, for several tests."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self.runner = asyncio.Runner()
        self.engine: Any = self.runner.run(start())
        self._count = 0

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def told(self, prompt_ids: tuple[int, ...], **sampling: Any) -> Told:
        self._count += 1
        name = f"text {self._count}"

        async def flow() -> Told:
            return await ask(self.engine, name, prompt_ids, **sampling).told()

        return self.run(flow())

    def close(self) -> None:
        self.run(self.engine.close())
        self.runner.close()
