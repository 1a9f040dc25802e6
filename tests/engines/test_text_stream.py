"""Texts out of ids as they come: whole characters, and stop texts wherever they are cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeltap.data.tokenizer import Tokenizer, open_tokenizer
from modeltap.engines.text_stream import Pieces, TokenText
from tiny_language import END, files_of, write_tokenizer


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return open_tokenizer(files_of(folder))


@pytest.fixture(scope="module")
def word_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """As those of Llama 2 and Mistral: a space is part of a word, and characters it does not know are bytes."""
    from tokenizers import Tokenizer as Made
    from tokenizers import decoders, models, pre_tokenizers

    pieces = [f"<0x{byte:02X}>" for byte in range(256)] + ["<unk>", "▁the", "▁", "he", "t", "h", "e", "▁king", "s", "ü"]
    made = Made(models.BPE({piece: n for n, piece in enumerate(pieces)}, [], byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    path: Path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    made.save(str(path))
    return open_tokenizer({path.name: path})


def streamed(tokenizer: Tokenizer, ids: list[int], *stops: str) -> tuple[list[str], TokenText]:
    text = TokenText(Pieces(tokenizer), stops)
    shown = []
    for token in ids:
        shown.append(text.push(token))
        if text.is_stopped:
            return shown, text
    return [*shown, text.end()], text


@given(ids=st.lists(st.integers(0, 400), max_size=60))
def test_pieces_are_the_text_whatever_the_ids(byte_level: Tokenizer, ids: list[int]) -> None:
    shown, text = streamed(byte_level, ids)
    assert "".join(shown) == byte_level.decode(ids) and text.num_ids == len(ids)


@given(texts=st.lists(st.sampled_from(["the king", "s", " ", "ü", "é", "東", "🙂", "the"]), max_size=12))
def test_pieces_are_the_text_where_words_hold_their_spaces(word_level: Tokenizer, texts: list[str]) -> None:
    """With the space before the first word, which is part of a text that goes on with another."""
    ids = word_level.encode_bare("".join(texts))
    shown, _ = streamed(word_level, ids)
    assert "".join(shown).removeprefix(" ") == word_level.decode(ids)


@pytest.mark.parametrize("kind", ["byte_level", "word_level"])
def test_a_character_is_shown_once_it_is_whole(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(kind)
    ids = tokenizer.encode_bare("a🙂")
    shown, _ = streamed(tokenizer, ids)
    assert "".join(shown).strip() == "a🙂" and "\ufffd" not in "".join(shown)
    assert sum("🙂" in piece for piece in shown) == 1


def test_what_never_becomes_a_character_is_shown_as_that(byte_level: Tokenizer) -> None:
    ids = byte_level.encode_bare("🙂")[:-1]
    shown, _ = streamed(byte_level, ids)
    assert shown[-1] == "\ufffd" and not "".join(shown[:-1])


def test_special_tokens_are_no_text(byte_level: Tokenizer) -> None:
    end = next(iter(byte_level.end_ids))
    assert byte_level.token_text(end) == END
    shown, text = streamed(byte_level, [end, *byte_level.encode_bare("a"), end])
    assert "".join(shown) == "a" and text.num_ids == 3


@given(data=st.data())
def test_a_text_ends_before_the_first_stop_text(byte_level: Tokenizer, data: st.DataObject) -> None:
    said = data.draw(st.text(alphabet="abc ü", max_size=30))
    stops = data.draw(st.lists(st.text(alphabet="abc ü", min_size=1, max_size=4), min_size=1, max_size=3))
    ids = [token for letter in said for token in byte_level.encode_bare(letter)]
    shown, text = streamed(byte_level, ids, *stops)
    # What was shown when the first of them was whole: nothing of any that ended there.
    ends = [place + len(stop) for stop in stops if (place := said.find(stop)) >= 0]
    assert text.is_stopped == bool(ends)
    heard = said[: min(ends)] if ends else said
    expected = heard[: min(heard.find(stop) for stop in stops if stop in heard)] if ends else said
    assert "".join(shown) == expected


def test_no_more_is_held_back_than_may_be_a_stop_text(byte_level: Tokenizer) -> None:
    text = TokenText(Pieces(byte_level), ["###"])
    a, mark = byte_level.encode_bare("a")[0], byte_level.encode_bare("#")[0]
    assert [text.push(token) for token in (a, mark, mark, a, mark)] == ["a", "", "", "##a", ""]
    assert text.end() == "#" and not text.is_stopped
