"""What a person reads for each metric: its title, and what it says."""

from __future__ import annotations

METRIC_TITLES = {
    "accuracy": ("Accuracy", "share of rows with the right class"),
    "balanced_accuracy": ("Balanced accuracy", "recall, averaged over classes"),
    "precision_macro": ("Precision macro", "every class counts the same"),
    "precision_micro": ("Precision micro", "every row counts the same"),
    "precision_weighted": ("Precision weighted", "classes count by their rows"),
    "recall_macro": ("Recall macro", "every class counts the same"),
    "recall_micro": ("Recall micro", "every row counts the same"),
    "recall_weighted": ("Recall weighted", "classes count by their rows"),
    "f1_macro": ("F1 macro", "every class counts the same"),
    "f1_micro": ("F1 micro", "every row counts the same"),
    "f1_weighted": ("F1 weighted", "classes count by their rows"),
    "roc_auc": ("ROC AUC", "how often a row of a class scores above another; 0.5 is chance"),
    "log_loss": ("Log loss", "price of the stated probabilities, in nats; 0 is best"),
    "calibration_error": ("Calibration error", "mean gap between confidence and accuracy; 0 is best"),
    "mse": ("MSE", "mean squared error, in squared units of the target"),
    "rmse": ("RMSE", "root mean squared error, in units of the target; large errors count more"),
    "mae": ("MAE", "mean absolute error, in units of the target"),
    "loss": ("Loss", "mean surprise at a token, in nats; 0 is best"),
    "perplexity": ("Perplexity", "among how many equally likely tokens it chooses, so to say; 1 is best"),
    "bits_per_byte": ("Bits per byte", "what a byte of text costs to write down by the model; fair between tokenizers"),
    "r2": ("R²", "share of the target's variance that is explained; 1 is best, 0 is saying the mean"),
}
