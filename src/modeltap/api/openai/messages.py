"""The messages of a chat, as a model's template takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modeltap.api.openai.problems import refused

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
TAKEN = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
LEFT_OUT = frozenset({"refusal", "annotations", "audio", "function_call", "reasoning_content"})
"""Of an answer that is sent back as it came; taken where they are empty."""
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
LONGEST = 80


def read_messages(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Raises InvalidInput naming the message and its field."""
    return [read_message(message, f"messages[{place}]") for place, message in enumerate(given)]


def read_message(message: Mapping[str, Any], param: str) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise refused(f"{param}.role", f"'{param}.role' is {_shown(role)}; allowed: {', '.join(ROLES)}")
    for name, value in message.items():
        if name not in TAKEN and not (name in LEFT_OUT and not value):
            raise refused(f"{param}.{name[:LONGEST]}", f"'{param}.{name[:LONGEST]}' is not taken here; leave it out")
    read: dict[str, Any] = {"role": ROLES[role], "content": read_content(message.get("content"), f"{param}.content")}
    calls = message.get("tool_calls")
    if calls:
        if role != "assistant":
            raise refused(f"{param}.tool_calls", f"only a message of the assistant has tool calls; '{param}' is of {role}")
        read["tool_calls"] = _read_calls(calls, f"{param}.tool_calls")
    elif message.get("content") is None:
        raise refused(f"{param}.content", f"'{param}' has no content; send a text")
    for name in ("name", "tool_call_id"):
        value = message.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise refused(f"{param}.{name}", f"'{param}.{name}' is {_shown(value)}; send a text")
            read[name] = value
    return read


def read_content(content: Any, param: str) -> str:
    """A text, or the texts of its parts put together. Raises InvalidInput for pictures and sounds."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise refused(param, f"'{param}' is {_shown(content)}; send a text, or a list of parts of the type 'text'")
    texts = []
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "refusal" and isinstance(part.get("refusal"), str):
            texts.append(part["refusal"])
        elif isinstance(kind, str) and kind in TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise refused(f"{param}[{place}]", f"'{param}[{place}]' is no part of the type 'text'; the model reads texts alone")
    return "".join(texts)


def _read_calls(calls: Any, param: str) -> list[dict[str, Any]]:
    """As templates take them: the arguments as an object."""
    if not isinstance(calls, list):
        raise refused(param, f"'{param}' is {_shown(calls)}; send a list of calls")
    read = []
    for place, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise refused(f"{param}[{place}]", f"'{param}[{place}]' names no function; send its 'function' as it came")
        arguments = function.get("arguments") or "{}"
        read.append(
            {
                "id": str(call.get("id", "")),
                "type": "function",
                "function": {"name": function["name"], "arguments": _object(arguments, f"{param}[{place}].function.arguments")},
            }
        )
    return read


def _object(arguments: Any, param: str) -> Any:
    if isinstance(arguments, dict):
        return arguments
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, TypeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise refused(param, f"'{param}' is no JSON object")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"'{value[:LONGEST]}'"
    return "missing" if value is None else f"a value of the type {type(value).__name__}"
