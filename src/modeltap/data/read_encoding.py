"""Which encoding a text file has, found by reading all of it once; binary garbage is refused here."""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass

from modeltap.data.read_members import Member
from modeltap.errors import InvalidData

CHUNK_BYTES = 1 << 20
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")

MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive (or an office document)"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "gzip data"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
)


@dataclass(frozen=True)
class Encoding:
    name: str
    notices: tuple[str, ...] = ()


def open_text(member: Member, encoding: Encoding) -> io.TextIOWrapper:
    """The file as text, line ends as they are."""
    return io.TextIOWrapper(member.open(), encoding=encoding.name, newline="")


def find_encoding(member: Member, *, given: str | None = None) -> Encoding:
    """UTF-8 or UTF-16 (with or without a mark at the start), else Windows-1252, which is noted.

    Raises InvalidData if the file is empty, holds NUL bytes, or is no text in any of them.
    """
    head = member.head()
    if not head.strip():
        raise InvalidData(f"'{member.name}' is empty")
    for magic, what in MAGIC:
        if head.startswith(magic):
            raise InvalidData(f"'{member.name}' is named like a text file, but it holds {what}")
    if given is not None:
        return _given(member, given)
    marked = _by_mark(head)
    if marked is not None:
        if _decodes(member, marked, forbidden="\x00"):
            return Encoding(marked)
        raise InvalidData(f"'{member.name}' begins like {marked} text, but it is not; save it as UTF-8")
    if b"\x00" in head:
        raise InvalidData(f"'{member.name}' holds NUL bytes, so it is not a text file; save it as UTF-8 text")
    if _decodes(member, "utf-8", forbidden="\x00"):
        return Encoding("utf-8")
    if _decodes(member, "cp1252", forbidden=None):
        return Encoding("cp1252", (f"'{member.name}' is not UTF-8 and was read as Windows-1252; check its umlauts",))
    raise InvalidData(
        f"'{member.name}' is neither UTF-8, UTF-16 nor Windows-1252 text, or it holds NUL bytes; save it as UTF-8"
    )


def _given(member: Member, name: str) -> Encoding:
    try:
        "".encode(name)
    except LookupError:
        raise InvalidData(
            f"there is no text encoding '{name}'; common ones: utf-8, utf-16, cp1252, latin-1, shift_jis"
        ) from None
    if not _decodes(member, name, forbidden="\x00"):
        raise InvalidData(f"'{member.name}' is not {name} text")
    return Encoding(name)


def _by_mark(head: bytes) -> str | None:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0::2].count(0) / len(head), head[1::2].count(0) / len(head)
    if odd > 0.2 and even < 0.02:
        return "utf-16-le"
    if even > 0.2 and odd < 0.02:
        return "utf-16-be"
    return None


def _decodes(member: Member, name: str, *, forbidden: str | None) -> bool:
    """Whether all of the file is text in that encoding, without `forbidden` (None: without any control character)."""
    decoder = codecs.getincrementaldecoder(name)()
    with member.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            try:
                text = decoder.decode(chunk)
            except UnicodeError:
                return False
            if forbidden in text if forbidden is not None else _CONTROL.search(text) is not None:
                return False
    try:
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True
