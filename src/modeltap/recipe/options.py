"""Plain values → a struct of options, or an error that names the key and the nearest one that would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from modeltap.errors import InvalidRecipe, nearest

S = TypeVar("S", bound=msgspec.Struct)
ReadField = Callable[[type, Any], Any]

_PLACE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?$", re.DOTALL)
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping of keys",
    "null": "nothing",
    r"\|": "or",
}


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
        what, place = split_place(str(problem))
        told = plain_reason(what, raw, place, allowed_words(kind, place))
        raise _wrong(f"{where}.{place}" if place and place[0] != "[" else where + place, told) from None


def split_place(message: str) -> tuple[str, str]:
    """(what is wrong, where) of a message of msgspec's; where is like `model.layers[0]`, or empty."""
    match = _PLACE.match(message)
    return (match["what"], match["where"] or "") if match else (message, "")


def plain_reason(what: str, raw: Any, where: str, words: Sequence[str]) -> str:
    """The reason in the words of a recipe, with what was given and, for a word that is none of those allowed, the nearest."""
    given = _given(raw, where)
    told = re.sub(r"^Object missing required field (\w+)", r"the key '\1' is missing", what.replace("`", ""))
    for theirs, ours in _WORDS.items():
        told = re.sub(rf"\b{theirs}\b", ours, told)
    if isinstance(given, str) and words:
        return f"'{given[:80]}' is not allowed{nearest(given, words)}"
    if not told.startswith("Expected"):
        return told
    shown = "" if given is None or isinstance(given, Mapping | list | tuple) else f", given was {given!r:.80}"
    return told.split(", got ")[0].replace("Expected ", "needs ") + shown if shown else told.replace("Expected ", "needs ")


def allowed_words(kind: type, key: str) -> list[str]:
    """The words that a struct's field, or each of its list, takes; empty if it takes anything else, or is not there."""
    return _words(get_type_hints(kind).get(key.partition("[")[0]))


def _wrong(where: str, what: str) -> InvalidRecipe:
    return InvalidRecipe(f"{where}: {what}", fields=[(where, what)])


def _given(raw: Any, where: str) -> Any:
    """The value at a place such as `model.layers[0]`; None if there is none."""
    for part in re.findall(r"[^.\[\]]+", where):
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and part.isdigit() and int(part) < len(raw):
            raw = raw[int(part)]
        else:
            return None
    return raw


def _words(hint: Any) -> list[str]:
    """The words that a field's type allows: those of a Literal, also inside a union."""
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if isinstance(word, str)]
    return [word for inner in get_args(hint) for word in _words(inner)]
