"""modeltap demo: the whole path in a minute."""

from __future__ import annotations

from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command


def register(parent: typer.Typer) -> None:
    command(parent, "demo", example="modeltap demo")(demo)


def demo(
    run: Invocation,
    keep: Annotated[bool, typer.Option("--keep/--remove", help="Keep what it made, to look at it afterwards.")] = True,
    serve: Annotated[bool, typer.Option("--serve", help="Stay afterwards, until Ctrl-C.")] = False,
) -> None:
    """See the whole path in a minute. Two models from real data to an API: handwritten digits, and tumours from
    measurements."""
    from modeltap.cli.demo_story import run_demo

    run_demo(run, keep=keep, serve=serve)
