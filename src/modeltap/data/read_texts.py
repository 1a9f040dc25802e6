"""Rows of JSON that are texts, pairs or talks → cells: a text as it is, messages and tools as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.data.source import PartRows, Source
from modeltap.data.texts import COMPLETION, MESSAGES, PROMPT, TEXT, TOOLS, check_talk, text_form
from modeltap.errors import InvalidData


def as_texts(columns: Mapping[str, Sequence[Any]], file: str, notices: tuple[str, ...]) -> Source | None:
    """The texts; None if the columns are those of a table. Raises InvalidData naming the row that is not as the others."""
    import polars as pl

    match text_form(columns):
        case "document":
            if not all(isinstance(value, str) for value in columns[TEXT]):
                return None
            names = [TEXT]
        case "completion":
            names = [PROMPT, COMPLETION]
            for name in names:
                for number, value in enumerate(columns[name], start=1):
                    if not isinstance(value, str):
                        raise InvalidData(f"'{file}', row {number}: \"{name}\" must be a text")
        case "chat":
            tools = columns.get(TOOLS) or [None] * len(columns[MESSAGES])
            for number, (messages, known) in enumerate(zip(columns[MESSAGES], tools, strict=True), start=1):
                check_talk(messages, known, where=f"'{file}', row {number}")
            names = [name for name in (MESSAGES, TOOLS) if name in columns]
        case None:
            return None
    series = [pl.Series(name, [_cell(value) for value in columns[name]], dtype=pl.String) for name in names]
    return Source("texts", tuple(names), {"rows": PartRows(pl.DataFrame(series))}, notices)


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
