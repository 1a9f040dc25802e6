"""How long it takes until there is something to use: `import modeltap`, `modeltap --help`, `modeltap up` ready; and its memory.

Budgets: import 0.2 s, ready 2 s, 150 MB at rest.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROUNDS = 7
READY_TIMEOUT_S = 60.0


def measure() -> str:
    """A Markdown table of medians, with the budget of each."""
    import psutil

    import_s, bare_s, help_s, first_s, again_s, memory_mb = [], [], [], [], [], []
    for _ in range(ROUNDS):
        bare_s.append(_seconds([sys.executable, "-c", "pass"]))
        import_s.append(_seconds([sys.executable, "-c", "import modeltap"]))
        help_s.append(_seconds([sys.executable, "-m", "modeltap", "--help"]))
        with tempfile.TemporaryDirectory() as home:
            first_s.append(_ready(Path(home))[0])
            seconds, resident = _ready(Path(home), memory_of=psutil.Process)
            again_s.append(seconds)
            memory_mb.append(resident / 1e6)
    rows = [
        ("`import modeltap`, beyond a bare interpreter", _median(import_s) - _median(bare_s), "s", 0.2),
        ("`modeltap --help`, the whole process", _median(help_s), "s", 0.2),
        ("`modeltap up` ready, in a new home (database made)", _median(first_s), "s", 2.0),
        ("`modeltap up` ready, in a home that exists", _median(again_s), "s", 2.0),
        ("resident memory of the server at rest", _median(memory_mb), "MB", 150.0),
    ]
    lines = ["| what | median | budget | ratio |", "|---|---|---|---|"]
    lines += [
        f"| {what} | {value:.3g} {unit} | {budget:g} {unit} | {value / budget:.2f} |" for what, value, unit, budget in rows
    ]
    return "\n".join(lines)


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _ready(home: Path, memory_of: type | None = None) -> tuple[float, int]:
    """Seconds from the command to a 200 of /readyz, and the server's resident bytes a second later."""
    command = [sys.executable, "-m", "modeltap", "up", "--home", str(home), "--port", "0", "--grpc-port", "0"]
    started = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        record = home / "server.json"
        while not record.exists():
            if server.poll() is not None or time.perf_counter() - started > READY_TIMEOUT_S:
                raise RuntimeError("the server did not start")
            time.sleep(0.005)
        url = json.loads(record.read_text())["url"]
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert answer.status == 200
        seconds = time.perf_counter() - started
        resident = 0
        if memory_of is not None:
            time.sleep(1)
            resident = memory_of(server.pid).memory_info().rss
        return seconds, resident
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    print(measure())
