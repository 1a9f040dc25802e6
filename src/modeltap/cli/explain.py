"""modeltap explain: why a deployment answers as it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modeltap.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from modeltap.client.explaining import Explained, Explanations

MAX_WORDS = 12
"""Of a text that are listed; the page shows all."""
BAR = 16
"""Characters of the longest bar."""


def register(parent: typer.Typer) -> None:
    command(parent, "explain", example="modeltap explain income --input rows.csv --html why.html")(explain)


def explain(
    run: Invocation,
    deployment: Annotated[str, typer.Argument(help="The public name.")],
    source: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="CSV, TSV, JSON, JSON Lines, Parquet or a picture; - is stdin."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="shapley, occlusion or rise, as the model allows.")] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="That an engine may run for each explanation.")] = None,
    label: Annotated[str | None, typer.Option("--class", metavar="CLASS", help="To explain; else the predicted one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn; the same gives the same explanation.")] = 0,
    timeout_s: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    png: Annotated[str | None, typer.Option(metavar="FILE", help="Write the picture under its heat map there.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page that shows all of it.")] = None,
    in_all: Annotated[bool, typer.Option("--global", help="What each column is worth in all, from its evaluation.")] = False,
) -> None:
    """Explain answers: by columns, pixels or words. Each explanation says how true it is to the model, and is charged by the
    rows that were run for it."""
    if in_all == (source is not None):
        raise typer.BadParameter("give rows with --input, or --global for the model as a whole", param_hint="--input")
    if in_all:
        _show_global(run, deployment)
        return
    from modeltap.cli.prediction_input import read_input
    from modeltap.client.explaining import send

    assert source is not None
    content, content_type = read_input(source)
    asked = {"method": method, "rows": rows, "class": label, "seed": seed or None, "timeout_s": timeout_s}
    told = send(run.client.transport, deployment, content, content_type, asked)
    if png is not None:
        _write_pictures(run, png, told)
    if html is not None:
        from modeltap.explain.page import explanations_page

        _write(html, explanations_page(told.raw, deployment=deployment).encode())
        run.out.note(f"the page is in {html}")

    def people() -> None:
        for number, one in enumerate(told, start=1):
            if number > 1:
                run.out.say()
            _show(run, one, number if len(told) > 1 else 0)
        run.out.note(_receipt(told))

    run.out.answer({"deployment": deployment, **told.raw}, people)


def _show(run: Invocation, one: Explained, number: int) -> None:
    from modeltap.cli.output import number as shown

    what = shown(one.answer) if one.label is None else f"{one.label}  {one.answer:.4f}"
    run.out.say(f"row {number}: {what}" if number else what, style="bold")
    if one.base is not None:
        run.out.say(f"without any of it: {shown(one.base) if one.label is None else format(one.base, '.4f')}")
    if one.values:
        most = max(abs(value["shapley"]) for value in one.values) or 1.0
        run.out.table(
            ("column", "value", "moves the answer by", "±", ""),
            [
                (v["column"], _cell(v["value"]), f"{v['shapley']:+.4g}", _error(v), _bar(v["shapley"] / most))
                for v in one.values
            ],
            right=("moves the answer by", "±"),
        )
    if one.words:
        scored = sorted(one.words, key=lambda word: -abs(word["score"]))[:MAX_WORDS]
        most = max(abs(word["score"]) for word in scored) or 1.0
        run.out.table(
            ("word", "moves the answer by", ""),
            [(word["text"], f"{word['score']:+.4g}", _bar(word["score"] / most)) for word in scored],
            right=("moves the answer by",),
        )
    told = one.fidelity
    areas = ", ".join(
        f"{name} {'–' if told[key] is None else format(told[key], '.3f')}"
        for name, key in (("deletion", "deletion_auc"), ("insertion", "insertion_auc"), ("random order", "random_auc"))
    )
    gap = told.get("additivity_gap")
    run.out.say(f"fidelity: {areas}{'' if gap is None else f'; the values miss the answer by {gap:.2g}'}", style="dim")


def _show_global(run: Invocation, deployment: str) -> None:
    from modeltap.errors import NotFound

    found = run.client.deployments.get(deployment)
    route = found.routes[0] if found.routes else {}
    ref = f"{route.get('model')}@{route.get('version')}"
    importance: list[dict[str, Any]] = (run.client.models.get(ref).evaluation or {}).get("importance") or []
    if not importance:
        raise NotFound(
            f"{ref} has no importance of columns on record: it is no table's model, or was evaluated before that was measured;"
            f" 'modeltap evaluate {ref} --report FILE' measures it now"
        )

    def people() -> None:
        most = max(one["loss"] for one in importance) or 1.0
        run.out.say(f"{ref}: by how much the {importance[0]['metric']} is worse without what a column says", style="bold")
        run.out.table(
            ("column", "worse by", "±", ""),
            [(i["column"], f"{i['loss']:.4g}", f"{i['spread']:.2g}", _bar(max(i["loss"], 0) / most)) for i in importance],
            right=("worse by", "±"),
        )

    run.out.answer({"deployment": deployment, "model": ref, "importance": importance}, people)


def _write_pictures(run: Invocation, path: str, told: Explanations) -> None:
    """One file, or NAME-1.png, NAME-2.png, … of several pictures. Raises InvalidInput where there is no picture."""
    from modeltap.errors import InvalidInput

    if not all(one.png for one in told):
        raise InvalidInput("--png is for pictures, and these are none; write a page with --html")
    for number, one in enumerate(told, start=1):
        target = Path(path)
        place = path if len(told) == 1 else str(target.with_name(f"{target.stem}-{number}{target.suffix}"))
        _write(place, one.png)
        run.out.note(f"the picture is in {place}")


def _write(path: str, content: bytes) -> None:
    from modeltap.errors import StorageFailed

    try:
        Path(path).expanduser().write_bytes(content)
    except OSError as problem:
        raise StorageFailed(f"'{path}' cannot be written: {problem.strerror or problem}") from None


def _receipt(told: Explanations) -> str:
    cost = f", charged {told.cost}" if told.cost else ""
    return f"{told.model}: {told.rows:,} rows run{cost}"


def _cell(value: Any) -> Any:
    return "–" if value is None else value


def _error(value: dict[str, Any]) -> str:
    return "–" if value["error"] is None else f"{value['error']:.2g}"


def _bar(share: float) -> str:
    """`▌▌▌` to the right for what speaks for the answer, with a minus before it for what speaks against."""
    length = round(abs(share) * BAR)
    return ("" if share >= 0 else "−") + "█" * length
