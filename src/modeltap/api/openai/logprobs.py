"""Log-probabilities of the tokens that were written, in the two shapes that OpenAI has for them."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Any

from modeltap.data.tokenizer import Tokenizer
from modeltap.domain.generation import TokenDelta

LOWEST = -9999.0
"""OpenAI's own number for what cannot be: JSON has no infinity."""


class CompletionLogprobs:
    """Of one text of a completion, from its first token on; each call gives the part that is new."""

    def __init__(self, tokenizer: Tokenizer, *, alternatives: int) -> None:
        self._tokenizer = tokenizer
        self._alternatives = alternatives
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def of_prompt(self, ids: Sequence[int], logprobs: Sequence[float | None]) -> dict[str, Any]:
        """Of the prompt's tokens, the first of which has none."""
        return self._told(zip(ids, [*logprobs, *[None] * (len(ids) - len(logprobs))], strict=True))

    def of_text(self, delta: TokenDelta) -> dict[str, Any]:
        return self._told(shown_tokens(delta, self._tokenizer))

    def _told(self, tokens: Iterable[tuple[int, float | None]]) -> dict[str, Any]:
        texts: list[str] = []
        values: list[float | None] = []
        offsets: list[int] = []
        for token, value in tokens:
            offsets.append(self._offset)
            texts.append(self._tokenizer.token_text(token))
            values.append(None if value is None else max(value, LOWEST))
            self._offset += len(self._decoder.decode(self._tokenizer.token_bytes(token)))
        top = [None if value is None else {text: value} for text, value in zip(texts, values, strict=True)]
        return {
            "tokens": texts,
            "token_logprobs": values,
            "top_logprobs": top if self._alternatives else None,
            "text_offset": offsets,
        }


def joined_logprobs(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Both parts of one text."""
    return {name: None if first[name] is None else first[name] + then[name] for name in first}


def chat_logprobs(delta: TokenDelta, tokenizer: Tokenizer, *, alternatives: int) -> dict[str, Any]:
    """Of the tokens of one delta."""
    content = []
    for token, value in shown_tokens(delta, tokenizer):
        told = {
            "token": tokenizer.token_text(token),
            "logprob": LOWEST if value is None else max(value, LOWEST),
            "bytes": list(tokenizer.token_bytes(token)),
        }
        content.append({**told, "top_logprobs": [told] if alternatives else []})
    return {"content": content, "refusal": None}


def shown_tokens(delta: TokenDelta, tokenizer: Tokenizer) -> list[tuple[int, float | None]]:
    """Ids with their values; without the one that ends the model's own texts, which is no text."""
    tokens: list[tuple[int, float | None]] = list(zip(delta.ids, delta.logprobs, strict=False))
    if delta.finish == "stop" and tokens and tokens[-1][0] in tokenizer.end_ids:
        tokens.pop()
    return tokens
