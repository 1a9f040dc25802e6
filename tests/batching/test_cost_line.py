"""The cost line finds what batches cost, from any prior, and neither an outlier nor batches of one size lead it astray."""

from __future__ import annotations

import numpy as np
import pytest

from modeltap.batching.cost import STREAK, CostLine


def test_before_data_it_is_the_prior():
    line = CostLine(fixed_s=0.002, per_row_s=0.0005)
    assert line.predict(4) == pytest.approx(0.004)
    assert not line.tells_fixed_part


@pytest.mark.parametrize(("fixed_s", "per_row_s"), [(0, 0), (-1e-3, 1e-3), (1e-3, -1e-3), (float("nan"), 1.0)])
def test_a_prior_that_is_not_positive_is_refused(fixed_s, per_row_s):
    with pytest.raises(ValueError, match="give seconds above 0"):
        CostLine(fixed_s=fixed_s, per_row_s=per_row_s)


@pytest.mark.parametrize("factor", [1e-4, 0.1, 1.0, 10.0, 1e4])
def test_it_finds_the_line_from_any_prior(factor):
    line = CostLine(fixed_s=factor * 3e-4, per_row_s=factor * 9e-5)
    sizes = np.random.default_rng(0).integers(1, 65, 200).tolist()
    for rows in sizes:
        line.learn(rows, 1e-3 + 2e-5 * rows)
    for rows in (1, 16, 64):
        assert line.predict(rows) == pytest.approx(1e-3 + 2e-5 * rows, rel=0.02)
    assert line.tells_fixed_part
    assert line.spread < 0.01


def test_noise_is_averaged_out_and_told_as_the_spread():
    line = CostLine()
    rng = np.random.default_rng(1)
    for rows in rng.integers(1, 65, 1000).tolist():
        line.learn(rows, (1e-3 + 2e-5 * rows) * float(rng.lognormal(0.0, 0.1)))
    assert line.predict(32) == pytest.approx(1e-3 + 2e-5 * 32, rel=0.08)
    assert 0.05 < line.spread < 0.15


def test_batches_of_one_size_give_the_height_and_keep_the_proportion_of_the_prior():
    line = CostLine(fixed_s=1e-3, per_row_s=1e-3)
    for _ in range(100):
        line.learn(8, 0.018)
    assert line.predict(8) == pytest.approx(0.018)
    assert line.fixed_s == pytest.approx(0.002)
    assert line.per_row_s == pytest.approx(0.002)
    assert not line.tells_fixed_part


def test_no_part_is_negative_however_the_data_bend():
    line = CostLine()
    for rows, seconds in [(1, 0.001), (64, 0.5), (2, 0.001), (60, 0.45), (1, 0.0009), (64, 0.52)] * 20:
        line.learn(rows, seconds)
        assert line.fixed_s >= 0
        assert line.per_row_s >= 0
        assert line.predict(1) > 0
    falling = CostLine()
    for rows in (1, 64, 2, 50) * 20:
        falling.learn(rows, 0.01 / rows)
        assert falling.per_row_s >= 0
        assert falling.predict(64) > 0


def test_one_outlier_hardly_moves_it():
    line = CostLine()
    for rows in (1, 8, 32, 64) * 20:
        line.learn(rows, 1e-3 + 2e-5 * rows)
    line.learn(8, 10.0)
    assert line.predict(8) == pytest.approx(1e-3 + 2e-5 * 8, rel=0.05)


@pytest.mark.parametrize("factor", [0.02, 50.0])
def test_an_engine_that_has_changed_is_believed_after_a_few_batches(factor):
    line = CostLine()
    for rows in (1, 8, 32, 64) * 20:
        line.learn(rows, 1e-3 + 2e-5 * rows)
    for rows in (8, 16, 8, 16)[:STREAK]:
        line.learn(rows, factor * (1e-3 + 2e-5 * rows))
    assert line.predict(16) == pytest.approx(factor * (1e-3 + 2e-5 * 16), rel=0.1)


def test_a_run_of_no_time_at_all_is_no_error():
    line = CostLine()
    for _ in range(10):
        line.learn(1, 0.0)
    assert 0 < line.predict(1) < 1e-6


def test_a_branch_begins_with_what_is_known_and_learns_for_itself():
    line = CostLine()
    for rows in (1, 8, 32, 64) * 20:
        line.learn(rows, 1e-3 + 2e-5 * rows)
    branch = line.branch()
    assert branch.predict(10) == line.predict(10)
    branch.learn(10, 1.0)
    assert branch.predict(10) == pytest.approx(1.0)
    assert line.predict(10) == pytest.approx(1e-3 + 2e-5 * 10, rel=0.02)
