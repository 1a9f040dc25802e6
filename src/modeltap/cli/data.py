"""modeltap data: bring data, see what was found in it, remove it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modeltap.cli.invocation import Invocation, command, noun
from modeltap.cli.moments import when

if TYPE_CHECKING:
    from modeltap.client import Dataset

app = noun("data", "Bring data, see what was found in it, remove it.")


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@command(app, "add", example="modeltap data add adult.csv --name adult --target income --missing '?'", queues=True)
def add(
    run: Invocation,
    path: Annotated[str, typer.Argument(help="A file (CSV, TSV, Parquet, JSON Lines, .npz, text, .zip) or a folder.")],
    name: Annotated[str, typer.Option(help="What the dataset is called; known data gets its version back.")],
    target: Annotated[str | None, typer.Option(help="The column to predict.")] = None,
    test: Annotated[str | None, typer.Option(help="A file with the test part.")] = None,
    val: Annotated[str | None, typer.Option(help="A file with the validation part.")] = None,
    header: Annotated[bool | None, typer.Option("--header/--no-header", help="Whether the first line names columns.")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,…", help="Names of the columns.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Between the cells of a line.")] = None,
    missing: Annotated[list[str] | None, typer.Option(help="A text that means: no value. May be repeated.")] = None,
    kind: Annotated[list[str] | None, typer.Option(metavar="COLUMN=KIND", help="E.g. zip=category. May be repeated.")] = None,
    image_size: Annotated[str | None, typer.Option(metavar="WxH", help="Bring all pictures to this size.")] = None,
) -> None:
    """Send data as the next version of a dataset, and show what was inferred."""
    from modeltap.cli.profile_text import show_columns
    from modeltap.cli.transfer import upload_bar

    kinds = dict(_pair(entry) for entry in kind or [])
    size = _size(image_size)
    with upload_bar(run.out, Path(path).name) as on_upload:
        dataset = run.client.datasets.add(
            path,
            name=name,
            target=target,
            test=test,
            val=val,
            header=header,
            columns=[c.strip() for c in columns.split(",")] if columns else [],
            delimiter=_unescaped(delimiter),
            missing=missing or [],
            kinds=kinds,
            image_size=size,
            on_upload=on_upload,
        )

    def people() -> None:
        run.out.say(f"{dataset.id}  {'added' if dataset.created else 'is there already'}", style="bold green")
        found = run.client.datasets.get(dataset.id)
        show_columns(run.out, found)
        for notice in dataset.notices:
            run.out.say(f"! {notice}", style="yellow")
        run.out.note(f"next: {next_step(found)}")

    run.out.answer(dataset.raw, people)


@command(app, "list", example="modeltap data list")
def list_datasets(run: Invocation) -> None:
    """The newest version of every dataset."""
    datasets = run.client.datasets.list()

    def people() -> None:
        if not datasets:
            run.out.say("No data yet. Add some: modeltap data add FILE --name NAME --target COLUMN")
            return
        rows = []
        for d in datasets:
            target = d.schema.target
            parts = ", ".join(f"{part} {count:,}" for part, count in d.num_rows.items())
            rows.append(
                (d.id, d.schema.form, parts, len(d.schema.columns), target.name if target else None, when(d.created_at))
            )
        run.out.table(("id", "form", "rows", "columns", "target", "added"), rows, right=("columns",))

    run.out.answer({"datasets": [d.raw for d in datasets]}, people)


@command(app, "show", example="modeltap data show adult@1")
def show(run: Invocation, ref: Annotated[str, typer.Argument(help="A dataset, or one version: adult@1.")]) -> None:
    """The profile of a dataset: every column, and the balance of the target."""
    from modeltap.cli.profile_text import show_profile

    dataset = run.client.datasets.get(ref)
    run.out.answer(dataset.raw, lambda: show_profile(run.out, dataset))


@command(app, "remove", example="modeltap data remove adult@1")
def remove(
    run: Invocation, ref: Annotated[str, typer.Argument(help="One version (adult@1), or a name for all of them.")]
) -> None:
    """Remove a version, or with a bare name all of them. Models trained on it stay."""
    removed = run.client.datasets.remove(ref)
    run.out.answer({"name": ref, "removed": removed}, lambda: run.out.say(f"removed {', '.join(removed)}"))


def next_step(dataset: Dataset) -> str:
    """The command that trains on it, with the task that its form and its target suggest."""
    target = (dataset.profile or {}).get("target")
    if dataset.schema.form == "texts":
        return f"modeltap train {dataset.name} --task {'text-classification' if target else 'text-generation'}"
    if dataset.schema.form in ("images", "arrays"):
        task = "image-classification"
    elif target is not None and "classes" not in target:
        task = "tabular-regression"
    else:
        task = "tabular-classification"
    return f"modeltap train {dataset.name} --task {task}{'' if target else ' --target COLUMN'}"


def _pair(entry: str) -> tuple[str, str]:
    column, equals, kind = entry.rpartition("=")
    if not equals or not column or not kind:
        raise typer.BadParameter(f"'{entry}' must be COLUMN=KIND, such as zip=category", param_hint="--kind")
    return column, kind


def _size(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    width, _, height = given.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"'{given}' must be WIDTHxHEIGHT, such as 28x28", param_hint="--image-size")
    return int(width), int(height)


def _unescaped(delimiter: str | None) -> str | None:
    r"""A tab may be written \t, as shells make a real one hard to type."""
    return "\t" if delimiter in ("\\t", "tab") else delimiter
