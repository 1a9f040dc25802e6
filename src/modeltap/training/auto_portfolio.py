"""What a search tries, in this order: what is worth most for its time first.

Chosen by cross-validation on the training part of Adult; its test file was not looked at.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.domain.recipe import Recipe
from modeltap.recipe.auto_architecture import AutoOptions
from modeltap.recipe.parse import parse_recipe
from modeltap.training.auto_candidate import Candidate

FOLDS = 8
MOST_ROWS_IN_FOLDS = 100_000
"""With more of them a validation part is large enough to judge on, and time too short to train everything often."""

FEWEST_ROWS_OF_FOLD = 10
FEW_ROWS = 5_000

TREES = "trees"
EMBEDDED = "embedded"
ONE_HOT = "one-hot"

_VIEWS = {"gradient-boosting": TREES, "mlp": EMBEDDED, "linear": ONE_HOT}

_FREE = {"learning_rate": 0.1, "l2_regularization": 0.0, "min_samples_leaf": 1}
"""What holds these trees back is their depth, and the rows on which they are stopped: leaves that must be large, or are pulled
to zero, lose the rare categories."""

_PORTFOLIO: tuple[tuple[str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("trees", "gradient-boosting", {**_FREE, "max_leaf_nodes": 16, "max_depth": 4}, {}),
    ("large-trees", "gradient-boosting", {**_FREE, "max_leaf_nodes": 20, "l2_regularization": 0.3, "min_samples_leaf": 2}, {}),
    ("shallow-trees", "gradient-boosting", {**_FREE, "max_leaf_nodes": 8, "max_depth": 3}, {}),
    ("linear", "linear", {}, {"epochs": 200, "optimizer": {"lr": 0.01}}),
    ("network", "mlp", {}, {"epochs": 100, "optimizer": {"lr": 0.002}}),
    ("careful-trees", "gradient-boosting", {"learning_rate": 0.1, "l2_regularization": 3.0, "max_leaf_nodes": 15}, {}),
)
"""Name, architecture, its options, recipe keys of a network."""


def portfolio(recipe: Recipe, options: AutoOptions, *, num_rows: int) -> list[Candidate]:
    """The candidates for a recipe whose architecture is `auto`. Each has a seed of its own, made from the recipe's.

    Networks take small batches, and wait longer for a better epoch, where there are few rows, so that they see each often.
    """
    batch_size = min(256, max(32, 2 ** round(np.log2(max(1, num_rows / 100)))))
    pace = {"batch_size": batch_size, "early_stopping": {"patience": 10 if num_rows < FEW_ROWS else 4}}
    data = msgspec.to_builtins(recipe.data)
    said = recipe.data.transforms.categories
    of_trees = {**data, "transforms": {**data["transforms"], "categories": "codes" if said == "auto" else said}}
    of_networks = {**data, "transforms": {**data["transforms"], "categories": "auto" if said == "codes" else said}}
    shared = {
        "task": recipe.task,
        "loss": msgspec.to_builtins(recipe.loss),
        "threads": recipe.threads,
        "device": recipe.device,
    }
    tensors = {"input": msgspec.to_builtins(recipe.model.input)}
    return [
        Candidate(
            name=name,
            view=_VIEWS[architecture],
            recipe=parse_recipe(
                {
                    **shared,
                    **(keys and {**pace, **keys}),
                    "data": of_trees if _VIEWS[architecture] == TREES else of_networks,
                    "seed": (recipe.seed + 1000 * place) % 2**31,
                    "model": {"architecture": architecture, **tensors, **own},
                }
            ),
        )
        for place, (name, architecture, own, keys) in enumerate(_PORTFOLIO)
        if architecture in options.architectures
    ]


def num_folds(recipe: Recipe, target: NDArray[Any], *, is_class: bool) -> int:
    """1 judges on the validation part alone: for large tables, where rows are no independent draws, and where the rows of all
    classes but the largest would be left out together. Small tables have fewer folds."""
    independent = recipe.data.split.group is None and recipe.data.split.time is None
    others = len(target) - int(np.bincount(target).max()) if is_class else len(target)
    if not independent or len(target) > MOST_ROWS_IN_FOLDS or others < 2:
        return 1
    return max(2, min(FOLDS, len(target) // FEWEST_ROWS_OF_FOLD))
