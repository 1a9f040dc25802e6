"""Plain values → a struct of options, or an error that names the key and the nearest one that would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from modeltap.errors import InvalidRecipe, nearest

S = TypeVar("S", bound=msgspec.Struct)
ReadField = Callable[[type, Any], Any]

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$(?P<where>.*)`)?$", re.DOTALL)


def read_struct(raw: Any, kind: type[S], *, where: str, read_field: ReadField | None = None) -> S:
    """`raw` as a `kind`; `read_field` (type, value) makes the field types that msgspec does not know.

    Raises InvalidRecipe for an unknown or missing key, a wrong type and a value out of its bounds.
    """
    if not isinstance(raw, Mapping):
        raise InvalidRecipe(f"{where}: a mapping of keys is needed, given was {raw!r:.80}", fields=[(where, "mapping")])
    known = kind.__struct_fields__
    for key in raw:
        if key not in known:
            raise _wrong(f"{where}.{key}", f"unknown key '{key}'{nearest(str(key), known) or '; it has no keys'}")
    try:
        return msgspec.convert(dict(raw), kind, dec_hook=read_field)
    except msgspec.ValidationError as problem:
        match = _PLACE.match(str(problem))
        what, place = (match["what"], match["where"] or "") if match else (str(problem), "")
        raise _wrong(where + place, what.replace("`", "").replace("array", "list") + _choices(raw, kind, place)) from None


def _wrong(where: str, what: str) -> InvalidRecipe:
    return InvalidRecipe(f"{where}: {what}", fields=[(where, what)])


def _choices(raw: Mapping[str, Any], kind: type[msgspec.Struct], place: str) -> str:
    """For a word that is none of those allowed: the nearest one, or all of them."""
    key = place.lstrip(".")
    given = raw.get(key)
    allowed = _words(get_type_hints(kind).get(key))
    return nearest(given, allowed) if isinstance(given, str) and allowed else ""


def _words(hint: Any) -> list[str]:
    """The words that a field's type allows: those of a Literal, also inside a union."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for inner in get_args(hint) for word in _words(inner)]
