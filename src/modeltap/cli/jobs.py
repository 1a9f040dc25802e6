"""modeltap jobs: background work, watched, stopped and taken up again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from modeltap.cli.failures import FAILED, report_interrupt
from modeltap.cli.invocation import Invocation, command, noun
from modeltap.cli.moments import elapsed, when
from modeltap.cli.output import duration

if TYPE_CHECKING:
    from modeltap.client import Job

app = noun("jobs", "Watch background work, stop it, take it up again.")

Id = Annotated[str, typer.Argument(metavar="JOB", help="A job's id: job-…")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@command(app, "list", example="modeltap jobs list --state running")
def list_jobs(
    run: Invocation,
    state: Annotated[str | None, typer.Option(help="queued, running, paused, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 50,
) -> None:
    """The newest jobs first."""
    from modeltap.cli.job_text import state_text

    jobs = run.client.jobs.list(state=state, limit=limit)

    def people() -> None:
        if not jobs:
            run.out.say("No jobs.")
            return
        rows = [(j.id, j.kind, state_text(j), subject(j), when(j.created_at), _took(j)) for j in jobs]
        run.out.table(("job", "kind", "state", "of", "made", "took"), rows)

    run.out.answer({"jobs": [j.raw for j in jobs]}, people)


@command(app, "show", example="modeltap jobs show job-…")
def show(run: Invocation, job_id: Id) -> None:
    """One job: what it does, how far it is, how it ended."""
    from modeltap.cli.follow import step_line
    from modeltap.cli.job_text import limits_text, show_attempts, waiting_text
    from modeltap.cli.metrics_text import headline
    from modeltap.cli.trials_text import trial_facts

    job = run.client.jobs.get(job_id)

    def people() -> None:
        result = job.result or {}
        run.out.say(job.id, style="bold")
        metrics = result.get("metrics") or {}
        run.out.facts(
            [
                ("kind", job.kind),
                ("state", job.state + (f" (asked to {job.wanted})" if job.wanted != "run" and not job.is_resting else "")),
                ("of", subject(job) or None),
                ("made", when(job.created_at)),
                ("took", _took(job)),
                ("waits", waiting_text(job)),
                ("may use", limits_text(job)),
                (
                    "progress",
                    f"{job.progress.phase} {job.progress.fraction:.0%}  {step_line(job.progress)}" if job.progress else None,
                ),
                *trial_facts(job),
                ("made version", result.get("version") or result.get("id")),
                ("test", headline(metrics.get("test") or {}) or None),
                ("error", (job.error or {}).get("detail")),
            ]
        )
        show_attempts(run.out, job.attempts)

    run.out.answer(job.raw, people)


@command(app, "logs", example="modeltap jobs logs -f job-…")
def logs(
    run: Invocation,
    job_id: Id,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until it ends.")] = False,
) -> None:
    """What a job has written; with -f also what it writes from now on, and its progress."""
    if follow:
        from modeltap.cli.follow import follow as watch

        try:
            job = watch(run.client, run.out, job_id, with_log=True)
        except KeyboardInterrupt:
            raise typer.Exit(report_interrupt(f"{job_id} goes on", as_json=run.out.as_json)) from None
        run.out.answer(job.raw, lambda: _tell_end(run, job))
        if job.state == "failed":
            raise typer.Exit(FAILED)
        return
    text = run.client.jobs.log(job_id)
    run.out.answer({"id": job_id, "log": text}, lambda: _write_log(run, job_id, text))


@command(app, "pause", example="modeltap jobs pause job-…")
def pause(run: Invocation, job_id: Id) -> None:
    """Stop a job at its next checkpoint, to go on later."""
    _tell(run, run.client.jobs.pause(job_id))


@command(app, "resume", example="modeltap jobs resume job-… --memory 8GB", queues=True)
def resume(run: Invocation, job_id: Id) -> None:
    """Let a paused, failed or cancelled job go on from its checkpoint, or one that waits to be tried again at once."""
    _tell(run, run.client.jobs.resume(job_id))


@command(app, "cancel", example="modeltap jobs cancel job-…")
def cancel(run: Invocation, job_id: Id) -> None:
    """End a job."""
    _tell(run, run.client.jobs.cancel(job_id))


def subject(job: Job) -> str:
    """What the job is about: the dataset, the model, the file."""
    spec = job.spec
    match job.kind:
        case "train" | "tune":
            return f"{spec.get('dataset', '')} → {spec.get('name', '')}"
        case "evaluate":
            return f"{spec.get('model', '')} on {spec.get('dataset', '')}"
        case "compress":
            return f"{spec.get('model', '')} by {spec.get('method', '')} → {spec.get('name', '')}"
        case "batch":
            return f"{spec.get('filename', '')} → {spec.get('deployment', '')}"
        case _:
            return f"{spec.get('filename', '')} → {spec.get('name', '')}" if spec.get("name") else ""


def _tell(run: Invocation, job: Job) -> None:
    pending = f", asked to {job.wanted}" if job.wanted != "run" and not job.is_resting else ""
    run.out.answer(job.raw, lambda: run.out.say(f"{job.id} is {job.state}{pending}"))


def _tell_end(run: Invocation, job: Job) -> None:
    result = job.result or {}
    made = result.get("version") or result.get("id")
    run.out.say(f"{job.id} {'is paused' if job.state == 'paused' else job.state}{f': {made}' if made else ''}")
    if job.error:
        run.out.say(str(job.error.get("detail")), style="red")


def _took(job: Job) -> str | None:
    spent = elapsed(job.started_at, job.ended_at)
    return None if spent is None else duration(max(0.0, spent.total_seconds()))


def _write_log(run: Invocation, job_id: str, text: str) -> None:
    if not text:
        run.out.note(f"{job_id} has written nothing; its progress is shown with -f")
    sys.stdout.write(text if not text or text.endswith("\n") else text + "\n")
