"""Intervals are deterministic, hold the estimate, and are those of a bootstrap that resamples rows one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from modeltap.evaluation.classification import confusion_matrix, count_classes, label_metrics, probability_metrics
from modeltap.evaluation.intervals import confusion_intervals, probability_intervals, regression_intervals
from modeltap.evaluation.ranking import BinaryAreas, RestAreas, rank, roc_auc
from modeltap.evaluation.regression import regression_metrics
from modeltap.evaluation.resampling import draw_rows, interval, num_resamples


def predictions(num_rows: int, num_classes: int, *, seed: int = 0, strength: float = 1.0):
    rng = np.random.default_rng(seed)
    label_N = np.arange(num_rows) % num_classes
    logit_NC = rng.normal(size=(num_rows, num_classes))
    logit_NC[np.arange(num_rows), label_N] += strength
    prob_NC = np.exp(logit_NC)
    return prob_NC / prob_NC.sum(axis=1, keepdims=True), label_N


def confusion(prob_NC, label_N):
    return confusion_matrix(label_N, prob_NC.argmax(axis=1), num_classes=prob_NC.shape[1])


@pytest.mark.parametrize("num_classes", [2, 4])
def test_every_interval_holds_its_metric_and_depends_on_the_seed_alone(num_classes):
    prob_NC, label_N = predictions(600, num_classes)
    confusion_CC = confusion(prob_NC, label_N)
    values = label_metrics(count_classes(confusion_CC)) | probability_metrics(prob_NC, label_N)

    def intervals(seed):
        return confusion_intervals(confusion_CC, seed=seed)[0] | probability_intervals(prob_NC, label_N, seed=seed)

    found = intervals(0)
    assert found.keys() == values.keys()
    for name, bounds in found.items():
        assert bounds is not None
        assert bounds[0] < values[name] < bounds[1], name
    assert intervals(0) == found
    assert intervals(1) != found


def test_drawing_cells_is_drawing_rows():
    prob_NC, label_N = predictions(300, 3)
    predicted_N = prob_NC.argmax(axis=1)
    rng = np.random.default_rng(5)
    by_rows = []
    for _ in range(300):
        rows = rng.integers(0, len(label_N), len(label_N))
        by_rows.append(f1_score(label_N[rows], predicted_N[rows], average="macro"))
    found, _ = confusion_intervals(confusion(prob_NC, label_N), seed=0)
    assert found["f1_macro"] == pytest.approx(np.percentile(by_rows, (2.5, 97.5)), abs=0.012)


def test_resampled_binary_areas_are_exact_also_with_ties():
    prob_NC, label_N = predictions(80, 2)
    for decimals in (8, 1):
        prob_1 = np.round(prob_NC[:, 1], decimals)
        order_N = rank(prob_1).order
        sorted_N, score_N = label_N[order_N], prob_1[order_N]
        areas = BinaryAreas(np.stack((1 - score_N, score_N), axis=1), sorted_N)
        weight_RN = next(draw_rows(80, seed=3))[:20]
        expected = [roc_auc_score(sorted_N, score_N, sample_weight=weight_N) for weight_N in weight_RN]
        np.testing.assert_allclose(areas.resampled(weight_RN), expected, atol=1e-12)


def test_resampled_one_vs_rest_areas_are_close_to_exact_ones():
    prob_NC, label_N = predictions(200, 4)
    order_N = np.argsort(label_N, kind="stable")
    prob_NC, label_N = prob_NC[order_N], label_N[order_N]
    weight_RN = next(draw_rows(200, seed=3))[:80]
    found = RestAreas(prob_NC, label_N).resampled(weight_RN)
    expected = [
        np.mean([roc_auc_score(label_N == c, prob_NC[:, c], sample_weight=weight_N) for c in range(4)])
        for weight_N in weight_RN
    ]
    np.testing.assert_allclose(found, expected, atol=0.01)
    percentiles = (2.5, 50, 97.5)
    np.testing.assert_allclose(np.percentile(found, percentiles), np.percentile(expected, percentiles), atol=0.003)
    assert RestAreas(prob_NC, label_N).resampled(np.ones((1, 200))) == pytest.approx(roc_auc(prob_NC, label_N), abs=1e-6)


def test_intervals_hold_the_truth_about_95_times_in_100():
    truth = {"accuracy": 0.7602, "roc_auc": 0.8413}  # of endless rows: Φ(1/√2) and Φ(1)
    hits = dict.fromkeys(truth, 0)
    for seed in range(60):
        prob_NC, label_N = predictions(200, 2, seed=seed)
        found = confusion_intervals(confusion(prob_NC, label_N), seed=0)[0]
        found |= probability_intervals(prob_NC, label_N, seed=0)
        for name, value in truth.items():
            low, high = found[name]
            hits[name] += low <= value <= high
    assert all(52 <= count <= 60 for count in hits.values()), hits


def test_more_rows_give_a_narrower_interval():
    few, many = (probability_intervals(*predictions(n, 2), seed=0)["log_loss"] for n in (100, 10_000))
    assert many[1] - many[0] < (few[1] - few[0]) / 5


def test_each_class_has_intervals_and_an_absent_one_has_none():
    label_N = np.array([0] * 40 + [1] * 40)
    predicted_N = np.array([0] * 30 + [1] * 50)
    _, by_class = confusion_intervals(confusion_matrix(label_N, predicted_N, num_classes=3), seed=0)
    low, high = by_class[0]["recall"]
    assert 0.55 < low < 0.75 < high < 0.95
    assert by_class[2] == {"precision": None, "recall": None, "f1": None}


def test_degenerate_rows_have_no_warning_and_no_nan():
    for label_N in (np.array([1]), np.array([1, 1, 1]), np.array([0, 1])):
        prob_NC, _ = predictions(len(label_N), 2)
        found = probability_intervals(prob_NC, label_N, seed=0)
        assert all(bounds is None or np.isfinite(bounds).all() for bounds in found.values())
    found = regression_intervals(np.array([1.0, 2.0]), np.array([3.0, 3.0]), seed=0)
    assert found["r2"] is None
    assert found["mse"] == (1.0, 4.0)


def test_an_interval_needs_a_value_in_most_resamples():
    assert interval(np.array([np.nan, np.nan, 1.0])) is None
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_regression_intervals_hold_their_metrics():
    rng = np.random.default_rng(0)
    target_N = rng.normal(size=400) + 1000
    value_N = target_N + rng.normal(size=400) * 0.5
    found = regression_intervals(value_N, target_N, seed=0)
    for name, value in regression_metrics(value_N, target_N).items():
        low, high = found[name]
        assert low < value < high
        assert high - low < abs(value)


def test_very_many_rows_take_fewer_resamples():
    assert num_resamples(16_000, limit=100_000_000) == 1000
    assert num_resamples(1_000_000, limit=100_000_000) == 100
