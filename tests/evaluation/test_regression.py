"""Regression metrics agree with scikit-learn; R² is undefined where there is nothing to explain."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from modeltap.evaluation.regression import regression_metrics


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_all_metrics_agree_with_scikit_learn(offset):
    rng = np.random.default_rng(0)
    target_N = rng.normal(size=500) + offset
    value_N = target_N + rng.normal(size=500) * 0.3
    ours = regression_metrics(value_N, target_N)
    assert ours["mse"] == pytest.approx(reference.mean_squared_error(target_N, value_N))
    assert ours["rmse"] == pytest.approx(reference.root_mean_squared_error(target_N, value_N))
    assert ours["mae"] == pytest.approx(reference.mean_absolute_error(target_N, value_N))
    assert ours["r2"] == pytest.approx(reference.r2_score(target_N, value_N))


def test_by_hand():
    ours = regression_metrics(np.array([1.0, 2.0, 5.0]), np.array([1.0, 3.0, 5.0]))
    assert ours == pytest.approx({"mse": 1 / 3, "rmse": (1 / 3) ** 0.5, "mae": 1 / 3, "r2": 1 - 1 / 8})


def test_r2_is_undefined_for_equal_targets():
    assert np.isnan(regression_metrics(np.array([1.0, 2.0, 3.0]), np.full(3, 0.1))["r2"])
    assert np.isnan(regression_metrics(np.array([1.0]), np.array([7.0]))["r2"])
