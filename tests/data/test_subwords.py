"""Subwords: every text can be written, what looks special is plain, and ids stand for themselves."""

from __future__ import annotations

import pytest

from modeltap.data.subwords import SubwordReader, Subwords, count_ids, id_rows, train_subwords, written_ids
from modeltap.errors import Broken

TEXTS = ["the film is good", "the film is bad", "a good day, a bad day", "Ärger über Öl"] * 5


@pytest.fixture(scope="module")
def tokenizer() -> str:
    return train_subwords(TEXTS, vocabulary=320, lower=True)


def reader(tokenizer: str, max_ids: int = 16) -> SubwordReader:
    return SubwordReader(Subwords(padding=0, max_ids=max_ids), tokenizer)


def test_equal_texts_give_equal_bytes(tokenizer: str) -> None:
    assert train_subwords(TEXTS, vocabulary=320, lower=True) == tokenizer


def test_a_text_begins_with_its_own_id_and_has_no_unknown(tokenizer: str) -> None:
    for ids in reader(tokenizer, 400).read([*TEXTS, "今日は 😀", "", "\t\n"]):
        assert ids[0] == 2
        assert 0 not in ids
        assert 1 not in ids


def test_case_says_nothing_where_it_was_lowered(tokenizer: str) -> None:
    upper, lower = reader(tokenizer).read(["THE FILM", "the film"])
    assert upper == lower
    cased = reader(train_subwords(TEXTS, vocabulary=320, lower=False)).read(["THE FILM", "the film"])
    assert cased[0] != cased[1]


def test_what_looks_special_is_plain_text(tokenizer: str) -> None:
    (ids,) = reader(tokenizer, 100).read(["[PAD] [UNK] [CLS]"])
    assert not {0, 1} & set(ids)
    assert ids.count(2) == 1


def test_a_long_text_is_cut_and_the_whole_is_known(tokenizer: str) -> None:
    made = reader(tokenizer, 8)
    assert len(made.read(["good day " * 50])[0]) == 8
    assert len(made.whole(["good day " * 50])[0]) > 8


def test_what_stands_at_the_end_stays_when_a_text_is_cut(tokenizer: str) -> None:
    from tokenizers import Tokenizer, processors

    ended = Tokenizer.from_str(tokenizer)
    ended.post_processor = processors.TemplateProcessing(single="[CLS] $A [UNK]", special_tokens=[("[CLS]", 2), ("[UNK]", 1)])
    (ids,) = reader(ended.to_str(), 6).read(["good day " * 50])
    assert (len(ids), ids[0], ids[-1]) == (6, 2, 1)


def test_ids_are_read_as_themselves(tokenizer: str) -> None:
    made = reader(tokenizer)
    assert made.read([written_ids([5, 6, 250])]) == [[5, 6, 250]]
    assert made.read([written_ids([999_999])]) == [[0]]
    rows = id_rows([[1, 2, 3], [], [4]]).tolist()
    assert [count_ids(row) for row in rows] == [3, 0, 1]
    assert made.read(rows) == [[1, 2, 3], [], [4]]


def test_a_damaged_tokenizer_is_named() -> None:
    with pytest.raises(Broken, match="the tokenizer cannot be read"):
        reader("{}")
