"""modeltap tenants: who owns things on the server; for the home's admin key."""

from __future__ import annotations

from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command, noun
from modeltap.cli.limit_options import (
    BudgetDay,
    BudgetMonth,
    Concurrency,
    Rpm,
    Upm,
    limits_line,
    need_limits,
    read_limits,
)
from modeltap.cli.moments import when

app = noun("tenants", "Keep those who share the server apart, each with limits of its own.")

Name = Annotated[str, typer.Argument(metavar="TENANT", help="Its name.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@command(app, "create", example="modeltap tenants create acme --rpm 600 --budget-month 500")
def create(
    run: Invocation,
    name: Name,
    rpm: Rpm = None,
    upm: Upm = None,
    concurrency: Concurrency = None,
    budget_day: BudgetDay = None,
    budget_month: BudgetMonth = None,
) -> None:
    """Make a tenant. The limits hold for all of its keys together."""
    limits = read_limits(rpm=rpm, upm=upm, concurrency=concurrency, budget_day=budget_day, budget_month=budget_month)
    tenant = run.client.tenants.create(name, limits=limits)

    def people() -> None:
        run.out.say(f"{tenant.name} is made: {limits_line(tenant.limits)}", style="bold green")
        run.out.note(f"next: modeltap keys create --tenant {tenant.name} --scope admin")

    run.out.answer(tenant.raw, people)


@command(app, "list", example="modeltap tenants list")
def list_tenants(run: Invocation) -> None:
    """Every tenant with its limits."""
    tenants = run.client.tenants.list()

    def people() -> None:
        run.out.table(("name", "limits", "made"), [(t.name, limits_line(t.limits), when(t.created_at)) for t in tenants])

    run.out.answer({"tenants": [t.raw for t in tenants]}, people)


@command(app, "show", example="modeltap tenants show acme")
def show(run: Invocation, name: Name) -> None:
    """One tenant with its limits."""
    tenant = run.client.tenants.get(name)

    def people() -> None:
        run.out.facts([("name", tenant.name), ("limits", limits_line(tenant.limits)), ("made", when(tenant.created_at))])

    run.out.answer(tenant.raw, people)


@command(app, "update", example="modeltap tenants update acme --rpm 1200 --budget-month none")
def update(
    run: Invocation,
    name: Name,
    rpm: Rpm = None,
    upm: Upm = None,
    concurrency: Concurrency = None,
    budget_day: BudgetDay = None,
    budget_month: BudgetMonth = None,
) -> None:
    """Change a tenant's limits, from the next request on. What is not named stays."""
    limits = need_limits(
        read_limits(rpm=rpm, upm=upm, concurrency=concurrency, budget_day=budget_day, budget_month=budget_month)
    )
    tenant = run.client.tenants.update(name, limits=limits)
    run.out.answer(tenant.raw, lambda: run.out.say(f"{tenant.name}: {limits_line(tenant.limits)}"))


@command(app, "remove", example="modeltap tenants remove acme")
def remove(run: Invocation, name: Name) -> None:
    """Remove a tenant that owns nothing; its ended jobs and revoked keys go with it."""
    run.client.tenants.remove(name)
    run.out.answer({"name": name, "removed": True}, lambda: run.out.say(f"{name} is gone"))
