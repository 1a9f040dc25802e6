"""What is sent next where the server answered none of a chunk: its rows without those that do not fit, or half of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

from modeltap.data.answer_chunks import Chunk
from modeltap.data.row_files import FileRow
from modeltap.data.rows import RowReader
from modeltap.domain.dataset import Schema
from modeltap.errors import InvalidData, InvalidInput, InvalidValue, ModeltapError, TooLarge

_PLACE = re.compile(r"\[(\d+)\]\.?(.*)")
_ROW_1 = re.compile(r"(^|, )row 1:? ")


def narrowed(
    chunk: Chunk, rows: Sequence[FileRow], sent: Sequence[int], problem: ModeltapError, schema: Callable[[], Schema | None]
) -> Chunk:
    """The chunk with fewer rows to send, all of them rows that were refused just now.

    sent: places in the chunk of the rows that were sent. schema: of the version that refused them, where it is known.
    """
    if isinstance(problem, InvalidInput) and not isinstance(problem, TooLarge):
        wrong = _named_rows(problem, sent) | _judged_rows(rows, sent, schema())
        if wrong:
            return msgspec.structs.replace(chunk, left_out={**chunk.left_out, **wrong})
    if len(sent) > 1:
        num_rows = sent[len(sent) // 2]
        kept = {place: why for place, why in chunk.left_out.items() if place < num_rows}
        return msgspec.structs.replace(chunk, num_rows=num_rows, left_out=kept)
    return msgspec.structs.replace(chunk, left_out={**chunk.left_out, sent[0]: reason(problem)})


def reason(problem: ModeltapError) -> str:
    """Why one row, sent alone, was refused."""
    if not problem.fields:
        return _ROW_1.sub("", problem.message)
    return "; ".join(f"{_column(where)}{what}" for where, what in problem.fields)


def _column(where: str) -> str:
    """`age: ` of [0].age or age; nothing of [0]."""
    match = _PLACE.match(where)
    column = where if match is None else match[2]
    return f"{column}: " if column else ""


def _named_rows(problem: ModeltapError, sent: Sequence[int]) -> dict[int, str]:
    """Those that the error lists, by their places in the chunk."""
    wrong: dict[int, str] = {}
    for where, what in problem.fields:
        match = _PLACE.match(where)
        if match is not None and int(match[1]) < len(sent):
            wrong.setdefault(sent[int(match[1])], f"{_column(where)}{what}")
    return wrong


def _judged_rows(rows: Sequence[FileRow], sent: Sequence[int], schema: Schema | None) -> dict[int, str]:
    """All that do not fit, where an error lists only the first of them. The server still has the last word on the others."""
    wrong: dict[int, str] = {}
    if schema is not None:
        reader = RowReader(schema)
        for place in sent:
            try:
                reader.rows([msgspec.json.decode(rows[place].body)])
            except (InvalidValue, InvalidData) as problem:
                wrong[place] = reason(problem)
    return wrong
