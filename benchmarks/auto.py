"""`architecture: auto` on Adult with its own test file: how good, how long `modeltap train` takes, how long a row takes.

A real server in a home of its own; data from ../shared/data/adult. The test file is looked at once, at the end. Budgets: ROC
AUC 0.928, 90 s, 0.5 ms a row in the engine.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.process import told_by

ADULT = Path(__file__).parents[2] / "shared" / "data" / "adult"
COLUMNS = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,capital_gain,capital_loss,"
    "hours_per_week,native_country,income"
)
ROW = {
    "age": 39,
    "workclass": "State-gov",
    "fnlwgt": 77516,
    "education": "Bachelors",
    "education_num": 13,
    "marital_status": "Never-married",
    "occupation": "Adm-clerical",
    "relationship": "Not-in-family",
    "race": "White",
    "sex": "Male",
    "capital_gain": 2174,
    "capital_loss": 0,
    "hours_per_week": 40,
    "native_country": "United-States",
}
RUNS = 2000


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Options that `measure` reads."""
    parser.add_argument("--budget", type=int, default=90, help="time budget of the search in seconds; default 90")
    parser.add_argument("--threads", type=int, default=None, help="of the training process; default what the server says")


def measure(options: argparse.Namespace | None = None) -> str:
    """A Markdown table of what was reached, and one of the candidates."""
    if not ADULT.exists():
        raise SystemExit(f"{ADULT} is not there; this benchmark needs the Adult data")
    budget = 90 if options is None else options.budget
    threads = None if options is None else options.threads
    with tempfile.TemporaryDirectory(prefix="modeltap-bench-") as folder:
        home = Path(folder) / "home"
        for name in ("train", "test"):
            _write_table(ADULT / f"{name}.csv", Path(folder) / f"{name}.csv")
        with _serving(home) as url:
            told_by(home, "data", "add", f"{folder}/train.csv", "--test", f"{folder}/test.csv", "--name", "adult")
            settings = ["--set", "model.architecture=auto", "--set", f"model.time_budget={budget}"]
            settings += ["--set", f"threads={threads}"] if threads else []
            start_s, start_cpu_s = time.monotonic(), _children_cpu_s()
            words = ["train", "adult", "--task", "tabular-classification", "--target", "income", *settings]
            result = told_by(home, *words)
            fit_s, cpu_s = time.monotonic() - start_s, _children_cpu_s() - start_cpu_s
            told_by(home, "deploy", result["id"], "--name", "income")
            request_ms = _request_ms(url, (home / "admin.key").read_text().strip())
            engine_ms = _engine_ms(home, result["digest"])
    test = result["metrics"]["test"]
    rows = [
        ("ROC AUC on the test file", f"{test['roc_auc']:.4f}", "0.928"),
        ("accuracy on the test file", f"{test['accuracy']:.4f}", ""),
        ("seconds of `modeltap train`", f"{fit_s:.1f}", "90"),
        ("processor seconds of server and job", f"{cpu_s:.1f}", ""),
        ("ms a row, engine, batch 1, median", f"{engine_ms:.3f}", "0.5"),
        ("ms a row through /predict, one connection, median", f"{request_ms:.3f}", ""),
    ]
    lines = ["| what | reached | budget |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]
    lines += ["| candidate | state | log loss | ROC AUC | seconds | weight |", "|---|---|---|---|---|---|"]
    for one in result["candidates"]:
        told = [f"{one['metrics'][name]:.5f}" if one["metrics"] else "" for name in ("log_loss", "roc_auc")]
        lines.append(f"| {one['name']} | {one['state']} | {' | '.join(told)} | {one['seconds']} | {one['weight']:.3f} |")
    return "\n".join([*lines, "", *result["notices"], f"digest {result['digest'][:16]}"])


def _write_table(source: Path, place: Path) -> None:
    rows = [line for line in source.read_text().splitlines() if line.count(",") == COLUMNS.count(",")]
    place.write_text("\n".join([COLUMNS, *rows]) + "\n")


@contextmanager
def _serving(home: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "modeltap", "up", "--home", str(home), "--port", "0", "--grpc-port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        record = home / "server.json"
        while not record.exists():
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
            time.sleep(0.02)
        yield json.loads(record.read_text())["url"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def _children_cpu_s() -> float:
    """Of the server and of all that it started, also of what ended since."""
    import psutil

    total = 0.0
    for process in psutil.Process().children(recursive=True):
        used = process.cpu_times()
        total += used.user + used.system + used.children_user + used.children_system
    return total


def _request_ms(url: str, key: str) -> float:
    """Median of one row a request over one connection."""
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    body = json.dumps({"instances": [ROW]})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    spent = []
    for _ in range(RUNS):
        start_s = time.perf_counter()
        connection.request("POST", "/predict/income", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        spent.append(time.perf_counter() - start_s)
        if answer.status != 200:
            raise RuntimeError(content.decode())
    connection.close()
    return statistics.median(spent) * 1000


def _engine_ms(home: Path, digest: str) -> float:
    """Median of one row through the joined graph, as a replica runs it."""
    from modeltap.bundle.files import open_bundle
    from modeltap.data.rows import RowReader
    from modeltap.engines.select import open_engine
    from modeltap.storage.artifacts import ArtifactStore

    bundle = open_bundle(ArtifactStore(home / "artifacts").paths(digest))
    engine = open_engine(bundle)
    batch = RowReader(bundle.manifest.schema).rows([ROW])
    spent = []
    for _ in range(RUNS):
        start_s = time.perf_counter()
        engine.run(batch)
        spent.append(time.perf_counter() - start_s)
    return statistics.median(spent) * 1000


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser.add_argument_group("auto"))
    print(measure(parser.parse_args()))
