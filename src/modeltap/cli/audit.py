"""modeltap audit: the proof that the books are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from modeltap.cli.failures import FAILED
from modeltap.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from modeltap.client.usage import Audit


def register(parent: typer.Typer) -> None:
    command(parent, "audit", example="modeltap audit")(audit)


def audit(run: Invocation) -> None:
    """Check every usage record. None may be missing or doubled, and no limit passed; exit code 1 if one is."""
    found = run.client.usage.audit()
    run.out.answer(found.raw, lambda: _show(run, found))
    if not found.is_clean:
        raise typer.Exit(FAILED)


def _show(run: Invocation, found: Audit) -> None:
    checked = (
        f"{found.num_records:,} records of {found.num_writers:,} server starts,"
        f" and the limits of {found.num_subjects:,} keys and tenants"
    )
    if found.is_clean:
        run.out.say(f"clean: {checked}", style="bold green")
    else:
        num_findings = len(found.findings)
        run.out.say(f"not clean: {num_findings:,} finding{'s' * (num_findings != 1)} in {checked}", style="bold red")
    for finding in found.findings:
        run.out.say(f"  {finding.of}: {finding.detail}")
        run.out.say(f"    {finding.advice}", style="dim")
    if found.unknown:
        run.out.note(
            f"of {sum(found.unknown.values()):,} answers it is not known whether they arrived: the server was killed, or the"
            " connection broke; they are charged"
        )
