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
    language: Annotated[
        bool, typer.Option("--language", help="A small language model instead, in two minutes or three.")
    ] = False,
    steps: Annotated[int | None, typer.Option(min=1, metavar="N", help="With --language: how long it learns.")] = None,
) -> None:
    """See the whole path in a minute. Two models from real data to an API: handwritten digits, and tumours from
    measurements. Or, with --language, a model that writes."""
    if language:
        from modeltap.cli.demo_language import run_language_demo

        run_language_demo(run, steps=steps, keep=keep, serve=serve)
        return
    if steps is not None:
        raise typer.BadParameter("it is for --language alone", param_hint="--steps")
    from modeltap.cli.demo_story import run_demo

    run_demo(run, keep=keep, serve=serve)
