"""Where a command's words go: one JSON document on stdout, or text for people; progress and notes go to stderr.

Colours and boxes are for terminals only; into a pipe or with NO_COLOR go plain, whole lines.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

Cell = object
Style = str | Sequence[str]


class Output:
    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stdout = sys.stdout
        self.has_answered = False

    def answer(self, document: Any, people: Callable[[], None]) -> None:
        """Prints the document with --json; otherwise calls `people`, which says it in text."""
        if not self.as_json:
            people()
            return
        assert not self.has_answered, "a command answers once"
        self.has_answered = True
        write_json(document, self._stdout)

    def say(self, text: str = "", *, style: str = "") -> None:
        """One line on stdout for people."""
        if not self.as_json:
            _write(sys.stdout, text, style)

    def add(self, piece: str) -> None:
        """Text on stdout that goes on; on a terminal without the characters that would move its cursor or colour it."""
        if not self.as_json:
            sys.stdout.write(harmless(piece) if sys.stdout.isatty() else piece)
            sys.stdout.flush()

    def note(self, text: str, *, style: str = "dim") -> None:
        """One line on stderr: progress, hints, what was done on the way."""
        _write(sys.stderr, text, style)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[str] = ()) -> None:
        """Rows under their columns; those named in `right` are set to the right. Nothing is cut off in a pipe."""
        if self.as_json:
            return
        texts = [[_text(cell) for cell in row] for row in rows]
        if is_fancy(sys.stdout):
            _rich_table(columns, texts, right)
        else:
            sys.stdout.write(plain_table(columns, texts, right))

    def facts(self, pairs: Sequence[tuple[str, Cell]]) -> None:
        """Named values, one a line; a value of None is left out."""
        shown = [(name, _text(value)) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in shown), default=0)
        for name, text in shown:
            self.say(f"{name.ljust(width)}  {text}")


def is_fancy(stream: TextIO) -> bool:
    """Whether colours, boxes and moving bars are welcome there."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def harmless(text: str) -> str:
    """The text without control characters, but for line ends and tabs: what a model writes is not to command a terminal."""
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) != "Cc")


def write_json(document: Any, stream: TextIO) -> None:
    import msgspec

    encoded = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2)
    stream.write(encoded.decode() + "\n")
    stream.flush()


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> str:
    """Aligned text, two blanks between columns."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = []
    for row in [columns, *rows]:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def console(stream: TextIO) -> Console:
    """A rich console that takes text as it is: no markup, no highlighting."""
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console(sys.stdout).print(table)


def _write(stream: TextIO, text: str, style: str) -> None:
    if style and is_fancy(stream):
        console(stream).print(text, style=style, soft_wrap=True)
    else:
        stream.write(text + "\n")
        stream.flush()


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return number(cell)
    return str(cell)


def number(value: float) -> str:
    """Four significant digits, without a tail of zeros; whole numbers whole."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def size(num_bytes: int) -> str:
    """8.4 MB; decimal units."""
    amount = float(num_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{int(amount)} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s} s"
    return f"{minutes // 60} h {minutes % 60} min"
