"""`python -m benchmarks.serving.raw GRAPH SECONDS`: how often a second, and how fast, `session.run` answers one row.

No server and no wire: the ceiling of a server that runs rows one by one. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.serving.graph import INPUT, OUTPUT, example_picture, open_session

WARM_RUNS = 500


def main() -> None:
    graph, seconds = Path(sys.argv[1]), float(sys.argv[2])
    session, given = open_session(graph), {INPUT: example_picture()}
    for _ in range(WARM_RUNS):
        session.run([OUTPUT], given)
    clock = time.perf_counter_ns
    took_ns: list[int] = []
    end_ns = clock() + int(seconds * 1e9)
    before_ns = started_ns = clock()
    while before_ns < end_ns:
        session.run([OUTPUT], given)
        now_ns = clock()
        took_ns.append(now_ns - before_ns)
        before_ns = now_ns
    p50_us, p99_us = np.percentile(took_ns, [50, 99]) / 1e3
    told = {"rate": len(took_ns) / (before_ns - started_ns) * 1e9, "p50_us": p50_us, "p99_us": p99_us, "errors": 0}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
