"""Targets as the loop trains on them, and the way back to raw units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.domain.architecture import Options
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidData
from modeltap.recipe.architectures import SequentialOptions


@dataclass(frozen=True)
class TargetScale:
    """raw = scaled * std + mean."""

    mean: float = 0.0
    std: float = 1.0

    def scale(self, raw_N: NDArray[Any]) -> NDArray[np.float32]:
        """The targets as the loop trains on them."""
        scaled: NDArray[np.float32] = ((raw_N.astype(np.float64) - self.mean) / self.std).astype(np.float32)
        return scaled


def fit_scale(recipe: Recipe, options: Options, raw_N: NDArray[Any]) -> TargetScale:
    """The scale that the recipe wants: `auto` standardizes, unless the network's last layer bounds its answers (a final relu
    or sigmoid means raw units).

    Raises InvalidData if a target is not a finite number.
    """
    if not np.isfinite(raw_N).all():
        raise InvalidData("the target holds missing or infinite numbers; drop those rows")
    wanted = recipe.data.transforms.target
    if wanted == "none" or (wanted == "auto" and _is_bounded(options)):
        return TargetScale()
    std = float(np.std(raw_N, dtype=np.float64))
    return TargetScale(mean=float(np.mean(raw_N, dtype=np.float64)), std=std if std > 0 else 1.0)


def _is_bounded(options: Options) -> bool:
    return isinstance(options, SequentialOptions) and (options.layers[-1].activation or "linear") != "linear"
