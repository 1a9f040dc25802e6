"""Every way a command can fail → one or two lines on stderr, or one JSON document on stdout, and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import typer

from modeltap.cli.output import Output, write_json
from modeltap.errors import ModeltapError

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
MAX_FIELDS = 10


def wants_json(args: Sequence[str]) -> bool:
    """Whether --json is among the arguments; also where they are wrong otherwise."""
    before = args[: list(args).index("--")] if "--" in args else args
    return "--json" in before


def report_usage(problem: typer.TyperException, *, as_json: bool) -> int:
    """Says what is wrong with the arguments and where help is."""
    context = getattr(problem, "ctx", None)
    where = context.command_path if context is not None else "modeltap"
    detail = problem.format_message()
    if as_json:
        write_json(
            {"error": {"code": "usage", "title": "The command is not right", "detail": f"{where}: {detail}"}}, sys.stdout
        )
    else:
        _error(f"{where}: {detail}")
        Output(as_json=False).note(f"Try: {where} --help")
    return int(getattr(problem, "exit_code", WRONG_USAGE))


def report_failure(problem: ModeltapError, *, as_json: bool) -> int:
    """Says what failed; the message of a named error says what to do."""
    if as_json:
        write_json({"error": problem.facts()}, sys.stdout)
        return FAILED
    _error(problem.message)
    if len(problem.fields) > 1:
        for where, what in problem.fields[:MAX_FIELDS]:
            Output(as_json=False).note(f"  {where}: {what}", style="")
    return FAILED


def report_interrupt(detail: str = "interrupted", *, as_json: bool) -> int:
    """Says that a person pressed Ctrl-C, and what that means."""
    if as_json:
        write_json({"error": {"code": "interrupted", "title": "Interrupted", "detail": detail}}, sys.stdout)
    else:
        Output(as_json=False).note(f"\n{detail}", style="")
    return INTERRUPTED


def report_unexpected(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> Any:
    """sys.excepthook: one line for what nobody named; the whole trace with MODELTAP_DEBUG=1."""
    if os.environ.get("MODELTAP_DEBUG"):
        traceback.print_exception(kind, problem, trace)
    first = str(problem).strip().partition("\n")[0]
    detail = f"unexpected {kind.__name__}{f': {first}' if first else ''}; run again with MODELTAP_DEBUG=1 to see where"
    if wants_json(sys.argv[1:]):
        write_json({"error": {"code": "internal", "title": "An unexpected failure", "detail": detail}}, sys.stdout)
    else:
        _error(detail)


def _error(text: str) -> None:
    output = Output(as_json=False)
    output.note(f"Error: {text}", style="bold red" if len(text) < 200 else "red")
