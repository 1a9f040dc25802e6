"""Text files → one document a line, in the column `text`; blank lines are skipped."""

from __future__ import annotations

from modeltap.data.read_encoding import find_encoding, open_text
from modeltap.data.read_members import Member
from modeltap.data.source import PartRows, ReadOptions, Source
from modeltap.errors import InvalidData

COLUMN = "text"


def read_text(member: Member, options: ReadOptions) -> Source:
    """Documents without the white space around them. Raises InvalidData if no line holds anything."""
    import polars as pl

    encoding = find_encoding(member, given=options.encoding)
    with open_text(member, encoding) as stream:
        documents = [line.strip() for line in stream if line.strip()]
    if not documents:
        raise InvalidData(f"'{member.name}' holds no text")
    table = pl.DataFrame([pl.Series(COLUMN, documents, dtype=pl.String)])
    return Source("texts", (COLUMN,), {"rows": PartRows(table)}, encoding.notices)
