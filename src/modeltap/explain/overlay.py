"""A heat map over its picture: red where the picture speaks for the answer, blue where it speaks against it.

Letters: H and W rows and columns of pixels, C channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.data.images import encode_png
from modeltap.domain.signature import Array
from modeltap.explain.steps import Floats

FOR, AGAINST = (200, 30, 45), (30, 90, 200)
STRONGEST = 0.85
"""How much of the picture the strongest heat covers."""
FAINT = 0.35
"""How much the picture itself is drawn towards white, so that both colours are seen on it."""
PNG_LEVEL = 1
"""Of zlib: a third of the time, and an enlarged picture is small all the same."""
SMALLEST_SIDE = 224
"""Smaller pictures are enlarged by a whole number."""


def overlay_png(pixels: Array, heat_HW: Floats) -> bytes:
    """A PNG file; equal arguments give equal bytes."""
    grey_HW = _brightness(pixels)
    times = max(1, -(-SMALLEST_SIDE // max(grey_HW.shape)))
    paper_HW1 = (255 - (1 - FAINT) * (255 - grey_HW))[:, :, None]
    most = float(np.abs(heat_HW).max())
    strength_HW1 = (STRONGEST * np.sqrt(np.abs(heat_HW) / most) if most > 0 else np.zeros_like(heat_HW))[:, :, None]
    color_HW3 = np.where(heat_HW[:, :, None] > 0, FOR, AGAINST)
    mixed: Any = np.rint(paper_HW1 * (1 - strength_HW1) + color_HW3 * strength_HW1).astype(np.uint8)
    return encode_png(mixed.repeat(times, axis=0).repeat(times, axis=1), level=PNG_LEVEL)


def _brightness(pixels: Array) -> NDArray[np.float64]:
    """(H, W) from 0 to 255. Bytes are taken as they are, other numbers by where they lie between the least and the largest."""
    values: Any = pixels.astype(np.float64)
    grey = values if values.ndim == 2 else values[..., :3].mean(axis=2)
    if pixels.dtype == np.uint8:
        brightness: NDArray[np.float64] = grey
        return brightness
    low, high = float(grey.min()), float(grey.max())
    scaled: NDArray[np.float64] = (grey - low) / (high - low) * 255 if high > low else np.full(grey.shape, 127.5)
    return scaled
