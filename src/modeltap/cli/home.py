"""modeltap gc, backup and restore: keeping a home in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modeltap.cli.invocation import Invocation, command
from modeltap.cli.output import size


def register(parent: typer.Typer) -> None:
    command(parent, "gc", example="modeltap gc")(gc)
    command(parent, "backup", example="modeltap backup modeltap.tar")(backup)
    command(parent, "restore", example="modeltap restore modeltap.tar --home ~/restored", connects=False)(restore)


def gc(
    run: Invocation,
    grace_s: Annotated[float, typer.Option(min=0, help="Younger files are kept: they may be in use soon.")] = 3600.0,
) -> None:
    """Remove stored files that nothing refers to."""
    freed = run.client.gc(grace_s=grace_s)

    def people() -> None:
        run.out.say(f"removed {freed['removed']:,} files, {size(freed['freed_bytes'])}; kept {freed['kept']:,}")

    run.out.answer({"name": "gc", **freed}, people)


def backup(run: Invocation, path: Annotated[str, typer.Argument(help="The tar file to write.")]) -> None:
    """Write the whole home to one file. Data, models, deployments, usage and the admin key, while the server runs."""
    from modeltap.cli.transfer import download_bar

    target = Path(path).expanduser()
    with download_bar(run.out, target.name) as on_bytes:
        num_bytes = run.client.backup(target, on_bytes=on_bytes)

    def people() -> None:
        run.out.say(f"the backup is in {target} ({size(num_bytes)})")
        run.out.note("it holds the admin key: keep it safe")

    run.out.answer({"name": target.name, "path": str(target), "bytes": num_bytes}, people)


def restore(run: Invocation, path: Annotated[str, typer.Argument(help="A file that `modeltap backup` wrote.")]) -> None:
    """Make a new home from a backup. The home must be empty."""
    from modeltap.cli.connect import find_server
    from modeltap.errors import HomeInUse, InvalidData
    from modeltap.storage.backup import restore_backup

    if find_server(run.home) is not None:
        raise HomeInUse(f"a server runs on {run.home}; restore into another home with --home")
    try:
        with Path(path).expanduser().open("rb") as source:
            manifest = restore_backup(source, run.home)
    except FileNotFoundError:
        raise InvalidData(f"there is no file '{path}'") from None
    except (PermissionError, IsADirectoryError) as problem:
        raise InvalidData(f"'{path}' cannot be read: {problem.strerror}") from None
    num_files = len(manifest.files)
    document = {"name": str(run.home), "home": str(run.home), "files": num_files}
    run.out.answer(document, lambda: run.out.say(f"{run.home} holds the backup now ({num_files:,} files)"))
