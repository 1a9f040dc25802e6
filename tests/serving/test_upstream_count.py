"""What a request elsewhere may use and has used: bounds that hold for a real tokenizer, and sums that never pass them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.serving.upstream_count import Count, choices_of, least_prompt_tokens, most_prompt_tokens, most_tokens
from tiny_language import write_tokenizer

CHUNK = {"choices": [{"index": 0, "delta": {"content": "word "}}]}


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text).ids)


@given(text=st.text(max_size=200))
def test_the_bounds_of_a_prompt_hold(encode, text):
    body = {"prompt": text}
    assert least_prompt_tokens(body) <= encode(text) <= most_prompt_tokens(body)


@given(text=st.text(max_size=100))
def test_the_bounds_of_a_chat_hold(encode, text):
    body = {"messages": [{"role": "user", "content": text}] * 3}
    written = encode("".join(f"<|user|>\n{text}<|end|>\n" for _ in range(3)) + "<|assistant|>\n")
    assert least_prompt_tokens(body) <= written <= most_prompt_tokens(body)


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": ["a", "b"], "n": 3}, 6),
        ({"prompt": [1, 2, 3], "best_of": 4, "n": 2}, 4),
        ({"prompt": [[1], [2]]}, 2),
        ({"messages": [], "n": 5}, 5),
    ],
)
def test_every_text_is_reserved(body, texts):
    assert choices_of(body) == texts
    assert most_tokens({**body, "max_tokens": 10}, 512) == most_prompt_tokens(body) + texts * 10
    assert most_tokens(body, 512) == most_prompt_tokens(body) + texts * 512


def test_the_last_word_on_usage_holds_and_pieces_after_it_are_added():
    count = Count({"prompt": "one two"}, reserved=100)
    assert [count.chunk(CHUNK) for _ in range(3)] == [1, 1, 1]
    assert (count.units, count.is_estimated) == (5, True)
    count.chunk({**CHUNK, "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
    assert (count.units, count.is_estimated) == (13, False)
    count.chunk(CHUNK)
    assert count.units == 14


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "9"}, {"prompt_tokens": -1, "completion_tokens": 2}, [1]])
def test_usage_that_makes_no_sense_is_as_if_it_were_not_there(usage):
    count = Count({"prompt": "one two"}, reserved=100)
    count.whole({"choices": [{"text": "three four five"}], "usage": usage})
    assert (count.units, count.is_estimated) == (5, True)


def test_no_more_is_charged_than_was_reserved_and_the_caller_is_told_the_same():
    count = Count({"prompt": "one two"}, reserved=20)
    count.whole({"choices": [{"text": "x"}], "usage": {"prompt_tokens": 15, "completion_tokens": 30}})
    assert (count.units, count.was_cut, count.usage()["total_tokens"]) == (20, True, 20)
