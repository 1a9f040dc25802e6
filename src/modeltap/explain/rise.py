"""A picture seen through random masks: a pixel matters as much as the answer is larger where masks let it through.

Masks come in pairs, each with the one that covers what it shows. Letters: K masks, H and W rows and columns of pixels.
Source: Petsiuk, Das, Saenko 2018 (RISE).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modeltap.explain.picture import PicturePlayers
from modeltap.explain.steps import Floats, Steps, Target, ask, at_once

CELLS = 7
"""A mask is drawn as so many cells a side, enlarged, and shifted by less than a cell."""
PIXELS_A_CELL = 3
"""At least; of a small picture the cells are fewer."""


def rise(players: PicturePlayers, target: Target, *, masks: int, seed: int) -> Steps[Floats]:
    """(H, W): by how much the answer is larger where a pixel is shown than on average. masks: an even number, 2 or more."""
    height, width = players.height, players.width
    chance = np.random.default_rng(seed)
    seen_M = np.zeros(players.count)
    shown_M = np.zeros(players.count)
    total, done = 0.0, 0
    while done < masks:
        pairs = min(max(1, at_once(players) // 2), (masks - done) // 2)
        drawn_KHW = draw_masks(chance, pairs, height, width)
        masks_KM = np.concatenate([drawn_KHW, 1 - drawn_KHW]).reshape(2 * pairs, -1)
        value_K = yield from ask(players, target, masks_KM, np.zeros(2 * pairs, dtype=np.int64))
        seen_M += value_K @ masks_KM
        shown_M += masks_KM.sum(axis=0, dtype=np.float64)
        total += float(value_K.sum())
        done += 2 * pairs
    return (seen_M / shown_M - total / masks).reshape(height, width)


def draw_masks(chance: np.random.Generator, num: int, height: int, width: int) -> Any:
    """float32 (num, H, W) from 0 to 1: cells that are shown or not with equal chance, enlarged and smoothed between them."""
    cells = max(2, min(CELLS, min(height, width) // PIXELS_A_CELL))
    grid = (chance.random((num, cells + 1, cells + 1)) < 0.5).astype(np.float32)
    shift_y, shift_x = (chance.random(num).astype(np.float32) for _ in range(2))
    across = [_weights(shift, extent, cells) for shift, extent in ((shift_y, height), (shift_x, width))]
    return np.einsum("khi,kij,kwj->khw", across[0], grid, across[1], optimize=True)


def _weights(shift_K: Any, extent: int, cells: int) -> Any:
    """(K, extent, cells + 1): how much of each cell a pixel has, linear between the cells' middles."""
    at_KE = (np.arange(extent, dtype=np.float32) + 0.5) / extent * (cells - 1) + shift_K[:, None]
    return np.maximum(0, 1 - np.abs(at_KE[:, :, None] - np.arange(cells + 1, dtype=np.float32)))
