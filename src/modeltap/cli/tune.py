"""modeltap tune: search for the recipe that does best, watch its trials, and get the best one as a version."""

from __future__ import annotations

from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command
from modeltap.cli.train import RecipeFile, Settings, parse_settings


def register(parent: typer.Typer) -> None:
    example = "modeltap tune adult --task tabular-classification --recipe search.yaml --trials 40"
    command(parent, "tune", example=example, queues=True)(tune)


def tune(
    run: Invocation,
    dataset: Annotated[str, typer.Argument(help="A dataset, or one version of it: adult@1.")],
    task: Annotated[str | None, typer.Option(help="What the model is for, e.g. tabular-classification.")] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many, instead of the recipe's search.trials.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the dataset's where none is given.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Search for the best recipe. Its search section says which keys may be what; the best trial becomes a version."""
    from modeltap.cli.follow import attend
    from modeltap.cli.metrics_text import score, show_metrics
    from modeltap.cli.trials_text import counts_of, counts_text
    from modeltap.client.values import TuneResult, read_answer
    from modeltap.recipe.search_space import told_value

    if recipe is None:
        raise typer.BadParameter("name a recipe with a search section; docs/recipes.md shows one", param_hint="--recipe")
    job = run.client.tune(
        dataset,
        recipe=recipe,
        task=task,
        target=target,
        settings=parse_settings(settings),
        trials=trials,
        name=name,
        wait=False,
    )
    ended = attend(run, job, "searching", detach=detach)
    if ended is None:
        return
    result = read_answer(ended.result or {}, TuneResult)

    def people() -> None:
        run.out.say(f"{result.version} is the best trial", style="bold green")
        counts = counts_of(ended)
        if counts is not None and counts.best is not None:
            run.out.say(f"trials: {counts_text(counts)}")
            best = [(key, told_value(value)) for key, value in counts.best.params.items()]
            run.out.table((f"trial {counts.best.trial}", f"{counts.metric} {score(counts.best.value)} (val)"), best)
            run.out.say()
        part = "test" if "test" in result.metrics else next(iter(result.metrics), None)
        if part is not None:
            show_metrics(run.out, part, result.metrics[part])
        for notice in result.notices:
            run.out.say(f"! {notice}", style="yellow")
        run.out.note(f"next: modeltap deploy {result.version} --name {result.name}")

    run.out.answer({"id": result.version, **result.raw}, people)
