"""The prompts of a completion: a text, texts, token ids, or lists of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modeltap.api.openai.problems import refused, too_long
from modeltap.data.tokenizer import Tokenizer
from modeltap.domain.generation import MAX_CHOICES

CHARS_PER_TOKEN = 1_024
"""A text with more characters a token than this does not fit, whatever they are: it is not even read."""


@dataclass(frozen=True)
class Prompt:
    text: str | None
    """None where ids were given."""
    ids: tuple[int, ...]


def read_prompts(given: Any, tokenizer: Tokenizer, *, context_tokens: int) -> list[Prompt]:
    """At least one prompt. Raises InvalidInput, saying which one is wrong, and ContextTooLong."""
    if isinstance(given, str):
        return [text_prompt(given, tokenizer, context_tokens=context_tokens)]
    if not isinstance(given, list) or not given:
        raise refused("prompt", "'prompt' is a text, a list of texts, a list of token ids, or a list of such lists")
    if _is_ids(given):
        return [_id_prompt(given, tokenizer, context_tokens, "prompt")]
    if len(given) > MAX_CHOICES:
        raise refused("prompt", f"'prompt' has {len(given):,} prompts; at most {MAX_CHOICES} are taken at a time")
    prompts = []
    for place, one in enumerate(given):
        if isinstance(one, str):
            prompts.append(text_prompt(one, tokenizer, context_tokens=context_tokens))
        elif isinstance(one, list) and one and _is_ids(one):
            prompts.append(_id_prompt(one, tokenizer, context_tokens, f"prompt[{place}]"))
        else:
            raise refused(f"prompt[{place}]", f"'prompt[{place}]' is neither a text nor a list of token ids")
    return prompts


def text_prompt(text: str, tokenizer: Tokenizer, *, context_tokens: int, param: str = "prompt") -> Prompt:
    """Raises ContextTooLong for a text that cannot fit."""
    if len(text) > context_tokens * CHARS_PER_TOKEN:
        raise too_long(param, f"it has {len(text):,} characters; shorten it", context_tokens)
    ids = tuple(tokenizer.encode(text)) or _begin(tokenizer)
    if not ids:
        raise refused(param, f"'{param}' is empty; send at least one character")
    return Prompt(text, ids)


def _begin(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What stands before the first text, where nothing was given: as OpenAI does it, the token that ends one."""
    return tuple(sorted(tokenizer.end_ids)[:1])


def _is_ids(given: Sequence[Any]) -> bool:
    return all(type(one) is int for one in given)


def _id_prompt(ids: list[int], tokenizer: Tokenizer, context_tokens: int, param: str) -> Prompt:
    if len(ids) > context_tokens:
        raise too_long(param, f"'{param}' has {len(ids):,}; shorten it", context_tokens)
    wrong = next((token for token in ids if not 0 <= token < tokenizer.vocabulary), None)
    if wrong is not None:
        raise refused(param, f"'{param}' has the token id {wrong}; those of this model are 0 to {tokenizer.vocabulary - 1:,}")
    return Prompt(None, tuple(ids))
