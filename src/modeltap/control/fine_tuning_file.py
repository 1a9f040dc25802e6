"""A file to fine-tune on, checked line by line before a job is made of it, so that a mistake costs no wait."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modeltap.data.texts import COMPLETION, MESSAGES, PROMPT, TOOLS, TextForm, check_talk, text_form
from modeltap.errors import InvalidData

MIN_EXAMPLES = 10
"""Of a training file, as OpenAI has it: fewer teach nothing, and leave none to measure with."""
FORMS = (
    '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
    ' or {"prompt": "…", "completion": "…"}'
)


class Examples(NamedTuple):
    """What a file holds: how many, all of one form."""

    form: TextForm
    num_examples: int


def check_examples(path: Path, filename: str, *, field: str, least: int = 1) -> Examples:
    """What the file holds. Raises InvalidData naming the first line that is no example, and the field of the request."""
    form: TextForm | None = None
    num_examples = 0
    with path.open("rb") as source:
        for number, line in enumerate(source, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else line.strip()
            if not text:
                continue
            where = f"'{filename}', line {number}"
            try:
                found = _check_line(text, where)
                if form is not None and found != form:
                    raise InvalidData(f"{where}: a {found}, the lines before are {form}s; send lines of one form")
            except InvalidData as problem:
                raise InvalidData(problem.message, fields=[(field, problem.message)]) from None
            form = found
            num_examples += 1
    if form is None or num_examples < least:
        told = f"'{filename}' has {num_examples} examples; at least {least} are needed, one JSON object a line: {FORMS}"
        raise InvalidData(told, fields=[(field, "too few examples")])
    return Examples(form, num_examples)


def _check_line(line: bytes, where: str) -> TextForm:
    try:
        example = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidData(f"{where}: not JSON: {str(problem).replace('`', '')}") from None
    form = text_form(example) if isinstance(example, dict) else None
    if form is None or form == "document":
        keys = (
            f"it has the keys {', '.join(map(repr, sorted(example)[:8]))}" if isinstance(example, dict) else "it is no object"
        )
        raise InvalidData(f"{where}: no example to learn from, {keys}; write {FORMS}")
    if form == "chat":
        check_talk(example[MESSAGES], example.get(TOOLS), where=where)
    else:
        _check_pair(example, where)
    return form


def _check_pair(example: Mapping[str, Any], where: str) -> None:
    for name in (PROMPT, COMPLETION):
        if not isinstance(example[name], str):
            raise InvalidData(f'{where}: "{name}" must be a text')
    if not example[COMPLETION]:
        raise InvalidData(f'{where}: "{COMPLETION}" is empty, there is nothing to learn')
