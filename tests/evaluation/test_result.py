"""An evaluation is complete, JSON-ready at every degenerate input, and the same bytes every time."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from modeltap.errors import InvalidValue
from modeltap.evaluation.result import (
    Evaluation,
    evaluate_classification,
    evaluate_regression,
    flat_metrics,
)

CLASS_METRICS = {"accuracy", "balanced_accuracy", "roc_auc", "log_loss", "calibration_error"} | {
    f"{score}_{average}" for score in ("precision", "recall", "f1") for average in ("macro", "micro", "weighted")
}


@pytest.fixture(scope="module")
def wine():
    data, label_N = load_wine(return_X_y=True)
    model = LogisticRegression(max_iter=30).fit((data[::2, :4] - data[:, :4].mean(0)) / data[:, :4].std(0), label_N[::2])
    prob_NC = model.predict_proba((data[1::2, :4] - data[:, :4].mean(0)) / data[:, :4].std(0))
    columns = {
        "alcohol": (data[1::2, 0].tolist(), "number"),
        "strong": ((data[1::2, 0] > 13).tolist(), "boolean"),
    }
    return prob_NC.astype(np.float32), label_N[1::2], columns


def test_a_real_classifier(wine):
    prob_NC, label_N, columns = wine
    labels = ["barolo", "grignolino", "barbera"]
    evaluation = evaluate_classification(
        prob_NC, label_N, labels=labels, columns=columns, slice_by=["strong", "alcohol"], seed=1
    )
    predicted_N = prob_NC.argmax(axis=1)
    assert evaluation.num_rows == len(label_N)
    assert evaluation.metrics.keys() == evaluation.intervals.keys() == CLASS_METRICS
    assert evaluation.confusion.matrix == reference.confusion_matrix(label_N, predicted_N).tolist()
    assert [one.support for one in evaluation.per_class] == np.bincount(label_N).tolist()
    assert [one.f1 for one in evaluation.per_class] == pytest.approx(reference.f1_score(label_N, predicted_N, average=None))
    strong = [one for one in evaluation.slices if one.column == "strong"]
    assert {one.value for one in strong} == {"true", "false"}
    assert sum(one.num_rows for one in strong) == len(label_N)
    for one in strong:
        rows = np.asarray(columns["strong"][0]) == (one.value == "true")
        assert one.metrics["accuracy"] == pytest.approx(np.mean(predicted_N[rows] == label_N[rows]))
        low, high = one.intervals["accuracy"]
        assert low <= one.metrics["accuracy"] <= high
    assert [curve.label for curve in evaluation.curves.roc] == labels


def test_equal_arguments_give_equal_bytes_and_come_back_from_json(wine):
    prob_NC, label_N, columns = wine
    first, second = (
        msgspec.json.encode(
            evaluate_classification(prob_NC, label_N, labels=["a", "b", "c"], columns=columns, slice_by=["alcohol"], seed=3)
        )
        for _ in range(2)
    )
    assert first == second
    assert msgspec.json.encode(msgspec.json.decode(first, type=Evaluation)) == first


def test_curves_agree_with_scikit_learn_and_are_thin():
    rng = np.random.default_rng(0)
    label_N = rng.integers(0, 2, 5000)
    prob_1 = 1 / (1 + np.exp(-(rng.normal(size=5000) + label_N)))
    evaluation = evaluate_classification(np.stack((1 - prob_1, prob_1), axis=1), label_N, labels=["no", "yes"])
    (roc,), (curve,) = evaluation.curves.roc, evaluation.curves.precision_recall
    assert roc.label == curve.label == "yes"
    assert roc.auc == pytest.approx(evaluation.metrics["roc_auc"])
    assert curve.average_precision == pytest.approx(reference.average_precision_score(label_N, prob_1))
    assert curve.base_rate == pytest.approx(label_N.mean())
    assert len(roc.false_positive_rate) == len(roc.true_positive_rate) <= 200
    assert len(curve.recall) == len(curve.precision) <= 200
    assert (roc.false_positive_rate[0], roc.true_positive_rate[0]) == (0, 0)
    assert (roc.false_positive_rate[-1], roc.true_positive_rate[-1]) == (1, 1)
    assert np.trapezoid(roc.true_positive_rate, roc.false_positive_rate) == pytest.approx(roc.auc, abs=0.002)
    assert sum(one.num_rows for one in evaluation.curves.calibration) == 5000


def test_a_regression():
    rng = np.random.default_rng(0)
    target_N = rng.gamma(3, 10, 5000)
    value_N = target_N + rng.normal(size=5000)
    columns = {"region": (["north", "south"] * 2500, "category")}
    evaluation = evaluate_regression(value_N, target_N, columns=columns, slice_by=["region"])
    assert set(evaluation.metrics) == {"mse", "rmse", "mae", "r2"}
    assert evaluation.metrics["r2"] == pytest.approx(reference.r2_score(target_N, value_N))
    assert [list(one.metrics) for one in evaluation.slices] == [["rmse", "mae", "r2"]] * 2
    residuals = evaluation.curves.residuals
    assert len(residuals.actual) == len(residuals.predicted) == 2000
    assert sum(residuals.bin_counts) == 5000
    assert msgspec.json.encode(evaluation) == msgspec.json.encode(
        evaluate_regression(value_N, target_N, columns=columns, slice_by=["region"])
    )


def test_flat_metrics_are_what_a_manifest_holds(wine):
    prob_NC, label_N, _ = wine
    evaluation = evaluate_classification(prob_NC, label_N, labels=["a", "b", "c"])
    flat = flat_metrics(evaluation)
    assert flat["accuracy"] == evaluation.metrics["accuracy"]
    assert flat["accuracy_interval"] == list(evaluation.intervals["accuracy"])
    assert msgspec.json.decode(msgspec.json.encode(flat)) == flat
    alone = flat_metrics(evaluate_classification(prob_NC[:1], label_N[:1], labels=["a", "b", "c"]))
    assert alone["roc_auc"] is None
    assert alone["roc_auc_interval"] is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 99))
def test_no_input_puts_nan_into_json(num_classes, codes, seed):
    label_N = np.asarray(codes) % num_classes
    prob_NC = np.random.default_rng(seed).dirichlet(np.ones(num_classes), len(codes)).round(1) + 1e-9  # ties
    prob_NC /= prob_NC.sum(axis=1, keepdims=True)
    labels = [f"class {c}" for c in range(num_classes)]
    columns = {"x": (codes, "number")}
    evaluation = evaluate_classification(prob_NC, label_N, labels=labels, columns=columns, slice_by=["x"])
    assert msgspec.json.decode(msgspec.json.encode(evaluation), type=Evaluation) == evaluation  # NaN would be null


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=6))
def test_no_numbers_put_nan_into_json(pairs):
    value_N, target_N = np.asarray(pairs).T
    evaluation = evaluate_regression(value_N, target_N)
    assert msgspec.json.decode(msgspec.json.encode(evaluation), type=Evaluation) == evaluation


@pytest.mark.parametrize(
    ("prob_NC", "label_N", "message"),
    [
        ([[0.5, 0.5]], [0, 1], r"shape \(1, 2\) do not fit 2 rows"),
        ([[1.0]], [0], r"do not fit 1 rows and 2 labels"),
        (np.empty((0, 2)), [], "at least one row"),
        ([[0.5, 0.5]], [2], "whole numbers from 0 to 1"),
        ([[0.5, 0.5]], [0.5], "whole numbers from 0 to 1"),
        ([[3.0, -1.0]], [0], "sum to 1"),
        ([[0.2, 0.2]], [0], "sum to 1"),
        ([[np.nan, 0.2], [0.5, 0.5]], [0, 1], "not a finite number in 1 of 2 rows"),
    ],
)
def test_what_is_no_probability_is_refused(prob_NC, label_N, message):
    with pytest.raises(InvalidValue, match=message):
        evaluate_classification(np.asarray(prob_NC), np.asarray(label_N), labels=["a", "b"])


def test_what_is_no_number_is_refused():
    with pytest.raises(InvalidValue, match="do not fit targets"):
        evaluate_regression([1.0], [1.0, 2.0])
    with pytest.raises(InvalidValue, match="value_N is not a finite number in 1 of 2 rows"):
        evaluate_regression([1.0, np.inf], [1.0, 2.0])


def test_metrics_need_neither_scikit_learn_nor_matplotlib():
    program = """
import sys
sys.modules.update({"sklearn": None, "matplotlib": None, "polars": None, "torch": None})
from modeltap.evaluation.result import evaluate_classification
print(evaluate_classification([[0.9, 0.1], [0.2, 0.8]], [0, 1], labels=["a", "b"]).metrics["accuracy"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"
