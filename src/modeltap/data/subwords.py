"""Subwords: text → the ids of a tokenizer in the form of Hugging Face's `tokenizer.json`, trained here or imported."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import msgspec
import numpy as np

from modeltap.domain.signature import Array
from modeltap.errors import Broken, MissingExtra

PADDING, UNKNOWN, BEGIN = "[PAD]", "[UNK]", "[CLS]"
"""Of the tokenizers that are trained here, with the ids 0, 1 and 2."""
IDS_MARK = "\x00"
"""Begins a row that is written as ids. No text can be taken for one: a text holds no NUL."""


class Subwords(msgspec.Struct, frozen=True, kw_only=True, tag="subwords"):
    """What is known of the tokenizer beside its own file."""

    padding: int
    max_ids: int


class SubwordReader:
    """Reads texts by one tokenizer. What looks like a special token in a text is plain text."""

    def __init__(self, settings: Subwords, tokenizer_json: str) -> None:
        self._tokenizer = _open(tokenizer_json)
        self.padding = settings.padding
        self.max_ids = settings.max_ids
        self.size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def whole(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text with those that the model wants around them, not cut. A row of ids gives those."""
        return [ids for ids, _ in self._read(texts)]

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """As `whole`, at most `max_ids` of each; the special ids at the end stay."""
        cut = []
        for ids, num_last in self._read(texts):
            over = len(ids) - self.max_ids
            cut.append(ids if over <= 0 else ids[: self.max_ids - num_last] + ids[len(ids) - num_last :])
        return cut

    def _read(self, texts: Sequence[str]) -> list[tuple[list[int], int]]:
        """Ids, and how many of them at the end are special."""
        read: list[tuple[list[int], int]] = []
        for text in texts:
            if text.startswith(IDS_MARK):
                read.append((self._written(text), 0))
                continue
            encoding = self._tokenizer.encode(text)
            ids = encoding.ids
            num_last = 0
            if len(ids) > self.max_ids:
                marks = encoding.special_tokens_mask
                while num_last < len(marks) and marks[len(marks) - 1 - num_last]:
                    num_last += 1
            read.append((ids, min(num_last, self.max_ids)))
        return read

    def _written(self, text: str) -> list[int]:
        return [number if number < self.size else self.padding for number in map(int, text[1:].split())]


def written_ids(ids: Sequence[int]) -> str:
    """A row of ids where a row of text is taken."""
    return IDS_MARK + " ".join(map(str, ids))


def id_rows(lists: Sequence[Sequence[int]]) -> Array:
    """The same for many: object (N,) of str."""
    rows = np.empty(len(lists), dtype=object)
    rows[:] = [written_ids(ids) for ids in lists]
    return rows


def count_ids(row: str) -> int:
    """How many ids are written in the row."""
    return 0 if row == IDS_MARK else row.count(" ") + 1


def train_subwords(texts: Sequence[str], *, vocabulary: int, lower: bool) -> str:
    """The `tokenizer.json` of a byte-level BPE of at most so many subwords: every text can be written in them. A text begins
    with the id of BEGIN. Equal texts give equal bytes."""
    _need_library()
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lower else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PADDING, UNKNOWN, BEGIN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 2)])
    return str(tokenizer.to_str())


def _need_library() -> None:
    if find_spec("tokenizers") is None:
        raise MissingExtra(what="what reads texts as subwords", extra="train")


def _open(tokenizer_json: str) -> Any:
    _need_library()
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(tokenizer_json)
    except Exception as problem:  # noqa: BLE001  the library raises bare exceptions for whatever it cannot read
        raise Broken(f"the tokenizer cannot be read: {str(problem).splitlines()[0][:200]}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer
