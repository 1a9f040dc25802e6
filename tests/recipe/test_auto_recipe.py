"""Leaving the architecture out is a task's quick default; `auto` is a search, and only of tables."""

from __future__ import annotations

from typing import Any

import pytest

from modeltap.errors import InvalidRecipe
from modeltap.recipe.document import apply_settings
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": "default"}, {"model": {"architecture": "default"}}])
def test_without_an_architecture_the_task_has_its_quick_one(model: dict[str, Any]) -> None:
    assert parse_recipe({"task": "tabular-classification", **model}).model.architecture == "gradient-boosting"


@pytest.mark.parametrize("task", ["tabular-classification", "tabular-regression"])
def test_auto_is_a_search_of_tables(task: str) -> None:
    document = apply_settings({"task": task}, {"model.architecture": "auto", "model.time_budget": "30"})
    recipe = parse_recipe(document)
    assert recipe.model.architecture == "auto"
    assert recipe.model.options["time_budget"] == 30
    assert parse_recipe(recipe_document(recipe)) == recipe


def test_to_other_tasks_auto_is_their_default() -> None:
    assert parse_recipe({"task": "image-classification", "model": "auto"}).model.architecture == "cnn"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optimizer": {"lr": 0.1}}, "optimizer is decided by each candidate of architecture 'auto'"),
        ({"early_stopping": 3}, "early_stopping is decided by each candidate"),
        ({"loss": "huber"}, "'auto' has no loss 'huber'; allowed: mse, mae"),
        ({"model": {"architecture": "auto", "time_budget": 0}}, "model.time_budget: "),
        ({"model": {"architecture": "auto", "architectures": ["trees"]}}, "'trees' is not allowed"),
        ({"model": {"architecture": "auto", "hidden": [8]}}, "unknown key 'hidden'"),
    ],
)
def test_what_a_search_has_no_use_for_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRecipe, match=message):
        parse_recipe({"task": "tabular-regression", "model": "auto", **keys})
