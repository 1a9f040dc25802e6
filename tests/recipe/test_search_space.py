"""A search section: what it may say, and what is told of a space with a corner that cannot be trained."""

from __future__ import annotations

from typing import Any

import pytest

from modeltap.domain.recipe import Candidates
from modeltap.errors import InvalidRecipe
from modeltap.recipe.document import apply_settings, load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document, render_recipe
from modeltap.recipe.search_space import candidate, corners, dimensions

MLP: dict[str, Any] = {"task": "tabular-classification", "model": "mlp"}
LR = {"optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True}}


def with_space(space: Any, **search: Any) -> dict[str, Any]:
    return {**MLP, "search": {"space": space, **search}}


def dims(space: Any) -> dict[str, Any]:
    document = with_space(space)
    search = parse_recipe(document).search
    assert search is not None
    return {one.key: one for one in dimensions(search, document, parse_recipe)}


def test_a_search_is_read_and_written_and_says_the_same():
    text = """
    task: tabular-classification
    model: mlp
    search:
      trials: 40
      sampler: random
      space:
        optimizer.lr: {low: 1e-4, high: 1e-1, log: true}
        model.hidden: {choices: [[64], [128, 64]]}
        model.dropout: {low: 0, high: 0.5}
        optimizer.name: [adam, adamw]
    """
    recipe = parse_recipe(load_document(text))
    assert recipe.search is not None
    assert recipe.search.metric == "accuracy", "the task's own, where none is named"
    assert recipe.search.space["optimizer.name"] == Candidates(choices=("adam", "adamw"))
    assert parse_recipe(load_document(render_recipe(recipe))) == recipe


def test_a_recipe_without_a_search_is_written_as_it_always_was():
    assert "search" not in recipe_document(parse_recipe(MLP))


def test_whole_numbers_are_tried_only_where_the_key_takes_no_others():
    found = dims(
        {
            "batch_size": {"low": 16, "high": 256},
            "model.dropout": {"low": 0, "high": 1 - 1e-9},
            "optimizer.l2": {"low": 0, "high": 1},
        }
    )
    assert {key: one.whole for key, one in found.items()} == {
        "batch_size": True,
        "model.dropout": False,
        "optimizer.l2": False,
    }


def test_a_trial_is_the_recipe_with_its_values_and_without_the_search():
    document = with_space({**LR, "model.hidden": [[64], [128, 64]], "optimizer.name": ["adam", "sgd"]})
    tried = candidate(document, {"optimizer.lr": 3e-05, "model.hidden": [64], "optimizer.name": "sgd"})
    recipe = parse_recipe(tried)
    assert recipe.search is None
    assert (recipe.optimizer.lr, recipe.optimizer.name, tuple(recipe.model.options["hidden"])) == (3e-05, "sgd", (64,))


def test_an_architecture_that_is_searched_brings_its_own_defaults():
    document = {"task": "tabular-classification", "search": {"space": {"model.architecture": ["mlp", "gradient-boosting"]}}}
    parse_recipe(document)
    epochs = [parse_recipe(candidate(document, {"model.architecture": name})).epochs for name in ("mlp", "linear")]
    assert epochs == [parse_recipe({**MLP, "model": name}).epochs for name in ("mlp", "linear")]


def test_a_key_of_the_space_is_set_on_the_command_line_by_its_whole_name():
    changed = apply_settings(with_space(LR), {"search.trials": "7", "search.space.optimizer.lr": "{low: 0.01, high: 0.02}"})
    search = parse_recipe(changed).search
    assert search is not None
    assert (search.trials, search.space["optimizer.lr"]) == (7, Candidates(low=0.01, high=0.02))


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ({}, "search.space is empty"),
        ([1], "is a mapping of keys"),
        ({"optimizer.rate": [0.1]}, "unknown key 'optimizer.rate'"),
        ({"model.hiden": [[4]]}, "did you mean 'hidden'?"),
        ({"optimizer.lr": {"lw": 1, "high": 2}}, "did you mean 'low'?"),
        ({"optimizer.lr": {"low": 1}}, "give choices: [...], or low and high"),
        ({"optimizer.lr": {"low": 2, "high": 1}}, "low must be below high"),
        ({"optimizer.lr": {"low": 0, "high": 1, "log": True}}, "with log: true it must be above 0"),
        ({"optimizer.lr": {"choices": []}}, "choices is empty"),
        ({"optimizer.lr": {"choices": [1], "low": 1, "high": 2}}, "choices stand alone"),
        ({"optimizer.lr": {"low": 1, "high": 2, "step": 5}}, "step is above 0, at most high - low"),
        ({"optimizer.lr": {"low": 0, "high": 1}}, "with optimizer.lr=0: optimizer.lr: needs"),
        ({"model.dropout": {"low": 0.1, "high": 1.5}}, "with model.dropout=1.5"),
        ({"data.split.val": [0.1, 0.2]}, "is the same in every trial"),
        ({"task": ["tabular-classification"]}, "is the same in every trial"),
        ({"model": ["mlp"], "model.dropout": [0.1]}, "name one of them"),
        (
            {"model.architecture": ["mlp", "auto"]},
            "'auto' is not trained in trials, it is a search itself: `modeltap train` runs it",
        ),
        ({"distributed.processes": [2]}, "is the same in every trial"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_searched_is_refused_by_its_name(space, told):
    with pytest.raises(InvalidRecipe) as refused:
        parse_recipe(with_space(space))
    assert told in refused.value.message


def test_only_the_values_that_make_a_corner_impossible_are_told():
    space = {**LR, "optimizer.name": ["adamw", "adam"], "optimizer.weight_decay": {"low": 0.0, "high": 0.1}, "epochs": [5, 9]}
    with pytest.raises(InvalidRecipe) as refused:
        parse_recipe({**with_space(space), "optimizer": {"name": "adamw"}})
    assert "with optimizer.name=adam, optimizer.weight_decay=0.1: optimizer.weight_decay is for adamw" in refused.value.message
    assert "lr" not in refused.value.message
    assert {where for where, _ in refused.value.fields} == {
        "search.space.optimizer.name",
        "search.space.optimizer.weight_decay",
    }


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"spice": 1}, "unknown key 'search.spice'; did you mean 'space'?"),
        ({"sampler": "tpo"}, "search.sampler: 'tpo' is not allowed; did you mean 'tpe'?"),
        ({"metric": "auc"}, "did you mean 'roc_auc'?"),
        ({"metric": "rmse"}, "is none of tabular-classification"),
        ({"trials": 0}, "search.trials"),
    ],
)
def test_a_key_of_the_search_is_refused_as_any_other(search, told):
    with pytest.raises(InvalidRecipe) as refused:
        parse_recipe(with_space(LR, **search))
    assert told in refused.value.message


@pytest.mark.parametrize("task", ["text-generation", "text-embedding"])
def test_a_task_without_a_target_is_not_searched(task):
    with pytest.raises(InvalidRecipe, match=rf"{task} has none; what is searched: image-c.*, text-classification; else"):
        parse_recipe({"task": task, "search": {"space": LR}})


def test_of_very_many_corners_every_end_is_looked_at():
    space = dims({f"loss.class_weights.{label}": [1.0, 2.0, 3.0] for label in "abcdefghi"})
    looked_at = list(corners(tuple(space.values())))
    assert len(looked_at) < 3**9
    assert all({corner[key] for corner in looked_at} == set(one.choices) for key, one in space.items())
