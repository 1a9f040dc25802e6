"""Explanations as one page of HTML that needs nothing else: bars for columns, pictures under their heat, coloured words."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

MAX_BARS = 30
"""Columns that are shown; the others move the answer less."""
CURVES = (
    ("deletion", "deletion", "--for", "none"),
    ("insertion", "insertion", "--against", "none"),
    ("random", "random order", "--muted", "4 4"),
)
"""Name, title, colour, dashes."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { --ink: #16191d; --muted: #5d6671; --grid: #dde1e6; --surface: #fff; --page: #f6f7f9;
  --for: rgb(200,30,45); --against: rgb(30,90,200); --line: #2f6fde; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --muted: #9aa4b0; --grid: #2c323a; --surface: #171a1f;
  --page: #0f1114; --for: rgb(240,95,105); --against: rgb(110,155,255); --line: #6da2ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 32px 20px 56px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 2px; overflow-wrap: anywhere; }
.note { color: var(--muted); font-size: 13px; margin: 0 0 12px; }
.card { background: var(--surface); border: 1px solid var(--grid); border-radius: 10px; padding: 18px 20px; margin-top: 18px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 4px 12px 4px 0; text-align: left; vertical-align: middle; border-bottom: 1px solid var(--grid); }
th { color: var(--muted); font-size: 12px; font-weight: 500; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; white-space: nowrap; }
.cell { max-width: 220px; overflow-wrap: anywhere; }
.bars { width: 42%; }
.axis { position: relative; height: 14px; }
.axis::before { content: ""; position: absolute; left: 50%; top: -5px; bottom: -5px; border-left: 1px solid var(--grid); }
.axis i { position: absolute; top: 2px; height: 10px; border-radius: 2px; }
.split { display: flex; flex-wrap: wrap; gap: 8px 24px; align-items: flex-start; margin-top: 18px; }
.split .split { display: block; margin: 0; }
.split > * { flex: 1; min-width: 260px; }
img { width: 100%; max-width: 448px; border-radius: 4px; image-rendering: pixelated; }
svg { width: 100%; max-width: 420px; height: auto; display: block; }
svg text { fill: var(--muted); font-size: 11px; }
"""


def explanations_page(answer: Mapping[str, Any], *, deployment: str) -> str:
    """The page of an answer of /explain."""
    told = answer["explanations"]
    title = f"{deployment}: {'why it answers so' if len(told) == 1 else f'why {len(told)} rows are answered so'}"
    cards = "".join(_card(number, one) for number, one in enumerate(told, start=1))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">\n'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n<h1>{html.escape(title)}</h1>\n"
        f'<p class="note">{html.escape(str(answer["model"]))}, {answer["rows"]:,} rows run</p>\n{cards}</main></body></html>\n'
    )


def _card(number: int, one: Mapping[str, Any]) -> str:
    label, answer = one.get("class"), one["answer"]
    head = f"{_number(answer)}" if label is None else f"{label}: {answer:.1%}"
    notes = [f"row {number}", f"by {one['method']}"]
    if one.get("base") is not None:
        base = one["base"]
        notes.append(f"{_number(base) if label is None else f'{base:.1%}'} is the answer without it")
    predicted = one["prediction"]
    if isinstance(predicted, Mapping) and label is not None and predicted.get("label") != label:
        notes.append(f"predicted is {predicted.get('label')}")
    body = _values(one["values"]) if "values" in one else _picture(one) if "png" in one else str(one.get("html", ""))
    fidelity = _fidelity(one["fidelity"])
    if "png" in one:
        body, fidelity = f'<div class="split"><div>{body}</div>{fidelity}</div>', ""
    return (
        f'<section class="card"><h2><bdi>{html.escape(head)}</bdi></h2><p class="note">{html.escape(", ".join(notes))}</p>\n'
        f"{body}\n{fidelity}</section>\n"
    )


def _values(values: Sequence[Mapping[str, Any]]) -> str:
    most = max((abs(one["shapley"]) for one in values), default=0.0) or 1.0
    rows = []
    for one in values[:MAX_BARS]:
        value, width = one["shapley"], 50 * abs(one["shapley"]) / most
        left = 50.0 if value > 0 else 50.0 - width
        color = "for" if value > 0 else "against"
        cell = "–" if one["value"] is None else _cell(one["value"])
        error = "" if one["error"] is None else f" ± {one['error']:.2g}"
        rows.append(
            f'<tr><td class="cell"><bdi>{html.escape(one["column"])}</bdi></td>'
            f'<td class="cell"><bdi>{html.escape(cell)}</bdi></td>'
            f'<td class="n">{value:+.4g}</td><td class="note n">{error}</td><td class="bars"><div class="axis">'
            f'<i style="left:{left:.2f}%;width:{width:.2f}%;background:var(--{color})"></i></div></td></tr>\n'
        )
    more = len(values) - MAX_BARS
    rest = f'<p class="note">{more} more move the answer less.</p>' if more > 0 else ""
    head = '<tr><th>column</th><th>value</th><th class="n">moves the answer by</th><th></th><th></th></tr>'
    return f"<table><thead>{head}</thead><tbody>\n{''.join(rows)}</tbody></table>{rest}"


def _picture(one: Mapping[str, Any]) -> str:
    return (
        f'<img alt="the picture under its heat map" src="data:image/png;base64,{html.escape(one["png"])}">'
        '<p class="note">Red speaks for the answer, blue against it.</p>'
    )


def _fidelity(told: Mapping[str, Any]) -> str:
    gap = told.get("additivity_gap")
    areas = ", ".join(
        f'<b style="color:var({color})">{title}</b> {_area(told[f"{name}_auc"])}' for name, title, color, _ in CURVES
    )
    missed = "" if gap is None else f" The values miss the answer by {gap:.2g}."
    curves = [told[name] for name, _, _, _ in CURVES]
    low = min(0.0, *(min(curve) for curve in curves))
    high = max(max(curve) for curve in curves)
    drawn = "".join(
        _curve(told["share"], curve, low=low, high=high, color=color, dash=dash)
        for (_, _, color, dash), curve in zip(CURVES, curves, strict=True)
    )
    return (
        f'<div class="split"><div><p class="note">How true it is to the model: {areas}.{missed} The answer should fall at once'
        " when what speaks for it is deleted (a small area), and rise at once when that comes first (a large one); a random"
        ' order tells what is at once.</p></div><div><svg viewBox="0 0 400 150" role="img"'
        ' aria-label="Curves of deletion and insertion"><path d="M50 16V128H380" fill="none" stroke="var(--grid)"/>'
        f'<text x="44" y="20" text-anchor="end">{_number(high)}</text>'
        f'<text x="44" y="131" text-anchor="end">{_number(low)}</text><text x="50" y="145">0 %</text>'
        f'<text x="380" y="145" text-anchor="end">100 % deleted or inserted</text>{drawn}</svg></div></div>'
    )


def _curve(shares: Sequence[float], values: Sequence[float], *, low: float, high: float, color: str, dash: str) -> str:
    scale = high - low or 1.0
    points = " ".join(
        f"{50 + 330 * share:.1f},{128 - 112 * (value - low) / scale:.1f}" for share, value in zip(shares, values, strict=True)
    )
    return f'<polyline points="{points}" fill="none" stroke="var({color})" stroke-width="1.8" stroke-dasharray="{dash}"/>'


def _area(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(value: Any) -> str:
    return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"
