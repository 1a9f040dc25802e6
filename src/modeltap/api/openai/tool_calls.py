"""Tools that a model may call: what it is told of them, and how its calls are found in what it writes.

    <tool_call>
    {"name": "weather", "arguments": {"city": "Bern"}}
    </tool_call>

is how models of the Hermes and Qwen families write one; only templates that say so are given tools.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modeltap.api.openai.fields import ChatRequest, Function
from modeltap.api.openai.problems import refused
from modeltap.api.openai.sampling import schema_grammar
from modeltap.domain.generation import Grammar

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class ToolCall:
    """One call of a function, with its arguments as JSON text."""

    name: str
    arguments: str
    id: str = field(default_factory=lambda: f"call_{secrets.token_hex(12)}")

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


Piece = str | ToolCall


@dataclass(frozen=True)
class Offer:
    """The tools of one request. `forced`: the answer is a call of one of these, and nothing else."""

    tools: tuple[dict[str, Any], ...] = ()
    """As the template is told of them; empty where the model may call none."""
    names: frozenset[str] = frozenset()
    forced: tuple[Function, ...] = ()
    only_one: bool = False

    def grammar(self) -> Grammar | None:
        """What forces the call."""
        if not self.forced:
            return None
        schemas = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": function.name},
                    "arguments": function.parameters or {"type": "object"},
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for function in self.forced
        ]
        return schema_grammar(schemas[0] if len(schemas) == 1 else {"anyOf": schemas}, param="tools")

    def reader(self) -> ToolReader:
        return ToolReader(self.names, is_forced=bool(self.forced), only_one=self.only_one)


def read_offer(request: ChatRequest, *, writes_calls: bool) -> Offer:
    """Raises InvalidInput where the model's template has no tools, and for a choice that names none of them."""
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice != "none" and choice != "auto":
            raise refused("tool_choice", "'tool_choice' asks for a tool, and there are none in 'tools'")
        return Offer()
    functions = {tool.function.name: tool.function for tool in request.tools}
    forced = _forced(choice, functions)
    if choice == "none":
        return Offer()
    if not writes_calls:
        raise refused("tools", f"the chat template of '{request.model}' says of no way to call tools; leave 'tools' out")
    told = tuple({"type": "function", "function": _told(tool.function)} for tool in request.tools)
    return Offer(told, frozenset(functions), forced, request.parallel_tool_calls is False)


def _forced(choice: str | dict[str, Any] | None, functions: dict[str, Function]) -> tuple[Function, ...]:
    if choice is None or choice in ("none", "auto"):
        return ()
    if choice == "required":
        return tuple(functions.values())
    named = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = named.get("name") if isinstance(named, dict) else None
    if name not in functions:
        raise refused(
            "tool_choice",
            "'tool_choice' is 'none', 'auto', 'required' or {\"type\": \"function\", \"function\": {\"name\": …}} of one of:"
            f" {', '.join(functions)[:400]}",
        )
    return (functions[name],)


def _told(function: Function) -> dict[str, Any]:
    return {
        "name": function.name,
        "description": function.description or "",
        "parameters": function.parameters or {"type": "object", "properties": {}},
    }


class ToolReader:
    """Finds calls in a text that comes in parts. What may be the beginning of one is held back."""

    def __init__(self, names: frozenset[str], *, is_forced: bool = False, only_one: bool = False) -> None:
        self._names = names
        self._is_forced = is_forced
        self._only_one = only_one
        self._held = ""
        self._is_inside = is_forced
        self.num_calls = 0

    def feed(self, text: str) -> list[Piece]:
        """What is certain now."""
        if not self._names:
            return [text] if text else []
        self._held += text
        pieces: list[Piece] = []
        while not self._is_forced:
            mark = CLOSE if self._is_inside else OPEN
            place = self._held.find(mark)
            if place < 0:
                break
            found, self._held = self._held[:place], self._held[place + len(mark) :]
            if self._is_inside:
                pieces += self._call(found, OPEN + found + CLOSE)
            else:
                pieces += [found.rstrip()]
            self._is_inside = not self._is_inside
        if not self._is_inside:
            keep = _held_back(self._held)
            pieces.append(self._held[: len(self._held) - keep])
            self._held = self._held[len(self._held) - keep :]
        return [piece for piece in pieces if piece]

    def finish(self) -> list[Piece]:
        """The rest: a call that was not closed counts if it is whole."""
        held, self._held = self._held, ""
        if not self._is_inside:
            return [held] if held and not (self.num_calls and held.isspace()) else []
        return self._call(held, held if self._is_forced else OPEN + held)

    def _call(self, text: str, raw: str) -> list[Piece]:
        try:
            value = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return [raw]
        calls = value if isinstance(value, list) else [value]
        if not all(isinstance(one, dict) and one.get("name") in self._names for one in calls):
            return [raw]
        pieces: list[Piece] = []
        for one in calls:
            if self._only_one and self.num_calls:
                break
            self.num_calls += 1
            arguments = one.get("arguments", one.get("parameters", {}))
            told = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            pieces.append(ToolCall(one["name"], told))
        return pieces


def _held_back(text: str) -> int:
    """How many characters at the end may belong to a call: its first mark, and the blanks before it."""
    longest = next((size for size in range(min(len(OPEN) - 1, len(text)), 0, -1) if text.endswith(OPEN[:size])), 0)
    before = text[: len(text) - longest]
    return longest + len(before) - len(before.rstrip())


def split_pieces(pieces: Iterable[Piece]) -> tuple[str, list[ToolCall]]:
    """The text, and the calls."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for piece in pieces:
        if isinstance(piece, str):
            texts.append(piece)
        else:
            calls.append(piece)
    return "".join(texts), calls


def read_whole(reader: ToolReader, texts: Sequence[str]) -> tuple[str, list[ToolCall]]:
    """Text and calls of an answer that is whole."""
    pieces = [piece for text in texts for piece in reader.feed(text)]
    return split_pieces([*pieces, *reader.finish()])
