"""What is searched, as Optuna has it, and values as a recipe has them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from modeltap.errors import InvalidRecipe
from modeltap.recipe.search_space import MAX_WHOLE_POINTS, Dimension

DIGITS = 6
"""Of a number that is tried: more tell nobody anything."""


def distribution(searched: Dimension) -> BaseDistribution:
    """A choice is known to Optuna by its JSON text, as it may be a list."""
    if searched.choices:
        return CategoricalDistribution([json.dumps(choice) for choice in searched.choices])
    if searched.whole:
        step = 1 if searched.step is None else int(searched.step)
        high = int(searched.low) + (int(searched.high) - int(searched.low)) // step * step
        return IntDistribution(int(searched.low), high, log=searched.log, step=step)
    if searched.step is not None:
        steps = math.floor((searched.high - searched.low) / searched.step + 1e-9)
        return FloatDistribution(searched.low, searched.low + steps * searched.step, step=searched.step)
    return FloatDistribution(searched.low, searched.high, log=searched.log)


def recipe_value(searched: Dimension, drawn: Any) -> Any:
    """What was drawn, as it is written into the recipe: with few digits, and never beyond the ends."""
    if searched.choices:
        return json.loads(drawn)
    if searched.whole:
        return int(drawn)
    return min(max(float(f"{drawn:.{DIGITS}g}"), searched.low), searched.high)


def recipe_values(space: Sequence[Dimension], drawn: Mapping[str, Any]) -> dict[str, Any]:
    return {one.key: recipe_value(one, drawn[one.key]) for one in space}


def grid_values(searched: Dimension) -> list[Any]:
    """Every value that a grid has of it, as Optuna has them. Raises InvalidRecipe for a range without steps or points."""
    if searched.choices:
        return [json.dumps(choice) for choice in searched.choices]
    low, high, where = searched.low, searched.high, f"search.space.{searched.key}"
    if searched.points is not None:
        between = [place / (searched.points - 1) for place in range(searched.points)]
        if searched.log:
            numbers = [low * (high / low) ** share for share in between]
        else:
            numbers = [low + (high - low) * share for share in between]
    elif searched.step is not None or searched.whole:
        step = searched.step or 1.0
        count = math.floor((high - low) / step + 1e-9) + 1
        if count > MAX_WHOLE_POINTS:
            raise InvalidRecipe(f"{where}: a grid of {count:,} numbers; set points or a larger step", fields=[(where, "many")])
        numbers = [low + step * place for place in range(count)]
    else:
        told = "a grid needs to know which numbers of the range: set points: 5, or a step"
        raise InvalidRecipe(f"{where}: {told}", fields=[(where, told)])
    return list(dict.fromkeys(round(number) if searched.whole else min(max(number, low), high) for number in numbers))
