"""What is tried next, and which trial ends early. Each draw has a seed of its own, made of the search's seed and the trial's
number, so that a search that was killed draws what it would have drawn."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from modeltap.domain.recipe import Search
from modeltap.errors import InvalidRecipe, MissingExtra
from modeltap.recipe.search_space import Dimension
from modeltap.tuning.space import grid_values

MAX_GRID = 1_000_000
STARTUP_TRIALS = 5
"""That end by themselves before the first one is ended early."""
WARMUP_SHARE = 0.1
"""Of the epochs, in which no trial is ended."""


class Grid(BaseSampler):
    """Every combination once, in an order drawn from the seed."""

    def __init__(self, space: Sequence[Dimension], *, seed: int) -> None:
        """Raises InvalidRecipe for a range that is no grid, or too many points."""
        self._values = {one.key: grid_values(one) for one in space}
        self.num_points = math.prod(map(len, self._values.values()))
        if self.num_points > MAX_GRID:
            raise InvalidRecipe(f"search.space is a grid of {self.num_points:,} points; at most {MAX_GRID:,} are walked")
        self._order = random.Random(seed).sample(range(self.num_points), self.num_points)  # noqa: S311

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        place, point = self._order[trial.number], {}
        for key, values in self._values.items():
            place, index = divmod(place, len(values))
            point[key] = values[index]
        return point[param_name]


def new_sampler(
    search: Search, space: Sequence[Dimension], drawn_from: Mapping[str, BaseDistribution], *, number: int
) -> BaseSampler:
    """For the trial of that number. Raises InvalidRecipe for a space that it cannot draw from, MissingExtra."""
    match search.sampler:
        case "random":
            return RandomSampler(seed=_seed(search.seed, number))
        case "tpe":
            return TPESampler(seed=_seed(search.seed, number))
        case "grid":
            return Grid(space, seed=search.seed)
        case "cma-es":
            try:
                from modeltap.tuning.cma_es import CmaSampler
            except ModuleNotFoundError as problem:
                raise MissingExtra(what=str(problem.name), extra="train") from problem
            return CmaSampler(drawn_from, seed=_seed(search.seed, number))


def new_pruner(search: Search, *, max_epochs: int) -> BasePruner:
    """`max_epochs`: of the longest trial."""
    match search.pruner:
        case "none":
            return NopPruner()
        case "median":
            warmup = max(1, math.ceil(max_epochs * WARMUP_SHARE))
            return MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=warmup)
        case "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=max_epochs, reduction_factor=3)


def _seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:4], "little")
