"""An engine of texts that is killed, flooded and given what would break it: each text is whole or ends in a named error."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from fault_server import is_running
from tiny_engine import NO_GOLDEN, WAIT_S, Asked, Tiny, ask, tiny_model

from modeltap.bundle.golden_prompts import Prompt
from modeltap.domain.generation import Grammar
from modeltap.engines import grammar as trials
from modeltap.engines import tokens_process
from modeltap.engines.tokens_process import TokenProcess
from modeltap.engines.tokens_wire import EngineSettings
from modeltap.errors import Broken, GoldenMismatch, InvalidInput, InvalidValue, Overloaded, ReplicaLost

KILLS = 20
CLIENTS = 8
LONG = {"max_tokens": 200, "ignore_end": True}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_model(tmp_path_factory)


def on_an_engine(tiny: Tiny, work: Callable[[TokenProcess], Coroutine[Any, Any, None]], **settings: Any) -> None:
    async def flow() -> None:
        engine = await TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN, settings=EngineSettings(**settings))
        try:
            await work(engine)
        finally:
            pid = engine.pid
            await engine.close()
        assert not is_running(pid)

    asyncio.run(flow())


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():
            await asyncio.sleep(0.002)


def test_an_engine_killed_20_times_under_load_gives_whole_texts_or_says_that_it_died(tiny: Tiny) -> None:
    prompt = tiny.ids("The quick brown fox")

    async def work(engine: TokenProcess) -> None:
        expected = await ask(engine, "expected", prompt, max_tokens=40, ignore_end=True).told()
        told: Counter[str] = Counter()
        going = True

        async def client(number: int) -> None:
            for count in range(100_000):
                if not going:
                    return
                try:
                    text = await ask(engine, f"{number}/{count}", prompt, max_tokens=40, ignore_end=True).told()
                except ReplicaLost:
                    told["lost"] += 1
                else:
                    assert (text.ids, text.text) == (expected.ids, expected.text)
                    told["whole"] += 1

        clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
        chance = random.Random(0)
        killed = set()
        for _ in range(KILLS):
            before = told["whole"]
            await until(lambda before=before: engine.state == "ready" and told["whole"] >= before + chance.randrange(1, 6))
            killed.add(engine.pid)
            os.kill(engine.pid, signal.SIGKILL)
            await until(lambda: engine.state != "ready")
        await until(lambda: engine.state == "ready")
        going = False
        await asyncio.gather(*clients)
        assert len(killed) == engine.num_restarts == KILLS and not any(map(is_running, killed))
        assert told["whole"] >= KILLS and told["lost"] <= KILLS * CLIENTS
        assert engine.num_streams == 0
        again = await ask(engine, "afterwards", prompt, max_tokens=40, ignore_end=True).told()
        assert again.ids == expected.ids

    on_an_engine(tiny, work)


def test_texts_of_which_nothing_was_sent_are_begun_again_unnoticed(tiny: Tiny) -> None:
    """One place: of three texts the first is on its way, the others wait."""

    async def work(engine: TokenProcess) -> None:
        first = ask(engine, "first", tiny.ids("The quick"), **LONG)
        waiting = [ask(engine, f"waiting {n}", tiny.ids("Once upon")) for n in range(2)]
        await first.begun()
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(ReplicaLost, match="try again"):
            await first.told()
        texts = [await one.told() for one in waiting]
        assert texts[0].ids == texts[1].ids and texts[0].ids

    on_an_engine(tiny, work, max_streams=1)


def test_a_step_that_fails_ends_the_process_and_not_the_service(tiny: Tiny) -> None:
    """With a grammar that the trial let pass: what the engine cannot compile fails its next step, for everybody."""
    poison = Grammar("json-schema", "{nope")

    async def work(engine: TokenProcess) -> None:
        beside = ask(engine, "beside", tiny.ids("The quick"), **LONG)
        await beside.begun()
        engine._grammars._found[poison] = ""
        asked = ask(engine, "poison", tiny.ids("The quick"), grammar=poison)
        with pytest.raises(ReplicaLost):
            await asked.told()
        with pytest.raises(ReplicaLost):
            await beside.told()
        assert (await ask(engine, "afterwards", tiny.ids("Once upon")).told()).ids

    on_an_engine(tiny, work)


def test_a_storm_of_cancelled_texts_leaves_every_place_free(tiny: Tiny) -> None:
    async def work(engine: TokenProcess) -> None:
        expected = await ask(engine, "expected", tiny.ids("Once upon")).told()
        chance = random.Random(0)
        asked: dict[str, Asked] = {}
        for wave in range(10):
            for number in range(100):
                asked[f"{wave}/{number}"] = ask(engine, f"{wave}/{number}", tiny.ids("The quick"), **LONG)
            names = list(asked)
            await asked[names[0]].begun()
            chance.shuffle(names)
            for name in names:
                engine.cancel(name)
                del asked[name]
        assert engine.num_streams == 0
        assert (await ask(engine, "afterwards", tiny.ids("Once upon")).told()).ids == expected.ids
        assert engine.num_restarts == 0

    on_an_engine(tiny, work, max_streams=4, max_waiting=200)


def test_more_texts_than_can_be_kept_at_a_time_take_turns(tiny: Tiny) -> None:
    """Keys and values of one longest text are kept, and twelve want as much."""
    prompts = [tiny.ids(text) for text in ("The quick", "Once upon", "What is", "Grüße aus")]

    async def work(engine: TokenProcess) -> None:
        alone = [(await ask(engine, f"alone {n}", prompt, **LONG).told()).ids for n, prompt in enumerate(prompts)]
        together = [ask(engine, f"text {n}", prompts[n % 4], **LONG) for n in range(12)]
        for number, one in enumerate(together):
            assert (await one.told()).ids == alone[number % 4]

    on_an_engine(tiny, work, cache_bytes=1)


def test_a_full_engine_refuses_at_the_door(tiny: Tiny) -> None:
    async def work(engine: TokenProcess) -> None:
        asked = [ask(engine, f"text {n}", tiny.ids("The quick"), max_tokens=20) for n in range(5)]
        with pytest.raises(Overloaded, match="2 texts are generated and 3 wait"):
            ask(engine, "one too many", tiny.ids("The quick"))
        for one in asked:
            assert (await one.told()).ids

    on_an_engine(tiny, work, max_streams=2, max_waiting=3)


def wide(num_properties: int) -> str:
    return json.dumps({"type": "object", "properties": {f"p{n}": {} for n in range(num_properties)}})


def nested(depth: int) -> str:
    return '{"type":"array","items":' * depth + "{}" + "}" * depth


def test_grammars_that_cannot_be_followed_are_refused_by_name_and_harm_nobody(tiny: Tiny) -> None:
    wrong = {
        "{nope": "not JSON",
        '{"type":"banana"}': "banana",
        "[1]": "not an object",
        "false": "not an object",
        '{"type":"integer","minimum":5,"maximum":1}': "minimum",
        '{"enum":[]}': "cannot be followed",
        '{"not":{}}': "#/not",
        '{"$ref":"#/definitions/missing"}': "cannot be followed",
        nested(2000): "nested more than 64 deep",
        wide(4000): "to compile; make it smaller",
        " " * (65 << 10): "longer than 65,536 bytes",
    }
    regexes = {"((": "parenthesis", "(?=a)b": "Lookahead", r"(a)\1": "Backreference", "a\0b": r"U\+0000"}

    async def work(engine: TokenProcess) -> None:
        beside = ask(engine, "beside", tiny.ids("The quick"), **LONG)
        for kind, given in (("json-schema", wrong), ("regex", regexes)):
            for number, (text, told) in enumerate(given.items()):
                for again in range(2):
                    with pytest.raises(InvalidInput, match=told):
                        asked = ask(engine, f"{kind} {number} {again}", tiny.ids("a"), grammar=Grammar(kind, text))
                        await asked.told()
        assert (await beside.told()).finish == "length"
        schema = json.dumps({"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]})
        good = await ask(engine, "good", tiny.ids("a"), max_tokens=4, grammar=Grammar("json-schema", schema)).told()
        assert good.text.startswith("{") and engine.num_restarts == 0 and engine.num_streams == 0

    before = trials.PROCESSOR_S
    trials.PROCESSOR_S = 0.5
    try:
        on_an_engine(tiny, work)
    finally:
        trials.PROCESSOR_S = before


def test_who_goes_away_while_a_grammar_is_tried_gets_nothing_and_the_next_gets_an_answer(tiny: Tiny) -> None:
    async def work(engine: TokenProcess) -> None:
        gone = ask(engine, "gone", tiny.ids("a"), grammar=Grammar("regex", "(("))
        await asyncio.sleep(0)
        engine.cancel("gone")
        told = await ask(engine, "next", tiny.ids("a"), grammar=Grammar("regex", "(ab){3}"), max_tokens=20).told()
        assert told.text == "ababab" and told.finish == "stop" and not gone.heard
        with pytest.raises(InvalidValue, match="parenthesis"):
            await ask(engine, "again", tiny.ids("a"), grammar=Grammar("regex", "((")).told()

    on_an_engine(tiny, work)


def test_a_model_that_goes_on_otherwise_than_recorded_does_not_start(tiny: Tiny) -> None:
    async def flow() -> None:
        ids = tiny.ids("The quick")
        engine = await TokenProcess.start("tiny@1", tiny.files, tiny.language, NO_GOLDEN)
        answer = (await ask(engine, "recorded", ids, max_tokens=8).told()).ids
        await engine.close()
        right = Prompt(text="The quick", ids=ids, answer=answer)
        repeats = NO_GOLDEN.__class__(rows=[], answers={}, environment={}, prompts=(right,))
        await (await TokenProcess.start("tiny@1", tiny.files, tiny.language, repeats)).close()
        wrong = Prompt(text="The quick", ids=ids, answer=(answer[0] + 1, *answer[1:]))
        with pytest.raises(GoldenMismatch, match="golden prompt 1 goes on with"):
            differs = NO_GOLDEN.__class__(rows=[], answers={}, environment={}, prompts=(wrong,))
            await TokenProcess.start("tiny@1", tiny.files, tiny.language, differs)

    asyncio.run(flow())


def test_a_model_without_its_files_does_not_start(tiny: Tiny, tmp_path: Any) -> None:
    damaged = tmp_path / "openvino_model.xml"
    damaged.write_text("<net>")

    async def flow() -> None:
        files = {name: path for name, path in tiny.files.items() if name != "openvino_model.bin"}
        with pytest.raises(Broken, match=r"no openvino_model\.bin"):
            await TokenProcess.start("tiny@1", files, tiny.language, NO_GOLDEN)
        with pytest.raises(Broken, match="cannot load the model"):
            await TokenProcess.start("tiny@1", {**tiny.files, damaged.name: damaged}, tiny.language, NO_GOLDEN)

    asyncio.run(flow())


def test_an_engine_that_compiled_too_many_grammars_is_replaced_when_it_has_nothing_to_do(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_process, "MAX_GRAMMARS", 2)
    monkeypatch.setattr(trials, "REMEMBERED", 1)

    async def work(engine: TokenProcess) -> None:
        first = engine.pid
        for count in (3, 4, 5, 6):
            grammar = Grammar("regex", f"a{{{count}}}")
            told = await ask(engine, f"text {count}", tiny.ids("b"), max_tokens=20, grammar=grammar).told()
            assert told.text == "a" * count
        assert engine.num_restarts == 1 and engine.pid != first

    on_an_engine(tiny, work)
