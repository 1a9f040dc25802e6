"""Which JSON schemas the grammar compiler follows to the letter. It passes over what it does not know, in silence, and then the
text may break the schema; such a schema is refused here, and the keyword named.
"""

from __future__ import annotations

from typing import Any

import msgspec

from modeltap.errors import InvalidValue

MAX_DEPTH = 64
NOT_FOLLOWED = frozenset(
    {
        "not", "if", "then", "else", "multipleOf", "contains", "minContains", "maxContains", "uniqueItems",
        "dependentRequired", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef",
    }
)  # fmt: skip
WHOLE = ("$ref", "const", "enum", "anyOf", "oneOf", "allOf")
"""Beside one of these nothing else is looked at."""
BESIDE_WHOLE = frozenset({"$defs", "definitions", "$schema", "$id", "$comment", "title", "description", "default", "examples"})
WITH_TYPE = ("const", "enum")
"""Beside which a type says nothing new."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
LISTED_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
ONE_SCHEMA = ("items", "additionalItems", "additionalProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems")


def check_schema(text: str) -> None:
    """Raises InvalidValue, with the place in the schema, for what would not be followed. `oneOf` is followed as `anyOf`."""
    try:
        root = msgspec.json.decode(text.encode())
    except RecursionError:
        raise InvalidValue(f"the JSON schema is nested more than {MAX_DEPTH} deep; make it flatter") from None
    except (msgspec.DecodeError, UnicodeEncodeError) as problem:
        raise InvalidValue(f"the JSON schema is not JSON: {problem}") from None
    if not isinstance(root, dict):
        raise InvalidValue('the JSON schema is not an object, such as {"type": "object", …}')
    waiting: list[tuple[str, Any, int]] = [("#", root, 0)]
    while waiting:
        where, schema, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InvalidValue(f"the JSON schema is nested more than {MAX_DEPTH} deep; make it flatter")
        if isinstance(schema, dict):
            _check_one(where, schema)
            waiting += [(f"{where}/{place}", part, depth + 1) for place, part in _parts(schema)]


def _check_one(where: str, schema: dict[str, Any]) -> None:
    for keyword in schema:
        if keyword in NOT_FOLLOWED and schema[keyword] is not False:
            raise _refused(f"{where}/{keyword}", "is not followed here; leave it out, or say it in other words")
    whole = [keyword for keyword in WHOLE if keyword in schema]
    if whole:
        rest = set(schema) - BESIDE_WHOLE - {whole[0]} - ({"type"} if whole[0] in WITH_TYPE else set())
        if rest:
            raise _refused(f"{where}/{min(rest)}", f"is not followed beside '{whole[0]}'; put it into that, or leave it out")
        if len(schema.get("allOf") or ()) > 1:
            raise _refused(f"{where}/allOf", "is followed with one schema only; join them")
        return
    kinds = schema.get("type")
    for keyword in BOUNDS:
        if keyword not in schema:
            continue
        if kinds not in ("integer", "number"):
            raise _refused(f"{where}/{keyword}", "is followed beside the type 'integer' or 'number' only")
        if isinstance(schema[keyword], float) and not schema[keyword].is_integer():
            raise _refused(f"{where}/{keyword}", f"is {schema[keyword]}; only whole numbers are followed")
    if "pattern" in schema and (unheard := {"minLength", "maxLength", "format"} & set(schema)):
        raise _refused(f"{where}/{min(unheard)}", "is not followed beside 'pattern'; put it into that, or leave it out")


def _parts(schema: dict[str, Any]) -> list[tuple[str, Any]]:
    """The schemas within, with where they stand."""
    parts: list[tuple[str, Any]] = [(keyword, schema[keyword]) for keyword in ONE_SCHEMA if keyword in schema]
    for keyword in NAMED_SCHEMAS:
        if isinstance(named := schema.get(keyword), dict):
            parts += [(f"{keyword}/{name}", part) for name, part in named.items()]
    for keyword in LISTED_SCHEMAS:
        if isinstance(listed := schema.get(keyword), list):
            parts += [(f"{keyword}/{place}", part) for place, part in enumerate(listed)]
    return parts


def _refused(where: str, what: str) -> InvalidValue:
    return InvalidValue(f"the JSON schema cannot be followed: '{where}' {what}", fields=[(where, what)])
