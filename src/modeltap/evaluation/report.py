"""The report on one model version: a single HTML page that needs nothing else, and the same bytes for the same facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modeltap.domain.certificate import Certificate
from modeltap.evaluation.certificate_view import show_certificate
from modeltap.evaluation.confusion_plot import confusion_chart
from modeltap.evaluation.metric_titles import METRIC_TITLES
from modeltap.evaluation.page import page_template, render_page
from modeltap.evaluation.plots import evaluation_charts, learning_charts
from modeltap.evaluation.resampling import Interval
from modeltap.evaluation.result import Confusion, Evaluation, SliceResult

FEW_ROWS = 30
"""Below this an interval from resampling is too narrow to be trusted."""
MAX_CONFUSED_PAIRS = 12
MAX_IMPORTANT = 24
"""Columns that are shown; the others matter less."""
MAX_COMPACT_CLASSES = 8
"""With more classes the confusion matrix has the width of the page to itself."""

HEADLINES = {
    "classification": ("accuracy", "f1_macro", "roc_auc", "calibration_error"),
    "regression": ("rmse", "mae", "r2"),
    "generation": ("perplexity", "loss", "bits_per_byte"),
}

SLICE_METRIC = {"classification": "accuracy", "regression": "rmse", "generation": "loss"}


class Bar(NamedTuple):
    """An interval on a scale, in percent of its width: from `left`, `width` wide, the value at `mark`."""

    left: float
    width: float
    mark: float


class SliceTable(NamedTuple):
    column: str
    rows: list[tuple[SliceResult, Bar | None]]


class ConfusedPair(NamedTuple):
    actual: str
    predicted: str
    num_rows: int
    share: float


class ImportanceRow(NamedTuple):
    """One column of a table, and how long its bar is, in percent."""

    column: str
    loss: float
    spread: float
    width: float


class PictureShown(NamedTuple):
    """One picture with what a network looked at: view → PNG file in base64."""

    predicted: str
    actual: str
    score: float
    views: dict[str, str]


def render_report(
    *,
    title: str,
    evaluation: Evaluation,
    history: Sequence[Mapping[str, Any]],
    recipe_yaml: str,
    facts: Mapping[str, str],
    candidates: Sequence[Mapping[str, Any]] = (),
    certificate: Certificate | None = None,
    pictures: Sequence[PictureShown] = (),
) -> str:
    """One self-contained HTML page.

    history: a mapping an epoch with `epoch`, `train_<name>`, `val_<name>` and `lr`, where measured; may be empty.
    facts: what stands under the title, such as model, version and dataset. All text is escaped.
    candidates: of a search, a row each: name, architecture, state, metrics, weight, epochs and seconds.
    certificate: of a version that was compressed. Raises MissingExtra where matplotlib is not installed.
    """
    confusion = evaluation.confusion
    scale = _slice_scale(evaluation)
    return render_page(
        page_template("report.html", number=format_number, interval=format_interval),
        title=title,
        facts={**facts, "Evaluated rows": f"{evaluation.num_rows:,}"},
        evaluation=evaluation,
        titles=METRIC_TITLES,
        headlines=HEADLINES[evaluation.kind],
        learning=learning_charts(history),
        confusion=confusion_chart(confusion) if confusion else None,
        confused=_confused_pairs(confusion) if confusion and len(confusion.labels) > 2 else [],
        compact=confusion is not None and len(confusion.labels) <= MAX_COMPACT_CLASSES,
        charts=evaluation_charts(evaluation),
        slices=_slice_tables(evaluation, scale),
        scale=scale,
        overall=_bar(evaluation.metrics[SLICE_METRIC[evaluation.kind]], None, scale),
        slice_metric=SLICE_METRIC[evaluation.kind],
        few_rows=FEW_ROWS,
        recipe=recipe_yaml,
        candidates=candidates,
        certificate=certificate and show_certificate(certificate),
        importance=_importance_rows(evaluation),
        pictures=pictures,
        candidate_metrics=list(dict.fromkeys(name for one in candidates for name in one["metrics"])),
    )


def format_number(value: float | None) -> str:
    """Four digits that matter, as a person reads them; a dash for what is undefined."""
    if value is None:
        return "–"
    size = abs(value)
    if size == 0 or 0.001 <= size <= 1:
        return f"{value:.4f}"
    if 1 < size < 1e7:
        return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"
    return f"{value:.3e}"


def format_interval(bounds: Interval | None) -> str:
    return "–" if bounds is None else f"{format_number(bounds[0])} to {format_number(bounds[1])}"


def _confused_pairs(confusion: Confusion) -> list[ConfusedPair]:
    """The most frequent mistakes; equally frequent ones in the order of the labels."""
    pairs = [
        ConfusedPair(confusion.labels[actual], confusion.labels[predicted], count, count / sum(row))
        for actual, row in enumerate(confusion.matrix)
        for predicted, count in enumerate(row)
        if count and actual != predicted
    ]
    return sorted(pairs, key=lambda pair: -pair.num_rows)[:MAX_CONFUSED_PAIRS]


def _importance_rows(evaluation: Evaluation) -> list[ImportanceRow]:
    """The most important columns; one that shuffling makes better has no bar."""
    shown = evaluation.importance[:MAX_IMPORTANT]
    most = max((one.loss for one in shown), default=0.0)
    widths = [round(100 * max(one.loss, 0.0) / most, 1) if most > 0 else 0.0 for one in shown]
    return [ImportanceRow(one.column, one.loss, one.spread, width) for one, width in zip(shown, widths, strict=True)]


def _slice_scale(evaluation: Evaluation) -> Interval:
    """The lowest and highest value that bars show: room for all values, and for the intervals that can be trusted."""
    name = SLICE_METRIC[evaluation.kind]
    values = [evaluation.metrics[name], *(one.metrics[name] for one in evaluation.slices)]
    ends = [end for one in evaluation.slices if one.num_rows >= FEW_ROWS for end in one.intervals[name] or ()]
    shown = [value for value in (*values, *ends) if value is not None]
    return (min(shown), max(shown)) if shown else (0.0, 1.0)


def _slice_tables(evaluation: Evaluation, scale: Interval) -> list[SliceTable]:
    name = SLICE_METRIC[evaluation.kind]
    tables: dict[str, SliceTable] = {}
    for one in evaluation.slices:
        table = tables.setdefault(one.column, SliceTable(one.column, []))
        table.rows.append((one, _bar(one.metrics[name], one.intervals[name], scale)))
    return list(tables.values())


def _bar(value: float | None, bounds: Interval | None, scale: Interval) -> Bar | None:
    if value is None:
        return None
    low, high = bounds or (value, value)
    start, length = scale[0], scale[1] - scale[0] or 1.0
    left, right, mark = (round(100 * min(max((x - start) / length, 0.0), 1.0), 2) for x in (low, high, value))
    return Bar(left, round(right - left, 2), mark)
