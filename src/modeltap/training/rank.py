"""`python -m modeltap.training.rank FOLDER --runner PID`: one of the processes that train a model together.

The launcher starts it and sets RANK, WORLD_SIZE and where an error is written. It ends with its runner, whatever happens to
that one.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from io import BufferedWriter
from pathlib import Path

import msgspec

from modeltap.domain.progress import Progress
from modeltap.errors import ModeltapError, StorageFailed
from modeltap.training.distributed.files import NAMED, Ended, Heard, LanguageTerms, RanksFolder, Told
from modeltap.training.stopped import Stopped

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """The exit status: 0 where training ended, also by request or with a named error; 1 to be started again."""
    parser = argparse.ArgumentParser(prog="python -m modeltap.training.rank")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runner", type=int, required=True)
    arguments = parser.parse_args()
    end_with(arguments.runner)
    folder, rank = RanksFolder(arguments.folder), int(os.environ["RANK"])
    try:
        _train(folder, rank, int(os.environ["WORLD_SIZE"]))
    except Stopped:
        if rank == 0:
            folder.end(Ended(how="stopped"))
    except ModeltapError as problem:
        if type(problem).__name__ not in NAMED:
            return _failed(problem)
        folder.end(Ended(how="failed", error=type(problem).__name__, message=problem.message, fields=problem.fields))
    except MemoryError:
        told = "the machine's memory did not suffice; use fewer rows, smaller batches or fewer processes"
        folder.end(Ended(how="failed", error=StorageFailed.__name__, message=told))
    except Exception as problem:  # noqa: BLE001  the edge of a process: whoever started it tells the reason
        return _failed(problem)
    return 0


def end_with(runner: int) -> None:
    """On Linux this process is killed when the one that started it ends; elsewhere it ends with the first look for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != runner:
        os._exit(1)


class _Teller:
    """Writes what the first process tells, a line at a time; the others tell nothing."""

    def __init__(self, folder: RanksFolder, rank: int) -> None:
        self._file: BufferedWriter | None = folder.told.open("wb") if rank == 0 else None

    def report(self, progress: Progress) -> None:
        self._tell(Told(progress=progress))

    def saved(self) -> None:
        self._tell(Told(saved=True))

    def _tell(self, told: Told) -> None:
        if self._file is not None:
            self._file.write(msgspec.json.encode(told) + b"\n")
            self._file.flush()


def _train(folder: RanksFolder, rank: int, num_ranks: int) -> None:
    from modeltap.training.batches import Share
    from modeltap.training.distributed.group import Ranks, own_device
    from modeltap.training.network import find_device

    terms = folder.read_terms()
    runner, share = os.getppid(), Share(rank, num_ranks)
    device = own_device(share, find_device(terms.recipe.device))
    shares_memory = terms.recipe.distributed.gradients == "auto"
    ranks = Ranks(share, meeting=folder.meeting, device=device, run=terms.run, shares_memory=shares_memory)
    teller = _Teller(folder, rank)

    def stop_requested() -> bool:
        if os.getppid() != runner:  # where the system does not kill it
            os._exit(1)
        return folder.is_asked_to_stop()

    heard = Heard(teller.report, teller.saved, stop_requested)
    if isinstance(terms, LanguageTerms):
        from modeltap.training.language.shared import learn_share

        learn_share(terms, folder, ranks, heard)
    else:
        from modeltap.training.shared_network import train_share

        train_share(terms, folder, ranks, heard)
    ranks.close()


def _failed(problem: Exception) -> int:
    """Leaves the reason where the launcher looks for it."""
    from torch.distributed.elastic.multiprocessing.errors import ErrorHandler

    ErrorHandler().record_exception(problem)
    return 1


if __name__ == "__main__":
    sys.exit(main())
