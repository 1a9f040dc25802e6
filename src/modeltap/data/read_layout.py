"""Where the data lies in a folder or an archive: one file, files by part, or pictures in a folder for each class. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from modeltap.data.read_npz import PART_WORDS
from modeltap.data.source import PARTS
from modeltap.data.wording import counted
from modeltap.domain.dataset import Part
from modeltap.errors import InvalidData

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".data", ".parquet", ".pq", ".jsonl", ".ndjson", ".json", ".npz", ".txt")
PACKED_ENDINGS = (".csv.gz", ".tsv.gz", ".jsonl.gz", ".ndjson.gz", ".json.gz", ".txt.gz")
ALLOWED = (
    "CSV, TSV, Parquet, JSON Lines, JSON, text (also .gz of them), .npz,"
    " and a folder or .zip with pictures (class/file.png) or with train and test files"
)


@dataclass(frozen=True)
class Layout:
    """Either `files`, one for each part, or `pictures`: for each part (file, class). `rows` is data that is not split."""

    files: dict[Part, str] = field(default_factory=dict)
    pictures: dict[Part, list[tuple[str, str]]] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def plan_layout(names: Sequence[str]) -> Layout:
    """The layout of files with these relative names. Raises InvalidData, saying what is expected, if there is none."""
    pictures = [n for n in names if n.lower().endswith(PICTURE_ENDINGS)]
    tables = [n for n in names if n.lower().endswith(TABLE_ENDINGS + PACKED_ENDINGS)]
    if pictures and _all_in_folders(pictures):
        return _picture_layout(names, pictures)
    if tables:
        return _table_layout(names, tables)
    if pictures:
        raise InvalidData(
            "the pictures lie in no folder that names their class; put them as class/file.png,"
            " or as train/class/file.png and test/class/file.png"
        )
    raise InvalidData(f"no data was found among {len(names)} files; allowed: {ALLOWED}")


def _picture_layout(names: Sequence[str], pictures: list[str]) -> Layout:
    notices = _left_out([n for n in names if n not in set(pictures)])
    depth = _wrapping_depth(pictures)
    folders = {n.split("/")[depth].lower() for n in pictures if n.count("/") > depth}
    by_part = {f for f in folders if f in PART_WORDS}
    if "train" in {PART_WORDS[f] for f in by_part}:
        others = [n for n in pictures if n.split("/")[depth].lower() not in by_part]
        notices += _left_out(others)
        depth += 1
    else:
        by_part, others = set(), []
    found: dict[Part, list[tuple[str, str]]] = {}
    for name in sorted(set(pictures) - set(others)):
        pieces = name.split("/")
        if len(pieces) < depth + 2:
            raise InvalidData(f"'{name}' lies in no folder that names its class; put it as class/{pieces[-1]}")
        part: Part = PART_WORDS[pieces[depth - 1].lower()] if by_part else "rows"
        found.setdefault(part, []).append((name, pieces[depth]))
    if len({label for rows in found.values() for _, label in rows}) < 2:
        raise InvalidData("all pictures lie in one folder; put those of each class into a folder of its own")
    if set(found) == {"train"}:
        found = {"rows": found["train"]}
    return Layout(pictures={p: found[p] for p in ("rows", *PARTS) if p in found}, notices=tuple(notices))


def _table_layout(names: Sequence[str], tables: list[str]) -> Layout:
    by_part: dict[Part, list[str]] = {}
    for name in tables:
        part = _named_part(name)
        if part is not None:
            by_part.setdefault(part, []).append(name)
    if "train" in by_part:
        for part, candidates in by_part.items():
            if len(candidates) > 1:
                raise InvalidData(f"there are several {part} files: {_few(candidates)}; keep one")
        files: dict[Part, str] = {p: by_part[p][0] for p in PARTS if p in by_part}
        if set(files) == {"train"}:
            files = {"rows": files["train"]}
    else:
        data = [n for n in tables if not re.search(r"(^|/)(readme|license|licence|names)[^/]*$", n.lower())] or tables
        if len(data) > 1:
            raise InvalidData(f"there are several data files: {_few(data)}; give one of them, or name them train, val and test")
        files = {"rows": data[0]}
    used = set(files.values())
    return Layout(files=files, notices=tuple(_left_out([n for n in names if n not in used])))


def _named_part(name: str) -> Part | None:
    """The part that a word of the file's name says, or of the folder that it lies in."""
    for piece in reversed(name.lower().split("/")[-2:]):
        words = [w for w in re.split(r"[^a-z]+", piece) if w in PART_WORDS]
        if words:
            return PART_WORDS[words[0]]
    return None


def _all_in_folders(pictures: Sequence[str]) -> bool:
    return all("/" in name for name in pictures)


def _wrapping_depth(names: Sequence[str]) -> int:
    """How many outer folders are shared by all and name nothing: not a part, and not the folder of the files itself."""
    depth = 0
    while True:
        shared = Counter(n.split("/")[depth] for n in names)
        if len(shared) > 1 or min(n.count("/") for n in names) < depth + 2 or next(iter(shared)).lower() in PART_WORDS:
            return depth
        depth += 1


def _left_out(names: Sequence[str]) -> list[str]:
    return [f"left out {counted(len(names), 'other file')}: {_few(sorted(names))}"] if names else []


def _few(names: Sequence[str]) -> str:
    return ", ".join(f"'{n}'" for n in names[:5]) + (", …" if len(names) > 5 else "")
