"""modeltap compress: a smaller version of a language model, and the certificate of what it costs and gains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeltap.cli.failures import report_interrupt
from modeltap.cli.invocation import Invocation, command


def register(parent: typer.Typer) -> None:
    command(parent, "compress", example="modeltap compress tales@1 --int8")(compress)


def compress(
    run: Invocation,
    model: Annotated[str, typer.Argument(help="A version of a language model: tales@1, or tales for the newest.")],
    int8: Annotated[bool, typer.Option("--int8", help="Eight bits a weight: nearly as good, a quarter of the size.")] = False,
    int4: Annotated[bool, typer.Option("--int4", help="Four bits for most weights: smaller still, and less exact.")] = False,
    name: Annotated[str | None, typer.Option(help="The new model's name; MODEL-int8 where none is given.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="NATS", help="How much the loss of a token may rise; 0.05 where none is given.")
    ] = None,
    min_gain: Annotated[
        float | None, typer.Option(metavar="TIMES", help="How many times as fast it must be; not asked where none is given.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DATASET", help="Texts to compare on; else those trained on.")] = None,
    texts: Annotated[
        str | None, typer.Option(metavar="FILE", help='Texts to compare on: .jsonl with "text", or one text.')
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Come back at once; the job goes on.")] = False,
) -> None:
    """Make a language model smaller. It is measured against its parent, and rejected if it is no win."""
    from modeltap.cli.certificate_text import show_certificate
    from modeltap.cli.follow import follow_to_end, let_go
    from modeltap.client.values import CompressResult, read_answer

    if int8 == int4:
        raise typer.BadParameter("choose one: --int8 or --int4", param_hint="--int8")
    job = run.client.compress(
        model,
        "int8" if int8 else "int4",
        name=name,
        max_drop=max_drop,
        min_gain=min_gain,
        data=data,
        texts=read_texts(texts) if texts else (),
        wait=False,
    )
    if detach:
        run.out.answer(job.raw, lambda: run.out.say(f"{job.id} is {job.state}; watch it with: modeltap jobs logs -f {job.id}"))
        return
    run.out.note(f"compressing as {job.id}; Ctrl-C lets it go on alone")
    try:
        job = follow_to_end(run.client, run.out, job.id)
    except KeyboardInterrupt:
        raise typer.Exit(report_interrupt(let_go(job.id), as_json=run.out.as_json)) from None
    result = read_answer(job.result or {}, CompressResult)

    def people() -> None:
        is_kept = result.state != "rejected"
        run.out.say(
            f"{result.version} is {'made' if is_kept else 'rejected'}", style="bold green" if is_kept else "bold yellow"
        )
        show_certificate(run.out, result.certificate)
        if is_kept:
            run.out.note(f"next: modeltap deploy {result.version} --name {result.name}")

    run.out.answer({"id": result.version, **result.raw}, people)


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
