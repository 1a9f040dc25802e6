"""The certificate's numbers against ones worked out by hand, and what it refuses."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from modeltap.compression.card import with_comparison
from modeltap.compression.certificate import Speeds, certify, find_reasons, speed_gain
from modeltap.compression.pairs import accuracy_drop, loss_drop
from modeltap.domain.certificate import Demand
from modeltap.evaluation.slices import RowGroup


def certificate(**changes):
    facts = {
        "parent": "tales@3",
        "parent_digest": "abc",
        "method": "int8",
        "evidence": "tales@1",
        "drop": loss_drop([20.0, 30.0], [20.1, 30.4], [10, 10]),
        "sizes_bytes": (400, 100),
        "speeds": Speeds([100.0, 100.0], [150.0, 150.0], 4),
        "demand": Demand(max_drop=0.05),
    }
    return certify(**{**facts, **changes})


def test_the_gain_is_the_geometric_mean_of_the_turns():
    gain, (low, high) = speed_gain([100.0, 50.0], [200.0, 400.0])  # 2 and 8 times
    assert gain == pytest.approx(4.0)
    assert (low, high) == pytest.approx((2.0, 8.0))


def test_what_slows_both_in_a_turn_changes_nothing():
    gain, (low, high) = speed_gain([100.0, 10.0, 1.0], [150.0, 15.0, 1.5])
    assert (gain, low, high) == pytest.approx((1.5, 1.5, 1.5))


def test_a_win_has_no_reasons_and_says_both_sides():
    made = certificate()
    assert made.reasons == ()
    assert (made.parent_value, made.child_value, made.drop) == pytest.approx((2.5, 2.525, 0.025))
    assert (made.parent_speed, made.child_speed, made.gain) == pytest.approx((100.0, 150.0, 1.5))
    assert (made.num_samples, made.num_tokens, made.measure) == (2, 20, "loss")


def test_each_bound_that_is_missed_is_a_reason():
    made = certificate(
        demand=Demand(max_drop=0.01, min_gain=2.0), sizes_bytes=(100, 100), speeds=Speeds([100.0, 90.0], [90.0, 100.0], 4)
    )
    loss, speed, size = made.reasons
    assert "0.04" in loss and "allowed is 0.01" in loss
    assert "0.9 times" in speed and "demanded is 2" in speed
    assert "nothing is saved" in size


def test_one_that_is_as_large_but_surely_faster_is_a_win():
    assert certificate(sizes_bytes=(100, 100)).reasons == ()
    assert certificate(sizes_bytes=(100, 120), speeds=Speeds([100.0, 90.0], [90.0, 100.0], 4)).reasons != ()


def test_what_computes_as_much_saves_nothing_however_fast_it_was_measured():
    made = certificate(sizes_bytes=(100, 99), is_same_work=True)
    assert made.gain > 1 and made.reasons == (
        "it takes 99 bytes, its parent 100: nothing is saved, and it computes as much as its parent",
    )


def test_the_far_end_of_the_interval_decides():
    even = loss_drop([0.0, 0.0], [-1.0, 2.0], [10, 10])  # 0.05, by 95 % between -0.1 and 0.2
    facts = {"drop": even, "gain_interval": (0.9, 3.0), "parent_bytes": 2, "child_bytes": 1}
    assert find_reasons(demand=Demand(max_drop=0.21), **facts) == ()
    assert len(find_reasons(demand=Demand(max_drop=0.19), **facts)) == 1
    assert len(find_reasons(demand=Demand(max_drop=0.21, min_gain=1.0), **facts)) == 1


def test_too_few_rows_to_prove_what_was_measured_are_named():
    right = np.ones(100, dtype=bool)
    made = certificate(drop=accuracy_drop(right, right), demand=Demand(max_drop=0.005))
    assert "may be 3.7 points worse" in made.reasons[0]
    assert "measured was 0 points, and more than 100 samples may prove it" in made.reasons[0]


def test_slices_that_surely_lost_more_are_named_and_do_not_decide():
    right, worse = np.ones(4000, dtype=bool), np.ones(4000, dtype=bool)
    worse[:10] = False
    slices = {"sex": [RowGroup("f", np.arange(40)), RowGroup("m", np.arange(40, 4000)), RowGroup("x", np.arange(10))]}
    made = certificate(drop=accuracy_drop(right, worse, slices), demand=Demand(max_drop=0.01))
    assert made.reasons == ()
    assert [one.num_samples for one in made.slices] == [40, 3960, 10]
    (note,) = made.notes
    assert note.startswith("where sex is f it is 25 points worse (1") and note.endswith("at the least), on 40 samples")


def test_the_card_says_what_does_not_differ_from_run_to_run():
    right = np.ones(1000, dtype=bool)
    facts = {
        "calibration_digest": "c0ffee" * 5,
        "calibration_rows": 512,
        "sizes_bytes": (4000, 1000),
        "method": "int8 (static)",
    }
    drop = accuracy_drop(right, right, {"sex": [RowGroup("f|m", np.arange(1000))]})
    slow, fast = (certificate(drop=drop, speeds=Speeds([1.0, 1.0], [x, x], 4), **facts) for x in (1.0, 3.0))
    card = with_comparison("# small\n\n## Limits\n\nNone.\n", slow)
    assert card == with_comparison("# small\n\n## Limits\n\nNone.\n", fast)
    for told in (
        "int8 (static) of `tales@3`",
        "1,000 rows of tales@1",
        "512 rows, digest `c0ffeec0ffee`",
        "| sex | f\\|m | 1000 |",
    ):
        assert told in card
    assert card.index("## Against its parent") < card.index("## Limits")


def test_it_is_read_again_as_it_was_written():
    made = certificate(drop=accuracy_drop(np.array([True, False]), np.array([True, True])), notes=("static",))
    assert msgspec.convert(msgspec.to_builtins(made), type(made)) == made
