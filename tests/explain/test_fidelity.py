"""Deletion and insertion tell true scores from random ones, and say nothing where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from games import TARGET, answering, people, table

from modeltap.explain.fidelity import curve_sizes, fidelity, fidelity_rows
from modeltap.explain.steps import Target, drive

WEIGHTS = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])


def score(x):
    return np.clip((x > 0) @ WEIGHTS / 15, 0, 1)


def told(score_M, *, function=score, target=TARGET, steps=6, backgrounds=3):
    row, others = np.ones(6), -np.ones((4, 6))
    run = answering(function)
    answer = float(function(row[None])[0])
    found = drive(
        fidelity(
            table(row, others),
            target,
            score_M=np.asarray(score_M, dtype=float),
            answer=answer,
            steps=steps,
            backgrounds=backgrounds,
            seed=0,
        ),
        run,
    )
    assert run.rows == fidelity_rows(6, steps=steps, backgrounds=backgrounds)
    return found


def test_the_areas_are_those_computed_by_hand():
    found = told(WEIGHTS)
    assert found.share == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])
    np.testing.assert_allclose(found.deletion, np.array([15, 10, 6, 3, 1, 0, 0]) / 15)
    np.testing.assert_allclose(found.insertion, np.array([0, 5, 9, 12, 14, 15, 15]) / 15)
    assert found.deletion_auc == pytest.approx((7.5 + 10 + 6 + 3 + 1) / 15 / 6)
    assert found.insertion_auc == pytest.approx((5 + 9 + 12 + 14 + 15 + 7.5) / 15 / 6)


def test_true_scores_are_better_than_random_ones_and_false_ones_worse():
    right, wrong = told(WEIGHTS), told(-WEIGHTS)
    assert right.deletion_auc < right.random_auc < right.insertion_auc
    assert wrong.deletion_auc > wrong.random_auc > wrong.insertion_auc


def test_a_number_is_told_as_a_share_of_its_way_from_the_background():
    found = told(WEIGHTS, function=lambda x: 1000 * score(x) + 40)
    assert found.deletion[0] == pytest.approx(1)
    assert found.deletion[-1] == pytest.approx(0)
    assert found.deletion_auc == pytest.approx(told(WEIGHTS).deletion_auc)


def test_of_an_answer_that_never_changes_nothing_can_be_said():
    assert told(WEIGHTS, function=lambda x: np.full(len(x), 3.0)).deletion_auc is None


def test_a_probability_that_never_changes_has_the_same_area_in_every_order():
    def certain(x):
        return np.stack([np.zeros(len(x)), np.ones(len(x))], axis=1)

    row = people(1)[0]
    found = drive(
        fidelity(table(row, people(3)), Target("y", 1), score_M=row, answer=1.0, steps=4, backgrounds=2, seed=1),
        answering(certain),
    )
    assert (found.deletion_auc, found.insertion_auc, found.random_auc) == (1.0, 1.0, 1.0)


def test_points_of_a_curve_begin_with_none_and_end_with_all():
    assert curve_sizes(3, 16) == [0, 1, 2, 3]
    assert curve_sizes(1000, 4) == [0, 250, 500, 750, 1000]
    assert curve_sizes(1, 16) == [0, 1]
