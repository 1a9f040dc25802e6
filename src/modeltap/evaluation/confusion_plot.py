"""The chart of a confusion matrix: with counts, with shades alone, or as a picture, by the number of classes."""

# Letters: C classes.

from __future__ import annotations

from typing import Any

import numpy as np

from modeltap.evaluation.arrays import Floats
from modeltap.evaluation.result import Confusion
from modeltap.evaluation.svg import ACCENT, GRID, INK, MUTED, SURFACE, Chart, draw_svg, printable

MAX_COUNTED_CLASSES = 20
MAX_SHADED_CLASSES = 40
"""With more classes the matrix is a picture, beside which every so many rows are named."""
PICTURE_RGB = (0.23, 0.51, 0.96)
"""A picture cannot take the page's colours; this blue, more or less transparent, reads well on light and on dark."""


def confusion_chart(confusion: Confusion) -> Chart:
    """Actual classes down, predicted ones across; the shade is the share of the actual class."""
    count_CC = np.asarray(confusion.matrix, dtype=np.float64)
    total_C1 = count_CC.sum(axis=1, keepdims=True)
    share_CC = np.divide(count_CC, total_C1, out=np.zeros_like(count_CC), where=total_C1 > 0)
    num_classes = len(count_CC)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        if num_classes > MAX_SHADED_CLASSES:
            _paint_picture(axes, share_CC)
        else:
            _paint_cells(axes, share_CC)
        if num_classes <= MAX_COUNTED_CLASSES:
            _write_counts(axes, count_CC, share_CC)
        _name_classes(axes, confusion.labels)

    side_in = min(3.0 + 0.42 * num_classes, 8.4)
    return Chart(
        title="Confusion matrix",
        caption="Rows of each actual class (down) by predicted class (across). The shade is the share of the actual class"
        + (", drawn as its square root to show small shares." if num_classes > MAX_SHADED_CLASSES else "."),
        svg=draw_svg(paint, name="confusion", alt="Confusion matrix", width_in=side_in + 0.6, height_in=side_in),
    )


def _paint_cells(axes: Any, share_CC: Floats) -> None:
    num_classes = len(share_CC)
    color = [int(ACCENT[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    face_CC4 = np.empty((num_classes, num_classes, 4))
    face_CC4[..., :3], face_CC4[..., 3] = color, share_CC
    border = np.arange(num_classes + 1) - 0.5
    axes.pcolormesh(border, border, face_CC4, edgecolors=GRID, linewidth=0.6)
    axes.set_aspect("equal")
    axes.invert_yaxis()


def _paint_picture(axes: Any, share_CC: Floats) -> None:
    picture = np.empty((*share_CC.shape, 4))
    picture[..., :3], picture[..., 3] = PICTURE_RGB, np.sqrt(share_CC)
    axes.imshow(picture, interpolation="none")
    axes.spines[:].set_visible(True)


def _write_counts(axes: Any, count_CC: Floats, share_CC: Floats) -> None:
    num_classes = len(count_CC)
    font_size = 10 if num_classes <= 8 else 8 if num_classes <= 12 else 6.5
    for (row, column), count in np.ndenumerate(count_CC):
        color = SURFACE if share_CC[row, column] > 0.55 else INK if count else MUTED
        axes.text(column, row, f"{count:,.0f}", ha="center", va="center", color=color, fontsize=font_size)


def _name_classes(axes: Any, labels: list[str]) -> None:
    num_classes = len(labels)
    ticks = range(0, num_classes, -(-num_classes // MAX_SHADED_CLASSES))
    names = [printable(labels[i], limit=18 if num_classes <= MAX_COUNTED_CLASSES else 26) for i in ticks]
    lying = num_classes <= 8 and max(map(len, names)) <= 8
    font_size = 9 if num_classes <= MAX_COUNTED_CLASSES else 7
    axes.set_xticks(ticks, names, rotation=0 if lying else 90, fontsize=font_size)
    axes.set_yticks(ticks, names, fontsize=font_size)
    axes.tick_params(length=0, labelcolor=INK)
    axes.grid(visible=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
