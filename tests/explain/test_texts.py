"""A text's words are found and taken away without touching the rest, and shown in colour as text, never as code."""

from __future__ import annotations

import numpy as np
import pytest

from modeltap.explain.answer import WordScore
from modeltap.explain.highlight import highlighted
from modeltap.explain.text import TextPlayers, grouped, words_of


def texts(text: str, present: list[list[int]], most: int = 1000) -> list[str]:
    players = TextPlayers("text", text, grouped(words_of(text), most))
    return players.rows(np.array(present), np.zeros(len(present), dtype=np.int64))["text"].tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's  a great,\nfilm!", ["It", "'", "s", "a", "great", ",", "film", "!"]),
        ("naïve café 3.5", ["naïve", "café", "3", ".", "5"]),
        ("这部电影very好", ["这", "部", "电", "影", "very", "好"]),
        ("カメラ", ["カ", "メ", "ラ"]),
        ("   ", []),
    ],
)
def test_words_and_signs_are_found(text, words):
    assert [text[span.start : span.end] for span in words_of(text)] == words


def test_a_word_is_taken_away_and_what_is_around_it_stays():
    told = texts(" a  good film.", [[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]])
    assert told == [" a  good film.", " a   film.", "    ", "   good ."]


def test_words_that_are_many_are_grouped_with_their_neighbours():
    text = "one two three four five six seven"
    assert [len(group) for group in grouped(words_of(text), 3)] == [3, 3, 1]
    assert texts(text, [[0, 1, 1], [1, 0, 1]], most=3) == [" four five six seven", "one two three  seven"]


def test_the_colours_stand_at_the_words_and_nothing_of_the_text_is_code():
    text = "<b>bad</b> & good"
    shown = highlighted(
        text,
        [
            WordScore(text="bad", start=3, end=6, score=-0.5),
            WordScore(text="good", start=13, end=17, score=0.25),
        ],
    )
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown
    assert '<mark style="background:rgba(30,90,200,0.75);color:inherit" title="-0.5000">bad</mark>' in shown
    assert '<mark style="background:rgba(200,30,45,0.38);color:inherit" title="+0.2500">good</mark>' in shown
    assert "&amp;" in shown


def test_a_text_in_which_nothing_matters_has_no_colour():
    assert "rgba(30,90,200,0.00)" in highlighted("a", [WordScore(text="a", start=0, end=1, score=0.0)])
