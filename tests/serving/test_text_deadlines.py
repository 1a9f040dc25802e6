"""Texts that are wanted by a certain moment: refused at the door where they would be late, ended where they are."""

from __future__ import annotations

import asyncio
import time

import pytest

from modeltap.bundle.files import open_bundle
from modeltap.domain.generation import Deliver, GenerationRequest, Sampling, TokenDelta
from modeltap.errors import DeadlinePassed, ModeltapError, Overloaded
from modeltap.importing.onnx import Imported
from modeltap.serving.generating import Generation, Texts
from modeltap.serving.language import LanguageVersion, Reader

REQUESTS = [GenerationRequest(f"text-{n}", (1, 2), Sampling(max_tokens=8)) for n in range(2)]
LATE = DeadlinePassed("the time is over")


class Dictated:
    """An engine whose first text is of two tokens; the others never come to an end."""

    is_ready = True
    num_places = 2

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def engines(self) -> list[Dictated]:
        return [self]

    def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        is_first = request.id == REQUESTS[0].id
        deliver(TokenDelta(ids=(5, 6), text="a b", finish="stop" if is_first else None))

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)

    async def close(self) -> None:
        """Nothing runs."""


@pytest.fixture
def engine() -> Dictated:
    return Dictated()


@pytest.fixture
def version(tiny: Imported, engine: Dictated, tmp_path_factory: pytest.TempPathFactory) -> LanguageVersion:
    folder = tmp_path_factory.mktemp("version")
    for name, content in tiny.files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    files = {path.name: path for path in folder.iterdir()}
    return LanguageVersion("tiny@1", "digest", open_bundle(files), Reader(files), engine)


def generation(version: LanguageVersion, texts: Texts, ended: list[ModeltapError | None]) -> Generation:
    return Generation(version, REQUESTS, texts.deliver, ended=ended.append)


def test_what_is_not_whole_in_time_is_ended_and_its_place_is_free(version: LanguageVersion, engine: Dictated) -> None:
    ended: list[ModeltapError | None] = []

    async def write() -> dict[int, TokenDelta]:
        texts = Texts(len(REQUESTS))
        begun = generation(version, texts, ended)
        begun.keep_time(time.monotonic() + 0.02, LATE)
        begun.begin()
        taken = await texts.take()
        with pytest.raises(DeadlinePassed):
            await texts.take()
        return taken

    taken = asyncio.run(write())
    assert [delta.finish for delta in taken.values()] == ["stop", None]
    assert ended == [LATE]
    assert (engine.cancelled, version.num_texts) == (["text-1"], 0)


def test_a_text_that_is_whole_in_time_is_not_ended_again(version: LanguageVersion, engine: Dictated) -> None:
    ended: list[ModeltapError | None] = []

    async def write() -> None:
        texts = Texts(1)
        begun = Generation(version, REQUESTS[:1], texts.deliver, ended=ended.append)
        begun.keep_time(time.monotonic() + 0.02, LATE)
        begun.begin()
        assert (await texts.take())[0].finish == "stop"
        await asyncio.sleep(0.04)
        assert texts.problem is None

    asyncio.run(write())
    assert ended == [None] and engine.cancelled == []


def test_a_text_is_refused_where_those_before_it_hold_the_places_for_too_long(version: LanguageVersion) -> None:
    async def door() -> None:
        asked = generation(version, Texts(2), [])
        now_s = time.monotonic()
        version.num_texts = 6
        asked.keep_time(now_s + 1, LATE)  # nothing is known of how long a text takes
        version.pace.count(4.0)
        asked.keep_time(now_s + 60, LATE)
        with pytest.raises(Overloaded, match="up to 12 s for its turn") as refused:  # six texts, two at a time, 4 s each
            asked.keep_time(now_s + 1, LATE)
        assert 10 < (refused.value.retry_after_s or 0) < 12
        version.num_texts = 0
        asked.keep_time(now_s + 1, LATE)
        with pytest.raises(Overloaded):
            asked.keep_time(now_s - 1, LATE)

    asyncio.run(door())
