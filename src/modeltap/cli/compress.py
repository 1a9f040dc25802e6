"""modeltap compress: a smaller version of a model, and the certificate of what it costs and gains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from modeltap.cli.invocation import Invocation, command
from modeltap.cli.reading_options import Labels, Scale, Target, parse_labels


def register(parent: typer.Typer) -> None:
    command(parent, "compress", example="modeltap compress digits@3 --int8 --max-drop 0.5pp", queues=True)(compress)


def compress(
    run: Invocation,
    model: Annotated[str, typer.Argument(help="A version: digits@3, or digits for the newest.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Eight bits a weight: nearly as good, about a quarter of the size.")
    ] = False,
    int4: Annotated[bool, typer.Option("--int4", help="Four bits for most weights: smaller still, and less exact.")] = False,
    prune: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Take this share of channels and units away, then train on.")
    ] = None,
    distil: Annotated[
        str | None, typer.Option("--distil", "--distill", metavar="RECIPE", help="Teach a student of this recipe (YAML).")
    ] = None,
    unstructured: Annotated[
        bool, typer.Option("--unstructured", help="With --prune: single weights become 0; nothing gets faster or smaller.")
    ] = False,
    rounds: Annotated[int | None, typer.Option(help="With --prune: in so many steps, trained after each.")] = None,
    temperature: Annotated[float | None, typer.Option(help="With --distil: how soft the teacher's answers are; 4.")] = None,
    alpha: Annotated[float | None, typer.Option(help="With --distil: the teacher's share of the loss; 0.7.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A key of the student's recipe, or of the training after pruning."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The new model's name; MODEL-int8, -pruned, … where none is given.")] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="BOUND",
            help="How much worse it may be: 0.5pp of accuracy, 2% of an error, 0.05 nats a token of a language model"
            " (these where none is given, half a point).",
        ),
    ] = None,
    min_gain: Annotated[
        float | None, typer.Option(metavar="TIMES", help="How many times as fast it must be; not asked where none is given.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="Of imported versions: rows to measure on; of language models: texts."),
    ] = None,
    texts: Annotated[
        str | None, typer.Option(metavar="FILE", help='Texts to compare language models on: .jsonl with "text", or one text.')
    ] = None,
    target: Target = None,
    labels: Labels = None,
    scale: Scale = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Make a model smaller or faster. It is measured against its parent, and rejected if it is no win."""
    from modeltap.cli.certificate_text import show_certificate
    from modeltap.cli.follow import attend
    from modeltap.cli.train import parse_settings
    from modeltap.client.values import CompressResult, read_answer

    job = run.client.compress(
        model,
        _weights(int8=int8, int4=int4, others=(prune is not None) + (distil is not None)),
        prune=prune,
        unstructured=unstructured,
        rounds=rounds,
        distil=distil,
        temperature=temperature,
        alpha=alpha,
        settings=parse_settings(settings) or None,
        name=name,
        max_drop=max_drop,
        min_gain=min_gain,
        data=data,
        texts=read_texts(texts) if texts else (),
        target=target,
        labels=parse_labels(labels),
        scale=scale,
        wait=False,
    )
    ended = attend(run, job, "compressing", detach=detach)
    if ended is None:
        return
    result = read_answer(ended.result or {}, CompressResult)

    def people() -> None:
        is_kept = result.state != "rejected"
        run.out.say(
            f"{result.version} is {'made' if is_kept else 'rejected'}", style="bold green" if is_kept else "bold yellow"
        )
        show_certificate(run.out, result.certificate)
        if is_kept:
            run.out.note(f"next: modeltap deploy {result.version} --name {result.name}")
        else:
            run.out.note(
                f"it is kept as rejected; modeltap deploy {result.version} --name {result.name} --force serves it all the same"
            )

    run.out.answer({"id": result.version, **result.raw}, people)


def _weights(*, int8: bool, int4: bool, others: int) -> Literal["int8", "int4"] | None:
    """What was chosen. Raises BadParameter unless it is one thing."""
    if int8 + int4 + others != 1:
        raise typer.BadParameter("choose one: --int8 or --int4, --prune SHARE, --distil RECIPE", param_hint="--int8")
    return "int8" if int8 else "int4" if int4 else None


def read_texts(path: str) -> list[str]:
    """The texts of JSON Lines, or the whole of any other file as one. Raises InvalidData."""
    import json

    from modeltap.errors import InvalidData

    try:
        content = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise InvalidData(f"the texts '{path}' cannot be read: {reason}") from None
    if not path.endswith(".jsonl"):
        return [content]
    texts = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        text = row.get("text") if isinstance(row, dict) else row
        if not isinstance(text, str):
            raise InvalidData(f"'{path}', line {number}: give a text, or an object with a \"text\"")
        texts.append(text)
    return texts
