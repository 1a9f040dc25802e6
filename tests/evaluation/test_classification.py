"""Classification metrics agree with scikit-learn and with cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from modeltap.evaluation.classification import (
    class_scores,
    confusion_matrix,
    count_classes,
    label_metrics,
    probability_metrics,
)


def random_predictions(num_rows: int, num_classes: int, *, seed: int, decimals: int | None = None):
    rng = np.random.default_rng(seed)
    label_N = rng.integers(0, num_classes, num_rows)
    prob_NC = rng.dirichlet(np.ones(num_classes), num_rows)
    prob_NC[np.arange(num_rows), label_N] += 0.4
    prob_NC /= prob_NC.sum(axis=1, keepdims=True)
    if decimals is not None:  # equal scores
        prob_NC = np.round(prob_NC, decimals) + 1e-9
        prob_NC /= prob_NC.sum(axis=1, keepdims=True)
    return prob_NC, label_N


@pytest.mark.parametrize(("num_classes", "decimals"), [(2, None), (2, 1), (5, None), (5, 1)])
def test_all_metrics_agree_with_scikit_learn(num_classes, decimals):
    prob_NC, label_N = random_predictions(400, num_classes, seed=num_classes, decimals=decimals)
    predicted_N = prob_NC.argmax(axis=1)
    confusion_CC = confusion_matrix(label_N, predicted_N, num_classes=num_classes)
    ours = label_metrics(count_classes(confusion_CC)) | probability_metrics(prob_NC, label_N)

    np.testing.assert_array_equal(confusion_CC, reference.confusion_matrix(label_N, predicted_N))
    expected = {
        "accuracy": reference.accuracy_score(label_N, predicted_N),
        "balanced_accuracy": reference.balanced_accuracy_score(label_N, predicted_N),
        "log_loss": reference.log_loss(label_N, prob_NC),
        "roc_auc": reference.roc_auc_score(label_N, prob_NC[:, 1])
        if num_classes == 2
        else reference.roc_auc_score(label_N, prob_NC, multi_class="ovr"),
    }
    for average in ("macro", "micro", "weighted"):
        expected[f"precision_{average}"] = reference.precision_score(label_N, predicted_N, average=average)
        expected[f"recall_{average}"] = reference.recall_score(label_N, predicted_N, average=average)
        expected[f"f1_{average}"] = reference.f1_score(label_N, predicted_N, average=average)
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-12), name


def test_averages_agree_with_scikit_learn_where_classes_are_absent_or_never_predicted():
    label_N = np.array([0, 0, 1, 1, 1, 3])
    predicted_N = np.array([0, 2, 1, 0, 1, 1])
    ours = label_metrics(count_classes(confusion_matrix(label_N, predicted_N, num_classes=6)))
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = reference.precision_recall_fscore_support(
            label_N, predicted_N, average=average, zero_division=0
        )
        assert ours[f"precision_{average}"] == pytest.approx(precision)
        assert ours[f"recall_{average}"] == pytest.approx(recall)
        assert ours[f"f1_{average}"] == pytest.approx(f1)
    assert ours["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_scores_by_class_are_undefined_where_nothing_can_be_said():
    label_N = np.array([0, 0, 1, 3])
    predicted_N = np.array([0, 1, 1, 0])
    scores = class_scores(count_classes(confusion_matrix(label_N, predicted_N, num_classes=4)))
    np.testing.assert_allclose(scores.precision, [1 / 2, 1 / 2, np.nan, np.nan])
    np.testing.assert_allclose(scores.recall, [1 / 2, 1, np.nan, 0])
    np.testing.assert_allclose(scores.f1, [1 / 2, 2 / 3, np.nan, 0])


def test_sure_and_wrong_costs_much_but_not_infinitely():
    prob_NC = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    label_N = np.array([0, 1, 1])
    assert probability_metrics(prob_NC, label_N)["log_loss"] == pytest.approx(reference.log_loss(label_N, prob_NC))


def test_calibration_error_by_hand():
    # Bins of width 1/15. (0.6, 0.667]: four rows of confidence 0.65, two right. (0.867, 0.933]: one row of 0.9, right.
    prob_1 = np.array([0.65, 0.65, 0.35, 0.35, 0.9])
    label_N = np.array([1, 0, 0, 1, 1])
    prob_NC = np.stack((1 - prob_1, prob_1), axis=1)
    expected = 4 / 5 * abs(0.65 - 0.5) + 1 / 5 * abs(0.9 - 1)
    assert probability_metrics(prob_NC, label_N)["calibration_error"] == pytest.approx(expected)


def test_auc_is_undefined_where_a_class_is_absent():
    prob_NC = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert np.isnan(probability_metrics(prob_NC, np.array([1, 1]))["roc_auc"])
    prob_NC = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]])
    assert np.isnan(probability_metrics(prob_NC, np.array([0, 1, 0]))["roc_auc"])
    assert np.isnan(probability_metrics(np.ones((2, 1)), np.array([0, 0]))["roc_auc"])


def test_auc_counts_ties_half():
    prob_1 = np.array([0.5, 0.5, 0.5, 0.9])
    prob_NC = np.stack((1 - prob_1, prob_1), axis=1)
    # Pairs (positive, negative): (0.5, 0.5) is a tie, (0.9, 0.5) is won, each against two negatives.
    assert probability_metrics(prob_NC, np.array([1, 0, 0, 1]))["roc_auc"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)
