"""Word and character n-grams: text → the ids of those that were seen in training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain

import msgspec

_WORD = re.compile(r"\w+|[^\w\s]")
WORDS, CHARACTERS = "w", "c"
"""Begin an n-gram's name, so that the word `the` and the letters `the` are two."""


class NGrams(msgspec.Struct, frozen=True, kw_only=True, tag="ngrams"):
    """How a text becomes n-grams, and which have an id: the first of `vocabulary` has 1, the next 2. 0 fills up."""

    words: int
    """Up to so many words in a row; 0 is none."""
    characters: tuple[int, ...]
    """How many characters in a row, each within one word and the blanks around it."""
    vocabulary: tuple[str, ...]
    max_ids: int
    max_chars: int = 20_000
    """Of a text; what follows is not read."""


class NGramReader:
    """Reads texts by one `NGrams`. An n-gram counts once a text; one that training never saw says nothing."""

    padding = 0

    def __init__(self, settings: NGrams) -> None:
        self._settings = settings
        self._ids = {name: place for place, name in enumerate(settings.vocabulary, start=1)}
        self.size = len(settings.vocabulary) + 1
        self.max_ids = settings.max_ids

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, words first, not cut."""
        known = self._ids
        return [[known[name] for name in dict.fromkeys(_names(text, self._settings)) if name in known] for text in texts]

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """As `whole`, at most `max_ids` of each."""
        return [ids[: self.max_ids] for ids in self.whole(texts)]


def fit_ngrams(
    texts: Sequence[str], *, words: int, characters: Sequence[int], vocabulary: int, min_count: int, max_ids: int
) -> NGrams:
    """The n-grams that `min_count` texts or more have, the most frequent ones first, as many as the vocabulary takes."""
    empty = NGrams(words=words, characters=tuple(characters), vocabulary=(), max_ids=max_ids)
    counts = Counter(chain.from_iterable(dict.fromkeys(_names(text, empty)) for text in texts))
    ordered = sorted((name for name, count in counts.items() if count >= min_count), key=lambda name: (-counts[name], name))
    return msgspec.structs.replace(empty, vocabulary=tuple(ordered[:vocabulary]))


def _names(text: str, settings: NGrams) -> Iterator[str]:
    lowered = text[: settings.max_chars].lower()
    words = _WORD.findall(lowered)
    for length in range(1, settings.words + 1):
        for start in range(len(words) - length + 1):
            yield WORDS + " ".join(words[start : start + length])
    if not settings.characters:
        return
    for word in lowered.split():
        framed = f" {word} "
        for length in settings.characters:
            for start in range(len(framed) - length + 1):
                yield CHARACTERS + framed[start : start + length]
