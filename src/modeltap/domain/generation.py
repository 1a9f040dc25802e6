"""Text that is generated token by token: what is asked, what comes back, and what makes it.

Ids are those of the version's own tokenizer; whoever asks has turned its text into ids, and gets ids and text back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from modeltap.errors import ModeltapError

FinishReason = Literal["stop", "length", "cancelled"]
"""stop: the model ended, or a stop text came. length: `max_tokens` or the context is used up. cancelled: by the caller."""

GrammarKind = Literal["json-object", "json-schema", "regex"]

MAX_STOPS = 4
MAX_STOP_CHARS = 256
MAX_CHOICES = 128
"""Of one request, each generated on its own."""
MAX_GRAMMAR_BYTES = 64 << 10


class Grammar(msgspec.Struct, frozen=True):
    """What the text must fit: `text` is the JSON schema or the regular expression, '' for any JSON object."""

    kind: GrammarKind
    text: str = ""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen, and when the text ends. Bounds are checked by whoever reads them from outside."""

    max_tokens: int
    temperature: float = 1.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    top_k: int = 0
    """0 is all."""
    seed: int | None = None
    """The same request with the same seed gives the same text, as far as the engine can; None is another each time."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    """The text ends before the first of these; they are not part of it."""
    stop_ids: tuple[int, ...] = ()
    """Beside the ids that end the model's own texts."""
    ignore_end: bool = False
    """Goes on where the model would end; for measurements."""
    logprobs: bool = False
    """Of each chosen token, natural logarithm."""
    echo: bool = False
    """The log-probabilities of the prompt's tokens, too."""
    grammar: Grammar | None = None


class GenerationRequest(msgspec.Struct, frozen=True):
    """One text to generate. `n` choices of one prompt are `n` of these."""

    id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling


class TokenDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came since the last one. The last of a request has a `finish`; nothing comes after it.

    `ids` are what is counted: every id the model chose and that was handed on, the one that ended the text too. `text` may
    lag behind them: a character that is not whole, or what may be the beginning of a stop text, is held back.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[float, ...] = ()
    """One an id, where they were asked for."""
    prompt_logprobs: tuple[float | None, ...] = ()
    """With the first delta, where `echo` was asked for: one a prompt token; the first token has none."""
    finish: FinishReason | None = None


Deliver = Callable[["TokenDelta | ModeltapError"], None]
"""Called on the event loop with every delta in order; or with the failure, after which nothing comes."""


class TokenEngine(Protocol):
    """Generates many texts at a time. Lives on one event loop; everything is called there."""

    def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        """Begins with the text. Raises InvalidInput for what this engine cannot honour, naming it, and Unavailable."""

    def cancel(self, request_id: str) -> None:
        """Nobody wants the text any more: its place is free within a step. `deliver` is not called again. Unknown ids are
        no error."""

    async def close(self) -> None:
        """What still runs ends in Unavailable."""
