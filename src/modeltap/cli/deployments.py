"""modeltap deploy, undeploy, rollback and deployments: versions behind public names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modeltap.cli.invocation import Invocation, command, noun
from modeltap.cli.limit_options import BudgetDay, BudgetMonth, Concurrency, Rpm, Upm, limits_line, read_limits
from modeltap.cli.moments import when
from modeltap.cli.upstream_options import read_upstream

if TYPE_CHECKING:
    from modeltap.client import Deployment

app = noun("deployments", "See what is behind which public name.")

Name = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="The public name.")]


def register(parent: typer.Typer) -> None:
    command(parent, "deploy", example="modeltap deploy adult@1 --name income")(deploy)
    command(parent, "undeploy", example="modeltap undeploy income")(undeploy)
    command(parent, "rollback", example="modeltap rollback income")(rollback)
    parent.add_typer(app)


def deploy(
    run: Invocation,
    model: Annotated[str, typer.Argument(help="A version: adult@1, adult@champion, or adult for the newest.")] = "",
    name: Annotated[str | None, typer.Option(help="The public name; the model's where none is given.")] = None,
    upstream: Annotated[str | None, typer.Option(metavar="URL", help="Of a server that speaks OpenAI's protocol.")] = None,
    upstream_command: Annotated[
        str | None, typer.Option(metavar="COMMAND", help="That starts such a server, with {port} for its port.")
    ] = None,
    upstream_model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="The model's name there.")] = None,
    key_variable: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="Of the server's environment, with the key for the URL.")
    ] = None,
    pass_variable: Annotated[
        list[str] | None, typer.Option(metavar="VARIABLE", help="Handed on to the command. May be repeated.")
    ] = None,
    context_tokens: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens that the model there reads and writes.")
    ] = None,
    max_streams: Annotated[int | None, typer.Option(min=1, help="Requests at a time that go there.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Also answer /predict without a name.")] = False,
    price: Annotated[
        list[str] | None, typer.Option(metavar="UNIT=AMOUNT", help="What 1,000 units cost: row=0.5. May be repeated.")
    ] = None,
    public: Annotated[bool | None, typer.Option("--public/--no-public", help="Answer without a key.")] = None,
    public_rpm: Rpm = None,
    public_upm: Upm = None,
    public_concurrency: Concurrency = None,
    public_budget_day: BudgetDay = None,
    public_budget_month: BudgetMonth = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Engines that share the work.")] = None,
    isolate: Annotated[bool | None, typer.Option("--isolate/--no-isolate", help="Run in a process of its own.")] = None,
    deadline_ms: Annotated[int | None, typer.Option(min=1, help="Refuse what would be late, and end texts then.")] = None,
    max_batch: Annotated[int | None, typer.Option(min=1, help="Rows that are put together in one run.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Make it public where others reach the server, or take a rejected version.")
    ] = False,
) -> None:
    """Put a version, or with --upstream a server elsewhere, behind a public name. A version must first repeat the answers that
    were recorded when it was trained. What is not said again stays as it was."""
    public_limits = read_limits(
        prefix="public-",
        rpm=public_rpm,
        upm=public_upm,
        concurrency=public_concurrency,
        budget_day=public_budget_day,
        budget_month=public_budget_month,
    )
    elsewhere = read_upstream(
        url=upstream,
        command=upstream_command,
        model=upstream_model,
        key_variable=key_variable,
        variables=pass_variable,
        context_tokens=context_tokens,
        max_streams=max_streams,
    )
    if not (name or model):
        raise typer.BadParameter("name a version, such as adult@1, or with --upstream a public name", param_hint="--name")
    deployment = run.client.deployments.create(
        model,
        name=name or model.partition("@")[0],
        upstream=elsewhere,
        default=default or None,
        price=dict(_price(entry) for entry in price) if price else None,
        public=public,
        public_limits=public_limits or None,
        replicas=replicas,
        isolate=isolate,
        deadline_ms=deadline_ms,
        max_batch=max_batch,
        force=force,
    )

    def people() -> None:
        run.out.say(f"{deployment.name} answers with {_routes(deployment)}", style="bold green")
        if elsewhere is not None:
            run.out.say(f"POST {run.client.url}/v1/chat/completions")
            return
        run.out.say(f"POST {run.client.url}{deployment.url}")
        file = "picture.png" if deployment.task.startswith("image") else "rows.csv"
        run.out.note(f"next: modeltap predict {deployment.name} --input {file}")

    run.out.answer(deployment.raw, people)


def undeploy(run: Invocation, name: Name) -> None:
    """Take a public name away; the version stays."""
    run.client.deployments.remove(name)
    run.out.answer({"name": name, "removed": True}, lambda: run.out.say(f"{name} answers no more"))


def rollback(run: Invocation, name: Name) -> None:
    """Back to the version a name answered with before."""
    deployment = run.client.deployments.rollback(name)
    run.out.answer(deployment.raw, lambda: run.out.say(f"{name} answers with {_routes(deployment)} again"))


@command(app, "list", example="modeltap deployments list")
def list_deployments(run: Invocation) -> None:
    """Every public name and what is behind it."""
    deployments = run.client.deployments.list()

    def people() -> None:
        if not deployments:
            run.out.say("Nothing is deployed. Deploy a version: modeltap deploy MODEL@V --name NAME")
            return
        rows = [
            (d.name, _routes(d), d.status, d.task, f"{run.client.url}{d.url}", "yes" if d.is_default else "")
            for d in deployments
        ]
        run.out.table(("name", "version", "status", "task", "url", "default"), rows)

    run.out.answer({"deployments": [d.raw for d in deployments]}, people)


@command(app, "show", example="modeltap deployments show income")
def show(run: Invocation, name: Name) -> None:
    """One public name: what is behind it, what it takes and gives."""
    from modeltap.cli.version_text import show_signature

    deployment = run.client.deployments.get(name)

    def people() -> None:
        run.out.say(deployment.name, style="bold")
        run.out.facts(
            [
                ("version", _routes(deployment)),
                ("before", ", ".join(f"{r['model']}@{r['version']}" for r in deployment.previous) or None),
                ("status", deployment.status),
                ("reason", deployment.reason or None),
                ("task", deployment.task or None),
                ("url", f"{run.client.url}{deployment.url}"),
                ("default", "yes" if deployment.is_default else None),
                *_terms(deployment),
                ("since", when(deployment.raw.get("updated_at"))),
            ]
        )
        run.out.say()
        show_signature(run.out, deployment.signature or {})

    run.out.answer(deployment.raw, people)


def _terms(deployment: Deployment) -> list[tuple[str, object]]:
    """What is worth saying of how it is served and charged."""
    terms = deployment.terms
    price = ", ".join(f"{amount} for 1,000 {unit}s" for unit, amount in terms.get("price", {}).items() if amount != "0")
    public = f"answers without a key, {limits_line(terms.get('public_limits', {}))}" if terms.get("public") else None
    replicas = terms.get("replicas", 1)
    return [
        ("price", price or None),
        ("public", public),
        ("replicas", replicas if replicas > 1 else None),
        ("isolated", "yes" if terms.get("isolate") else None),
    ]


def _price(entry: str) -> tuple[str, str]:
    unit, equals, amount = entry.partition("=")
    if not equals or not unit or not amount:
        raise typer.BadParameter(f"'{entry}' must be UNIT=AMOUNT, such as row=0.5", param_hint="--price")
    return unit, amount


def _routes(deployment: Deployment) -> str:
    told = []
    for route in deployment.routes:
        share = "" if len(deployment.routes) == 1 else f" {route.get('weight', 1.0):.0%}"
        told.append(f"{route['model']}@{route['version']}{share}")
    return ", ".join(told)
