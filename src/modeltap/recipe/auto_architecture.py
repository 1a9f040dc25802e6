"""`architecture: auto`: a search over linear models, boosted trees and networks for tables, under a time budget."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from modeltap.domain.architecture import Architecture, Options
from modeltap.domain.recipe import Optimizer, Recipe, Schedule
from modeltap.errors import InvalidRecipe

AUTO = "auto"

Searched = Literal["gradient-boosting", "mlp", "linear"]


class AutoOptions(Options, frozen=True):
    time_budget: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 90
    """Seconds that the job may take; what does not fit into them is left out. The first candidate always has an end."""
    architectures: Annotated[tuple[Searched, ...], msgspec.Meta(min_length=1)] = ("gradient-boosting", "mlp", "linear")
    """What is searched."""
    blend: bool = True
    """Several candidates may answer together; false keeps the best one alone."""


AUTO_ARCHITECTURE = Architecture(
    name=AUTO,
    summary="a search over linear models, boosted trees and networks, which may answer together",
    options=AutoOptions,
    build="modeltap.training.auto:Search",
    family="search",
    tasks=("tabular-classification", "tabular-regression"),
)


def check_auto(recipe: Recipe) -> None:
    """Raises InvalidRecipe for keys that every candidate sets for itself: to ignore them in silence would mislead."""
    unused = {
        "optimizer": recipe.optimizer != Optimizer(),
        "schedule": recipe.schedule != Schedule(),
        "gradient_clip": recipe.gradient_clip is not None,
        "early_stopping": recipe.early_stopping is not None,
        "loss.label_smoothing": bool(recipe.loss.label_smoothing),
    }
    for key, is_set in unused.items():
        if is_set:
            told = f"{key} is decided by each candidate of architecture 'auto'; name an architecture to set it"
            raise InvalidRecipe(told, fields=[(key, "unused")])
    if recipe.loss.name == "huber":
        raise InvalidRecipe("'auto' has no loss 'huber'; allowed: mse, mae", fields=[("loss.name", "unused")])
