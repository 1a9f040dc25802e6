"""A job while it runs: a moving bar on terminals, a line an epoch elsewhere. On stderr, but for a log that was asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from modeltap.cli.failures import report_interrupt
from modeltap.cli.job_text import waiting_text
from modeltap.cli.output import Output, console, duration, is_fancy, number
from modeltap.cli.trials_text import trials_line
from modeltap.client import ConnectionFailed, LogEvent, ProgressEvent, StateEvent
from modeltap.client.jobs import finished

if TYPE_CHECKING:
    from modeltap.cli.invocation import Invocation
    from modeltap.client import Client, Job
    from modeltap.domain.progress import Progress

BAR_WIDTH = 24
PATIENCE_S = 30.0
"""A server that takes over from another is back by then."""


class View(Protocol):
    """Shows the progress of one job."""

    def progress(self, progress: Progress) -> None: ...

    def log(self, text: str) -> None: ...

    def state(self, job: Job) -> None: ...


def follow(client: Client, out: Output, job_id: str, *, with_log: bool = False) -> Job:
    """The job after it ended or was paused; what happens on the way is shown."""
    try:
        with open_view(out, job_id) as view:
            for event in client.jobs.follow(job_id, patience_s=PATIENCE_S):
                match event:
                    case ProgressEvent():
                        view.progress(event.progress)
                    case LogEvent():
                        if with_log:
                            view.log(event.text)
                    case StateEvent():
                        view.state(event.job)
    except ConnectionFailed:
        out.note(let_go(job_id), style="")
        raise
    return client.jobs.get(job_id)


def follow_to_end(client: Client, out: Output, job_id: str) -> Job:
    """The job, succeeded. Raises the error that it failed with, and JobStopped if it was paused or cancelled.

    Ctrl-C lets go of it: the job goes on.
    """
    return finished(follow(client, out, job_id))


def attend(run: Invocation, job: Job, doing: str, *, detach: bool) -> Job | None:
    """The job that was just submitted, succeeded; None where it is left to itself, which is then told.

    `doing` is what it does, as `training`. Raises as `follow_to_end`; Ctrl-C ends the command, and the job goes on.
    """
    if detach:
        run.out.answer(job.raw, lambda: run.out.say(f"{job.id} is {job.state}; watch it with: modeltap jobs logs -f {job.id}"))
        return None
    run.out.note(f"{doing} as {job.id}; Ctrl-C lets it go on alone")
    return watch(run, lambda: follow_to_end(run.client, run.out, job.id), job.id)


def watch(run: Invocation, look: Callable[[], Job], job_id: str) -> Job:
    """What `look` gives; Ctrl-C ends the command with a word that the job goes on."""
    try:
        return look()
    except KeyboardInterrupt:
        raise typer.Exit(report_interrupt(let_go(job_id), as_json=run.out.as_json)) from None


def let_go(job_id: str) -> str:
    """What to say when a person stops watching."""
    return f"{job_id} goes on; watch it again with: modeltap jobs logs -f {job_id}"


@contextmanager
def open_view(out: Output, job_id: str) -> Iterator[View]:
    if not is_fancy(sys.stderr):
        yield Lines(out, job_id)
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(BAR_WIDTH),
        TaskProgressColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    bar = Bar(*columns, console=console(sys.stderr), transient=True)
    with bar:
        yield MovingBar(out, bar, job_id)


class Lines:
    """A line for every phase, every finished epoch, and what is said besides."""

    def __init__(self, out: Output, job_id: str) -> None:
        self._out = out
        self._job_id = job_id
        self._phase = ""
        self._told = ""
        self._said = ""

    def progress(self, progress: Progress) -> None:
        begins = progress.phase != self._phase and not (progress.trials is not None and progress.message)
        self._phase = progress.phase
        if begins and progress.phase != "done":
            self._out.note(f"{progress.phase}{f': {progress.message}' if progress.message else ''}")
        if progress.epoch_metrics:
            self._out.note("  " + epoch_line(progress))
        if progress.message and progress.message != self._said and not begins:
            self._out.note(f"  {progress.message}")
        self._said = progress.message or self._said

    def log(self, text: str) -> None:
        _write_log(self._out, text)

    def state(self, job: Job) -> None:
        waits = waiting_text(job)
        told = f"{self._job_id} is {job.state}{f': {waits}' if waits and job.not_before is None else ''}"
        told = f"{self._job_id} is {waits}" if waits and job.not_before is not None else told
        if told != self._told and job.state in ("queued", "paused", "cancelled"):
            self._out.note(told)
        self._told = told


class MovingBar:
    """One bar for the phase at hand; finished epochs, log lines and what is said while it trains scroll above it."""

    def __init__(self, out: Output, bar: Any, job_id: str) -> None:
        self._out = out
        self._bar = bar
        self._task = bar.add_task(f"{job_id} waits", total=None, facts="")
        self._said = ""

    def progress(self, progress: Progress) -> None:
        if progress.epoch_metrics:
            self._bar.console.print(epoch_line(progress), style="dim")
        is_news = progress.phase == "train" or progress.trials is not None
        if is_news and progress.message and progress.message != self._said:
            self._bar.console.print(progress.message, style="dim")
        self._said = progress.message or self._said
        self._bar.update(
            self._task,
            description=progress.phase.ljust(8),
            total=1.0,
            completed=progress.fraction,
            facts=step_line(progress),
        )

    def log(self, text: str) -> None:
        if sys.stdout.isatty() or self._out.as_json:
            self._bar.console.print(text.rstrip("\n"), style="dim")
        else:
            _write_log(self._out, text)

    def state(self, job: Job) -> None:
        if job.state in ("queued", "paused"):
            self._bar.update(self._task, description=f"{job.id} is {job.state}", total=None, facts=waiting_text(job) or "")


def _write_log(out: Output, text: str) -> None:
    """A log is what was asked for, so it goes to stdout; with --json that is for the document alone."""
    stream = sys.stderr if out.as_json else sys.stdout
    stream.write(text)
    stream.flush()


def epoch_line(progress: Progress) -> str:
    """epoch 3/10  train_loss 0.213  val_loss 0.25  val_accuracy 0.94  lr 0.001"""
    metrics = dict(progress.epoch_metrics or {})
    epoch = metrics.pop("epoch", progress.epoch)
    of = f"/{progress.epochs}" if progress.epochs else ""
    told = [f"{name} {number(value)}" for name, value in metrics.items() if isinstance(value, (int, float))]
    return "  ".join([f"epoch {epoch}{of}", *told])


def step_line(progress: Progress) -> str:
    """epoch 3/10  loss 0.213  accuracy 0.94  12,345/s  32 s left"""
    told = []
    if progress.trials is not None:
        told = [trials_line(progress.trials)]
        if progress.remaining_s:
            told.append(f"{duration(progress.remaining_s)} left")
        return "  ".join(told)
    if progress.epoch is not None:
        told.append(f"epoch {progress.epoch}{f'/{progress.epochs}' if progress.epochs else ''}")
    if progress.loss is not None:
        told.append(f"loss {number(progress.loss)}")
    if progress.metric is not None:
        told.append(f"{progress.metric_name or 'metric'} {number(progress.metric)}")
    if progress.cost is not None and progress.step is not None:
        told.append(f"{progress.step:,}{f' of {progress.steps:,}' if progress.steps else ''} rows")
    if progress.samples_per_s:
        told.append(f"{progress.samples_per_s:,.0f}/s")
    if progress.remaining_s:
        told.append(f"{duration(progress.remaining_s)} left")
    if progress.cost is not None:
        told.append(f"cost {progress.cost}")
    if progress.phase == "wait":
        return progress.message
    return "  ".join(told) or progress.message
