"""CMA-ES over the numbers of a space: its state is made again from the finished trials, so that it outlives every process.

The Optuna sampler of this name keeps that state pickled inside the study; here nothing is unpickled, so nothing is pickled.
Letters: P trials of a generation, D numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from cmaes import CMA
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from modeltap.errors import InvalidRecipe

GENERATION = "cma.generation"
POINT = "cma.point"
SIGMA = 1 / 6
"""Of the space's width, to begin with."""
Numeric = FloatDistribution | IntDistribution


class CmaSampler(BaseSampler):
    """One trial of the generation at hand. A generation ends when as many of its trials have a value as it has members."""

    def __init__(self, space: Mapping[str, BaseDistribution], *, seed: int) -> None:
        """Raises InvalidRecipe for a space without numbers."""
        self._numeric: dict[str, Numeric] = {
            key: one for key, one in space.items() if isinstance(one, Numeric) and not one.single()
        }
        if not self._numeric:
            raise InvalidRecipe("search.sampler cma-es moves through numbers, and the space has choices alone; use tpe")
        self._seed = seed
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._numeric)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        optimizer, generation = self._replayed(study)
        point_D = optimizer.ask()
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, generation)
        study._storage.set_trial_system_attr(trial._trial_id, POINT, point_D.tolist())
        return {key: _from_unit(one, float(unit)) for (key, one), unit in zip(self._numeric.items(), point_D, strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _replayed(self, study: Study) -> tuple[CMA, int]:
        """The optimizer after every whole generation, and the number of the one at hand."""
        num_D = len(self._numeric)
        optimizer = CMA(mean=np.full(num_D, 0.5), sigma=SIGMA, bounds=np.tile([0.0, 1.0], (num_D, 1)), seed=self._seed)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        generation = 0
        while True:
            told_P = _valued(study, generation, sign)[: optimizer.population_size]
            if len(told_P) < optimizer.population_size:
                return optimizer, generation
            optimizer.tell(told_P)
            generation += 1


def _valued(study: Study, generation: int, sign: float) -> list[tuple[Any, float]]:
    """Points and losses of the trials of a generation that have a value, in their order."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return [
        (np.array(trial.system_attrs[POINT]), sign * trial.value)
        for trial in study.get_trials(deepcopy=False, states=states)
        if trial.system_attrs.get(GENERATION) == generation and trial.value is not None
    ]


def _from_unit(one: Numeric, unit: float) -> float | int:
    """A number of the range, of where it lies in it between 0 and 1."""
    if one.log:
        low, high = math.log(one.low), math.log(one.high)
        drawn = math.exp(low + (high - low) * unit)
    else:
        drawn = one.low + (one.high - one.low) * unit
    if isinstance(one, IntDistribution):
        step = one.step or 1
        return min(max(one.low + round((drawn - one.low) / step) * step, one.low), one.high)
    if one.step is not None:
        drawn = one.low + round((drawn - one.low) / one.step) * one.step
    return float(min(max(drawn, one.low), one.high))
