"""The charts of a report. What a history or an evaluation does not hold has no chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modeltap.evaluation.curves import MAX_CURVES, CalibrationBin, PrecisionRecallCurve, Residuals, RocCurve
from modeltap.evaluation.metric_titles import METRIC_TITLES
from modeltap.evaluation.result import Evaluation
from modeltap.evaluation.svg import ACCENT, MUTED, SERIES, SURFACE, Chart, draw_svg, printable

MAX_MARKED_EPOCHS = 40
FEW_POINTS = 200
WIDTH_IN, HEIGHT_IN, SQUARE_HEIGHT_IN = 6.2, 3.8, 5.0

Lines = dict[str, list[tuple[float, float]]]


def learning_charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Loss, metrics and learning rate by epoch.

    history: a mapping an epoch with `epoch`, `train_<name>`, `val_<name>` (loss or a metric) and `lr`, where measured.
    What was measured in one epoch only has no chart.
    """
    keys = dict.fromkeys(key for epoch in history for key in epoch)
    names = dict.fromkeys(key.partition("_")[2] for key in keys if key.startswith(("train_", "val_")))
    charts = []
    for name in names:
        lines = {"training": _points(history, f"train_{name}"), "validation": _points(history, f"val_{name}")}
        lines = {part: points for part, points in lines.items() if len(points) > 1}
        if not lines:
            continue
        title = METRIC_TITLES[name][0] if name in METRIC_TITLES else name.replace("_", " ").capitalize()
        caption = f"{title} after each epoch, on the {' and the '.join(lines)} rows."
        if name == "loss" and "validation" in lines:
            epoch, lowest = min(lines["validation"], key=lambda point: point[1])
            caption += f" The lowest on validation is {lowest:.4g}, at epoch {epoch:g}."
        charts.append(Chart(title, caption, _lines_svg(lines, name=f"learning-{name}", alt=f"{title} by epoch")))
    rates = _points(history, "lr")
    if len({rate for _, rate in rates}) > 1:
        svg = _lines_svg({"learning rate": rates}, name="learning-rate", alt="Learning rate by epoch")
        charts.append(Chart("Learning rate", "Learning rate in each epoch.", svg))
    return charts


def evaluation_charts(evaluation: Evaluation) -> list[Chart]:
    """Every chart of the evaluation's curves."""
    curves = evaluation.curves
    num_classes = len(evaluation.per_class)
    scope = f" Shown are the {MAX_CURVES} most frequent of {num_classes} classes." if num_classes > MAX_CURVES else ""
    charts = []
    if curves.roc:
        charts.append(_roc_chart(curves.roc, scope))
    if curves.precision_recall:
        charts.append(_precision_recall_chart(curves.precision_recall, scope))
    if curves.calibration:
        charts.append(_calibration_chart(curves.calibration))
    if curves.residuals:
        charts += [_prediction_chart(curves.residuals, evaluation.num_rows), _residual_chart(curves.residuals)]
    return charts


def _points(history: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(epoch, value) wherever a finite value was measured."""
    return [
        (float(epoch.get("epoch", i)), float(epoch[key]))
        for i, epoch in enumerate(history, start=1)
        if isinstance(epoch.get(key), int | float) and np.isfinite(epoch[key])
    ]


def _lines_svg(lines: Lines, *, name: str, alt: str) -> str:
    def paint(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        for color, (title, points) in zip(SERIES, lines.items(), strict=False):
            marker = "o" if len(points) <= MAX_MARKED_EPOCHS else None
            axes.plot(*zip(*points, strict=True), color=color, label=title, marker=marker, markersize=3.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")
        if len(lines) > 1:
            axes.legend()

    return draw_svg(paint, name=name, alt=alt, width_in=WIDTH_IN, height_in=HEIGHT_IN)


def _unit_square(figure: Any, *, x: str, y: str) -> Any:
    axes = figure.add_subplot()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
    return axes


def _group_digits(axis: Any, low: float, high: float) -> None:
    """Long whole numbers are read in thousands; shorter and longer ones are left to matplotlib."""
    if 10_000 <= max(abs(low), abs(high)) < 1e9:
        axis.set_major_formatter("{x:,.0f}")


def _roc_chart(curves: list[RocCurve], scope: str) -> Chart:
    def paint(figure: Any) -> None:
        axes = _unit_square(figure, x="false positive rate", y="true positive rate")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        for color, curve in zip(SERIES, curves, strict=False):
            label = f"{curve.auc:.3f} · {printable(curve.label, limit=24)}"
            axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=color, label=label)
        axes.legend(loc="lower right", title="area · class", alignment="left")

    caption = f"How many of a class are found against how many others are taken for it; the dashed line is chance.{scope}"
    svg = draw_svg(paint, name="roc", alt="ROC curves", width_in=WIDTH_IN, height_in=SQUARE_HEIGHT_IN)
    return Chart("ROC", caption, svg)


def _precision_recall_chart(curves: list[PrecisionRecallCurve], scope: str) -> Chart:
    def paint(figure: Any) -> None:
        axes = _unit_square(figure, x="recall", y="precision")
        for color, curve in zip(SERIES, curves, strict=False):
            label = f"{curve.average_precision:.3f} · {printable(curve.label, limit=24)}"
            axes.plot(curve.recall, curve.precision, color=color, label=label)
        if len(curves) == 1:
            axes.axhline(curves[0].base_rate, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        axes.legend(loc="lower left", title="average precision · class", alignment="left")

    caption = f"How many of those said to be of a class are, against how many of it are found.{scope}"
    if len(curves) == 1:
        caption += " The dashed line is the share of the class."
    svg = draw_svg(paint, name="precision-recall", alt="Precision by recall", width_in=WIDTH_IN, height_in=SQUARE_HEIGHT_IN)
    return Chart("Precision and recall", caption, svg)


def _calibration_chart(bins: list[CalibrationBin]) -> Chart:
    total = sum(one.num_rows for one in bins)
    centre = [(one.low + one.high) / 2 for one in bins]
    width = [(one.high - one.low) * 0.92 for one in bins]

    def paint(figure: Any) -> None:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        upper.bar(centre, [one.accuracy for one in bins], width=width, color=SERIES[0], alpha=0.35)
        upper.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        upper.plot([one.confidence for one in bins], [one.accuracy for one in bins], color=SERIES[0], marker="o", markersize=4)
        upper.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.04), ylabel="observed accuracy")
        lower.bar(centre, [one.num_rows / total for one in bins], width=width, color=MUTED, alpha=0.6)
        lower.set(xlabel="confidence in the predicted class", ylabel="share of rows")

    caption = "How often an answer is right, by how sure the model says it is. On the dashed line it is as sure as it is right."
    svg = draw_svg(paint, name="calibration", alt="Calibration", width_in=WIDTH_IN, height_in=SQUARE_HEIGHT_IN)
    return Chart("Calibration", caption, svg)


def _prediction_chart(residuals: Residuals, num_rows: int) -> Chart:
    shown = len(residuals.actual)

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        low = min(*residuals.actual, *residuals.predicted)
        high = max(*residuals.actual, *residuals.predicted)
        size, alpha = (8, 0.7) if shown <= FEW_POINTS else (5, 0.45)
        axes.plot(residuals.actual, residuals.predicted, ".", color=SERIES[0], markersize=size, alpha=alpha, markeredgewidth=0)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        _group_digits(axes.xaxis, low, high)
        _group_digits(axes.yaxis, low, high)
        axes.set(xlabel="actual", ylabel="predicted")

    sample = f" A sample of {shown:,} of {num_rows:,} rows." if shown < num_rows else ""
    svg = draw_svg(paint, name="predictions", alt="Predicted by actual values", width_in=WIDTH_IN, height_in=SQUARE_HEIGHT_IN)
    return Chart("Predicted and actual", f"On the dashed line a prediction is exact.{sample}", svg)


def _residual_chart(residuals: Residuals) -> Chart:
    edges = np.asarray(residuals.bin_edges)

    def paint(figure: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        axes.bar(
            edges[:-1], residuals.bin_counts, width=np.diff(edges), align="edge",
            color=ACCENT, alpha=0.75, edgecolor=SURFACE, linewidth=0.5,
        )  # fmt: skip
        axes.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        _group_digits(axes.xaxis, edges[0], edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _group_digits(axes.yaxis, 0, max(residuals.bin_counts))
        axes.set(xlabel="predicted - actual", ylabel="rows")

    svg = draw_svg(paint, name="residuals", alt="Histogram of residuals", width_in=WIDTH_IN, height_in=SQUARE_HEIGHT_IN)
    return Chart("Residuals", "How far predictions are off, and to which side.", svg)
