"""What the answer loses when one part is taken away: each word of a text, or what a window covers of a picture.

Letters: M players, H and W rows and columns of pixels.
Source: Zeiler, Fergus 2014, section 4.2 (a window that is moved over the picture).
"""

from __future__ import annotations

import numpy as np

from modeltap.explain.picture import PicturePlayers
from modeltap.explain.steps import Floats, Ints, Players, Steps, Target, ask, ask_into, at_once

WINDOWS_A_SIDE = 7
"""The window is a seventh of the picture's shorter side."""


def leave_one_out(players: Players, target: Target, *, answer: float) -> Steps[Floats]:
    """(M,): by how much the answer is larger with the player than without it."""
    without_MM = ~np.eye(players.count, dtype=bool)
    value_M = yield from ask(players, target, without_MM, np.zeros(players.count, dtype=np.int64))
    return answer - value_M


def window_places(height: int, width: int, *, rows: int) -> tuple[int, Ints, Ints]:
    """The window's side, and where its first row and column lie: as near to each other as so many rows allow, and over the
    edges, so that a pixel at the edge is covered as often as one inside."""
    side = max(1, round(min(height, width) / WINDOWS_A_SIDE))
    for stride in range(1, side + 1):
        tops, lefts = (np.arange(stride - side, extent, stride, dtype=np.int64) for extent in (height, width))
        if len(tops) * len(lefts) <= rows:
            return side, tops, lefts
    return side, np.arange(0, height, side, dtype=np.int64), np.arange(0, width, side, dtype=np.int64)


def window_rows(height: int, width: int, *, rows: int) -> int:
    """Rows that `occlude` asks; more than `rows` where the fewest windows that cover the picture are more."""
    _, tops, lefts = window_places(height, width, rows=rows)
    return len(tops) * len(lefts)


def occlude(players: PicturePlayers, target: Target, *, answer: float, rows: int) -> Steps[Floats]:
    """(H, W): what the answer loses on average by the windows that cover a pixel."""
    height, width = players.height, players.width
    side, tops, lefts = window_places(height, width, rows=rows)
    corners = [(top, left) for top in tops.tolist() for left in lefts.tolist()]
    places = [_window(top, left, side) for top, left in corners]
    value_K = np.empty(len(places), dtype=np.float64)
    step = at_once(players)
    for start in range(0, len(places), step):
        chosen = places[start : start + step]
        masks = np.ones((len(chosen), height, width), dtype=np.float32)
        for mask, place in zip(masks, chosen, strict=True):
            mask[place] = 0
        backgrounds = np.zeros(len(chosen), dtype=np.int64)
        yield from ask_into(value_K[start : start + step], players, target, masks.reshape(len(chosen), -1), backgrounds)
    yield None
    lost_HW, times_HW = np.zeros((height, width)), np.zeros((height, width))
    for value, place in zip(value_K.tolist(), places, strict=True):
        lost_HW[place] += answer - value
        times_HW[place] += 1
    return lost_HW / times_HW


def _window(top: int, left: int, side: int) -> tuple[slice, slice]:
    return slice(max(0, top), top + side), slice(max(0, left), left + side)
