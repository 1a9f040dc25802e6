"""modeltap train: submit a training, watch it, and see how good the model is."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command

Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A recipe key; may be repeated.")]
RecipeFile = Annotated[str | None, typer.Option("--recipe", metavar="FILE", help="A recipe in YAML.")]


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def register(parent: typer.Typer) -> None:
    command(parent, "train", example="modeltap train adult --task tabular-classification --set epochs=20", queues=True)(train)


def train(
    run: Invocation,
    dataset: Annotated[str, typer.Argument(help="A dataset, or one version of it: adult@1.")],
    task: Annotated[str | None, typer.Option(help="What the model is for, e.g. tabular-classification.")] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
    device: Annotated[Device | None, typer.Option(help="auto takes a GPU where there is one.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the dataset's where none is given.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Train a model. It becomes the next version of its name."""
    from modeltap.cli.follow import attend
    from modeltap.cli.metrics_text import show_candidates, show_metrics
    from modeltap.client.recipes import read_recipe
    from modeltap.client.values import TrainResult, read_answer

    chosen = parse_settings(settings) | ({"device": device.value} if device else {})
    job = run.client.train(
        dataset, task=task, target=target, recipe=read_recipe(recipe), settings=chosen, name=name, wait=False
    )
    ended = attend(run, job, "training", detach=detach)
    if ended is None:
        return
    result = read_answer(ended.result or {}, TrainResult)

    def people() -> None:
        run.out.say(f"{result.version} is trained", style="bold green")
        part = "test" if "test" in result.metrics else next(iter(result.metrics), None)
        if part is not None:
            show_metrics(run.out, part, result.metrics[part])
        show_candidates(run.out, result.candidates)
        for notice in result.notices:
            run.out.say(f"! {notice}", style="yellow")
        run.out.note(f"next: modeltap deploy {result.version} --name {result.name}")

    run.out.answer({"id": result.version, **result.raw}, people)


def parse_settings(entries: list[str] | None) -> dict[str, str]:
    """KEY=VALUE texts as a mapping; the server gives the values their types."""
    settings = {}
    for entry in entries or []:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"'{entry}' must be KEY=VALUE, such as optimizer.lr=0.01", param_hint="--set")
        settings[key.strip()] = value
    return settings
