"""Answers as the plain dialect gives them → columns of a table: label, score and score_<class>, or prediction. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

Kind = Literal["empty", "text", "whole", "number", "truth", "numbers", "json"]
"""Of a column. numbers: lists of numbers. json: anything else, which tables hold as JSON text. empty: nothing was there yet."""

ROW, FILE, ERROR = "row", "file", "error"
OWN = (ROW, FILE, ERROR)
"""Columns of every output, beside those of the answers."""
PREDICTION = "prediction"


class Column(msgspec.Struct, frozen=True):
    """`values` is the JSON of a list."""

    kind: Kind
    values: msgspec.Raw


def columns_of(predictions: Sequence[Any]) -> dict[str, Column]:
    """One value in each column for every answer, None where an answer has nothing there."""
    rows = [_flat(answer) for answer in predictions]
    names = list(dict.fromkeys(name for row in rows for name in row))
    found = {name: [row.get(name) for row in rows] for name in names}
    return {name: Column(_kind(values), msgspec.Raw(msgspec.json.encode(values))) for name, values in found.items()}


def joined_kinds(parts: Iterable[Mapping[str, Column]]) -> dict[str, Kind]:
    """The columns of several chunks together, in the order in which they come up, and what each can hold."""
    kinds: dict[str, Kind] = {}
    for columns in parts:
        for name, column in columns.items():
            kinds[name] = _joined(kinds.get(name, "empty"), column.kind)
    return kinds


def _flat(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        return {PREDICTION: answer}
    if answer.keys() == {"label", "score", "scores"} and isinstance(answer["scores"], dict):
        scores = {f"score_{name}": score for name, score in answer["scores"].items()}
        return {"label": answer["label"], "score": answer["score"], **scores}
    return {f"output_{name}" if name in OWN else name: value for name, value in answer.items()}


def _kind(values: Sequence[Any]) -> Kind:
    types = {type(value) for value in values} - {type(None)}
    if not types:
        return "empty"
    if types == {str}:
        return "text"
    if types == {bool}:
        return "truth"
    if types == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return "whole"
    if types <= {int, float}:
        return "number"
    if types == {list} and all(value is None or _is_numbers(value) for value in values):
        return "numbers"
    return "json"


def _is_numbers(values: Sequence[Any]) -> bool:
    return {type(value) for value in values} <= {int, float, type(None)}


def _joined(one: Kind, other: Kind) -> Kind:
    if one == other or other == "empty":
        return one
    if one == "empty":
        return other
    return "number" if {one, other} == {"whole", "number"} else "json"
