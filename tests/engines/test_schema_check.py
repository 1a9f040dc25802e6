"""A JSON schema is followed to the letter, or refused with the place that would not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modeltap.engines.schema_check import check_schema
from modeltap.errors import InvalidValue

ORDINARY: tuple[dict[str, Any], ...] = (
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 10}}, "required": ["a"]},
    {"type": "object", "properties": {"not": {"type": "string"}, "if": {"enum": ["x"], "type": "string"}}},
    {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/a"}], "title": "A", "$defs": {"a": {"type": "boolean"}}},
    {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3, "uniqueItems": False},
    {"type": "string", "pattern": "^[a-z]+$", "description": "a word"},
    {"type": ["string", "null"], "maxLength": 5},
)


@pytest.mark.parametrize("schema", ORDINARY, ids=json.dumps)
def test_ordinary_schemas_are_taken(schema: dict[str, Any]) -> None:
    check_schema(json.dumps(schema))


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"not": {"type": "object"}}, "#/not"),
        ({"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 7}}}, "#/properties/a/multipleOf"),
        ({"type": "array", "items": {"type": "array", "uniqueItems": True}}, "#/items/uniqueItems"),
        ({"allOf": [{"type": "integer"}, {"minimum": 1}]}, "#/allOf"),
        ({"$ref": "#/$defs/a", "maximum": 3, "$defs": {"a": {"type": "integer"}}}, "#/maximum"),
        ({"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]}, "#/properties"),
        ({"anyOf": [{"type": "boolean"}, {"minimum": 3}]}, "#/anyOf/1/minimum"),
        ({"type": "number", "maximum": 1.5}, "#/maximum"),
        ({"type": "string", "pattern": "a", "minLength": 3}, "#/minLength"),
        ({"$defs": {"a": {"if": {}}}, "type": "object"}, "#/$defs/a/if"),
    ],
)
def test_what_would_be_passed_over_is_named(schema: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidValue, match=where.replace("$", r"\$")):
        check_schema(json.dumps(schema))


@pytest.mark.parametrize("depth", [70, 5_000, 100_000])
def test_a_schema_of_any_depth_gets_an_answer(depth: int) -> None:
    with pytest.raises(InvalidValue, match="nested more than 64 deep"):
        check_schema('{"items":' * depth + "{}" + "}" * depth)


@pytest.mark.parametrize("text", ["{nope", "", "[1]", "true", '"a"', "\ud800"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="JSON"):
        check_schema(text)
