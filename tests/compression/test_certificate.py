"""The certificate's numbers against ones worked out by hand, and what it refuses."""

from __future__ import annotations

import math

import pytest

from modeltap.compression.certificate import certify, find_reasons, loss_drop, speed_gain
from modeltap.domain.certificate import Demand
from modeltap.errors import InvalidData


def certificate(**changes):
    facts = {
        "parent": "tales@3",
        "parent_digest": "abc",
        "method": "int8",
        "evidence": "tales@1",
        "parent_loss_N": [20.0, 30.0],
        "child_loss_N": [20.1, 30.4],
        "tokens_N": [10, 10],
        "sizes_bytes": (400, 100),
        "parent_speed_T": [100.0, 100.0],
        "child_speed_T": [150.0, 150.0],
        "num_streams": 4,
        "demand": Demand(max_drop=0.05),
    }
    return certify(**{**facts, **changes})


def test_the_drop_is_the_rise_in_nats_over_all_tokens():
    # Documents of 10, 30 and 60 tokens; the child needs 1, 0 and 2 nats more: 3 nats on 100 tokens.
    drop, _ = loss_drop([20.0, 60.0, 100.0], [21.0, 60.0, 102.0], [10, 30, 60])
    assert drop == pytest.approx(0.03)


def test_an_equal_rise_in_every_document_has_no_width():
    drop, (low, high) = loss_drop([1.0, 90.0, 17.0], [1.5, 90.5, 17.5], [10, 10, 10])
    assert (drop, low, high) == pytest.approx((0.05, 0.05, 0.05))


def test_two_documents_give_the_three_means_that_can_be_drawn():
    # Drawn are both once (half of the time), or one of them twice (a quarter each): -0.1, 0.05 and 0.2 a token.
    drop, (low, high) = loss_drop([0.0, 0.0], [-1.0, 2.0], [10, 10])
    assert drop == pytest.approx(0.05)
    assert (low, high) == pytest.approx((-0.1, 0.2))


def test_pairs_are_kept_together():
    # Losses differ by hundreds of nats between documents and by one in a thousand within each pair.
    parent = [100.0 * (n + 1) for n in range(40)]
    _, (low, high) = loss_drop(parent, [loss * 1.001 for loss in parent], [100] * 40)
    assert 0.01 < low < high < 0.03


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
    assert (made.num_documents, made.num_tokens, made.measure) == (2, 20, "loss")


def test_each_bound_that_is_missed_is_a_reason():
    demand = Demand(max_drop=0.01, min_gain=2.0)
    made = certificate(demand=demand, sizes_bytes=(100, 100))
    loss, speed, size = made.reasons
    assert "0.04" in loss and "allowed is 0.01" in loss
    assert "1.5 times" in speed and "demanded is 2" in speed
    assert "nothing is saved" in size


def test_the_far_end_of_the_interval_decides():
    facts = {"gain_interval": (0.9, 3.0), "parent_bytes": 2, "child_bytes": 1, "measure": "loss"}
    assert find_reasons(drop_interval=(-0.01, 0.02), demand=Demand(max_drop=0.02), **facts) == ()
    assert len(find_reasons(drop_interval=(-0.01, 0.021), demand=Demand(max_drop=0.02), **facts)) == 1
    assert len(find_reasons(drop_interval=(-0.01, 0.02), demand=Demand(max_drop=0.02, min_gain=1.0), **facts)) == 1


@pytest.mark.parametrize(
    ("parent", "child", "tokens"), [([], [], []), ([0.0], [0.0], [0]), ([1.0], [math.nan], [5]), ([math.inf], [1.0], [5])]
)
def test_without_evidence_there_is_no_certificate(parent, child, tokens):
    with pytest.raises(InvalidData):
        loss_drop(parent, child, tokens)
