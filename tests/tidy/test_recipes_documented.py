"""docs/recipes.md has every key of a recipe, of every architecture and of every layer, with its default; its examples parse."""

from __future__ import annotations

import msgspec
import pytest
from checkout import blocks, documents, read, section, table

from modeltap.domain.recipe import Recipe
from modeltap.recipe.architectures import BUILT_IN as ARCHITECTURES
from modeltap.recipe.document import load_document
from modeltap.recipe.layers import KEYS, LayerKeys
from modeltap.recipe.parse import SECTIONS, parse_recipe
from modeltap.tasks.catalogue import BUILT_IN as TASKS

INLINE = ("model.input", "model.output")
"""Sections with two keys each, told in the row of their parent."""


def written(default) -> str:
    """A default as the page writes it: required, nothing for a section, else as YAML would."""
    if default is msgspec.NODEFAULT:
        return "required"
    if isinstance(default, msgspec.Struct):
        return ""
    plain = msgspec.to_builtins(default)
    if isinstance(plain, str):
        return plain
    return repr(plain) if isinstance(plain, float) else msgspec.json.encode(plain).decode().replace(",", ", ")


def expected(kind: type[msgspec.Struct], *, without: tuple[str, ...] = ()) -> list[list[str]]:
    fields = msgspec.structs.fields(kind)
    defaults = [f.default if f.default_factory is msgspec.NODEFAULT else f.default_factory() for f in fields]
    return [[f.name, written(default)] for f, default in zip(fields, defaults, strict=True) if f.name not in without]


def told(title: str) -> list[list[str]]:
    return [row[:2] for row in table(section(read("docs/recipes.md"), title))]


@pytest.mark.parametrize("place", ["recipe", *(place for place in SECTIONS if place not in INLINE)])
def test_every_key_of_a_section_is_told_with_its_default(place):
    assert told(place) == expected({"recipe": Recipe, **SECTIONS}[place])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_option_of_an_architecture_is_told_with_its_default(name):
    assert told(name) == expected(ARCHITECTURES[name].options)


def test_every_layer_and_key_is_told_with_its_default():
    want = []
    for kind, keys in KEYS.items():
        shared = ("name",) if issubclass(keys, LayerKeys) else ()
        want += [[kind, *row] for row in expected(keys, without=shared)] or [[kind, "", ""]]
    rows = [row[:3] for row in table(section(read("docs/recipes.md"), "Layers"))]
    assert sorted(rows) == sorted(want)


def test_every_task_is_told_with_what_it_takes():
    rows = table(section(read("docs/recipes.md"), "Tasks"))
    want = [[t.name, ", ".join(t.forms), t.target, ", ".join(t.losses), t.architecture] for t in TASKS.values()]
    assert rows == want


def test_every_recipe_in_the_documents_can_be_trained_by():
    found = [block.text for path in documents() for block in blocks(path.read_text(encoding="utf-8"), "yaml")]
    assert found
    for text in found:
        parse_recipe(load_document(text))
