"""How a CSV file is written: the delimiter and the quotes, found from its first records."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, replace

DELIMITERS = ("\t", ";", ",", "|")
NO_DELIMITER = "\x1f"
"""A file of one column is read with a delimiter that no text holds."""
_NUMBER = re.compile(r"\s*[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?\s*")
MAX_SAMPLED_RECORDS = 1000
LONGEST_CELL_LINES = 200
"""In the sample; a quote that stays open for longer is a plain character."""


@dataclass(frozen=True)
class Dialect:
    """`strict` refuses text after a closing quote; `multiline` allows line ends inside quotes."""

    delimiter: str
    quote: str | None = '"'
    skip_space: bool = False
    """Cut blanks after a delimiter, which is needed where quotes stand behind them."""
    strict: bool = True
    multiline: bool = True

    def reader_options(self) -> dict[str, object]:
        quoting = {"quoting": csv.QUOTE_NONE} if self.quote is None else {"quotechar": self.quote}
        return {"delimiter": self.delimiter, "skipinitialspace": self.skip_space, "strict": self.strict, **quoting}


def sniff_dialect(sample: str, *, complete: bool, delimiter: str | None = None, prefers_tab: bool = False) -> Dialect:
    """The dialect that cuts the sample into the most regular table of more than one column, or one column if none does.

    `complete` says that the sample is the whole file; otherwise its last record is not looked at.
    """
    if delimiter is not None:
        return _quoted(sample, delimiter, complete=complete)
    ranked = [(_regularity(sample, d, complete=complete), d) for d in DELIMITERS if d in sample]
    ranked = [(score, d) for score, d in ranked if score is not None]
    if not ranked:
        return _quoted(sample, NO_DELIMITER, complete=complete)
    if prefers_tab and any(d == "\t" for _, d in ranked):
        return _quoted(sample, "\t", complete=complete)
    best = max(ranked, key=lambda pair: (pair[0], -DELIMITERS.index(pair[1])))
    return _quoted(sample, best[1], complete=complete)


def sample_records(sample: str, dialect: Dialect, *, complete: bool) -> list[list[str]]:
    """The first records of the sample, without blank ones and without one that may be cut off."""
    records: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample, newline=""), **replace(dialect, strict=False).reader_options())  # type: ignore[arg-type]
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                records.append(record)
            if len(records) > MAX_SAMPLED_RECORDS:
                return records[:-1]
    except csv.Error:
        return records
    return records if complete or len(records) < 2 else records[:-1]


def usual_width(records: list[list[str]]) -> int:
    """The number of cells that most records have; the first one's where two are as frequent."""
    counts = Counter(len(record) for record in records)
    return counts.most_common(1)[0][0] if counts else 0


def _regularity(sample: str, delimiter: str, *, complete: bool) -> tuple[bool, float, float, int] | None:
    records = sample_records(sample, _quoted(sample, delimiter, complete=complete), complete=complete)
    width = usual_width(records)
    alike = sum(len(record) == width for record in records) / max(1, len(records))
    if width < 2 or alike < 0.5:
        return None
    cells = [cell for record in records[:200] for cell in record]
    numeric = sum(_NUMBER.fullmatch(cell) is not None for cell in cells) / len(cells)
    regular = alike > 0.98 and len(records[0]) == width
    if not regular and len(records[0]) == 1:
        return None  # a title of one column over texts that hold the delimiter now and then
    return regular, round(numeric, 2), alike, width


def _quoted(sample: str, delimiter: str, *, complete: bool) -> Dialect:
    """The dialect of that delimiter with the quotes that the sample uses."""
    quote = '"'
    if '"' not in sample and _wraps_cells(sample, delimiter, "'"):
        quote = "'"
    behind_space = re.search(re.escape(delimiter) + " +" + quote, sample) is not None
    dialect = Dialect(delimiter, quote, skip_space=behind_space)
    plain = Dialect(delimiter, None)
    if quote in sample and not _fits(sample, dialect, complete=complete) and _alike(sample, plain, complete=complete) > 0.99:
        return plain
    return dialect


def _fits(sample: str, dialect: Dialect, *, complete: bool) -> bool:
    """Whether every quote is closed and followed by a delimiter; a long cell may be cut off by the end of the sample."""
    reader = csv.reader(io.StringIO(sample, newline=""), **dialect.reader_options())  # type: ignore[arg-type]
    line = 0
    try:
        for _ in reader:
            line = reader.line_num
    except csv.Error as problem:
        return not complete and "end of data" in str(problem) and reader.line_num - line < LONGEST_CELL_LINES
    return True


def _alike(sample: str, dialect: Dialect, *, complete: bool) -> float:
    records = sample_records(sample, dialect, complete=complete)
    width = usual_width(records)
    return sum(len(record) == width for record in records) / max(1, len(records))


def _wraps_cells(sample: str, delimiter: str, quote: str) -> bool:
    edge = re.escape(delimiter)
    inside = rf"(?:[^{quote}\r\n]|{quote}{quote})*"
    wrapped = re.findall(rf"(?:^|{edge}) *{quote}{inside}{quote} *(?={edge}|\r|\n|$)", sample, re.MULTILINE)
    opened = re.findall(rf"(?:^|{edge}) *{quote}", sample, re.MULTILINE)
    return len(wrapped) >= 2 and len(wrapped) >= 0.9 * len(opened)
