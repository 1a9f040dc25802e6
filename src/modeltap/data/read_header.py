"""Whether the first record of a CSV file names its columns, and names that are present and unique."""

from __future__ import annotations

import re
from collections.abc import Sequence

from modeltap.domain.dataset import DEFAULT_MISSING

_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)*|[.,][0-9]+)([eE][+-]?[0-9]+)?%?")
_DATE = re.compile(r"[0-9]{1,4}[-./][0-9A-Za-z]{1,3}[-./][0-9]{1,4}([T ].*)?")
_TRUTH = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n"})
_MISSING = frozenset(DEFAULT_MISSING)
LONGEST_NAME = 80


def has_header(records: Sequence[Sequence[str]]) -> bool:
    """Whether the first record looks like names: there is no number in it, and a column under it holds nothing else.

    Where all columns are texts, it is a header if its cells are different, short, and no value further down repeats one.
    """
    first = [cell.strip() for cell in records[0]]
    body = records[1:]
    if not body:
        return all(first) and not any(_is_value(cell) for cell in first)
    if any(_is_value(cell) for cell in first):
        return False
    repeated = False
    for place, cell in enumerate(first):
        values = [r[place].strip() for r in body if place < len(r)]
        values = [v for v in values if v not in _MISSING]
        if not values or cell in _MISSING - {""}:
            continue
        truths = all(v.lower() in _TRUTH for v in values) and cell.lower() not in _TRUTH
        if truths or all(_is_value(v) for v in values):
            return True
        repeated = repeated or cell in values
    if repeated:
        return False
    if any(cell in _MISSING for cell in first) or len(set(first)) < len(first):
        return False
    return all(len(cell) <= LONGEST_NAME and len(cell.split()) <= 5 for cell in first)


def unique_names(cells: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names, notices): white space cut, an empty name replaced by its place, a repeated one numbered."""
    names: list[str] = []
    notices: list[str] = []
    trimmed = [" ".join(cell.split()) for cell in cells]
    taken = {name for name in trimmed if name}
    for place, name in enumerate(trimmed):
        new = name
        if not name:
            new = _free(f"column_{place + 1}", taken, start=2)
            notices.append(f"column {place + 1} has no name and is called '{new}'")
        elif name in names:
            new = _free(f"{name}_2", taken, start=3)
            notices.append(f"column {place + 1} repeats the name '{name}' and is called '{new}'")
        taken.add(new)
        names.append(new)
    return tuple(names), tuple(notices)


def _free(wanted: str, taken: set[str], *, start: int) -> str:
    name, number = wanted, start
    stem = re.sub(r"_[0-9]+$", "", wanted) if start == 3 else wanted
    while name in taken:
        name = f"{stem}_{number}"
        number += 1
    return name


def _is_value(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None or _DATE.fullmatch(cell) is not None
