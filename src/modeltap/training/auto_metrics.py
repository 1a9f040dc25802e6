"""How good a candidate is on the rows that it is judged on.

Letters: J judged rows, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.training.auto_blend import mean_loss


def judged_metrics(answer: NDArray[np.floating], target_J: NDArray[Any]) -> dict[str, float | None]:
    """log_loss, roc_auc (of two classes) and accuracy of (J, C) probabilities; rmse and mae of (J,) numbers."""
    one_J = np.ones(len(target_J))
    if answer.ndim == 1:
        squared, absolute = (mean_loss(answer, target_J, one_J, name=name) for name in ("mse", "mae"))
        return {"rmse": float(np.sqrt(squared)), "mae": absolute}
    told: dict[str, float | None] = {"log_loss": mean_loss(answer, target_J, one_J, name="cross-entropy")}
    if answer.shape[1] == 2:
        told["roc_auc"] = _area(answer[:, 1], target_J == 1)
    return {**told, "accuracy": float((answer.argmax(1) == target_J).mean())}


def _area(score_J: NDArray[np.floating], positive_J: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve, ties counted half; None where a class does not occur."""
    num_positive = int(positive_J.sum())
    pairs = num_positive * (len(positive_J) - num_positive)
    if not pairs:
        return None
    _, place_J, count = np.unique(score_J, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    return float((middle[place_J][positive_J].sum() - num_positive * (num_positive + 1) / 2) / pairs)
