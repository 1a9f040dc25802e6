"""The fields of OpenAI's requests that write text, each with its bounds; what is not listed here is refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from modeltap.domain.generation import MAX_CHOICES

MAX_MESSAGES = 2_048
MAX_TOOLS = 128
MAX_METADATA = 16
MAX_TOKENS = 1 << 31
"""What a model really takes is known when it was found."""

Choices = Annotated[int, msgspec.Meta(ge=1, le=MAX_CHOICES)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(max_length=512)]
Label = Annotated[str, msgspec.Meta(max_length=4_096)]
IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
PROMPTS = {"type": "array", "items": {"anyOf": [{"type": "string"}, IDS]}, "minItems": 1, "maxItems": MAX_CHOICES}
"""Schemas of what `prompt` and `input` may be."""
Metadata = Annotated[dict[str, Any], msgspec.Meta(max_length=MAX_METADATA)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Accepted without effect: nothing is padded."""


class Writing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What completions and chat have in common. None is as if it had not been sent."""

    model: Name
    n: Choices | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)] | None = None
    """Not OpenAI's own; its clients send it as an extra field."""
    seed: Seed | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Accepted without effect.
    user: Label | None = None
    metadata: Metadata | None = None
    service_tier: Name | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_retention: Name | None = None
    safety_identifier: Label | None = None

    @property
    def has_usage(self) -> bool:
        """Whether a stream is to tell what was used."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class CompletionRequest(Writing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/completions."""

    prompt: Annotated[Any, msgspec.Meta(extra_json_schema={"anyOf": [{"type": "string"}, PROMPTS, IDS]})] = ""
    """A text, texts, ids, or lists of ids: read by `prompts.py`."""
    best_of: Choices | None = None
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    suffix: str | None = None


class JsonSchemaFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    schema: dict[str, Any] = {}
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class Function(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["function"]
    function: Function


class ChatRequest(Writing, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    modalities: list[str] | None = None
    reasoning_effort: Literal["none"] | None = None
    verbosity: Literal["medium"] | None = None
    # Accepted without effect.
    prediction: dict[str, Any] | None = None
    # Not taken.
    audio: None = None
    function_call: None = None
    functions: None = None
    moderation: None = None
    prompt_cache_options: None = None
    web_search_options: None = None
