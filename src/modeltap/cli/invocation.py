"""What a command is given: where its output goes and the server it talks to; and how a function becomes a command."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modeltap.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from modeltap.client import Client
    from modeltap.settings import Resolved

Home = Annotated[str | None, typer.Option("--home", metavar="DIR", help="Where a server keeps everything.", show_default=False)]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="A server elsewhere, instead of the home's own.")]
Key = Annotated[str | None, typer.Option("--key", metavar="KEY", help="The key for it; better in MODELTAP_KEY.")]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="T", help="Whom to act for; for the admin key.", show_default=False)
]
Priority = Annotated[
    str | None, typer.Option("--priority", metavar="P", help="low, normal or high: which of your jobs goes first.")
]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads, where the recipe names none.")]
Memory = Annotated[str | None, typer.Option("--memory", metavar="SIZE", help="What the job may use: 4GB. More ends it.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


class Invocation:
    """One run of a command. The client is made, and a server started, only when it is first asked for."""

    def __init__(
        self,
        *,
        as_json: bool,
        home: str | None = None,
        url: str | None = None,
        key: str | None = None,
        tenant: str | None = None,
    ) -> None:
        self.out = Output(as_json=as_json)
        self._home = home
        self._url = url
        self._key = key
        self._tenant = tenant
        self._client: Client | None = None
        self._job_terms: dict[str, str | int] = {}

    def set_job_terms(self, *, priority: str | None, threads: int | None, memory: str | None) -> None:
        """Jobs that this command queues run so. Raises BadParameter, naming the option."""
        from modeltap.domain.sizes import parse_size
        from modeltap.errors import InvalidInput

        if priority is not None:
            if priority not in ("low", "normal", "high"):
                raise typer.BadParameter(f"'{priority}' is none; choose low, normal or high", param_hint="--priority")
            self._job_terms["priority"] = priority
        if threads is not None:
            self._job_terms["threads"] = threads
        if memory is not None:
            try:
                self._job_terms["memory_bytes"] = parse_size(memory)
            except InvalidInput as problem:
                raise typer.BadParameter(problem.message, param_hint="--memory") from None

    def load_settings(self, **flags: Any) -> Resolved:
        """The settings with --home and these flags on top."""
        from modeltap.settings import load_settings

        return load_settings({"home": self._home, **flags})

    @cached_property
    def home(self) -> Path:
        return self.load_settings().settings.home

    @property
    def has_home_flag(self) -> bool:
        """Whether other commands need --home too, to mean the same home."""
        return self._home is not None

    @property
    def client(self) -> Client:
        if self._client is None:
            from modeltap.cli.connect import connect

            self._client = connect(self.home, url=self._url, key=self._key, tenant=self._tenant, note=self.out.note)
            self._client.jobs.ask_for(self._job_terms)
        return self._client

    def awake_client(self) -> Client:
        """The client, of a server that runs: one in the background that ended meanwhile, as nobody asked it anything, is
        started again."""
        from modeltap.cli.connect import find_server
        from modeltap.settings import load_client_settings

        is_own = load_client_settings(self._url, self._key).url is None
        if self._client is not None and is_own and find_server(self.home) is None:
            self.close()
            self._client = None
        return self.client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


Command = Callable[..., None]


def command(
    app: typer.Typer, name: str, *, example: str = "", connects: bool = True, queues: bool = False
) -> Callable[[Command], Command]:
    """Registers a function (invocation, parameters…) as a command that also takes --json, --home and, where it `connects`,
    --url, --key and --tenant, and where it `queues` a job --priority, --threads and --memory. Its docstring is the help;
    `example` is shown below it."""

    def register(function: Command) -> Command:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        terms = {"priority": Priority, "threads": Threads, "memory": Memory} if queues else {}
        shared = {"home": Home, "url": Url, "key": Key, "tenant": Tenant} if connects else {"home": Home}

        def run(context: typer.Context, **values: Any) -> None:
            as_json = values.pop("json") or bool(context.find_root().params.get("json"))
            invocation = Invocation(as_json=as_json, **{name: values.pop(name) for name in shared})
            try:
                if queues:
                    invocation.set_job_terms(**{name: values.pop(name) for name in terms})
                function(invocation, **values)
            finally:
                invocation.close()

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter("context", keyword, annotation=typer.Context),
            *(p.replace(kind=keyword) for p in own),
            *(inspect.Parameter(n, keyword, annotation=hint, default=None) for n, hint in (terms | shared).items()),
            inspect.Parameter("json", keyword, annotation=Json, default=False),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        run.__doc__ = function.__doc__
        app.command(name, epilog=f"Example: {example}" if example else None)(run)
        return function

    return register


def noun(name: str, summary: str) -> typer.Typer:
    """The group of commands about one thing."""
    return typer.Typer(name=name, help=summary, no_args_is_help=False, rich_markup_mode=None)
