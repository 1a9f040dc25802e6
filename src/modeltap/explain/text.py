"""The players of a text: its words, or groups of words that stand together where there are many.

What is between words stays where it is; a word that is taken away leaves nothing. Letters: K rows, M players.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from modeltap.domain.signature import Batch
from modeltap.explain.steps import Ints, Masks

_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+|[^\w\s]")
"""A word, a sign, or one character of a script that puts nothing between words."""


class Span(NamedTuple):
    """Characters of the text, from `start` to before `end`."""

    start: int
    end: int


def words_of(text: str) -> list[Span]:
    """Where the words and signs of the text stand."""
    return [Span(found.start(), found.end()) for found in WORD.finditer(text)]


def grouped(words: list[Span], most: int) -> list[list[Span]]:
    """The words in at most so many groups of neighbours."""
    size = -(-len(words) // most)
    return [words[start : start + size] for start in range(0, len(words), size)]


class TextPlayers:
    """Of the text in the one input of that name."""

    num_backgrounds = 1

    def __init__(self, name: str, text: str, groups: list[list[Span]]) -> None:
        self._name = name
        self.text = text
        self.groups = groups
        self.count = len(groups)
        self.row_values = max(1, len(text) // 8)
        self._between, self._words = _pieces(text, groups)

    def rows(self, present_KM: Masks, background_K: Ints) -> Batch:
        texts: Any = np.empty(len(present_KM), dtype=object)
        for row, present in enumerate(present_KM):
            kept = [self._between[0]]
            for there, words, between in zip(present, self._words, self._between[1:], strict=True):
                if there:
                    kept.append(words)
                kept.append(between)
            texts[row] = "".join(kept)
        return {self._name: texts}


def _pieces(text: str, groups: list[list[Span]]) -> tuple[list[str], list[str]]:
    """What stands between the groups (one more than these), and the text of each group."""
    between, words, at = [], [], 0
    for group in groups:
        between.append(text[at : group[0].start])
        at = group[-1].end
        words.append(text[group[0].start : at])
    return [*between, text[at:]], words
