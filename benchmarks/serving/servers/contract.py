"""What a measured server has to offer, and what it is given to start."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.serving.graph import Floats
from benchmarks.serving.wire import Form


@dataclass(frozen=True)
class Run:
    """One start of one server: an empty folder, the graph, a row and what it is answered."""

    scratch: Path
    graph: Path
    row: Floats
    expected: Floats


@dataclass(frozen=True)
class Endpoint:
    """Where a started server answers, and how it is asked: by "json", and by "binary" where it takes that.

    `refused` are forms that it should take and does not answer right, with what it said.
    """

    port: int
    forms: Mapping[str, Form]
    refused: Mapping[str, str]
    pid: int


class Server(Protocol):
    """Something that serves the graph over HTTP."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str:
        """How it is set up, in a few words."""

    def versions(self) -> str:
        """What is installed, as a list for people; installs it first where it is not. Raises CannotInstall."""

    def start(self, run: Run) -> AbstractContextManager[Endpoint]:
        """The endpoint, which answers right when it is handed over. Raises CannotInstall, DidNotStart."""
