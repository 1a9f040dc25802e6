"""What a process that runs a graph may have: a bare environment, and limits it sets itself before it reads anything."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

KEPT = frozenset({"HOME", "LANG", "LANGUAGE", "PATH", "SYSTEMROOT", "TMPDIR", "TZ"})
KEPT_PREFIXES = ("DYLD_", "LC_", "LD_", "PYTHON")
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""The engine has its own threads; those of numpy would only reserve memory, more with every core."""
LIKELY_VICTIM = b"500"
"""Where memory runs out, the system ends an engine, which is started again, rather than the server."""
_PR_SET_PDEATHSIG = 1


def bare_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a Python needs to start. No setting, key or password of the server is in it."""
    given = os.environ if environment is None else environment
    kept = {name: value for name, value in given.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    return kept | SINGLE_THREADED


def end_with_parent(parent_pid: int) -> None:
    """On Linux this process is killed when the thread that started it ends, whatever it does then. Elsewhere nothing: it
    must look whether its pipe or socket is closed."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def leave_no_core() -> None:
    """Its memory holds what callers sent; it is not written to a file when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_memory(num_bytes: int) -> None:
    """No more address space than this; an allocation beyond it fails in this process alone."""
    _lower(resource.RLIMIT_AS, num_bytes)


def limit_processor_time(seconds: int) -> None:
    """The system ends this process after so much work, also where nobody waits for it any more."""
    _lower(resource.RLIMIT_CPU, seconds)


def limit_file_size(num_bytes: int) -> None:
    """No file that it writes becomes larger than this."""
    _lower(resource.RLIMIT_FSIZE, num_bytes)


def limit_open_files(count: int) -> None:
    """No more files, pipes and sockets than this at a time."""
    _lower(resource.RLIMIT_NOFILE, count)


def limit_processes(count: int) -> None:
    """No more processes and threads of its user than this, counted by the system with all that the user runs elsewhere; the
    system asks nothing of root."""
    _lower(resource.RLIMIT_NPROC, count)


def keep_limits() -> None:
    """What was limited so far cannot be raised again, by nobody in this process."""
    kinds = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    for kind in (*kinds, resource.RLIMIT_CORE):
        soft = resource.getrlimit(kind)[0]
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (soft, soft))


def be_the_likely_victim() -> None:
    """See LIKELY_VICTIM; where the system has no such thing, nothing."""
    try:
        Path("/proc/self/oom_score_adj").write_bytes(LIKELY_VICTIM)
    except OSError:
        return


def _lower(kind: int, wanted: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with suppress(ValueError, OSError):  # a system that knows the limit and cannot keep it says so
        resource.setrlimit(kind, (limit, hard))
