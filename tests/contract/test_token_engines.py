"""What every engine of tokens does: OpenVINO GenAI, and transformers, with which it is compared."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest
from tiny_engine import NO_GOLDEN, Running, Tiny, ask, tiny_model

from modeltap.engines.tokens_process import EngineKind, TokenProcess
from modeltap.errors import Conflict, ContextTooLong, InvalidInput, Unavailable

PROMPTS = ("The quick brown fox", "Once upon a time", "{", "Grüße aus", "def function(", "1, 2, 3")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_model(tmp_path_factory)


@pytest.fixture(scope="module")
def all_running(tiny: Tiny) -> Iterator[dict[EngineKind, Running]]:
    kinds: tuple[EngineKind, ...] = ("openvino-genai", "reference")
    made = {
        kind: Running(lambda kind=kind: TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN, engine=kind))
        for kind in kinds
    }
    yield made
    for running in made.values():
        running.close()


@pytest.fixture(params=["openvino-genai", "reference"])
def running(request: pytest.FixtureRequest, all_running: dict[EngineKind, Running]) -> Running:
    return all_running[request.param]


def test_both_engines_say_the_same(tiny: Tiny, all_running: dict[EngineKind, Running]) -> None:
    for prompt in PROMPTS:
        served, reference = (running.told(tiny.ids(prompt), logprobs=True) for running in all_running.values())
        assert served.ids == reference.ids and served.text == reference.text
        assert served.logprobs == pytest.approx(reference.logprobs, abs=1e-4)


def test_perplexity_of_a_text_is_that_of_torch(tiny: Tiny, all_running: dict[EngineKind, Running]) -> None:
    losses = []
    for running in all_running.values():
        told = [running.told(tiny.ids(text * 6), max_tokens=1, echo=True).prompt_logprobs for text in PROMPTS]
        assert all(values[0] is None for values in told)
        losses.append([-value for values in told for value in values if value is not None])
    served, reference = losses
    assert len(served) == len(reference) > 100
    assert math.exp(sum(served) / len(served)) == pytest.approx(math.exp(sum(reference) / len(reference)), rel=1e-3)


def test_what_was_generated_comes_in_pieces_that_are_the_whole_text(tiny: Tiny, running: Running) -> None:
    told = running.told(tiny.ids("The quick"), max_tokens=40, ignore_end=True, logprobs=True)
    assert told.finish == "length" and len(told.ids) == len(told.logprobs) == 40
    assert told.num_deltas > 20
    assert told.text == tiny.tokenizer.decode(told.ids)
    assert all(value <= 0.0 for value in told.logprobs) and not told.prompt_logprobs


def test_log_probabilities_come_only_where_they_were_asked_for(tiny: Tiny, running: Running) -> None:
    told = running.told(tiny.ids("The quick"))
    assert told.ids and not told.logprobs and not told.prompt_logprobs


def test_an_id_that_ends_texts_is_counted_and_is_not_text(tiny: Tiny, running: Running) -> None:
    whole = running.told(tiny.ids("The quick"))
    place = next(place for place in range(3, 12) if whole.ids[place] not in whole.ids[:place])
    told = running.told(tiny.ids("The quick"), stop_ids=(whole.ids[place],), logprobs=True)
    assert told.finish == "stop" and told.ids == whole.ids[: place + 1] and len(told.logprobs) == place + 1
    assert told.text == tiny.tokenizer.decode(told.ids[:-1])


def test_a_stop_text_ends_the_text_before_it(tiny: Tiny, running: Running) -> None:
    whole = running.told(tiny.ids("Once upon"), max_tokens=30, ignore_end=True)
    stop = whole.text[9:12]
    told = running.told(tiny.ids("Once upon"), max_tokens=30, ignore_end=True, stop=("never said", stop))
    assert told.finish == "stop" and told.text == whole.text[: whole.text.index(stop)]
    assert told.ids == whole.ids[: len(told.ids)] and stop in tiny.tokenizer.decode(told.ids)


def test_the_log_probabilities_of_a_prompt_come_with_nothing_generated(tiny: Tiny, running: Running) -> None:
    ids = tiny.ids("The quick brown fox")
    told = running.told(ids, max_tokens=0, echo=True)
    assert told.finish == "length" and not told.ids and not told.text
    assert len(told.prompt_logprobs) == len(ids) and told.prompt_logprobs[0] is None


def test_many_at_a_time_get_what_each_gets_alone(tiny: Tiny, running: Running) -> None:
    alone = [running.told(tiny.ids(prompt)) for prompt in PROMPTS]

    async def together() -> list[tuple[int, ...]]:
        asked = [ask(running.engine, f"beside {n}", tiny.ids(PROMPTS[n % len(PROMPTS)])) for n in range(18)]
        return [(await one.told()).ids for one in asked]

    assert running.run(together()) == [alone[n % len(PROMPTS)].ids for n in range(18)]


def test_nothing_comes_of_a_text_that_was_cancelled(tiny: Tiny, running: Running) -> None:
    async def flow() -> None:
        asked = ask(running.engine, "unwanted", tiny.ids("The quick"), max_tokens=200, ignore_end=True)
        await asked.begun()
        running.engine.cancel("unwanted")
        running.engine.cancel("unwanted")
        running.engine.cancel("never asked for")
        num_heard = len(asked.heard)
        assert running.engine.num_streams == 0
        await ask(running.engine, "unwanted", tiny.ids("The quick")).told()
        assert len(asked.heard) == num_heard and not asked.is_over

    running.run(flow())


def test_an_id_names_one_text_at_a_time(tiny: Tiny, running: Running) -> None:
    async def flow() -> None:
        first = ask(running.engine, "the same", tiny.ids("The quick"))
        with pytest.raises(Conflict, match="the same"):
            ask(running.engine, "the same", tiny.ids("The quick"))
        await first.told()
        await ask(running.engine, "the same", tiny.ids("The quick")).told()

    running.run(flow())


def test_a_text_ends_with_the_context(tiny: Tiny, running: Running) -> None:
    ids = tiny.ids("a" * 400)[: tiny.language.context_tokens - 3]
    told = running.told(ids, max_tokens=1 << 60, ignore_end=True)
    assert told.finish == "length" and len(told.ids) == 3


def test_what_cannot_be_is_refused_and_named(tiny: Tiny, running: Running) -> None:
    with pytest.raises(ContextTooLong, match="256 tokens; the model reads and writes 256"):
        running.told((5,) * tiny.language.context_tokens)
    with pytest.raises(InvalidInput, match="the id 1000000"):
        running.told((5, 1_000_000))
    with pytest.raises(InvalidInput, match="the id -1"):
        running.told((-1,))
    with pytest.raises(InvalidInput, match="no tokens"):
        running.told(())
    with pytest.raises(InvalidInput, match="max_tokens is 0"):
        running.told((5,), max_tokens=0)


def test_a_closed_engine_ends_its_texts_by_name(tiny: Tiny) -> None:
    async def flow() -> None:
        engine = await TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN)
        asked = ask(engine, "long", tiny.ids("The quick"), max_tokens=200, ignore_end=True)
        await asked.begun()
        await engine.close()
        with pytest.raises(Unavailable, match="unloaded"):
            await asked.told()
        with pytest.raises(Unavailable, match="unloaded"):
            ask(engine, "late", tiny.ids("The quick"))
        assert engine.state == "stopped" and engine.memory_bytes == 0

    asyncio.run(flow())
