"""Shapley values: those of every coalition within the error that they state, exact for what is linear, and adding up."""

from __future__ import annotations

import numpy as np
import pytest
from games import TARGET, answering, exact_shapley, people, table, twisted

from modeltap.explain.shapley import Shapley, plan_pairs, shapley, shapley_rows
from modeltap.explain.steps import drive

STATED = 4.0
"""Standard errors within which every value lies: of 6 values one lies outside by chance once in 2,600 explanations."""
WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0, 3.0, 0.25])


def linear(x):
    return x @ WEIGHTS + 7


def explained(function, *, pairs: int, seed: int = 0, background=None) -> tuple[Shapley, np.ndarray, np.ndarray]:
    row, others = people(1, seed=1)[0], people(32, seed=2) if background is None else background
    run = answering(function)
    answer = float(function(row[None])[0])
    found = drive(shapley(table(row, others), TARGET, answer=answer, pairs=pairs, seed=seed), run)
    assert run.rows == shapley_rows(6, pairs=pairs, num_backgrounds=len(others))
    return found, row, others


def test_of_a_linear_model_they_are_exact_where_every_background_is_used():
    found, row, others = explained(linear, pairs=32)
    np.testing.assert_allclose(found.values, WEIGHTS * (row - others.mean(axis=0)), atol=1e-12)
    assert found.gap < 1e-12


def test_of_a_linear_model_they_are_exact_within_the_stated_error_where_a_part_of_the_background_is_used():
    found, row, others = explained(linear, pairs=8)
    off = np.abs(found.values - WEIGHTS * (row - others.mean(axis=0)))
    assert (off <= STATED * found.errors + 1e-12).all()
    assert off.max() > 0.01, "it is sampled"
    assert found.num_backgrounds == 8


@pytest.mark.parametrize("seed", range(5))
def test_columns_that_work_together_share_what_they_do_within_the_stated_error(seed):
    found, row, others = explained(twisted, pairs=64, seed=seed)
    exact = exact_shapley(twisted, row, others)
    assert (np.abs(found.values - exact) <= STATED * found.errors + 1e-12).all()
    assert found.values[5] == 0, "a column that does nothing is worth nothing"


def test_more_permutations_bring_them_nearer():
    few, row, others = explained(twisted, pairs=32)
    many, _, _ = explained(twisted, pairs=1024)
    exact = exact_shapley(twisted, row, others)
    assert np.abs(many.values - exact).max() < np.abs(few.values - exact).max() / 2
    assert many.errors.max() < few.errors.max() / 4


def test_base_and_values_add_up_to_the_answer():
    for pairs in (5, 32, 64):
        found, row, _ = explained(twisted, pairs=pairs)
        assert found.gap < 1e-12
        assert found.base + found.values.sum() == pytest.approx(float(twisted(row[None])[0]))


def test_the_same_seed_gives_the_same_bytes_and_another_one_others():
    first, second, other = (explained(twisted, pairs=16, seed=seed)[0] for seed in (3, 3, 4))
    assert first.values.tobytes() == second.values.tobytes()
    assert first.values.tobytes() != other.values.tobytes()


def test_a_single_column_is_worth_all_of_it():
    row, others = np.array([3.0]), np.array([[1.0], [2.0]])
    run = answering(lambda x: 10 * x[:, 0])
    found = drive(shapley(table(row, others), TARGET, answer=30.0, pairs=2, seed=0), run)
    assert found.values.tolist() == [15.0]
    assert run.rows == 2


@pytest.mark.parametrize("num_players", [1, 2, 13, 100])
@pytest.mark.parametrize("rows", [70, 300, 5000])
def test_a_plan_never_takes_more_rows_than_are_given(num_players, rows):
    pairs = plan_pairs(num_players, 64, rows=rows)
    if pairs:
        assert shapley_rows(num_players, pairs=pairs, num_backgrounds=64) <= rows
        assert pairs <= 64 or pairs % 64 == 0, "as many for each background"
