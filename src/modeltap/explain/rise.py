"""A picture seen through random masks: a pixel matters as much as the answer is larger where masks let it through.

Masks come in pairs, each with the one that covers what it shows. Letters: K masks, H and W rows and columns of pixels.
Source: Petsiuk, Das, Saenko 2018 (RISE).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from modeltap.domain.signature import Batch
from modeltap.explain.picture import PicturePlayers
from modeltap.explain.steps import Asked, Floats, Steps, Target, at_once

CELLS = 7
"""A mask is drawn as so many cells a side, enlarged, and shifted by less than a cell; as many as there are pixels, if those are
fewer."""


def rise(players: PicturePlayers, target: Target, *, masks: int, seed: int) -> Steps[Floats]:
    """(H, W): by how much the answer is larger where a pixel is shown than on average. masks: an even number, 2 or more."""
    height, width = players.height, players.width
    chance = np.random.default_rng(seed)
    seen = _Seen(target, players.count)
    done = 0
    while done < masks:
        pairs = min(max(1, at_once(players) // 2), (masks - done) // 2)
        shown_KM = draw_masks(chance, pairs, height, width).reshape(pairs, -1)
        both_KM = np.empty((2 * pairs, players.count), dtype=np.float32)
        both_KM[:pairs] = shown_KM
        np.subtract(1, shown_KM, out=both_KM[pairs:])
        rows = players.rows(both_KM, np.zeros(2 * pairs, dtype=np.int64))
        yield Asked(rows, partial(seen.take, both_KM[:pairs]))
        done += 2 * pairs
    yield None
    # A mask and the one that covers what it shows add up to one: a pixel is shown as often as there are pairs.
    return ((seen.gain_M + seen.covered) / (masks / 2) - seen.total / masks).reshape(height, width)


class _Seen:
    """What was answered until now. Of a pair, (value shown - value covered) · mask + value covered is both masks' part."""

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self.gain_M = np.zeros(count)
        self.covered = 0.0
        self.total = 0.0

    def take(self, shown_KM: Any, outputs: Batch) -> None:
        value_K = self._target.values(outputs)
        shown_K, covered_K = value_K[: len(shown_KM)], value_K[len(shown_KM) :]
        self.gain_M += (shown_K - covered_K).astype(np.float32) @ shown_KM
        self.covered += float(covered_K.sum())
        self.total += float(value_K.sum())


def draw_masks(chance: np.random.Generator, num: int, height: int, width: int) -> Any:
    """float32 (num, H, W) from 0 to 1: cells that are shown or not with equal chance, enlarged and smoothed between them."""
    cells = max(2, min(CELLS, height, width))
    grid = (chance.random((num, cells + 1, cells + 1)) < 0.5).astype(np.float32)
    shift_y, shift_x = (chance.random(num).astype(np.float32) for _ in range(2))
    across = [_weights(shift, extent, cells) for shift, extent in ((shift_y, height), (shift_x, width))]
    return across[0] @ grid @ across[1].transpose(0, 2, 1)


def _weights(shift_K: Any, extent: int, cells: int) -> Any:
    """(K, extent, cells + 1): how much of each cell a pixel has, linear between the cells' middles."""
    at_KE = (np.arange(extent, dtype=np.float32) + 0.5) / extent * (cells - 1) + shift_K[:, None]
    return np.maximum(0, 1 - np.abs(at_KE[:, :, None] - np.arange(cells + 1, dtype=np.float32)))
