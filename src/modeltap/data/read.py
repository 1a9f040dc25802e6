"""An uploaded file or folder → a source of raw cells. The format follows from the name and is checked by the content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from modeltap.data.read_csv import read_csv
from modeltap.data.read_images import read_images
from modeltap.data.read_json import read_json
from modeltap.data.read_layout import ALLOWED, PACKED_ENDINGS, TABLE_ENDINGS, plan_layout
from modeltap.data.read_members import Member, file_member, folder_members, gunzipped, zip_members
from modeltap.data.read_npz import read_npz
from modeltap.data.read_parquet import read_parquet
from modeltap.data.read_text import read_text
from modeltap.data.source import ReadOptions, Source, join_parts
from modeltap.domain.dataset import Part
from modeltap.errors import InvalidData, NotFound


def read_source(path: Path, *, filename: str, options: ReadOptions | None = None) -> Source:
    """The raw rows of a file, an archive or a folder, by part where parts are given.

    `filename` is what its owner calls it; the path may be named otherwise. Raises InvalidData, naming the file inside,
    the line or the column, for whatever cannot be read; NotFound if nothing lies at the path.
    """
    chosen = options or ReadOptions()
    if path.is_dir():
        return _read_members(folder_members(path, chosen), chosen)
    if not path.is_file():
        raise NotFound(f"there is no file '{filename}'")
    member = file_member(path, filename)
    if member.size_bytes == 0:
        raise InvalidData(f"'{filename}' is empty")
    if filename.lower().endswith(".zip"):
        with zip_members(path, filename, chosen) as members:
            return _read_members(members, chosen)
    return _read_file(member, chosen)


def _read_members(members: Sequence[Member], options: ReadOptions) -> Source:
    by_name = {member.name: member for member in members}
    layout = plan_layout(list(by_name))
    if layout.pictures:
        labelled = {part: [(by_name[n], label) for n, label in rows] for part, rows in layout.pictures.items()}
        return _noted(read_images(labelled, options), layout.notices)
    read: dict[Part, Source] = {}
    for part, name in layout.files.items():
        like = next(iter(read.values())).columns if read else ()
        read[part] = _read_file(by_name[name], options, like=like)
    if set(read) == {"rows"}:
        return _noted(read["rows"], layout.notices)
    return _noted(join_parts(read), layout.notices)


def _read_file(member: Member, options: ReadOptions, *, like: Sequence[str] = ()) -> Source:
    name = member.name.lower()
    if name.endswith(PACKED_ENDINGS):
        member = gunzipped(member, options)
        name = name[:-3]
    if not name.endswith(TABLE_ENDINGS):
        raise InvalidData(f"'{member.name}' is of a kind that is not read; allowed: {ALLOWED}")
    if name.endswith((".csv", ".tsv", ".tab", ".data")):
        return read_csv(member, options, like=like)
    if name.endswith((".parquet", ".pq")):
        return read_parquet(member, options)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return read_json(member, options)
    if name.endswith(".npz"):
        return read_npz(member, options)
    return read_text(member, options)


def _noted(source: Source, notices: Sequence[str]) -> Source:
    return Source(source.form, source.columns, source.parts, (*notices, *source.notices))
