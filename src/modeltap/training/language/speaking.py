"""What a model writes: samples for people to read; and the texts that its golden prompts are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import torch

from modeltap.data.texts import Sample, plain_messages
from modeltap.data.tokenizer import Tokenizer

SAMPLED_TOKENS = 160
TEMPERATURE = 0.8
OPENING_CHARS = 80
NUM_SPOKEN = 4


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and what the model wrote after it."""

    prompt: str
    text: str


def sample(model: Any, ids: Sequence[int], count: int, *, ends: Iterable[int], context: int, seed: int) -> list[int]:
    """Up to `count` ids drawn by their probabilities, a little sharpened; the one that ends the text is left out."""
    generator = torch.Generator().manual_seed(seed)
    found: list[int] = []
    stops = set(ends)
    for logit_V in _steps(model, ids, found, count, context):
        chosen = int(torch.multinomial(torch.softmax(logit_V / TEMPERATURE, 0), 1, generator=generator))
        if chosen in stops:
            break
        found.append(chosen)
    return found


def speak(model: Any, tokenizer: Tokenizer, samples: Sequence[Sample], *, context: int, seed: int) -> list[Spoken]:
    """What the model writes after the openings of some of the texts, each with a seed of its own."""
    spoken = []
    for number, one in enumerate(_spread(samples)):
        prompt, ids = opening(tokenizer, one, room=context // 2)
        if 0 < len(ids) < context:
            written = sample(model, ids, SAMPLED_TOKENS, ends=tokenizer.end_ids, context=context, seed=seed + number)
            spoken.append(Spoken(prompt=prompt, text=tokenizer.decode(written)))
    return spoken


def opening(tokenizer: Tokenizer, one: Sample, *, room: int) -> tuple[str, list[int]]:
    """A text's prompt as people read it, and its ids; of a document so much as has room."""
    if one.messages:
        messages = plain_messages(one.messages)
        last = next((place for place, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
        asked = messages[:last]
        shown = "\n".join(f"{message['role']}: {message['content']}" for message in asked)
        return shown, tokenizer.chat(asked, tools=one.tools or None) if asked else []
    text = one.prompt or first_words(tokenizer, one.text, room=room)
    return text, tokenizer.encode(text)


def prompt_texts(tokenizer: Tokenizer, samples: Sequence[Sample], *, context: int) -> list[str]:
    """Plain texts that golden prompts are made of."""
    texts = []
    for one in _spread(samples):
        contents = [message["content"] for message in plain_messages(one.messages)] or [one.prompt or one.text]
        texts += [first_words(tokenizer, text, room=context // 2) for text in contents[:1]]
    return list(dict.fromkeys(text for text in texts if text))


def first_words(tokenizer: Tokenizer, text: str, *, room: int) -> str:
    """The beginning of a text, up to the end of a word, in `room` tokens."""
    begun = text[:OPENING_CHARS]
    if len(begun) < len(text) and len(words := begun.rsplit(None, 1)) == 2:
        begun = words[0]
    while len(tokenizer.encode(begun)) > room:
        begun = begun[: len(begun) * 3 // 4]
    return begun.rstrip()


def _spread(samples: Sequence[Sample]) -> list[Sample]:
    """A few of them; of a single long document, pieces of it."""
    if len(samples) >= NUM_SPOKEN:
        return [samples[len(samples) * place // NUM_SPOKEN] for place in range(NUM_SPOKEN)]
    pieces = []
    for one in samples:
        if one.messages or one.prompt or len(one.text) < 4 * OPENING_CHARS:
            pieces.append(one)
            continue
        for place in range(NUM_SPOKEN // len(samples)):
            start = len(one.text) * place // NUM_SPOKEN
            line = one.text.find("\n", start) + 1 if start else 0
            pieces.append(Sample(text=one.text[line:].lstrip()))
    return pieces[:NUM_SPOKEN]


def _steps(model: Any, ids: Sequence[int], found: list[int], count: int, context: int) -> Iterable[torch.Tensor]:
    """The logits after the prompt and after each id that was added to `found`."""
    given, cache = torch.tensor([list(ids)]), None
    for _ in range(min(count, context - len(ids))):
        with torch.no_grad():
            answer = model(input_ids=given, past_key_values=cache, use_cache=True)
        cache = answer.past_key_values
        yield answer.logits[0, -1].float()
        given = torch.tensor([found[-1:]])
