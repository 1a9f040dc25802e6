"""The metric of a trial is that of an evaluation, by name and by number."""

from __future__ import annotations

import numpy as np
import pytest

from modeltap.domain.metrics import CLASS_METRICS, LOWER_IS_BETTER, NUMBER_METRICS
from modeltap.evaluation.metric_titles import METRIC_TITLES
from modeltap.evaluation.result import evaluate_classification, evaluate_regression
from modeltap.tasks.catalogue import BUILT_IN
from modeltap.tuning.trial import measure_of

DRAW = np.random.default_rng(0)


def test_every_metric_of_classes_is_the_evaluations():
    prob_NC = DRAW.dirichlet((1, 1, 1), size=90)
    label_N = DRAW.integers(0, 3, size=90)
    found = evaluate_classification(prob_NC, label_N, labels=("a", "b", "c")).metrics
    assert tuple(found) == CLASS_METRICS
    measured = {name: measure_of(name, num_classes=3)(prob_NC, label_N) for name in CLASS_METRICS}
    assert measured == pytest.approx(found)


def test_every_metric_of_numbers_is_the_evaluations():
    value_N, target_N = DRAW.normal(size=50), DRAW.normal(size=50)
    found = evaluate_regression(value_N, target_N).metrics
    assert tuple(found) == NUMBER_METRICS
    measured = {name: measure_of(name, num_classes=0)(value_N, target_N) for name in NUMBER_METRICS}
    assert measured == pytest.approx(found)


def test_what_is_better_lower_is_what_the_tasks_say():
    for task in BUILT_IN.values():
        if task.metric in (*CLASS_METRICS, *NUMBER_METRICS):
            assert (task.metric not in LOWER_IS_BETTER) == task.higher_is_better, task.name
    assert {*CLASS_METRICS, *NUMBER_METRICS} > LOWER_IS_BETTER
    assert {*CLASS_METRICS, *NUMBER_METRICS} <= set(METRIC_TITLES)
