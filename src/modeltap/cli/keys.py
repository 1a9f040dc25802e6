"""modeltap keys: who may call, for what, and how much."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

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
    show_new_text,
)
from modeltap.cli.moments import when

if TYPE_CHECKING:
    from modeltap.client import Key

app = noun("keys", "Say who may call, for what, and how much.")

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"([1-9][0-9]{0,8})([smhdw])")

Id = Annotated[str, typer.Argument(metavar="KEY_ID", help="A key's id, as the list has it.")]


def register(parent: typer.Typer) -> None:
    parent.add_typer(app)


@command(app, "create", example="modeltap keys create --label shop --model income --rpm 60 --budget-day 12.50 --expires 30d")
def create(
    run: Invocation,
    label: Annotated[str, typer.Option(help="What people call it.", show_default=False)] = "",
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="predict, explain, train or admin. May be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="DEPLOYMENT", help="What it may call; all if none is named. May be repeated.")
    ] = None,
    rpm: Rpm = None,
    upm: Upm = None,
    concurrency: Concurrency = None,
    budget_day: BudgetDay = None,
    budget_month: BudgetMonth = None,
    expires: Annotated[str | None, typer.Option(metavar="SPAN", help="When it ends: 12h, 30d, 8w; never if not said.")] = None,
) -> None:
    """Make a key for a caller; it may predict unless scopes say otherwise. Its text is shown once."""
    limits = read_limits(rpm=rpm, upm=upm, concurrency=concurrency, budget_day=budget_day, budget_month=budget_month)
    made = run.client.keys.create(
        label=label,
        scopes=scope or ["predict"],
        models=model or None,
        limits=limits,
        expires_in=None if expires is None else parse_span(expires, "--expires"),
    )

    def people() -> None:
        show_new_text(run.out, made.key)
        _show(run, made)

    run.out.answer(made.raw, people)


@command(app, "list", example="modeltap keys list")
def list_keys(run: Invocation) -> None:
    """Every key of the tenant, the newest first."""
    keys = run.client.keys.list()

    def people() -> None:
        if not keys:
            run.out.say("No keys but the home's own. Make one: modeltap keys create")
            return
        rows = [
            (k.id, k.label, k.state, ", ".join(k.scopes), _models(k), limits_line(k.limits), when(k.expires_at)) for k in keys
        ]
        run.out.table(("id", "label", "state", "scopes", "models", "limits", "expires"), rows)

    run.out.answer({"keys": [k.raw for k in keys]}, people)


@command(app, "show", example="modeltap keys show k3y1d4b2c5e6")
def show(run: Invocation, key_id: Id) -> None:
    """One key: what it may do and how much; never its text."""
    key = run.client.keys.get(key_id)
    run.out.answer(key.raw, lambda: _show(run, key))


@command(app, "update", example="modeltap keys update k3y1d4b2c5e6 --rpm 120 --budget-day none")
def update(
    run: Invocation,
    key_id: Id,
    rpm: Rpm = None,
    upm: Upm = None,
    concurrency: Concurrency = None,
    budget_day: BudgetDay = None,
    budget_month: BudgetMonth = None,
) -> None:
    """Change a key's limits, from the next request on. What is not named stays."""
    limits = need_limits(
        read_limits(rpm=rpm, upm=upm, concurrency=concurrency, budget_day=budget_day, budget_month=budget_month)
    )
    key = run.client.keys.update(key_id, limits=limits)
    run.out.answer(key.raw, lambda: run.out.say(f"{key.id}: {limits_line(key.limits)}"))


@command(app, "rotate", example="modeltap keys rotate k3y1d4b2c5e6 --grace 1h")
def rotate(
    run: Invocation,
    key_id: Id,
    grace: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="How long the text before it still opens; 0s for not at all.", show_default="24h"),
    ] = None,
) -> None:
    """Give a key a new text, shown once; the one before it goes on for a while."""
    span = None if grace is None else timedelta() if grace == "0s" else parse_span(grace, "--grace")
    key = run.client.keys.rotate(key_id, grace=span)

    def people() -> None:
        show_new_text(run.out, key.key)
        old = key.secrets[1:]
        if old:
            run.out.note(f"the text before it opens until {when(old[0].get('expires_at'))}")

    run.out.answer(key.raw, people)


@command(app, "revoke", example="modeltap keys revoke k3y1d4b2c5e6")
def revoke(run: Invocation, key_id: Id) -> None:
    """Let a key open nothing from now on. What it used stays on record."""
    key = run.client.keys.revoke(key_id)
    run.out.answer(key.raw, lambda: run.out.say(f"{key.id} is revoked"))


def parse_span(text: str, option: str) -> timedelta:
    """12h, 30d, 8w."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"'{text}' must be a number and one of s, m, h, d, w, such as 30d", param_hint=option)
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _show(run: Invocation, key: Key) -> None:
    run.out.facts(
        [
            ("id", key.id),
            ("label", key.label or None),
            ("tenant", key.tenant),
            ("state", key.state),
            ("scopes", ", ".join(key.scopes)),
            ("models", _models(key)),
            ("limits", limits_line(key.limits)),
            ("made", when(key.created_at)),
            ("expires", when(key.expires_at)),
            ("revoked", when(key.revoked_at)),
        ]
    )


def _models(key: Key) -> str:
    return "all" if key.models is None else ", ".join(key.models)
