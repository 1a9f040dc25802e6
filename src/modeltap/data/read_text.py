"""A text file → one document, in the column `text`; its lines stay where they are."""

from __future__ import annotations

from modeltap.data.read_encoding import find_encoding, open_text
from modeltap.data.read_members import Member
from modeltap.data.source import PartRows, ReadOptions, Source
from modeltap.data.texts import TEXT
from modeltap.errors import InvalidData


def read_text(member: Member, options: ReadOptions) -> Source:
    """The document, its line ends as \\n. Raises InvalidData if it holds nothing but white space."""
    import polars as pl

    encoding = find_encoding(member, given=options.encoding)
    with open_text(member, encoding) as stream:
        document = stream.read().replace("\r\n", "\n").replace("\r", "\n")
    if not document.strip():
        raise InvalidData(f"'{member.name}' holds no text")
    table = pl.DataFrame([pl.Series(TEXT, [document], dtype=pl.String)])
    return Source("texts", (TEXT,), {"rows": PartRows(table)}, encoding.notices)
