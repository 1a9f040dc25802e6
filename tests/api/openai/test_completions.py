"""POST /v1/completions: what is written, its exact counts, and its stream."""

from __future__ import annotations

from typing import Any

import pytest
from talking import CONTEXT, error_of, events
from workshop import Plane

from modeltap.data.tokenizer import Tokenizer

GREEDY: dict[str, Any] = {"model": "tiny", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0}


def complete(talker: Plane, **more: Any) -> dict[str, Any]:
    answer = talker.post("/v1/completions", json={**GREEDY, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_a_completion_has_every_field_and_its_exact_usage(talker: Plane, tokenizer: Tokenizer) -> None:
    body = complete(talker)
    assert body["object"] == "text_completion"
    assert body["model"] == "tiny"
    [choice] = body["choices"]
    assert set(choice) == {"index", "text", "logprobs", "finish_reason"}
    usage = body["usage"]
    assert usage["prompt_tokens"] == len(tokenizer.encode("Once upon a time"))
    assert 1 <= usage["completion_tokens"] <= 12
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert {"prompt_tokens_details", "completion_tokens_details"} <= set(usage)


def test_a_stream_says_the_same_as_the_whole_answer(talker: Plane) -> None:
    whole = complete(talker)
    answer = talker.post("/v1/completions", json={**GREEDY, "stream": True, "stream_options": {"include_usage": True}})
    streamed = events(answer)
    assert "".join(event["choices"][0]["text"] for event in streamed[:-1]) == whole["choices"][0]["text"]
    assert [event["choices"][0]["finish_reason"] for event in streamed[:-1]][-1] == whole["choices"][0]["finish_reason"]
    assert all(event["usage"] is None for event in streamed[:-1])
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"] == whole["usage"]
    assert answer.headers["modeltap-model"] == "tiny@1"
    assert "modeltap-cost" not in answer.headers


def test_a_stream_that_was_not_asked_for_usage_has_none(talker: Plane) -> None:
    streamed = events(talker.post("/v1/completions", json={**GREEDY, "stream": True}))
    assert all("usage" not in event and len(event["choices"]) == 1 for event in streamed)


def test_ids_and_lists_are_prompts_like_their_texts(talker: Plane, tokenizer: Tokenizer) -> None:
    whole = complete(talker)["choices"][0]["text"]
    ids = tokenizer.encode("Once upon a time")
    assert complete(talker, prompt=ids)["choices"][0]["text"] == whole
    both = complete(talker, prompt=["Once upon a time", "The"])
    assert [choice["index"] for choice in both["choices"]] == [0, 1]
    assert both["choices"][0]["text"] == whole
    assert both["usage"]["prompt_tokens"] == len(ids) + len(tokenizer.encode("The"))
    assert complete(talker, prompt=[ids, tokenizer.encode("The")])["choices"] == both["choices"]


def test_the_prompt_of_several_texts_counts_once(talker: Plane, tokenizer: Tokenizer) -> None:
    body = complete(talker, n=3, temperature=1, seed=7)
    assert body["usage"]["prompt_tokens"] == len(tokenizer.encode("Once upon a time"))
    texts = [choice["text"] for choice in body["choices"]]
    assert len(set(texts)) > 1
    assert [choice["text"] for choice in complete(talker, n=3, temperature=1, seed=7)["choices"]] == texts


def test_the_best_of_several_is_answered_and_all_are_counted(talker: Plane) -> None:
    body = complete(talker, n=1, best_of=4, temperature=1, seed=3)
    assert len(body["choices"]) == 1
    assert body["usage"]["completion_tokens"] > 12
    four = complete(talker, n=4, temperature=1, seed=3, logprobs=0)["choices"]
    best = max(four, key=lambda one: sum(one["logprobs"]["token_logprobs"]) / len(one["logprobs"]["token_logprobs"]))
    assert body["choices"][0]["text"] == best["text"]


def test_echo_gives_the_prompt_with_its_log_probabilities(talker: Plane, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("Once upon a time")
    body = complete(talker, echo=True, logprobs=1, max_tokens=0)
    [choice] = body["choices"]
    assert choice["text"] == "Once upon a time"
    told = choice["logprobs"]
    assert "".join(told["tokens"]) == "Once upon a time"
    assert told["token_logprobs"][0] is None
    assert all(value < 0 for value in told["token_logprobs"][1:])
    assert told["text_offset"] == [len(tokenizer.decode(ids[:place])) for place in range(len(ids))]
    assert body["usage"]["completion_tokens"] == 0
    more = complete(talker, echo=True, logprobs=0, max_tokens=4)["choices"][0]
    assert more["text"].startswith("Once upon a time")
    assert more["logprobs"]["tokens"][: len(ids)] == told["tokens"]
    assert more["logprobs"]["top_logprobs"] is None


def test_an_echo_streams_the_prompt_first(talker: Plane) -> None:
    whole = complete(talker, echo=True)["choices"][0]["text"]
    streamed = events(talker.post("/v1/completions", json={**GREEDY, "echo": True, "stream": True}))
    assert streamed[0]["choices"][0]["text"].startswith("Once upon a time")
    assert "".join(event["choices"][0]["text"] for event in streamed) == whole


def test_a_stop_text_ends_the_text_before_it(talker: Plane) -> None:
    text = complete(talker)["choices"][0]["text"]
    stop = text[3:5]
    body = complete(talker, stop=stop)["choices"][0]
    assert body["text"] == text[: text.index(stop)]
    assert body["finish_reason"] == "stop"


def test_the_old_path_answers_as_the_new_one(talker: Plane) -> None:
    asked = {name: value for name, value in GREEDY.items() if name != "model"}
    answer = talker.post("/v1/engines/tiny/completions", json={**asked, "n": 1, "stop": None})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"] == complete(talker)["choices"]
    error_of(talker.post("/v1/engines/none/completions", json=asked), 404)


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("n", 10**9),
        ("n", 0),
        ("max_tokens", 10**12),
        ("max_tokens", CONTEXT + 1),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", "many"),
        ("max_tokens", 1.5),
        ("temperature", 3),
        ("temperature", -1),
        ("top_p", 1.5),
        ("presence_penalty", 9),
        ("frequency_penalty", -9),
        ("seed", 2**80),
        ("best_of", 129),
        ("logprobs", 2),
        ("logit_bias", {"5": 10}),
        ("suffix", "the end"),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [""]),
        ("stop", "x" * 300),
        ("prompt", ["x"] * 100_000),
        ("prompt", {"text": "x"}),
        ("prompt", [10**9]),
        ("prompt", [-1]),
        ("prompt[1]", ["x", 5]),
        ("stream_options", {"include_usage": True}),
        ("unheard_of", 1),
        ("model", 5),
    ],
)
def test_what_cannot_be_is_a_400_that_names_it(talker: Plane, param: str, value: Any) -> None:
    name = param.partition("[")[0]
    error = error_of(talker.post("/v1/completions", json={**GREEDY, name: value}), 400)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert name in error["message"]


def test_a_prompt_longer_than_the_context_is_refused_and_the_next_one_answered(talker: Plane) -> None:
    for prompt in ("fox " * 400, "x" * 900_000, [5] * (CONTEXT + 1), [5] * CONTEXT):
        error = error_of(talker.post("/v1/completions", json={**GREEDY, "prompt": prompt}), 400)
        assert error["code"] == "context_length_exceeded"
        assert error["param"] in ("prompt", "max_tokens")
    assert complete(talker)["choices"][0]["text"]


def test_what_is_not_json_is_a_400(talker: Plane) -> None:
    for body in (b"", b"{", b"[]", b'{"model": "tiny", "prompt": "\xff"}', b"nul", b'{"model":"tiny","prompt":"\\ud800"}'):
        error_of(talker.post("/v1/completions", content=body), 400)


def test_an_empty_prompt_begins_a_text(talker: Plane) -> None:
    assert complete(talker, prompt="")["usage"]["prompt_tokens"] == 1


@pytest.mark.parametrize("seed", [-1, 0, 2**63 - 1, -(2**63)])
def test_any_seed_of_64_bits_gives_the_same_text_again(talker: Plane, seed: int) -> None:
    texts = [complete(talker, temperature=1, seed=seed, n=2)["choices"] for _ in range(2)]
    assert texts[0] == texts[1]


def test_tokens_are_counted_in_the_servers_numbers(talker: Plane) -> None:
    def number(name: str) -> float:
        found = [line for line in talker.get("/metrics").text.splitlines() if line.startswith(f'{name}{{model="tiny@1"')]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    names = ("modeltap_prompt_tokens_total", "modeltap_completion_tokens_total", "modeltap_first_token_seconds_count")
    before = [number(name) for name in names]
    usage = complete(talker, n=2)["usage"]
    more = [number(name) - had for name, had in zip(names, before, strict=True)]
    assert more == [usage["prompt_tokens"], usage["completion_tokens"], 1]
