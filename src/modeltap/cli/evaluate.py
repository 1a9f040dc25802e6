"""modeltap evaluate: how good a version is on a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeltap.cli.failures import report_interrupt
from modeltap.cli.invocation import Invocation, command


def register(parent: typer.Typer) -> None:
    command(parent, "evaluate", example="modeltap evaluate adult@1 --data adult@2 --slice sex", queues=True)(evaluate)


def evaluate(
    run: Invocation,
    model: Annotated[str, typer.Argument(help="A version: adult@1, or adult for the newest.")],
    data: Annotated[str | None, typer.Option(help="The dataset; the one it was trained on where none is given.")] = None,
    part: Annotated[str | None, typer.Option(help="test, val, train, rows or all.")] = None,
    slice_by: Annotated[list[str] | None, typer.Option("--slice", metavar="COLUMN", help="Also by its values.")] = None,
    report: Annotated[str | None, typer.Option(metavar="FILE", help="Write the HTML report there.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Measure how good a version is. On any dataset, with intervals, and by the values of a column."""
    from modeltap.cli.follow import follow_to_end, let_go
    from modeltap.cli.metrics_text import show_metrics
    from modeltap.client.values import EvaluateResult, read_answer

    dataset = data or run.client.models.get(model).dataset
    job = run.client.evaluate(model, dataset, part=part, slices=slice_by or [], wait=False)
    if detach:
        run.out.answer(job.raw, lambda: run.out.say(f"{job.id} is {job.state}; watch it with: modeltap jobs logs -f {job.id}"))
        return
    try:
        job = follow_to_end(run.client, run.out, job.id)
    except KeyboardInterrupt:
        raise typer.Exit(report_interrupt(let_go(job.id), as_json=run.out.as_json)) from None
    result = read_answer(job.result or {}, EvaluateResult)
    if report is not None:
        write_report(report, run.client.jobs.report(job.id))

    def people() -> None:
        evaluation = result.evaluation or {}
        rows = f", {evaluation['num_rows']:,} rows" if "num_rows" in evaluation else ""
        run.out.say(f"{result.model} on {result.dataset} ({result.part}{rows})", style="bold")
        show_metrics(run.out, result.part, result.metrics)
        _show_slices(run, evaluation.get("slices") or [])
        if report is not None:
            run.out.note(f"the report is in {report}")

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
