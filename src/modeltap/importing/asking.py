"""What a confined process that reads a model from elsewhere finds of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from modeltap.errors import Broken, InvalidData
from modeltap.importing.sandbox import run_confined, scratch_beside
from modeltap.importing.sandbox_walls import Confinement

LONGEST_DETAIL = 1000


class Request(Protocol):
    """What every such process is told, besides what is for its kind alone. It writes into `folder`, and nowhere else."""

    @property
    def folder(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def processor_s(self) -> int: ...


class Verdict(Protocol):
    """`code` is that of an error, or empty."""

    @property
    def code(self) -> str: ...

    @property
    def detail(self) -> str: ...


V = TypeVar("V", bound=Verdict)


def ask_child(
    module: str,
    asked: Request,
    kind: type[V],
    *,
    what: str,
    timeout_s: float,
    done_with_it: str = "read and tried",
    resident_bytes: int | None = None,
) -> V:
    """What a confined process that runs the module's `main` found of the `what`, a graph or a model. Raises InvalidData where
    it ended, hung or overfilled the process; what it refused is for `refuse` to say."""
    folder = Path(asked.folder)
    with scratch_beside(folder) as scratch:
        confinement = Confinement(
            folders=[str(folder), str(scratch)],
            outside=str(folder.parent),
            memory_bytes=asked.memory_bytes,
            processor_s=asked.processor_s,
            parent_pid=os.getpid(),
        )
        request = msgspec.json.encode(asked)
        ended = run_confined(module, confinement, request, scratch=scratch, timeout_s=timeout_s, resident_bytes=resident_bytes)
    if ended.is_too_large:
        raise InvalidData(f"the {what} takes more memory than it may: its file is far smaller than what it asks for")
    if ended.is_too_long:
        raise InvalidData(f"the {what} made the process that read it talk without an end; it is not imported")
    if ended.status is None:
        raise InvalidData(f"the {what} was not {done_with_it} within {timeout_s:g} s; it is not imported")
    if ended.status != 0:
        told = f"signal {-ended.status}" if ended.status < 0 else f"exit status {ended.status}"
        raise InvalidData(f"the {what} ended the process that read it ({told}); it is not imported")
    try:
        return msgspec.json.decode(ended.answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Broken(f"the process that reads {what}s gave no verdict; it is not imported") from None


def refuse(verdict: Verdict) -> None:
    """Nothing, of a model that may be imported. Raises InvalidData with what was found."""
    if verdict.code:
        raise InvalidData(verdict.detail[:LONGEST_DETAIL])
