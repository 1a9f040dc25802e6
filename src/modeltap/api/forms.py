"""multipart/form-data → rows: each picture or CSV file is taken as it is, plain fields make one row of columns."""

from __future__ import annotations

from typing import Any

from modeltap.api.asgi import Message, Scope
from modeltap.api.body import decode_text
from modeltap.api.row_limit import csv_rows
from modeltap.data.rows import RowReader
from modeltap.errors import InvalidInput, InvalidValue

MAX_PARTS = 1000


async def form_rows(scope: Scope, body: bytes, reader: RowReader) -> list[Any]:
    """The rows of the form. Raises InvalidInput if it is broken or empty."""
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartException
    from starlette.requests import Request

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(scope, receive).form(max_files=MAX_PARTS, max_fields=MAX_PARTS, max_part_size=len(body) + 1)
    except (HTTPException, MultiPartException, KeyError) as problem:
        reason = getattr(problem, "detail", None) or getattr(problem, "message", None) or "no boundary"
        raise InvalidInput(f"the form cannot be read: {reason}") from None
    fields = {name: part for name, part in form.multi_items() if isinstance(part, str)}
    rows: list[Any] = []
    try:
        for _, part in form.multi_items():
            if isinstance(part, UploadFile):
                rows += _file_rows(part, await part.read(), reader)
    finally:
        await form.close()
    if fields:
        rows.append(fields)
    if not rows:
        raise InvalidInput("the form is empty; send picture or CSV files, or one field a column")
    return rows


def _file_rows(part: Any, data: bytes, reader: RowReader) -> list[Any]:
    """One row of a picture, else the rows of a CSV file."""
    single = reader.single
    named_csv = (part.filename or "").casefold().endswith((".csv", ".tsv")) or part.content_type == "text/csv"
    if single is not None and single.kind == "image" and not named_csv:
        return [data]
    try:
        return csv_rows(reader, decode_text({"headers": part.headers.raw}, data))
    except InvalidValue as problem:
        raise InvalidValue(f"the file '{(part.filename or '')[:80]}': {problem.message}", fields=problem.fields) from None
