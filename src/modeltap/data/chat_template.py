"""A model's chat template: messages → the text that the model continues, rendered in a sandbox as transformers renders it.

What stands inside a message can never become a special token: before rendering, a mark goes into every special token that a
message spells, and where it could be pieced together from two neighbours; after it, the text is cut at these places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from modeltap.errors import Broken, InvalidInput

MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Code points that stand for no character and never will; one that the messages do not hold is taken."""
MAX_DEPTH = 64
MAX_RENDERED_CHARS = 64 << 20
ROLE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Sandbox(ImmutableSandboxedEnvironment):
    """Neither leads out of the template nor lets it make texts without end."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or _repeated_chars(left, right) > MAX_RENDERED_CHARS:
            raise SecurityError(f"a template may not compute {type(left).__name__} {operator} {type(right).__name__}")
        return super().call_binop(context, operator, left, right)


class Generation(Extension):
    """`{% generation %}` stands around what the assistant says; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as its parent declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """One template; `special` are the texts of the tokenizer's special tokens, `variables` what it may call by name."""

    def __init__(
        self,
        text: str,
        *,
        special: Collection[str] = (),
        variables: Mapping[str, Any] | None = None,
        clock: Callable[[], datetime] = datetime.now,
    ) -> None:
        """Raises Broken if it is no template."""
        environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: clock().strftime(form)
        try:
            self._template = environment.from_string(text)
            self.takes_tools = "tools" in find_undeclared_variables(environment.parse(text))
        except TemplateSyntaxError as problem:
            raise Broken(f"the model's chat template cannot be read: {problem.message} in line {problem.lineno}") from None
        self._variables = dict(variables or {})
        self._special = sorted((token for token in special if token), key=len, reverse=True)
        self._any_special = re.compile("|".join(map(re.escape, self._special))) if self._special else None
        self._beginnings = {token[:end] for token in self._special for end in range(1, len(token))}
        self._endings = {token[start:] for token in self._special for start in range(1, len(token))}

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Any] | None = None, is_answered: bool = False
    ) -> list[str]:
        """The text, as pieces to be read one by one: only in one of them may a special token be seen. It asks for the
        answer, unless the last message is one. Raises InvalidInput if the template does not take these messages."""
        if any(not isinstance(message.get("role"), str) or not ROLE.fullmatch(message["role"]) for message in messages):
            raise InvalidInput("every message needs a role, such as 'user': up to 64 letters, digits, '_', '.' or '-'")
        mark = self._free_mark(messages, tools)
        given: dict[str, Any] = {
            "messages": [{k: v if k == "role" else self._marked(v, mark) for k, v in m.items()} for m in messages],
            "tools": self._marked(tools, mark) if tools else None,
            "documents": None,
            "add_generation_prompt": not is_answered,
        }
        try:
            text = self._template.render(**{**self._variables, **given})
        except TemplateError as problem:
            raise InvalidInput(f"the model's chat template refuses the messages: {problem}") from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as problem:
            raise InvalidInput(f"the model's chat template cannot make a text of these messages: {problem}") from None
        if len(text) > MAX_RENDERED_CHARS:
            raise InvalidInput(f"the messages make a text of {len(text):,} characters; {MAX_RENDERED_CHARS:,} are allowed")
        return self._cut(text, mark)

    def _free_mark(self, messages: Any, tools: Any) -> str:
        held = _letters([messages, tools])
        for mark in MARKS:
            if mark not in held:
                return mark
        raise InvalidInput("the messages hold every code point from U+FDD0 to U+FDEF; leave one of them out")

    def _marked(self, value: Any, mark: str) -> Any:
        if isinstance(value, str):
            return self._marked_text(value, mark)
        if isinstance(value, Mapping):
            return {self._marked(key, mark): self._marked(one, mark) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._marked(one, mark) for one in value]
        return value

    def _marked_text(self, text: str, mark: str) -> str:
        if self._any_special is None:
            return text
        inner = text.strip()
        longest = len(self._special[0])
        end = next((n for n in range(min(longest, len(inner)), 0, -1) if inner[-n:] in self._beginnings), 0)
        start = next((n for n in range(min(longest, len(inner)), 0, -1) if inner[:n] in self._endings), 0)
        begins = text.index(inner) if inner else 0
        text = text[:begins] + (mark if start else "") + inner + (mark if end else "") + text[begins + len(inner) :]
        return self._any_special.sub(lambda found: f"{found[0][0]}{mark}{found[0][1:]}", text)

    def _cut(self, text: str, mark: str) -> list[str]:
        """The text without its marks; cut at those that stand inside what would otherwise be read as a special token."""
        if mark not in text or self._any_special is None:
            return [text]
        parts = text.split(mark)
        whole = "".join(parts)
        places, at = [], 0
        for part in parts[:-1]:
            at += len(part)
            places.append(at)
        cuts: list[int] = []
        for place in places:
            since = cuts[-1] if cuts else 0
            near = whole[max(since, place - len(self._special[0])) : place + len(self._special[0])]
            middle = place - max(since, place - len(self._special[0]))
            if any(_stands_over(near, token, middle) for token in self._special):
                cuts.append(place)
        edges = [0, *cuts, len(whole)]
        return [whole[a:b] for a, b in pairwise(edges) if a < b]


def _stands_over(text: str, token: str, place: int) -> bool:
    """Whether the token stands in the text so that the place is inside it."""
    at = text.find(token, max(0, place - len(token) + 1))
    return 0 <= at < place < at + len(token)


def _letters(value: Any, depth: int = 0) -> set[str]:
    """Every character of every text in the value. Raises InvalidInput where it is too deep."""
    if depth > MAX_DEPTH:
        raise InvalidInput(f"the messages are nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        return set(value)
    if isinstance(value, Mapping):
        return set().union(*(_letters(key, depth + 1) | _letters(one, depth + 1) for key, one in value.items()))
    if isinstance(value, list | tuple):
        return set().union(*(_letters(one, depth + 1) for one in value))
    return set()


def _repeated_chars(left: Any, right: Any) -> int:
    for text, times in ((left, right), (right, left)):
        if isinstance(text, str | list | tuple) and isinstance(times, int):
            return len(text) * times
    return 0


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Without the escapes for HTML that jinja's own filter adds."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
