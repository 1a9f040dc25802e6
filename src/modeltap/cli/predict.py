"""modeltap predict: ask a deployment."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from modeltap.cli.invocation import Invocation, command


def register(parent: typer.Typer) -> None:
    command(parent, "predict", example="modeltap predict income --input rows.csv")(predict)


def predict(
    run: Invocation,
    deployment: Annotated[str, typer.Argument(help="The public name.")],
    source: Annotated[
        str, typer.Option("--input", "-i", metavar="FILE", help="CSV, TSV, JSON, JSON Lines, Parquet or a picture; - is stdin.")
    ],
) -> None:
    """Ask a deployment: one answer a line."""
    from modeltap.cli.prediction_input import read_input
    from modeltap.client.predicting import send

    content, content_type = read_input(source)
    answer = send(run.client.transport, deployment, content, content_type)

    def people() -> None:
        for one in answers_of(answer):
            run.out.say(answer_line(one))

    run.out.answer({"deployment": deployment, **answer}, people)


def answers_of(answer: dict[str, Any]) -> list[Any]:
    """The answers in any of the plain dialect's shapes."""
    if "predictions" in answer:
        return list(answer["predictions"])
    if isinstance(answer.get("outputs"), dict):
        columns = answer["outputs"]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    value = next((v for name, v in answer.items() if name not in ("model", "id")), None)
    return value if isinstance(value, list) else [value]


def answer_line(answer: Any) -> str:
    """`label  0.973` of a classifier; numbers and texts as they are; anything else as JSON."""
    import msgspec

    from modeltap.cli.output import number

    if isinstance(answer, dict) and "label" in answer and isinstance(answer.get("score"), (int, float)):
        return f"{answer['label']}  {answer['score']:.4f}"
    if isinstance(answer, bool) or not isinstance(answer, (int, float, str)):
        return msgspec.json.encode(answer).decode()
    return answer if isinstance(answer, str) else number(answer).replace(",", "")
