"""scikit-learn's boosted trees, which sort the features into bins at the first fit only, not at each that adds trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor


class _BinsOnce:
    """Every `fit` must be given the same rows. With weights, finding the bins takes longer than growing most trees."""

    _kept: tuple[Any, NDArray[np.uint8]] | None = None
    _bin_mapper: Any

    def _bin_data(self, X: Any, sample_weight: Any, is_training_data: bool) -> NDArray[np.uint8]:
        if self._kept is None:
            binned = super()._bin_data(X, sample_weight, is_training_data)  # type: ignore[misc]
            self._kept = (self._bin_mapper, binned)
        self._bin_mapper = self._kept[0]
        return self._kept[1]


class GrowingClassifier(_BinsOnce, HistGradientBoostingClassifier):  # type: ignore[misc]
    """Classes."""


class GrowingRegressor(_BinsOnce, HistGradientBoostingRegressor):  # type: ignore[misc]
    """Numbers."""
