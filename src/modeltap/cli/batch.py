"""modeltap batch: a whole file of rows, answered by a deployment as a job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modeltap.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from modeltap.client import Job


def register(parent: typer.Typer) -> None:
    command(parent, "batch", example="modeltap batch income --input rows.csv --output answers.parquet", queues=True)(batch)


def batch(
    run: Invocation,
    deployment: Annotated[str | None, typer.Argument(help="The public name.")] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            "-i",
            metavar="FILE",
            help="CSV, TSV, JSON Lines, JSON or Parquet; a folder or .zip of pictures; - is stdin.",
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="The answers: .csv, .jsonl or .parquet.")
    ] = None,
    job_id: Annotated[
        str | None, typer.Option("--job", metavar="JOB", help="Fetch the answers of a batch that was started before.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Have every row of a file answered. As a job that survives crashes, within the limits of your key."""
    from modeltap.client.batches import form_of

    if (deployment is None) == (job_id is None):
        raise typer.BadParameter("name a deployment, or with --job a batch that was started before", param_hint="DEPLOYMENT")
    if deployment is not None and source is None:
        raise typer.BadParameter("name the file of rows", param_hint="--input")
    if output is None and not (detach and job_id is None):
        raise typer.BadParameter("name the file for the answers", param_hint="--output")
    form = "csv" if output is None else form_of(output)
    if job_id is not None:
        assert output is not None
        _fetch(run, _rested(run, run.client.jobs.get(job_id)), output)
        return
    assert deployment is not None
    assert source is not None
    job = _start(run, deployment, source, form)
    if detach or output is None:
        fetch = f"modeltap batch --job {job.id} --output {output or 'answers.csv'}"
        run.out.answer(job.raw, lambda: run.out.say(f"{job.id} is {job.state}; fetch the answers with: {fetch}"))
        return
    run.out.note(f"answering as {job.id}; Ctrl-C lets it go on alone")
    _fetch(run, _followed(run, job.id, output), output)


def _start(run: Invocation, deployment: str, source: str, form: str) -> Job:
    from modeltap.cli.prediction_input import sniffed_ending
    from modeltap.cli.transfer import upload_bar

    if source == "-":
        data = sys.stdin.buffer.read()
        return run.client.batches.start(deployment, data, filename=f"stdin{sniffed_ending(data)}", form=form)
    with upload_bar(run.out, Path(source).name) as on_upload:
        return run.client.batches.start(deployment, source, form=form, on_upload=on_upload)


def _rested(run: Invocation, job: Job) -> Job:
    """The job, once it does not run any more."""
    from modeltap.cli.follow import follow, watch

    if job.is_resting:
        return job
    return watch(run, lambda: follow(run.client, run.out, job.id), job.id)


def _followed(run: Invocation, job_id: str, output: str) -> Job:
    """The job, succeeded. Where it did not, what there is and how it goes on is told before the error is."""
    from modeltap.cli.follow import follow_to_end, watch
    from modeltap.errors import ModeltapError

    try:
        return watch(run, lambda: follow_to_end(run.client, run.out, job_id), job_id)
    except ModeltapError:
        run.out.note(f"what was answered is kept for 7 days: modeltap batch --job {job_id} --output {output}", style="")
        run.out.note(f"the batch goes on where it was with: modeltap jobs resume {job_id}", style="")
        raise


def _fetch(run: Invocation, job: Job, output: str) -> None:
    """Writes the file; a batch that did not end by itself has a part of the answers, which is said."""
    from modeltap.cli.transfer import download_bar
    from modeltap.client.batches import BatchResult
    from modeltap.client.values import read_answer

    with download_bar(run.out, Path(output).name) as on_bytes:
        num_bytes = run.client.batches.fetch(job.id, output, on_bytes=on_bytes)
    is_complete = job.state == "succeeded"
    facts = {"id": job.id, "state": job.state, "complete": is_complete, "output": output, "bytes": num_bytes}

    def people() -> None:
        if not is_complete:
            told = f": {job.error['detail']}" if job.error else ""
            run.out.say(f"{output} holds the answers that there are; {job.id} is {job.state}{told}", style="yellow")
            return
        result = read_answer(job.result or {}, BatchResult)
        run.out.say(f"{output}: {result.answered:,} rows answered by {', '.join(result.models)}", style="bold green")
        run.out.say(f"cost {result.cost}")
        if result.refused:
            run.out.say(
                f"! {result.refused:,} rows do not fit and were not charged; the column 'error' says why", style="yellow"
            )
            for error in result.errors:
                run.out.say(f"  {error}")

    run.out.answer({**(job.result or {}), **facts}, people)
