"""modeltap models: what was trained or imported, side by side, under other names, as files."""

from __future__ import annotations

from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command, noun
from modeltap.cli.moments import when

app = noun("models", "See, compare, name, import, export and remove models.")

Ref = Annotated[str, typer.Argument(help="A version: adult@1, adult@champion, or adult for the newest.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@command(app, "list", example="modeltap models list")
def list_models(run: Invocation) -> None:
    """Every model with its newest version."""
    from modeltap.cli.metrics_text import headline

    models = run.client.models.list()

    def people() -> None:
        if not models:
            run.out.say("No models yet. Train one: modeltap train DATASET --task TASK")
            return
        rows = []
        for m in models:
            newest = m.latest
            part = "test" if newest.metrics.get("test") else "val"
            told = headline(newest.metrics.get(part) or {})
            told = f"{told} (val)" if told and part == "val" else told
            rows.append((newest.id, newest.task, newest.architecture, newest.dataset, told, when(newest.created_at)))
        run.out.table(("newest", "task", "architecture", "data", "measured", "made"), rows)

    run.out.answer({"models": [m.raw for m in models]}, people)


@command(app, "show", example="modeltap models show adult@1 --report adult.html")
def show(
    run: Invocation,
    ref: Ref,
    report: Annotated[str | None, typer.Option(metavar="FILE", help="Write the HTML report there.")] = None,
) -> None:
    """One version: what it takes and gives, what it was made from, how good it is."""
    from modeltap.cli.evaluate import write_report
    from modeltap.cli.version_text import show_version

    version = run.client.models.get(ref)
    if report is not None:
        write_report(report, run.client.models.report(version.id))
        run.out.note(f"the report is in {report}")
    run.out.answer(version.raw, lambda: show_version(run.out, version))


@command(app, "compare", example="modeltap models compare adult@1 adult@2")
def compare(run: Invocation, refs: Annotated[list[str], typer.Argument(help="Two or more versions.")]) -> None:
    """Versions side by side: metrics of the test part, and where the recipes differ."""
    from modeltap.cli.certificate_text import certificate_line
    from modeltap.cli.metrics_text import show_comparison

    if len(refs) < 2:
        raise typer.BadParameter("name at least two versions", param_hint="REFS")
    comparison = run.client.models.compare(refs)
    ids = [version.id for version in comparison.versions]

    def people() -> None:
        show_comparison(run.out, ids, comparison.metrics)
        if comparison.recipe_differences:
            run.out.say()
            rows = [(key, *(_plain(values.get(i)) for i in ids)) for key, values in comparison.recipe_differences.items()]
            run.out.table(("recipe", *ids), rows)
        for version_id, certificate in comparison.certificates.items():
            run.out.say(f"{version_id} is {certificate_line(certificate)}")

    run.out.answer(comparison.raw, people)


@command(app, "import", example="modeltap models import net.pth --recipe net.yaml --name net")
def import_model(
    run: Invocation,
    path: Annotated[
        str,
        typer.Argument(help="A file (.onnx, .keras, .h5, .pth, .safetensors, …), or a folder or ZIP, as of Hugging Face."),
    ],
    name: Annotated[str, typer.Option(help="What the model is called; it becomes its next version.")],
    recipe: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of weights alone: the layers of their network, as a recipe.")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Inputs to try it with (.npy, .npz, .json, .jsonl, .csv, .txt); else they are made up."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What a network of layers is for; else it gives its outputs as they are.")
    ] = None,
    labels: Annotated[str | None, typer.Option(metavar="A,B,…", help="Of its classes, in the order of its outputs.")] = None,
) -> None:
    """Bring a model that was made elsewhere: it is tried, and registered as a version to deploy."""
    from pathlib import Path

    from modeltap.cli.transfer import upload_bar
    from modeltap.cli.version_text import show_version

    with upload_bar(run.out, Path(path).name) as on_upload:
        version = run.client.models.import_file(
            path,
            name=name,
            recipe=recipe,
            sample=sample,
            task=task,
            labels=[label.strip() for label in labels.split(",")] if labels else (),
            on_upload=on_upload,
        )

    def people() -> None:
        show_version(run.out, run.client.models.get(version.id))
        compared = version.raw.get("compared")
        if compared:
            rows = f"{compared['rows']} {'given' if compared.get('is_given') else 'generated'} rows"
            run.out.say(f"answers as {compared['source']} does: the largest difference in {rows} is {compared['difference']:g}")
        for notice in version.raw.get("notices", []):
            run.out.say(f"! {notice}", style="yellow")
        run.out.note(f"next: modeltap deploy {version.id} --name {version.name}")

    run.out.answer(version.raw, people)


@command(app, "alias", example="modeltap models alias adult@3 champion")
def alias(
    run: Invocation,
    ref: Ref,
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Small letters, digits and '-'.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take the alias away.")] = False,
) -> None:
    """Let adult@ALIAS mean one version from now on."""
    if remove:
        model = ref.partition("@")[0]
        run.client.models.remove_alias(model, name)
        run.out.answer({"name": model, "removed": name}, lambda: run.out.say(f"{model}@{name} means nothing now"))
        return
    found = run.client.models.get(ref)
    version = run.client.models.alias(found.name, name, version=found.version)
    run.out.answer(version.raw, lambda: run.out.say(f"{version.name}@{name} is {version.id}"))


@command(app, "export", example="modeltap models export adult@1 adult.zip")
def export(
    run: Invocation,
    ref: Ref,
    path: Annotated[str, typer.Argument(help="The ZIP file to write, or a folder.")] = ".",
) -> None:
    """Write a version's files (graph, manifest, card, golden rows) as a ZIP."""
    from modeltap.cli.output import size
    from modeltap.cli.transfer import download_bar

    with download_bar(run.out, path) as on_bytes:
        target = run.client.models.export(ref, path, on_bytes=on_bytes)
    num_bytes = target.stat().st_size
    document = {"id": ref, "path": str(target), "bytes": num_bytes}
    run.out.answer(document, lambda: run.out.say(f"{ref} is in {target} ({size(num_bytes)})"))


@command(app, "remove", example="modeltap models remove adult@1")
def remove(run: Invocation, ref: Annotated[str, typer.Argument(help="One version (adult@1), or a name for all.")]) -> None:
    """Remove a version, or with a bare name all of them; not while one is deployed."""
    removed = run.client.models.remove(ref)
    run.out.answer({"name": ref, "removed": removed}, lambda: run.out.say(f"removed {', '.join(removed)}"))


def _plain(value: object) -> str:
    if value is None or isinstance(value, str):
        return "–" if value is None else value
    import msgspec

    return msgspec.json.encode(value).decode()
