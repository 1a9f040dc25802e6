"""The files of this checkout, and what the documents in it hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "modeltap"
FOLDERS = ("src", "tests", "docs", "deploy", "examples", "benchmarks", ".ci")
TEXT_ENDINGS = frozenset({"", ".css", ".html", ".js", ".md", ".py", ".sh", ".svg", ".toml", ".txt", ".yaml", ".yml"})
_BLOCK = re.compile(r"^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of code in a document."""

    language: str
    text: str


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[Path]:
    """Everything that people read or run, made by hand: no caches, no lock files of tools."""
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in TEXT_ENDINGS)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in TEXT_ENDINGS and "__pycache__" not in path.parts:
                yield path


def documents() -> list[Path]:
    return [
        *sorted(ROOT.glob("*.md")),
        *(path for folder in ("docs", "examples") for path in sorted((ROOT / folder).rglob("*.md"))),
    ]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str | None = None) -> list[Block]:
    found = [Block(match["language"], match["text"]) for match in _BLOCK.finditer(text)]
    return [block for block in found if language in (None, block.language)]


def headings(text: str) -> list[tuple[int, str]]:
    """(level, title) of each heading outside of code."""
    return [(len(match[1]), match[2]) for match in _HEADING.finditer(_BLOCK.sub("", text))]


def section(text: str, title: str) -> str:
    """What stands under the heading of that title, down to the next heading of its level."""
    level = next(level for level, found in headings(text) if found == title)
    start = text.index(f"\n{'#' * level} {title}\n")
    after = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE)
    plain = _BLOCK.sub(lambda match: " " * len(match[0]), text)
    following = after.search(plain, start + level + 2)
    return text[start : following.start() if following else len(text)]


def table(text: str) -> list[list[str]]:
    """Cells of every row of every table in the text, without head and rule; backticks and blanks are taken off."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    heads = {index - 1 for index, line in enumerate(rows) if set(line) <= set("|-: ")}
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for index, line in enumerate(rows) if index not in heads]
    return [[cell.strip().strip("`") for cell in row] for row in cells if not set("".join(row)) <= set("-: ")]
