"""modeltap up: run a server in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modeltap.cli.invocation import Invocation, command

if TYPE_CHECKING:
    from modeltap.cli.output import Output
    from modeltap.client.discovery import ServerFile

TAKE_OVER_LIMIT_S = 30.0
POLL_S = 0.05


def register(parent: typer.Typer) -> None:
    command(parent, "up", example="modeltap up --port 8000", connects=False)(up)


def up(
    run: Invocation,
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.", show_default="8000")] = None,
    grpc_port: Annotated[int | None, typer.Option(min=0, max=65535, help="The one above the port if not given.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes that serve the port.")] = None,
    database_url: Annotated[str | None, typer.Option(metavar="URL", help="Of a PostgreSQL server.")] = None,
    artifacts_url: Annotated[str | None, typer.Option(metavar="URL", help="s3://BUCKET/PREFIX of all artifacts.")] = None,
    artifacts_cache_bytes: Annotated[int | None, typer.Option(min=1, help="Of a bucket's, on the disk.")] = None,
    durability: Annotated[str | None, typer.Option(help="What usage records survive: process or power.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of prices and budgets.", show_default="EUR")] = None,
    model_memory_bytes: Annotated[int | None, typer.Option(min=1, help="Of loaded models together.")] = None,
    unload_after_s: Annotated[float | None, typer.Option(help="Without a call, until a model is unloaded.")] = None,
    cors_origins: Annotated[str | None, typer.Option(help="Of pages that may call, separated by commas.")] = None,
    trusted_proxies: Annotated[str | None, typer.Option(help="Whose X-Forwarded-* headers are believed.")] = None,
    shared_memory: Annotated[
        bool | None,
        typer.Option(help="Take tensors in the memory of this machine.", show_default="where only this machine calls"),
    ] = None,
    upstream_hosts: Annotated[str | None, typer.Option(help="That deployments may lead to, separated by commas.")] = None,
    upstream_programs: Annotated[str | None, typer.Option(help="That deployments may start.")] = None,
    job_slots: Annotated[int | None, typer.Option(min=1, help="Jobs that run at a time.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of a training process.")] = None,
    job_threads: Annotated[int | None, typer.Option(min=1, help="Of all jobs together.")] = None,
    job_memory_bytes: Annotated[int | None, typer.Option(min=1, help="Of a job that names no limit.")] = None,
    checkpoint_every_s: Annotated[float | None, typer.Option(min=0, help="How often a training keeps its place.")] = None,
    max_body_bytes: Annotated[int | None, typer.Option(min=1, help="Of a prediction or control request.")] = None,
    max_upload_bytes: Annotated[int | None, typer.Option(min=1, help="Of a dataset.")] = None,
    import_sandbox: Annotated[str | None, typer.Option(help="Of imports, at least: limits, no-network or no-writes.")] = None,
    explain_max_rows: Annotated[int | None, typer.Option(min=1, help="That an engine runs for one explanation.")] = None,
    explain_max_instances: Annotated[int | None, typer.Option(min=1, help="Rows that one call may have explained.")] = None,
    explain_deadline_s: Annotated[float | None, typer.Option(help="Until explanations are stopped.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Serve https with this certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key.")] = None,
    insecure_public_bind: Annotated[
        bool, typer.Option("--insecure-public-bind", help="Serve other machines without TLS.")
    ] = False,
    idle_exit_s: Annotated[float | None, typer.Option(min=0, help="End after so many seconds without work.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the server in the foreground. Ctrl-C ends it; jobs are taken up again at the next start."""
    serve_home(
        run,
        host=host,
        port=port,
        grpc_port=grpc_port,
        workers=workers,
        database_url=database_url,
        artifacts_url=artifacts_url,
        artifacts_cache_bytes=artifacts_cache_bytes,
        durability=durability,
        currency=currency,
        model_memory_bytes=model_memory_bytes,
        unload_after_s=unload_after_s,
        cors_origins=cors_origins,
        trusted_proxies=trusted_proxies,
        shared_memory=shared_memory,
        upstream_hosts=upstream_hosts,
        upstream_programs=upstream_programs,
        job_slots=job_slots,
        threads=threads,
        job_threads=job_threads,
        job_memory_bytes=job_memory_bytes,
        checkpoint_every_s=checkpoint_every_s,
        max_body_bytes=max_body_bytes,
        max_upload_bytes=max_upload_bytes,
        import_sandbox=import_sandbox,
        explain_max_rows=explain_max_rows,
        explain_max_instances=explain_max_instances,
        explain_deadline_s=explain_deadline_s,
        tls_cert=tls_cert,
        tls_key=tls_key,
        insecure_public_bind=insecure_public_bind or None,
        idle_exit_s=idle_exit_s,
        log_level=log_level,
    )


def serve_home(run: Invocation, **flags: Any) -> None:
    """Serves the home in this process until it is told to end; a background server makes room first.

    With --json the document tells the URL, unless the command has answered already.
    """
    resolved = run.load_settings(**flags)
    take_over(run.home, run.out)
    from modeltap.wiring import run_server

    if run.out.as_json and not run.out.has_answered:
        threading.Thread(target=_announce, args=(run.home, run.out), daemon=True).start()
    with redirect_stdout(sys.stderr) if run.out.as_json else nullcontext():
        run_server(resolved)


def take_over(home: Path, out: Output) -> None:
    """Asks a server that was started in the background to end, so that this one can have the home.

    Raises HomeInUse where it does not end in time. A server that a person started is left alone.
    """
    from modeltap.cli.connect import find_server
    from modeltap.errors import HomeInUse

    server = find_server(home)
    if server is None or not server.background or not _is_ours(home, server):
        return
    out.note("the background server ends, this one takes over …")
    os.kill(server.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + TAKE_OVER_LIMIT_S
    while _is_held(home):
        if time.monotonic() > deadline_s:
            raise HomeInUse(f"the background server (process {server.pid}) does not end; stop it, and try again")
        time.sleep(POLL_S)


def _is_ours(home: Path, server: ServerFile) -> bool:
    """Whether the process is the one that answers with the home's own key."""
    from modeltap.client import Client
    from modeltap.client.discovery import read_key
    from modeltap.errors import ModeltapError

    try:
        with Client(server.url, read_key(home)) as client:
            return client.server().pid == server.pid
    except ModeltapError:
        return False


def _is_held(home: Path) -> bool:
    from modeltap.errors import HomeInUse
    from modeltap.jobs.lock import HomeLock

    try:
        HomeLock.acquire(home).release()
    except HomeInUse:
        return True
    return False


def _announce(home: Path, out: Output) -> None:
    """Prints the one JSON document once this process serves."""
    from modeltap.client.discovery import read_server_file

    while True:
        server = read_server_file(home)
        if server is not None and server.pid == os.getpid():
            out.answer({"name": "modeltap", "url": server.url, "pid": server.pid, "home": str(home)}, lambda: None)
            return
        time.sleep(POLL_S)
