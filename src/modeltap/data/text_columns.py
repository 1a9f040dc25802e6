"""Which columns of a dataset are its texts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from modeltap.domain.dataset import Column, Schema
from modeltap.errors import InvalidData, InvalidRecipe


def with_one_text(schema: Schema) -> Schema:
    """The schema with the only text as its only feature. Raises InvalidData if there is none, InvalidRecipe for several."""
    found = text_columns(schema)
    if len(found) > 1:
        raise InvalidRecipe(
            f"there are {len(found)} columns of texts: {', '.join(c.name for c in found[:20])}; say which one is read with"
            f" data.columns, such as {{{found[0].name}: feature, {found[1].name}: ignored}}"
        )
    return with_texts(schema, found)


def text_columns(schema: Schema) -> list[Column]:
    """Those that the recipe made features, else all texts, else the categories. Raises InvalidData where nothing is left."""
    others = [c for c in schema.columns if c.role != "target"]
    texts = [c for c in others if c.kind == "text"]
    used = [c for c in texts if c.role == "feature"] or [c for c in texts if c.role == "ignored"]
    found = used or [c for c in others if c.kind == "category" and c.role == "feature"]
    if not found:
        told = ", ".join(f"{c.name} ({c.kind})" for c in others[:20])
        raise InvalidData(f"there is no column of texts; there are: {told or 'none'}. Say which one it is with data.columns")
    return found


def with_texts(schema: Schema, texts: Sequence[Column]) -> Schema:
    """The schema with these as its texts, and no other feature."""
    names = {c.name for c in texts}
    columns = []
    for column in schema.columns:
        if column.name in names:
            column = msgspec.structs.replace(column, kind="text", role="feature")
        elif column.role == "feature":
            column = msgspec.structs.replace(column, role="ignored")
        columns.append(column)
    return msgspec.structs.replace(schema, columns=tuple(columns))
