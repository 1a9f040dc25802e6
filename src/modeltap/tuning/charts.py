"""The charts of a search: its course, what decided, and how the values of good trials lie beside those of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from modeltap.domain.tuning import Trial
from modeltap.evaluation.metric_titles import METRIC_TITLES
from modeltap.evaluation.svg import ACCENT, INK, MUTED, SERIES, Chart, draw_svg, printable
from modeltap.recipe.search_space import Dimension, told_value

WIDTH_IN, HEIGHT_IN = 6.2, 3.8
FULL_WIDTH_IN = 12.6
BEST_SHARE = 0.1
"""Of the complete trials, that are shown in colour."""
SHOWN_SHARE = 0.8
"""Of the values, from the best on, that set the scale; worse ones stand at its edge."""
MAX_TICKS = 12
"""Choices of a key that are named on its axis."""


def history_chart(trials: Sequence[Trial], *, metric: str, lower_is_better: bool) -> Chart | None:
    """The value of each trial, and the best so far; None without a complete trial."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if not complete:
        return None
    pruned = [trial for trial in trials if trial.state == "pruned" and trial.value is not None]
    failed = [trial.number for trial in trials if trial.state == "failed"]
    low, high = _scale([_value(trial) for trial in complete], lower_is_better=lower_is_better)
    best = _best_so_far(complete, lower_is_better=lower_is_better)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for some, color, marker, size, label in (
            (pruned, MUTED, "x", 26, "pruned, last value"),
            (complete, SERIES[0], "o", 24, "complete"),
        ):
            if some:
                values = [min(max(_value(trial), low), high) for trial in some]
                numbers = [trial.number for trial in some]
                axes.scatter(numbers, values, c=color, marker=marker, s=size, label=label, linewidths=1.2, zorder=3)
        if failed:
            edge = high if lower_is_better else low
            axes.scatter(failed, [edge] * len(failed), c=SERIES[6], marker="v", s=30, label="failed", zorder=3)
        axes.step(*zip(*best, strict=True), where="post", color=SERIES[1], label="best so far", linewidth=1.6)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set(xlabel="trial", ylabel=_title(metric), xlim=(-0.7, max(len(trials) - 0.3, 1)))
        margin = 0.06 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        axes.legend(loc="upper right" if lower_is_better else "lower right")

    way = "Lower" if lower_is_better else "Higher"
    caption = f"{_title(metric)} on the validation rows, by trial. {way} is better."
    if any(not low <= _value(trial) <= high for trial in (*complete, *pruned)):
        caption += " Values beyond the scale are drawn at its edge."
    svg = draw_svg(paint, name="search-history", alt="Value by trial", width_in=WIDTH_IN, height_in=HEIGHT_IN)
    return Chart("Course of the search", caption, svg)


def importance_chart(importances: Mapping[str, float]) -> Chart | None:
    """The share of each key, the most important one at the top; None where they are not known, or there is one key."""
    if len(importances) < 2:
        return None
    names = list(importances)[::-1]
    shares = [importances[name] for name in names]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.barh(range(len(names)), shares, color=ACCENT, height=0.62)
        for place, share in enumerate(shares):
            axes.text(share + 0.012, place, f"{share:.0%}", va="center", fontsize=9, color=INK)
        axes.set_yticks(range(len(names)), [printable(name, limit=32) for name in names])
        axes.set(xlim=(0, min(1.12, max(shares) * 1.2 + 0.03)), xlabel="share of importance", ylim=(-0.6, len(names) - 0.4))
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.grid(visible=False, axis="y")

    caption = "How much the values of a key tell the best trials from all others; together they are 100 %."
    height_in = max(2.2, min(HEIGHT_IN, 0.9 + 0.42 * len(names)))
    svg = draw_svg(paint, name="search-importance", alt="Importance by key", width_in=WIDTH_IN, height_in=height_in)
    return Chart("What decided", caption, svg)


def parallel_chart(trials: Sequence[Trial], space: Sequence[Dimension], *, metric: str, lower_is_better: bool) -> Chart | None:
    """A line a complete trial through its values, an axis a key, the metric last; None of fewer than two trials."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    if len(complete) < 2:
        return None
    ranked = sorted(complete, key=lambda trial: _value(trial) * (1 if lower_is_better else -1))
    num_best = max(1, round(len(ranked) * BEST_SHARE))
    low, high = _scale([_value(trial) for trial in complete], lower_is_better=lower_is_better)

    def heights(trial: Trial) -> list[float]:
        placed = [_place(one, trial.params[one.key]) for one in space]
        return [*placed, (min(max(_value(trial), low), high) - low) / (high - low)]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        columns = range(len(space) + 1)
        for rank, trial in reversed(list(enumerate(ranked))):
            is_best = rank < num_best
            axes.plot(
                columns, heights(trial), color=SERIES[1] if rank == 0 else ACCENT if is_best else MUTED,
                alpha=1.0 if is_best else 0.35, linewidth=2.4 if rank == 0 else 1.8 if is_best else 1.0,
                zorder=3 if is_best else 2,
            )  # fmt: skip
        for column, one in enumerate(space):
            axes.axvline(column, color=MUTED, linewidth=1, zorder=1)
            for place, text in _ticks(one):
                axes.text(
                    column + 0.02, place, printable(text, limit=18), fontsize=8, color=INK, va="center", zorder=4,
                    bbox={"facecolor": "#fe0004", "edgecolor": "none", "pad": 1, "alpha": 0.75},
                )  # fmt: skip
        axes.axvline(len(space), color=MUTED, linewidth=1, zorder=1)
        for place in (0.0, 0.5, 1.0):
            axes.text(len(space) + 0.02, place, f"{low + (high - low) * place:.4g}", fontsize=8, color=INK, va="center")
        names = [printable(one.key, limit=24) for one in space]
        axes.set_xticks(columns, [*names, _title(metric)])
        axes.set(yticks=[], xlim=(-0.1, len(space) + 0.35), ylim=(-0.07, 1.07))
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)

    caption = "Each line is a complete trial, orange the best one."
    if num_best > 1:
        caption += f" Blue are the {num_best} best: where they meet, a value is good; where they spread, it matters less."
    svg = draw_svg(paint, name="search-parallel", alt="Values of the trials", width_in=FULL_WIDTH_IN, height_in=HEIGHT_IN)
    return Chart("Values side by side", caption, svg)


def _title(metric: str) -> str:
    return METRIC_TITLES[metric][0] if metric in METRIC_TITLES else metric


def _value(trial: Trial) -> float:
    return math.nan if trial.value is None else trial.value


def _best_so_far(complete: Sequence[Trial], *, lower_is_better: bool) -> list[tuple[int, float]]:
    """(number, value) wherever it became better, and at the last trial."""
    best: list[tuple[int, float]] = []
    for trial in complete:
        value = _value(trial)
        if not best or (value < best[-1][1] if lower_is_better else value > best[-1][1]):
            best.append((trial.number, value))
    return [*best, (complete[-1].number, best[-1][1])]


def _scale(values: Sequence[float], *, lower_is_better: bool) -> tuple[float, float]:
    """Lowest and highest value that are told apart: the better ones, so that a few bad trials do not flatten the others."""
    ordered = sorted(values, reverse=not lower_is_better)
    kept = ordered[: max(2, math.ceil(len(ordered) * SHOWN_SHARE))]
    low, high = min(kept), max(kept)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _place(one: Dimension, value: Any) -> float:
    """Where a value lies on its axis, from 0 to 1."""
    if one.choices:
        return one.choices.index(value) / max(len(one.choices) - 1, 1)
    if one.log:
        return math.log(value / one.low) / math.log(one.high / one.low)
    return float((value - one.low) / (one.high - one.low))


def _ticks(one: Dimension) -> list[tuple[float, str]]:
    if one.choices:
        shown = one.choices if len(one.choices) <= MAX_TICKS else (one.choices[0], one.choices[-1])
        return [(_place(one, choice), told_value(choice)) for choice in shown]
    middle = math.sqrt(one.low * one.high) if one.log else (one.low + one.high) / 2
    values = [one.low, round(middle) if one.whole else middle, one.high]
    return [(_place(one, value), told_value(int(value) if one.whole else float(value))) for value in values]
