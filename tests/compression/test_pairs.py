"""Paired differences of quality against ones worked out by hand, and intervals against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modeltap.compression.pairs import accuracy_drop, loss_drop, mcnemar, rmse_drop, score_interval
from modeltap.errors import InvalidData
from modeltap.evaluation.slices import RowGroup

Z2 = 1.959963984540054**2


def test_the_drop_is_the_rise_in_nats_over_all_tokens():
    # Documents of 10, 30 and 60 tokens; the child needs 1, 0 and 2 nats more: 3 nats on 100 tokens.
    found = loss_drop([20.0, 60.0, 100.0], [21.0, 60.0, 102.0], [10, 30, 60])
    assert found.drop == pytest.approx(0.03)
    assert (found.parent_value, found.child_value) == pytest.approx((1.8, 1.83))


def test_an_equal_rise_in_every_document_has_no_width():
    found = loss_drop([1.0, 90.0, 17.0], [1.5, 90.5, 17.5], [10, 10, 10])
    assert (found.drop, *found.drop_interval) == pytest.approx((0.05, 0.05, 0.05))


def test_two_documents_give_the_three_means_that_can_be_drawn():
    # Drawn are both once (half of the time), or one of them twice (a quarter each): -0.1, 0.05 and 0.2 a token.
    found = loss_drop([0.0, 0.0], [-1.0, 2.0], [10, 10])
    assert found.drop == pytest.approx(0.05)
    assert found.drop_interval == pytest.approx((-0.1, 0.2))


def test_pairs_are_kept_together():
    # Losses differ by hundreds of nats between documents and by one in a thousand within each pair.
    parent = [100.0 * (n + 1) for n in range(40)]
    low, high = loss_drop(parent, [loss * 1.001 for loss in parent], [100] * 40).drop_interval
    assert 0.01 < low < high < 0.03


@pytest.mark.parametrize(
    ("parent", "child", "tokens"), [([], [], []), ([0.0], [0.0], [0]), ([1.0], [math.nan], [5]), ([math.inf], [1.0], [5])]
)
def test_without_evidence_there_is_no_certificate(parent, child, tokens):
    with pytest.raises(InvalidData):
        loss_drop(parent, child, tokens)


def test_mcnemars_exact_test_by_hand():
    # Of 6 rows on which they differ one wins 1: twice the chance of 0 or 1 heads in 6 throws, 2 * (1 + 6) / 64.
    assert mcnemar(5, 1) == mcnemar(1, 5) == pytest.approx(14 / 64)
    assert mcnemar(0, 10) == pytest.approx(2 / 1024)
    assert mcnemar(0, 0) == mcnemar(7, 7) == 1.0
    assert 0 < mcnemar(900, 100) < 1e-100


def test_an_interval_has_a_width_where_both_answer_alike():
    low, high = score_interval(0, 0, 360)
    assert (-low, high) == pytest.approx((Z2 / (360 + Z2),) * 2)


def test_zero_is_inside_exactly_where_mcnemars_statistic_says_so():
    # (lost - won)^2 / (lost + won) against the square of 1.96: 16 / 4.2 would be its edge.
    for lost, won in ((5, 1), (6, 1), (7, 1), (30, 15), (30, 16), (200, 160), (200, 163)):
        low, high = score_interval(lost, won, 1000)
        assert (low <= 0 <= high) == ((lost - won) ** 2 / (lost + won) <= Z2)
        assert low < (lost - won) / 1000 < high
        assert score_interval(won, lost, 1000) == pytest.approx((-high, -low))


def test_the_interval_holds_the_truth_about_95_times_in_100():
    draw = np.random.default_rng(0)
    truth, held = 0.04 - 0.02, 0
    for lost, won, _ in draw.multinomial(250, (0.04, 0.02, 0.94), size=400).tolist():
        low, high = score_interval(lost, won, 250)
        held += low <= truth <= high
    assert 0.93 <= held / 400 <= 0.98


def test_accuracy_is_compared_row_by_row_and_by_slice():
    parent = np.array([True, True, True, True, False, False])
    child = np.array([True, True, False, True, True, False])
    found = accuracy_drop(parent, child, {"size": [RowGroup("small", np.array([2, 3])), RowGroup("large", np.array([4, 5]))]})
    assert (found.parent_value, found.child_value, found.drop, found.p_value) == pytest.approx((4 / 6, 4 / 6, 0.0, 1.0))
    assert [(one.column, one.value, one.drop) for one in found.slices] == [("size", "small", 0.5), ("size", "large", -0.5)]


def test_an_error_rises_by_a_part_of_the_parents():
    target = np.zeros(400)
    parent = np.tile([1.0, -1.0], 200)
    found = rmse_drop(parent, 1.1 * parent, target)
    assert (found.parent_value, found.child_value, found.drop) == pytest.approx((1.0, 1.1, 0.1))
    assert found.drop_interval == pytest.approx((0.1, 0.1)), "what is hard for both does not widen the interval"


def test_a_parent_without_error_is_no_division_by_zero():
    target = np.arange(50.0)
    assert rmse_drop(target, target, target).drop == 0
    assert rmse_drop(target, target + 1, target).drop_interval[0] > 1000


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(InvalidData, match="no finite number"):
        rmse_drop(np.array([1.0]), np.array([math.nan]), np.array([1.0]))
    with pytest.raises(InvalidData, match="no row"):
        accuracy_drop(np.zeros(0, dtype=bool), np.zeros(0, dtype=bool))
