"""The features of a search's trials: fitted once for all trials whose recipes give the same ones."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from modeltap.data.store import StoredDataset
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.recipe.render import recipe_document
from modeltap.runner.features import Featured, starts_with_embedding, table_features
from modeltap.runner.prepare import Prepared, prepare
from modeltap.runner.steps import Step
from modeltap.runner.text_features import text_features
from modeltap.runner.text_start import open_start
from modeltap.tasks.catalogue import find_task
from modeltap.tuning.features import About, are_there, write_features

NETWORK_OPTIONS = frozenset({"dim", "dropout", "heads", "inner", "layers", "pool", "temperature", "units"})
"""Of architectures that read texts: how texts become ids does not depend on them, as it does on all others."""


def shared_features(step: Step, stored: StoredDataset, recipe: Recipe, root: Path) -> str:
    """The name of the folder under `root` that holds what the recipe is trained on; written now if it is not there.

    Raises InvalidRecipe, InvalidData, StorageFailed.
    """
    name = _name(recipe)
    if not are_there(root / name):
        prepared, told, featured = featured_for(step, stored, recipe)
        if not len(featured.data.val):
            raise InvalidRecipe("the validation part has no rows, and a search compares its trials on it; set data.split.val")
        options = {key: value for key, value in told.model.options.items() if recipe.model.options.get(key) != value}
        start = featured.start
        about = About(spec=featured.spec, labels=prepared.labels, start=tuple(sorted(start)), options=options)
        write_features(root / name, about, featured.data, start)
    return name


def featured_for(step: Step, stored: StoredDataset, recipe: Recipe) -> tuple[Prepared, Recipe, Featured]:
    """Rows, recipe and features as a training has them."""
    task = find_task(recipe.task)
    if "texts" not in task.forms and recipe.model.options.get("base") is not None:
        raise InvalidRecipe(
            "model.base: trials of a search begin with weights of their own; search without it, or train once with it"
        )
    prepared = prepare(stored, recipe, task)
    if "texts" in task.forms:
        recipe, featured = text_features(prepared, recipe, partial(open_start, step))
    else:
        prepared, featured = table_features(prepared, recipe)
    return prepared, recipe, featured


def _name(recipe: Recipe) -> str:
    document = recipe_document(recipe)
    model: dict[str, Any] = {key: document["model"][key] for key in ("architecture", "input", "output")}
    if "texts" in find_task(recipe.task).forms:
        model |= {key: value for key, value in recipe.model.options.items() if key not in NETWORK_OPTIONS}
    facts = [recipe.task, document["data"], model, starts_with_embedding(recipe)]
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()[:16]
