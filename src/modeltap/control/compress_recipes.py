"""The recipes that a compression trains by: of the training after pruning, and of a student."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from modeltap.domain.recipe import Distributed, Recipe
from modeltap.errors import CannotCompress, InvalidRecipe
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.document import apply_settings, expand, load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document

TUNED_EPOCHS = 0.5
"""Of those that the version was trained for."""
TUNED_RATE = 0.5
TEACHERS_DATA = ("target", "columns", "split")
"""Sections of `data` that a student has from its teacher, so that both are compared on rows that neither learned from."""


def tuning_recipe(parent: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The version's own recipe with half its epochs and half its learning rate, which falls to 0; `settings` stand above.

    Raises InvalidRecipe for settings of the data or the model: those are what the weights were made for.
    """
    for key in settings:
        section = key.split(".")[0]
        if section in ("task", "data", "model"):
            raise InvalidRecipe(
                f"'{key}' cannot be set here: pruned weights keep their data and model; set epochs, optimizer.lr, …"
            )
    tuned = msgspec.structs.replace(
        parent,
        epochs=max(1, math.ceil(parent.epochs * TUNED_EPOCHS)),
        optimizer=msgspec.structs.replace(parent.optimizer, lr=parent.optimizer.lr * TUNED_RATE),
        schedule=msgspec.structs.replace(parent.schedule, name="cosine", warmup=0.0, floor=0.0),
    )
    return _in_one_process(parse_recipe(apply_settings(recipe_document(tuned), settings)))


def student_recipe(teacher: Recipe, given: Mapping[str, Any] | str, settings: Mapping[str, Any]) -> Recipe:
    """The complete recipe of a network that learns what the teacher answers, on the teacher's rows.

    Raises InvalidRecipe where it differs in what both must share, CannotCompress for one that is no network.
    """
    document = expand(apply_settings(load_document(given) if isinstance(given, str) else given, settings))
    if document.get("task", teacher.task) != teacher.task:
        raise InvalidRecipe(f"the student's task is '{document['task']}', its teacher's '{teacher.task}'; leave task out")
    student = parse_recipe({**document, "task": teacher.task})
    if find_architecture(student.model.architecture).family != "network":
        raise CannotCompress(
            f"a student learns from its teacher's probabilities, which '{student.model.architecture}' cannot; choose a network"
            " for it: mlp, cnn, linear or sequential"
        )
    own = document.get("data")
    for key in TEACHERS_DATA:
        if isinstance(own, Mapping) and key in own and getattr(student.data, key) != getattr(teacher.data, key):
            raise InvalidRecipe(
                f"data.{key} differs from the teacher's; leave it out, a student learns and is tested on the same rows"
            )
    data = msgspec.structs.replace(student.data, **{key: getattr(teacher.data, key) for key in TEACHERS_DATA})
    model = msgspec.structs.replace(student.model, input=teacher.model.input, output=teacher.model.output)
    return _in_one_process(msgspec.structs.replace(student, data=data, model=model))


def _in_one_process(recipe: Recipe) -> Recipe:
    """What several processes train together learns from its rows alone."""
    return msgspec.structs.replace(recipe, distributed=Distributed())
