"""What `modeltap deploy` is told of a server elsewhere, as a request has it."""

from __future__ import annotations

import shlex
from typing import Any

import typer


def read_upstream(*, url: str | None, command: str | None, **more: Any) -> dict[str, Any] | None:
    """The fields that were given; None where no server elsewhere is meant."""
    said = {name: value for name, value in more.items() if value not in (None, [])}
    if url is None and command is None:
        if said:
            names = ", ".join(sorted(said))
            raise typer.BadParameter(f"{names}: of a server elsewhere alone", param_hint="--upstream or --upstream-command")
        return None
    if url is not None:
        said["url"] = url
    if command is not None:
        try:
            said["command"] = shlex.split(command)
        except ValueError as problem:
            raise typer.BadParameter(f"the command cannot be read: {problem}", param_hint="--upstream-command") from None
    return said
