"""A dataset's schema and identity: what each column holds, and how a cell of it is read."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from modeltap.domain.signature import Datatype

Kind = Literal["number", "boolean", "datetime", "category", "text", "image", "array"]
"""What a column holds. A text is a string with too many different values to be a category."""

Role = Literal["feature", "target", "id", "ignored"]
"""What a column is for. Ids and ignored columns are accepted in a row and never reach the graph."""

Form = Literal["table", "images", "arrays", "texts"]
Normalization = Literal["trailing-dots", "casefold"]
Part = Literal["rows", "train", "val", "test"]
"""`rows` is a dataset that was not split; the other three are parts that were given as files."""

DEFAULT_MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN", "null", "NULL", "None", "<NA>")


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column: how its cells are read (kind, decimal mark, date format, normalisation) and what it is for."""

    name: str
    kind: Kind
    role: Role = "feature"
    decimal: Literal[".", ","] = "."
    date_format: str | None = None
    """strptime form of the dates; None is ISO 8601."""
    normalize: tuple[Normalization, ...] = ()
    """Applied to a category's text after surrounding white space is cut off, in training and in serving alike."""
    shape: tuple[int, ...] = ()
    """Per sample: images (height, width) or (height, width, channels), arrays as they were given."""
    datatype: Datatype = "FP32"
    """Of an array column, never BYTES; images are UINT8."""


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """The columns in the order of the source, and the texts that mean a missing value."""

    form: Form
    columns: tuple[Column, ...]
    missing: tuple[str, ...] = DEFAULT_MISSING

    @property
    def features(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.role == "feature")

    @property
    def target(self) -> Column | None:
        return next((c for c in self.columns if c.role == "target"), None)

    def column(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    def with_column(self, column: Column) -> Schema:
        """This schema with the column of that name replaced."""
        return msgspec.structs.replace(self, columns=tuple(column if c.name == column.name else c for c in self.columns))

    def with_target(self, name: str) -> Schema:
        """This schema with `name` as the only target; the column must exist."""
        columns = []
        for c in self.columns:
            if c.name == name:
                columns.append(msgspec.structs.replace(c, role="target"))
            elif c.role == "target":
                columns.append(msgspec.structs.replace(c, role="feature"))
            else:
                columns.append(c)
        return msgspec.structs.replace(self, columns=tuple(columns))


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version of a named dataset; `digest` names its files in the artifact store."""

    name: str
    version: int
    digest: str
    schema: Schema
    num_rows: dict[Part, int]
    created_at: datetime

    @property
    def id(self) -> str:
        return f"{self.name}@{self.version}"
