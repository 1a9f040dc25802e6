"""What a tokenizer.json may ask for: it reads whatever callers send, inside of the server, so that a text which it makes a
million times as long, or a pattern which is tried in all ways, would stop the others' answers too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltap.errors import InvalidData
from modeltap.importing.language_directory import TOKENIZER

MOST_GROWTH = 64
"""Times that all replacements together may lengthen a text; those in use write three bytes for a space."""
MAX_PATTERN_CHARS = 20_000
MAX_DEPTH = 100
EXPORT = "tokenizer.save_pretrained(DIR)"


def check_tokenizer(path: Path) -> None:
    """Raises InvalidData for a file that is no JSON, lengthens texts without measure, or has a pattern with repetitions of
    repetitions."""
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidData(f"{TOKENIZER} is no JSON; write it anew: {EXPORT}") from None
    growth = 1.0
    for part in _parts(said):
        pattern = part.get("pattern")
        told = next((pattern[key] for key in ("Regex", "String") if isinstance(pattern, Mapping) and key in pattern), "")
        if isinstance(pattern, Mapping) and isinstance(pattern.get("Regex"), str) and is_explosive(pattern["Regex"]):
            raise InvalidData(
                f"{TOKENIZER} has the pattern {pattern['Regex'][:80]!r}, a repetition of repetitions, which some texts keep"
                " busy without end; write it without, such as (\\w\\s?)+ as [\\w\\s]+"
            )
        if part.get("type") in ("Replace", "Prepend"):
            content = part.get("content") or part.get("prepend") or ""
            shortest = 1 if isinstance(pattern, Mapping) and "Regex" in pattern else max(1, len(str(told)))
            growth *= max(1.0, len(str(content)) / shortest)
    if growth > MOST_GROWTH:
        raise InvalidData(
            f"{TOKENIZER} makes a text up to {growth:,.0f} times as long before it reads; at most {MOST_GROWTH} times is taken"
        )


def is_explosive(pattern: str) -> bool:
    """Whether a group that holds a repetition without an end, or a choice, is itself repeated without an end."""
    if len(pattern) > MAX_PATTERN_CHARS:
        return True
    groups: list[bool] = [False]
    place, in_class = 0, 0
    while place < len(pattern):
        char = pattern[place]
        if char == "\\":
            place += 2
            continue
        if in_class:
            in_class += (char == "[") - (char == "]")
        elif char == "[":
            in_class = 1
        elif char == "(":
            groups.append(False)
        elif char == ")":
            holds = groups.pop() if len(groups) > 1 else False
            if holds and _repeats(pattern, place + 1):
                return True
            groups[-1] |= holds or _repeats(pattern, place + 1)
        elif char == "|" or _repeats(pattern, place):
            groups[-1] = True
        place += 1
    return False


def _repeats(pattern: str, place: int) -> bool:
    """Whether a repetition without an end stands there; `{n}` and `{n,m}` with small numbers have one."""
    char = pattern[place : place + 1]
    if char in ("*", "+"):
        return True
    if char != "{":
        return False
    inside, _, _ = pattern[place + 1 :].partition("}")
    most = inside.rpartition(",")[2].strip()
    return not (most.isdigit() and int(most) <= MAX_DEPTH)


def _parts(said: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Every object in it but the vocabulary."""
    if depth > MAX_DEPTH:
        raise InvalidData(f"{TOKENIZER} is nested more than {MAX_DEPTH} deep; write it anew: {EXPORT}")
    if isinstance(said, Mapping):
        yield said
        for key, value in said.items():
            if key not in ("vocab", "merges", "added_tokens", "decoder"):
                yield from _parts(value, depth + 1)
    elif isinstance(said, list):
        for value in said:
            yield from _parts(value, depth + 1)
