"""A bundle's way from text to ids: `text.json`, and `tokenizer.json` where it has subwords.

The one place: training, evaluation, the golden replay and every protocol read texts here. Letters: N texts, T ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.data.ngrams import NGramReader, NGrams
from modeltap.data.subwords import SubwordReader, Subwords
from modeltap.errors import Broken

TEXTS = "text.json"
TOKENIZER = "tokenizer.json"


class TextReader(Protocol):
    """Texts → ids. `size`: ids lie in [0, size). `padding` fills up."""

    padding: int
    max_ids: int
    size: int

    def whole(self, texts: Sequence[str]) -> list[list[int]]: ...

    def read(self, texts: Sequence[str]) -> list[list[int]]: ...


class FittedTexts(msgspec.Struct, frozen=True):
    """What a bundle holds of it. `tokenizer_json` is empty for n-grams."""

    settings: NGrams | Subwords
    tokenizer_json: str = ""

    def open(self) -> TextReader:
        if isinstance(self.settings, NGrams):
            return NGramReader(self.settings)
        return SubwordReader(self.settings, self.tokenizer_json)

    def files(self) -> dict[str, bytes]:
        """By their names in the bundle."""
        files = {TEXTS: msgspec.json.encode(self.settings, order="deterministic")}
        return {**files, TOKENIZER: self.tokenizer_json.encode()} if self.tokenizer_json else files


def read_fitted(files: Mapping[str, Path]) -> FittedTexts:
    """What the bundle's files say. Raises Broken if they are damaged."""
    try:
        settings = msgspec.json.decode(files[TEXTS].read_bytes(), type=NGrams | Subwords)
        tokenizer = "" if isinstance(settings, NGrams) else files[TOKENIZER].read_text(encoding="utf-8")
    except KeyError as missing:
        raise Broken(f"the bundle has no {missing}") from None
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError) as problem:
        raise Broken(f"how the bundle reads texts cannot be read: {problem}") from None
    return FittedTexts(settings, tokenizer)


def padded(lists: Sequence[Sequence[int]], length: int, *, padding: int) -> NDArray[np.int64]:
    """(N, T) with T = length; none of the lists is longer."""
    ids_NT = np.full((len(lists), length), padding, dtype=np.int64)
    for row, ids in enumerate(lists):
        ids_NT[row, : len(ids)] = ids
    return ids_NT
