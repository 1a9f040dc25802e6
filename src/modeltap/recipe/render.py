"""A recipe written out in full, as YAML that can be run again, and the digest that names it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from modeltap.domain.recipe import Recipe
from modeltap.recipe.document import EXPONENT


def recipe_document(recipe: Recipe) -> dict[str, Any]:
    """Plain values of every key, an architecture's options beside its name, as a recipe file has them."""
    document: dict[str, Any] = msgspec.to_builtins(recipe)
    model = document["model"]
    document["model"] = {"architecture": model["architecture"], "input": model["input"], "output": model["output"]}
    document["model"].update(model["options"])
    if recipe.search is None:
        del document["search"]
    else:
        space = {
            key: {name: value for name, value in said.items() if value is not None and value is not False}
            for key, said in document["search"]["space"].items()
        }
        document["search"] = {**document["search"], "space": space}
    return document


def render_recipe(recipe: Recipe) -> str:
    """YAML in the order of the recipe's own fields; `document.load_document` reads the same values from it."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Quotes the texts that `load_document` would take for numbers."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("+-.0123456789"))
    return yaml.dump(recipe_document(recipe), Dumper=Dumper, allow_unicode=True, sort_keys=False)


def recipe_digest(recipe: Recipe) -> str:
    """sha256 of the recipe's canonical JSON: keys sorted, every default written out."""
    return hashlib.sha256(msgspec.json.encode(recipe_document(recipe), order="sorted")).hexdigest()
