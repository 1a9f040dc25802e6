"""What OpenVINO GenAI honours of a request, beside what every engine of tokens does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_engine import NO_GOLDEN, Running, Tiny, ask, tiny_model

from modeltap.domain.generation import GenerationRequest, Grammar, Sampling
from modeltap.domain.model import Language
from modeltap.engines.tokens_openvino import cache_blocks, check, properties_of
from modeltap.engines.tokens_process import TokenProcess
from modeltap.engines.tokens_wire import EngineSettings
from modeltap.errors import InvalidInput

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["a", "b"]}, "ok": {"type": "boolean"}},
    "required": ["name", "ok"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_model(tmp_path_factory)


@pytest.fixture(scope="module")
def running(tiny: Tiny) -> Iterator[Running]:
    made = Running(lambda: TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN))
    yield made
    made.close()


def test_a_seed_gives_the_same_text_alone_and_beside_others(tiny: Tiny, running: Running) -> None:
    ids = tiny.ids("The quick")
    sampled = {"temperature": 1.5, "max_tokens": 20, "ignore_end": True}
    first = running.told(ids, seed=7, **sampled)

    async def together() -> list[tuple[int, ...]]:
        seeds = enumerate((7, 8, -3, 2**63 - 1, 7))
        asked = [ask(running.engine, f"beside {n}", ids, seed=seed, **sampled) for n, seed in seeds]
        return [(await one.told()).ids for one in asked]

    again = running.run(together())
    assert again[0] == again[4] == first.ids
    assert len(set(again)) == 4


def test_without_a_seed_each_text_is_another(tiny: Tiny, running: Running) -> None:
    texts = {running.told(tiny.ids("The quick"), temperature=1.5, ignore_end=True).ids for _ in range(4)}
    assert len(texts) > 1


def test_little_of_top_p_top_k_or_temperature_is_the_most_likely_token(tiny: Tiny, running: Running) -> None:
    ids = tiny.ids("Once upon")
    greedy = running.told(ids).ids
    for few in ({"top_p": 1e-6}, {"top_k": 1}, {"temperature": 1e-30}):
        assert running.told(ids, **{"temperature": 1.5, "seed": 1, **few}).ids == greedy


def test_penalties_keep_tokens_from_coming_again(tiny: Tiny, running: Running) -> None:
    def most(**penalties: float) -> int:
        told = running.told(tiny.ids("a"), max_tokens=150, ignore_end=True, temperature=0.7, seed=1, **penalties)
        return Counter(told.ids).most_common(1)[0][1]

    assert most(frequency_penalty=2.0) < most() and most(presence_penalty=2.0) < most(presence_penalty=-2.0)


def test_log_probabilities_are_those_of_the_model_whatever_the_temperature(tiny: Tiny, running: Running) -> None:
    ids = tiny.ids("Once upon")
    cold, hot = (running.told(ids, max_tokens=1, logprobs=True, temperature=t, top_k=1, seed=1) for t in (0.1, 2.0))
    assert cold.logprobs == hot.logprobs


def test_texts_fit_their_grammar(tiny: Tiny, running: Running) -> None:
    told = running.told(tiny.ids("a"), max_tokens=10, grammar=Grammar("regex", "(yes|no), [0-9]{3}"))
    assert told.finish == "stop" and told.text.split(", ")[0] in ("yes", "no") and told.text[-3:].isdigit()
    anything = running.told(tiny.ids("a"), max_tokens=3, grammar=Grammar("json-object"))
    assert anything.text.startswith("{")
    for seed in range(3):
        grammar = Grammar("json-schema", json.dumps(SCHEMA))
        told = running.told(tiny.ids("a"), max_tokens=200, temperature=1.0, seed=seed, grammar=grammar)
        if told.finish == "stop":
            assert set(json.loads(told.text)) == {"name", "ok"}


def test_log_probabilities_of_a_prompt_longer_than_a_step_are_whole(tiny: Tiny, running: Running) -> None:
    ids = tiny.ids("The quick brown fox jumps. " * 12)[:200]
    whole = running.told(ids, max_tokens=2, echo=True, logprobs=True)

    async def flow() -> None:
        settings = EngineSettings(step_tokens=32, max_streams=8)
        engine = await TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN, settings=settings)
        told = await ask(engine, "in pieces", ids, max_tokens=2, echo=True, logprobs=True).told()
        await engine.close()
        assert told.ids == whole.ids and len(told.prompt_logprobs) == len(ids)
        assert told.prompt_logprobs[1:] == pytest.approx(whole.prompt_logprobs[1:], abs=1e-4)

    asyncio.run(flow())


def test_prompts_that_begin_the_same_are_read_once_and_have_no_log_probabilities(tiny: Tiny) -> None:
    async def flow() -> None:
        settings = EngineSettings(prefix_cache=True)
        engine = await TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN, settings=settings)
        ids = tiny.ids("The quick brown fox jumps. " * 8)[:150]
        texts = [(await ask(engine, f"text {n}", ids).told()).ids for n in range(3)]
        assert len(set(texts)) == 1
        with pytest.raises(InvalidInput, match="echo"):
            ask(engine, "echo", ids, echo=True)
        await engine.close()

    asyncio.run(flow())


def test_only_a_model_that_is_float32_through_and_through_computes_so(tiny: Tiny) -> None:
    exact = properties_of(tiny.language, EngineSettings())
    assert exact["INFERENCE_PRECISION_HINT"] == "f32" and exact["KV_CACHE_PRECISION"] == "f32"
    assert exact["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == "0"
    small = properties_of(
        Language(family="llama", context_tokens=8, vocabulary=8, parameters=1, weights="int8"), EngineSettings(threads=1)
    )
    assert small["KV_CACHE_PRECISION"] == "u8" and small["INFERENCE_NUM_THREADS"] == 1


def test_the_longest_text_always_fits_into_what_is_kept(tiny: Tiny) -> None:
    config = json.loads(Path(tiny.files["config.json"]).read_bytes())
    one_text = tiny.language.context_tokens // 32 + 1
    assert cache_blocks(config, tiny.language, EngineSettings(cache_bytes=1)) == one_text
    assert cache_blocks(config, tiny.language, EngineSettings(max_streams=3)) == 3 * one_text
    # Of one block: 32 tokens, 2 layers, keys and values, 2 heads of 16 numbers of 4 bytes.
    assert cache_blocks(config, tiny.language, EngineSettings(cache_bytes=100 * 32 * 2 * 2 * 2 * 16 * 4)) == 100


def test_a_grammar_that_would_be_cut_is_refused(tiny: Tiny) -> None:
    sampling = Sampling(max_tokens=1, grammar=Grammar("regex", "a\0b"))
    with pytest.raises(InvalidInput, match=r"U\+0000"):
        check(GenerationRequest("x", (5,), sampling), tiny.language, EngineSettings())
