"""Parent and child side by side in engine processes: losses of the same documents, and speed in turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from modeltap.bundle.golden import Golden
from modeltap.compression.asking import document_nats, tokens_a_second
from modeltap.compression.evidence import Evidence
from modeltap.compression.golden import TEXTS, empty_golden, golden_of
from modeltap.domain.model import Language
from modeltap.engines.tokens_process import TokenProcess
from modeltap.engines.tokens_wire import EngineSettings

TURNS = 9
NUM_STREAMS = 4
MAX_NEW_TOKENS, MIN_NEW_TOKENS = 64, 4
TURN_S = 2.0
"""About what a turn of the slower model may take."""
LONGEST_PROMPT = 32


@dataclass(frozen=True)
class Side:
    """A bundle's files and facts."""

    name: str
    files: Mapping[str, Path]
    language: Language


@dataclass(frozen=True)
class Comparison:
    """Losses by document, speeds by turn; and what the child goes on with after the golden texts."""

    parent_nats: list[float]
    child_nats: list[float]
    num_tokens: list[int]
    parent_speeds: list[float]
    child_speeds: list[float]
    golden: Golden


def compare(
    parent: Side,
    child: Side,
    evidence: Evidence,
    *,
    golden_texts: tuple[str, ...],
    tell: Callable[[str], None],
    threads: int = 0,
) -> Comparison:
    """Starts two engine processes of so many threads (0: as where they serve), blocks until both were measured, and ends them.

    Raises Broken if one does not load.
    """
    return asyncio.run(_compare(parent, child, evidence, golden_texts or TEXTS, tell, EngineSettings(threads=threads)))


async def _compare(
    parent: Side,
    child: Side,
    evidence: Evidence,
    golden_texts: tuple[str, ...],
    tell: Callable[[str], None],
    settings: EngineSettings,
) -> Comparison:
    async with AsyncExitStack() as opened:
        engines = []
        for side in (parent, child):
            tell(f"loading {side.name}")
            engine = await TokenProcess.start(side.name, side.files, side.language, empty_golden(), settings=settings)
            opened.push_async_callback(engine.close)
            engines.append(engine)
        golden = await golden_of(engines[1], child.files, child.language, golden_texts)
        tell(f"reading {evidence.num_documents} documents with both")
        nats = [await document_nats(engine, evidence.pieces, name="document") for engine in engines]
        tell("measuring the speed of both in turns")
        speeds = await _speeds(engines, evidence.pieces[0][: min(LONGEST_PROMPT, parent.language.context_tokens // 2)], parent)
    return Comparison(
        parent_nats=evidence.by_document(nats[0]),
        child_nats=evidence.by_document(nats[1]),
        num_tokens=evidence.by_document(evidence.num_predicted),
        parent_speeds=speeds[0],
        child_speeds=speeds[1],
        golden=golden,
    )


async def _speeds(engines: list[TokenProcess], prompt: list[int], parent: Side) -> tuple[list[float], list[float]]:
    """Tokens a second of parent and child. Which of them goes first changes from turn to turn, so that a machine that grows
    slower or faster favours neither."""
    room = parent.language.context_tokens - len(prompt)

    async def turn(which: int, num_tokens: int) -> float:
        return await tokens_a_second(engines[which], prompt, num_streams=NUM_STREAMS, num_tokens=num_tokens, name="turn")

    # What is computed the first time is slower; that turn only says how long the others are to be.
    first = [await turn(which, min(MIN_NEW_TOKENS, room)) for which in (0, 1)]
    num_tokens = min(room, MAX_NEW_TOKENS, max(MIN_NEW_TOKENS, int(min(first) * TURN_S / NUM_STREAMS)))
    speeds: tuple[list[float], list[float]] = ([], [])
    for number in range(TURNS):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            speeds[which].append(await turn(which, num_tokens))
    return speeds
