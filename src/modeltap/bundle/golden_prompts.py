"""Golden prompts: texts and the ids that the model went on with, greedily, when its bundle was written.

What golden rows are for a model that answers in rows. The text is kept beside its ids, so that a tokenizer that reads it
otherwise is found as well as weights that go on otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from modeltap.errors import GoldenMismatch

MAX_ANSWER_IDS = 16
PREFIX_IDS = 4
"""On another processor or runtime, whose sums are rounded otherwise, so many ids of an answer must repeat."""

Encode = Callable[[str], Sequence[int]]
Continue = Callable[[Sequence[int], int], Sequence[int]]
"""(prompt, how many ids) → the ids that follow, the most likely one each time."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    ids: tuple[int, ...]
    answer: tuple[int, ...]


def record_prompts(texts: Sequence[str], encode: Encode, go_on: Continue) -> tuple[Prompt, ...]:
    """Each text with its ids and what the model says after it."""
    prompts = []
    for text in texts:
        ids = tuple(encode(text))
        prompts.append(Prompt(text=text, ids=ids, answer=tuple(go_on(ids, MAX_ANSWER_IDS))))
    return tuple(prompts)


def replay_prompts(prompts: Sequence[Prompt], encode: Encode, go_on: Continue, *, exact: bool) -> None:
    """Nothing, if every text is read and answered as recorded. Raises GoldenMismatch naming the first that is not."""
    for number, prompt in enumerate(prompts, start=1):
        ids = tuple(encode(prompt.text))
        if ids != prompt.ids:
            raise GoldenMismatch(
                f"the tokenizer reads golden prompt {number} as {list(ids)[:20]}, recorded was {list(prompt.ids)[:20]};"
                " the version is not deployed"
            )
        answer = tuple(go_on(ids, len(prompt.answer)))
        compared = len(prompt.answer) if exact else min(PREFIX_IDS, len(prompt.answer))
        if answer[:compared] != prompt.answer[:compared]:
            raise GoldenMismatch(
                f"golden prompt {number} goes on with {list(answer[:compared])}, recorded was {list(prompt.answer[:compared])}"
                f" ({'the same' if exact else 'another'} processor and runtime); the version is not deployed"
            )
