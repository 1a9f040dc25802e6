"""scikit-learn's boosted trees, which do at the first fit only what they would do again at each that adds trees: sort features
into bins, and add up the scores of all trees so far. They read categories as the codes that they are, in their places.

Letters: N samples, F features, K trees an iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor


def _codes_in(column_N: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.unique(column_N[~np.isnan(column_N)])


class _GoesOn:
    """Every `fit` must be given the same rows. With weights, finding the bins takes longer than growing most trees."""

    _kept: tuple[Any, NDArray[np.uint8]] | None = None
    _given: tuple[NDArray[np.float64], list[Any] | None] | None = None
    _scores: tuple[int, NDArray[np.float64]] | None = None
    """Iterations, and what the training rows score after them (N, K)."""
    _bin_mapper: Any
    _in_fit = False
    _predictors: list[Any]
    _baseline_prediction: Any
    _predict_iterations: Any
    n_trees_per_iteration_: int
    categorical_features: Any

    def _bin_data(self, X: Any, sample_weight: Any, is_training_data: bool) -> NDArray[np.uint8]:
        if self._kept is None:
            binned = super()._bin_data(X, sample_weight, is_training_data)  # type: ignore[misc]
            self._kept = (self._bin_mapper, binned)
        self._bin_mapper = self._kept[0]
        return self._kept[1]

    def _raw_predict(self, X: Any, n_threads: int | None = None) -> NDArray[np.float64]:
        """As there; in a fit, where X are the training rows in bins, only the trees are asked that are new since the last."""
        if not self._in_fit:
            scores: NDArray[np.float64] = super()._raw_predict(X, n_threads)  # type: ignore[misc]
            return scores
        done, kept = self._scores or (0, np.zeros((len(X), self.n_trees_per_iteration_), order="F") + self._baseline_prediction)
        self._predict_iterations(X, self._predictors[done:], kept, True, n_threads)
        self._scores = (len(self._predictors), kept)
        return kept.copy(order="F")

    def _preprocess_X(self, X: Any, *, reset: bool) -> Any:  # noqa: N802
        """Float64 rows as they are. With `reset`, in a fit, also the codes of each category that occur; None for a number."""
        if reset and self._given is not None:
            return self._given
        rows_NF = np.ascontiguousarray(X, dtype=np.float64)
        if not reset:
            return rows_NF
        num_features = rows_NF.shape[1]
        self.n_features_in_ = num_features
        mask_F = np.zeros(num_features, dtype=bool)
        mask_F[list(self.categorical_features or ())] = True
        self.is_categorical_ = self._is_categorical_remapped = mask_F if mask_F.any() else None
        self._preprocessor = None
        known = [_codes_in(rows_NF[:, f]) if mask_F[f] else None for f in range(num_features)]
        self._given = rows_NF, known if mask_F.any() else None
        return self._given


class GrowingClassifier(_GoesOn, HistGradientBoostingClassifier):  # type: ignore[misc]
    """Classes."""


class GrowingRegressor(_GoesOn, HistGradientBoostingRegressor):  # type: ignore[misc]
    """Numbers."""
