"""modeltap evaluate: how good a version is on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command
from modeltap.cli.reading_options import Labels, Scale, Target, parse_labels


def register(parent: typer.Typer) -> None:
    command(parent, "evaluate", example="modeltap evaluate adult@1 --data adult@2 --slice sex", queues=True)(evaluate)


def evaluate(
    run: Invocation,
    model: Annotated[str, typer.Argument(help="A version: adult@1, or adult for the newest.")],
    data: Annotated[str | None, typer.Option(help="The dataset; the one it was trained on where none is given.")] = None,
    part: Annotated[str | None, typer.Option(help="test, val, train, rows or all.")] = None,
    slice_by: Annotated[list[str] | None, typer.Option("--slice", metavar="COLUMN", help="Also by its values.")] = None,
    target: Target = None,
    labels: Labels = None,
    scale: Scale = None,
    report: Annotated[str | None, typer.Option(metavar="FILE", help="Write the HTML report there.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Measure how good a version is. On any dataset, with intervals, and by the values of a column."""
    from modeltap.cli.follow import attend
    from modeltap.cli.metrics_text import show_metrics
    from modeltap.client.values import EvaluateResult, read_answer
    from modeltap.errors import InvalidInput

    dataset = data or run.client.models.get(model).dataset
    if not dataset:
        raise InvalidInput(f"{model} was imported; name the dataset to evaluate it on with --data, such as --data digits@1")
    job = run.client.evaluate(
        model, dataset, part=part, slices=slice_by or [], target=target, labels=parse_labels(labels), scale=scale, wait=False
    )
    ended = attend(run, job, "evaluating", detach=detach)
    if ended is None:
        return
    result = read_answer(ended.result or {}, EvaluateResult)
    has_report = bool(result.raw.get("report", True))
    if report is not None and has_report:
        write_report(report, run.client.jobs.report(job.id))

    def people() -> None:
        evaluation = result.evaluation or {}
        rows = f", {evaluation['num_rows']:,} rows" if "num_rows" in evaluation else ""
        run.out.say(f"{result.model} on {result.dataset} ({result.part}{rows})", style="bold")
        show_metrics(run.out, result.part, result.metrics)
        _show_slices(run, evaluation.get("slices") or [])
        for notice in result.notices:
            run.out.note(notice)
        if report is not None:
            run.out.note(f"the report is in {report}" if has_report else "of vectors there is no report, but the numbers above")

    run.out.answer({"id": job.id, **result.raw}, people)


def write_report(path: str, html: str) -> None:
    """Writes the page. Raises StorageFailed."""
    from modeltap.errors import StorageFailed

    try:
        Path(path).expanduser().write_text(html, encoding="utf-8")
    except OSError as problem:
        raise StorageFailed(f"'{path}' cannot be written: {problem.strerror or problem}") from None


def _show_slices(run: Invocation, slices: list[dict[str, object]]) -> None:
    from modeltap.cli.metrics_text import bounds_text, score

    rows = []
    for entry in slices:
        metrics, intervals = entry.get("metrics"), entry.get("intervals")
        assert isinstance(metrics, dict) and isinstance(intervals, dict)
        name = next(iter(metrics), None)
        if name is not None:
            rows.append(
                (
                    f"{entry['column']} = {entry['value']}",
                    entry["num_rows"],
                    name,
                    score(metrics[name]),
                    bounds_text(intervals.get(name)),
                )
            )
    if rows:
        run.out.say()
        run.out.table(("slice", "rows", "metric", "value", "95 % interval"), rows, right=("rows", "value"))
