"""The players of a picture: its pixels. What is taken away has the picture's most common brightness in its place.

Letters: K rows, H and W rows and columns of pixels, C channels; M = H · W players.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modeltap.domain.signature import Array, Batch
from modeltap.explain.steps import Ints, Masks


class PicturePlayers:
    """Of the picture (H, W) or (H, W, C) in the one input of that name."""

    num_backgrounds = 1

    def __init__(self, name: str, pixels: Array) -> None:
        self._name = name
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.count = self.height * self.width
        self.row_values = pixels.size
        pixels_MC: Any = pixels.reshape(self.count, -1).astype(np.float32)
        away_C: Any = np.median(pixels_MC, axis=0)
        self._detail_MC = pixels_MC - away_C
        # Bytes are cut off below, so that half of one more rounds them.
        self._away_C = (away_C + 0.5 if pixels.dtype == np.uint8 else away_C).astype(np.float32)

    def rows(self, present_KM: Masks, background_K: Ints) -> Batch:
        mixed: Any = present_KM[:, :, None].astype(np.float32, copy=False) * self._detail_MC
        mixed += self._away_C
        if self.pixels.dtype.kind in "ui" and self.pixels.dtype != np.uint8:
            np.rint(mixed, out=mixed)
        return {self._name: mixed.reshape(-1, *self.pixels.shape).astype(self.pixels.dtype, copy=False)}
