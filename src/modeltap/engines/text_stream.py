"""The text of a stream of ids: whole characters as they come, and the stop texts that end it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from modeltap.data.tokenizer import Tokenizer


class Pieces:
    """What each id of a tokenizer stands for, looked up once; shared by all streams of a model."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes: dict[int, bytes] = {}
        # An id by itself may give nothing though it is a text, as a space that begins a word.
        self._beside = next((token for token in range(tokenizer.vocabulary) if tokenizer.decode([token]).strip()), 0)
        self._alone = tokenizer.decode([self._beside])

    def bytes_of(self, token: int) -> bytes:
        """Special tokens stand for nothing."""
        found = self._bytes.get(token)
        if found is None:
            is_text = self._tokenizer.decode([self._beside, token]) != self._alone
            found = self._bytes[token] = self._tokenizer.token_bytes(token) if is_text else b""
        return found


class TokenText:
    """One text: give it ids with `push`, and `end` it. `is_stopped` once a stop text came; what follows is not text.

    Together the pieces are the tokenizer's `decode` of all ids, but for a space at the beginning, which some tokenizers take
    away there: a text that goes on with another one needs it.
    """

    def __init__(self, pieces: Pieces, stops: Sequence[str] = ()) -> None:
        self.is_stopped = False
        self.num_ids = 0
        """Taken, those that give no text included."""
        self._pieces = pieces
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def push(self, token: int) -> str:
        """What is certain now of the text: whole characters that are not the beginning of a stop text."""
        self.num_ids += 1
        return self._shown(self._utf8.decode(self._pieces.bytes_of(token)))

    def end(self) -> str:
        """What was held back, now that no more ids come."""
        text = self._shown(self._utf8.decode(b"", final=True))
        if self.is_stopped:
            return text
        text, self._held = text + self._held, ""
        return text

    def _shown(self, new: str) -> str:
        if self.is_stopped or not new:
            return ""
        if not self._stops:
            return new
        text = self._held + new
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        kept = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
