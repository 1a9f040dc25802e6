"""The `modeltap` command: all nouns together, and the one place where failures become words and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn, TextIO

import typer

from modeltap import __version__
from modeltap.cli import (
    audit,
    batch,
    chat,
    compress,
    data,
    demo,
    deployments,
    doctor,
    evaluate,
    explain,
    home,
    jobs,
    keys,
    models,
    predict,
    recipe,
    tenants,
    train,
    tune,
    up,
    usage,
)
from modeltap.cli.failures import report_failure, report_interrupt, report_unexpected, report_usage, wants_json
from modeltap.cli.sections import SectionedGroup
from modeltap.errors import ModeltapError

OVERVIEW = """Models on tap: from raw data to a served model, on your own machine.

\b
  modeltap demo                                              see the whole path in a minute
  modeltap data add adult.csv --name adult --target income   bring data
  modeltap train adult --task tabular-classification         train a model
  modeltap deploy adult@1 --name income                      put it behind an API
  modeltap predict income --input rows.csv                   ask it

Where no server runs, one is started in the background; `modeltap up` runs one in the foreground.
"""


def build_app() -> typer.Typer:
    """All commands, in the order of the path from data to answers."""
    app = typer.Typer(
        name="modeltap",
        cls=SectionedGroup,
        help=OVERVIEW,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")] = False,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        if version:
            show_version(as_json=json)
            raise typer.Exit
        if context.invoked_subcommand is None:
            if json:
                context.fail("Missing command.")
            typer.echo(context.get_help())

    for module in (
        demo,
        up,
        data,
        train,
        tune,
        evaluate,
        compress,
        models,
        deployments,
        predict,
        explain,
        chat,
        batch,
        keys,
        tenants,
        usage,
        audit,
        jobs,
        recipe,
        home,
        doctor,
    ):
        module.register(app)
    return app


def show_version(*, as_json: bool) -> None:
    from modeltap.cli.output import Output

    out = Output(as_json=as_json)
    out.answer({"name": "modeltap", "version": __version__}, lambda: out.say(f"modeltap {__version__}"))


def run(args: Sequence[str]) -> int:
    """The exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    as_json = wants_json(args)
    cli = typer.main.get_command(build_app())
    try:
        code = cli.main(args=list(args), prog_name="modeltap", standalone_mode=False)
    except typer.TyperException as problem:
        return report_usage(problem, as_json=as_json)
    except ModeltapError as problem:
        return report_failure(problem, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return report_interrupt(as_json=as_json)
    except BrokenPipeError:
        _close(sys.stdout)
        return 0
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """Runs the command that was typed, and ends the process with its exit code."""
    sys.excepthook = report_unexpected
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that lacks a letter shows ?
    sys.exit(run(sys.argv[1:]))


def _close(stream: TextIO) -> None:
    """Whoever read our output went away; nothing more is written, also not at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
