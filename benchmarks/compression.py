"""Every method of `modeltap compress` on MNIST, through the command line: what it costs, what it saves, what it gains.

Two networks: the reference CNN (conv 32 3×3 relu, max-pool 2, flatten, dense 10), and one of three blocks of convolution; a
student of trees is there too. Certificates are shown as they were given: measured in turns, through the queue that serves.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from benchmarks.serving.process import told_by

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"
EPOCHS = 3
BATCH_SIZE = 64
REFERENCE = [
    {"conv2d": {"filters": 32, "kernel": 3, "activation": "relu"}},
    {"maxpool2d": {"size": 2}},
    "flatten",
    {"dense": {"units": 10, "activation": "softmax"}},
]
DEEP = [
    {"conv2d": {"filters": 32, "kernel": 3, "padding": "same", "activation": "relu"}},
    {"maxpool2d": {"size": 2}},
    {"conv2d": {"filters": 64, "kernel": 3, "padding": "same", "activation": "relu"}},
    {"maxpool2d": {"size": 2}},
    {"conv2d": {"filters": 128, "kernel": 3, "padding": "same", "activation": "relu"}},
    {"maxpool2d": {"size": 2}},
    "flatten",
    {"dense": {"units": 128, "activation": "relu"}},
    {"dense": {"units": 10, "activation": "softmax"}},
]
RUNS = {
    "reference": (["--int8", "--max-drop", "0.2pp"], ["--prune", "0.5"]),
    "deep": (
        ["--int8", "--max-drop", "0.2pp"],
        ["--int4"],
        ["--prune", "0.5", "--max-drop", "0.5pp", "--min-gain", "1.5"],
        ["--prune", "0.5", "--rounds", "2", "--max-drop", "0.5pp", "--min-gain", "1.5"],
        ["--prune", "0.5", "--unstructured"],
    ),
}
STUDENT = {"model": {"architecture": "cnn", "filters": [8, 16], "dense": 32}, "epochs": EPOCHS}


def add_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--compression-epochs", type=int, default=EPOCHS, help=f"of the parents; {EPOCHS}")


def measure(arguments: argparse.Namespace) -> str:
    """A Markdown table, a row for every child."""
    if not MNIST.exists():
        return "There is no MNIST beside the repository; nothing was measured."
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        try:
            return _measure(home, Path(folder), arguments.compression_epochs)
        finally:
            record = home / "server.json"
            if record.exists():
                with suppress(ProcessLookupError):
                    os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)


def _measure(home: Path, folder: Path, epochs: int) -> str:
    told_by(home, "data", "add", str(MNIST), "--name", "mnist")
    lines = [
        "| parent | method | accuracy of both | points worse, 95 % | size | rows/s | p50 | seconds | outcome |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, layers in (("reference", REFERENCE), ("deep", DEEP)):
        recipe = folder / f"{name}.yaml"
        recipe.write_text(
            json.dumps({"model": {"architecture": "sequential", "layers": layers}, "epochs": epochs, "batch_size": BATCH_SIZE})
        )
        told_by(home, "train", "mnist", "--task", "image-classification", "--recipe", str(recipe), "--name", name)
        for number, options in enumerate(RUNS[name]):
            lines.append(_row(home, name, f"{name}-{number}", options))
            print(lines[-1], file=sys.stderr, flush=True)
    student = folder / "student.yaml"
    student.write_text(json.dumps(STUDENT))
    lines.append(_row(home, "deep", "student", ["--distil", str(student), "--max-drop", "0.5pp"]))
    print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join([*lines, "", f"{epochs} epochs; 32 callers of one row each for rows/s, one caller for p50, 11 turns."])


def _row(home: Path, parent: str, name: str, options: list[str]) -> str:
    begun_s = time.monotonic()
    result = told_by(home, "compress", f"{parent}@1", *options, "--name", name)
    took_s = time.monotonic() - begun_s
    c = result["certificate"]
    low, high = c["drop_interval"]
    slow, fast = c["gain_interval"]
    return (
        f"| {parent} | {c['method']} | {c['parent_value']:.4f}, {c['child_value']:.4f}"
        f" | {100 * c['drop']:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"
        f" | {c['parent_bytes'] / c['child_bytes']:.2f} times smaller"
        f" | {c['parent_speed']:,.0f}, {c['child_speed']:,.0f}: {c['gain']:.2f} ({slow:.2f} to {fast:.2f})"
        f" | {1e6 * c['parent_p50_s']:.0f}, {1e6 * c['child_p50_s']:.0f} µs"
        f" | {took_s:.0f} | {result['state']}{': ' + '; '.join(c['reasons']) if c['reasons'] else ''} |"
    )
