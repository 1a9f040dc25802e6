"""A search of 40 networks on Adult that is killed twice on its way, against a fixed network: what it gains, and what it costs.

The fixed one has a hidden layer of 64, Adam at 0.001 and 5 epochs. Once the runner of the search is killed, once server and
runner; no trial may be run twice. Without ../shared: scikit-learn's breast cancer data, which is too easy for a budget.
Budget: 0.3 points of ROC AUC on the validation part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import modeltap
from modeltap.client.discovery import SERVER_FILE
from modeltap.recipe.document import load_document

ADULT = Path(__file__).parents[2] / "shared" / "data" / "adult"
EXAMPLE = Path(__file__).parents[1] / "examples" / "adult-search.yaml"
COLUMNS = (
    "age,workclass,fnlwgt,education,education_num,marital_status,occupation,relationship,race,sex,capital_gain,capital_loss,"
    "hours_per_week,native_country,income"
)
FIXED = {
    "task": "tabular-classification",
    "model": {"architecture": "mlp", "hidden": [64]},
    "optimizer": {"name": "adam", "lr": 0.001},
    "epochs": 5,
    "early_stopping": None,
}
NUM_TRIALS = 40
KILLED_AT = (0.25, 0.6)
"""Of the trials: the runner alone, then server and runner."""
WAIT_S = 3 * 3600.0


def add_options(group: Any) -> None:
    group.add_argument("--trials", type=int, default=NUM_TRIALS, help=f"of the search; default {NUM_TRIALS}")


def measure(arguments: argparse.Namespace) -> str:
    """A Markdown table of both, and what became of the trials."""
    with tempfile.TemporaryDirectory(prefix="modeltap-bench-") as folder:
        home = Path(folder) / "home"
        server = _Server(home)
        try:
            data = _table(Path(folder))
            with modeltap.Client(home=home, timeout_s=600) as client:
                client.datasets.add(data, name="census", target="income")
                fixed = client.train("census", recipe=FIXED, settings={"data.target": "income"}, name="fixed")
            return _search(server, arguments.trials, fixed)
        finally:
            server.stop()


def _search(server: _Server, num_trials: int, fixed: Any) -> str:
    began_s = time.monotonic()
    with modeltap.Client(home=server.home) as client:
        job = client.tune("census", recipe=load_document(EXAMPLE.read_text()), trials=num_trials, name="best", wait=False)
    for number, share in enumerate(KILLED_AT):
        _wait(lambda share=share: _ended(server.home, job.id) >= share * num_trials)
        runner = _runner(server.home, job.id)
        if number:
            server.kill()
        os.killpg(runner, signal.SIGKILL)
        if number:
            server.start()
    with modeltap.Client(home=server.home) as client:
        _wait(lambda: client.jobs.get(job.id).is_resting)
        ended = client.jobs.get(job.id)
        assert ended.state == "succeeded", ended.error
        result = ended.result or {}
        trials = client.tune.trials(job.id)
    told = [event["message"] for event in _events(server.home, job.id) if event.get("message", "").startswith("trial ")]
    numbers = sorted(int(message.split()[1]) for message in told)
    assert numbers == list(range(num_trials)) == [trial["number"] for trial in trials], "a trial was run twice, or lost"
    took_s = time.monotonic() - began_s
    counts, best = result["trials"], result["trials"]["best"]
    epochs = sum(trial.get("epochs", 0) for trial in trials)
    rows = [("fixed: one layer of 64, Adam 0.001, 5 epochs", fixed.metrics), ("best of the search", result["metrics"])]
    lines = ["| model | val ROC AUC | test ROC AUC | test accuracy |", "|---|---|---|---|"]
    for name, metrics in rows:
        val, test = metrics["val"], metrics["test"]
        lines.append(f"| {name} | {val['roc_auc']:.4f} | {test['roc_auc']:.4f} | {test['accuracy']:.4f} |")
    gain = 100 * (result["metrics"]["val"]["roc_auc"] - fixed.metrics["val"]["roc_auc"])
    states = ", ".join(f"{counts.get(state, 0)} {state}" for state in ("complete", "pruned", "failed"))
    lines += [
        "",
        f"{gain:+.2f} points of ROC AUC on val. {num_trials} trials in {took_s / 60:.0f} min, killed twice, none run twice:"
        f" {states}, {epochs} epochs in all.",
        f"The best is trial {best['trial']}: {', '.join(f'{key} {value}' for key, value in best['params'].items())}.",
    ]
    return "\n".join(lines)


class _Server:
    def __init__(self, home: Path) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "modeltap", "up", "--home", str(self.home), "--port", "0", "--grpc-port", "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pid = self._process.pid
        _wait(lambda: f'"pid":{pid}' in _text(self.home / SERVER_FILE).replace(" ", ""))

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        for process in psutil.Process(self._process.pid).children(recursive=True):
            process.kill()
        self._process.terminate()
        self._process.wait()


def _table(folder: Path) -> Path:
    """Adult with its names, train and test part; or another table of two classes."""
    if not ADULT.is_dir():
        from sklearn.datasets import load_breast_cancer

        cancer = load_breast_cancer(as_frame=True)
        path = folder / "census.csv"
        cancer.frame.rename(columns={"target": "income"}).to_csv(path, index=False)
        return path
    path = folder / "census.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("train", "test"):
            archive.writestr(f"{part}.csv", f"{COLUMNS}\n{(ADULT / f'{part}.csv').read_text()}")
    return path


def _wait(look: Callable[[], Any]) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.1)


def _ended(home: Path, job_id: str) -> int:
    """Trials that have ended."""
    text = _text(home / "jobs" / job_id / "trials.jsonl")
    return sum('"state":"running"' not in line for line in text.splitlines())


def _runner(home: Path, job_id: str) -> int:
    """The process id of the job's runner."""
    while True:
        with modeltap.Client(home=home) as client:
            pid = client.jobs.get(job_id).raw.get("pid")
        if pid is not None:
            return int(pid)
        time.sleep(0.1)


def _events(home: Path, job_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _text(home / "jobs" / job_id / "events.jsonl").splitlines()]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    print(measure(argparse.Namespace(trials=NUM_TRIALS)))
