"""What a request to an upstream may use at the worst, and what it did use: by the upstream's word, else in the caller's favour.

Sans-IO. Where the upstream says nothing, a word of the prompt and a piece of the answer count as one token each: there were at
least so many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

CALL_TOKENS = 64
MESSAGE_TOKENS = 16
"""A chat template adds to the whole and to each message; what templates in use add is less."""
TOOL_FACTOR = 3
"""Templates write tools out with spaces and line ends."""
COMPLETION_TOKENS = 16
"""Of /v1/completions where the request has no limit of its own, as OpenAI has it."""
UNCOUNTED = frozenset({"role", "type", "id", "tool_call_id", "index"})
"""Of a message: what stands for it in a template is in MESSAGE_TOKENS."""
ESTIMATED = "usage_estimated"
"""Code of a record whose units were counted here."""


def choices_of(body: Mapping[str, Any]) -> int:
    """How many texts are written: `n`, or what `best_of` tries, for each prompt."""
    prompts = body.get("prompt")
    is_many = isinstance(prompts, list) and bool(prompts) and not isinstance(prompts[0], int)
    each = max(_number(body.get("n"), 1), _number(body.get("best_of"), 1))
    return each * (len(prompts) if isinstance(prompts, list) and is_many else 1)


def limit_of(body: Mapping[str, Any]) -> int | None:
    """The tokens that one text may have; None where the request does not say."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if isinstance(value, int):
            return value
    return None


def most_prompt_tokens(body: Mapping[str, Any]) -> int:
    """No tokenizer makes more of the prompt: a token has a byte at least."""
    prompts = body.get("prompt")
    if prompts is not None:
        many = prompts if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else [prompts]
        return sum(_length(one) + CALL_TOKENS for one in many)
    messages = body.get("messages") or []
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in _texts(messages))
    size += TOOL_FACTOR * sum(len(msgspec.json.encode(body[name])) for name in ("tools", "response_format") if body.get(name))
    return CALL_TOKENS + MESSAGE_TOKENS * len(messages) + size


def least_prompt_tokens(body: Mapping[str, Any]) -> int:
    """No tokenizer in use makes fewer: one a word, and every id that was sent."""
    prompts = body.get("prompt")
    if isinstance(prompts, list):
        if prompts and isinstance(prompts[0], int):
            return len(prompts)
        return sum(len(one) if isinstance(one, list) else len(str(one).split()) for one in prompts)
    if prompts is not None:
        return len(str(prompts).split())
    return sum(len(text.split()) for text in _texts(body.get("messages") or []))


def most_tokens(body: Mapping[str, Any], context_tokens: int) -> int:
    """What is reserved: prompt and every text, one without a limit as long as the context."""
    limit = limit_of(body)
    return most_prompt_tokens(body) + choices_of(body) * (context_tokens if limit is None else limit)


class Count:
    """Of one request: told every chunk or the whole answer, it knows what was used until now."""

    def __init__(self, body: Mapping[str, Any], *, reserved: int) -> None:
        self.reserved = reserved
        self.was_cut = False
        """The upstream said more than the request was allowed; no more than that is charged."""
        self._least = least_prompt_tokens(body)
        self._pieces = 0
        self._told: tuple[int, int] | None = None

    @property
    def is_estimated(self) -> bool:
        return self._told is None

    @property
    def prompt_tokens(self) -> int:
        return self._least if self._told is None else self._told[0]

    @property
    def completion_tokens(self) -> int:
        return self._pieces if self._told is None else max(self._told[1], 0)

    @property
    def units(self) -> int:
        """What is charged; never more than was reserved."""
        return min(self.prompt_tokens + self.completion_tokens, self.reserved)

    def chunk(self, chunk: Mapping[str, Any]) -> int:
        """One event of a stream, with the running usage where it says that. How many texts it has a piece of."""
        pieces = sum(map(_has_text, _choices(chunk)))
        self._pieces += pieces
        if not self._tell(chunk) and self._told is not None:
            self._told = self._told[0], self._told[1] + pieces
        return pieces

    def whole(self, answer: Mapping[str, Any]) -> None:
        """The answer to a request that was not streamed."""
        if not self._tell(answer):
            for choice in _choices(answer):
                message = choice.get("message")
                texts = _texts([message]) if isinstance(message, dict) else iter([str(choice.get("text") or "")])
                self._pieces += max(1, sum(len(text.split()) for text in texts))

    def usage(self) -> dict[str, Any]:
        """As the caller is told; the ledger has the same sum."""
        prompt = min(self.prompt_tokens, self.reserved)
        completion = self.units - prompt
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def _tell(self, found: Mapping[str, Any]) -> bool:
        usage = found.get("usage")
        if not isinstance(usage, dict):
            return False
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
        if not isinstance(prompt, int) or not isinstance(completion, int) or prompt < 0 or completion < 0:
            return False
        self._told = prompt, completion
        self.was_cut = prompt + completion > self.reserved
        return True


def _choices(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = found.get("choices")
    return [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []


def _has_text(choice: Mapping[str, Any]) -> bool:
    delta = choice.get("delta")
    if isinstance(delta, dict):
        return any(delta.get(name) for name in ("content", "reasoning_content", "reasoning", "tool_calls", "refusal"))
    return bool(choice.get("text"))


def _texts(messages: Any) -> Iterator[str]:
    """Everything in the messages that a template may write out."""
    for message in messages if isinstance(messages, list) else []:
        yield from _strings(message)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in UNCOUNTED:
                yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _length(prompt: Any) -> int:
    return len(prompt) if isinstance(prompt, list) else len(str(prompt).encode("utf-8", "surrogatepass"))


def _number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and value > 0 else otherwise
