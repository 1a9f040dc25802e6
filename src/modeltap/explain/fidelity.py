"""Whether an explanation is true to the model: what the answer does when the players it names are taken away, or come alone.

deletion: the most important go first, so the answer should fall soon: a small area is good. insertion: they come first, so it
should rise soon: a large area is good. random: the same in random order, which tells what is soon. Letters: M players.
Source: Petsiuk, Das, Saenko 2018, section 4.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from modeltap.explain.steps import Floats, Players, Steps, Target, ask

RANDOM_ORDERS = 2
SMALLEST_CHANGE = 1e-9
"""Of a number: if the answer differs from that without any player by less of its size, no area can be said."""


class Fidelity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Areas under the curves over the share of players, from 0 to 1. A probability's curves are of itself; a number's are of
    the share of its distance from the background's, and None where there is none."""

    deletion_auc: float | None
    insertion_auc: float | None
    random_auc: float | None
    additivity_gap: float | None = None
    """By how much base and values together miss the answer; of Shapley values alone."""
    share: list[float]
    """Of the players that were taken away, or had come, at each point of the curves."""
    deletion: list[float]
    insertion: list[float]
    random: list[float]


def curve_sizes(num_players: int, steps: int) -> list[int]:
    """How many players each point of a curve is about, all and none among them."""
    return sorted({round(num_players * step / steps) for step in range(steps + 1)})


def fidelity_rows(num_players: int, *, steps: int, backgrounds: int) -> int:
    """Rows that `fidelity` asks."""
    return ((len(curve_sizes(num_players, steps)) - 2) * (2 + RANDOM_ORDERS) + 1) * backgrounds


def fidelity(
    players: Players,
    target: Target,
    *,
    score_M: Floats,
    answer: float,
    steps: int,
    backgrounds: int,
    seed: int,
) -> Steps[Fidelity]:
    """How well the scores tell which players the answer depends on. Each point is the mean over so many backgrounds."""
    num = players.count
    sizes = curve_sizes(num, steps)
    inner = sizes[1:-1]
    chance = np.random.default_rng(seed)
    best_M = np.argsort(-score_M, kind="stable")
    orders = [best_M, *(chance.permutation(num) for _ in range(RANDOM_ORDERS))]
    masks = [_without(order, size) for order in orders for size in inner]
    masks += [~_without(best_M, size) for size in inner]
    masks.append(np.zeros(num, dtype=bool))
    present_KM = np.repeat(np.array(masks), backgrounds, axis=0)
    drawn = chance.permutation(players.num_backgrounds)[:backgrounds].astype(np.int64)
    background_K = np.tile(drawn, len(masks))
    asked_K = yield from ask(players, target, present_KM, background_K)
    value = asked_K.reshape(len(masks), backgrounds).mean(axis=1)
    nothing = float(value[-1])
    pieces = value[:-1].reshape(2 + RANDOM_ORDERS, len(inner))
    deletion = np.array([answer, *pieces[0], nothing])
    random = np.array([answer, *pieces[1:-1].mean(axis=0), nothing])
    insertion = np.array([nothing, *pieces[-1], answer])
    share = np.array(sizes) / num
    if target.index is None:
        change = answer - nothing
        if abs(change) <= SMALLEST_CHANGE * max(1.0, abs(answer)):
            return _told(share, deletion, insertion, random, is_known=False)
        deletion, insertion, random = ((curve - nothing) / change for curve in (deletion, insertion, random))
    return _told(share, deletion, insertion, random, is_known=True)


def _without(order: Any, size: int) -> Any:
    """Everybody but the first `size` of the order."""
    present = np.ones(len(order), dtype=bool)
    present[order[:size]] = False
    return present


def _told(share: Any, deletion: Any, insertion: Any, random: Any, *, is_known: bool) -> Fidelity:
    areas = [float(np.trapezoid(curve, share)) if is_known else None for curve in (deletion, insertion, random)]
    return Fidelity(
        deletion_auc=areas[0],
        insertion_auc=areas[1],
        random_auc=areas[2],
        share=share.tolist(),
        deletion=deletion.tolist(),
        insertion=insertion.tolist(),
        random=random.tolist(),
    )
