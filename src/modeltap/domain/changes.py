"""Limits and terms after a change: what is given replaces, the rest stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from modeltap.errors import InvalidInput, nearest

S = TypeVar("S", bound=msgspec.Struct)


def changed(value: S, changes: Mapping[str, Any]) -> S:
    """The struct with these fields replaced; of a field that is a struct itself only those named in turn.

    None is a value: it takes a limit away. Raises InvalidInput naming the field that is unknown or out of its bounds.
    """
    merged = _merged(value, changes)
    try:
        return msgspec.convert(merged, type(value))
    except msgspec.ValidationError as problem:
        what, _, where = str(problem).replace("`", "").partition(" - at ")
        field = where.removeprefix("$.") or "value"
        raise InvalidInput(f"{field}: {what}", fields=[(field, what)]) from None


def _merged(value: msgspec.Struct, changes: Mapping[str, Any]) -> dict[str, Any]:
    known = value.__struct_fields__
    merged: dict[str, Any] = msgspec.to_builtins(value)
    for name, given in changes.items():
        if name not in known:
            raise InvalidInput(f"there is no '{name}'{nearest(name, known)}", fields=[(name, "unknown")])
        inner = getattr(value, name)
        merged[name] = _merged(inner, given) if isinstance(inner, msgspec.Struct) else given
    return merged
