"""The metrics of an evaluation by their names, and which of them are better when they are lower."""

from __future__ import annotations

CLASS_METRICS = (
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "precision_micro",
    "precision_weighted",
    "recall_macro",
    "recall_micro",
    "recall_weighted",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "roc_auc",
    "log_loss",
    "calibration_error",
)
NUMBER_METRICS = ("mse", "rmse", "mae", "r2")
LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "mse", "rmse", "mae"})
