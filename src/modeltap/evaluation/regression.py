"""Regression metrics from predicted and actual numbers. NaN is undefined, until `result`."""

# Letters: N samples. Functions on `...4` also take leading axes, such as resamples.

from __future__ import annotations

import numpy as np

from modeltap.evaluation.arrays import Floats


def regression_metrics(value_N: Floats, target_N: Floats) -> dict[str, float]:
    """mse, rmse, mae and r2 of the predictions `value_N`; r2 is NaN where all targets are equal."""
    mean_4 = moments(value_N, target_N).mean(axis=1)
    return {name: float(metric) for name, metric in metrics_of_means(mean_4).items()}


def moments(value_N: Floats, target_N: Floats) -> Floats:
    """(4, N): squared error, absolute error, centred target and its square. The metrics follow from their means."""
    error_N = value_N - target_N
    # Equal targets become exactly 0, and the centre lies inside the data, so that the variance loses no digits.
    centred_N = target_N - np.median(target_N)
    return np.stack((error_N**2, np.abs(error_N), centred_N, centred_N**2))


def metrics_of_means(mean_4: Floats) -> dict[str, Floats]:
    mse, mae, centre, square = (mean_4[..., i] for i in range(4))
    variance = square - centre**2
    spread = variance > 1e-12 * square
    r2 = 1 - np.divide(mse, variance, out=np.full(np.shape(mse), np.nan), where=spread)
    return {"mse": mse, "rmse": np.sqrt(mse), "mae": mae, "r2": r2}
