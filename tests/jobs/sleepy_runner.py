"""A runner that does what its job's spec says: succeed, fail for a while, exit, stay alive, take memory, freeze."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from modeltap.domain.progress import Progress
from modeltap.jobs.advance import Advance
from modeltap.jobs.journal import Journal
from modeltap.jobs.lease import Lease
from modeltap.storage.jobs import JobQueue
from modeltap.storage.opening import open_database

parser = argparse.ArgumentParser()
parser.add_argument("job_id")
parser.add_argument("--fence", type=int)
parser.add_argument("--home", type=Path)
given = parser.parse_args()

database = open_database(given.home)
jobs = JobQueue(database)
job = jobs.get(given.job_id)
spec = job.spec
journal = Journal(given.home, given.job_id)
print(f"runner with fence {given.fence} says grüezi", flush=True)
if spec.get("tell_threads"):
    print(os.environ["OMP_NUM_THREADS"], os.environ["POLARS_MAX_THREADS"], flush=True)
if spec.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if spec.get("child"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", str(given.home)])
    (journal.folder / "child").write_text(str(child.pid))
if spec.get("hungry_child"):
    hog = f"import time; taken = b'x' * {spec['hungry_child']}; time.sleep(1000)"
    subprocess.Popen([sys.executable, "-c", hog, str(given.home)])
if "status" in spec:
    os._exit(spec["status"])
if given.fence in spec.get("freezes", ()):  # in the middle of a write, deaf to all but SIGKILL
    with database.writing():
        (journal.folder / "frozen").touch()
        os.kill(os.getpid(), signal.SIGSTOP)


def now() -> datetime:
    return datetime.now(UTC)


lease = Lease(
    jobs,
    given.job_id,
    given.fence,
    clock=now,
    lease_s=spec.get("lease_s", 10),
    advance=Advance(job.reached) if spec.get("saves") else None,
)
with lease:
    for fraction in spec.get("saves", ()):  # a run that can never read its checkpoint, and always dies after it
        lease.show(Progress(phase="train", fraction=fraction))
        if fraction:
            lease.got_further()
    if spec.get("saves"):
        os.kill(os.getpid(), signal.SIGKILL)
    journal.append_event(Progress(phase="train", fraction=0.5))
    while spec.get("stay") and not lease.is_lost:
        if lease.wanted == "pause" and not spec.get("stubborn"):
            jobs.finish(given.job_id, given.fence, "pause", now())
            sys.exit()
        time.sleep(0.01)
    lease.check()
    if given.fence <= spec.get("fails", 0):
        full = {"code": "storage_failed", "title": "The disk refused", "detail": "the disk is full"}
        jobs.finish(given.job_id, given.fence, "fail", now(), error=full, may_pass=True)
        sys.exit()
    jobs.finish(given.job_id, given.fence, "succeed", now(), result={"version": "iris@1"})
