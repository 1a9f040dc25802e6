"""Golden prompts of a language model, recorded by an engine process like the one that will serve it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from modeltap.bundle.golden import Golden
from modeltap.bundle.golden_prompts import MAX_ANSWER_IDS, Prompt
from modeltap.compression.asking import go_on
from modeltap.data.tokenizer import open_tokenizer
from modeltap.domain.generation import TokenEngine
from modeltap.domain.model import Language
from modeltap.engines.tokens_openvino import tokens_environment
from modeltap.engines.tokens_process import TokenProcess
from modeltap.engines.tokens_wire import EngineSettings

TEXTS = (
    "The",
    "Once upon a time there was",
    "1, 2, 3, 4,",
    "def add(a, b):\n    return",
    '{"name": "',
    "Grüße aus 東京! 🙂",
)
"""For a model of which nothing is known: words, numbers, code, and characters of several bytes."""


def empty_golden() -> Golden:
    """With which a model is started before anything was recorded."""
    return Golden(rows=[], answers={}, environment=tokens_environment())


def record_golden_prompts(
    files: Mapping[str, Path], language: Language, texts: Sequence[str] = TEXTS, *, threads: int = 0
) -> Golden:
    """The texts with what the model goes on with. Starts a process, blocks until it has answered, and ends it.

    files: of the bundle, with its OpenVINO form; no golden file is needed. threads: of the engine, 0 as many as it has where it
    serves. Raises Broken if the model does not load.
    """

    async def record() -> Golden:
        settings = EngineSettings(threads=threads)
        engine = await TokenProcess.start("recording", files, language, empty_golden(), settings=settings)
        try:
            return await golden_of(engine, files, language, texts)
        finally:
            await engine.close()

    return asyncio.run(record())


async def golden_of(engine: TokenEngine, files: Mapping[str, Path], language: Language, texts: Sequence[str]) -> Golden:
    """Of an engine that runs and does nothing else. A text that the model has no room for is left out."""
    tokenizer = open_tokenizer(files)
    prompts = []
    for number, text in enumerate(texts):
        ids = tuple(tokenizer.encode(text))
        if ids and len(ids) < language.context_tokens:
            found = await go_on(engine, ids, MAX_ANSWER_IDS, request_id=f"golden-{number}")
            prompts.append(Prompt(text=text, ids=ids, answer=tuple(found)))
    return Golden(rows=[], answers={}, environment=tokens_environment(), prompts=tuple(prompts))
