"""modeltap usage: what was used, by whom and for how much."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modeltap.cli.invocation import Invocation, command
from modeltap.cli.output import size

if TYPE_CHECKING:
    from modeltap.client.usage import UsageReport, UsageSum

STDOUT = "-"


def register(parent: typer.Typer) -> None:
    command(parent, "usage", example="modeltap usage --by key --by day --since 2026-11-01 --until 2026-12-01")(usage)


def usage(
    run: Invocation,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="Group by key, model, day (UTC), deployment or tenant. May be repeated."),
    ] = None,
    of_key: Annotated[str | None, typer.Option("--of-key", metavar="KEY_ID", help="Of this key alone.")] = None,
    deployment: Annotated[str | None, typer.Option(metavar="NAME", help="Of this deployment alone.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="D", help="From then on: 2026-11-22, or 2026-11-22T05:06:07Z; without a zone UTC.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="D", help="Before then; a date is its first moment.")] = None,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write every record there instead, one a row; - is stdout.")
    ] = None,
) -> None:
    """What was used and what it cost, of the tenant; with the admin key of all tenants, or of --tenant."""
    chosen = {"key": of_key, "deployment": deployment, "since": since, "until": until}
    if csv is not None:
        if by:
            raise typer.BadParameter("records are not grouped; leave out --by or --csv", param_hint="--by")
        _export(run, csv, chosen)
        return
    report = run.client.usage.sums(by or (), **chosen)
    run.out.answer(report.raw, lambda: _show(run, report))


def _export(run: Invocation, target: str, chosen: dict[str, str | None]) -> None:
    from modeltap.cli.transfer import download_bar

    if target == STDOUT:
        if run.out.as_json:
            raise typer.BadParameter("stdout cannot hold both the records and a JSON document", param_hint="--csv")
        for piece in run.client.usage.read_csv(**chosen):
            sys.stdout.write(piece.decode())
        sys.stdout.flush()
        return
    path = Path(target).expanduser()
    with download_bar(run.out, path.name) as on_bytes:
        num_bytes = run.client.usage.write_csv(path, **chosen, on_bytes=on_bytes)
    document = {"name": path.name, "path": str(path), "bytes": num_bytes}
    run.out.answer(document, lambda: run.out.say(f"the records are in {path} ({size(num_bytes)})"))


def _show(run: Invocation, report: UsageReport) -> None:
    if not report.sums:
        run.out.say("Nothing was used" + (f" by the tenant {report.tenant}." if report.tenant else "."))
        return
    dimensions = report.by
    counted = ("requests", "answered", "unit", "units", f"cost ({report.currency})")
    rows = [_row([getattr(one, name) or "–" for name in dimensions], one) for one in report.sums]
    if dimensions and len(rows) > 1:
        rows += [_row(["total", *[""] * (len(dimensions) - 1)], one) for one in report.totals]
    run.out.table((*dimensions, *counted), rows, right=(counted[0], counted[1], counted[3], counted[4]))
    if len(report.totals) > 1:
        run.out.say(f"{report.cost} {report.currency} together", style="bold")


def _row(names: list[Any], one: UsageSum) -> tuple[Any, ...]:
    return (*names, one.requests, one.answered, one.unit, one.units, f"{one.cost:,f}")
