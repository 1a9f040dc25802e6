"""A matplotlib figure as SVG text to put into a page: its colours follow the page, and equal figures give equal bytes."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from modeltap.errors import MissingExtra

# Colours that stand for the page's own; no chart uses them as colours.
INK, MUTED, GRID, SURFACE, ACCENT = "#fe0001", "#fe0002", "#fe0003", "#fe0004", "#fe0005"
SERIES = tuple(f"#fe00{10 + i}" for i in range(10))


class Chart(NamedTuple):
    title: str
    caption: str
    svg: str


_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", SURFACE: "surface", ACCENT: "accent"} | {
    color: f"series-{i}" for i, color in enumerate(SERIES)
}
LARGEST_SCALE = 1.4
"""Pixels to a point of the chart, where there is room."""
_PLACEHOLDER = re.compile(f"(?<=: )(?:{'|'.join(_VARIABLES)})")

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.labelsize": 9,
}


def draw_svg(paint: Callable[[Any], None], *, name: str, alt: str, width_in: float, height_in: float) -> str:
    """An `<svg>` element of what `paint` draws on a matplotlib figure; as wide as its place in the page.

    `name` keeps the ids of several charts in a page apart. Needs no display and leaves matplotlib's settings as they are.
    Raises MissingExtra where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra(what="matplotlib, which draws the report,", extra="train") from None
    buffer = io.StringIO()
    defaults: Any = mpl.rcParamsDefault
    settings: Any = {key: value for key, value in defaults.items() if not key.startswith("backend")} | _STYLE
    with mpl.rc_context(settings | {"svg.hashsalt": f"modeltap-{name}"}), warnings.catch_warnings():
        # The page's own font shows what the measuring font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _inline(buffer.getvalue(), alt=alt)


def printable(text: str, *, limit: int) -> str:
    """`text` in one line of at most `limit` characters, without those that have no shape."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _inline(document: str, *, alt: str) -> str:
    body = document[document.index("<svg") :]
    view_box = re.search(r'viewBox="([^"]*)"', body)
    assert view_box is not None
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r">\s*\n\s*<", "><", body).strip()
    body = _PLACEHOLDER.sub(lambda match: f"var(--{_VARIABLES[match.group()]})", body)
    width = float(view_box[1].split()[2]) * LARGEST_SCALE
    return (
        f'<svg class="chart" style="max-width:{width:.0f}px" role="img" aria-label="{html.escape(alt)}"'
        f' viewBox="{view_box[1]}">{body}'
    )
