"""Shapley values by sampled permutations, in antithetic pairs: each permutation is also walked from its end.

A player's value is what the answer gains, on average, when the player joins those that came before it; who is not there yet
is as in a row of the background. Letters: P pairs, M players, B rows of the background.
Source: Castro, Gómez, Tejada 2009 (sampling); Mitchell, Cooper, Frank, Holmes 2022 (antithetic pairs).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from modeltap.explain.steps import Floats, Players, Steps, Target, ask, ask_into, at_once


class Shapley(NamedTuple):
    """`base` + the sum of the values (M,) is the answer, but for `gap`. `errors` are standard errors of the values."""

    values: Floats
    errors: Floats
    base: float
    gap: float
    num_backgrounds: int
    num_permutations: int


def shapley_rows(num_players: int, *, pairs: int, num_backgrounds: int) -> int:
    """Rows that `shapley` asks."""
    return min(num_backgrounds, pairs) + pairs * 2 * (num_players - 1)


def plan_pairs(num_players: int, num_backgrounds: int, *, rows: int) -> int:
    """The most pairs that so many rows pay for; 0 if they pay for none. As many for each background, where there is more than
    one each: then the values add up exactly."""
    walk = 2 * (num_players - 1)
    pairs = rows // (walk + 1)
    if pairs > num_backgrounds:
        pairs = (rows - num_backgrounds) // walk if walk else num_backgrounds
        pairs -= pairs % num_backgrounds
    return pairs


def shapley(players: Players, target: Target, *, answer: float, pairs: int, seed: int) -> Steps[Shapley]:
    """The values of one row, whose answer is known. pairs: at least 1."""
    num = players.count
    chance = np.random.default_rng(seed)
    background_B = chance.permutation(players.num_backgrounds)[:pairs].astype(np.int64)
    base_B = yield from ask(players, target, np.zeros((len(background_B), num), dtype=bool), background_B)
    gain_PM = np.empty((pairs, num), dtype=np.float64)
    walk = max(1, 2 * (num - 1))
    together = max(1, at_once(players) // walk)
    walked = []
    for start in range(0, pairs, together):
        drawn = range(start, min(start + together, pairs))
        orders = [chance.permutation(num) for _ in drawn]
        value_K = np.empty(len(orders) * 2 * (num - 1), dtype=np.float64)
        walked.append((drawn, orders, value_K))
        if num > 1:
            masks = np.concatenate([_walks(order) for order in orders])
            backgrounds = np.repeat([background_B[pair % len(background_B)] for pair in drawn], walk).astype(np.int64)
            yield from ask_into(value_K, players, target, masks, backgrounds)
    yield None
    for drawn, orders, value_K in walked:
        for place, (pair, order) in enumerate(zip(drawn, orders, strict=True)):
            own = value_K[place * walk : (place + 1) * walk]
            first, last = base_B[pair % len(base_B)], answer
            there = np.diff(np.concatenate([[first], own[: num - 1], [last]]))
            back = np.diff(np.concatenate([[first], own[num - 1 :], [last]]))
            gain_PM[pair, order] = there / 2
            gain_PM[pair, order[::-1]] += back / 2
    value_M = gain_PM.mean(axis=0)
    base = float(base_B.mean())
    error_M = gain_PM.std(axis=0, ddof=1) / np.sqrt(pairs) if pairs > 1 else np.full(num, np.nan)
    gap = abs(base + float(value_M.sum()) - answer)
    return Shapley(value_M, error_M, base, gap, len(background_B), 2 * pairs)


def _walks(order: np.ndarray) -> np.ndarray:
    """(2 (M - 1), M): who is present after each step of the permutation but the last, and then of the reversed one."""
    num = len(order)
    present = np.zeros((num - 1, num), dtype=bool)
    present[:, order] = np.tri(num - 1, num, dtype=bool)
    return np.concatenate([present, ~present[::-1]])
