"""The fields of POST /v1/responses, and the chat that they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import msgspec

from modeltap.api.openai.fields import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChatRequest,
    Function,
    JsonSchemaFormat,
    Label,
    Metadata,
    Name,
    ResponseFormat,
    StreamOptions,
    Tokens,
    Tool,
)
from modeltap.api.openai.problems import refused
from modeltap.errors import InvalidInput

CALL, OUTPUT = "function_call", "function_call_output"
NAMES = {"messages": "input", "max_completion_tokens": "max_output_tokens", "response_format": "text.format"}
"""Fields of a chat, as they are called here."""


class TextFormat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: Name | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: TextFormat | None = None
    verbosity: Literal["medium"] | None = None


class FunctionTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["function"]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponsesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing is stored: what builds on an earlier answer sends it again."""

    model: Name
    input: str | Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None
    include: Annotated[list[str], msgspec.Meta(max_length=0)] | None = None
    # Accepted without effect.
    metadata: Metadata | None = None
    user: Label | None = None
    service_tier: Name | None = None
    prompt_cache_key: Label | None = None
    prompt_cache_retention: Name | None = None
    safety_identifier: Label | None = None
    # Not taken.
    previous_response_id: None = None
    conversation: None = None
    prompt: None = None
    reasoning: None = None
    top_logprobs: None = None
    max_tool_calls: None = None
    moderation: None = None


def chat_of(request: ResponsesRequest) -> ChatRequest:
    """The same as a chat. Raises InvalidInput naming the field."""
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    if isinstance(request.input, str):
        messages.append({"role": "user", "content": request.input})
    else:
        for place, item in enumerate(request.input):
            _add_item(messages, item, f"input[{place}]")
    tools = [Tool("function", Function(one.name, one.description, one.parameters, one.strict)) for one in request.tools or ()]
    choice = request.tool_choice
    if isinstance(choice, dict) and "name" in choice:
        choice = {"type": choice.get("type"), "function": {"name": choice["name"]}}
    return ChatRequest(
        model=request.model,
        messages=messages,
        max_completion_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        response_format=_format(request.text),
        tools=tools or None,
        tool_choice=choice,
        parallel_tool_calls=request.parallel_tool_calls,
        stream=request.stream,
        store=request.store,
    )


@contextmanager
def named_as_response() -> Iterator[None]:
    """Within it, what is refused of the chat is told by the names that its fields have here."""
    try:
        yield
    except InvalidInput as problem:
        problem.fields = tuple((_renamed(param), told) for param, told in problem.fields)
        raise


def _renamed(param: str) -> str:
    name = next((name for name in NAMES if param.startswith(name)), None)
    return param if name is None else NAMES[name] + param[len(name) :]


def _format(text: TextOptions | None) -> ResponseFormat | None:
    wanted = None if text is None else text.format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ResponseFormat("json_object")
    if wanted.schema is None:
        raise refused("text.format.schema", "a format of type 'json_schema' takes the schema in 'schema'")
    return ResponseFormat("json_schema", JsonSchemaFormat(wanted.name or "answer", wanted.schema))


def _add_item(messages: list[dict[str, Any]], item: dict[str, Any], param: str) -> None:
    """One item of the input behind the messages that came before it; calls that follow each other are of one message."""
    kind = item.get("type", "message")
    if kind == "message":
        messages.append({"role": item.get("role"), "content": item.get("content")})
    elif kind == CALL:
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if not (messages and messages[-1]["role"] == "assistant" and "tool_calls" in messages[-1]):
            messages.append({"role": "assistant", "content": None, "tool_calls": []})
        messages[-1]["tool_calls"].append(call)
    elif kind == OUTPUT:
        messages.append({"role": "tool", "content": item.get("output"), "tool_call_id": item.get("call_id")})
    else:
        raise refused(f"{param}.type", f"'{param}' is of the type '{str(kind)[:80]}'; allowed: message, {CALL}, {OUTPUT}")
