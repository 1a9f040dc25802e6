"""The processes of trials: started, heard, answered and ended by the runner of their search.

Each is forked from a process that loaded the libraries once, which saves a trial seconds and most of its memory.
"""

from __future__ import annotations

import importlib
import multiprocessing
import selectors
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from modeltap.runner.trial import work
from modeltap.storage.disk import disk_failures

WORK = "modeltap.runner.trial"
LOADED: dict[str, tuple[str, ...]] = {
    "network": ("modeltap.training.network", "torch._inductor"),
    "boosting": ("modeltap.training.boosting",),
}
"""By the family of architectures: what its trials load. The second is what torch loads when it is first told to be
deterministic."""
Messages = list[dict[str, Any]]


def load_beside(families: Sequence[str]) -> None:
    """What makes a model of a trial's weights is loaded here, too, while trials run. The thread is no daemon: a library that is
    half loaded when the process ends may take it down."""
    modules = [LOADED[family][0] for family in families if family == "network"]
    threading.Thread(target=lambda: [importlib.import_module(module) for module in modules], name="loading").start()


class TrialProcess:
    """One trial that runs. It belongs to the runner's process group, and ends when the runner does."""

    def __init__(self, context: multiprocessing.context.ForkServerContext, number: int, folder: Path, *, again: bool) -> None:
        """Raises StorageFailed."""
        self.number = number
        self.fraction = 0.0
        with disk_failures("starting a trial"):
            try:
                self.pipe, self._process = self._fork(context, folder, again=again)
            except (EOFError, ConnectionError):  # what trials are forked from was killed; there is a new one the next time
                self.pipe, self._process = self._fork(context, folder, again=again)

    def _fork(
        self, context: multiprocessing.context.ForkServerContext, folder: Path, *, again: bool
    ) -> tuple[Connection, multiprocessing.context.ForkServerProcess]:
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(str(folder), theirs, again), name=f"trial {self.number}")
        process.start()
        theirs.close()
        return ours, process

    def read(self) -> Messages | None:
        """What it told since the last look; None once it tells no more."""
        messages: Messages = []
        try:
            while self.pipe.poll():
                messages.append(msgspec.json.decode(self.pipe.recv_bytes()))
        except (EOFError, OSError):
            return messages or None
        return messages

    def answer(self, word: bytes) -> None:
        with suppress(OSError):  # it died; its end is seen when it is read next
            self.pipe.send_bytes(word)

    def stop(self) -> int | None:
        """It has ended, at a checkpoint; its exit status."""
        self._process.terminate()
        return self.close()

    def close(self) -> int | None:
        """Waits for its end, also where it waits for an answer: the exit status, or minus the signal that killed it."""
        self.pipe.close()
        self._process.join()
        return self._process.exitcode


class TrialProcesses:
    """All trials that run."""

    def __init__(self, families: Sequence[str]) -> None:
        """`families`: of the architectures that are trained."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([WORK, *(module for family in families for module in LOADED[family])])
        self._selector = selectors.DefaultSelector()
        self.running: dict[int, TrialProcess] = {}

    def start(self, number: int, folder: Path, *, again: bool) -> None:
        """`again`: after its process was killed. Raises StorageFailed."""
        process = TrialProcess(self._context, number, folder, again=again)
        self.running[number] = process
        self._selector.register(process.pipe, selectors.EVENT_READ, process)

    def wait(self, seconds: float) -> Iterator[tuple[TrialProcess, Messages | None]]:
        """Those that told something meanwhile, with what; None where one tells no more."""
        for key, _ in self._selector.select(seconds):
            process: TrialProcess = key.data
            yield process, process.read()

    def close(self, process: TrialProcess) -> int | None:
        """The exit status of one that tells no more."""
        self._forget(process)
        return process.close()

    def stop(self, process: TrialProcess) -> None:
        """It has ended, at a checkpoint."""
        self._forget(process)
        process.stop()

    def stop_all(self) -> None:
        """The same of all, side by side."""
        for process in self.running.values():
            process.pipe.close()
        for process in tuple(self.running.values()):
            del self.running[process.number]
            process.stop()
        self._selector.close()

    def _forget(self, process: TrialProcess) -> None:
        self._selector.unregister(process.pipe)
        del self.running[process.number]
