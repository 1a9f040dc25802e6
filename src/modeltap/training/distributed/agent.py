"""torch's elastic agent on one machine, without a port: it starts the training processes, and all of them again when one dies.

While it watches them, what the first one tells is handed on, and a wish to stop is handed to them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader

import msgspec
from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

from modeltap.domain.progress import Progress
from modeltap.errors import RanksLost
from modeltap.faults import CRASH_VARIABLE
from modeltap.training.distributed.files import Heard, RanksFolder, Told

LOST_IN_A_ROW = 5
"""Starts that got no further than the one before them, after which there is no other."""
WATCH_EVERY_S = 0.1
SIGNALS = "TORCHELASTIC_SIGNALS_TO_HANDLE"
LOGGER = "torch.distributed.elastic"

_log = logging.getLogger(__name__)


class OneMachine(RendezvousHandler):
    """The meeting of all agents, of which there is one. The processes find each other by a file."""

    def get_backend(self) -> str:
        return "one-machine"

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(HashStore(), 0, 1, RendezvousStoreInfo("localhost", 0))

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody else would come."""

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return "ranks"

    def shutdown(self) -> bool:
        return True


class Agent(LocalElasticAgent):
    """`launch` runs the processes to their end, or as far as they come."""

    def __init__(
        self,
        folder: RanksFolder,
        *,
        processes: int,
        heard: Heard,
    ) -> None:
        place = str(folder.path).replace("$", "$$")  # the launcher fills in names that follow a $
        spec = WorkerSpec(
            role="rank",
            local_world_size=processes,
            rdzv_handler=OneMachine(),
            entrypoint=sys.executable,
            args=("-P", "-m", "modeltap.training.rank", place, "--runner", str(os.getpid())),
            max_restarts=LOST_IN_A_ROW - 1,
            monitor_interval=WATCH_EVERY_S,
        )
        super().__init__(spec, DefaultLogsSpecs(log_dir=str(folder.logs)))
        self._folder, self._num_ranks = folder, processes
        self._report, self._saved, self._stop_requested = heard.report, heard.saved, heard.stop_requested
        self._lines: BufferedReader | None = None
        self._rest = b""
        self._fraction = 0.0

    def launch(self) -> bool:
        """True once the processes ended by themselves, or one with a named error; False where they died while training was
        asked to stop.

        Raises RanksLost if the processes died again and again without getting further.
        """
        try:
            with _own_signals():
                result: RunResult = self.run()
        finally:
            self._forget_lines()
        if not result.is_failed() or self._folder.read_end() is not None:
            return True
        if not self._stop_requested():
            raise RanksLost(
                f"{self._cause(result.failures)}, and {LOST_IN_A_ROW} times in a row the training processes got no further;"
                " the job's log has the reasons. Where memory runs out, lower distributed.processes or batch_size; then resume"
                " the job"
            )
        return False

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, int]:
        self._folder.meeting.unlink(missing_ok=True)
        started: dict[int, int] = super()._start_workers(worker_group)
        return started

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        if self._stop_requested():
            self._folder.ask_to_stop()
        self._hand_on()
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state not in (WorkerState.HEALTHY, WorkerState.SUCCEEDED):
            self._note_failure(result)
        elif result.state == WorkerState.SUCCEEDED:
            self._hand_on()
        return result

    def _note_failure(self, result: RunResult) -> None:
        """Tells why processes ended, and that they start again, unless they should not."""
        self._hand_on()
        self._forget_lines()
        os.environ.pop(CRASH_VARIABLE, None)  # a crash that a test asked for happens once
        if self._folder.read_end() is not None or self._stop_requested():
            self._remaining_restarts = 0
            return
        cause = self._cause(result.failures)
        if result.failures and (trace := _trace(_first(result.failures)[1])):
            _log.warning("%s\n%s", cause, trace)
        if self._remaining_restarts > 0:
            count = self._spec_restarts() - self._remaining_restarts + 1
            everyone = "both" if self._num_ranks == 2 else f"all {self._num_ranks}"
            again = f"{cause}; {everyone} go on from the last checkpoint"
            told = f"{again} (failure {count} of at most {LOST_IN_A_ROW} without a step ahead)"
            self._report(Progress(phase="train", fraction=self._fraction, message=told))

    def _hand_on(self) -> None:
        """Passes on the lines that are whole."""
        if self._lines is None:
            try:
                self._lines = self._folder.told.open("rb")
            except FileNotFoundError:
                return
        *lines, self._rest = (self._rest + self._lines.read()).split(b"\n")
        for line in lines:
            told = msgspec.json.decode(line, type=Told)
            if told.progress is not None:
                self._fraction = told.progress.fraction
                self._report(told.progress)
            if told.saved:
                self._remaining_restarts = self._spec_restarts()
                self._saved()

    def _forget_lines(self) -> None:
        """The next first process begins a new file."""
        if self._lines is not None:
            self._lines.close()
            self._lines, self._rest = None, b""
            self._folder.told.unlink(missing_ok=True)

    def _spec_restarts(self) -> int:
        return int(self._worker_group.spec.max_restarts)

    def _cause(self, failures: Mapping[int, ProcessFailure]) -> str:
        if not failures:
            return "the training processes do not answer"
        rank, failure = _first(failures)
        which = f"training process {rank + 1} of {self._num_ranks}"
        if failure.exitcode < 0:
            hint = ", as the system does when memory runs out" if failure.exitcode == -signal.SIGKILL else ""
            return f"{which} was killed by {failure.signal_name()}{hint}"
        told = _error(failure).get("message", f"ended with status {failure.exitcode}")
        return f"{which} failed: {str(told).splitlines()[0][:300]}"

    def _get_fq_hostname(self) -> str:
        return "localhost"  # a look-up may take seconds


def _first(failures: Mapping[int, ProcessFailure]) -> tuple[int, ProcessFailure]:
    """Rank and failure of the process that failed by itself: the others lost their connection to it, or were told to end."""

    def order(item: tuple[int, ProcessFailure]) -> tuple[int, int]:
        failure = item[1]
        if failure.exitcode == -signal.SIGTERM:
            return 3, failure.timestamp
        lost = any(name in str(_error(failure).get("message", "")).lower() for name in ("gloo", "nccl", "connection"))
        return (0 if failure.exitcode < 0 else 2 if lost else 1), failure.timestamp

    return min(failures.items(), key=order)


def _error(failure: ProcessFailure) -> dict[str, object]:
    message = failure.error_file_data.get("message")
    return message if isinstance(message, dict) else {}


def _trace(failure: ProcessFailure) -> str:
    extra = _error(failure).get("extraInfo")
    return str(extra.get("py_callstack", "")) if isinstance(extra, dict) else ""


@contextmanager
def _own_signals() -> Iterator[None]:
    """Inside, the launcher leaves this process's signals and its log alone: both have an owner."""
    before, logger = os.environ.get(SIGNALS), logging.getLogger(LOGGER)
    nobody = logging.NullHandler()
    os.environ[SIGNALS] = ""
    logger.addHandler(nobody)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = propagate
        logger.removeHandler(nobody)
        if before is None:
            del os.environ[SIGNALS]
        else:
            os.environ[SIGNALS] = before
