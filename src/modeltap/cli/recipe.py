"""modeltap recipe: everything that decides a run, with every default written out."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command, noun
from modeltap.cli.train import RecipeFile, Settings, parse_settings

app = noun("recipe", "See the full recipe of a run.")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@command(app, "show", example="modeltap recipe show --task tabular-classification --set epochs=20 > recipe.yaml")
def show(
    run: Invocation,
    ref: Annotated[str | None, typer.Argument(help="A version (adult@1) or a job (job-…).")] = None,
    task: Annotated[str | None, typer.Option(help="Of a run that is only planned.")] = None,
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
) -> None:
    """The full recipe of a version, of a training job, or of a run that is only planned."""
    from modeltap.client.recipes import read_recipe
    from modeltap.errors import NotFound

    if ref is None and task is None and recipe is None:
        raise typer.BadParameter("name a version or a job, or plan a run with --task or --recipe", param_hint="REF")
    given = read_recipe(recipe)
    if ref is not None and ref.startswith("job-"):
        given = run.client.jobs.get(ref).spec.get("recipe")
        if given is None:
            raise NotFound(f"{ref} is no training, so it has no recipe")
    elif ref is not None:
        given = run.client.models.recipe(ref)
    rendered = run.client.render_recipe(task, recipe=given, settings=parse_settings(settings), target=target)
    document = {"name": ref or task or recipe, **rendered.raw}
    run.out.answer(document, lambda: _write(rendered.yaml))


def _write(text: str) -> None:
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
