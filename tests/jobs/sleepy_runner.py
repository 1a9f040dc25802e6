"""A runner that does what its job's spec says: succeed, exit with a status, or stay alive, gently or stubbornly."""

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
from modeltap.jobs.journal import Journal
from modeltap.jobs.lease import Lease
from modeltap.storage.jobs import JobQueue
from modeltap.storage.opening import open_database

parser = argparse.ArgumentParser()
parser.add_argument("job_id")
parser.add_argument("--fence", type=int)
parser.add_argument("--home", type=Path)
given = parser.parse_args()

jobs = JobQueue(open_database(given.home))
spec = jobs.get(given.job_id).spec
journal = Journal(given.home, given.job_id)
print(f"runner with fence {given.fence} says grüezi", flush=True)

if spec.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if spec.get("child"):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", str(given.home)])
    (journal.folder / "child").write_text(str(child.pid))
if "status" in spec:
    os._exit(spec["status"])

with Lease(jobs, given.job_id, given.fence, clock=lambda: datetime.now(UTC), lease_s=spec.get("lease_s", 10)) as lease:
    journal.append_event(Progress(phase="train", fraction=0.5))
    while spec.get("stay") and not lease.is_lost:
        if lease.wanted == "pause" and not spec.get("stubborn"):
            jobs.finish(given.job_id, given.fence, "pause", datetime.now(UTC))
            sys.exit()
        time.sleep(0.01)
    lease.check()
    jobs.finish(given.job_id, given.fence, "succeed", datetime.now(UTC), result={"version": "iris@1"})
