"""What a language model inside its own process is asked, and what every engine of tokens refuses before that.

Both engines are used by `tokens_child.py`; what they cannot honour is said by `check` of their own modules, which the server
calls too, so that nothing of it reaches the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from modeltap.domain.generation import GenerationRequest, Sampling
from modeltap.domain.model import Language
from modeltap.errors import ContextTooLong, InvalidInput, ModeltapError

Ended = Literal["stop", "length"]
"""stop: by an id that ends texts. length: by the number of ids."""


class Chosen(NamedTuple):
    """What one step gave one text."""

    number: int
    ids: Sequence[int]
    logprobs: Sequence[float] = ()
    prompt_logprobs: Sequence[float | None] = ()
    finish: Ended | None = None
    """After stop the last id is the one that ended the text; it is not text itself."""
    problem: ModeltapError | None = None
    """The text ends in this."""


class TokenCore(Protocol):
    """Goes on with many texts, one step at a time. What `step` raises is the end of the core."""

    @property
    def is_busy(self) -> bool:
        """Whether a step would do anything."""

    def add(self, number: int, prompt_ids: Sequence[int], sampling: Sampling) -> None:
        """Raises InvalidInput; then the others are not touched."""

    def drop(self, number: int) -> None:
        """Its place is free with the next step. Unknown numbers are no error."""

    def step(self) -> list[Chosen]:
        """What came for whom."""


def check_bounds(request: GenerationRequest, language: Language) -> None:
    """Raises InvalidInput or ContextTooLong for what no engine can do with this model."""
    prompt, sampling = request.prompt_ids, request.sampling
    if not prompt:
        raise InvalidInput("the prompt has no tokens; give it at least one")
    if min(prompt) < 0 or max(prompt) >= language.vocabulary:
        wrong = next(token for token in prompt if not 0 <= token < language.vocabulary)
        raise InvalidInput(f"the prompt holds the id {wrong}; this model's ids are 0 to {language.vocabulary - 1}")
    room = language.context_tokens - len(prompt)
    if room < min(sampling.max_tokens, 1):
        raise ContextTooLong(
            f"the prompt has {len(prompt):,} tokens; the model reads and writes {language.context_tokens:,} together, so"
            f" {language.context_tokens - 1:,} at most leave room for an answer"
        )
    if sampling.max_tokens < (0 if sampling.echo else 1):
        raise InvalidInput(f"max_tokens is {sampling.max_tokens}; it is at least 1, or 0 with echo")


def tokens_left(prompt_ids: Sequence[int], sampling: Sampling, language: Language) -> int:
    """How many may come before the text ends in `length`."""
    return min(sampling.max_tokens, language.context_tokens - len(prompt_ids))
