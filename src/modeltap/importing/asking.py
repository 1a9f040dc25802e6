"""What a confined process that reads a model from elsewhere finds of it."""

from __future__ import annotations

import subprocess
import sys
from typing import Protocol, TypeVar

import msgspec

from modeltap.engines.confine import bare_environment
from modeltap.errors import Broken, InvalidData

LONGEST_DETAIL = 1000


class Verdict(Protocol):
    """`code` is that of an error, or empty."""

    @property
    def code(self) -> str: ...

    @property
    def detail(self) -> str: ...


V = TypeVar("V", bound=Verdict)


def ask_child(
    module: str, asked: msgspec.Struct, kind: type[V], *, what: str, timeout_s: float, done_with_it: str = "read and tried"
) -> V:
    """What a process that runs the module found of the `what`, a graph or a model. Raises InvalidData where it ended, hung or
    overfilled the process; what it refused is for `refuse` to say."""
    command = [sys.executable, "-P", "-m", module]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=msgspec.json.encode(asked),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env=bare_environment(),
        )
    except subprocess.TimeoutExpired:
        raise InvalidData(f"the {what} was not {done_with_it} within {timeout_s:g} s; it is not imported") from None
    if done.returncode != 0:
        told = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        raise InvalidData(f"the {what} ended the process that read it ({told}); it is not imported")
    try:
        return msgspec.json.decode(done.stdout, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Broken(f"the process that reads {what}s gave no verdict; it is not imported") from None


def refuse(verdict: Verdict) -> None:
    """Nothing, of a model that may be imported. Raises InvalidData with what was found."""
    if verdict.code:
        raise InvalidData(verdict.detail[:LONGEST_DETAIL])
